//! Policies change, and SSH sessions ask for approval.

use headsail_tailnet::batch::Outcome;
use headsail_tailnet::command::{Command, Rejection};
use headsail_tailnet::model::ticket::TicketState;
use headsail_wire::ids::NodeId;

use crate::law::{Check, Violation};
use crate::world::World;
use headsail_tailnet::actor::Actor;

/// Valid policies. The users and nodes that they name may not exist.
const GOOD: [&str; 13] = [
    r#"{}"#,
    r#"{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
        "tagOwners": {"tag:web": ["alice@"], "tag:db": ["group:staff"], "tag:ci": []},
        "groups": {"group:staff": ["alice@", "bob@"]}}"#,
    r#"{"acls": [{"action": "accept", "src": ["alice@"], "dst": ["bob@:22,80"]},
                {"action": "accept", "src": ["tag:web"], "dst": ["tag:db:5432"]}],
        "tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"], "tag:ci": ["alice@"]}}"#,
    r#"{"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]},
                {"action": "accept", "src": ["autogroup:tagged"], "dst": ["autogroup:tagged:*"]}],
        "tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"]}}"#,
    r#"{"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:internet:*", "10.1.0.0/16:*"]},
                {"action": "accept", "src": ["*"], "dst": ["tag:web:*"]}],
        "tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"]},
        "autoApprovers": {"routes": {"10.0.0.0/8": ["alice@", "tag:web"]}, "exitNode": ["tag:db"]}}"#,
    r#"{"acls": [{"action": "accept", "src": ["10.1.0.0/16"], "dst": ["10.2.0.0/24:*"]}],
        "ssh": [{"action": "check", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["root", "alice"]}],
        "tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"]}}"#,
    r#"{"grants": [{"src": ["bob@"], "dst": ["tag:db"], "ip": ["tcp:443"]},
                  {"src": ["tag:web"], "dst": ["*"], "ip": ["*"]}],
        "ssh": [{"action": "accept", "src": ["autogroup:member"], "dst": ["tag:web"], "users": ["autogroup:nonroot"]}],
        "nodeAttrs": [{"target": ["alice@"], "attr": ["randomize-client-port"]}],
        "tagOwners": {"tag:web": ["alice@"], "tag:db": ["bob@"]}}"#,
    r#"{"hosts": {"printer": "100.64.0.3", "lan": "10.2.0.0/24"},
        "acls": [{"action": "accept", "src": ["carol@", "printer"], "dst": ["lan:*", "alice@:*"]}]}"#,
    r#"{"acls": [{"action": "accept", "src": ["autogroup:admin"], "dst": ["*:*"]},
                {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:owner:443"]}],
        "tagOwners": {"tag:web": ["autogroup:it-admin"], "tag:db": []}}"#,
    r#"{"acls": [{"action": "accept", "src": ["alice@"], "dst": ["100.64.0.2:22", "100.64.0.5:22"]},
                {"action": "accept", "src": ["*"], "dst": ["*:*"]}],
        "nodeAttrs": [{"target": ["tag:web", "100.64.0.3"], "attr": ["disable-ipv4"]}],
        "tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"]}}"#,
    r#"{"acls": [{"action": "accept", "src": ["alice@", "bob@"], "dst": ["100.64.0.2:22", "100.64.0.4:80"]},
                {"action": "accept", "src": ["*"], "dst": ["*:*"]}],
        "nodeAttrs": [{"target": ["bob@", "tag:db"], "attr": ["suggest-exit-node"]}],
        "tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"]}}"#,
    r#"{"grants": [{"src": ["autogroup:member"], "dst": ["10.1.0.0/16", "10.2.0.0/24"], "ip": ["*"], "via": ["tag:web"]},
                  {"src": ["tag:db"], "dst": ["autogroup:internet"], "ip": ["*"], "via": ["tag:web", "tag:db"]},
                  {"src": ["*"], "dst": ["tag:web", "tag:db"], "ip": ["tcp:443"]}],
        "tagOwners": {"tag:web": ["alice@", "bob@"], "tag:db": ["alice@", "bob@"]}}"#,
    r#"{"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:member:*"]},
                {"action": "accept", "src": ["bob@", "10.2.0.0/24"], "dst": ["10.1.0.0/16:443"]}],
        "ssh": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["localpart:*@example.com"]}],
        "tagOwners": {"tag:web": ["alice@"], "tag:db": ["alice@"]}}"#,
];

/// Policies that must never take effect.
const BAD: [&str; 4] = [
    r#"{"acls": [{"action": "accept", "src": ["#,
    r#"{"acls": [{"action": "accept", "src": ["group:nobody"], "dst": ["*:*"]}]}"#,
    r#"{"acls": [{"action": "deny", "src": ["*"], "dst": ["*:*"]}]}"#,
    r#"{"acls": [], "tests": [{"src": "alice@", "accept": ["100.64.0.1:22"]}]}"#,
];

/// Sets a valid policy.
pub fn set(world: &mut World) -> Result<(), Violation> {
    let text = world.rng.pick(&GOOD).copied().unwrap_or_default().to_owned();
    let command = Command::SetPolicy { text: text.clone(), kept: world.keeps_policy };
    let answer = world.ask(Actor::Server, command)?;
    if answer == Outcome::Done {
        world.policy_file = Some(text);
    }
    world.must(Check::GoodPolicy, !matches!(answer, Outcome::Rejected(_)), || {
        format!("the outcome for a valid policy was {answer:?}")
    })
}

/// Tries to set an invalid policy, which must not replace the current one.
pub fn set_bad(world: &mut World) -> Result<(), Violation> {
    let text = world.rng.pick(&BAD).copied().unwrap_or_default().to_owned();
    let before = world.clerk.published.policy().cloned();
    let answer = world.ask(Actor::Server, Command::SetPolicy { text, kept: world.keeps_policy })?;
    world.must(Check::GoodPolicy, matches!(answer, Outcome::Rejected(Rejection::BadPolicy(_))), || {
        format!("the outcome for an invalid policy was {answer:?}")
    })?;
    world.must(Check::GoodPolicy, world.clerk.published.policy() == before.as_ref(), || {
        "an invalid policy has replaced a valid one".into()
    })
}

/// A node asks whether to allow an SSH session, or an administrator approves or denies one.
pub fn ssh(world: &mut World) -> Result<(), Violation> {
    let nodes: Vec<NodeId> = world.clerk.published.nodes().map(|n| n.id).collect();
    let waiting: Vec<String> = world
        .clerk
        .published
        .ssh_checks()
        .filter(|c| c.state == TicketState::Waiting)
        .map(|c| c.id.clone())
        .collect();
    let command = match world.rng.pick(&waiting).cloned() {
        Some(check) if world.rng.chance(40) => Command::GrantSsh { check },
        Some(check) if world.rng.chance(40) => Command::RefuseSsh { check },
        _ => {
            let pair = (world.rng.pick(&nodes).copied(), world.rng.pick(&nodes).copied());
            let (Some(src), Some(dst)) = pair else { return Ok(()) };
            Command::AskSsh { src, dst, account: "root".into() }
        }
    };
    world.ask(Actor::Server, command).map(drop)
}
