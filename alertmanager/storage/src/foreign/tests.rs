//! Chunks of Prometheus that were written by hand, bit by bit; blocks of a real promtool are read in
//! tests/acceptance.
//!
//! Invariant: what is expected is worked out from the documents of the format, not from the reader.

use base::histogram::Reset;
use proptest::prelude::*;

use super::*;

/// Bits from texts of `0` and `1`, filled up with zeros.
fn bits(parts: &[&str]) -> Vec<u8> {
    let all: String = parts.concat();
    let eight = |bits: &[u8]| {
        bits.iter().enumerate().fold(0, |byte, (n, bit)| byte | (bit - b'0') << (7 - n))
    };
    all.as_bytes().chunks(8).map(eight).collect()
}

fn binary(value: u64, length: usize) -> String {
    format!("{value:064b}")[64 - length..].to_owned()
}

#[test]
fn floats_are_read_with_every_length_of_a_step() {
    // Times 10, 25, 40 (0), 60 (+5, 14 bits), 50 (-30, 14 bits), 100050 (17 or 20 bits ..).
    let one = binary(1.0_f64.to_bits(), 64);
    let mut chunk = vec![0, 6];
    chunk.extend(bits(&[
        &binary(20, 8), // 10, signed
        &one,
        &binary(15, 8),
        "0", // the same value
        "0",
        "0",
        &format!("10{}", binary(5, 14)),
        // 2.0: differs from 1.0 in 11 bits behind one zero.
        &format!("11{}{}{}", binary(1, 5), binary(11, 6), "1".repeat(11)),
        &format!("10{}", binary((1 << 14) - 30, 14)),
        // Back to 1.0 with the same bits.
        &format!("10{}", "1".repeat(11)),
        &format!("1111{}", binary(99_990 + 20, 64)),
        "0",
    ]));
    let columns = floats::read(&chunk).unwrap();
    assert_eq!(columns.times, [10, 25, 40, 60, 50, 100_050]);
    assert_eq!(columns.values, [1.0, 1.0, 1.0, 2.0, 1.0, 1.0]);
    assert!(floats::read(&chunk[..12]).is_none());
}

/// Three samples of whole numbers, of schema 1 with two buckets from index 1 on.
#[test]
fn histograms_are_read_from_differences_of_differences() {
    let sum = binary(1.5_f64.to_bits(), 64);
    let mut chunk = vec![0, 3, 0x80];
    chunk.extend(bits(&[
        &binary(243, 8), // zero threshold: 0.5
        "10001",         // schema 1
        "10001",         // one span
        "10010",         // of two
        "10001",         // from 1 on
        "0",             // no negative side
        // First: time 3, count 3, zero count 0, sum, buckets 2 and -1.
        "10011",
        "10011",
        "0",
        &sum,
        "10010",
        "10111",
        // Second: everything by 2 more (time), 3 more (count), the first bucket by 2, the second by 1.
        "10010",
        "10011",
        "0",
        "0",
        "10010",
        "10111",
        // Third: the changes stay as they are.
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
    ]));
    let columns = natives::read(&chunk, false).unwrap();
    assert_eq!(columns.times, [3, 5, 7]);
    let found = |h: &std::sync::Arc<base::histogram::Histogram>| {
        (h.count, h.sum, h.zero_threshold, h.reset, h.positive.clone())
    };
    let found: Vec<_> = columns.histograms.iter().map(found).collect();
    assert_eq!(
        found,
        [
            (3.0, 1.5, 0.5, Reset::Reset, vec![(1, 2.0), (2, 1.0)]),
            (6.0, 1.5, 0.5, Reset::NotReset, vec![(1, 4.0), (2, 2.0)]),
            (9.0, 1.5, 0.5, Reset::NotReset, vec![(1, 6.0), (2, 3.0)]),
        ]
    );
}

proptest! {
    #[test]
    fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        floats::read(&bytes);
        natives::read(&bytes, true);
        natives::read(&bytes, false);
        if let Ok(index) = index::Index::open(&bytes) {
            let _ = index.series(index.first());
        }
    }
}
