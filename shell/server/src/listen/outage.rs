//! Pauses while the system refuses connections, and reports that once.

use std::io;
use std::time::Duration;

/// Pause after the system refused a connection, as when it has no memory for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whether the system refuses connections at the moment.
#[derive(Default)]
pub(super) struct Outage(bool);

impl Outage {
    /// Reports the first failure, and waits before the next attempt.
    pub async fn goes_on(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.0, true) {
            tracing::warn!("cannot accept connections, still trying: {error}");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    /// Notes that a connection was accepted.
    pub fn ends(&mut self) {
        if std::mem::take(&mut self.0) {
            tracing::info!("accepting connections again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_lasts_until_a_connection_is_accepted() {
        let mut outage = Outage::default();
        let full = io::Error::from_raw_os_error(24);
        outage.goes_on(&full).await;
        outage.goes_on(&full).await;
        assert!(outage.0);
        outage.ends();
        assert!(!outage.0);
    }
}
