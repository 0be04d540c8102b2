//! Help for tests.

use headsail_api::Problem;

use super::error::Refusal;

/// [`headsail_api::paths::DEBUG_CREATE_NODE`]
pub async fn create_node() -> Refusal {
    Problem::new(501, "this server makes no nodes up; register one with a client or an auth key").into()
}
