//! Tests of the checks: each broken part must be noticed within a few histories, by the check that is responsible for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headsail_netmap::diff;
use headsail_sim::disk::Written;
use headsail_sim::law::Check;
use headsail_sim::parts::Parts;
use headsail_sim::run::noticed;
use headsail_tailnet::change::Change;
use headsail_tailnet::command::{Command, Env, Rejection};
use headsail_tailnet::commit::{Commit, Since};
use headsail_tailnet::deadline::Deadlines;
use headsail_tailnet::decide::decide;
use headsail_tailnet::delta::Delta;
use headsail_tailnet::feed::News;
use headsail_tailnet::model::node::{Node, Presence};
use headsail_tailnet::project::project;
use headsail_tailnet::tailnet::Tailnet;
use headsail_wire::ids::NodeId;
use headsail_wire::map::MapResponse;

/// The number of histories within which a broken part must be noticed.
const SEEDS: u64 = 60;

fn must_be_noticed(broken: Parts, check: Check) {
    assert!(noticed(broken, check, SEEDS).is_some(), "{} passes with a broken part", check.test());
}

/// The delta of the server.
fn delta(then: &Tailnet, now: &Tailnet, viewer: NodeId) -> Delta {
    (Parts::real().delta)(then, now, viewer)
}

fn frame_with(said: Delta, edit: impl FnOnce(&mut MapResponse)) -> Delta {
    match said {
        Delta::Frame(mut frame) => {
            edit(&mut frame);
            Delta::Frame(frame)
        }
        other => other,
    }
}

#[test]
fn a_delta_that_forgets_removals_is_noticed() {
    let delta = |then: &_, now: &_, viewer| frame_with(delta(then, now, viewer), |f| f.peers_removed.clear());
    must_be_noticed(Parts { delta, ..Parts::real() }, Check::Told);
}

#[test]
fn a_delta_that_forgets_patches_is_noticed() {
    let delta =
        |then: &_, now: &_, viewer| frame_with(delta(then, now, viewer), |f| f.peers_changed_patch.clear());
    must_be_noticed(Parts { delta, ..Parts::real() }, Check::Told);
}

#[test]
fn a_patch_without_last_seen_is_noticed() {
    let delta = |then: &_, now: &_, viewer| {
        frame_with(delta(then, now, viewer), |f| {
            f.peers_changed_patch.iter_mut().for_each(|p| p.last_seen = None)
        })
    };
    must_be_noticed(Parts { delta, ..Parts::real() }, Check::Told);
}

#[test]
fn a_delta_that_forgets_the_node_itself_is_noticed() {
    let delta = |then: &_, now: &_, viewer| frame_with(delta(then, now, viewer), |f| f.node = None);
    must_be_noticed(Parts { delta, ..Parts::real() }, Check::Told);
}

#[test]
fn a_delta_that_forgets_profiles_is_noticed() {
    let delta = |then: &_, now: &_, viewer| frame_with(delta(then, now, viewer), |f| f.user_profiles.clear());
    must_be_noticed(Parts { delta, ..Parts::real() }, Check::Told);
}

#[test]
fn a_delta_that_ignores_the_configuration_is_noticed() {
    let delta = |then: &_, now: &_, viewer| {
        frame_with(delta(then, now, viewer), |f| (f.dns_config, f.derp_map) = (None, None))
    };
    must_be_noticed(Parts { delta, ..Parts::real() }, Check::Told);
}

#[test]
fn a_delta_that_is_empty_for_lagging_streams_is_noticed() {
    let delta = |then: &Tailnet, now: &Tailnet, viewer| match now.version() > then.version() + 3 {
        true => Delta::Nothing,
        false => delta(then, now, viewer),
    };
    must_be_noticed(Parts { delta, ..Parts::real() }, Check::Told);
}

#[test]
fn a_shared_delta_that_is_specific_to_one_node_is_noticed() {
    must_be_noticed(Parts { is_own: |_, _, _| false, ..Parts::real() }, Check::Told);
}

