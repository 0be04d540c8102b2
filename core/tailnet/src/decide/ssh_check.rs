//! SSH sessions that a person has to approve.

use std::sync::Arc;

use headsail_wire::ids::NodeId;
use headsail_wire::time::Time;

use crate::change::Change;
use crate::command::{Env, Rejection};
use crate::model::ssh_check::{MAX_SSH_CHECKS, SshCheck};
use crate::model::ticket::{TicketState, ticket_id};
use crate::tailnet::Tailnet;

/// Minimum seconds for which a settled check is kept, so that the session that waits for it learns the outcome.
const REMEMBERED_SECS: i64 = 60;

/// An approved check whose period is not over and covers this session, so that no new one is needed.
pub fn standing_consent<'a>(
    t: &'a Tailnet,
    src: NodeId,
    dst: NodeId,
    account: &'a str,
    now: Time,
) -> Option<&'a Arc<SshCheck>> {
    let period = t.access().engine().ssh_check_secs(src, dst, account)?;
    of_session(t, src, dst, account).find(|c| period > 0 && c.state == TicketState::Granted && c.until > now)
}

fn of_session<'a>(
    t: &'a Tailnet,
    src: NodeId,
    dst: NodeId,
    account: &'a str,
) -> impl Iterator<Item = &'a Arc<SshCheck>> {
    t.ssh_checks().filter(move |c| (c.src, c.dst, c.account.as_str()) == (src, dst, account))
}

/// The pending check of this session.
pub fn waiting_check<'a>(
    t: &'a Tailnet,
    src: NodeId,
    dst: NodeId,
    account: &'a str,
) -> Option<&'a Arc<SshCheck>> {
    of_session(t, src, dst, account).find(|c| c.state == TicketState::Waiting)
}

/// The outcome of a check, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No decision yet.
    Waiting,
    /// The session may continue.
    Granted,
    /// The session is refused, with a message for the user.
    Refused(String),
    /// There is no such check, or it belongs to another session.
    Unknown,
}

/// The outcome of a check for the session that waits for it. The current policy decides: if it no longer requires a check
/// for this account, the session is refused, and the user connects again under the new rules.
pub fn verdict(t: &Tailnet, check: &str, src: NodeId, dst: NodeId, account: &str) -> Verdict {
    let of_session = of_session(t, src, dst, account).find(|c| c.id == check);
    match of_session.map(|c| &c.state) {
        None => Verdict::Unknown,
        Some(_) if t.access().engine().ssh_check_secs(src, dst, account).is_none() => {
            Verdict::Refused("the policy has changed in the meantime; connect again".into())
        }
        Some(TicketState::Waiting) => Verdict::Waiting,
        Some(TicketState::Granted) => Verdict::Granted,
        Some(TicketState::Refused(why)) => Verdict::Refused(why.clone()),
    }
}

pub(super) fn ask(
    t: &Tailnet,
    src: NodeId,
    dst: NodeId,
    account: &str,
    env: &mut Env<'_>,
) -> Result<Vec<Change>, Rejection> {
    if t.access().engine().ssh_check_secs(src, dst, account).is_none() {
        return Err(Rejection::Invalid(format!(
            "the policy requires no check for node {src} to log in as `{account}` on node {dst}"
        )));
    }
    if waiting_check(t, src, dst, account).is_some()
        || standing_consent(t, src, dst, account, env.now).is_some()
    {
        return Ok(Vec::new());
    }
    let mut changes = Vec::new();
    if t.ssh_check_count() >= MAX_SSH_CHECKS
        && let Some(oldest) = t.ssh_checks().min_by_key(|c| c.until)
    {
        changes.push(Change::SshCheckGone(oldest.id.clone()));
    }
    let until = env.now.plus_secs(t.settings().ticket_secs);
    let id = ticket_id(&env.random());
    changes.push(Change::SshCheck(Arc::new(SshCheck {
        id,
        src,
        dst,
        account: account.to_owned(),
        state: TicketState::Waiting,
        until,
    })));
    Ok(changes)
}

/// Approves a session, and further sessions of the same kind for the check period of the policy.
pub(super) fn grant(t: &Tailnet, id: &str, now: Time) -> Result<Vec<Change>, Rejection> {
    let check = waiting(t, id)?;
    let period = t.access().engine().ssh_check_secs(check.src, check.dst, &check.account).unwrap_or(0);
    let until = now.plus_secs(period.max(REMEMBERED_SECS));
    Ok(vec![settled(check, TicketState::Granted, until)])
}

/// Denies a session.
pub(super) fn refuse(t: &Tailnet, id: &str, now: Time) -> Result<Vec<Change>, Rejection> {
    let check = waiting(t, id)?;
    let state = TicketState::Refused("the session was rejected by an administrator".into());
    Ok(vec![settled(check, state, now.plus_secs(REMEMBERED_SECS))])
}

fn settled(check: &SshCheck, state: TicketState, until: Time) -> Change {
    Change::SshCheck(Arc::new(SshCheck { state, until, ..check.clone() }))
}

fn waiting<'a>(t: &'a Tailnet, id: &str) -> Result<&'a Arc<SshCheck>, Rejection> {
    match t.ssh_check(id) {
        None => Err(Rejection::no_session(id)),
        Some(check) if check.state == TicketState::Waiting => Ok(check),
        Some(_) => Err(Rejection::Conflict(format!("session `{id}` was already approved or rejected"))),
    }
}
