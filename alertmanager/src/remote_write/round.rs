//! A round: what has been appended since the last one, as the requests that bring it to a remote.
//!
//! Invariant: the samples of a series are all in one shard, in order, so that they arrive in order
//! although shards are sent at the same time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use base::family::MetricKind;
use base::histogram::Histogram;
use base::labels::{Labels, LabelsBuilder, METRIC_NAME};
use base::remote_write::{Exemplar, NativeSeries, Outgoing, Series, Version, encode_all};
use base::sample::{Ended, Sample, Timestamp, is_stale};
use storage::{Followed, Follower, LogPosition, Storage};

use super::about::Said;
use super::config::Settings;
use crate::relabel::Relabel;

/// The most samples of a round, which are in memory until it is over.
const MOST: usize = 100_000;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) bytes: bytes::Bytes,
    pub(super) version: Version,
    pub(super) samples: u64,
    pub(super) exemplars: u64,
    /// The time of its newest sample.
    pub(super) newest: Timestamp,
}

/// What is sent in a round.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// By shards, which are sent at the same time.
    pub(super) shards: Vec<Vec<Body>>,
    /// How many samples and exemplars of the log it covers.
    pub(super) read: usize,
    /// How many of them are not sent: too old, histograms.
    pub(super) too_old: u64,
    pub(super) histograms: u64,
    /// Whether there is more at once.
    pub(super) more: bool,
}

/// Reads the log for one remote.
#[derive(Debug)]
pub(super) struct Reader {
    follower: Follower,
    /// What series are called there; nothing for those that are not sent. Forgotten with each
    /// segment, so that it holds no more series than are alive.
    names: HashMap<Labels, Option<Labels>, foldhash::fast::RandomState>,
    named_in: u32,
}

/// A sample to be sent.
struct Picked {
    labels: Labels,
    timestamp: Timestamp,
    value: f64,
    histogram: Option<Arc<Histogram>>,
    start: i64,
    /// What it is instead of a sample: an example of what the series counted.
    example: Option<Box<Exemplar>>,
}

/// How a round is written.
#[derive(Clone, Debug)]
pub(super) struct Writing {
    pub(super) version: Version,
    /// What is said of the metrics; only 2.0 says it with their series.
    pub(super) said: Said,
}

impl Reader {
    pub(super) fn at(position: LogPosition) -> Self {
        let follower = Follower::at(position);
        Self { follower, names: HashMap::default(), named_in: 0 }
    }

    pub(super) fn position(&self) -> LogPosition {
        self.follower.position()
    }

    /// The next round at `now`.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub(super) fn next(
        &mut self,
        storage: &Storage,
        (settings, writing): (&Settings, &Writing),
        now: Timestamp,
    ) -> io::Result<Round> {
        let most = settings.samples_per_send.saturating_mul(settings.shards.1).min(MOST);
        let mut round = Round::default();
        let mut picked = Vec::new();
        let oldest = settings.age_limit.map_or(Timestamp::MIN, |limit| now - limit);
        let Self { follower, names, named_in } = self;
        if *named_in != follower.position().segment {
            *named_in = follower.position().segment;
            names.clear();
        }
        let progress = storage.follow(follower, most, |sample| {
            if sample.exemplar.is_some() {
                if settings.exemplars && sample.timestamp >= oldest {
                    picked.extend(pick(sample, names, settings));
                }
            } else if sample.histogram.is_some() && !settings.histograms {
                round.histograms += 1;
            } else if sample.timestamp < oldest {
                round.too_old += 1;
            } else {
                picked.extend(pick(sample, names, settings));
            }
        })?;
        round.read = progress.samples;
        round.more = progress.more;
        round.shards = shards(picked, settings, writing);
        Ok(round)
    }

    /// Leaves out what is next in the log; returns how many samples that are.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub(super) fn skip(&mut self, storage: &Storage) -> io::Result<usize> {
        Ok(storage.follow(&mut self.follower, MOST, |_| {})?.samples)
    }
}

