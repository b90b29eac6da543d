//! How long a start takes with many series and hours of samples, and what a sample takes on disk:
//! `cargo bench -p storage --bench restart -- SERIES HOURS STEP_SECONDS` (200000 6 30).
//!
//! Invariant: it measures once and prints what it measured.
#![allow(clippy::print_stdout, reason = "what it is for")]

use std::time::Duration;

use base::clock::Stopwatch;
use base::labels::Labels;
use base::sample::Timestamp;
use storage::{Options, Point, Storage};

fn main() {
    let numbers: Vec<i64> = std::env::args().filter_map(|text| text.parse().ok()).collect();
    let [series, hours, step] = numbers[..] else { return measure(200_000, 6, 30) };
    measure(series, hours, step);
}

fn measure(series: i64, hours: i64, step: i64) {
    let dir = tempfile::tempdir().expect("a folder");
    let watch = Stopwatch::start();
    let storage = Storage::open(dir.path(), Options::default()).expect("a storage");
    let refs: Vec<_> = (0..series)
        .map(|n| {
            let instance = format!("host-{:04}:9100", n / 1000);
            let (name, path) = (format!("x_{}_total", n % 40), format!("/p{}", n % 1000));
            let pairs = [("__name__", &name), ("instance", &instance), ("path", &path)];
            storage.series(&Labels::from_pairs(pairs)).expect("there is room")
        })
        .collect();
    let mut points = Vec::new();
    for scrape in 0..hours * 3600 / step {
        let timestamp = Timestamp::from_millis(scrape * step * 1000);
        for piece in refs.chunks(1000) {
            points.clear();
            points.extend(piece.iter().map(|&series| {
                let n = i64::from(points_of(series)) + scrape;
                let value = match n % 4 {
                    0 => (scrape * (1 + n % 37)) as f64,
                    1 => (scrape * 1000 + scrape * n % 997) as f64,
                    2 => ((scrape * 31 + n) % 1000) as f64 / 8.0,
                    _ => 1.0,
                };
                Point { series, timestamp, value }
            }));
            storage.append(&points).expect("the disk takes it");
        }
        if scrape % (600 / step).max(1) == 0 {
            storage.maintain(timestamp).expect("the disk takes it");
        }
    }
    let stats = storage.stats();
    println!(
        "{series} series, {hours} h every {step} s: filled in {:.1} s; {:.2} bytes a sample in {} blocks",
        watch.seconds(),
        stats.block_bytes as f64 / stats.block_samples.max(1) as f64,
        stats.blocks,
    );
    drop(storage);
    let watch = Stopwatch::start();
    let storage = Storage::open(dir.path(), Options::default()).expect("a storage");
    let ready = watch.seconds();
    let last = Timestamp::from_millis(hours * 3_600_000);
    let found = storage.select(&[], last - Duration::from_secs(120), last).expect("samples");
    println!("ready {ready:.2} s after a crash, with {} series", found.len());
}

/// A number that differs from series to series.
fn points_of(series: storage::SeriesRef) -> u32 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(series) as u32 % 1000
}
