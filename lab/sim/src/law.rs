//! What must hold, whatever happens.

/// The things that must hold; each is played by the test of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// I1: what a client was told is what it ought to know.
    Told,
    /// I2: the first frame is full.
    FirstFrame,
    /// I3: nothing is published that is not committed.
    Committed,
    /// I4: what is on disk rebuilds memory.
    Replay,
    /// I6: who sees whom goes both ways, except that expired nodes see nobody; and nobody is its own peer.
    Visibility,
    /// I7: a policy that does not compile, or whose tests fail, never replaces one that does.
    GoodPolicy,
    /// I8: the same seed and commands give the same bytes.
    SameBytes,
    /// I9: every table that a stranger can fill has a bound.
    Bounds,
    /// I10: a machine acts for its own nodes only.
    OwnNodesOnly,
    /// Names, addresses and keys belong to one node; every row that a row names is there.
    Unique,
    /// A number is never given twice.
    Numbers,
    /// Once the clerk has handled what is due, nothing is overdue, and the next deadline is the right one.
    Deadlines,
    /// Two servers on one store: each change that was saved happened once, and none is lost.
    Writers,
    /// Who follows the commits knows everything, however late it reads.
    Followers,
    /// Who has a stream is online, who has none is not for longer than the grace.
    Presence,
}

impl Check {
    /// All that one history is enough for: the comparison of two ([`Check::SameBytes`]) is not among them.
    pub const ALL: [Check; 14] = [
        Check::Told,
        Check::FirstFrame,
        Check::Committed,
        Check::Replay,
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

    /// The name of its test.
    pub fn test(self) -> &'static str {
        match self {
            Check::Told => "i1_told_is_ought",
            Check::FirstFrame => "i2_the_first_frame_is_full",
            Check::Committed => "i3_nothing_is_published_that_is_not_committed",
            Check::Replay => "i4_the_disk_rebuilds_memory",
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

/// Something that doesn't hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What should have held.
    pub check: Check,
    /// What was seen.
    pub text: String,
}

/// `text` is what was seen where `holds` is false.
///
/// # Errors
/// It doesn't hold.
pub fn must(check: Check, holds: bool, text: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { check, text: text() }) }
}
