//! Logins that a person has to approve.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::UserId;
use headsail_wire::time::Time;

use crate::change::Change;
use crate::command::{Env, Registration, Rejection};
use crate::decide::entry::{Entry, admit, tags_refused};
use crate::decide::host::of_a_stranger;
use crate::model::node::{Owner, RegisterMethod, Tags};
use crate::model::source::subscriber;
use crate::model::ticket::{Asking, TICKET_LEN, TICKET_PREFIX, Ticket, TicketState, ticket_id};
use crate::tailnet::Tailnet;

/// How many logins a machine may have, pending or settled: the current one, and one that was settled or overtaken by a new
/// node key. More would let one machine push out the logins of others.
pub const MAX_TICKETS_OF_A_MACHINE: usize = 2;

/// Whether a host asks for what a ticket already asks for.
pub fn same_host(ticket: &Ticket, told: &Hostinfo) -> bool {
    ticket.asking.same_host_as(&of_a_stranger(told))
}

/// A machine registers without a pre-auth key. It keeps its pending ticket if it asks for the same again. If it asks for
/// something else, a new ticket takes the place of the old one: what a person has seen must not change until it is decided.
pub(super) fn ask(t: &Tailnet, r: &Registration, env: &mut Env<'_>) -> Result<Vec<Change>, Rejection> {
    let mut asking = Asking {
        machine_key: r.machine_key,
        node_key: r.node_key,
        old_node_key: r.old_node_key,
        hostinfo: Arc::new(of_a_stranger(&r.hostinfo)),
        cap: r.cap,
        ephemeral: r.ephemeral,
        expiry: r.expiry,
        source: r.source,
    };
    let pending = waiting_for(t, &asking);
    if let Some(ticket) = pending {
        if ticket.asking.same_as(&asking) {
            return Ok(Vec::new());
        }
        if r.hostinfo == Hostinfo::default() {
            asking.hostinfo = ticket.asking.hostinfo.clone();
        }
    }
    Ok(pend(t, ticket_id(&env.random()), asking, pending, env.now))
}

/// Creates a pending login with a given id, which must not be in use.
pub(super) fn make(t: &Tailnet, id: &str, asking: &Asking, now: Time) -> Result<Vec<Change>, Rejection> {
    let fits = id.strip_prefix(TICKET_PREFIX).is_some_and(|rest| rest.len() == TICKET_LEN && rest.is_ascii());
    if !fits {
        return Err(Rejection::Invalid(format!(
            "`{id}` is not a login id; a login id is `{TICKET_PREFIX}` followed by {TICKET_LEN} characters"
        )));
    }
    if t.ticket(id).is_some() {
        return Err(Rejection::Conflict(format!("login `{id}` already exists; choose another id")));
    }
    Ok(pend(t, id.to_owned(), asking.clone(), None, now))
}

/// Adds a pending ticket in place of `replaced`. If its machine has as many as it may have, one of them is dropped. If the
/// table is full, the source address with the most tickets gives one up, so that no address can push out the others.
fn pend(t: &Tailnet, id: String, asking: Asking, replaced: Option<&Arc<Ticket>>, now: Time) -> Vec<Change> {
    let others = || t.tickets().filter(|k| replaced.is_none_or(|gone| gone.id != k.id));
    let of_machine = || others().filter(|k| k.asking.machine_key == asking.machine_key);
    let replaces = replaced.is_some() || of_machine().any(|k| k.state == TicketState::Waiting);
    let dropped = if of_machine().count() >= MAX_TICKETS_OF_A_MACHINE {
        of_machine().min_by_key(|k| place_in_line(k))
    } else if others().count() >= t.settings().max_tickets {
        of_the_largest_source(others(), asking.source)
    } else {
        None
    };
    let gone = replaced.into_iter().chain(dropped).map(|k| Change::TicketGone(k.id.clone()));
    let until = now.plus_secs(t.settings().ticket_secs);
    let ticket = Ticket { id, asking, state: TicketState::Waiting, replaces, until };
    gone.chain([Change::Ticket(Arc::new(ticket))]).collect()
}

/// Which of several tickets is dropped first: settled ones, then the oldest.
fn place_in_line(ticket: &Ticket) -> (bool, Time) {
    (ticket.state == TicketState::Waiting, ticket.until)
}

