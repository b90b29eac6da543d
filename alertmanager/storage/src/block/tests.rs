//! Blocks of both layouts: what was written is read, whatever is damaged is left out.
//!
//! Invariant: `tests/blocks/first.block` is a file that a build wrote which knew no other layout.

use std::path::Path;
use std::sync::Arc;

use base::histogram::Histogram;
use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::{Ended, Timestamp};

use super::packed::Packer;
use super::section::{self, Section};
use super::times::{KnownTimes, SharedTimes};
use super::{Block, write};
use crate::chunk::{ChunkWriter, Columns, Held, Span, UNKNOWN, read};
use crate::head::Sealed;
use crate::series::SeriesSamples;

const BEGIN: i64 = 1_700_000_000_000;
const STEP: i64 = 15_000;

/// A chunk of samples from step `from` on.
fn chunk(
    steps: std::ops::Range<i64>,
    sample: impl Fn(i64) -> (i64, Result<f64, Histogram>, i64),
) -> Sealed {
    let mut open: Option<ChunkWriter> = None;
    for (time, value, start) in steps.map(sample) {
        let time = Timestamp::from_millis(time);
        let native = value.clone().err().map(Arc::new);
        let held = match &native {
            Some(histogram) => Held::Native(histogram),
            None => Held::Float(value.unwrap()),
        };
        match &mut open {
            Some(open) => open.push(time, held, start),
            None => open = Some(ChunkWriter::begin(time, held, start)),
        }
    }
    Sealed::of(open.unwrap())
}

fn histogram(n: i64) -> Histogram {
    let count = n as f64;
    Histogram { count, sum: count / 2.0, positive: vec![(1, count)], ..Histogram::default() }
}

fn labels(kind: &str, target: i64) -> Labels {
    Labels::from_pairs([
        ("__name__", "x"),
        ("kind", kind),
        ("target", &format!("host-{target:03}")),
    ])
}

/// Series of ten targets, each of two chunks: counters, constants, floats, one that ended and came
/// again, one whose times are its own, histograms, and counters that say since when they count.
fn series() -> Vec<(Labels, Vec<Sealed>)> {
    let mut series = Vec::new();
    for target in 0..10 {
        let at = |n: i64| BEGIN + n * STEP + target;
        let apart = |n: i64| at(n) + (n * n + target) % 997;
        let both = |sample: &dyn Fn(i64) -> (i64, Result<f64, Histogram>, i64)| {
            vec![chunk(0..200, sample), chunk(200..240, sample)]
        };
        let ended = |n: i64| if n == 100 { Ended::Lost.value() } else { (n * 3) as f64 };
        let root = |n: i64| ((n + target) as f64).sqrt();
        for (kind, chunks) in [
            ("counter", both(&|n| (at(n), Ok((n * (7 + target)) as f64), UNKNOWN))),
            ("constant", both(&|n| (at(n), Ok(0.25), UNKNOWN))),
            ("float", both(&|n| (at(n), Ok(root(n)), UNKNOWN))),
            ("ended", both(&|n| (at(n), Ok(ended(n)), UNKNOWN))),
            ("apart", both(&|n| (apart(n), Ok((n % 5) as f64), UNKNOWN))),
            ("native", both(&|n| (at(n), Err(histogram(n + 1 + target)), UNKNOWN))),
            ("begun", both(&|n| (at(n), Ok(n as f64), BEGIN - 5_000))),
        ] {
            series.push((labels(kind, target), chunks));
        }
    }
    series.sort_by(|a, b| a.0.cmp(&b.0));
    series
}

/// Everything in chunks, values as bits.
fn columns(chunks: &[Sealed]) -> (Vec<i64>, Vec<u64>, Vec<Arc<Histogram>>, Vec<i64>) {
    let mut columns = Columns::default();
    chunks.iter().for_each(|chunk| read(&chunk.bytes, Span::ALL, &mut columns));
    columns.complete();
    let Columns { times, values, histograms, starts } = columns;
    // A tag of a histogram is its place, which depends on what was read before it.
    let bits = |value: f64| if base::histogram::is_tag(value) { 1 } else { value.to_bits() };
    (times, values.into_iter().map(bits).collect(), histograms, starts)
}

