//! Fingerprints: 128 bits that tell sets and sequences apart without keeping or walking them.
//!
//! The fingerprint of a set is the sum over its members, so it follows a set at the cost of what joins and leaves.
//! Different sets share one only by accident; see `docs/decisions/0007-classes-and-sums.md` for what that means.

use std::iter::Sum;
use std::net::IpAddr;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use crate::text::net::Net;

/// The fingerprint of a set (a sum, in any order) or of a sequence (built with [`Fingerprint::then`]). The empty set has
/// the default, [`Fingerprint::EMPTY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint(u128);

impl Fingerprint {
    /// The fingerprint of nothing.
    pub const EMPTY: Fingerprint = Fingerprint(0);

    /// What stands for everything in a set of sources; `*` in a packet filter.
    pub fn everything() -> Fingerprint {
        Fingerprint::of_text("*")
    }

    /// Of a number, such as the id of a row. Like IPv4 addresses, numbers are put where IPv6 has assigned no addresses.
    pub fn of_number(n: u64) -> Fingerprint {
        Fingerprint(mix(u128::from(n) | 1 << 126))
    }

    /// Of an address.
    pub fn of_address(address: IpAddr) -> Fingerprint {
        Fingerprint(mix(match address {
            IpAddr::V4(a) => u128::from(a.to_bits()) | 1 << 127,
            IpAddr::V6(a) => a.to_bits(),
        }))
    }

    /// Of a literal in a policy. A single address has one fingerprint, however it is written.
    pub fn of_net(net: &Net) -> Fingerprint {
        net.single().map_or_else(|| Fingerprint::of_text(&net.to_string()), Fingerprint::of_address)
    }

    /// Of a text, sixteen bytes at a time.
    pub fn of_text(text: &str) -> Fingerprint {
        let start = text.len() as u128 | 1 << 100;
        Fingerprint(text.as_bytes().chunks(16).fold(start, |state, chunk| {
            let mut bytes = [0; 16];
            bytes.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            mix(state ^ u128::from_le_bytes(bytes))
        }))
    }

    /// Of a sequence that goes on with something. The rotation keeps the order: without it, the
    /// first two parts could be swapped.
    pub fn then(self, next: Fingerprint) -> Fingerprint {
        Fingerprint(mix(self.0.rotate_left(1) ^ next.0))
    }

    /// Of a sequence that goes on with a number.
    pub fn then_number(self, next: u64) -> Fingerprint {
        Fingerprint(mix(self.0 ^ u128::from(next)))
    }

    /// The 128 bits.
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl Add for Fingerprint {
    type Output = Fingerprint;
    fn add(self, other: Fingerprint) -> Fingerprint {
        Fingerprint(self.0.wrapping_add(other.0))
    }
}

impl Sub for Fingerprint {
    type Output = Fingerprint;
    fn sub(self, other: Fingerprint) -> Fingerprint {
        Fingerprint(self.0.wrapping_sub(other.0))
    }
}

impl Neg for Fingerprint {
    type Output = Fingerprint;
    fn neg(self) -> Fingerprint {
        Fingerprint(self.0.wrapping_neg())
    }
}

impl AddAssign for Fingerprint {
    fn add_assign(&mut self, other: Fingerprint) {
        *self = *self + other;
    }
}

impl SubAssign for Fingerprint {
    fn sub_assign(&mut self, other: Fingerprint) {
        *self = *self - other;
    }
}

impl Sum for Fingerprint {
    fn sum<I: Iterator<Item = Fingerprint>>(items: I) -> Fingerprint {
        items.fold(Fingerprint::EMPTY, Fingerprint::add)
    }
}

/// 2^128 divided by the golden ratio, made odd: the increment of SplitMix64, with 128 bits.
const GOLDEN: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// The two multipliers of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014; found
/// by David Stafford as variant 13 of the MurmurHash3 finalizer), side by side in either order.
const MULTIPLIERS: [u128; 2] =
    [0xbf58_476d_1ce4_e5b9_94d0_49bb_1331_11eb, 0x94d0_49bb_1331_11eb_bf58_476d_1ce4_e5b9];

/// Spreads a number over all bits, as SplitMix64 does for 64. Every step can be undone (the multipliers are odd), so
/// different numbers stay different; the test below shows that every bit of the input moves half of the output.
fn mix(mut x: u128) -> u128 {
    let [first, second] = MULTIPLIERS;
    x = x.wrapping_add(GOLDEN);
    x = (x ^ (x >> 67)).wrapping_mul(first);
    x = (x ^ (x >> 59)).wrapping_mul(second);
    x ^ (x >> 64)
}

#[cfg(test)]
mod tests {
    use super::{Fingerprint, mix};

    #[test]
    fn every_input_bit_flips_about_half_of_the_output_bits() {
        const ROUNDS: u32 = 1_000;
        for bit in 0..128 {
            let mut state = 1;
            let flipped: u32 = (0..ROUNDS)
                .map(|_| {
                    state = mix(state);
                    (mix(state) ^ mix(state ^ 1 << bit)).count_ones()
                })
                .sum();
            let mean = f64::from(flipped) / f64::from(ROUNDS);
            assert!((63.0..65.0).contains(&mean), "bit {bit} flips {mean} bits on average");
        }
    }

    #[test]
    fn small_numbers_are_spread_as_well_as_large_ones() {
        let pairs = (0..1_000).map(|n| (mix(n) ^ mix(n + 1)).count_ones()).collect::<Vec<_>>();
        let mean = f64::from(pairs.iter().sum::<u32>()) / pairs.len() as f64;
        assert!((63.0..65.0).contains(&mean), "{mean}");
        assert!(pairs.iter().all(|bits| (32..96).contains(bits)));
    }

    #[test]
    fn sets_have_no_order_and_sequences_have_one() {
        let [a, b] = ["a", "b"].map(Fingerprint::of_text);
        assert_eq!(a + b, b + a);
        assert_eq!(a + b - a, b);
        assert_eq!(a + -a, Fingerprint::EMPTY);
        assert_ne!(a.then(b), b.then(a));
    }

    #[test]
    fn texts_differ_by_length_and_by_what_lies_past_sixteen_bytes() {
        let of = Fingerprint::of_text;
        assert_ne!(of(""), of("\0"));
        assert_ne!(of("fd7a:115c:a1e0::1"), of("fd7a:115c:a1e0::2"));
        assert_ne!(of(&"x".repeat(16)), of(&"x".repeat(32)));
    }
}
