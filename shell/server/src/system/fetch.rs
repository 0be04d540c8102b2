//! Fetching a document over HTTP, bounded in time and size.

use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the whole request, from connecting to the last byte of the body.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Fetches `url` and returns the body of the response, of at most `max_bytes`. Redirects are followed.
///
/// # Errors
/// What went wrong, without naming the URL. A status other than 2xx is an error.
pub async fn get(url: &str, max_bytes: usize) -> Result<Vec<u8>, String> {
    let mut response = client()?.get(url).send().await.map_err(|error| explained(&error))?;
    if !response.status().is_success() {
        return Err(format!("the server answered {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| explained(&error))? {
        if body.len() + chunk.len() > max_bytes {
            return Err(format!("the response is larger than {max_bytes} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A client for one request. Fetches are hours apart, so no connection is kept open between them.
fn client() -> Result<reqwest::Client, String> {
    crate::tls::install_provider();
    let builder = || {
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("headsail/", env!("CARGO_PKG_VERSION")))
    };
    if let Ok(client) = builder().build() {
        return Ok(client);
    }
    // Minimal container images have no root certificates, and the library then refuses to build a client: fall back to
    // the bundled Mozilla roots.
    let tls = crate::tls::public_client_config().map_err(|error| error.to_string())?;
    builder().tls_backend_preconfigured(tls).build().map_err(|error| explained(&error))
}

/// The innermost cause: what reqwest wraps around it repeats the URL.
fn explained(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "the request timed out".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// An HTTP server on loopback: its URL, and the body that it answers with. The body can be changed; while it is
    /// empty the server answers 503.
    pub(crate) async fn server(body: &str) -> (String, Arc<Mutex<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/map", listener.local_addr().unwrap());
        let body = Arc::new(Mutex::new(body.to_owned()));
        let shared = body.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let body = shared.lock().unwrap().clone();
                let status = if body.is_empty() { "503 Service Unavailable" } else { "200 OK" };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes()).await;
            }
        });
        (url, body)
    }

    /// A URL on a port where nothing listens.
    pub(crate) async fn dead_url() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/map", listener.local_addr().unwrap())
    }

    #[tokio::test]
    async fn a_body_is_returned_up_to_its_bound() {
        let (url, body) = server("12345").await;
        assert_eq!(get(&url, 5).await, Ok(b"12345".to_vec()));
        assert_eq!(get(&url, 4).await, Err("the response is larger than 4 bytes".to_owned()));
        body.lock().unwrap().clear();
        assert_eq!(get(&url, 5).await, Err("the server answered 503 Service Unavailable".to_owned()));
    }

    #[tokio::test]
    async fn an_error_names_its_cause_but_not_the_url() {
        let why = get(&dead_url().await, 5).await.unwrap_err();
        assert!(why.contains("refused") && !why.contains("/map"), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/map", listener.local_addr().unwrap());
        assert_eq!(get(&url, 5).await, Err("the request timed out".to_owned()));
    }
}
