//! Measures the policy engine on a tailnet of ten thousand nodes and prints one line a figure. Run it with `--release`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture ends the benchmark")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use headsail_policy::{Comparison, Engine, NodeFacts, Owner, Policy, Role, Settings, UserFacts};
use headsail_wire::ids::{NodeId, UserId};

const NODES: u64 = 10_000;
const GROUPS: u64 = 100;
const TAGS: u64 = 60;
const RULES: u64 = 1_000;

/// A small generator of numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn policy_text(users: u64, own: bool, edit: u64) -> String {
    let mut d = Dice(42);
    let mut t = String::from("{\"groups\": {");
    for g in 0..GROUPS {
        let members: Vec<String> =
            (0..20).map(|_| format!("\"u{}@example.org\"", 1 + d.roll(users))).collect();
        t += &format!("\"group:g{g}\": [{}],", members.join(","));
    }
    t += "}, \"tagOwners\": {";
    (0..TAGS).for_each(|i| t += &format!("\"tag:t{i}\": [\"group:g{}\"],", i % GROUPS));
    t += "}, \"acls\": [";
    if own {
        t += "{\"action\": \"accept\", \"src\": [\"autogroup:member\"], \"dst\": [\"autogroup:self:*\"]},";
    }
    for r in 0..RULES {
        let src = match d.roll(4) {
            0 => format!("\"tag:t{}\"", d.roll(TAGS)),
            1 => format!("\"group:g{}\", \"tag:t{}\"", d.roll(GROUPS), d.roll(TAGS)),
            2 => format!("\"u{}@example.org\"", 1 + d.roll(users)),
            _ => format!("\"group:g{}\"", d.roll(GROUPS)),
        };
        let port = if r == 500 { 8000 + edit } else { 1 + d.roll(60_000) };
        let dst = match d.roll(8) {
            0 => format!("10.{}.0.0/16:{port}", d.roll(200)),
            1 => format!("group:g{}:{port}", d.roll(GROUPS)),
            _ => format!("tag:t{}:{port}", d.roll(TAGS)),
        };
        t += &format!("{{\"action\": \"accept\", \"src\": [{src}], \"dst\": [\"{dst}\"]}},");
    }
    t + "]}"
}

fn user(i: u64) -> UserFacts {
    UserFacts {
        id: UserId::new(i).expect("ids start at 1"),
        name: format!("u{i}"),
        email: format!("u{i}@example.org"),
        provider_id: String::new(),
        display: String::new(),
        role: Role::Member,
    }
}

fn node(i: u64, users: u64, d: &mut Dice) -> NodeFacts {
    let owner = match d.roll(3) {
        0 => Owner::Tags(vec![format!("tag:t{}", d.roll(TAGS))]),
        _ => Owner::User(UserId::new(1 + d.roll(users)).expect("in range")),
    };
    let v4 = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + i as u32);
    let v6 = Ipv6Addr::from(u128::from(Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 0)) + u128::from(i));
    let mut facts = NodeFacts::new(NodeId::new(i).expect("ids start at 1"), owner, Some(v4), Some(v6));
    if i.is_multiple_of(100) {
        let route = format!("10.{}.0.0/16", i / 100).parse().expect("a prefix");
        facts.advertised = vec![route];
        facts.approved = vec![route];
        facts.primary = vec![route];
    }
    facts
}

fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let out = f();
    (out, start.elapsed())
}

/// Resident memory of this process in MiB, from the kernel; 0 where it does not say.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    pages * 4096.0 / f64::from(1 << 20)
}

