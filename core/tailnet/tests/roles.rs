//! Roles of users, and their effect on nodes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;

use common::{Client, Town, step, tags, words};
use headsail_netmap::NetMap;
use headsail_netmap::apply::apply;
use headsail_policy::Role;
use headsail_tailnet::command::{Command, NewUser};
use headsail_tailnet::delta::Delta;
use headsail_wire::ids::UserId;

const ADMIN: &str = "https://tailscale.com/cap/is-admin";
const OWNER: &str = "https://tailscale.com/cap/is-owner";

/// One node each of alice and bob, and a tagged one.
fn three() -> (Town, [UserId; 2], [Client; 3]) {
    let mut town = Town::new();
    let users = [town.user("alice"), town.user("bob")];
    let clients = [Client::new(1, "a"), Client::new(2, "b"), Client::new(3, "web")];
    for (client, user) in clients.iter().zip([users[0], users[1], users[1]]) {
        let key = town.key(user, |_| {});
        town.join(client, &key);
    }
    let web = town.node(&clients[2]).id;
    town.has_tags(&["tag:web"]);
    town.make(Command::TagNode { node: web, tags: tags(&["tag:web"]) });
    (town, users, clients)
}

fn has(map: &NetMap, cap: &str) -> bool {
    map.me.cap_map.contains_key(cap)
}

#[test]
fn everyone_has_the_admin_capability_until_somebody_has_an_admin_role() {
    let (mut town, [alice, bob], clients) = three();
    let shown = |town: &Town, cap: &str| clients.each_ref().map(|c| has(&town.map(c), cap));
    assert_eq!((shown(&town, ADMIN), shown(&town, OWNER)), ([true; 3], [false; 3]));
    for (user, role, admin, owner) in [
        (bob, Role::Auditor, [false, false, true], [false; 3]),
        (bob, Role::NetworkAdmin, [false, true, true], [false; 3]),
        (alice, Role::Owner, [true; 3], [true, false, false]),
        (bob, Role::BillingAdmin, [true, false, true], [true, false, false]),
        (bob, Role::ItAdmin, [true; 3], [true, false, false]),
        (alice, Role::Member, [false, true, true], [false; 3]),
        (bob, Role::Admin, [false, true, true], [false; 3]),
        (bob, Role::Member, [true; 3], [false; 3]),
    ] {
        let (then, mut maps) = (town.t.clone(), clients.each_ref().map(|c| Some(town.map(c))));
        town.make(Command::SetRole { user, role });
        assert_eq!((shown(&town, ADMIN), shown(&town, OWNER)), (admin, owner), "{role:?}");
        for (client, map) in clients.iter().zip(&mut maps) {
            let id = town.node(client).id;
            let told = town.told_since(&then, id);
            assert!(told.node.is_none() || step(&then, &town.t).tells_of_itself(id));
            apply(map, told).unwrap();
            assert_eq!(map.as_ref(), Some(&town.map(client)), "a user's role affects the nodes of others");
        }
    }
}

#[test]
fn everyone_has_the_admin_capability_after_the_only_admin_is_deleted() {
    let (mut town, _, [a, ..]) = three();
    let boss = town.user("boss");
    town.make(Command::SetRole { user: boss, role: Role::Admin });
    assert!(!has(&town.map(&a), ADMIN));
    town.make(Command::DestroyUser(boss));
    assert!(has(&town.map(&a), ADMIN));
}

#[test]
fn a_tailnet_has_one_owner() {
    let (mut town, [alice, bob], [a, ..]) = three();
    town.make(Command::SetRole { user: alice, role: Role::Owner });
    let told = words(town.try_to(Command::SetRole { user: bob, role: Role::Owner }));
    assert!(told.contains("`alice`"), "{told}");
    let then = town.t.clone();
    assert_eq!(town.try_to(Command::SetRole { user: alice, role: Role::Owner }), Ok(Vec::new()));
    assert_eq!(step(&then, &town.t).delta(town.node(&a).id), Delta::Nothing);
    town.make(Command::SetRole { user: alice, role: Role::Admin });
    town.make(Command::SetRole { user: bob, role: Role::Owner });
    town.make(Command::RenameUser { user: bob, name: "robert".into() });
    assert_eq!(town.t.user(bob).map(|u| u.role), Some(Role::Owner), "renaming keeps the role");
    let nobody = UserId::new(77).unwrap();
    assert!(words(town.try_to(Command::SetRole { user: nobody, role: Role::Admin })).contains("`77`"));
}

