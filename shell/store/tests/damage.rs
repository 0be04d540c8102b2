//! Damaged images of a database: a server refuses them and says why, or starts with exactly the rows that were written.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod rows;

use std::path::Path;
use std::sync::Arc;

use headsail_store::sqlite::{Options, SqliteStore};
use headsail_store::{Fault, Store};
use headsail_tailnet::actor::Actor;
use headsail_tailnet::change::Change;
use headsail_tailnet::commit::{Commit, Revision};
use headsail_tailnet::model::node::{Contact, Node, Presence};
use headsail_tailnet::model::policy::PolicyRow;
use headsail_wire::time::Time;

const PAGE: usize = 4096;

/// A database with some of everything, as a graceful shutdown leaves it.
fn image(path: &Path) -> Vec<u8> {
    let mut store = SqliteStore::open(path, Options::default()).unwrap();
    let policy = PolicyRow::parse("{\"acls\": []} // a policy of ours", &[], Time::EPOCH, true).unwrap();
    let mut changes = vec![Change::Policy(Arc::new(policy))];
    for id in 1..=20 {
        changes.extend([rows::user(id), rows::auth_key(id, id % 2 == 0), rows::node(id)]);
        changes.push(rows::api_key(id, (id % 2 == 0).then_some(Time::EPOCH)));
    }
    store.commit(&Commit::on(Revision(0), Time::EPOCH, vec![(Actor::Server, changes)])).unwrap();
    drop(store);
    std::fs::read(path).unwrap()
}

/// What a server starts with, but for what clients report again: that is written often, and has no checksum.
fn start(path: &Path, checked_at_open: u64) -> Result<Vec<Change>, Fault> {
    let loaded = SqliteStore::open(path, Options { checked_at_open, ..Options::default() })?.load()?;
    let lasting = |change| match change {
        Change::Node(node) => Change::Node(Arc::new(Node {
            contact: Contact::default(),
            presence: Presence::Offline { since: Time::EPOCH },
            ..Node::clone(&node)
        })),
        other => other,
    };
    Ok(loaded.changes.into_iter().map(lasting).collect())
}

/// Damages an image in many places, one at a time. Returns how often a start was refused.
fn damage(checked_at_open: u64, places: impl Fn(&[u8]) -> Vec<(usize, Vec<u8>)>) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("headsail.db");
    let whole = image(&path);
    let written = start(&path, checked_at_open).unwrap();
    assert_eq!(written.len(), 81 + 5, "rows and sequences");
    let places = places(&whole);
    let mut refused = 0;
    for (at, bytes) in &places {
        let mut image = whole.clone();
        image[*at..][..bytes.len()].copy_from_slice(bytes);
        for rest in ["-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(dir.path().join(format!("headsail.db{rest}")));
        }
        std::fs::write(&path, image).unwrap();
        match start(&path, checked_at_open) {
            Ok(rows) => assert!(rows == written, "other rows with {bytes:02x?} at {at}"),
            Err(fault) => {
                let text = fault.to_string();
                assert!(text.contains("headsail.db") && text.contains("; "), "says what to do: {text}");
                refused += 1;
            }
        }
    }
    (refused, places.len())
}

/// One bit at a time, evenly over the image; the step is prime, so that all parts of pages are met.
fn bits(image: &[u8]) -> Vec<(usize, Vec<u8>)> {
    (0..image.len()).step_by(397).map(|at| (at, vec![image[at] ^ (1 << (at / 397 % 8))])).collect()
}

/// Every page that is zeroed or overwritten, its head alone, and each page in place of the next.
fn pages(image: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let page = |at: usize| image[at..][..PAGE].to_vec();
    (0..image.len())
        .step_by(PAGE)
        .flat_map(|at| {
            let other = page((at + PAGE) % image.len());
            [(at, vec![0; PAGE]), (at, vec![0xa5; PAGE]), (at, vec![0; 12]), (at, other)]
        })
        .collect()
}

/// Every bit of every place at which a text of ours stands.
fn texts(image: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let texts = ["user7", "prefix000003", "host5", "a policy of ours"];
    let found = texts.iter().flat_map(|text| {
        let is_there = move |at: &usize| image[*at..].starts_with(text.as_bytes());
        (0..image.len()).filter(is_there).flat_map(|at| at..at + text.len()).collect::<Vec<_>>()
    });
    found.flat_map(|at| (0..8).step_by(3).map(move |bit| (at, vec![image[at] ^ (1 << bit)]))).collect()
}

#[test]
fn flipped_bits_are_refused_or_change_no_row() {
    let (refused, places) = damage(u64::MAX, bits);
    assert!(places > 200 && refused > 20, "{refused} of {places} were refused");
}

#[test]
fn lost_and_misplaced_pages_are_refused_or_change_no_row() {
    for checked_at_open in [u64::MAX, 0] {
        let (refused, places) = damage(checked_at_open, pages);
        assert!(places > 60 && refused > 40, "{refused} of {places} were refused");
    }
}

#[test]
fn no_letter_of_a_name_or_key_or_policy_can_change_unnoticed() {
    let (refused, places) = damage(0, texts);
    assert!(places > 100 && refused > 60, "{refused} of {places} were refused");
}