fn run(users: u64, own: bool) {
    let label = if own { "with autogroup:self" } else { "plain" };
    println!("# {NODES} nodes, {users} users, {GROUPS} groups, {TAGS} tags, {RULES} rules, {label}");
    let text = policy_text(users, own, 0);
    let (policy, t) = timed(|| Arc::new(Policy::parse(&text, &Settings::default()).expect("a good policy")));
    println!("parse and check                {:9.2} ms", t.as_secs_f64() * 1e3);
    let mut d = Dice(7);
    let people: Vec<UserFacts> = (1..=users).map(user).collect();
    let nodes: Vec<NodeFacts> = (1..=NODES).map(|i| node(i, users, &mut d)).collect();
    let before = resident();
    let engine = Engine::new(policy.clone(), people.clone(), nodes.iter().cloned());
    println!("memory of the policy facts     {:9.2} MiB", resident() - before);
    let compile = || timed(|| Engine::new(policy.clone(), people.clone(), nodes.iter().cloned())).1;
    let best = (0..5).map(|_| compile()).min().unwrap_or_default();
    println!("full compile, best of five     {:9.2} ms", best.as_secs_f64() * 1e3);

    let (_, t) = timed(|| (0..1000).map(|_| engine.clone()).collect::<Vec<_>>().len());
    println!("clone                          {:9.2} us", t.as_secs_f64() * 1e3);

    let mut next = engine.clone();
    let mut times = Vec::new();
    for i in 0..500 {
        let snapshot = next.clone();
        let joins = node(NODES + 1 + i, users, &mut d);
        let id = joins.id;
        times.push(timed(|| next.upsert_node(joins)).1);
        let mut moved = nodes[(i * 37 % NODES) as usize].clone();
        moved.owner = Owner::Tags(vec![format!("tag:t{}", i % TAGS), format!("tag:t{}", (i + 7) % TAGS)]);
        times.push(timed(|| next.upsert_node(moved)).1);
        assert!(snapshot.node(id).is_none() && next.node(id).is_some());
    }
    times.sort();
    let at = |part: usize| times[times.len() * part / 1000].as_secs_f64() * 1e3;
    println!(
        "one node joins or is retagged  {:9.3} ms, 90 %: {:.3} ms, 99 %: {:.3} ms",
        at(500),
        at(900),
        at(990)
    );

    let mut joined = engine.clone();
    joined.upsert_node(node(NODES + 900, users, &mut d));
    let (_, t) = timed(|| (0..100).for_each(|_| drop(Comparison::new(&engine, &joined))));
    println!("compare two values             {:9.2} us", t.as_secs_f64() * 1e4);
    let (touched, t) = timed(|| Comparison::new(&engine, &joined).touched().count());
    println!("find {touched:5} touched by a join    {:9.2} ms", t.as_secs_f64() * 1e3);

    let edited =
        Arc::new(Policy::parse(&policy_text(users, own, 1), &Settings::default()).expect("a good policy"));
    let (after, t) = timed(|| engine.with_policy(edited));
    println!("one rule edited                {:9.2} ms", t.as_secs_f64() * 1e3);
    let (touched, t) = timed(|| Comparison::new(&engine, &after).touched().count());
    println!("find {touched:5} touched by the edit  {:9.2} ms", t.as_secs_f64() * 1e3);

    let (rules, t) =
        timed(|| (1..=NODES).filter_map(NodeId::new).map(|n| engine.filter(n).len()).sum::<usize>());
    println!("all {NODES} filters ({rules} rules) {:9.2} ms", t.as_secs_f64() * 1e3);
    let (seen, t) =
        timed(|| (1..=NODES).filter_map(NodeId::new).map(|n| engine.visible(n).count()).sum::<usize>());
    println!("all visible sets ({seen} pairs) {:9.2} ms", t.as_secs_f64() * 1e3);
    let ids: Vec<NodeId> = (1..=NODES).filter_map(NodeId::new).collect();
    let (yes, t) = timed(|| {
        ids.iter()
            .zip(ids.iter().rev())
            .cycle()
            .take(1_000_000)
            .filter(|(a, b)| engine.sees(**a, **b))
            .count()
    });
    println!("sees ({yes} of 1000000 yes)      {:9.2} ns each\n", t.as_secs_f64() * 1e3);
}

fn main() {
    run(500, false);
    run(1_000, true);
}
