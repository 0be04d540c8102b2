//! Short answers of the control protocol, and the status of each refusal.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use headsail_tailnet::command::Rejection;

use crate::clerk::Failure;

/// A short answer for people.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{}\n", text.into())));
    *response.status_mut() = status;
    response
}

/// The status of a failed map request.
pub(super) fn refuse(failure: Failure) -> Response<Body> {
    match failure {
        Failure::Rejected(rejection) => {
            let status = match &rejection {
                Rejection::NotFound(_) => StatusCode::NOT_FOUND,
                Rejection::Foreign | Rejection::Refused(_) | Rejection::KeyExpired => {
                    StatusCode::UNAUTHORIZED
                }
                Rejection::Invalid(_)
                | Rejection::TooOld(_)
                | Rejection::Conflict(_)
                | Rejection::BadPolicy(_) => StatusCode::BAD_REQUEST,
                Rejection::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            text(status, rejection.text())
        }
        Failure::Fault(why) => text(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}
