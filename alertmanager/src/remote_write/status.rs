//! How the remotes are doing, for the metrics and the health page.
//!
//! Invariant: every sample that was appended is sent, left out, refused, dropped or waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::own_metrics::{IntCounterVec, IntGaugeVec, OwnMetrics};
use base::sample::Timestamp;

/// How a remote is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteState {
    /// What is wrong at present, and since when.
    pub fault: Option<(String, Timestamp)>,
    /// How many bytes of the log wait.
    pub behind_bytes: u64,
    /// How old what is sent next is, in milliseconds; 0 where nothing waits.
    pub behind_millis: u64,
}

/// How all of them are. Clones share it.
#[derive(Clone, Debug)]
pub struct RemoteStates {
    states: Arc<Mutex<BTreeMap<String, RemoteState>>>,
    samples: IntCounterVec,
    exemplars: IntCounterVec,
    requests: IntCounterVec,
    behind_bytes: IntGaugeVec,
    behind_seconds: IntGaugeVec,
    last_success: IntGaugeVec,
}

impl RemoteStates {
    /// Adds its counters to `metrics`.
    pub fn new(metrics: &OwnMetrics) -> Self {
        let remote = &["remote"];
        Self {
            states: Arc::default(),
            samples: metrics.counters(
                "veilleur_remote_samples_total",
                "Samples for other stores by what became of them: sent, refused by the store, dropped for want of room, too old, histograms that are not to be sent.",
                &["remote", "result"],
            ),
            exemplars: metrics.counters(
                "veilleur_remote_exemplars_total",
                "Exemplars for other stores by what became of them: sent, refused by the store, dropped for want of room, too old.",
                &["remote", "result"],
            ),
            requests: metrics.counters(
                "veilleur_remote_requests_total",
                "Requests to other stores, by the status of the answer; `none` where there was none.",
                &["remote", "code"],
            ),
            behind_bytes: metrics.gauges(
                "veilleur_remote_behind_bytes",
                "Bytes of the log of samples that a store does not have yet.",
                remote,
            ),
            behind_seconds: metrics.gauges(
                "veilleur_remote_behind_seconds",
                "How old the samples are that a store gets next; 0 where it has all.",
                remote,
            ),
            last_success: metrics.gauges(
                "veilleur_remote_last_success_timestamp_seconds",
                "When a store last took something.",
                remote,
            ),
        }
    }

    /// All of them by name.
    pub fn all(&self) -> BTreeMap<String, RemoteState> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets all but `names`.
    pub(super) fn retain(&self, names: &[&str]) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|name, _| {
            let stays = names.contains(&name.as_str());
            if !stays {
                for gauge in [&self.behind_bytes, &self.behind_seconds, &self.last_success] {
                    // One that was never set is not there.
                    let _ = gauge.remove_label_values(&[name]);
                }
            }
            stays
        });
    }

    fn change<T>(&self, remote: &str, change: impl FnOnce(&mut RemoteState) -> T) -> T {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        change(states.entry(remote.to_owned()).or_default())
    }

    /// Notes what is wrong since `now`, or that nothing is; whether that is news.
    pub(super) fn set_fault(&self, remote: &str, fault: Option<&str>, now: Timestamp) -> bool {
        self.change(remote, |state| {
            let since = state.fault.as_ref().map(|(_, since)| *since);
            state.fault = fault.map(|what| (what.to_owned(), since.unwrap_or(now)));
            since.is_some() != fault.is_some()
        })
    }

    /// Notes how much waits, of which the oldest is from so many milliseconds ago.
    pub(super) fn set_behind(&self, remote: &str, bytes: u64, millis: u64) {
        self.change(remote, |state| (state.behind_bytes, state.behind_millis) = (bytes, millis));
        let gauge = |gauges: &IntGaugeVec, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            gauges.with_label_values(&[remote]).set(value);
        };
        gauge(&self.behind_bytes, bytes);
        gauge(&self.behind_seconds, millis / 1000);
    }

    pub(super) fn count(&self, remote: &str, result: &str, samples: u64) {
        if samples > 0 {
            self.samples.with_label_values(&[remote, result]).inc_by(samples);
        }
    }

    pub(super) fn count_exemplars(&self, remote: &str, result: &str, exemplars: u64) {
        if exemplars > 0 {
            self.exemplars.with_label_values(&[remote, result]).inc_by(exemplars);
        }
    }

    pub(super) fn count_request(&self, remote: &str, code: Option<u16>) {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        self.requests.with_label_values(&[remote, &code]).inc();
    }

    pub(super) fn set_success(&self, remote: &str, now: Timestamp) {
        self.last_success.with_label_values(&[remote]).set(now.millis() / 1000);
    }
}

impl RemoteState {
    /// What people are told of it; empty where all is well.
    pub fn told(&self) -> String {
        let Some((fault, _)) = &self.fault else { return String::new() };
        let Self { behind_bytes, behind_millis, .. } = self;
        let (kib, seconds) = (behind_bytes.div_ceil(1024), behind_millis / 1000);
        format!("{fault}; {kib} KiB of samples wait, the oldest for {seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_behind_it_is_and_why() {
        let states = RemoteStates::new(&OwnMetrics::new());
        let at = Timestamp::from_millis;
        states.set_behind("a", 3000, 5500);
        assert_eq!(states.all()["a"].told(), "");
        assert!(states.set_fault("a", Some("status 500"), at(1)));
        assert!(!states.set_fault("a", Some("status 503"), at(2)));
        let state = &states.all()["a"];
        assert_eq!(state.told(), "status 503; 3 KiB of samples wait, the oldest for 5s");
        assert_eq!(state.fault.as_ref().map(|(_, since)| *since), Some(at(1)));
        assert!(states.set_fault("a", None, at(3)));
        states.retain(&["b"]);
        assert!(states.all().is_empty());
    }
}
