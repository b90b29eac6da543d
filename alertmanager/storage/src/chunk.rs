//! A stretch of one series, compressed.
//!
//! ```text
//! byte 0       kind (0: floats)
//! bytes 1..9   the time of the first sample
//! then         packs of up to 240 samples, one behind the other
//! ```
//!
//! While a chunk is open its last samples wait in a tail, each a few bytes; every [`PACK`] of them
//! are packed. When it is sealed all of its packs become one, where that takes less room. So the
//! newest samples of a series, which rules read over and over, are found without decoding what
//! comes before them.
//!
//! Invariant: what is read is what was written, bit for bit, markers and NaNs included; damaged
//! bytes give fewer samples, never a panic.

mod pack;
mod tail;

use base::sample::Timestamp;

use pack::{Pack, Packs};
use tail::Tail;

/// After so many samples a chunk is full.
pub(crate) const MAX_SAMPLES: u32 = 240;

/// So many samples of an open chunk are packed at a time.
const PACK: usize = 32;

const FLOATS: u8 = 0;
const HEADER: usize = 9;

/// Samples of one series, as two columns of the same length.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
}

impl Columns {
    pub(crate) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
    }
}

/// From when to when, both included, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// A chunk that is being written.
#[derive(Clone, Debug)]
pub(crate) struct ChunkWriter {
    /// As it will be, but for the samples in the tail.
    bytes: Vec<u8>,
    tail: Tail,
    first: i64,
    last: i64,
    count: u32,
}

impl ChunkWriter {
    /// A chunk that begins with this sample.
    pub(crate) fn begin(time: Timestamp, value: f64) -> Self {
        let first = time.millis();
        let mut tail = Tail::default();
        tail.push(first, value);
        Self { bytes: Vec::new(), tail, first, last: first, count: 1 }
    }

    /// Adds a sample; the caller has checked that it is later than the last.
    pub(crate) fn push(&mut self, time: Timestamp, value: f64) {
        if self.tail.count() >= PACK {
            let mut columns = Columns::default();
            self.tail.read(&mut columns);
            if self.bytes.is_empty() {
                self.bytes = header(self.first);
            }
            pack::push(&mut self.bytes, self.first, &columns);
            self.tail.clear();
        }
        self.tail.push(time.millis(), value);
        self.last = time.millis();
        self.count += 1;
    }

    /// Whether the next sample belongs into a new chunk.
    pub(crate) fn is_full(&self) -> bool {
        self.count >= MAX_SAMPLES
    }

    pub(crate) fn first(&self) -> Timestamp {
        Timestamp::from_millis(self.first)
    }

    pub(crate) fn last(&self) -> Timestamp {
        Timestamp::from_millis(self.last)
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The bytes of the finished chunk.
    pub(crate) fn seal(self) -> Vec<u8> {
        let mut columns = Columns::default();
        let all = Span { from: i64::MIN, to: i64::MAX };
        self.read(all, &mut columns);
        let mut bytes = header(self.first);
        pack::push(&mut bytes, self.first, &columns);
        // Where few samples are unlike the others, several packs can be smaller than one.
        columns.clear();
        self.tail.read(&mut columns);
        let mut several = if self.bytes.is_empty() { header(self.first) } else { self.bytes };
        pack::push(&mut several, self.first, &columns);
        if several.len() < bytes.len() { several } else { bytes }
    }

    /// Appends the samples of `span`.
    pub(crate) fn read(&self, span: Span, to: &mut Columns) {
        let tail_begins = self.tail.first();
        if tail_begins > span.from {
            read_packs(&self.bytes, span, tail_begins, to);
        }
        if tail_begins <= span.to {
            let before = to.times.len();
            self.tail.read(to);
            let behind = to.times.partition_point(|time| *time <= span.to);
            to.times.truncate(behind);
            to.values.truncate(behind);
            let early = to.times[before..].partition_point(|time| *time < span.from);
            if early > 0 {
                to.times.drain(before..before + early);
                to.values.drain(before..before + early);
            }
        }
    }

    /// Bytes that it takes in memory.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes.capacity() + self.tail.allocated()
    }
}

fn header(first: i64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    bytes.push(FLOATS);
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes
}

/// Appends the samples of `span` of the chunk `bytes`.
pub(crate) fn read(bytes: &[u8], span: Span, to: &mut Columns) {
    read_packs(bytes, span, i64::MAX, to);
}

