//! The policy of a tailnet, as a row.

use std::sync::Arc;

use headsail_policy::{Policy, Refusal, Settings};
use headsail_wire::time::Time;

/// The policy that holds.
#[derive(Clone, Debug)]
pub struct PolicyRow {
    /// What was read of the text.
    pub policy: Arc<Policy>,
    /// When it was set.
    pub updated: Time,
    /// Whether it is kept in the database; else it comes from a file, which is read at every start.
    pub kept: bool,
}

impl PartialEq for PolicyRow {
    fn eq(&self, other: &PolicyRow) -> bool {
        (self.text(), self.updated, self.kept) == (other.text(), other.updated, other.kept)
    }
}

impl PolicyRow {
    /// Reads a policy text. `user:*@domain` may name the given domains alone, or any domain where none is given.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn parse(text: &str, domains: &[String], updated: Time, kept: bool) -> Result<PolicyRow, Refusal> {
        let policy = Policy::parse(text, &Settings { domains: domains.to_vec() })?;
        Ok(PolicyRow { policy: Arc::new(policy), updated, kept })
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        self.policy.text()
    }
}
