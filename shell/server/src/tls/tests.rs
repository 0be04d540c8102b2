//! Handshakes in memory with a client that inspects the chain.

use std::fs;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConnection, SignatureScheme,
    SupportedProtocolVersion,
};

use super::*;

/// Accepts any certificate.
#[derive(Debug)]
struct AcceptAll;

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A client of this version that accepts any certificate.
fn client_config(version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAll))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// The chain that a client of this version sees, and the protocol that was chosen.
fn handshake(
    certificates: &Arc<Certificates>,
    version: &'static SupportedProtocolVersion,
) -> (Vec<CertificateDer<'static>>, Option<Vec<u8>>) {
    let config = client_config(version);
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut server = ServerConnection::new(server_config(certificates.clone()).unwrap()).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    let chain =
        client.peer_certificates().unwrap_or_default().iter().map(|cert| cert.clone().into_owned()).collect();
    (chain, client.alpn_protocol().map(<[u8]>::to_vec))
}

fn self_signed_in(dir: &Path) -> Certificate {
    Certificate::SelfSigned { cert: dir.join("s.crt"), key: dir.join("s.key") }
}

fn names() -> Vec<String> {
    certificate_names("192.168.1.5", &["192.168.1.5".parse().unwrap(), "fd00::5".parse().unwrap()])
}

#[test]
fn certificate_names_are_unique_and_begin_with_the_host() {
    assert_eq!(names(), ["192.168.1.5", "fd00::5", "localhost", "127.0.0.1", "::1"]);
}

#[test]
fn the_chain_of_a_self_signed_certificate_has_the_relay_key() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::open(&self_signed_in(dir.path()), &names(), Some(&[7; 32])).unwrap();
    let (chain, alpn) = handshake(&certificates, &rustls::version::TLS13);
    assert_eq!((chain.len(), alpn.as_deref()), (2, Some(&b"http/1.1"[..])));
    let wanted = format!("derpkey{}", "07".repeat(32));
    assert!(chain[1].windows(wanted.len()).any(|part| part == wanted.as_bytes()));
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, &chain[0]);
    assert_eq!(certificates.pin(), Some(format!("sha256-raw:{}", hex(digest.as_ref()))));
    assert_eq!(handshake(&certificates, &rustls::version::TLS12).0, chain);
    // The next start shows the same certificate, so that pins stay good.
    let again = Certificates::open(&self_signed_in(dir.path()), &names(), None).unwrap();
    assert_eq!(again.pin(), certificates.pin());
    assert_eq!(handshake(&again, &rustls::version::TLS13).0, chain[..1]);
}

#[test]
fn a_damaged_self_signed_pair_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let first = Certificates::open(&self_signed_in(dir.path()), &names(), None).unwrap();
    let other = tempfile::tempdir().unwrap();
    Certificates::open(&self_signed_in(other.path()), &names(), None).unwrap();
    fs::copy(other.path().join("s.key"), dir.path().join("s.key")).unwrap();
    let second = Certificates::open(&self_signed_in(dir.path()), &names(), None).unwrap();
    assert!(second.pin() != first.pin());
}

fn own_files(dir: &Path, from: &Path) -> Certificate {
    for (source, target) in [("s.crt", "own.crt"), ("s.key", "own.key")] {
        fs::copy(from.join(source), dir.join(target)).unwrap();
    }
    Certificate::Files { cert: dir.join("own.crt"), key: dir.join("own.key") }
}

#[tokio::test(start_paused = true)]
async fn certificate_files_are_never_pinned_and_are_reloaded_when_they_change() {
    let (dir, one, two) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Certificates::open(&self_signed_in(one.path()), &names(), None).unwrap();
    Certificates::open(&self_signed_in(two.path()), &names(), None).unwrap();
    let certificates = Certificates::open(&own_files(dir.path(), one.path()), &[], None).unwrap();
    assert_eq!(certificates.pin(), None);
    let (first, _) = handshake(&certificates, &rustls::version::TLS13);

    let watching = tokio::spawn(certificates.clone().watch());
    own_files(dir.path(), two.path());
    tokio::time::sleep(3 * WATCH_EVERY).await;
    let (second, _) = handshake(&certificates, &rustls::version::TLS13);
    assert!(second != first);

    fs::write(dir.path().join("own.crt"), "garbage").unwrap();
    assert!(certificates.load_again().is_err());
    tokio::time::sleep(3 * WATCH_EVERY).await;
    assert_eq!(handshake(&certificates, &rustls::version::TLS13).0, second);
    own_files(dir.path(), one.path());
    tokio::time::sleep(3 * WATCH_EVERY).await;
    assert_eq!(handshake(&certificates, &rustls::version::TLS13).0, first);
    watching.abort();
}

#[test]
fn errors_name_the_unusable_file() {
    let (dir, one, two) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Certificates::open(&self_signed_in(one.path()), &names(), None).unwrap();
    Certificates::open(&self_signed_in(two.path()), &names(), None).unwrap();
    let own = own_files(dir.path(), one.path());
    let error =
        || Certificates::open(&own, &[], None).err().map(|error| error.to_string()).unwrap_or_default();
    fs::copy(two.path().join("s.key"), dir.path().join("own.key")).unwrap();
    let (cert, key) = (dir.path().join("own.crt"), dir.path().join("own.key"));
    assert_eq!(
        error(),
        format!(
            "cannot use the TLS file `{}`: it is not the private key of the certificate `{}`",
            key.display(),
            cert.display()
        )
    );
    fs::write(&key, "nothing").unwrap();
    assert_eq!(
        error(),
        format!("cannot use the TLS file `{}`: it contains no private key in PEM format", key.display())
    );
    fs::write(&cert, "nothing").unwrap();
    assert_eq!(
        error(),
        format!("cannot use the TLS file `{}`: it contains no certificate in PEM format", cert.display())
    );
    fs::remove_file(&cert).unwrap();
    assert!(error().contains("it does not exist; correct `tls_cert_path`"));
}

#[tokio::test]
async fn a_plain_port_takes_tls_too() {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use crate::listen::{Service, Tls, accept};

    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::open(&self_signed_in(dir.path()), &names(), None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(|| async { "hello" }));
    let acceptor = TlsAcceptor::from(server_config(certificates).unwrap());
    tokio::spawn(accept(listener, Tls::Offered(acceptor), Service::new(router, None, 10)));

    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut plain = TcpStream::connect(addr).await.unwrap();
    plain.write_all(request).await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");

    let connector = TlsConnector::from(Arc::new(client_config(&rustls::version::TLS13)));
    let io = TcpStream::connect(addr).await.unwrap();
    let mut tls = connector.connect(ServerName::try_from("localhost").unwrap(), io).await.unwrap();
    tls.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // The server may end without a TLS goodbye.
    let _ = tls.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"hello"), "{answer:?}");
}
