//! Any text as a policy: it is refused with reasons, or every question about a small tailnet has an answer. An accepted
//! policy can be formatted, and the result means the same.
#![no_main]

use std::sync::Arc;

use headsail_policy::{
    Comparison, Engine, NodeFacts, Owner, Policy, Preview, Role, Settings, UserFacts, render,
};
use headsail_wire::ids::{NodeId, UserId};
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;

/// The names to ask about: nodes, users, tags, addresses, and what a policy may define.
const NAMES: [&str; 11] = [
    "ann-laptop",
    "router",
    "ann@example.org",
    "bob@",
    "tag:a",
    "group:dev",
    "lab",
    "ipset:s",
    "autogroup:member",
    "10.1.2.3",
    "fd7a:115c:a1e0::2",
];

fuzz_target!(|text: &str| {
    let policy = match Policy::parse(text, &Settings::default()) {
        Ok(policy) => policy,
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty(), "refused without a reason");
            render("policy.hujson", text, &refusal.diagnostics);
            return;
        }
    };
    render("policy.hujson", text, policy.warnings());
    let printed = policy.document().to_string();
    let again = Policy::parse(&printed, &Settings::default()).expect("a formatted policy can be read");
    assert_eq!(again.document().to_string(), printed, "formatting again changes the text");

    let engine = tailnet(policy);
    let same = tailnet(again);
    ask(&engine);
    for node in engine.nodes().map(|n| n.id) {
        assert_eq!(engine.filter(node), same.filter(node), "the formatted policy means something else for {node}");
    }
    let open = tailnet(Policy::none());
    let after = open.with_policy(engine.policy().clone());
    let _ = Comparison::new(&open, &after).touched().count();
    let _ = Preview::new(&open, &engine);
});

/// Asks everything that a server asks.
fn ask(engine: &Engine) {
    engine.run_tests();
    engine.notes();
    let ids: Vec<NodeId> = engine.nodes().map(|n| n.id).collect();
    for &a in &ids {
        engine.filter(a);
        engine.ssh(a);
        engine.self_caps(a);
        engine.may_approve(a, &net("10.1.2.0/24"));
        assert!(engine.visible(a).all(|b| engine.sees(a, b)), "{a} sees what it does not see");
        for &b in &ids {
            engine.ssh_check_secs(a, b, "root");
            engine.peer_caps(a, b);
            engine.allowed_routes(a, b);
        }
    }
    for src in NAMES {
        for dst in NAMES {
            let _ = engine.explain(src, dst, 22, "");
            let _ = engine.explain(src, dst, 53, "udp");
        }
    }
}

/// Two people with a machine each, a router with a tag, a node with IPv4 only, and one without addresses.
fn tailnet(policy: Policy) -> Engine {
    let user = |id, name: &str, role| UserFacts {
        id,
        name: name.into(),
        email: format!("{name}@example.org"),
        provider_id: String::new(),
        display: String::new(),
        role,
    };
    let [ann, bob] = [1, 2].map(|id| UserId::new(id).expect("an id"));
    let node = |id: u64, owner, name: &str| {
        let v4 = format!("100.64.0.{id}").parse().ok();
        let v6 = format!("fd7a:115c:a1e0::{id}").parse().ok();
        let facts = NodeFacts::new(NodeId::new(id).expect("an id"), owner, v4, v6);
        NodeFacts { name: name.into(), ..facts }
    };
    let tagged = |tag: &str| Owner::Tags(vec![tag.into()]);
    let served = vec![net("10.1.0.0/16"), net("0.0.0.0/0"), net("::/0")];
    let router = NodeFacts {
        advertised: served.clone(),
        approved: served,
        primary: vec![net("10.1.0.0/16")],
        ..node(3, tagged("tag:a"), "router")
    };
    let nodes = [
        node(1, Owner::User(ann), "ann-laptop"),
        node(2, Owner::User(bob), "bob-phone"),
        router,
        NodeFacts { v6: None, ..node(4, tagged("tag:b"), "old") },
        NodeFacts { v4: None, v6: None, ..node(5, tagged("tag:a"), "new") },
    ];
    Engine::new(Arc::new(policy), [user(ann, "ann", Role::Admin), user(bob, "bob", Role::Member)], nodes)
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}
