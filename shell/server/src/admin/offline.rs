//! The policy while no server runs: read from and written to the database directly, with the same checks as in the
//! server.
//!
//! This is the way out if a policy prevents the server from working. The lock of the database prevents concurrent
//! writers.

use std::sync::Arc;

use headsail_api::Problem;
use headsail_api::v1::policy::{CheckPolicyResponse, PolicyResponse};
use headsail_policy::Policy;
use headsail_store::Store;
use headsail_store::sqlite::{Options, SqliteStore};
use headsail_tailnet::actor::Actor;
use headsail_tailnet::command::{Command, Env, PolicyFindings, Rejection};
use headsail_tailnet::commit::Commit;
use headsail_tailnet::decide::decide;
use headsail_tailnet::decide::policy::check as check_policy;
use headsail_tailnet::model::settings::Settings as TailnetSettings;
use headsail_tailnet::tailnet::Tailnet;

use super::error::Refusal;
use super::error::finding;
use super::policy::{NO_POLICY, shown, warnings};
use crate::config::{self, Config};
use crate::system::clock;
use crate::system::random;

/// The database of a server that is not running.
pub struct Offline {
    settings: Config,
    store: SqliteStore,
    tailnet: Tailnet,
}

impl Offline {
    /// # Errors
    /// The database does not exist, a server is using it, or it cannot be read.
    pub fn open(settings: Config) -> Result<Offline, String> {
        let path = &settings.database.path;
        if !path.exists() {
            return Err(format!(
                "there is no database `{}`; the server creates it at startup",
                path.display()
            ));
        }
        let mut store = SqliteStore::open(path, Options::default()).map_err(|e| e.to_string())?;
        let loaded = store.load().map_err(|e| e.to_string())?;
        let policy_domains = settings.policy_domains.clone();
        let tailnet_settings = TailnetSettings { policy_domains, ..TailnetSettings::basic() };
        let tailnet = Tailnet::of(Arc::new(tailnet_settings), &loaded);
        Ok(Offline { settings, store, tailnet })
    }

    /// # Errors
    /// The database has no policy.
    pub fn policy(&self) -> Result<PolicyResponse, Problem> {
        let row = self.tailnet.policy().ok_or_else(|| Problem::not_found(NO_POLICY))?;
        Ok(shown(row))
    }

    /// Checks a policy against the users and nodes of the database, and runs its tests.
    ///
    /// # Errors
    /// All findings.
    pub fn check(&self, text: &str) -> Result<CheckPolicyResponse, Problem> {
        let (row, _) = check_policy(&self.tailnet, text, clock::now(), true).map_err(problem)?;
        Ok(CheckPolicyResponse { warnings: warnings(&row) })
    }

    /// Saves a new policy, which takes effect at the next startup.
    ///
    /// # Errors
    /// The policy is invalid, or the database cannot be written.
    pub fn set(&mut self, text: &str) -> Result<PolicyResponse, Problem> {
        if let config::Policy::File(_) = self.settings.policy {
            return Err(Problem::bad_request(
                "the policy is loaded from a file: edit that file, or set `policy.mode: database`",
            ));
        }
        let command = Command::SetPolicy { text: text.to_owned(), kept: true };
        let mut env = Env { now: clock::now(), rng: &mut random::fill };
        let changes = decide(&self.tailnet, &command, &mut env).map_err(problem)?;
        let actor = Actor::UnixUser(rustix::process::getuid().as_raw());
        let commit = Commit::on(self.tailnet.revision(), env.now, vec![(actor, changes)]);
        self.store.commit(&commit).map_err(|e| Problem::new(503, e.to_string()))?;
        self.tailnet.apply_commit(&commit);
        self.policy()
    }
}

/// Checks the text of a policy on its own: neither against users and nodes, nor its tests.
///
/// # Errors
/// All findings.
pub fn check_text(text: &str) -> Result<CheckPolicyResponse, Problem> {
    match Policy::parse(text, &headsail_policy::Settings::default()) {
        Ok(policy) => Ok(CheckPolicyResponse { warnings: policy.warnings().iter().map(finding).collect() }),
        Err(refusal) => Err(problem(Rejection::BadPolicy(PolicyFindings {
            diagnostics: refusal.diagnostics,
            tests: Vec::new(),
        }))),
    }
}

fn problem(rejection: Rejection) -> Problem {
    Refusal::from(rejection).0
}
