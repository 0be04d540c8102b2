//! Compiles policies off the threads that serve connections, a few at a time: the largest ones take a second each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headsail_api::Problem;
use tokio::sync::Semaphore;

use super::error::Refusal;
use crate::system::seldom::Seldom;

/// Policies that are compiled at once: that leaves processors for everything else.
const AT_ONCE: usize = 2;
/// Requests that may be compiling or waiting for it. Each holds a policy of up to 4 MiB.
const MAX_REQUESTS: usize = 16;

/// Limits how many policies are checked, previewed and explained at once.
pub struct Checks {
    requests: Semaphore,
    compiling: Arc<Semaphore>,
    refused: AtomicU64,
    line: Seldom,
}

impl Default for Checks {
    fn default() -> Checks {
        let (requests, compiling) = (Semaphore::new(MAX_REQUESTS), Arc::new(Semaphore::new(AT_ONCE)));
        Checks { requests, compiling, refused: AtomicU64::new(0), line: Seldom::default() }
    }
}

impl Checks {
    /// How many requests were refused because too many others were waiting.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Runs `work` on a thread of its own, once few others are running.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let Ok(_request) = self.requests.try_acquire() else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            if self.line.is_due() {
                tracing::warn!(
                    "more than {MAX_REQUESTS} policies are being checked at once: others are refused"
                );
            }
            return Err(Problem::new(503, "the server is checking too many policies; try again later").into());
        };
        let stopped = || Refusal::from(Problem::internal("the server could not check the policy"));
        let permit = self.compiling.clone().acquire_owned().await.map_err(|_| stopped())?;
        let worker = tokio::task::spawn_blocking(move || {
            // Kept until the work is done, even if its caller has gone.
            let _permit = permit;
            work()
        });
        worker.await.map_err(|_| stopped())?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn few_policies_are_compiled_at_once_and_few_wait() {
        let checks = Arc::new(Checks::default());
        let (started, starts) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        let goes = Arc::new(std::sync::Mutex::new(goes));
        let mut running = Vec::new();
        for _ in 0..MAX_REQUESTS {
            let (checks, started, goes) = (checks.clone(), started.clone(), goes.clone());
            running.push(tokio::spawn(async move {
                let work = move || {
                    started.send(()).unwrap();
                    goes.lock().unwrap().recv().unwrap();
                    Ok(())
                };
                checks.run(work).await
            }));
        }
        while checks.requests.available_permits() > 0 || checks.compiling.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refusal = checks.run(|| Ok(())).await.unwrap_err();
        assert_eq!((refusal.0.status, checks.refused()), (503, 1));
        for _ in 0..AT_ONCE {
            starts.recv().unwrap();
        }
        assert!(starts.try_recv().is_err(), "no other starts before one of them is done");
        for _ in 0..MAX_REQUESTS {
            go.send(()).unwrap();
        }
        for request in running {
            assert!(request.await.unwrap().is_ok());
        }
        assert!(checks.run(|| Ok(())).await.is_ok());
    }
}
