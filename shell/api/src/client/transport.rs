//! One request, one answer: connecting, waiting for a server that is only just starting, limits.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::endpoint::{Endpoint, Remote};
use super::{ClientError, tls};

/// The largest answer that is read: ten thousand nodes are some 10 MB.
const MAX_ANSWER: usize = 256 << 20;
/// The pauses between attempts grow from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Sends `request` and reads the whole answer. `limit` holds for connecting and for answering each.
pub async fn exchange(
    endpoint: &Endpoint,
    limit: Duration,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ClientError> {
    let answer = match endpoint {
        Endpoint::Socket(path) => {
            let stream = connect_socket(path, limit).await.map_err(|e| no_socket(path, &e))?;
            timeout(limit, talk(stream, request)).await
        }
        Endpoint::Remote(remote) => {
            let tcp = timeout(limit, TcpStream::connect((remote.host.trim_matches(['[', ']']), remote.port)))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                .map_err(|e| unreachable(endpoint, &e))?;
            if remote.tls {
                let stream = timeout(limit, encrypt(remote, tcp))
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                    .map_err(|e| no_tls(endpoint, &e))?;
                timeout(limit, talk(stream, request)).await
            } else {
                timeout(limit, talk(tcp, request)).await
            }
        }
    };
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) => Err(unreachable(endpoint, &*e)),
        Err(_) => Err(ClientError::Unreachable(format!(
            "{endpoint} did not answer within {limit:?}; set HEADSCALE_CLI_TIMEOUT to wait longer"
        ))),
    }
}

async fn connect_socket(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let deadline = Instant::now() + limit;
    let mut pause = RETRY.0;
    loop {
        match timeout_at(deadline, UnixStream::connect(path)).await {
            Ok(Err(e)) if may_pass(&e) && Instant::now() + pause < deadline => sleep(pause).await,
            Ok(outcome) => return outcome,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Whether an error may be that of a server that has not opened its socket yet.
fn may_pass(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock)
}

async fn encrypt(remote: &Remote, tcp: TcpStream) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name =
        ServerName::try_from(remote.host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
    let config = tls::config(remote.insecure).map_err(io::Error::other)?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

async fn talk<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
    driver.abort();
    Ok((status, body))
}

fn no_socket(path: &Path, e: &io::Error) -> ClientError {
    let at = path.display();
    ClientError::Unreachable(match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no server answers at `{at}`; start it with `headsail serve`, or say where it is with --config or \
             --data-dir"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("not allowed to use `{at}`; run this as the user of the server or as root")
        }
        _ => format!("cannot connect to `{at}`: {e}"),
    })
}

fn no_tls(endpoint: &Endpoint, e: &io::Error) -> ClientError {
    ClientError::Unreachable(format!(
        "no trusted TLS connection to {endpoint}: {e}; for a self-signed certificate set HEADSCALE_CLI_INSECURE=1"
    ))
}

fn unreachable(endpoint: &Endpoint, e: &(dyn std::error::Error + 'static)) -> ClientError {
    ClientError::Unreachable(format!("cannot reach {endpoint}: {e}"))
}
