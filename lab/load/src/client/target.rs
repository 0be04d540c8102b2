//! The server under load.

use std::net::SocketAddr;

use headsail_wire::keys::MachineKey;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;
use crate::client::identity::CAPABILITY;

/// Maximum length of the answer to `GET /key`.
const MAX_ANSWER: u64 = 64 * 1024;

/// A control server on a loopback address, and its Noise key.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its X25519 public key.
    pub key: [u8; 32],
}

impl Target {
    /// Asks the server at a URL of the form `http://127.0.0.1:8080` for its key.
    ///
    /// # Errors
    /// The address is not a loopback address, or the server does not answer `GET /key`.
    pub async fn find(url: &str) -> Result<Target> {
        let addr = loopback(url)?;
        let mut socket =
            TcpStream::connect(addr).await.map_err(|e| format!("could not connect to `{addr}`: {e}"))?;
        let request =
            format!("GET /key?v={CAPABILITY} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let json = body.get(body.find('{').unwrap_or(0)..=body.rfind('}').unwrap_or(0)).unwrap_or_default();
        let value: Value = serde_json::from_str(json)
            .map_err(|_| format!("`{addr}` did not answer `GET /key` with a key: {text}"))?;
        let key: MachineKey = value.get("publicKey").and_then(Value::as_str).unwrap_or_default().parse()?;
        Ok(Target { addr, key: *key.bytes() })
    }
}

/// The address in a URL. Only loopback is accepted, so that the load generator cannot be turned against other machines.
fn loopback(url: &str) -> Result<SocketAddr> {
    let wrong = || format!("`{url}` is not a loopback URL; use one like http://127.0.0.1:8080");
    let host = url.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
    let addr: SocketAddr = host.replace("localhost", "127.0.0.1").parse().map_err(|_| wrong())?;
    if !addr.ip().is_loopback() {
        return Err(wrong().into());
    }
    Ok(addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_targets() {
        for good in
            ["http://127.0.0.1:80", "http://127.3.2.1:8080/", "http://[::1]:1", "http://localhost:8080"]
        {
            assert!(loopback(good).is_ok(), "{good}");
        }
        for bad in
            ["http://10.0.0.1:80", "https://127.0.0.1:443", "http://example.com:80", "127.0.0.1:80", ""]
        {
            assert!(loopback(bad).is_err(), "{bad}");
        }
    }
}
