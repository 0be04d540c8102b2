//! Errors as problem documents (RFC 7807).

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use headsail_api::Problem;
use headsail_api::problem::{CONTENT_TYPE, Finding, Severity};
use headsail_policy::Diagnostic;
use headsail_tailnet::command::{PolicyFindings, Rejection};

use crate::clerk::Failure;

#[derive(Debug)]
pub struct Refusal(pub Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal(problem)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Refusal {
        let status = match &rejection {
            // Headscale answers 409 only if the name of a new user exists (`users::create`); clients expect 400
            // otherwise.
            Rejection::Invalid(_) | Rejection::Conflict(_) | Rejection::Refused(_) => 400,
            Rejection::TooOld(_) | Rejection::KeyExpired | Rejection::BadPolicy(_) => 400,
            Rejection::NotFound(_) => 404,
            Rejection::Foreign => 403,
            Rejection::TooOften => 429,
            Rejection::Full(_) => 507,
        };
        let problem = Problem::new(status, rejection.text());
        match &rejection {
            Rejection::BadPolicy(found) => problem.with_errors(findings(found)).into(),
            _ => problem.into(),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        match failure {
            Failure::Rejected(rejection) => rejection.into(),
            Failure::Fault(why) => Problem::new(503, why).into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
    }
}

pub(super) fn finding(d: &Diagnostic) -> Finding {
    let number = |n: usize| u32::try_from(n).ok().filter(|n| *n > 0);
    let severity = match d.severity {
        headsail_policy::Severity::Error => Severity::Error,
        headsail_policy::Severity::Warning => Severity::Warning,
    };
    Finding {
        severity,
        message: d.message.clone(),
        code: d.code.to_owned(),
        line: number(d.line),
        column: number(d.column),
        length: number(d.length),
        help: d.help.clone(),
        ..Finding::default()
    }
}

/// The findings about a policy: diagnostics, then failed tests.
fn findings(found: &PolicyFindings) -> Vec<Finding> {
    let number = |n: usize| u32::try_from(n).ok().filter(|n| *n > 0);
    let tests = found.tests.iter().map(|t| Finding {
        message: [t.src.as_str(), t.what.as_str(), t.message.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": "),
        code: "test-failed".to_owned(),
        line: number(t.line),
        column: number(t.column),
        length: number(t.length),
        ..Finding::default()
    });
    found.diagnostics.iter().map(finding).chain(tests).collect()
}