#[test]
fn role_autogroups_in_the_policy_contain_the_users_with_the_role() {
    let (mut town, [alice, bob], [a, b, web]) = three();
    let text = r#"{"acls": [{"action": "accept", "src": ["autogroup:admin"], "dst": ["tag:web:22"]},
                {"action": "accept", "src": ["autogroup:owner"], "dst": ["tag:web:443"]}],
        "tagOwners": {"tag:web": []}}"#;
    town.make(Command::SetPolicy { text: text.into(), kept: true });
    let ip = |town: &Town, client: &Client| town.node(client).v4.expect("it has an address").to_string();
    let (of_alice, of_bob) = (ip(&town, &a), ip(&town, &b));
    // For each of the tagged node's ports, whether alice and bob may connect.
    let opened = |town: &Town| {
        let map = town.map(&web);
        [22, 443].map(|port| {
            let rules = map.filters.values().flat_map(|rules| rules.iter());
            let fits = rules.filter(|r| r.dst_ports.iter().any(|d| d.ports.first == port));
            let sources: Vec<String> = fits.flat_map(|r| r.src_ips.clone()).collect();
            [&of_alice, &of_bob].map(|ip| sources.contains(ip))
        })
    };
    assert_eq!(opened(&town), [[false, false], [false, false]]);
    for (user, role, expected) in [
        (alice, Role::Admin, [[true, false], [false, false]]),
        (bob, Role::Owner, [[true, true], [false, true]]),
        (alice, Role::Member, [[false, true], [false, true]]),
        (bob, Role::ItAdmin, [[false, false], [false, false]]),
    ] {
        let (then, mut map) = (town.t.clone(), Some(town.map(&web)));
        town.make(Command::SetRole { user, role });
        assert_eq!(opened(&town), expected, "{role:?}");
        apply(&mut map, town.told_since(&then, town.node(&web).id)).unwrap();
        let (told, ought) = (map.expect("there is a map"), town.map(&web));
        assert_eq!((told.filters, told.peers), (ought.filters, ought.peers));
    }
}

#[test]
fn a_users_new_role_or_name_approves_the_routes_it_entitles_to() {
    for become_approver in [
        |user| Command::SetRole { user, role: Role::Admin },
        |user| Command::RenameUser { user, name: "carol".into() },
    ] {
        let (mut town, [_, bob], [a, b, _]) = three();
        let text = r#"{"autoApprovers": {"routes": {"10.0.0.0/8": ["autogroup:admin", "carol@"]}}}"#;
        town.make(Command::SetPolicy { text: text.into(), kept: true });
        for (client, route) in [(&a, "10.1.0.0/16"), (&b, "10.2.0.0/16")] {
            let mut client = client.clone();
            client.host.routable_ips = vec![route.parse().expect("a prefix")];
            town.lite_update(&client);
            assert!(town.node(&client).approved_routes.is_empty());
        }
        town.make(become_approver(bob));
        assert!(town.node(&a).approved_routes.is_empty());
        let approved = town.node(&b).approved_routes.clone();
        assert_eq!(approved, BTreeSet::from(["10.2.0.0/16".parse().expect("a prefix")]));
    }
}

#[test]
fn a_new_policy_may_only_use_the_domains_of_the_tailnet() {
    let policy = |domain: &str| {
        let text =
            format!(r#"{{"acls": [{{"action": "accept", "src": ["user:*@{domain}"], "dst": ["*:*"]}}]}}"#);
        Command::SetPolicy { text, kept: true }
    };
    let mut town = Town::new();
    town.make(policy("anything.example"));
    let email = "alice@Example.org".to_owned();
    town.make(Command::CreateUser(NewUser { name: "bob".into(), email, ..NewUser::default() }));
    assert!(town.try_to(policy("example.com")).is_err(), "not a domain of any user");
    town.make(policy("example.org"));

    // As long as the domains are unknown, a policy may spell one in any case, and it means the same users.
    let mut town = Town::new();
    town.make(policy("Example.ORG"));
    let email = "bob@example.org".to_owned();
    town.make(Command::CreateUser(NewUser { name: "bob".into(), email, ..NewUser::default() }));
    let bob = town.t.users().next().expect("a user").id;
    let key = town.key(bob, |_| {});
    let node = town.join(&Client::new(1, "web"), &key);
    assert_eq!(town.t.access().engine().filter(node.id).len(), 1);

    let mut town = Town::with(|s| s.policy_domains = vec!["example.com".into()]);
    town.make(policy("example.com"));
    assert!(town.try_to(policy("example.org")).is_err());
}
