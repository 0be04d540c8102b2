//! Tags, names and addresses.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::{Client, Town, tags, words};
use headsail_tailnet::command::{Command, NewAuthKey, NewUser, Rejection};
use headsail_tailnet::commit::Loaded;
use headsail_tailnet::model::key::{AUTH_KEY_PREFIX, mint};
use headsail_tailnet::model::node::{Expiry, Owner};
use headsail_tailnet::model::settings::{Allocation, Settings};
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::dns::{DnsConfig, DnsRecord};
use headsail_wire::hostinfo::Hostinfo;
use headsail_wire::ids::TAGGED_DEVICES;
use headsail_wire::keys::NodeKey;

#[test]
fn a_tagged_key_creates_a_tagged_node_that_never_expires() {
    let mut town = Town::with(|s| s.node_expiry = Some(1000));
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.tags = tags(&["tag:db", "tag:web"]));
    let client = Client::new(1, "web");
    let node = town.join(&client, &key);
    assert_eq!(node.owner.tags(), ["tag:db", "tag:web"]);
    assert_eq!((node.owner.user(), node.expiry), (None, Expiry::Never));
    let me = town.map(&client).me.clone();
    assert_eq!((me.user, &me.tags[..]), (TAGGED_DEVICES, &["tag:db".to_owned(), "tag:web".to_owned()][..]));
    assert!(town.map(&client).profiles.contains_key(&TAGGED_DEVICES));
}

#[test]
fn requested_tags_must_be_tags_of_the_key() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let (plain, tagged) = (town.key(alice, |_| {}), town.key(alice, |k| k.tags = tags(&["tag:web"])));
    let own = Client::new(1, "web").asking_for(&["tag:web"]);
    let foreign = Client::new(2, "web").asking_for(&["tag:web", "tag:admin"]);
    town.join(&own, &tagged);
    assert_eq!(
        words(town.register(foreign.shows(&tagged.text))),
        "requested tags [tag:admin] are invalid or not permitted"
    );
    assert_eq!(
        words(town.register(foreign.shows(&plain.text))),
        "requested tags [tag:web tag:admin] are invalid or not permitted"
    );
    assert_eq!(town.t.node_count(), 1);
}

#[test]
fn an_administrator_can_tag_a_node_but_not_untag_it() {
    let mut town = Town::with(|s| s.node_expiry = Some(1000));
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let client = Client::new(1, "web");
    let id = town.join(&client, &key).id;
    town.has_tags(&["tag:web"]);
    town.make(Command::TagNode { node: id, tags: tags(&["tag:web"]) });
    assert_eq!(
        (town.node(&client).owner.tags(), town.node(&client).expiry),
        (vec!["tag:web".into()], Expiry::Never)
    );
    for bad in [&[][..], &["web"], &["tag:"], &["tag:1x"], &["tag:a b"], &["tag:web", "TAG:x"]] {
        let refusal = town.try_to(Command::TagNode { node: id, tags: tags(bad) });
        assert!(matches!(refusal, Err(Rejection::Invalid(_))), "{bad:?}");
    }
    assert_eq!(town.node(&client).owner.tags(), ["tag:web"]);
    town.make(Command::DestroyUser(alice));
}

#[test]
fn an_expired_tagged_node_stays_expired_when_its_tags_change() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |k| k.tags = tags(&["tag:web"]));
    let client = Client::new(1, "web");
    let id = town.join(&client, &key).id;
    town.make(Command::ExpireNode { node: id, at: Some(town.now) });
    town.has_tags(&["tag:db"]);
    town.make(Command::TagNode { node: id, tags: tags(&["tag:db"]) });
    assert!(town.node(&client).expiry.is_past());
}

#[test]
fn an_administrator_can_only_set_tags_that_the_policy_defines() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let (key, tagged) = (town.key(alice, |_| {}), town.key(alice, |k| k.tags = tags(&["tag:free"])));
    let client = Client::new(1, "web");
    let id = town.join(&client, &key).id;
    let to = |all: &[&str]| Command::TagNode { node: id, tags: tags(all) };
    let refused = "requested tags [tag:web] are invalid or not permitted";
    assert!(words(town.try_to(to(&["tag:web"]))).starts_with(refused), "without a policy, there are no tags");
    town.has_tags(&["tag:db"]);
    assert!(words(town.try_to(to(&["tag:db", "tag:web"]))).starts_with(refused));
    assert_eq!(town.node(&client).owner, Owner::User(alice));
    town.make(to(&["tag:db"]));
    assert_eq!(town.join(&Client::new(2, "ci"), &tagged).owner.tags(), ["tag:free"], "keys may have any tag");
}

