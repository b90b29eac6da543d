//! Series of native histograms: of several resolutions, with custom buckets, counters that begin
//! again, gauges, observations that are not numbers, and mixes with floats.
//!
//! ```text
//! native_seconds     counters; resolution and zero bucket change within a series
//! native_gauge       gauges with the coarsest buckets, whose bounds print the same everywhere
//! native_custom      counters with custom buckets, the same for all
//! native_moved       the same with bounds that change
//! native_nan         counters with observations that are not numbers
//! native_mixed       floats, exponential and custom histograms: in turn, and beside each other
//! native_gaps        counters that come and go, some with hints at beginning again
//! ```
//!
//! Invariant: counters are never near zero nor far apart, and seldom begin again, and no observation with custom buckets is below zero: later
//! versions of Prometheus treat those otherwise than the one that the tests compare with. Zero buckets
//! end at bounds that buckets of every resolution have, and that are the same to the last digit.

use std::sync::Arc;

use base::histogram::{Buckets, CUSTOM, Histogram, Reset};

use crate::random::Random;
use crate::series::{INTERVAL, Sample, Series, series, times_every};

/// What a series counts so far, in the finest buckets that it may have.
struct Counter {
    schema: i32,
    positive: Buckets,
    negative: Buckets,
    zero_count: f64,
    sum: f64,
}

/// How many samples counters have at least until they begin again: later versions know where zero was,
/// which matters where they begin again and again.
const REST: usize = 40;

const FIRST: i32 = -6;
const LAST: i32 = 14;

impl Counter {
    /// One that has counted for long.
    fn new(random: &mut Random, negative: bool) -> Self {
        let mut side = |n: i32| -> Buckets {
            (FIRST..LAST + n).map(|n| (n, 500.0 + random.below(500) as f64)).collect()
        };
        let positive = side(0);
        let negative = if negative { side(-10) } else { Buckets::new() };
        Self { schema: 2, positive, negative, zero_count: 300.0, sum: 5000.0 }
    }

    fn grow(&mut self, random: &mut Random) {
        for (_, count) in self.positive.iter_mut().chain(&mut self.negative) {
            if random.chance(0.6) {
                *count += random.below(6) as f64;
            }
        }
        self.zero_count += random.below(3) as f64;
        self.sum += random.below(400) as f64 * 0.25;
    }

    /// Begins again, at two thirds of what it had.
    fn begin_again(&mut self) {
        for (_, count) in self.positive.iter_mut().chain(&mut self.negative) {
            *count = (*count * 2.0 / 3.0).floor();
        }
        self.sum = (self.sum * 2.0 / 3.0).floor();
    }

    fn histogram(&self) -> Histogram {
        let counts = |side: &Buckets| side.iter().map(|(_, count)| count).sum::<f64>();
        Histogram {
            schema: self.schema,
            reset: Reset::Unknown,
            zero_threshold: 1e-3,
            zero_count: self.zero_count,
            count: self.zero_count + counts(&self.positive) + counts(&self.negative),
            sum: self.sum,
            positive: self.positive.clone(),
            negative: self.negative.clone(),
            bounds: Arc::from([]),
        }
    }
}

fn native(histogram: Histogram) -> Sample {
    Sample::Native(Some(Arc::new(histogram)))
}

/// A counter whose resolution and zero bucket change now and then.
fn exponential(random: &mut Random, negative: bool) -> Vec<(i64, Sample)> {
    let (mut counter, mut schema, mut zero) = (Counter::new(random, negative), 1, 1e-3);
    let times = times_every(INTERVAL, random);
    let mut rested = 0;
    let next = |time| {
        counter.grow(random);
        rested += 1;
        if rested > REST && random.chance(0.06) {
            counter.begin_again();
            rested = 0;
            // What becomes finer is taken for a counter that begins again, too.
            (schema, zero) = (random.pick(&[-1, 0, 1, 2]), random.pick(&[1e-3, 1.0]));
        }
        if random.chance(0.02) {
            schema = random.pick(&[-1, 0, 1, 2]).min(schema);
        }
        if random.chance(0.01) {
            zero = 1.0;
        }
        (time, native(counter.histogram().at_schema(schema).with_zero(zero)))
    };
    times.into_iter().map(next).collect()
}

fn gauge(random: &mut Random) -> Vec<(i64, Sample)> {
    let times = times_every(INTERVAL, random);
    let schema = random.pick(&[0, -1]);
    let next = |time| {
        let count = |random: &mut Random| random.below(20) as f64;
        let positive: Buckets = (-2..4).map(|n| (n, count(random))).collect();
        let positive: Buckets = positive.into_iter().filter(|(_, count)| *count > 0.0).collect();
        let zero_count = count(random);
        let counts: f64 = positive.iter().map(|(_, count)| count).sum();
        let histogram = Histogram {
            schema,
            reset: Reset::Gauge,
            zero_threshold: 1e-3,
            zero_count,
            count: zero_count + counts,
            sum: random.between(-40, 90) as f64 * 0.25,
            positive,
            ..Histogram::default()
        };
        (time, native(histogram))
    };
    times.into_iter().map(next).collect()
}

