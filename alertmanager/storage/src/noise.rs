//! Numbers for tests that change bytes at random.
//!
//! Invariant: every run has the same.

/// Gives a number below each that it is asked for.
pub(crate) fn numbers() -> impl FnMut(usize) -> usize {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    move |most| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as usize % most
    }
}
