//! Why a command is refused.

use std::fmt::Display;

use headsail_policy::{Diagnostic, Refusal, TestFailure};
use headsail_wire::capver::CapVer;

/// Why a policy is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFindings {
    /// Errors in the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The policy's own tests that failed.
    pub tests: Vec<TestFailure>,
}

impl PolicyFindings {
    /// One line for each finding.
    pub fn text(&self) -> String {
        let refusal = Refusal { diagnostics: self.diagnostics.clone() }.to_string();
        let failed = self.tests.iter().map(TestFailure::to_string);
        let heading = (!self.tests.is_empty()).then(|| "test(s) failed".to_owned());
        Some(refusal)
            .filter(|r| !r.is_empty())
            .into_iter()
            .chain(heading)
            .chain(failed)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Why a command is refused: the request is invalid, or does not fit the tailnet as it is. The text is for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    Invalid(String),
    NotFound(String),
    /// It collides with a row that exists.
    Conflict(String),
    /// The node key belongs to another machine.
    Foreign,
    /// The client's capability version is below the floor.
    TooOld(CapVer),
    /// The login is denied. Clients show the text to their user verbatim.
    Refused(String),
    /// The node's key has expired: the client has to generate a new one.
    KeyExpired,
    /// The machine changes its node too often.
    TooOften,
    /// A table is full; the text says which.
    Full(String),
    /// A policy that does not compile, or whose tests fail.
    BadPolicy(PolicyFindings),
}

impl Rejection {
    pub fn no_node(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("there is no node with id `{id}`"))
    }

    pub fn no_user(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("there is no user with id `{id}`"))
    }

    pub fn no_auth_key(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("there is no pre-auth key with id `{id}`"))
    }

    pub fn no_api_key(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("there is no API key with id `{id}`"))
    }

    pub fn no_login(id: impl Display) -> Rejection {
        Rejection::NotFound(format!("there is no pending login `{id}`; it may have timed out: log in again"))
    }

    pub fn no_session(id: impl Display) -> Rejection {
        Rejection::NotFound(format!(
            "there is no pending SSH session `{id}`; it may have timed out: start it again"
        ))
    }

    /// The text for the caller.
    pub fn text(&self) -> String {
        match self {
            Rejection::Invalid(t)
            | Rejection::NotFound(t)
            | Rejection::Conflict(t)
            | Rejection::Refused(t)
            | Rejection::Full(t) => t.clone(),
            Rejection::BadPolicy(findings) => findings.text(),
            Rejection::Foreign => {
                "this node key belongs to another machine; log in again to get one of your own".into()
            }
            Rejection::TooOld(v) => format!(
                "this client is too old (capability version {v}): update it to {} or later",
                CapVer::FLOOR_RELEASE
            ),
            Rejection::TooOften => "this machine changes its node too often; try again in a while".into(),
            Rejection::KeyExpired => "the node key has expired; log in again".into(),
        }
    }
}
