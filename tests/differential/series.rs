//! The series that expressions are evaluated over: counters that begin again, gauges, histograms,
//! gaps, markers of ended series, values that are no numbers, intervals that are out of phase, names
//! beyond ASCII, and what is known of targets.
//!
//! Invariant: the same seed makes the same series, and both programs get every sample of them.

use std::sync::Arc;

use base::histogram::Histogram;
use base::labels::Labels;
use base::sample::{Ended, Timestamp};
use storage::{Options, Point, Storage};

use crate::native;
use crate::random::Random;

/// The first sample, in milliseconds: 2026-01-01.
pub(crate) const START: i64 = 1_767_225_600_000;
/// About where the samples end. A Prometheus that has seen the last of one series takes samples of
/// others that are up to an hour older.
pub(crate) const END: i64 = START + 50 * 60_000;

pub(crate) const INTERVAL: i64 = 15_000;

/// A sample, or the marker that ends a series of histograms.
#[derive(Clone, Debug)]
pub(crate) enum Sample {
    Float(f64),
    Native(Option<Arc<Histogram>>),
}

/// A series with its samples.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) samples: Vec<(i64, Sample)>,
}

/// All series.
pub(crate) fn all(random: &mut Random) -> Vec<Series> {
    let mut all = Vec::new();
    let instances = ["a:9100", "b:9100", "c:9200"];
    for instance in instances {
        for job in ["api", "web"] {
            if (instance, job) == ("c:9200", "web") {
                continue;
            }
            target(&mut all, random, job, instance);
        }
    }
    let bounds = ["0.1", "0.5", "1", "2.5", "+Inf"];
    for job in ["api", "web"] {
        let mut counts = vec![Vec::new(); bounds.len()];
        let mut totals = [0.0; 5];
        for time in times(random) {
            for bucket in 0..bounds.len() {
                let more = random.below(3) as f64;
                totals[bucket..].iter_mut().for_each(|total| *total += more);
                counts[bucket].push((time, totals[bucket]));
            }
        }
        for (le, samples) in bounds.iter().zip(counts) {
            all.push(labelled("latency_seconds_bucket", &[("job", job), ("le", le)], samples));
        }
    }
    about_targets(&mut all, random);
    native::add(&mut all, random);
    all.retain(|series| !series.samples.is_empty());
    // In the order in which Prometheus learns of them: which of several things is said of an aggregation
    // depends on it.
    all.sort_by_key(|series| !matches!(series.samples.first(), Some((_, Sample::Float(_)))));
    all
}

fn target(all: &mut Vec<Series>, random: &mut Random, job: &str, instance: &str) {
    let labels = [("job", job), ("instance", instance)];
    for code in ["200", "404", "500"] {
        let labels = [labels[0], labels[1], ("code", code)];
        let most = random.pick(&[2, 50, 100_000]);
        let samples = counter(random, most);
        all.push(labelled("requests_total", &labels, samples));
    }
    let zone = if instance == "a:9100" { "" } else { "north" };
    let samples = gauge(random);
    let with_zone = [labels[0], labels[1], ("zone", zone)];
    all.push(labelled("temperature", &with_zone, with_oddities(random, samples)));
    let samples = times(random).into_iter().map(|t| (t, random.below(2) as f64)).collect();
    all.push(labelled("flag", &labels, samples));
    let samples = gauge(random);
    all.push(labelled("flapping", &labels, with_gaps(random, samples)));
    let samples = gauge(random).into_iter().map(|(t, v)| (t, v.abs().floor())).collect();
    all.push(labelled("queue.depth", &labels, samples));
    let in_utf8 = [labels[0], labels[1], ("größe.µ", random.pick(&["klein", "groß", "äöü\\"]))];
    let samples = gauge(random);
    all.push(labelled("température", &in_utf8, with_oddities(random, samples)));
}

