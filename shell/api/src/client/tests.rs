//! The client against a small server that records its requests.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use super::{ApiSecret, Client, ClientError, Endpoint, Remote};
use crate::v1::node::SetTagsRequest;
use crate::v1::user::{CreateUserRequest, ListUsersQuery};

const LIMIT: Duration = Duration::from_secs(20);

/// Recorded requests: request line, `Authorization` header, body.
type Log = Arc<Mutex<Vec<(String, Option<String>, String)>>>;

/// Serves one connection and responds to every request with `answer`.
async fn serve<S>(stream: S, log: Log, answer: (u16, &'static str))
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let log = log.clone();
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let bearer = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            log.lock().unwrap().push((line, bearer, String::from_utf8(body.to_vec()).unwrap()));
            let response = Response::builder().status(answer.0).body(Full::new(Bytes::from(answer.1)));
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A directory that is removed when the test ends.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("headsail-api-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn requests_are_sent_over_the_socket() {
    let dir = Dir::new("socket");
    let path = dir.0.join("s.sock");
    let log = Log::default();
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn({
        let log = log.clone();
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(
                    stream,
                    log.clone(),
                    (200, r#"{"users":[{"id":"7","name":"alice"}],"node":{"id":"9"}}"#),
                )
                .await;
            }
        }
    });
    let client = Client::new(Endpoint::Socket(path), LIMIT);
    let users =
        client.list_users(&ListUsersQuery { name: "a b".into(), ..Default::default() }).await.unwrap();
    assert_eq!((users.users[0].id, users.users[0].name.as_str()), (7, "alice"));
    let node = client.set_tags(9, &SetTagsRequest { tags: vec!["tag:x".into()] }).await.unwrap();
    assert_eq!(node.node.id, 9);
    client.rename_user(3, "new/name").await.unwrap();
    server.abort();
    let asked = log.lock().unwrap().clone();
    let expected = [
        ("GET /api/v1/user?name=a+b", ""),
        ("POST /api/v1/node/9/tags", r#"{"tags":["tag:x"]}"#),
        ("POST /api/v1/user/3/rename/new%2Fname", ""),
    ];
    assert_eq!(asked, expected.map(|(line, body)| (line.to_owned(), None, body.to_owned())));
}

#[tokio::test]
async fn a_missing_socket_is_retried() {
    let dir = Dir::new("late");
    let path = dir.0.join("s.sock");
    let client = Client::new(Endpoint::Socket(path.clone()), LIMIT);
    let (health, ()) = tokio::join!(client.health(), async {
        tokio::task::yield_now().await;
        let listener = UnixListener::bind(&path).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(stream, Log::default(), (200, r#"{"databaseConnectivity":true}"#)));
    });
    assert!(health.unwrap().database_connectivity);
}

#[tokio::test]
async fn the_error_names_a_socket_that_never_appears() {
    let path = std::env::temp_dir().join("headsail-api-no-such-directory/s.sock");
    let client = Client::new(Endpoint::Socket(path.clone()), Duration::from_millis(60));
    let e = client.health().await.unwrap_err();
    assert!(matches!(e, ClientError::Unreachable(_)));
    assert!(
        e.to_string().contains(path.to_str().unwrap()) && e.to_string().contains("headsail serve"),
        "{e}"
    );
}

#[tokio::test]
async fn errors_carry_the_servers_message() {
    let dir = Dir::new("refusal");
    let path = dir.0.join("s.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let answers = [
            (409, r#"{"title":"Conflict","status":409,"detail":"user `a` exists"}"#),
            (401, r#"{"title":"Unauthorized","status":401}"#),
            (200, "<html>"),
        ];
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, Log::default(), answer).await;
        }
    });
    let client = Client::new(Endpoint::Socket(path), LIMIT);
    let request = CreateUserRequest { name: "a".into(), ..Default::default() };
    let e = client.create_user(&request).await.unwrap_err();
    assert!(matches!(&e, ClientError::Refused(p) if p.status == 409));
    assert_eq!(e.to_string(), "user `a` exists");
    let e = client.create_user(&request).await.unwrap_err();
    assert!(e.to_string().contains("API key"), "{e}");
    let e = client.create_user(&request).await.unwrap_err();
    assert!(matches!(e, ClientError::Unintelligible(_)));
    server.await.unwrap();
}

#[tokio::test]
async fn requests_are_sent_over_https_with_a_key() {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let log = Log::default();
    let server = tokio::spawn({
        let log = log.clone();
        async move {
            while let Ok((tcp, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(tcp).await {
                    serve(stream, log.clone(), (200, "")).await;
                }
            }
        }
    });
    let client = |insecure| {
        let remote = Remote::new(&address, ApiSecret::new("hskey-api-x".into()), insecure).unwrap();
        Client::new(Endpoint::Remote(remote), LIMIT)
    };
    let e = client(false).delete_api_key("abc").await.unwrap_err();
    assert!(e.to_string().contains("HEADSCALE_CLI_INSECURE"), "{e}");
    client(true).delete_api_key("abc").await.unwrap();
    client(true).delete_api_key_by_id(4).await.unwrap();
    server.abort();
    let lines: Vec<_> = log.lock().unwrap().iter().map(|(l, b, _)| (l.clone(), b.clone().unwrap())).collect();
    let expected = ["DELETE /api/v1/apikey/abc", "DELETE /api/v1/apikey/-?id=4"];
    assert_eq!(lines, expected.map(|l| (l.to_owned(), "Bearer hskey-api-x".to_owned())));
}