/// A counter with custom buckets; `moves` says whether their bounds change.
fn custom(random: &mut Random, moves: bool) -> Vec<(i64, Sample)> {
    let mut counts = [700.0, 900.0, 650.0, 800.0, 600.0];
    let (mut sum, mut bounds, mut rested) = (4000.0, [0.25, 0.5, 1.0, 2.5], 0);
    let times = times_every(INTERVAL, random);
    let next = |time| {
        for count in &mut counts {
            *count += random.below(8) as f64;
        }
        sum += random.below(400) as f64 * 0.25;
        rested += 1;
        if rested > REST && random.chance(0.06) {
            counts.iter_mut().for_each(|count| *count = (*count * 2.0 / 3.0_f64).floor());
            rested = 0;
        }
        if moves && random.chance(0.05) {
            bounds = random.pick(&[[0.25, 0.5, 1.0, 2.5], [0.25, 0.5, 2.0, 4.0]]);
        }
        let histogram = Histogram {
            schema: CUSTOM,
            count: counts.iter().sum(),
            sum,
            positive: (0..).zip(counts).collect(),
            bounds: Arc::from(bounds),
            ..Histogram::default()
        };
        (time, native(histogram))
    };
    times.into_iter().map(next).collect()
}

/// The same with observations that are in no bucket.
fn with_nan(random: &mut Random) -> Vec<(i64, Sample)> {
    let mut more = 0.0;
    let mut samples = exponential(random, false);
    for (_, sample) in &mut samples {
        more += random.below(40) as f64;
        if let Sample::Native(Some(histogram)) = sample {
            let histogram = Arc::make_mut(histogram);
            histogram.count += more;
            histogram.sum = f64::NAN;
        }
    }
    samples
}

/// Stretches of floats, of exponential and of custom histograms.
fn mixed(random: &mut Random) -> Vec<(i64, Sample)> {
    let (natives, customs) = (exponential(random, false), custom(random, false));
    let mut kind = 0;
    let pair = |((time, native), (_, custom))| {
        if random.chance(0.08) {
            kind = random.below(3);
        }
        let sample = match kind {
            0 => native,
            1 => custom,
            _ => Sample::Float(random.below(100) as f64),
        };
        (time, sample)
    };
    natives.into_iter().zip(customs).map(pair).collect()
}

/// With what whoever counts says of beginning again, which need not be so.
fn with_hints(random: &mut Random, mut samples: Vec<(i64, Sample)>) -> Vec<(i64, Sample)> {
    for (_, sample) in &mut samples {
        if let Sample::Native(Some(histogram)) = sample
            && random.chance(0.05)
        {
            Arc::make_mut(histogram).reset = Reset::Reset;
        }
    }
    samples
}

fn with_gaps(random: &mut Random, samples: Vec<(i64, Sample)>) -> Vec<(i64, Sample)> {
    let (mut kept, mut gap) = (Vec::new(), 0);
    for (time, sample) in samples {
        if gap > 0 {
            gap -= 1;
        } else if random.chance(0.05) {
            gap = random.below(40);
            if random.chance(0.6) {
                kept.push((time, Sample::Native(None)));
            }
        } else {
            kept.push((time, sample));
        }
    }
    kept
}

/// Adds all of them.
pub(crate) fn add(all: &mut Vec<Series>, random: &mut Random) {
    for instance in ["a:9100", "b:9100", "c:9200"] {
        for job in ["api", "web"] {
            let labels = [("job", job), ("instance", instance)];
            let samples = exponential(random, instance == "b:9100");
            all.push(series("native_seconds", &labels, samples));
            all.push(series("native_gauge", &labels, gauge(random)));
            let samples = exponential(random, false);
            let samples = if job == "web" { with_hints(random, samples) } else { samples };
            all.push(series("native_gaps", &labels, with_gaps(random, samples)));
            let samples = match instance {
                "c:9200" => mixed(random),
                "b:9100" => custom(random, false),
                _ => exponential(random, false),
            };
            all.push(series("native_mixed", &labels, samples));
        }
        let labels = [("job", "api"), ("instance", instance)];
        all.push(series("native_custom", &labels, custom(random, false)));
        all.push(series("native_moved", &labels, custom(random, true)));
        all.push(series("native_nan", &labels, with_nan(random)));
    }
}
