//! Collectors that may not answer: they run on threads that a scrape waits for a limited time only.
//!
//! Invariant: a collector that hangs delays one scrape, by the configured time at most, and no other
//! collector; until its call returns it is not asked again and has failed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::clock::Stopwatch;
use base::family::MetricFamily;

use super::ask::{Asked, Asker};
use super::config::Settings;
use super::reading::Reading;
use super::{Collect, CollectError};

/// What a collector gave.
pub(super) struct Collected {
    pub(super) collector: &'static str,
    pub(super) seconds: f64,
    pub(super) families: Vec<MetricFamily>,
    pub(super) foreign: Vec<MetricFamily>,
    pub(super) result: Result<(), CollectError>,
}

/// The collectors that may not answer.
pub(super) struct Aside {
    names: Vec<&'static str>,
    asker: Asker<&'static str, Collected>,
    limit: Duration,
}

/// A collector with all that it needs, so that it shares nothing with those that go on.
struct Slot {
    collect: Collect,
    reading: Reading,
}

impl Aside {
    pub(super) fn new(collectors: Vec<(&'static str, Collect)>, settings: &Settings) -> Self {
        let names = collectors.iter().map(|(name, _)| *name).collect();
        let slots: HashMap<_, _> = collectors
            .into_iter()
            .map(|(name, collect)| {
                (name, Arc::new(Mutex::new(Slot { collect, reading: Reading::new(settings) })))
            })
            .collect();
        let limit = settings.collector_timeout.duration();
        let asker = Asker::new(limit, move |name: &&'static str| match slots.get(name) {
            Some(slot) => slot.lock().unwrap_or_else(PoisonError::into_inner).run(name),
            None => late(name, limit),
        });
        Self { names, asker, limit }
    }

    /// Lets the collectors begin that are `wanted`.
    pub(super) fn begin(&self, wanted: &dyn Fn(&str) -> bool) -> Asked<&'static str> {
        self.asker.begin(self.names.iter().filter(|name| wanted(name)))
    }

    /// What each of them gave, in their order.
    pub(super) fn collect(
        &self,
        begun: Asked<&'static str>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Vec<Collected> {
        let mut answers = self.asker.answers(begun);
        let all = self.names.iter().filter(|name| wanted(name));
        all.map(|name| answers.remove(name).unwrap_or_else(|| late(name, self.limit))).collect()
    }
}

fn late(collector: &'static str, limit: Duration) -> Collected {
    Collected {
        collector,
        seconds: limit.as_secs_f64(),
        families: Vec::new(),
        foreign: Vec::new(),
        result: Err(CollectError::Late(limit)),
    }
}

impl Slot {
    fn run(&mut self, collector: &'static str) -> Collected {
        let stopwatch = Stopwatch::start();
        self.reading.foreign.clear();
        self.reading.families.clear();
        let result = (self.collect)(&mut self.reading);
        Collected {
            collector,
            seconds: stopwatch.seconds(),
            families: self.reading.take_families(),
            foreign: std::mem::take(&mut self.reading.foreign),
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use base::diagnostic::Diagnostics;

    use super::super::config::HostConfig;
    use super::*;

    #[test]
    fn a_collector_that_hangs_has_failed_and_costs_the_others_nothing() {
        let settings = HostConfig::default().settings(&mut Diagnostics::new("test"));
        let (go, wait) = mpsc::sync_channel::<()>(0);
        let hangs: Collect = Box::new(move |_| {
            _ = wait.recv();
            Ok(())
        });
        let works: Collect = Box::new(|reading| {
            reading.families.push(MetricFamily::gauge("good", "Good.").with(&[], 1.0));
            Ok(())
        });
        let aside = Aside::new(vec![("hangs", hangs), ("works", works)], &settings);
        let tell = |collected: Vec<Collected>| -> Vec<(&str, bool, usize)> {
            let each = collected.iter();
            each.map(|c| (c.collector, c.result.is_ok(), c.families.len())).collect()
        };
        let expected = [("hangs", false, 0), ("works", true, 1)];
        assert_eq!(tell(aside.collect(aside.begin(&|_| true), &|_| true)), expected);
        let again = Stopwatch::start();
        for _ in 0..10 {
            assert_eq!(tell(aside.collect(aside.begin(&|_| true), &|_| true)), expected);
        }
        assert!(again.elapsed() < settings.collector_timeout.duration(), "{:?}", again.elapsed());
        go.send(()).unwrap();
    }
}
