//! The invariants, one test for each. A failure prints the command that repeats it.
//!
//! `HEADSAIL_SIM_SEEDS` and `HEADSAIL_SIM_STEPS` set the number of histories and their length.

use headsail_sim::law::Check;
use headsail_sim::run::{hold, hold_twice};

macro_rules! invariant {
    ($name:ident, $check:expr) => {
        #[test]
        fn $name() {
            assert_eq!(
                $check.test(),
                stringify!($name),
                "the command that repeats a failure names this test"
            );
            hold($check);
        }
    };
}

invariant!(i1_told_is_ought, Check::Told);
invariant!(i2_the_first_frame_is_full, Check::FirstFrame);
invariant!(i3_nothing_is_published_that_is_not_committed, Check::Committed);
invariant!(i4_the_disk_rebuilds_memory, Check::Replay);
invariant!(i6_visibility_goes_both_ways, Check::Visibility);
invariant!(i7_a_bad_policy_never_replaces_a_good_one, Check::GoodPolicy);
invariant!(i9_tables_are_bounded, Check::Bounds);
invariant!(i10_foreign_keys_are_refused, Check::OwnNodesOnly);
invariant!(acknowledged_changes_survive_a_power_cut, Check::Durable);
invariant!(names_addresses_and_keys_are_unique, Check::Unique);
invariant!(numbers_are_never_given_twice, Check::Numbers);
invariant!(nothing_stays_overdue, Check::Deadlines);
invariant!(two_writers_lose_nothing, Check::Writers);
invariant!(followers_that_lag_lose_nothing, Check::Followers);
invariant!(presence_tells_the_truth, Check::Presence);

#[test]
fn i8_same_seed_same_bytes() {
    hold_twice();
}
