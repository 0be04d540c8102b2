//! The invariants that must always hold.

/// The invariants. Each has a test, see [`Check::test`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// I1: the frames that a client has received add up to its projection.
    Told,
    /// I2: the first frame is full.
    FirstFrame,
    /// I3: nothing is published that is not committed, except volatile facts.
    Committed,
    /// I4: the rows on disk rebuild memory.
    Replay,
    /// Acknowledged durable changes survive a power cut, and no commit is there in part.
    Durable,
    /// I6: visibility is symmetric, except that expired nodes see nobody, and no node is its own peer.
    Visibility,
    /// I7: a policy that does not compile, or whose tests fail, never replaces one that does.
    GoodPolicy,
    /// I8: the same seed and commands produce the same bytes.
    SameBytes,
    /// I9: every table that a stranger can fill has a limit.
    Bounds,
    /// I10: a machine can only act for its own nodes.
    OwnNodesOnly,
    /// Names, addresses and keys belong to one node each, and every row that another row refers to exists.
    Unique,
    /// Ids are never reused.
    Numbers,
    /// After the clerk has handled what is due, nothing is overdue, and its next deadline is correct.
    Deadlines,
    /// With two servers on one store, every commit that was acknowledged happened once, and none is lost.
    Writers,
    /// A follower learns everything, however late it reads.
    Followers,
    /// Nodes with a stream are online. Nodes without one stay online for no longer than the grace period.
    Presence,
}

impl Check {
    /// The checks that need only one history: all except [`Check::SameBytes`], which compares two.
    pub const ALL: [Check; 15] = [
        Check::Told,
        Check::FirstFrame,
        Check::Committed,
        Check::Replay,
        Check::Durable,
        Check::Visibility,
        Check::GoodPolicy,
        Check::Bounds,
        Check::OwnNodesOnly,
        Check::Unique,
        Check::Numbers,
        Check::Deadlines,
        Check::Writers,
        Check::Followers,
        Check::Presence,
    ];

    /// The name of the test that runs the check.
    pub fn test(self) -> &'static str {
        match self {
            Check::Told => "i1_told_is_ought",
            Check::FirstFrame => "i2_the_first_frame_is_full",
            Check::Committed => "i3_nothing_is_published_that_is_not_committed",
            Check::Replay => "i4_the_disk_rebuilds_memory",
            Check::Durable => "acknowledged_changes_survive_a_power_cut",
            Check::Visibility => "i6_visibility_goes_both_ways",
            Check::GoodPolicy => "i7_a_bad_policy_never_replaces_a_good_one",
            Check::SameBytes => "i8_same_seed_same_bytes",
            Check::Bounds => "i9_tables_are_bounded",
            Check::OwnNodesOnly => "i10_foreign_keys_are_refused",
            Check::Unique => "names_addresses_and_keys_are_unique",
            Check::Numbers => "numbers_are_never_given_twice",
            Check::Deadlines => "nothing_stays_overdue",
            Check::Writers => "two_writers_lose_nothing",
            Check::Followers => "followers_that_lag_lose_nothing",
            Check::Presence => "presence_tells_the_truth",
        }
    }
}

/// A check that failed.
#[derive(Clone, Debug)]
pub struct Violation {
    pub check: Check,
    /// What was observed.
    pub text: String,
}

/// Fails unless `holds`. `text` is what was observed.
///
/// # Errors
/// It does not hold.
pub fn must(check: Check, holds: bool, text: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { check, text: text() }) }
}
