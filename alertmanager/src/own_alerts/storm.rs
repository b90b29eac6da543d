//! Whether most targets have stopped to answer at once: then it is rather our own network.
//!
//! Invariant: it begins at once and ends late, so that what comes back one after the other is told
//! together, and as what it is then (F17).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use base::sample::Timestamp;

/// Within which time they must have stopped, and how many of them at least.
const WITHIN: Duration = Duration::from_secs(60);
const AT_LEAST: usize = 10;
/// How long most must have answered again.
const CALM: Duration = Duration::from_secs(120);

/// A target, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    /// What it is known by.
    pub key: String,
    /// Its `instance` label.
    pub instance: String,
    /// Whether it answers.
    pub up: bool,
}

/// What is known of targets that do not answer.
#[derive(Clone, Debug, Default)]
pub struct Storm {
    down_since: HashMap<String, Timestamp>,
    begun: Option<Begun>,
}

/// A storm that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// When.
    pub since: Timestamp,
    /// How many targets did not answer then.
    pub down: usize,
    /// Of how many.
    pub targets: usize,
    /// The `instance` labels of those that do not answer now.
    pub instances: HashSet<String>,
    calm_since: Option<Timestamp>,
}

impl Storm {
    /// Looks at all targets that were asked so far; says whether most of them are lost.
    pub fn observe(&mut self, now: Timestamp, targets: &[Seen]) -> Option<&Begun> {
        let down: HashMap<&str, &Seen> =
            targets.iter().filter(|seen| !seen.up).map(|seen| (seen.key.as_str(), seen)).collect();
        self.down_since.retain(|key, _| down.contains_key(key.as_str()));
        for key in down.keys() {
            self.down_since.entry((*key).to_owned()).or_insert(now);
        }
        let instances = || down.values().map(|seen| seen.instance.clone()).collect();
        let most = |count: usize| count * 2 > targets.len();
        match &mut self.begun {
            None => {
                let recent = |since: &&Timestamp| now.since(**since) <= WITHIN;
                let recent = self.down_since.values().filter(recent).count();
                if recent >= AT_LEAST && most(recent) {
                    let (down, targets) = (down.len(), targets.len());
                    let (instances, calm_since) = (instances(), None);
                    self.begun = Some(Begun { since: now, down, targets, instances, calm_since });
                }
            }
            Some(begun) => {
                // Those that have come back are not told of before all is calm: what is told then
                // is what is true then.
                begun.instances.extend(instances());
                if most(down.len()) {
                    begun.calm_since = None;
                } else if now.since(*begun.calm_since.get_or_insert(now)) >= CALM {
                    self.begun = None;
                }
            }
        }
        self.begun.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn targets(down: usize, all: usize) -> Vec<Seen> {
        let seen = |n: usize| Seen {
            key: format!("key{n}"),
            instance: format!("instance{n}"),
            up: n >= down,
        };
        (0..all).map(seen).collect()
    }

    /// Steps of a time in seconds, how many targets are down, of how many, and whether that is a
    /// storm.
    #[track_caller]
    fn check(steps: &[(i64, usize, usize, bool)]) {
        let mut storm = Storm::default();
        for (n, (now, down, all, expected)) in steps.iter().enumerate() {
            let begun = storm.observe(at(*now), &targets(*down, *all)).is_some();
            assert_eq!(begun, *expected, "step {n} of {steps:?}");
        }
    }

    #[test]
    fn is_one_where_most_targets_are_lost_within_a_minute_f17() {
        check(&[(0, 0, 20, false), (15, 11, 20, true)]);
        check(&[(0, 5, 20, false), (60, 11, 20, true)]);
        // Too few, not most, or one after the other.
        check(&[(0, 9, 9, false)]);
        check(&[(0, 10, 20, false)]);
        check(&[(0, 5, 20, false), (61, 11, 20, false), (122, 16, 20, false)]);
        check(&[(0, 0, 0, false)]);
    }

    #[test]
    fn ends_when_most_have_answered_for_a_while() {
        check(&[
            (0, 20, 20, true),
            (600, 20, 20, true),
            (610, 10, 20, true),
            (700, 11, 20, true),
            (710, 5, 20, true),
            (829, 5, 20, true),
            (830, 5, 20, false),
            (900, 6, 20, false),
        ]);
    }

    #[test]
    fn knows_which_are_lost() {
        let mut storm = Storm::default();
        let begun = storm.observe(at(0), &targets(12, 20)).unwrap();
        assert_eq!((begun.down, begun.targets, begun.instances.len()), (12, 20, 12));
        let begun = storm.observe(at(5), &targets(15, 20)).unwrap();
        assert!(begun.instances.contains("instance14") && begun.instances.len() == 15);
    }
}
