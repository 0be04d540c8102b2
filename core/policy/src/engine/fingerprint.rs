//! Sums that tell sets apart: what is in a set is spread over all bits and added up, so that a set can be followed.

use std::net::IpAddr;

use crate::text::net::Net;

/// Spreads a number over all bits, so that sums of such numbers tell sets apart.
pub(crate) fn mix(mut x: u128) -> u128 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    x = (x ^ (x >> 67)).wrapping_mul(0xbf58_476d_1ce4_e5b9_94d0_49bb_1331_11eb);
    x = (x ^ (x >> 59)).wrapping_mul(0xda94_2042_e4dd_58b5_d6e8_feb8_6659_fd93);
    x ^ (x >> 64)
}

/// Of a literal: an address by itself has one number, however it is written.
pub(crate) fn literal_mix(net: &Net) -> u128 {
    net.single().map_or_else(|| text_mix(&net.to_string()), address_mix)
}

pub(crate) fn address_mix(a: IpAddr) -> u128 {
    match a {
        IpAddr::V4(a) => mix(u128::from(u32::from(a)) | 1 << 127),
        IpAddr::V6(a) => mix(u128::from(a)),
    }
}

pub(crate) fn text_mix(text: &str) -> u128 {
    text.bytes().fold(1 << 100, |sum, b| mix(sum ^ u128::from(b)))
}