#[test]
fn a_policy_that_is_not_compared_is_noticed() {
    let open = |then: &_, now: &_, viewer| frame_with(delta(then, now, viewer), |f| f.packet_filters = None);
    must_be_noticed(Parts { delta: open, ..Parts::real() }, Check::Told);
    let deaf = |then: &_, now: &_, viewer| frame_with(delta(then, now, viewer), |f| f.ssh_policy = None);
    must_be_noticed(Parts { delta: deaf, ..Parts::real() }, Check::Told);
}

#[test]
fn an_accepted_bad_policy_is_noticed() {
    let decide = |t: &_, command: &_, env: &mut Env<'_>| match command {
        Command::SetPolicy { .. } => decide(t, &Command::SetPolicy { text: "{}".into(), kept: true }, env),
        other => decide(t, other, env),
    };
    must_be_noticed(Parts { decide, ..Parts::real() }, Check::GoodPolicy);
}

#[test]
fn a_table_without_a_bound_is_noticed() {
    let decide = |t: &_, command: &_, env: &mut Env<'_>| {
        let mut changes = decide(t, command, env)?;
        changes.retain(|change| !matches!(change, Change::TicketGone(_)));
        Ok(changes)
    };
    must_be_noticed(Parts { decide, ..Parts::real() }, Check::Bounds);
}

#[test]
fn endpoints_without_a_bound_are_noticed() {
    // Doubling exceeds the limit only in histories that come close to it.
    let decide = |t: &_, command: &_, env: &mut Env<'_>| {
        let mut changes = decide(t, command, env)?;
        for change in &mut changes {
            if let Change::Contact(_, contact) = change {
                contact.endpoints = contact.endpoints.repeat(2);
            }
        }
        Ok(changes)
    };
    must_be_noticed(Parts { decide, ..Parts::real() }, Check::Bounds);
}

#[test]
fn two_nodes_with_the_same_name_are_noticed() {
    let decide = |t: &_, command: &_, env: &mut Env<'_>| {
        let mut changes = decide(t, command, env)?;
        for change in &mut changes {
            if let Change::Node(node) = change {
                *change = Change::Node(Arc::new(Node { name: "same".into(), ..Node::clone(node) }));
            }
        }
        Ok(changes)
    };
    must_be_noticed(Parts { decide, ..Parts::real() }, Check::Unique);
}

#[test]
fn a_first_frame_that_lacks_a_part_is_noticed() {
    for first in [
        |map: &_| MapResponse { dns_config: None, ..diff::full(map) },
        |map: &_| MapResponse { peers: Vec::new(), ..diff::full(map) },
        |map: &_| MapResponse { user_profiles: Vec::new(), ..diff::full(map) },
    ] {
        must_be_noticed(Parts { first, ..Parts::real() }, Check::FirstFrame);
    }
}

#[test]
fn publishing_before_the_commit_is_noticed() {
    must_be_noticed(Parts { commits_first: false, ..Parts::real() }, Check::Committed);
}

#[test]
fn changes_that_are_acknowledged_before_they_are_synced_are_noticed() {
    must_be_noticed(Parts { is_synced: |_| false, ..Parts::real() }, Check::Durable);
    let others =
        |commit: &Commit| commit.is_durable() && !commit.changes().any(|c| matches!(c, Change::Node(_)));
    must_be_noticed(Parts { is_synced: others, ..Parts::real() }, Check::Durable);
}

#[test]
fn a_restart_that_accepts_torn_commits_is_noticed() {
    let recover = |written: Vec<Written>| written.into_iter().map(|written| written.commit).collect();
    must_be_noticed(Parts { recover, ..Parts::real() }, Check::Durable);
}

#[test]
fn a_restart_that_forgets_rows_is_noticed() {
    let load =
        |rows: Vec<Change>| rows.into_iter().filter(|row| !matches!(row, Change::Tombstone(_))).collect();
    must_be_noticed(Parts { load, ..Parts::real() }, Check::Replay);
}

