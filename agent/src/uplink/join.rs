//! What waits, as few requests.
//!
//! Invariant: what a receiver looks back on arrives at once, or was there before: between two
//! requests it never takes a state of some minutes ago for that of now (F59).

use std::collections::HashMap;
use std::time::Duration;

use base::labels::Labels;
use base::remote_write::{Series, Version, decode, encode};
use base::sample::Timestamp;

use super::buffer::{Place, Record};

/// What a record may be when decompressed: far more than we write.
const MAX_RECORD: usize = 64 << 20;
/// How far receivers look back for the newest sample of a series, if nobody told them otherwise.
const LOOK_BACK: Duration = Duration::from_secs(300);
/// The most samples of a request of what is older than that.
const MOST_OLD: u32 = 10_000;
/// The most samples of any request.
pub(super) const MOST: u32 = 50_000;

/// A request.
#[derive(Debug)]
pub(super) struct Batch {
    /// A message of 2.0.
    pub(super) body: Vec<u8>,
    /// Of what it is made, oldest first.
    pub(super) parts: Vec<(Place, Record)>,
}

/// Makes one request of the oldest of `waiting`, as many as belong together at `now`; nothing where
/// nothing waits.
pub(super) fn join(mut waiting: Vec<(Place, Record)>, now: Timestamp) -> Option<Batch> {
    let first = waiting.first()?.1.clone();
    if waiting.len() == 1 {
        return Some(Batch { body: first.body, parts: waiting });
    }
    let mut joined = Joined::default();
    let (mut count, mut samples, mut are_old) = (0, 0, true);
    for (_, record) in &waiting {
        // It went in as we wrote it: else it goes alone, for the receiver to judge.
        let Ok(received) = decode(&record.body, Version::V2, MAX_RECORD) else { break };
        let newest = received.series.iter().flat_map(|series| &series.samples);
        let newest = newest.map(|sample| sample.timestamp).max();
        let is_old = newest.is_some_and(|newest| newest + LOOK_BACK < now);
        are_old &= count > 0 || is_old;
        samples += record.samples;
        let most = if are_old { MOST_OLD } else { MOST };
        if count > 0 && (samples > most || are_old && !is_old) {
            break;
        }
        joined.add(received.series);
        count += 1;
    }
    waiting.truncate(count.max(1));
    let body = if count > 1 { encode(&joined.series, Version::V2) } else { first.body };
    Some(Batch { body, parts: waiting })
}

/// Series, each once.
#[derive(Default)]
struct Joined {
    series: Vec<Series>,
    places: HashMap<Labels, usize>,
}

impl Joined {
    /// Adds later samples.
    fn add(&mut self, later: Vec<Series>) {
        for one in later {
            match self.places.get(&one.labels).and_then(|place| self.series.get_mut(*place)) {
                Some(known) => {
                    known.samples.extend(one.samples);
                    // What ended says nothing of what it was.
                    if !one.help.is_empty() {
                        (known.kind, known.help, known.unit) = (one.kind, one.help, one.unit);
                    }
                }
                None => {
                    self.places.insert(one.labels.clone(), self.series.len());
                    self.series.push(one);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base::family::MetricKind;
    use base::sample::Sample;

    use super::*;

    const NOW: i64 = 1_000_000;

    /// A record of so many samples, collected so many seconds ago.
    fn record(place: u64, samples: u32, before: i64) -> (Place, Record) {
        let one = |n: u32| Series {
            labels: Labels::from_pairs([("__name__", "x"), ("n", &n.to_string())]),
            samples: vec![Sample {
                timestamp: Timestamp::from_millis((NOW - before) * 1000),
                value: before as f64,
            }],
            kind: MetricKind::Gauge,
            help: "x".to_owned(),
            unit: String::new(),
        };
        let series: Vec<Series> = (0..samples).map(one).collect();
        (Place::Memory(place), Record { body: encode(&series, Version::V2), samples })
    }

    #[test]
    fn what_belongs_together_goes_together() {
        for (waiting, taken) in [
            (&[(5, 0)][..], 1),
            (&[(5, 40), (5, 30), (5, 20), (5, 10), (5, 0)], 5),
            // What is older than anybody looks back goes before, in pieces.
            (&[(5, 400), (5, 350), (5, 310), (5, 290), (5, 0)], 3),
            (&[(6000, 400), (3000, 350), (3000, 310), (5, 290)], 2),
            (&[(20_000, 400), (5, 350)], 1),
            // What is not goes at once, as long as it may.
            (&[(20_000, 40), (20_000, 30), (5_000, 0)], 3),
            (&[(20_000, 40), (20_000, 30), (20_000, 0)], 2),
            (&[(5, 299), (5, 290), (5, 0)], 3),
        ] {
            let records =
                waiting.iter().enumerate().map(|(n, (count, at))| record(n as u64, *count, *at));
            let records: Vec<_> = records.collect();
            let batch = join(records.clone(), Timestamp::from_millis(NOW * 1000)).unwrap();
            assert_eq!(batch.parts, records[..taken], "{waiting:?}");
            let sent = decode(&batch.body, Version::V2, MAX_RECORD).unwrap().series;
            let count: usize = sent.iter().map(|series| series.samples.len()).sum();
            let expected: u32 = records[..taken].iter().map(|(_, record)| record.samples).sum();
            assert_eq!(count, expected as usize, "{waiting:?}");
            for series in sent {
                assert!(series.samples.is_sorted_by_key(|sample| sample.timestamp));
                assert_eq!(series.help, "x");
            }
        }
        assert!(join(Vec::new(), Timestamp::from_millis(0)).is_none());
    }

    #[test]
    fn what_cannot_be_read_goes_alone() {
        let broken = |place| (Place::Memory(place), Record { body: vec![1, 2, 3], samples: 7 });
        let now = Timestamp::from_millis(NOW * 1000);
        let batch = join(vec![broken(0), record(1, 5, 0)], now).unwrap();
        assert_eq!((batch.body.as_slice(), batch.parts.len()), (&[1, 2, 3][..], 1));
        let batch = join(vec![record(0, 5, 0), broken(1)], now).unwrap();
        assert_eq!(batch.parts, [record(0, 5, 0)]);
    }
}