/// What `info` adds: labels of targets, which change now and then, and then overlap for a while.
fn about_targets(all: &mut Vec<Series>, random: &mut Random) {
    for (job, instance) in [("api", "a:9100"), ("web", "a:9100"), ("api", "b:9100")] {
        let place = random.pick(&["north", "south", ""]);
        let labels = [("job", job), ("instance", instance), ("zone", place)];
        let changes = random.between(START, END);
        let overlaps = random.pick(&[0, 0, 60_000]);
        let versions = [("1.0", START, changes + overlaps), ("2.0", changes, END)];
        for name in ["target_info", "build_info"] {
            for (version, from, to) in versions {
                let labels = [labels[0], labels[1], labels[2], ("version", version)];
                let times = times(random).into_iter().filter(|time| (from..to).contains(time));
                let mut samples: Vec<_> = times.map(|time| (time, 1.0)).collect();
                if let Some(last) = samples.last_mut().filter(|_| to < END) {
                    last.1 = Ended::Gone.value();
                }
                all.push(labelled(name, &labels, samples));
            }
        }
    }
}

fn labelled(name: &str, labels: &[(&str, &str)], samples: Vec<(i64, f64)>) -> Series {
    let samples = samples.into_iter().map(|(time, value)| (time, Sample::Float(value)));
    series(name, labels, samples.collect())
}

pub(crate) fn series(name: &str, labels: &[(&str, &str)], samples: Vec<(i64, Sample)>) -> Series {
    let all = labels.iter().copied().chain([("__name__", name)]);
    Series { labels: Labels::from_pairs(all), samples }
}

fn times(random: &mut Random) -> Vec<i64> {
    let interval = random.pick(&[INTERVAL, INTERVAL, INTERVAL, 10_000, 30_000, 61_000]);
    times_every(interval, random)
}

/// Times that are so far apart.
pub(crate) fn times_every(interval: i64, random: &mut Random) -> Vec<i64> {
    let offset = random.between(0, interval);
    let jitter = random.pick(&[1, 1, 30, 900]);
    let count = (END - START) / interval;
    // Some series begin late, and some end early.
    let (from, to) = match random.below(10) {
        0 => (random.between(START, END), END),
        1 => (START, random.between(START, END)),
        _ => (START, END),
    };
    let all = (0..count).map(|n| START + offset + n * interval + random.between(0, jitter));
    all.filter(|time| (from..=to).contains(time)).collect()
}

fn counter(random: &mut Random, most: usize) -> Vec<(i64, f64)> {
    let mut total = 0.0;
    let times = times(random);
    let often = random.pick(&[0.0, 0.01, 0.1]);
    let grow = |time| {
        if random.chance(often) {
            total = 0.0;
        }
        total += random.below(most) as f64;
        (time, total)
    };
    times.into_iter().map(grow).collect()
}

fn gauge(random: &mut Random) -> Vec<(i64, f64)> {
    let mut value = random.unit() * 100.0;
    let times = times(random);
    let walk = |time| {
        value += random.unit() * 10.0 - 5.0;
        (time, value)
    };
    times.into_iter().map(walk).collect()
}

fn with_oddities(random: &mut Random, mut samples: Vec<(i64, f64)>) -> Vec<(i64, f64)> {
    for (_, value) in &mut samples {
        if random.chance(0.02) {
            *value = random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e300]);
        }
    }
    samples
}

fn with_gaps(random: &mut Random, samples: Vec<(i64, f64)>) -> Vec<(i64, f64)> {
    let (mut kept, mut gap) = (Vec::new(), 0);
    for (time, value) in samples {
        if gap > 0 {
            gap -= 1;
        } else if random.chance(0.05) {
            gap = random.below(40);
            if random.chance(0.6) {
                kept.push((time, Ended::Gone.value()));
            }
        } else {
            kept.push((time, value));
        }
    }
    kept
}

/// The same series as we store them.
pub(crate) fn storage(all: &[Series]) -> Storage {
    let storage = Storage::in_memory(Options::default());
    for Series { labels, samples } in all {
        let series = storage.series(labels).unwrap();
        for (time, sample) in samples {
            let timestamp = Timestamp::from_millis(*time);
            let point = |value| [Point { series, timestamp, value }];
            let appended = match sample {
                Sample::Float(value) => storage.append(&point(*value)),
                Sample::Native(Some(histogram)) => {
                    storage.append_histogram(series, timestamp, (**histogram).clone())
                }
                Sample::Native(None) => storage.append(&point(Ended::Gone.value())),
            };
            assert_eq!(appended.unwrap().stored, 1, "{labels} at {time}");
        }
    }
    storage
}
