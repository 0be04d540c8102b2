//! Sends one request and reads its response: connects, waits for a server that is still starting, and enforces limits.

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

/// Largest response body that is accepted. A list of ten thousand nodes is about 10 MB.
const MAX_ANSWER: usize = 256 << 20;
/// Shortest and longest pause between attempts to connect; each pause is twice the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Sends `request` and reads the whole response. Connecting and responding may take up to `limit` each.
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
            "{endpoint} did not respond within {limit:?}; set HEADSCALE_CLI_TIMEOUT to wait longer"
        ))),
    }
}

async fn connect_socket(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let deadline = Instant::now() + limit;
    let mut pause = RETRY.0;
    loop {
        match timeout_at(deadline, UnixStream::connect(path)).await {
            Ok(Err(e)) if is_transient(&e) && Instant::now() + pause < deadline => sleep(pause).await,
            Ok(outcome) => return outcome,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        pause = (pause * 2).min(RETRY.1);
    }
}

/// Whether the error may mean that the server has not opened its socket yet.
fn is_transient(e: &io::Error) -> bool {
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
            "no server is listening at `{at}`; start one with `headsail serve`, or select another with --config or \
             --data-dir"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("permission denied for `{at}`; run this command as the server's user or as root")
        }
        _ => format!("cannot connect to `{at}`: {e}"),
    })
}

fn no_tls(endpoint: &Endpoint, e: &io::Error) -> ClientError {
    ClientError::Unreachable(format!(
        "cannot establish a trusted TLS connection to {endpoint}: {e}; if its certificate is self-signed, set \
         HEADSCALE_CLI_INSECURE=1"
    ))
}

fn unreachable(endpoint: &Endpoint, e: &(dyn std::error::Error + 'static)) -> ClientError {
    ClientError::Unreachable(format!("cannot reach {endpoint}: {e}"))
}
