//! `GET /health`: whether the server works, for load balancers and monitoring.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::app::TailnetService;

/// Answers in the format of `draft-inadarei-api-health-check`.
pub async fn get(State(tailnet): State<Arc<TailnetService>>) -> Response {
    let (status, body) = if tailnet.health.is_good().await {
        (StatusCode::OK, r#"{"status":"pass"}"#)
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, r#"{"status":"fail"}"#)
    };
    (status, [(header::CONTENT_TYPE, "application/health+json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use headsail_tailnet::command::Command;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use crate::app::App;
    use crate::clerk::health::GOOD_FOR;
    use crate::{http, testing};

    async fn health(app: &App) -> (u16, String) {
        let request = Request::get("/health").body(Body::empty()).unwrap();
        let response = http::public(app.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_damaged_database_is_not_healthy() {
        let app = testing::app();
        app.tailnet.clerk.report_damage();
        assert_eq!(health(&app).await.0, 500);
    }

    #[tokio::test]
    async fn a_health_check_asks_the_disk_only_once_in_a_while() {
        let app = testing::app();
        assert_eq!(health(&app).await, (200, r#"{"status":"pass"}"#.to_owned()));
        app.tailnet.clerk.stop(Command::Shutdown).await;
        assert_eq!(health(&app).await.0, 200, "known from a moment ago");
        tokio::time::pause();
        tokio::time::advance(GOOD_FOR).await;
        tokio::time::resume();
        assert_eq!(health(&app).await, (500, r#"{"status":"fail"}"#.to_owned()));
    }
}