#[test]
fn registering_with_the_same_key_keeps_the_tags_that_an_administrator_set() {
    for of_key in [&[][..], &["tag:key"]] {
        let mut town = Town::with(|s| s.node_expiry = Some(1000));
        town.has_tags(&["tag:admins"]);
        let alice = town.user("alice");
        let key = town.key(alice, |k| k.tags = tags(of_key));
        let other = town.key(alice, |k| k.tags = tags(&["tag:other"]));
        let client = Client::new(1, "web").asking_for(of_key);
        let id = town.join(&client, &key).id;
        town.make(Command::TagNode { node: id, tags: tags(&["tag:admins"]) });
        let kept = |node: Arc<headsail_tailnet::model::node::Node>| {
            assert_eq!((node.id, node.owner.tags()), (id, vec!["tag:admins".to_owned()]), "{of_key:?}");
            assert_eq!(node.expiry, Expiry::Never);
        };
        let again = client.rotated(11);
        kept(town.join(&again, &key));
        town.register(again.logs_out()).unwrap();
        kept(town.join(&again, &key));
        town.register(again.logs_out()).unwrap();
        kept(town.join(&Client { old: NodeKey::default(), ..again.rotated(12) }, &key));
        // A different pre-auth key replaces them.
        let anew = Client { node: NodeKey::from_bytes([13; 32]), ..client.asking_for(&[]) };
        let replaced = town.join(&anew, &other);
        assert_eq!((replaced.id, replaced.owner.tags()), (id, vec!["tag:other".to_owned()]));
    }
}

#[test]
fn a_machine_with_several_nodes_comes_back_as_the_one_that_the_key_registered() {
    let mut town = Town::new();
    town.has_tags(&["tag:admins"]);
    let alice = town.user("alice");
    let (plain, tagged) = (town.key(alice, |_| {}), town.key(alice, |k| k.tags = tags(&["tag:web"])));
    let client = Client::new(1, "web");
    let first = town.join(&client, &tagged);
    let stranger = |number: u8| Client { node: NodeKey::from_bytes([number; 32]), ..client.clone() };
    let second = town.join(&stranger(11), &plain).id;
    assert_ne!(second, first.id);
    town.make(Command::TagNode { node: second, tags: tags(&["tag:admins"]) });
    let back = town.join(&stranger(12), &plain);
    assert_eq!((back.id, back.owner.tags()), (second, vec!["tag:admins".to_owned()]));
    assert_eq!(town.node(&client), first, "the other node is unchanged");
}

#[test]
fn a_tagged_key_turns_a_users_node_into_a_tagged_one_and_back() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let (plain, tagged) = (town.key(alice, |_| {}), town.key(alice, |k| k.tags = tags(&["tag:web"])));
    let client = Client::new(1, "web");
    let before = town.join(&client, &plain);
    let after = town.join(&client.rotated(11), &tagged);
    assert_eq!((after.id, after.owner.tags()), (before.id, vec!["tag:web".to_owned()]));
    let back = town.join(&client.rotated(11).rotated(12), &plain);
    assert_eq!((back.id, &back.owner), (before.id, &Owner::User(alice)));
}

#[test]
fn a_key_with_tags_needs_no_user_and_one_without_does() {
    let mut town = Town::new();
    let new = |tags: BTreeSet<String>, number: u8| {
        let key = mint(AUTH_KEY_PREFIX, &[number; 44]);
        let (prefix, digest) = (key.prefix, key.digest);
        let new = NewAuthKey {
            prefix,
            digest,
            user: None,
            tags,
            reusable: false,
            ephemeral: false,
            expiration: None,
        };
        (Command::CreateAuthKey(Box::new(new)), key.text)
    };
    assert!(matches!(town.try_to(new(BTreeSet::new(), 1).0), Err(Rejection::Invalid(_))));
    assert!(matches!(town.try_to(new(tags(&["web"]), 2).0), Err(Rejection::Invalid(_))));
    let (command, text) = new(tags(&["tag:web"]), 3);
    town.make(command);
    let client = Client::new(1, "web");
    town.register(client.shows(&text)).unwrap();
    assert_eq!(town.node(&client).owner.tags(), ["tag:web"]);
}

#[test]
fn unusual_host_names_become_valid_and_unique_labels() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let long = "x".repeat(100);
    let names = [
        ("web", "web"),
        ("Web", "web-1"),
        ("web.local", "web-2"),
        ("Joe's Mac mini", "joes-mac-mini"),
        ("日本", "node"),
        ("", "node-1"),
        ("web-1", "web-1-1"),
        (long.as_str(), &long[..63]),
        (long.as_str(), &format!("{}-1", &long[..61])),
    ];
    for (number, (hostname, label)) in names.into_iter().enumerate() {
        let client = Client::new(number as u8 + 1, hostname);
        let node = town.join(&client, &key);
        assert_eq!(node.name, label, "{hostname}");
        assert_eq!(node.hostname, hostname, "the host name is kept unchanged");
        assert_eq!(town.map(&client).me.name, format!("{label}.mesh.internal."));
    }
}

