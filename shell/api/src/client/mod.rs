//! The typed client: one method per operation, over the server's unix socket or over HTTP(S) with an API key.

mod calls;
mod endpoint;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use endpoint::{ApiSecret, Endpoint, Remote};

use crate::paths::Route;
use crate::problem::Problem;

/// A client of one server. Each call opens its own connection.
pub struct Client {
    endpoint: Endpoint,
    timeout: Duration,
}

/// Why a call failed. The messages are for people.
#[derive(Debug)]
pub enum ClientError {
    /// The server could not be reached, or did not respond in time.
    Unreachable(String),
    /// The server responded with an error.
    Refused(Problem),
    /// The response could not be parsed, or the request could not be encoded.
    Unintelligible(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable(why) | ClientError::Unintelligible(why) => f.write_str(why),
            ClientError::Refused(p) if p.status == 401 => f.write_str(
                "the server rejected the API key; create one with `headsail apikeys create` on the server and set \
                 HEADSCALE_CLI_API_KEY",
            ),
            ClientError::Refused(p) => p.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {}

impl Client {
    /// Creates a client of the server at `endpoint`. Connecting and responding may take up to `timeout` each. A unix socket
    /// that does not exist yet is retried until the timeout.
    pub fn new(endpoint: Endpoint, timeout: Duration) -> Client {
        Client { endpoint, timeout }
    }

    /// How long connecting and responding may take each.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a request without a body; `query` becomes its query string.
    async fn ask<R: DeserializeOwned>(
        &self,
        route: Route,
        args: &[&str],
        query: &impl Serialize,
    ) -> Result<R, ClientError> {
        let mut target = route.fill(args);
        let query = serde_urlencoded::to_string(query)
            .map_err(|e| ClientError::Unintelligible(format!("cannot encode the query: {e}")))?;
        if !query.is_empty() {
            target = format!("{target}?{query}");
        }
        self.exchange(route, &target, Bytes::new()).await
    }

    /// Sends a request with a JSON body.
    async fn send<R: DeserializeOwned>(
        &self,
        route: Route,
        args: &[&str],
        body: &impl Serialize,
    ) -> Result<R, ClientError> {
        let body = serde_json::to_vec(body)
            .map_err(|e| ClientError::Unintelligible(format!("cannot encode the request: {e}")))?;
        self.exchange(route, &route.fill(args), body.into()).await
    }

    async fn exchange<R: DeserializeOwned>(
        &self,
        route: Route,
        target: &str,
        body: Bytes,
    ) -> Result<R, ClientError> {
        let mut request = Request::builder()
            .method(route.method.as_str())
            .uri(format!("{}{target}", self.endpoint.base_path()))
            .header(header::HOST, self.endpoint.host())
            .header(header::ACCEPT, "application/json, application/problem+json")
            .header(header::USER_AGENT, concat!("headsail/", env!("CARGO_PKG_VERSION")));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(bearer) = self.endpoint.bearer()? {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.body(http_body_util::Full::new(body)).map_err(|e| {
            ClientError::Unintelligible(format!("cannot build the request for `{target}`: {e}"))
        })?;
        let (status, answer) = transport::exchange(&self.endpoint, self.timeout, request).await?;
        read(&self.endpoint, status, &answer)
    }
}

/// Parses a response: a value, or the error that the server reports.
fn read<R: DeserializeOwned>(endpoint: &Endpoint, status: StatusCode, body: &[u8]) -> Result<R, ClientError> {
    if !status.is_success() {
        return Err(ClientError::Refused(Problem::read(status.as_u16(), body)));
    }
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|e| {
        ClientError::Unintelligible(format!(
            "cannot parse the response from {endpoint} ({e}); check that this is the address of a Headsail or \
             Headscale server"
        ))
    })
}