/// The ticket to drop for one more from `newcomer`: of the source that has the most with it, the first in line.
fn of_the_largest_source<'a>(
    all: impl Iterator<Item = &'a Arc<Ticket>>,
    newcomer: Option<IpAddr>,
) -> Option<&'a Arc<Ticket>> {
    let mut sources: BTreeMap<Option<IpAddr>, (usize, &Arc<Ticket>)> = BTreeMap::new();
    let newcomer = newcomer.map(subscriber);
    for ticket in all {
        let source = ticket.asking.source.map(subscriber);
        let (count, first) = sources.entry(source).or_insert((usize::from(source == newcomer), ticket));
        *count += 1;
        if place_in_line(ticket) < place_in_line(first) {
            *first = ticket;
        }
    }
    let most = sources.into_values().max_by_key(|(count, first)| (*count, Reverse(place_in_line(first))));
    most.map(|(_, first)| first)
}

fn waiting_for<'a>(t: &'a Tailnet, asking: &Asking) -> Option<&'a Arc<Ticket>> {
    t.tickets().find(|k| {
        k.state == TicketState::Waiting
            && k.asking.machine_key == asking.machine_key
            && k.asking.node_key == asking.node_key
    })
}

fn waiting<'a>(t: &'a Tailnet, id: &str) -> Result<&'a Arc<Ticket>, Rejection> {
    let ticket = t.ticket(id).ok_or_else(|| Rejection::no_login(id))?;
    match &ticket.state {
        TicketState::Waiting => Ok(ticket),
        TicketState::Granted => Err(Rejection::Conflict(format!("login `{id}` was already approved"))),
        TicketState::Refused(_) => Err(Rejection::Conflict(format!("login `{id}` was already rejected"))),
    }
}

/// Approves a login: its machine becomes a node of `user`.
pub(super) fn grant(
    t: &Tailnet,
    id: &str,
    user: UserId,
    env: &mut Env<'_>,
) -> Result<Vec<Change>, Rejection> {
    let ticket = waiting(t, id)?;
    if t.user(user).is_none() {
        return Err(Rejection::no_user(user));
    }
    let asking = &ticket.asking;
    let Some(owner) = owner_asked_for(t, user, &asking.hostinfo.request_tags) else {
        let refusal = tags_refused(&asking.hostinfo.request_tags);
        return Ok(vec![settle(ticket, TicketState::Refused(refusal.text()))]);
    };
    let entry = Entry {
        comes_back_as: None,
        machine_key: asking.machine_key,
        node_key: asking.node_key,
        old_node_key: asking.old_node_key,
        hostinfo: &asking.hostinfo,
        cap: asking.cap,
        owner,
        ephemeral: asking.ephemeral,
        expiry: asking.expiry,
        method: RegisterMethod::Cli,
        auth_key: None,
    };
    match admit(t, entry, env) {
        Ok(mut changes) => {
            changes.push(settle(ticket, TicketState::Granted));
            Ok(changes)
        }
        // While the login was pending, another machine registered the node key, so this login can no longer succeed.
        Err(refusal @ Rejection::Foreign) => Ok(vec![settle(ticket, TicketState::Refused(refusal.text()))]),
        Err(Rejection::KeyExpired) => {
            let why = "the machine registered by other means while this login was pending; to log in as a different \
                       user, run `tailscale up --force-reauth`";
            Ok(vec![settle(ticket, TicketState::Refused(why.into()))])
        }
        Err(refusal) => Err(refusal),
    }
}

/// The user; or the tags that the machine requests, if the user owns all of them.
fn owner_asked_for(t: &Tailnet, user: UserId, tags: &[String]) -> Option<Owner> {
    match Tags::new(tags.iter().cloned().collect()) {
        None => Some(Owner::User(user)),
        Some(asked) if tags.iter().all(|tag| t.access().engine().owns_tag(user, tag)) => {
            Some(Owner::Tags(asked))
        }
        Some(_) => None,
    }
}

/// Denies a login.
pub(super) fn refuse(t: &Tailnet, id: &str) -> Result<Vec<Change>, Rejection> {
    let ticket = waiting(t, id)?;
    Ok(vec![settle(ticket, TicketState::Refused("the login was rejected by an administrator".into()))])
}

fn settle(ticket: &Ticket, state: TicketState) -> Change {
    Change::Ticket(Arc::new(Ticket { state, ..ticket.clone() }))
}