#[test]
fn the_name_follows_the_hosts_until_an_administrator_chooses_one() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let (mut client, other) = (Client::new(1, "web"), Client::new(2, "db"));
    let (id, _) = (town.join(&client, &key).id, town.join(&other, &key));
    client.host.hostname = "db".into();
    town.lite_update(&client);
    assert_eq!(town.node(&client).name, "db-1");
    town.make(Command::RenameNode { node: id, name: "chosen".into() });
    client.host.hostname = "third".into();
    town.lite_update(&client);
    let node = town.node(&client);
    assert_eq!((node.name.as_str(), node.hostname.as_str()), ("chosen", "third"));
    // A key rotation does not change that.
    assert_eq!(town.join(&client.rotated(11), &key).name, "chosen");
}

#[test]
fn a_client_that_sends_no_host_name_keeps_its_name() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let mut client = Client::new(1, "web");
    town.join(&client, &key);
    client.host = Hostinfo { os: "linux".into(), ..Hostinfo::default() };
    let nameless = |town: &Town| {
        let node = town.node(&client);
        assert_eq!((node.name.as_str(), node.hostname.as_str()), ("web", "web"));
        assert_eq!((node.hostinfo.hostname.as_str(), node.hostinfo.os.as_str()), ("web", "linux"));
    };
    town.register(client.asks()).unwrap();
    nameless(&town);
    town.lite_update(&client);
    nameless(&town);
}

#[test]
fn invalid_and_taken_names_are_rejected() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let id = town.join(&Client::new(1, "web"), &key).id;
    town.join(&Client::new(2, "db"), &key);
    let long = "x".repeat(64);
    for bad in ["", "Web", "web.db", "web_db", "-web", "web-", "日本", long.as_str()] {
        let refusal = town.try_to(Command::RenameNode { node: id, name: bad.into() });
        assert!(matches!(refusal, Err(Rejection::Invalid(_))), "{bad}");
    }
    let taken = town.try_to(Command::RenameNode { node: id, name: "db".into() });
    assert!(matches!(taken, Err(Rejection::Conflict(_))));
    town.make(Command::RenameNode { node: id, name: "web".into() });
    assert_eq!(town.t.node(id).unwrap().name, "web", "a node can be renamed to its own name");
}

/// Settings with an extra DNS record of this name.
fn with_record(name: &str) -> impl FnOnce(&mut Settings) {
    let record = DnsRecord { name: name.into(), r#type: "A".into(), value: "192.0.2.1".into() };
    let dns = Arc::new(DnsConfig { extra_records: vec![record], ..DnsConfig::default() });
    move |settings| settings.dns = dns
}

#[test]
fn no_node_gets_the_name_of_an_extra_dns_record() {
    for record in ["grafana.mesh.internal", "Grafana.mesh.internal."] {
        let mut town = Town::with(with_record(record));
        let alice = town.user("alice");
        let key = town.key(alice, |_| {});
        let mut client = Client::new(1, "grafana");
        let id = town.join(&client, &key).id;
        assert_eq!(town.node(&client).name, "grafana-1", "{record}");
        client.host.hostname = "web".into();
        town.lite_update(&client);
        client.host.hostname = "Grafana.local".into();
        town.lite_update(&client);
        assert_eq!(town.node(&client).name, "grafana-1", "{record}");
        let refusal = town.try_to(Command::RenameNode { node: id, name: "grafana".into() });
        assert!(words(refusal).contains("`grafana` belongs to an extra DNS record"), "{record}");
    }
    for record in ["grafana.example.com", "a.grafana.mesh.internal", "grafanamesh.internal", "mesh.internal"]
    {
        let mut town = Town::with(with_record(record));
        let alice = town.user("alice");
        let key = town.key(alice, |_| {});
        assert_eq!(town.join(&Client::new(1, "grafana"), &key).name, "grafana", "{record}");
    }
}

#[test]
fn a_name_that_is_no_longer_used_becomes_available() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let id = town.join(&Client::new(1, "web"), &key).id;
    town.make(Command::RenameNode { node: id, name: "other".into() });
    assert_eq!(town.join(&Client::new(2, "web"), &key).name, "web");
    town.make(Command::DeleteNode(id));
    assert_eq!(town.join(&Client::new(3, "other"), &key).name, "other");
}

