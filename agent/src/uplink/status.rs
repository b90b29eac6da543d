//! How the uplink is doing, for the metrics and the health page.
//!
//! Invariant: every sample that was collected is sent, refused, dropped or waiting.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base::own_metrics::{IntCounterVec, IntGauge, OwnMetrics};

/// How it is doing. Clones share it.
#[derive(Clone, Debug)]
pub struct Status {
    pub(super) samples: IntCounterVec,
    pub(super) requests: IntCounterVec,
    pub(super) outputs: IntCounterVec,
    pub(super) waiting: IntGauge,
    pub(super) bytes: IntGauge,
    pub(super) last_success: IntGauge,
    fault: Arc<ArcSwapOption<String>>,
}

impl Status {
    /// Adds its counters to `metrics`.
    pub fn new(metrics: &OwnMetrics) -> Self {
        Self {
            samples: metrics.counters(
                "veilleur_uplink_samples_total",
                "Samples by what became of them: sent, refused by the receiver, dropped for want of room.",
                &["result"],
            ),
            requests: metrics.counters(
                "veilleur_uplink_requests_total",
                "Requests to the receiver, by the status of the answer; `none` where there was none.",
                &["code"],
            ),
            outputs: metrics.counters(
                "veilleur_uplink_outputs_total",
                "What checks said, by what became of it: sent, or refused by the evaluator.",
                &["result"],
            ),
            waiting: metrics.gauge("veilleur_uplink_waiting_samples", "Samples that wait to be sent."),
            bytes: metrics.gauge("veilleur_uplink_buffer_bytes", "Bytes of the buffer on the disk."),
            last_success: metrics.gauge(
                "veilleur_uplink_last_success_timestamp_seconds",
                "When the receiver last took something.",
            ),
            fault: Arc::default(),
        }
    }

    /// What is wrong at present.
    pub fn fault(&self) -> Option<String> {
        self.fault.load().as_deref().cloned()
    }

    /// Nothing is to be pushed any more.
    pub(crate) fn clear(&self) {
        self.set_fault(None);
        self.waiting.set(0);
        self.bytes.set(0);
    }

    /// Notes what is wrong; nothing where all is well. Returns whether that is news.
    pub(super) fn set_fault(&self, fault: Option<String>) -> bool {
        let news = self.fault.load().is_some() != fault.is_some();
        self.fault.store(fault.map(Arc::new));
        news
    }
}
