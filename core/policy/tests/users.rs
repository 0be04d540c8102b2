//! Users are added, changed and removed one by one, and the policy refers to the same users as in a fresh engine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture ends the test")]

use std::sync::Arc;

use headsail_policy::{Engine, NodeFacts, Owner, Policy, Role, Settings, UserFacts};
use headsail_wire::ids::{NodeId, UserId};
use proptest::prelude::*;

/// Tokens that are ambiguous in every way: as provider id, as e-mail address and as login name.
const WORDS: [&str; 7] = ["", "ann", "Ann", "ann@", "ann@example.org", "ANN@example.org", "bob"];

/// One tag per token: who sees which tagged node shows to whom the token refers. All tags are always defined.
fn policy(tokens: &[&str]) -> Arc<Policy> {
    let owners: Vec<String> = (0..5).map(|i| format!(r#""tag:t{i}":[]"#)).collect();
    let rule = |(i, token): (usize, &&str)| {
        format!(r#"{{"action":"accept","src":["{token}"],"dst":["tag:t{i}:{}"]}}"#, i + 1)
    };
    let rules: Vec<String> = tokens.iter().enumerate().map(rule).collect();
    let text = format!(r#"{{"tagOwners":{{{}}},"acls":[{}]}}"#, owners.join(","), rules.join(","));
    Arc::new(Policy::parse(&text, &Settings::default()).expect("a good policy"))
}

fn user(id: u64) -> impl Strategy<Value = UserFacts> {
    let word = || prop::sample::select(&WORDS[..]).prop_map(String::from);
    let role = prop::sample::select(vec![Role::Member, Role::Admin]);
    (word(), word(), word(), role).prop_map(move |(name, email, provider_id, role)| UserFacts {
        id: UserId::new(id).expect("an id"),
        name,
        email,
        provider_id,
        display: String::new(),
        role,
    })
}

#[derive(Clone, Debug)]
enum Step {
    Put(UserFacts),
    Remove(u64),
    Policy(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u64..6).prop_flat_map(user).prop_map(Step::Put),
        2 => (1u64..6).prop_map(Step::Remove),
        1 => (0usize..3).prop_map(Step::Policy),
    ]
}

/// A node for each of five users, with the user's number, and one for each tag.
fn nodes() -> Vec<NodeFacts> {
    let users = (1..6).filter_map(UserId::new).map(Owner::User);
    let tags = (0..5).map(|i| Owner::Tags(vec![format!("tag:t{i}")]));
    let address = |n: u64| format!("100.64.0.{n}").parse().ok();
    let node = |(n, owner)| NodeFacts::new(NodeId::new(n).expect("an id"), owner, address(n), None);
    (1..).zip(users.chain(tags)).map(node).collect()
}

/// All users to whom a token refers: by provider id, else by address, else by name.
fn meant(token: &str, engine: &Engine) -> Vec<NodeId> {
    let name = token.strip_suffix('@').unwrap_or(token);
    let rank = |u: &&UserFacts| match () {
        () if u.provider_id == token => Some(0),
        () if u.email.eq_ignore_ascii_case(token) => Some(1),
        () if u.name == name || token == "autogroup:admin" && u.role == Role::Admin => Some(2),
        () => None,
    };
    let best = engine.users().filter_map(|u| rank(&u)).min();
    let found = engine.users().filter(|u| best.is_some() && rank(u) == best);
    found.filter_map(|u| NodeId::new(u.id.get())).collect()
}

/// The tokens of three policies.
const TOKENS: [&[&str]; 3] = [
    &["ann@", "ANN@example.org", "bob@", "Ann@", "autogroup:admin"],
    &["bob@", "ann@example.org"],
    &["Ann@", "autogroup:admin"],
];

proptest! {
    #[test]
    fn tokens_refer_to_the_same_users_whatever_the_order_of_updates(steps in prop::collection::vec(step(), 1..30)) {
        let mut tokens = TOKENS[0];
        let mut engine = Engine::new(policy(tokens), [], nodes());
        for step in steps {
            match step {
                Step::Put(user) => engine.upsert_user(user),
                Step::Remove(id) => engine.remove_user(UserId::new(id).expect("an id")),
                Step::Policy(n) => {
                    tokens = TOKENS[n];
                    engine = engine.with_policy(policy(tokens));
                }
            }
            for (token, tagged) in tokens.iter().zip(6..) {
                let seen = engine.visible(NodeId::new(tagged).expect("an id")).collect::<Vec<_>>();
                prop_assert_eq!(seen, meant(token, &engine), "{}", token);
            }
            let users: Vec<UserFacts> = engine.users().cloned().collect();
            let fresh = Engine::new(engine.policy().clone(), users, nodes());
            for n in nodes() {
                prop_assert_eq!(engine.filter(n.id), fresh.filter(n.id));
            }
            prop_assert_eq!(engine.notes(), fresh.notes());
        }
    }
}
