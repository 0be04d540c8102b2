//! What one command costs a server that has to bring all its viewers up to date: counted in rows, frames and bytes, in a
//! tailnet and in one of four times the size.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use common::Town;
use common::city::{Kind, Work, city, copy, node_id, one_in_a_hundred, work};
use headsail_netmap::apply::apply;
use headsail_policy::Role;
use headsail_tailnet::change::Change;
use headsail_tailnet::command::{Command, NewUser};
use headsail_tailnet::delta::Step;
use headsail_tailnet::model::node::Presence;
use headsail_tailnet::model::settings::Settings;
use headsail_tailnet::project::project;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::derp_map::{DerpMap, DerpRegion};
use headsail_wire::dns::{DnsConfig, DnsRecord};
use headsail_wire::ids::UserId;

/// Who is sent something after an act.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Nobody,
    /// As many viewers in a tailnet of any size.
    Some,
    /// A share of all viewers.
    Share,
    Everyone,
}

struct Act {
    name: &'static str,
    /// Under [`Kind::Open`] and under [`Kind::Closed`].
    told: [Told; 2],
    happen: fn(&mut Town, Kind),
}

fn act(name: &'static str, told: [Told; 2], happen: fn(&mut Town, Kind)) -> Act {
    Act { name, told, happen }
}

fn size(town: &Town) -> u64 {
    town.t.node_count() as u64
}

fn user(number: u64) -> UserId {
    UserId::new(number).unwrap()
}

/// The user without nodes.
fn idle(town: &Town) -> UserId {
    town.t.users().map(|u| u.id).max().unwrap()
}

fn rename(town: &mut Town, user: UserId) {
    town.make(Command::RenameUser { user, name: "another".into() });
}

fn set_policy(town: &mut Town, text: String) {
    town.make(Command::SetPolicy { text, kept: true });
}

fn configure(town: &mut Town, edit: impl FnOnce(&mut Settings)) {
    let mut settings = Settings::clone(town.t.settings());
    edit(&mut settings);
    town.make(Command::Configure(Arc::new(settings)));
}

fn acts() -> Vec<Act> {
    use Told::{Everyone, Nobody, Share, Some};
    vec![
        act("a user is created", [Nobody, Nobody], |town, _| {
            town.make(Command::CreateUser(NewUser { name: "newcomer".into(), ..NewUser::default() }));
        }),
        act("a user without nodes is renamed", [Nobody, Nobody], |town, _| rename(town, idle(town))),
        act("a user without nodes is deleted", [Nobody, Nobody], |town, _| {
            town.make(Command::DestroyUser(idle(town)));
        }),
        act("a user with nodes is renamed", [Everyone, Some], |town, _| rename(town, user(7))),
        act("a user is deleted after its nodes", [Share, Some], |town, _| {
            let theirs = town.t.nodes().filter(|n| n.owner.user() == Option::Some(user(7))).map(|n| n.id);
            for node in theirs.collect::<Vec<_>>() {
                town.make(Command::DeleteNode(node));
            }
            town.make(Command::DestroyUser(user(7)));
        }),
        act("a user gets a role", [Some, Some], |town, _| {
            town.make(Command::SetRole { user: user(7), role: Role::Admin });
        }),
        act("nobody has a role any more", [Share, Share], |town, _| {
            town.make(Command::SetRole { user: user(1), role: Role::Member });
        }),
        act("a comment of the policy is edited", [Nobody, Nobody], |town, kind| {
            let addressed = one_in_a_hundred(size(town));
            set_policy(town, kind.policy(&addressed, 22, "second"));
        }),
        act("a rule about a hundredth of the nodes is edited", [Share, Share], |town, kind| {
            let addressed = one_in_a_hundred(size(town));
            set_policy(town, kind.policy(&addressed, 80, "first"));
        }),
        act("a rule is given to another hundredth of the nodes", [Share, Share], |town, kind| {
            let addressed: Vec<u64> = one_in_a_hundred(size(town)).iter().map(|n| n + 1).collect();
            set_policy(town, kind.policy(&addressed, 22, "first"));
        }),
        act("a node gets another tag", [Everyone, Some], |town, _| {
            let tags = BTreeSet::from(["tag:web".to_owned()]);
            town.make(Command::TagNode { node: node_id(55), tags });
        }),
        act("a node is deleted", [Share, Some], |town, _| town.make(Command::DeleteNode(node_id(55)))),
        act("the router in charge leaves", [Everyone, Share], |town, _| {
            let router = town.t.access().primary(&common::city::NETWORK.parse().unwrap()).unwrap();
            town.t.apply(&[Change::Presence(router, Presence::Offline { since: town.now })]);
        }),
        act("a DNS record is added", [Everyone, Everyone], |town, _| {
            let record =
                DnsRecord { name: "a.example".into(), value: "192.0.2.1".into(), ..DnsRecord::default() };
            let dns = DnsConfig { extra_records: vec![record], ..DnsConfig::default() };
            configure(town, |s| s.dns = Arc::new(dns));
        }),
        act("the relays change", [Everyone, Everyone], |town, _| {
            let regions = [(7, DerpRegion { region_id: 7, ..DerpRegion::default() })].into();
            configure(town, |s| s.derp = Arc::new(DerpMap { regions, ..DerpMap::default() }));
        }),
    ]
}

