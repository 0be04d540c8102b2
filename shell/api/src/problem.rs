//! Error responses of the API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The content type of a [`Problem`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// An error response (RFC 7807, content type `application/problem+json`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Problem {
    /// The name of the HTTP status, such as `Not Found`.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, as a message for people.
    pub detail: String,
    /// The individual errors, if there are several or if they have a position in the request or policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Finding>,
}

/// An error or warning about one field of a request or one place in a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Finding {
    /// Whether this is an error, which caused the rejection, or a warning.
    pub severity: Severity,
    /// What is wrong, as a message for people.
    pub message: String,
    /// A short, stable name of this kind of finding, such as `unknown-tag`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The field, such as `body.name`, or the path in the policy, such as `acls[2].src[0]`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub location: String,
    /// The offending value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Line in the policy text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in the line, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// Length of the offending text in characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// What would be accepted, or what to do next.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The request is rejected because of it.
    #[default]
    Error,
    /// Accepted, but it may not do what was intended.
    Warning,
}

impl Problem {
    /// A problem with a status and a message.
    pub fn new(status: u16, detail: impl Into<String>) -> Problem {
        Problem { title: title(status).to_owned(), status, detail: detail.into(), errors: Vec::new() }
    }

    /// 400: the request is invalid.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(400, detail)
    }

    /// 401: the request has no valid API key.
    pub fn unauthorized() -> Problem {
        Problem::new(401, "Unauthorized")
    }

    /// 404: the resource does not exist.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(404, detail)
    }

    /// 409: the request conflicts with existing data.
    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(409, detail)
    }

    /// 500: the server failed. The detail must not reveal internals.
    pub fn internal(detail: impl Into<String>) -> Problem {
        Problem::new(500, detail)
    }

    /// Adds the individual errors.
    pub fn with_errors(mut self, errors: Vec<Finding>) -> Problem {
        self.errors = errors;
        self
    }

    /// Parses an error body: RFC 7807, or `{code, message, details}` of Headscale before 0.30. Any other body becomes the
    /// detail, up to 500 characters.
    pub fn read(status: u16, body: &[u8]) -> Problem {
        #[derive(Deserialize)]
        struct Old {
            message: String,
        }
        if let Ok(p) = serde_json::from_slice::<Problem>(body)
            && !(p.detail.is_empty() && p.title.is_empty())
        {
            return Problem { status, ..p };
        }
        if let Ok(old) = serde_json::from_slice::<Old>(body) {
            return Problem::new(status, old.message);
        }
        let text = String::from_utf8_lossy(body);
        match text.trim() {
            "" => Problem::new(status, title(status)),
            t => Problem::new(status, t.chars().take(500).collect::<String>()),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.detail.is_empty() { &self.title } else { &self.detail })?;
        for e in self.errors.iter().filter(|e| e.message != self.detail) {
            f.write_str("\n  ")?;
            if let Some(line) = e.line {
                write!(f, "line {line}: ")?;
            } else if !e.location.is_empty() {
                write!(f, "{}: ", e.location)?;
            }
            if e.severity == Severity::Warning {
                f.write_str("warning: ")?;
            }
            f.write_str(&e.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// The name of an HTTP status (RFC 9110) that the API uses.
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_written_as_rfc_7807() {
        let p = Problem::not_found("node `7` not found");
        assert_eq!(
            serde_json::to_string(&p).unwrap(),
            r#"{"title":"Not Found","status":404,"detail":"node `7` not found"}"#
        );
        let p = Problem::bad_request("the policy has 1 error").with_errors(vec![Finding {
            message: "unknown group".into(),
            value: "group:x".into(),
            line: Some(3),
            column: Some(12),
            length: Some(7),
            ..Finding::default()
        }]);
        let old: Problem = serde_json::from_str(r#"{"title":"x","errors":[{"message":"m"}]}"#).unwrap();
        assert_eq!(old.errors.first().map(|f| f.severity), Some(Severity::Error));
        assert_eq!(
            serde_json::to_string(&p).unwrap(),
            concat!(
                r#"{"title":"Bad Request","status":400,"detail":"the policy has 1 error","errors":[{"severity":"#,
                r#""error","message":"unknown group","value":"group:x","line":3,"column":12,"length":7}]}"#
            )
        );
        assert_eq!(p.to_string(), "the policy has 1 error\n  line 3: unknown group");
        let warning = Finding {
            severity: Severity::Warning,
            message: "unused".into(),
            line: Some(4),
            ..Finding::default()
        };
        assert!(serde_json::to_string(&warning).unwrap().starts_with(r#"{"severity":"warning","#));
        let p = p.with_errors(vec![warning]);
        assert_eq!(p.to_string(), "the policy has 1 error\n  line 4: warning: unused");
    }

    #[test]
    fn error_bodies_of_every_generation_are_parsed() {
        let new = br#"{"title":"Not Found","status":404,"detail":"no such user","$schema":"x"}"#;
        assert_eq!(Problem::read(404, new).detail, "no such user");
        let old = br#"{"code":2,"message":"user not found","details":[]}"#;
        assert_eq!(Problem::read(500, old), Problem::new(500, "user not found"));
        assert_eq!(Problem::read(502, b"bad gateway\n").detail, "bad gateway");
        assert_eq!(Problem::read(503, b"").detail, "Service Unavailable");
    }
}
