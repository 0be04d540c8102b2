//! Random bytes from the operating system.

/// Fills `buffer` with random bytes.
#[expect(
    clippy::expect_used,
    reason = "fails only where the system has no random source at all; a server must not go on and make guessable keys"
)]
pub fn fill(buffer: &mut [u8]) {
    aws_lc_rs::rand::fill(buffer).expect("the operating system provides random bytes");
}

pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}