fn all(block: &Block) -> Vec<(Labels, Vec<Sealed>)> {
    let mut found = Vec::new();
    block
        .each_chunk(|labels, chunks| found.push((labels, chunks)), |l, lost| panic!("{l} {lost:?}"))
        .unwrap();
    found
}

#[track_caller]
fn assert_same(found: &[(Labels, Vec<Sealed>)], expected: &[(Labels, Vec<Sealed>)]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.0, expected.0);
        assert!(columns(&found.1) == columns(&expected.1), "{}", found.0);
    }
}

fn select(block: &Block, matchers: &[Matcher], span: Span) -> Vec<SeriesSamples> {
    let mut found = Vec::new();
    let look = block.look().unwrap();
    for number in look.find(matchers).unwrap() {
        let mut columns = Columns::default();
        look.read(number, span, &mut columns).unwrap();
        if let Some((labels, _)) =
            look.labels(number, span).unwrap().filter(|_| !columns.times.is_empty())
        {
            found.push(SeriesSamples::new(labels, columns));
        }
    }
    found
}

#[test]
fn all_that_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let block = Block::open(&write(dir.path(), "new", series()).unwrap()).unwrap();
    assert_same(&all(&block), &series());
    assert_eq!((block.samples(), block.has_histograms()), (70 * 240, true));
    // From the last sample of the first chunks to the first of the second, of one target.
    let span = Span { from: BEGIN + 199 * STEP, to: BEGIN + 200 * STEP + 3 };
    let found = select(&block, &[Matcher::equal("target", "host-003")], span);
    assert_eq!(found.len(), 7);
    assert!(found.iter().all(|series| series.labels.get("target") == Some("host-003")));
    let counter = found.iter().find(|s| s.labels.get("kind") == Some("counter")).unwrap();
    assert_eq!(counter.times, [BEGIN + 199 * STEP + 3, BEGIN + 200 * STEP + 3]);
    assert_eq!(counter.values, [1990.0, 2000.0]);
    let begun = found.iter().find(|s| s.labels.get("kind") == Some("begun")).unwrap();
    assert_eq!(begun.starts, [BEGIN - 5_000; 2]);
    assert!(select(&block, &[], Span { from: 0, to: BEGIN - 1 }).is_empty());
}

/// Written anew, as a deletion does, it is the same again.
#[test]
fn what_was_read_is_written_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let first = write(dir.path(), "a", series()).unwrap();
    let second = write(dir.path(), "b", all(&Block::open(&first).unwrap())).unwrap();
    let (first, second) = (std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
    let differs = first.iter().zip(&second).position(|(a, b)| a != b);
    assert_eq!((first.len(), differs), (second.len(), None));
}

#[test]
fn blocks_of_the_first_layout_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/blocks/first.block");
    let block = Block::open(&path).unwrap();
    let minute = |n: i64| BEGIN + n * 60_000;
    let mut expected = Vec::new();
    for n in 0..7_i64 {
        let job = if n % 2 == 0 { "a" } else { "b" };
        let pairs = [("__name__", "x"), ("job", job), ("n", &n.to_string())];
        let sample = |step: i64| {
            let value = match n {
                6 => Err(histogram(n + step)),
                5 => Ok((step as f64).sqrt()),
                _ => Ok((n * step) as f64),
            };
            (minute(step), value, if n == 4 { 1_699_999_999_000 } else { UNKNOWN })
        };
        let chunks = vec![chunk(0..30, sample), chunk(30..60, sample)];
        expected.push((Labels::from_pairs(pairs), chunks));
    }
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_same(&all(&block), &expected);
    let span = Span { from: minute(29), to: minute(30) };
    let found = select(&block, &[Matcher::equal("job", "b"), Matcher::equal("n", "3")], span);
    assert_eq!((found.len(), &found[0].values[..]), (1, &[87.0, 90.0][..]));
    // Written anew it is of the newest layout, and the same.
    let dir = tempfile::tempdir().unwrap();
    let anew = write(dir.path(), "first", all(&block)).unwrap();
    assert!(anew.metadata().unwrap().len() < path.metadata().unwrap().len());
    assert_same(&all(&Block::open(&anew).unwrap()), &expected);
}

