//! Followers read commits at their own pace; one that is too slow learns that it missed something.

mod common;

use std::sync::Arc;

use common::*;
use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::{Change, Sequence};
use headsail_tailnet::commit::{Commit, Loaded, Since};
use headsail_tailnet::feed::{Feed, News};
use headsail_tailnet::model::policy::PolicyRow;

fn step(feed: &Feed, changes: Vec<Change>) -> Feed {
    let mut tailnet = (**feed.tailnet()).clone();
    let now = headsail_wire::time::Time::from_secs(1);
    let commit = Commit::on(tailnet.revision(), now, vec![(Actor::Server, changes)]);
    tailnet.apply_commit(&commit);
    feed.next(tailnet, Vec::new(), Arc::new(commit))
}

fn number(n: u64) -> Vec<Change> {
    vec![Change::NextId(Sequence::Nodes, n)]
}

fn count(news: News) -> Option<usize> {
    match news {
        News::Commits(commits) => Some(commits.len()),
        News::Missed => None,
    }
}

#[test]
fn a_follower_that_keeps_up_reads_every_commit_once() {
    let mut feed = Feed::new(Town::new().t);
    let (mut seen, mut replica) = (feed.tailnet().version(), (**feed.tailnet()).clone());
    for n in 2..300 {
        feed = step(&feed, number(n));
        if n % 7 == 0 {
            let News::Commits(commits) = feed.since(seen) else { panic!("nothing was missed at {n}") };
            commits.iter().for_each(|commit| replica.apply_commit(commit));
            seen = feed.tailnet().version();
            assert_eq!(replica.dump(), feed.tailnet().dump());
        }
    }
    assert_eq!(count(feed.since(feed.tailnet().version())), Some(0));
}

#[test]
fn a_slow_follower_learns_that_it_missed_something_and_memory_stays_bounded() {
    let start = Feed::new(Town::new().t);
    let version = start.tailnet().version();
    let (mut feed, mut kept) = (start, Vec::new());
    for n in 2..1000 {
        feed = step(&feed, number(n));
        if let News::Commits(commits) = feed.since(feed.tailnet().version() - 1) {
            kept.extend(commits.iter().map(Arc::downgrade));
        }
    }
    assert_eq!(feed.since(version), News::Missed);
    assert_eq!(kept.iter().filter(|commit| commit.upgrade().is_some()).count(), 64);
    let many = (2..3000).flat_map(number).collect::<Vec<_>>();
    let before = feed.tailnet().version();
    feed = step(&step(&feed, many.clone()), many);
    assert_eq!(feed.since(before), News::Missed, "large commits leave less room for others");
    assert_eq!(count(feed.since(before + 1)), Some(1));
}

#[test]
fn only_the_newest_policy_is_kept() {
    let town = Town::new();
    let policy = || {
        let row = PolicyRow::parse("{}", &[], town.now, true).unwrap_or_else(|refusal| panic!("{refusal}"));
        vec![Change::Policy(Arc::new(row))]
    };
    let first = step(&Feed::new(town.t.clone()), policy());
    let version = first.tailnet().version();
    let second = step(&step(&first, number(5)), policy());
    assert_eq!(second.since(version - 1), News::Missed);
    assert_eq!(count(second.since(version)), Some(2));
}

#[test]
fn rows_that_were_loaded_again_are_missed_commits() {
    let feed = step(&Feed::new(Town::new().t), number(5));
    let version = feed.tailnet().version();
    let since = Since::Rows(Loaded { revision: feed.tailnet().revision().next(), changes: number(9) });
    let mut tailnet = (**feed.tailnet()).clone();
    tailnet.catch_up(&since);
    let feed = feed.next(tailnet, vec![since], Arc::default());
    assert_eq!(feed.since(version), News::Missed);
    assert_eq!(count(feed.since(feed.tailnet().version())), Some(0));
}
