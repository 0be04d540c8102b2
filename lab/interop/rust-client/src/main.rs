//! A node of the Rust crate `tailscale`, controlled through standard input, as a second implementation for the tests.
//!
//! Usage: `headsail-interop-rust-client CONTROL_URL KEY_FILE HOSTNAME [AUTH_KEY]`. It prints one JSON object per line: first
//! `{"auth_url": URL}` if a login is needed, then `{"ipv4": A, "ipv6": A}` when the node is registered. After that each line of standard
//! input is a command, answered with one line:
//! `peer NAME`, `route IP`, `listen PORT` (an echo server), `dial IP:PORT TEXT` (expects TEXT back).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tailscale::{AuthState, Config, Device, NodeInfo};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, stdin};
use tokio::time::timeout;

type Failure = Box<dyn std::error::Error>;

/// A time limit for every step, because the crate retries forever instead of failing.
const STEP: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [control, key_file, hostname, auth_key @ ..] = args.as_slice() else {
        return Err("usage: CONTROL_URL KEY_FILE HOSTNAME [AUTH_KEY]".into());
    };
    let mut config = Config::default_with_key_file(key_file).await?;
    config.control_server_url = control.parse()?;
    config.requested_hostname = Some(hostname.clone());
    let device = timeout(STEP, Device::new(&config, auth_key.first().cloned())).await??;
    if let AuthState::NotAuthorized(url) = timeout(STEP, device.is_authorized()).await?? {
        println!("{}", json!({ "auth_url": url.as_str() }));
    }
    let ipv4 = timeout(STEP, address(&device)).await?;
    println!("{}", json!({ "ipv4": ipv4, "ipv6": device.ipv6_addr().await?.to_string() }));

    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match timeout(STEP, obey(&device, &line)).await {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => json!({ "error": error.to_string() }),
            Err(_) => json!({ "error": "timeout" }),
        };
        println!("{answer}");
    }
    device.shutdown(Some(Duration::from_secs(2))).await;
    Ok(())
}

/// Waits for the node's address.
async fn address(device: &Device) -> String {
    loop {
        match device.ipv4_addr().await {
            Ok(address) => return address.to_string(),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn obey(device: &Device, line: &str) -> Result<Value, Failure> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["peer", name] => Ok(json!({ "peer": device.peer_by_name(name).await?.map(|n| describe(&n)) })),
        ["route", ip] => {
            let peers = device.peers_with_route(ip.parse::<IpAddr>()?).await?;
            Ok(json!({ "peers": peers.iter().map(describe).collect::<Vec<_>>() }))
        }
        ["listen", port] => {
            let here: IpAddr = device.ipv4_addr().await?.into();
            let listener = device.tcp_listen(SocketAddr::new(here, port.parse()?)).await?;
            tokio::spawn(async move {
                while let Ok(mut stream) = listener.accept().await {
                    tokio::spawn(async move {
                        let mut buffer = [0; 4096];
                        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                            if stream.write_all(&buffer[..n]).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            });
            Ok(json!({ "listening": port }))
        }
        ["dial", remote, text] => {
            let mut stream = device.tcp_connect(remote.parse()?).await?;
            stream.write_all(text.as_bytes()).await?;
            let mut back = vec![0; text.len()];
            stream.read_exact(&mut back).await?;
            Ok(json!({ "echo": String::from_utf8_lossy(&back) }))
        }
        _ => Err(format!("unknown command `{line}`").into()),
    }
}

fn describe(node: &NodeInfo) -> Value {
    json!({ "id": node.id.to_string(), "hostname": node.hostname, "tags": node.tags })
}