/// A sample as it is sent; nothing where the settings drop it.
fn pick(
    sample: Followed<'_>,
    names: &mut HashMap<Labels, Option<Labels>, foldhash::fast::RandomState>,
    settings: &Settings,
) -> Option<Picked> {
    let known = match names.get(sample.labels) {
        Some(known) => known,
        None => {
            let named = named(sample.labels, settings);
            names.entry(sample.labels.clone()).or_insert(named)
        }
    };
    let labels = known.clone()?;
    // Others know one way for a series to end.
    let value = if is_stale(sample.value) { Ended::Gone.value() } else { sample.value };
    let Followed { timestamp, start, .. } = sample;
    let histogram = sample.histogram.cloned();
    let example = sample.exemplar.map(|exemplar| {
        let storage::Exemplar { labels: told, value, timestamp } = exemplar.clone();
        Box::new(Exemplar { series: labels.clone(), labels: told, value, timestamp })
    });
    Some(Picked { labels, timestamp, value, histogram, start, example })
}

/// What a series is called at the remote; nothing where it is not sent.
fn named(labels: &Labels, settings: &Settings) -> Option<Labels> {
    if settings.relabel.is_empty() && settings.external_labels.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = LabelsBuilder::from(labels);
    for (name, value) in settings.external_labels.iter() {
        if builder.get(name).is_none() {
            builder.set(name, value);
        }
    }
    let kept = Relabel::run(&settings.relabel, &mut builder);
    let labels = builder.build();
    // Nobody takes a series without a name.
    (kept && labels.get(METRIC_NAME).is_some()).then_some(labels)
}

/// As many shards as there are requests to fill, as far as there may be.
fn shards(picked: Vec<Picked>, settings: &Settings, writing: &Writing) -> Vec<Vec<Body>> {
    if picked.is_empty() {
        return Vec::new();
    }
    let (least, most) = settings.shards;
    let count = picked.len().div_ceil(settings.samples_per_send).clamp(least, most);
    let mut shards: Vec<Vec<Picked>> = (0..count).map(|_| Vec::new()).collect();
    let hashes = RandomState::new();
    for sample in picked {
        let shard = hashes.hash_one(&sample.labels) % count as u64;
        if let Some(shard) = shards.get_mut(shard as usize) {
            shard.push(sample);
        }
    }
    shards.retain(|shard| !shard.is_empty());
    let bodies = |shard: Vec<Picked>| {
        shard.chunks(settings.samples_per_send).map(|chunk| body(chunk, writing)).collect()
    };
    shards.into_iter().map(bodies).collect()
}

/// The request with `samples`, each series once.
fn body(samples: &[Picked], writing: &Writing) -> Body {
    let (mut series, mut starts): (Vec<Series>, Vec<i64>) = (Vec::new(), Vec::new());
    let mut natives: Vec<NativeSeries> = Vec::new();
    let mut places: HashMap<&Labels, usize, foldhash::fast::RandomState> = HashMap::default();
    let mut native_places = places.clone();
    let mut exemplars: Vec<Exemplar> = Vec::new();
    let mut newest = Timestamp::MIN;
    for sample in samples {
        newest = newest.max(sample.timestamp);
        let labels = &sample.labels;
        if let Some(example) = &sample.example {
            exemplars.push(Exemplar::clone(example));
            continue;
        }
        if let Some(histogram) = &sample.histogram {
            let place = *native_places.entry(labels).or_insert_with(|| {
                let (labels, histograms) = (labels.clone(), Vec::new());
                natives.push(NativeSeries { labels, histograms, start: 0 });
                natives.len() - 1
            });
            if let Some(native) = natives.get_mut(place) {
                native.histograms.push((sample.timestamp, Some(Arc::clone(histogram))));
                native.start = sample.start;
            }
            continue;
        }
        let place = *places.entry(labels).or_insert_with(|| {
            series.push(Series {
                labels: labels.clone(),
                samples: Vec::new(),
                kind: MetricKind::Unknown,
                help: String::new(),
                unit: String::new(),
            });
            starts.push(0);
            series.len() - 1
        });
        if let (Some(one), Some(start)) = (series.get_mut(place), starts.get_mut(place)) {
            one.samples.push(Sample { timestamp: sample.timestamp, value: sample.value });
            *start = sample.start;
        }
    }
    // One that came late stands behind those that it comes before.
    series.iter_mut().for_each(|one| one.samples.sort_by_key(|sample| sample.timestamp));
    let Writing { version, said } = writing;
    let outgoing = Outgoing {
        series: &series,
        starts: &starts,
        natives: &natives,
        exemplars: &exemplars,
        about: Some(&**said),
    };
    let count = exemplars.len() as u64;
    let samples = samples.len() as u64 - count;
    let bytes = encode_all(outgoing, *version).into();
    Body { bytes, version: *version, samples, exemplars: count, newest }
}

