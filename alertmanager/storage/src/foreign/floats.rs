//! A chunk of floats of Prometheus.
//!
//! ```text
//! number of samples, 2 bytes; first time and value; then the step of time, later how much it
//! changes; and values by the bits in which they differ
//! ```
//!
//! Invariant: a chunk that ends early is no chunk.

use super::bits::{Bits, Xor, signed};
use crate::chunk::Columns;

/// The samples of a chunk.
pub(super) fn read(bytes: &[u8]) -> Option<Columns> {
    let (count, body) = bytes.split_first_chunk::<2>()?;
    let mut bits = Bits::of(body);
    let mut columns = Columns::default();
    let (mut time, mut step) = (0_i64, 0_i64);
    let mut xor = Xor::default();
    for n in 0..u16::from_be_bytes(*count) {
        match n {
            0 => {
                time = bits.signed_varint()?;
                xor = Xor::first(&mut bits)?;
            }
            1 => {
                step = bits.varint()? as i64;
                time = time.wrapping_add(step);
                xor.next(&mut bits)?;
            }
            _ => {
                step = step.wrapping_add(change(&mut bits)?);
                time = time.wrapping_add(step);
                xor.next(&mut bits)?;
            }
        }
        columns.push_float(time, xor.value);
    }
    Some(columns)
}

/// How much longer a step is than the one before.
fn change(bits: &mut Bits<'_>) -> Option<i64> {
    let mut ones = 0;
    while ones < 4 && bits.bit()? {
        ones += 1;
    }
    let length = [0, 14, 17, 20, 64][ones];
    bits.take(length).map(|raw| signed(raw, length))
}