/// Appends the samples of `span` from packs that end before `end`.
fn read_packs(bytes: &[u8], span: Span, end: i64, to: &mut Columns) {
    let mut packs = Packs::of(bytes);
    let mut next = packs.next();
    while let Some(pack) = next {
        next = packs.next();
        // Behind the last sample of this pack, or on it.
        let end = next.as_ref().map_or(end, Pack::first);
        if pack.first() > span.to {
            return;
        }
        if end > span.from && pack.read(span, to).is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use base::sample::Ended;
    use proptest::prelude::*;

    use super::*;

    fn written(samples: &[(i64, f64)]) -> ChunkWriter {
        let at = Timestamp::from_millis;
        let mut chunk = ChunkWriter::begin(at(samples[0].0), samples[0].1);
        samples[1..].iter().for_each(|&(time, value)| chunk.push(at(time), value));
        chunk
    }

    fn bits(columns: &Columns) -> Vec<(i64, u64)> {
        let values = columns.values.iter().map(|value| value.to_bits());
        columns.times.iter().copied().zip(values).collect()
    }

    /// Reads all samples and those of `from..=to`, from the open and from the sealed chunk.
    #[track_caller]
    fn check_span(samples: &[(i64, f64)], from: i64, to: i64) {
        let chunk = written(samples);
        for span in [Span { from: i64::MIN, to: i64::MAX }, Span { from, to }] {
            let expected: Vec<_> = samples
                .iter()
                .filter(|(time, _)| (span.from..=span.to).contains(time))
                .map(|(time, value)| (*time, value.to_bits()))
                .collect();
            let mut columns = Columns { times: vec![-7], values: vec![7.0] };
            chunk.read(span, &mut columns);
            assert_eq!(bits(&columns)[1..], expected, "open");
            let mut columns = Columns { times: vec![-7], values: vec![7.0] };
            read(&chunk.clone().seal(), span, &mut columns);
            assert_eq!(bits(&columns)[1..], expected, "sealed");
        }
    }

    #[track_caller]
    fn check(samples: &[(i64, f64)]) {
        check_span(samples, samples[samples.len() / 3].0, samples[samples.len() / 2].0);
    }

    fn regular(count: i64, value: impl Fn(i64) -> f64) -> Vec<(i64, f64)> {
        (0..count).map(|n| (1_700_000_000_000 + n * 15_000 + n % 3, value(n))).collect()
    }

    #[test]
    fn keeps_every_bit() {
        check(&[(0, 1.0)]);
        check(&[(i64::MIN, -0.0), (0, 0.0), (i64::MAX, f64::MIN_POSITIVE)]);
        let odd =
            [f64::NAN, Ended::Lost.value(), f64::INFINITY, 5e-324, 9.007e15, -9.1e15, 0.1, 1e22];
        check(&odd.iter().enumerate().map(|(n, v)| (n as i64 * 1000, *v)).collect::<Vec<_>>());
        check(&[(0, 1.0), (1, 2.0), (2, 2.5), (3, 3.0), (9, -4.0), (1 << 40, 1e15)]);
        check(&regular(240, |n| (n * n % 77) as f64));
        check(&regular(240, |n| n as f64 / 100.0));
        check(&regular(240, |n| (n as f64).sqrt()));
        check(&regular(100, |n| if n == 50 { Ended::Gone.value() } else { n as f64 }));
        check(&regular(65, |_| -0.0));
    }

    proptest! {
        #[test]
        fn reads_what_was_written(
            steps in prop::collection::vec((1_i64..100_000, prop_oneof![
                any::<f64>(),
                (-1000_i64..1000).prop_map(|n| n as f64),
                (-1000_i64..1000).prop_map(|n| n as f64 / 1000.0),
                Just(0.5)
            ]), 1..240),
            from in 0_i64..10_000_000,
            length in 0_i64..5_000_000,
        ) {
            let mut time = -5000;
            let samples: Vec<_> = steps.into_iter().map(|(step, v)| { time += step; (time, v) }).collect();
            check_span(&samples, from, from + length);
        }

        #[test]
        fn damaged_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut columns = Columns::default();
            read(&bytes, Span { from: i64::MIN, to: i64::MAX }, &mut columns);
            prop_assert_eq!(columns.times.len(), columns.values.len());
        }

        #[test]
        fn a_damaged_chunk_does_no_harm(at in 0_usize..400, with in any::<u8>()) {
            let mut bytes = written(&regular(240, |n| (n * n % 77) as f64)).seal();
            let at = at % bytes.len();
            bytes[at] ^= with;
            read(&bytes, Span { from: 0, to: i64::MAX }, &mut Columns::default());
        }
    }

    #[test]
    fn takes_as_few_bytes_as_the_changes_need() {
        let size = |value: &dyn Fn(i64) -> f64| written(&regular(240, value)).seal().len();
        assert!(size(&|_| 7.0) < 110, "constant: {}", size(&|_| 7.0));
        let counter = |n: i64| (n * 3700 + n * n % 97) as f64;
        assert!(size(&counter) < 400, "counter: {}", size(&counter));
        let hundredths = |n: i64| (n * 3700 + n * n % 97) as f64 / 100.0;
        assert!(size(&hundredths) < 410, "hundredths: {}", size(&hundredths));
    }
}
