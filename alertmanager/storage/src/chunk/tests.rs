//! Chunks: floats, native histograms and start timestamps.
//!
//! Invariant: whatever is put in is compared with what comes out, bit for bit.

use base::sample::Ended;
use proptest::prelude::*;

use super::*;

fn written(samples: &[(i64, f64)]) -> ChunkWriter {
    let at = Timestamp::from_millis;
    let mut chunk = ChunkWriter::begin(at(samples[0].0), Held::Float(samples[0].1), UNKNOWN);
    samples[1..]
        .iter()
        .for_each(|&(time, value)| chunk.push(at(time), Held::Float(value), UNKNOWN));
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
        let mut columns = Columns { times: vec![-7], values: vec![7.0], ..Columns::default() };
        chunk.read(span, &mut columns);
        assert_eq!(bits(&columns)[1..], expected, "open");
        let mut columns = Columns { times: vec![-7], values: vec![7.0], ..Columns::default() };
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
    let odd = [f64::NAN, Ended::Lost.value(), f64::INFINITY, 5e-324, 9.007e15, -9.1e15, 0.1, 1e22];
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

/// What the columns hold, so that it can be compared: bits of floats, histograms, starts.
fn held(columns: &Columns) -> Vec<(i64, Result<u64, Histogram>, i64)> {
    let one = |at: usize| {
        let what = match columns.held(at) {
            Held::Float(value) => Ok(value.to_bits()),
            Held::Native(histogram) => Err((**histogram).clone()),
        };
        (columns.times[at], what, columns.start(at))
    };
    (0..columns.times.len()).map(one).collect()
}

type Sample = (i64, Result<f64, Histogram>, i64);

fn chunk_of(samples: &[Sample]) -> ChunkWriter {
    let mut chunk: Option<ChunkWriter> = None;
    for (time, what, start) in samples {
        let native = what.clone().err().map(Arc::new);
        let held = match (what, &native) {
            (_, Some(native)) => Held::Native(native),
            (Ok(value), None) => Held::Float(*value),
            (Err(_), None) => unreachable!(),
        };
        let time = Timestamp::from_millis(*time);
        match &mut chunk {
            Some(chunk) => chunk.push(time, held, *start),
            None => chunk = Some(ChunkWriter::begin(time, held, *start)),
        }
    }
    chunk.unwrap()
}

fn growing(n: i64) -> Histogram {
    let positive: base::histogram::Buckets =
        (0..20).map(|bucket| (bucket, (n * i64::from(bucket + 1)) as f64)).collect();
    let positive = positive.into_iter().filter(|(_, count)| *count != 0.0).collect();
    let (count, sum) = ((n * 210) as f64, n as f64 * 17.25);
    Histogram { schema: 3, zero_threshold: 1e-128, count, sum, positive, ..Histogram::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn histograms_floats_and_starts_are_read_as_written(
        first in crate::record::tests::histogram(),
        steps in prop::collection::vec((1_i64..1000, prop_oneof![
            6 => crate::record::tests::histogram().prop_map(Err),
            1 => Just(Ok(Ended::Gone.value())),
            1 => any::<f64>().prop_map(|v| Ok(base::sample::without_markers(v)))
        ], prop_oneof![Just(0_i64), Just(7), any::<i32>().prop_map(i64::from)]), 0..100),
        from in 0_i64..50_000,
        length in 0_i64..50_000,
    ) {
        let mut time = 0;
        let mut samples = vec![(0, Err(first), 7)];
        for (step, what, start) in steps {
            time += step;
            samples.push((time, what, start));
        }
        let chunk = chunk_of(&samples);
        for span in [Span::ALL, Span { from, to: from + length }] {
            let expected: Vec<_> = samples
                .iter()
                .filter(|(time, ..)| (span.from..=span.to).contains(time))
                .map(|(time, what, start)| (*time, what.clone().map(f64::to_bits), *start))
                .collect();
            let mut open = Columns::default();
            chunk.read(span, &mut open);
            prop_assert_eq!(&held(&open), &expected);
            let mut sealed = Columns::default();
            read(&chunk.clone().seal(), span, &mut sealed);
            prop_assert_eq!(&held(&sealed), &expected);
        }
    }

    #[test]
    fn a_damaged_chunk_of_histograms_does_no_harm(at in 0_usize..4000, with in any::<u8>()) {
        let samples: Vec<Sample> = (0..100).map(|n| (n * 1000, Err(growing(n)), n / 40)).collect();
        let mut bytes = chunk_of(&samples).seal();
        let at = at % bytes.len();
        bytes[at] ^= with;
        let mut columns = Columns::default();
        read(&bytes, Span::ALL, &mut columns);
        prop_assert_eq!(columns.times.len(), columns.values.len());
    }
}

#[test]
fn floats_keep_their_starts() {
    let samples: Vec<Sample> = (0..200).map(|n| (n * 1000, Ok(n as f64), n / 60 * 500)).collect();
    let chunk = chunk_of(&samples);
    let mut columns = Columns::default();
    read(&chunk.seal(), Span { from: 59_000, to: 61_000 }, &mut columns);
    assert_eq!(columns.starts, [0, 500, 500]);
}

#[test]
fn a_histogram_of_twenty_buckets_takes_few_bytes() {
    let samples: Vec<Sample> = (0..240).map(|n| (n * 15_000, Err(growing(n)), 0)).collect();
    let bytes = chunk_of(&samples).seal().len();
    assert!(bytes < 240 * 3, "{bytes}");
}

/// Chunks of every kind with some bytes changed, `FUZZ_RUNS` of them: `make fuzz TARGET=chunk`.
#[test]
#[allow(clippy::disallowed_methods, reason = "how often is a setting of the test")]
fn changed_chunks_do_no_harm_x22() {
    let runs = std::env::var("FUZZ_RUNS").ok().and_then(|text| text.parse().ok());
    let runs: u64 = runs.unwrap_or(5_000);
    let floats: Vec<_> = (0..240).map(|n| (n * 15_000, (n * n % 91) as f64 / 8.0)).collect();
    let roots: Vec<_> = (0..100).map(|n| (n * n * 100, (n as f64).sqrt())).collect();
    let natives: Vec<Sample> = (0..90).map(|n| (n * 15_000, Err(growing(n)), 0)).collect();
    let begun: Vec<Sample> = (0..60).map(|n| (n * 15_000, Ok(n as f64), n / 9)).collect();
    let seeds = [
        written(&floats).seal(),
        written(&roots).seal(),
        chunk_of(&natives).seal(),
        chunk_of(&begun).seal(),
    ];
    let mut below = crate::noise::numbers();
    let mut columns = Columns::default();
    for _ in 0..runs {
        let mut bytes = seeds[below(seeds.len())].clone();
        for _ in 0..=below(3) {
            // The heads decide the most, and they come first.
            let reach = if below(2) == 0 { bytes.len().min(40) } else { bytes.len() };
            let at = below(reach);
            match below(3) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes[at] = below(256) as u8,
                _ => bytes.truncate(at.max(1)),
            }
        }
        columns.clear();
        read(&bytes, Span::ALL, &mut columns);
        assert_eq!(columns.times.len(), columns.values.len(), "{bytes:?}");
        assert!(columns.starts.is_empty() || columns.starts.len() == columns.times.len());
        assert!(columns.histograms.len() <= columns.times.len(), "{bytes:?}");
    }
}