/// A tailnet in which the first user has a role.
fn governed(size: u64, kind: Kind) -> Town {
    let mut town = city(size, kind);
    town.make(Command::SetRole { user: user(1), role: Role::Owner });
    town
}

/// What an act costs, after a look at whether some of the viewers are told the truth.
fn cost(town: &Town, kind: Kind, act: &Act) -> Work {
    let (then, mut town) = (&town.t, copy(town));
    (act.happen)(&mut town, kind);
    for viewer in town.t.nodes().map(|n| n.id).step_by(41) {
        let mut map = project(then, viewer);
        apply(&mut map, town.told_since(then, viewer)).unwrap();
        let (mut told, mut ought) = (map.unwrap(), project(&town.t, viewer).unwrap());
        // Clients keep profiles that nobody needs any more.
        told.profiles.clear();
        ought.profiles.clear();
        assert!(told == ought, "{kind:?}, {}: viewer {viewer} is told something else", act.name);
    }
    let (then, now) = (Arc::new(then.clone()), Arc::new(town.t));
    let alike = told_alike(&then, &now);
    assert!(alike, "{kind:?}, {}: viewers of one class are told different things", act.name);
    work(&then, &now)
}

/// Whether all viewers that share a frame would be told the same one by one.
fn told_alike(then: &Arc<Tailnet>, now: &Arc<Tailnet>) -> bool {
    let step = Step::new(then.clone(), now.clone());
    let class = |t: &Tailnet, id| t.access().engine().class_of(id);
    let mut by_class = BTreeMap::new();
    let viewers = now.nodes().map(|n| n.id).filter(|id| then.node(*id).is_some());
    viewers.filter(|id| !step.tells_of_itself(*id)).all(|id| {
        let delta = step.delta(id);
        *by_class.entry((class(then, id), class(now, id))).or_insert_with(|| delta.clone()) == delta
    })
}

#[test]
fn an_act_costs_no_more_than_what_it_has_to_tell() {
    const SIZE: u64 = 200;
    for (at, kind) in [Kind::Open, Kind::Closed].into_iter().enumerate() {
        let (small, large) = (governed(SIZE, kind), governed(4 * SIZE, kind));
        for act in acts() {
            let costs @ [few, many] = [&small, &large].map(|town| cost(town, kind, &act));
            let what = format!("{kind:?}, {}: {few:?} and, with four times the nodes, {many:?}", act.name);
            println!("{what}");
            match act.told[at] {
                Told::Nobody => assert_eq!(costs, [Work::default(); 2], "{what}"),
                Told::Some => assert!(few.told > 0 && many.told <= few.told + 4, "{what}"),
                Told::Share => assert!(few.told > 0 && many.told <= 5 * few.told, "{what}"),
                Told::Everyone => {
                    assert_eq!([few.told, many.told], [SIZE, 4 * SIZE].map(|n| n as usize), "{what}");
                }
            }
            // What all are told is made once for each class; the rest is for those it is about.
            assert!(many.rows <= 5 * few.rows, "{what}");
            assert!(many.frames <= 5 * few.frames, "{what}");
            assert!(many.bytes <= 6 * few.bytes, "{what}");
        }
    }
}

#[test]
#[ignore = "a measurement of time"]
#[expect(clippy::disallowed_methods, reason = "it measures the time that acts take")]
fn seconds_that_acts_cost() {
    for size in [1000, 5000] {
        for kind in [Kind::Open, Kind::Closed] {
            let before = governed(size, kind);
            for act in acts() {
                let mut town = copy(&before);
                (act.happen)(&mut town, kind);
                let (then, now) = (Arc::new(before.t.clone()), Arc::new(town.t));
                let start = Instant::now();
                let done = work(&then, &now);
                println!(
                    "{size:5} {kind:?} {:50} {:9.4} s {done:?}",
                    act.name,
                    start.elapsed().as_secs_f64()
                );
            }
        }
    }
}