#[test]
fn a_restart_that_reuses_the_ids_of_deleted_rows_is_noticed() {
    let load =
        |rows: Vec<Change>| rows.into_iter().filter(|row| !matches!(row, Change::NextId(..))).collect();
    must_be_noticed(Parts { load, ..Parts::real() }, Check::Replay);
    must_be_noticed(Parts { load, ..Parts::real() }, Check::Numbers);
}

#[test]
fn a_node_that_is_its_own_peer_is_noticed() {
    let project = |t: &_, viewer| {
        let mut map = project(t, viewer)?;
        map.peers.insert(viewer, map.me.clone());
        Some(map)
    };
    must_be_noticed(Parts { project, ..Parts::real() }, Check::Visibility);
}

#[test]
fn one_way_visibility_is_noticed() {
    let project = |t: &_, viewer| {
        let mut map = project(t, viewer)?;
        map.peers.retain(|id, _| *id > viewer);
        Some(map)
    };
    must_be_noticed(Parts { project, ..Parts::real() }, Check::Visibility);
}

#[test]
fn randomness_that_does_not_follow_from_the_seed_is_noticed() {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    fn by_the_count(bytes: &mut [u8]) {
        bytes.fill(CALLS.fetch_add(1, Ordering::Relaxed) as u8);
    }
    let decide = |t: &_, command: &_, env: &mut Env<'_>| {
        let mut chance = by_the_count;
        decide(t, command, &mut Env { now: env.now, rng: &mut chance })
    };
    must_be_noticed(Parts { decide, ..Parts::real() }, Check::SameBytes);
}

#[test]
fn a_map_request_without_a_check_of_its_machine_is_noticed() {
    let node_of = |t: &Tailnet, _: &_, key: &_| {
        t.node_by_key(key).map(|n| n.id).ok_or_else(|| Rejection::NotFound(String::new()))
    };
    must_be_noticed(Parts { node_of, ..Parts::real() }, Check::OwnNodesOnly);
}

#[test]
fn deadlines_that_forget_logins_are_noticed() {
    let note = |deadlines: &mut Deadlines, t: &_, commit: &Commit| {
        deadlines.note(t, commit.changes().filter(|c| !matches!(c, Change::Ticket(_))));
    };
    must_be_noticed(Parts { note, ..Parts::real() }, Check::Deadlines);
}

#[test]
fn a_superseded_stream_that_takes_its_node_offline_is_noticed() {
    must_be_noticed(Parts { ends_by_number: false, ..Parts::real() }, Check::Presence);
}

#[test]
fn a_superseded_stream_that_continues_is_noticed() {
    let is_superseded = |presence, no| matches!(presence, Presence::Online { stream, .. } if stream != no);
    must_be_noticed(Parts { is_superseded, ..Parts::real() }, Check::Presence);
}

#[test]
fn a_writer_that_never_catches_up_is_noticed() {
    let catch_up = |_: &_, _| Since::Commits(Vec::new());
    must_be_noticed(Parts { catch_up, ..Parts::real() }, Check::Writers);
}

#[test]
fn a_writer_that_skips_the_other_ones_changes_is_noticed() {
    let catch_up = |disk: &headsail_sim::disk::Disk, revision| match disk.since(revision) {
        Since::Commits(mut commits) => {
            commits.iter_mut().for_each(|commit| commit.entries.clear());
            Since::Commits(commits)
        }
        rows => rows,
    };
    must_be_noticed(Parts { catch_up, ..Parts::real() }, Check::Committed);
}

#[test]
fn a_follower_that_does_not_learn_what_it_missed_is_noticed() {
    let news = |feed: &headsail_tailnet::feed::Feed, version| match feed.since(version) {
        News::Missed => News::Commits(Vec::new()),
        commits => commits,
    };
    must_be_noticed(Parts { news, ..Parts::real() }, Check::Followers);
}
