//! SSH sessions that a person has to approve.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::{Client, Town};
use headsail_tailnet::change::Change;
use headsail_tailnet::command::Command;
use headsail_tailnet::decide::ssh_check::{Verdict, standing_consent, verdict, waiting_check};
use headsail_tailnet::model::ssh_check::{MAX_SSH_CHECKS, SshCheck};
use headsail_tailnet::model::ticket::TicketState;
use headsail_wire::ids::NodeId;

/// Sets a policy whose SSH rule has this action and these users.
fn policy(action: &str, users: &str) -> Command {
    let text = format!(
        r#"{{"acls": [{{"action": "accept", "src": ["*"], "dst": ["*:*"]}}],
            "ssh": [{{"action": "{action}", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": [{users}]}}]}}"#
    );
    Command::SetPolicy { text, kept: true }
}

fn two() -> (Town, NodeId, NodeId) {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let [src, dst] = [1, 2].map(|n| town.join(&Client::new(n, "host"), &key).id);
    town.make(policy("check", r#""root", "alice""#));
    (town, src, dst)
}

/// Starts a check and returns its id.
fn ask(town: &mut Town, src: NodeId, dst: NodeId, account: &str) -> String {
    town.make(Command::AskSsh { src, dst, account: account.into() });
    waiting_check(&town.t, src, dst, account).expect("a check is pending").id.clone()
}

#[test]
fn an_approval_covers_one_account_in_one_direction() {
    let (mut town, src, dst) = two();
    let check = ask(&mut town, src, dst, "alice");
    let of = |town: &Town, account: &str| verdict(&town.t, &check, src, dst, account);
    assert_eq!(of(&town, "alice"), Verdict::Waiting);
    town.make(Command::GrantSsh { check: check.clone() });
    assert_eq!((of(&town, "alice"), of(&town, "root")), (Verdict::Granted, Verdict::Unknown));
    assert_eq!(
        verdict(&town.t, &check, dst, src, "alice"),
        Verdict::Unknown,
        "the other direction is not covered"
    );
    assert!(standing_consent(&town.t, src, dst, "alice", town.now).is_some());
    assert!(standing_consent(&town.t, src, dst, "root", town.now).is_none());
}

#[test]
fn i9_ssh_checks_are_bounded_and_the_oldest_is_dropped() {
    let (mut town, src, dst) = two();
    let check = |n: usize| SshCheck {
        id: format!("check-{n}"),
        src,
        dst,
        account: format!("account-{n}"),
        state: TicketState::Waiting,
        until: town.now.plus_secs(2 + n as i64),
    };
    let full: Vec<Change> = (0..MAX_SSH_CHECKS).map(|n| Change::SshCheck(Arc::new(check(n)))).collect();
    town.t.apply(&full);
    let newest = ask(&mut town, src, dst, "root");
    assert_eq!(town.t.ssh_check_count(), MAX_SSH_CHECKS);
    assert!(town.t.ssh_check(&newest).is_some() && town.t.ssh_check("check-1").is_some());
    assert!(town.t.ssh_check("check-0").is_none());
}

#[test]
fn an_approval_does_not_outlive_its_rule() {
    for (then, granted) in [
        (policy("accept", r#""alice""#), true),
        (policy("check", r#""root""#), true),
        (policy("check", r#""root""#), false),
    ] {
        let (mut town, src, dst) = two();
        let check = ask(&mut town, src, dst, "alice");
        if granted {
            town.make(Command::GrantSsh { check: check.clone() });
        }
        town.make(then);
        let now = verdict(&town.t, &check, src, dst, "alice");
        assert!(matches!(now, Verdict::Refused(why) if why.contains("policy has changed")));
        town.make(policy("check", r#""alice""#));
        let ought = if granted { Verdict::Granted } else { Verdict::Waiting };
        assert_eq!(verdict(&town.t, &check, src, dst, "alice"), ought);
    }
}

#[test]
fn a_denial_is_reported_and_a_deleted_check_is_unknown() {
    let (mut town, src, dst) = two();
    let check = ask(&mut town, src, dst, "root");
    town.make(Command::RefuseSsh { check: check.clone() });
    assert!(
        matches!(verdict(&town.t, &check, src, dst, "root"), Verdict::Refused(why) if why.contains("rejected"))
    );
    town.pass(100_000);
    assert_eq!(verdict(&town.t, &check, src, dst, "root"), Verdict::Unknown);
}
