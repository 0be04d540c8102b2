//! A control connection: the upgrade, the Noise handshake, and HTTP/2 requests inside.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use headsail_noise::handshake::answer_len;
use headsail_noise::{Initiator, RESPONSE_LEN};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::client::identity::CAPABILITY;
use crate::client::noise_io::NoiseIo;
use crate::client::{Identity, StreamReader, Target};
use crate::{Error, Result};

/// Maximum length of the HTTP head that answers the upgrade.
const MAX_HEAD: usize = 8 * 1024;
/// Maximum length of a response body that is read whole.
const MAX_ANSWER: usize = 1024 * 1024;
/// The windows of Go's HTTP/2 client, so that flow control stops the server no sooner than a real client would.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;
/// How long one step may take before the node gives up. It is long, because a server under load is slow.
const PATIENCE: Duration = Duration::from_secs(300);

/// One node's connection. Dropping it resets the TCP connection, so that the server notices at once.
pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
    authority: String,
    tasks: Tasks,
}

impl Connection {
    /// Connects as a node.
    ///
    /// # Errors
    /// The server refuses the connection, the upgrade or the handshake.
    pub async fn open(target: &Target, identity: &Identity) -> Result<Connection> {
        tokio::time::timeout(PATIENCE, Connection::try_open(target, identity)).await?
    }

    async fn try_open(target: &Target, identity: &Identity) -> Result<Connection> {
        let mut ephemeral = [0; 32];
        rand::fill(&mut ephemeral).map_err(|_| "could not get random bytes from the system")?;
        let (initiator, initiation) =
            Initiator::new(&target.key, &identity.machine_secret, &ephemeral, CAPABILITY)?;
        let mut socket = TcpStream::connect(target.addr).await?;
        socket.set_nodelay(true)?;
        socket.set_zero_linger()?;
        let request = format!(
            "POST /ts2021 HTTP/1.1\r\nHost: {}\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n\
             X-Tailscale-Handshake: {}\r\nContent-Length: 0\r\n\r\n",
            target.addr,
            STANDARD.encode(initiation)
        );
        socket.write_all(request.as_bytes()).await?;
        let (response, received) = read_answer(&mut socket).await?;
        let io = NoiseIo::new(socket, initiator.read_response(&response)?, received)?;
        let tasks = Tasks::default();
        let (requests, driver) = Builder::new(tasks.clone())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(io))
            .await?;
        hyper::rt::Executor::execute(&tasks, async move {
            // Requests report how the connection ended.
            let _ = driver.await;
        });
        Ok(Connection { requests, authority: target.addr.to_string(), tasks })
    }

    /// Registers the node with an auth key.
    ///
    /// # Errors
    /// The server refuses the request.
    pub async fn register(&mut self, identity: &Identity, auth_key: &str) -> Result<()> {
        let answer = self.whole("/machine/register", identity.register_body(auth_key)).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        match answer.get("Error").and_then(|e| e.as_str()) {
            Some("") | None if answer["MachineAuthorized"] == true => Ok(()),
            _ => Err(format!("the server refused the registration: {answer}").into()),
        }
    }

    /// Sends a lite update with the node's usual endpoints and one more.
    ///
    /// # Errors
    /// The server refuses the request.
    pub async fn tell_endpoint(&mut self, identity: &Identity, further: &str) -> Result<()> {
        self.whole("/machine/map", identity.lite_body(further)).await.map(|_| ())
    }

    /// Opens a map stream.
    ///
    /// # Errors
    /// The server refuses the request.
    pub async fn open_stream(&mut self, identity: &Identity, read_only: bool) -> Result<StreamReader> {
        let response = self.post("/machine/map", identity.stream_body(read_only)).await?;
        Ok(StreamReader::new(response.into_body()))
    }

    async fn whole(&mut self, path: &str, body: Bytes) -> Result<Bytes> {
        let response = self.post(path, body).await?;
        Ok(Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes())
    }

    async fn post(&mut self, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let uri = format!("https://{}{path}", self.authority);
        let request = Request::post(uri).body(Full::new(body))?;
        let answer = async {
            self.requests.ready().await?;
            self.requests.send_request(request).await
        };
        let response = tokio::time::timeout(PATIENCE, answer).await??;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        Err(format!("`{path}` was answered with {status}: {}", String::from_utf8_lossy(&body).trim()).into())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

/// Reads the response to the upgrade and the handshake message after it. Returns that message, and any bytes received after it.
async fn read_answer(socket: &mut TcpStream) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut received = Vec::with_capacity(1024);
    let body = loop {
        if let Some(at) = received.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if received.len() > MAX_HEAD || socket.read_buf(&mut received).await? == 0 {
            return Err(refused(&received));
        }
    };
    if !received.starts_with(b"HTTP/1.1 101") {
        return Err(refused(&received));
    }
    received.drain(..body);
    loop {
        if let Some(len) = answer_len(&received).filter(|len| received.len() >= *len) {
            let rest = received.split_off(len);
            return Ok((received, rest));
        }
        let wanted = RESPONSE_LEN.saturating_sub(received.len());
        received.reserve(wanted);
        if socket.read_buf(&mut received).await? == 0 {
            return Err(refused(&received));
        }
    }
}

fn refused(answer: &[u8]) -> Error {
    format!("the server refused the upgrade: `{}`", String::from_utf8_lossy(answer).trim()).into()
}

/// Runs hyper's tasks and remembers them. Aborting them closes the socket.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<AbortHandle>>>);

impl Tasks {
    fn abort(&self) {
        for task in self.0.lock().unwrap_or_else(|e| e.into_inner()).drain(..) {
            task.abort();
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let handle = tokio::spawn(task).abort_handle();
        let mut tasks = self.0.lock().unwrap_or_else(|e| e.into_inner());
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle);
    }
}