#[cfg(test)]
mod tests {
    use base::remote_write::{Received, decode};
    use storage::{Options, Point};

    use super::*;
    use crate::remote_write::config::tests::build;

    fn append(storage: &Storage, samples: &[(&str, i64, f64)]) {
        let point = |(name, time, value): &(&str, i64, f64)| Point {
            series: storage.series(&Labels::from_pairs([("__name__", name)])).unwrap(),
            timestamp: Timestamp::from_millis(*time),
            value: *value,
        };
        storage.append(&samples.iter().map(point).collect::<Vec<_>>()).unwrap();
    }

    fn received(round: &Round) -> Vec<Vec<Received>> {
        let read = |body: &Body| decode(&body.bytes, body.version, 1 << 20).unwrap();
        round.shards.iter().map(|shard| shard.iter().map(read).collect()).collect()
    }

    fn begin(yaml: &str) -> (tempfile::TempDir, Storage, Reader, Arc<Settings>) {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        let reader = Reader::at(storage.log_end().unwrap());
        let (built, _, faults) = build(yaml);
        (dir, storage, reader, built.into_iter().next().expect(&faults))
    }

    const NOW: Timestamp = Timestamp::from_millis(100_000);

    fn next(reader: &mut Reader, storage: &Storage, settings: &Settings) -> io::Result<Round> {
        let writing = Writing { version: settings.version, said: Said::default() };
        reader.next(storage, (settings, &writing), NOW)
    }

    #[test]
    fn series_are_relabelled_and_get_external_labels() {
        let (_dir, storage, mut reader, settings) = begin(
            "- url: http://x/\n  write_relabel_configs:\n  \
             - {source_labels: [__name__], regex: secret, action: drop}\n  \
             - {source_labels: [__name__], regex: nameless, target_label: __name__, replacement: ''}\n  \
             - {source_labels: [site], target_label: from}\n",
        );
        append(&storage, &[("a", 1000, 1.0), ("secret", 1000, 2.0), ("nameless", 1000, 3.0)]);
        append(&storage, &[("a", 2000, Ended::Lost.value())]);
        let round = next(&mut reader, &storage, &settings).unwrap();
        assert_eq!((round.read, round.more), (4, false));
        let found = received(&round);
        let [shard] = &found[..] else { panic!("{found:?}") };
        let [one] = &shard[0].series[..] else { panic!("{shard:?}") };
        assert_eq!(one.labels.to_string(), "a{from=\"lyon\", site=\"lyon\"}");
        let samples = one.samples.iter().map(|s| (s.timestamp.millis(), s.value.to_bits()));
        let expected = [(1000, 1.0_f64.to_bits()), (2000, Ended::Gone.value().to_bits())];
        assert_eq!(samples.collect::<Vec<_>>(), expected);
        let round = next(&mut reader, &storage, &settings).unwrap();
        assert!(round.shards.is_empty() && round.read == 0);
    }

