//! TLS: certificates from files or created by the server, reloaded when the files change, with the relay's key in the chain.
//! No other module uses the names of `rustls`.

mod generated;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use headsail_wire::keys::hex;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::Certificate;
use crate::system::files::{self, Watch};

/// How often the files are checked.
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// Larger files are not certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Makes aws-lc the cryptography provider of every TLS connection of this process, those of the HTTP client included. Another
/// call is a no-op.
pub fn install_provider() {
    // The error means that a provider is installed already.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// Why there is no TLS.
#[derive(Debug)]
pub struct TlsError(String);

impl TlsError {
    fn file(path: &Path, why: &dyn fmt::Display) -> TlsError {
        TlsError(format!("cannot use the TLS file `{}`: {why}", path.display()))
    }

    fn create(why: &dyn fmt::Display) -> TlsError {
        TlsError(format!("cannot create a TLS certificate: {why}"))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// The current certificate of the TLS listeners.
pub struct Certificates {
    cert: PathBuf,
    key: PathBuf,
    self_signed: bool,
    relay_key: Option<CertificateDer<'static>>,
    /// The chain ends with the certificate that has the relay's key.
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Loads the certificate. A self-signed one is created first if it is missing, lacks one of `names` (DNS names and addresses
    /// without brackets) or expires soon. `relay_key` is the public key of the relay.
    ///
    /// # Errors
    /// A file cannot be used, or the key does not belong to the certificate.
    pub fn open(
        certificate: &Certificate,
        names: &[String],
        relay_key: Option<&[u8; 32]>,
    ) -> Result<Arc<Certificates>, TlsError> {
        let now = jiff::Timestamp::now();
        let (cert, key, self_signed) = match certificate {
            Certificate::Files { cert, key } => (cert, key, false),
            Certificate::SelfSigned { cert, key } => (cert, key, true),
        };
        let relay_key = relay_key.map(|key| generated::relay_key_certificate(key, now)).transpose()?;
        if self_signed {
            generated::ensure_self_signed(cert, key, names, now)?;
        }
        let shown = match load(cert, key, relay_key.as_ref()) {
            Err(_) if self_signed => {
                // Damaged, or half of a pair after a crash: nothing of ours is worth keeping.
                std::fs::remove_file(cert).map_err(|error| TlsError::file(cert, &error))?;
                generated::ensure_self_signed(cert, key, names, now)?;
                load(cert, key, relay_key.as_ref())
            }
            other => other,
        }?;
        Ok(Arc::new(Certificates {
            cert: cert.clone(),
            key: key.clone(),
            self_signed,
            relay_key,
            current: RwLock::new(Arc::new(shown)),
        }))
    }

    /// How a DERP map pins this certificate, if clients cannot verify it otherwise: `sha256-raw:` and the SHA-256 of the whole
    /// leaf in DER, in lower-case hex.
    pub fn pin(&self) -> Option<String> {
        let shown = self.shown();
        let leaf = shown.cert.first().filter(|_| self.self_signed)?;
        let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, leaf);
        Some(format!("sha256-raw:{}", hex(digest.as_ref())))
    }

    /// Reloads the files and logs the result. If they are unusable, the old certificate stays in use.
    pub async fn reload(self: &Arc<Self>) {
        let ours = self.clone();
        match files::run_blocking(move || ours.load_again().map_err(io::Error::other)).await {
            Ok(true) => tracing::info!(file = %self.cert.display(), "reloaded the TLS certificate"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot reload the TLS certificate; still using the old one")
            }
        }
    }

    /// Returns whether the certificate has changed.
    fn load_again(&self) -> Result<bool, TlsError> {
        let shown = load(&self.cert, &self.key, self.relay_key.as_ref())?;
        let changed = shown.cert != self.shown().cert;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shown);
        Ok(changed)
    }

    /// Reloads the certificate whenever one of its two files changes, for ever.
    pub async fn watch(self: Arc<Self>) {
        let watch = |path: &PathBuf| Watch::new(path.clone(), MAX_FILE_BYTES);
        let (mut cert, mut key) = (watch(&self.cert), watch(&self.key));
        loop {
            // If a file cannot be read, loading it reports that.
            let _ = tokio::select! {
                news = cert.next_change(WATCH_EVERY) => news,
                news = key.next_change(WATCH_EVERY) => news,
            };
            self.reload().await;
        }
    }

    fn shown(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("cert", &self.cert).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown())
    }
}

/// The TLS configuration of listeners: versions 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// # Errors
/// The cryptography provider does not support the configuration.
pub fn server_config(certificates: Arc<Certificates>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError(format!("cannot set up TLS: {error}")))?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Official clients do not resume sessions: tickets would only cost bytes and memory for each connection.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The TLS configuration of an HTTP client that trusts Mozilla's roots, for machines without roots of their own.
///
/// # Errors
/// The cryptography provider does not support the configuration.
pub(crate) fn public_client_config() -> Result<ClientConfig, TlsError> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError(format!("cannot set up TLS: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The names that a self-signed certificate should cover: the host of the server's URL first, then the addresses.
pub fn certificate_names(server_host: &str, addresses: &[IpAddr]) -> Vec<String> {
    let mut names = vec![server_host.to_owned()];
    let local = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    for name in addresses.iter().map(IpAddr::to_string).chain(local) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn load(
    cert: &Path,
    key: &Path,
    relay_key: Option<&CertificateDer<'static>>,
) -> Result<CertifiedKey, TlsError> {
    let read = |path: &Path| {
        files::read_bounded(path, MAX_FILE_BYTES).map_err(|error| TlsError::file(path, &explained(&error)))
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(read(cert)?.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::file(cert, &format_args!("it is not valid PEM: {error}")))?;
    if chain.is_empty() {
        return Err(TlsError::file(cert, &"it contains no certificate in PEM format"));
    }
    let secret = PrivateKeyDer::from_pem_slice(read(key)?.as_bytes())
        .map_err(|_| TlsError::file(key, &"it contains no private key in PEM format"))?;
    let provider = aws_lc_rs::default_provider();
    let mut shown = CertifiedKey::from_der(chain, secret, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::file(
            key,
            &format_args!("it is not the private key of the certificate `{}`", cert.display()),
        ),
        other => TlsError::file(key, &other),
    })?;
    shown.cert.extend(relay_key.cloned());
    Ok(shown)
}

fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "it does not exist; correct `tls_cert_path` and `tls_key_path` in the configuration".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