#[test]
fn addresses_of_both_families_are_unique_and_inside_their_prefixes() {
    for allocation in [Allocation::Sequential, Allocation::Random] {
        let mut town = Town::with(|s| {
            s.v4 = "100.64.0.0/28".parse().ok();
            s.allocation = allocation;
        });
        let alice = town.user("alice");
        let key = town.key(alice, |_| {});
        let mut seen = BTreeSet::new();
        for number in 1..=14 {
            let node = town.join(&Client::new(number, "web"), &key);
            assert!(node.v4.is_some_and(|ip| town.t.settings().v4.unwrap().contains(&ip)));
            assert!(node.v6.is_some_and(|ip| town.t.settings().v6.unwrap().contains(&ip)));
            assert!(node.ips().all(|ip| seen.insert(ip)), "{allocation:?} gave an address twice");
        }
        let full = town.register(Client::new(15, "web").shows(&key.text));
        assert!(matches!(&full, Err(Rejection::Full(why)) if why.contains("`100.64.0.0/28`")), "{full:?}");
        assert_eq!(town.t.node_count(), 14);
        // A deleted node makes room.
        let first = town.t.nodes().next().unwrap().id;
        town.make(Command::DeleteNode(first));
        town.join(&Client::new(15, "web"), &key);
    }
}

#[test]
fn an_address_is_not_given_out_again_after_a_restart() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    town.join(&Client::new(1, "web"), &key);
    let freed = town.join(&Client::new(2, "web"), &key);
    town.make(Command::DeleteNode(freed.id));
    let loaded = Loaded { changes: town.t.dump(), ..Loaded::default() };
    town.t = Tailnet::of(town.t.settings().clone(), &loaded);
    let next = town.join(&Client::new(3, "web"), &key);
    assert_eq!(next.addresses(), ["100.64.0.3/32", "fd7a:115c:a1e0::3/128"].map(|net| net.parse().unwrap()));
}

#[test]
fn sequential_addresses_start_with_the_first() {
    let mut town = Town::new();
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    for number in 1..=3 {
        let node = town.join(&Client::new(number, "web"), &key);
        let own = town.map(&Client::new(number, "web")).me.addresses.clone();
        let texts: Vec<String> = own.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [format!("100.64.0.{number}/32"), format!("fd7a:115c:a1e0::{number}/128")]);
        assert_eq!(node.addresses(), own);
    }
}

#[test]
fn backfilling_adds_and_removes_addresses_when_a_prefix_is_added_or_removed() {
    let mut town = Town::with(|s| s.v6 = None);
    let alice = town.user("alice");
    let key = town.key(alice, |_| {});
    let clients = [Client::new(1, "a"), Client::new(2, "b")];
    let before: Vec<_> = clients.iter().map(|c| town.join(c, &key)).collect();
    assert!(before.iter().all(|n| n.v4.is_some() && n.v6.is_none()));
    let both = Settings { v6: Settings::basic().v6, ..Settings::clone(town.t.settings()) };
    town.make(Command::Configure(Arc::new(both.clone())));
    town.make(Command::BackfillIps);
    assert_eq!(town.node(&clients[0]).v4, before[0].v4, "nodes keep the addresses that they have");
    assert_ne!(town.node(&clients[0]).v6, town.node(&clients[1]).v6);
    assert!(town.node(&clients[0]).v6.is_some());
    town.make(Command::Configure(Arc::new(Settings { v4: None, ..both })));
    town.make(Command::BackfillIps);
    assert!(clients.iter().all(|c| town.node(c).v4.is_none() && town.node(c).v6.is_some()));
    assert_eq!(town.try_to(Command::BackfillIps), Ok(Vec::new()), "backfilling again is a no-op");
}

#[test]
fn displayed_texts_of_a_user_must_be_plain_and_short() {
    let mut town = Town::new();
    type Edit = fn(&mut NewUser);
    let new = |edit: Edit| {
        let mut new = NewUser { name: "carol".into(), ..NewUser::default() };
        edit(&mut new);
        Command::CreateUser(new)
    };
    let bad: [(Edit, &str); 9] = [
        (|u| u.display_name = "d".repeat(900_000), "display name"),
        (|u| u.display_name = "a\0b".into(), "`a?b`"),
        (|u| u.display_name = "\u{202e}lorac".into(), "`?lorac`"),
        (|u| u.email = "nobody".into(), "`nobody`"),
        (|u| u.email = "a b@example.com".into(), "e-mail"),
        (|u| u.email = format!("{}@example.com", "a".repeat(300_000)), "e-mail"),
        (|u| u.picture_url = "javascript:alert(1)".into(), "picture"),
        (|u| u.picture_url = "https://example.com/a b".into(), "picture"),
        (|u| u.picture_url = format!("https://example.com/{}", "a".repeat(3000)), "picture"),
    ];
    for (edit, named) in bad {
        let told = words(town.try_to(new(edit)));
        assert!(told.contains(named) && told.len() < 300, "{told}");
    }
    town.make(new(|u| {
        u.display_name = "Caról 👩\u{200d}🔬".into();
        u.email = "carol@example.com".into();
        u.picture_url = "https://example.com/carol.png".into();
    }));
}