    #[test]
    fn many_samples_go_in_many_shards_each_series_in_one_and_in_order() {
        let (_dir, storage, mut reader, settings) =
            begin("- {url: http://x/, queue_config: {max_samples_per_send: 10, max_shards: 4}}\n");
        for time in 0..20 {
            let names: Vec<String> = (0..10).map(|n| format!("s{n}")).collect();
            let samples: Vec<_> = names.iter().map(|name| (&**name, time, time as f64)).collect();
            append(&storage, &samples);
        }
        let (mut rounds, mut total) = (0, HashMap::<Labels, Vec<i64>>::new());
        loop {
            let round = next(&mut reader, &storage, &settings).unwrap();
            assert!(round.shards.len() <= 4, "{}", round.shards.len());
            let mut seen = HashMap::new();
            for (n, shard) in received(&round).into_iter().enumerate() {
                for series in shard.into_iter().flat_map(|received| received.series) {
                    let times = series.samples.iter().map(|sample| sample.timestamp.millis());
                    total.entry(series.labels.clone()).or_default().extend(times);
                    assert_eq!(*seen.entry(series.labels).or_insert(n), n);
                }
            }
            rounds += 1;
            if !round.more {
                break;
            }
        }
        assert!(rounds >= 5, "{rounds}");
        assert_eq!(total.len(), 10);
        assert!(total.values().all(|times| *times == (0..20).collect::<Vec<_>>()), "{total:?}");
    }

    #[test]
    fn what_is_too_old_or_a_histogram_is_left_out_and_counted() {
        let yaml = "- {url: http://x/, queue_config: {sample_age_limit: 1m}}\n";
        let (_dir, storage, mut reader, settings) = begin(yaml);
        append(&storage, &[("a", 1000, 1.0), ("b", 90_000, 2.0)]);
        let series = storage.series(&Labels::from_pairs([("__name__", "h")])).unwrap();
        let histogram = Histogram { count: 3.0, zero_count: 3.0, ..Histogram::default() };
        storage.append_histogram(series, NOW, histogram.clone()).unwrap();
        let round = next(&mut reader, &storage, &settings).unwrap();
        assert_eq!((round.read, round.too_old, round.histograms), (3, 1, 1));
        assert_eq!(received(&round)[0][0].series[0].labels.metric_name(), "b");

        let yaml = "- {url: http://x/, send_native_histograms: true}\n";
        let (_dir, storage, mut reader, settings) = begin(yaml);
        let series = storage.series(&Labels::from_pairs([("__name__", "h")])).unwrap();
        storage.append_histogram(series, NOW, histogram).unwrap();
        let round = next(&mut reader, &storage, &settings).unwrap();
        let found = received(&round);
        assert_eq!(found[0][0].natives[0].histograms[0].0, NOW);
    }

    #[test]
    fn exemplars_go_with_the_samples_of_their_series() {
        let example = |name: &str, trace: &str| {
            let labels = Labels::from_pairs([("trace_id", trace)]);
            let exemplar = storage::Exemplar { labels, value: 2.5, timestamp: NOW };
            (Labels::from_pairs([("__name__", name)]), exemplar)
        };
        for (asked, expected) in [(true, [1, 0, 1]), (false, [0, 0, 0])] {
            let yaml = format!("- {{url: http://x/, send_exemplars: {asked}}}\n");
            let (dir, mut storage, mut reader, settings) = begin(&yaml);
            let mut found = Vec::new();
            for (name, trace) in [("a", "1"), ("a", "1"), ("later", "2")] {
                append(&storage, &[(name, 1000 + found.len() as i64, 1.0)]);
                assert_eq!(storage.append_exemplars([example(name, trace)]), 1);
                // Over a start: what was sent is not sent again, what was not is.
                drop(storage);
                storage = Storage::open(dir.path(), Options::default()).unwrap();
                reader = Reader::at(reader.position());
                let round = next(&mut reader, &storage, &settings).unwrap();
                let [body] = &round.shards[0][..] else { panic!("{round:?}") };
                let received = decode(&body.bytes, body.version, 1 << 20).unwrap();
                assert_eq!((body.samples, received.exemplars.len() as u64), (1, body.exemplars));
                for one in &received.exemplars {
                    assert_eq!(one.series, received.series[0].labels);
                }
                found.push(body.exemplars);
            }
            assert_eq!(found, expected, "{asked}");
        }
    }
}
