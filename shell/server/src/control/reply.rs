//! Short responses of the control protocol, and the status of each rejection and fault.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use headsail_tailnet::command::Rejection;
use headsail_wire::register::RegisterResponse;

use crate::clerk::Failure;
use crate::clerk::rates::EVERY;

/// A short plain-text response.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{}\n", text.into())));
    *response.status_mut() = status;
    response
}

/// The response to a failed request.
pub(super) fn refuse(failure: Failure) -> Response<Body> {
    match failure {
        Failure::Rejected(Rejection::TooOften) => too_often(),
        Failure::Rejected(rejection) => text(status(&rejection), rejection.text()),
        Failure::Fault(_) => fault(),
    }
}

/// The response to a machine that changes its node too often. Clients repeat the request later.
fn too_often() -> Response<Body> {
    let mut response = text(StatusCode::TOO_MANY_REQUESTS, Rejection::TooOften.text());
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(EVERY.as_secs()));
    response
}

/// The response to a failed registration. Clients show the text of a refusal to their user only if it is in the body of a
/// registration response with status 200.
pub(super) fn refuse_registration(failure: Failure) -> Response<Body> {
    match failure {
        Failure::Rejected(Rejection::Invalid(why)) => text(StatusCode::BAD_REQUEST, why),
        Failure::Rejected(Rejection::KeyExpired) => Json(RegisterResponse::key_expired()).into_response(),
        Failure::Rejected(Rejection::TooOften) => too_often(),
        Failure::Rejected(rejection) => Json(RegisterResponse::refused(rejection.text())).into_response(),
        Failure::Fault(_) => fault(),
    }
}

/// An internal failure, without details: those are in the log, and are not for clients.
pub(super) fn fault() -> Response<Body> {
    text(StatusCode::INTERNAL_SERVER_ERROR, "the server could not process this request; try again later")
}

fn status(rejection: &Rejection) -> StatusCode {
    match rejection {
        Rejection::NotFound(_) => StatusCode::NOT_FOUND,
        Rejection::Foreign | Rejection::Refused(_) | Rejection::KeyExpired => StatusCode::UNAUTHORIZED,
        Rejection::Invalid(_) | Rejection::TooOld(_) | Rejection::Conflict(_) | Rejection::BadPolicy(_) => {
            StatusCode::BAD_REQUEST
        }
        Rejection::TooOften => StatusCode::TOO_MANY_REQUESTS,
        Rejection::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn responses_do_not_reveal_internal_faults() {
        let failure = || Failure::Fault("cannot write `/var/lib/headsail/db.sqlite`".into());
        for answer in [refuse(failure()), refuse_registration(failure())] {
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "the server could not process this request; try again later\n");
        }
    }
}
