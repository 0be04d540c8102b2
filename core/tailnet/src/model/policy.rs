//! The row of a tailnet's policy.

use std::sync::Arc;

use headsail_policy::{Policy, Refusal, Settings};
use headsail_wire::time::Time;

/// The policy in effect.
#[derive(Clone, Debug)]
pub struct PolicyRow {
    pub policy: Arc<Policy>,
    /// When it took effect.
    pub updated: Time,
    /// Whether it is stored in the database. Otherwise it comes from a file, which is read at every startup.
    pub kept: bool,
}

impl PartialEq for PolicyRow {
    fn eq(&self, other: &PolicyRow) -> bool {
        (self.text(), self.updated, self.kept) == (other.text(), other.updated, other.kept)
    }
}

impl PolicyRow {
    /// Parses a policy. `user:*@domain` may only use the given domains, or any domain if none are given.
    ///
    /// # Errors
    /// All problems of the policy.
    pub fn parse(text: &str, domains: &[String], updated: Time, kept: bool) -> Result<PolicyRow, Refusal> {
        let policy = Policy::parse(text, &Settings { domains: domains.to_vec() })?;
        Ok(PolicyRow { policy: Arc::new(policy), updated, kept })
    }

    /// The policy's text, unchanged.
    pub fn text(&self) -> &str {
        self.policy.text()
    }
}