#[test]
fn alike_series_take_few_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut series = Vec::new();
    for n in 0..4000_i64 {
        let pairs = [
            ("__name__", "http_requests_total".to_owned()),
            ("handler", format!("/api/v1/resource_{:02}", n / 200)),
            ("instance", format!("host-{:03}", n % 200)),
            ("job", format!("job{}", n % 10)),
        ];
        let at = |step: i64| BEGIN + step * STEP + n % 200;
        let value = |step: i64| (step * (n % 90) + (step * step + n) % 7) as f64;
        series.push((Labels::from_pairs(pairs), vec![chunk(0..40, |s| (at(s), Ok(value(s)), 0))]));
    }
    let path = write(dir.path(), "new", series).unwrap();
    let bytes = path.metadata().unwrap().len();
    assert!(bytes < 4000 * 30, "{} bytes a series", bytes / 4000);
}

#[test]
fn times_that_find_no_room_stay_with_their_series() {
    let given = series();
    for room in [0, 100, 10_000] {
        let (mut times, mut values) = (SharedTimes::with_room(room), Vec::new());
        let encoded = section::encode(&given, 0, &mut times, &mut values);
        let known = KnownTimes::of(times.bytes().to_vec()).unwrap();
        let section = Section::decode(&encoded, &known).unwrap();
        for (number, (labels, chunks)) in given.iter().enumerate() {
            assert_eq!(section.labels(number).as_ref(), Some(labels));
            let place = section.place(number).unwrap();
            let bytes = &values[place.at as usize..][..place.length];
            assert!(bytes.is_empty() || crc32fast::hash(bytes) == place.sum);
            let mut found = Vec::new();
            let each = |bytes: &[u8]| found.extend(Sealed::read(bytes));
            section.each_chunk(number, bytes, &known, each).unwrap();
            assert!(columns(&found) == columns(chunks), "{labels} with room for {room}");
            let (mut first, mut count) = (i64::MAX, 0);
            let extent = |extent: section::Extent| {
                (first, count) = (first.min(extent.first), count + extent.count);
            };
            section.each_extent(number, &known, extent).unwrap();
            assert_eq!((first, count), (chunks[0].first.millis(), 240));
        }
    }
}

#[test]
fn changed_sections_do_no_harm_x22() {
    let (mut times, mut values) = (SharedTimes::with_room(60), Vec::new());
    let whole = section::encode(&series(), 0, &mut times, &mut values);
    let known = KnownTimes::of(times.bytes().to_vec()).unwrap();
    let mut below = crate::noise::numbers();
    for _ in 0..3000 {
        let mut bytes = whole.clone();
        let at = below(bytes.len());
        match below(3) {
            0 => bytes[at] ^= 1 << below(8),
            1 => bytes[at] = below(256) as u8,
            _ => bytes.truncate(at),
        }
        let Some(section) = Section::decode(&bytes, &known) else { continue };
        for number in 0..80 {
            let _ = section.labels(number);
            let Some(place) = section.place(number) else { continue };
            let begin = usize::try_from(place.at).unwrap_or(usize::MAX);
            let end = begin.saturating_add(place.length);
            let Some(bytes) = values.get(begin..end) else { continue };
            let mut columns = Columns::default();
            let each = |chunk: &[u8]| read(chunk, Span::ALL, &mut columns);
            let _ = section.each_chunk(number, bytes, &known, each);
            assert_eq!(columns.times.len(), columns.values.len());
        }
    }
    assert!(Packer::default().pack(&whole).unwrap().len() < whole.len());
}
