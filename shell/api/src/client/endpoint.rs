//! The address of a server, and the credential for it.

use std::fmt;
use std::path::PathBuf;

use http::HeaderValue;
use http::Uri;

use super::ClientError;

/// Where a server is reached.
#[derive(Clone)]
pub enum Endpoint {
    /// The unix socket of a server on this machine. Access is controlled by the permissions of the socket file.
    Socket(PathBuf),
    /// A server over the network, with an API key.
    Remote(Remote),
}

/// A server that is reached over HTTP or HTTPS.
#[derive(Clone)]
pub struct Remote {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) insecure: bool,
    base_path: String,
    key: ApiSecret,
}

/// An API key. It implements neither `Debug` nor `Display`, so it cannot end up in a log.
#[derive(Clone)]
pub struct ApiSecret(String);

impl ApiSecret {
    /// Wraps a key, `hskey-api-…`.
    pub fn new(key: String) -> ApiSecret {
        ApiSecret(key)
    }
}

/// The default port of the gRPC interface that Headscale offered up to 0.29.
const OLD_GRPC_PORT: u16 = 50443;

impl Remote {
    /// Parses an address: a URL, or `host` or `host:port`, which mean HTTPS. With `insecure`, any certificate is
    /// accepted.
    ///
    /// # Errors
    /// A message for people if the address is invalid or is that of the former gRPC interface.
    pub fn new(address: &str, key: ApiSecret, insecure: bool) -> Result<Remote, String> {
        let address = address.trim();
        let url = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
        let malformed =
            || format!("`{address}` is not a server address; write it like https://headscale.example.com");
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(malformed)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(malformed()),
        };
        if !address.contains("://") && uri.port_u16() == Some(OLD_GRPC_PORT) {
            return Err(format!(
                "`{address}` is the address of the gRPC interface, which Headscale offered only up to 0.29; use the \
                 server's URL instead, such as https://{host}"
            ));
        }
        Ok(Remote {
            tls,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            insecure,
            base_path: uri.path().trim_end_matches('/').to_owned(),
            key,
        })
    }
}

impl Endpoint {
    /// The path prefix of the API, for a server behind a proxy that serves it below a path.
    pub(super) fn base_path(&self) -> &str {
        match self {
            Endpoint::Socket(_) => "",
            Endpoint::Remote(r) => &r.base_path,
        }
    }

    /// The `Host` header.
    pub(super) fn host(&self) -> String {
        match self {
            Endpoint::Socket(_) => "localhost".to_owned(),
            Endpoint::Remote(r) if (r.tls, r.port) == (true, 443) || (r.tls, r.port) == (false, 80) => {
                r.host.clone()
            }
            Endpoint::Remote(r) => format!("{}:{}", r.host, r.port),
        }
    }

    /// The `Authorization` header, if this endpoint needs one.
    pub(super) fn bearer(&self) -> Result<Option<HeaderValue>, ClientError> {
        let Endpoint::Remote(Remote { key, .. }) = self else { return Ok(None) };
        let mut value = HeaderValue::try_from(format!("Bearer {}", key.0)).map_err(|_| {
            ClientError::Unreachable(
                "the API key contains characters that are never part of an API key; check HEADSCALE_CLI_API_KEY".into(),
            )
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Socket(path) => write!(f, "`{}`", path.display()),
            Endpoint::Remote(r) => {
                let scheme = if r.tls { "https" } else { "http" };
                write!(f, "`{scheme}://{}{}`", self.host(), r.base_path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(address: &str) -> Result<String, String> {
        Remote::new(address, ApiSecret::new("k".into()), false).map(|r| Endpoint::Remote(r).to_string())
    }

    #[test]
    fn addresses_are_parsed_and_shown() {
        assert_eq!(remote("hs.example.com").unwrap(), "`https://hs.example.com`");
        assert_eq!(remote("hs.example.com:8443").unwrap(), "`https://hs.example.com:8443`");
        assert_eq!(remote("http://127.0.0.1:8080/").unwrap(), "`http://127.0.0.1:8080`");
        assert_eq!(remote("https://x.example/headscale/").unwrap(), "`https://x.example/headscale`");
        assert_eq!(remote("http://[::1]:80").unwrap(), "`http://[::1]`");
        for wrong in ["", "ftp://x", "https://", "a b"] {
            assert!(remote(wrong).unwrap_err().contains("is not a server address"), "{wrong}");
        }
    }

    #[test]
    fn the_old_grpc_address_is_refused_with_a_hint() {
        let e = remote("hs.example.com:50443").unwrap_err();
        assert!(e.contains("gRPC") && e.contains("https://hs.example.com"), "{e}");
        assert!(remote("https://hs.example.com:50443").is_ok());
    }
}
