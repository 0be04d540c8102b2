//! The policy.

use headsail_api::Problem;

use super::error::Refusal;

/// The answer while there is no policy: everybody may reach everybody.
pub async fn absent() -> Refusal {
    Problem::new(501, "this server has no policy yet: every node may reach every other").into()
}
