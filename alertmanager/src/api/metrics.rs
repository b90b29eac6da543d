//! `/metrics`: what we know of ourselves.
//!
//! Invariant: labels are names from the configuration or from closed sets (X27).

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base::exposition::{Encoding, encode};
use base::own_metrics::{IntGauge, IntGaugeVec, OwnMetrics};
use base::sample::Timestamp;

use super::Shown;
use super::reply::compressed;
use super::v2::ALERTMANAGER;
use crate::outbox::MOST_WAITING;

/// Metrics that are looked up when somebody asks.
#[derive(Clone, Debug)]
pub struct Gauges {
    series: IntGauge,
    refused_series: IntGauge,
    chunk_bytes: IntGauge,
    blocks: IntGauge,
    block_bytes: IntGauge,
    log_bytes: IntGauge,
    unlogged: IntGauge,
    damaged_chunks: IntGauge,
    alerts: IntGaugeVec,
    waiting: IntGaugeVec,
    oldest: IntGaugeVec,
    overflows: IntGauge,
    limit: IntGauge,
    failing: IntGaugeVec,
    restarts: IntGaugeVec,
    escalating: IntGaugeVec,
    config_good: IntGauge,
    set_back: IntGauge,
    set_ahead: IntGauge,
    safe_mode: IntGauge,
}

impl Gauges {
    /// Adds them to `metrics`.
    pub(super) fn new(metrics: &OwnMetrics) -> Self {
        metrics
            .gauges("veilleur_build_info", "A constant 1 with the version.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        // Karma looks here for what it may ask.
        metrics
            .gauges(
                "alertmanager_build_info",
                "A constant 1 with the version of Alertmanager whose API this is.",
                &["version"],
            )
            .with_label_values(&[ALERTMANAGER])
            .set(1);
        let gauge = |name: &str, help: &str| metrics.gauge(name, help);
        Self {
            series: gauge("veilleur_storage_series", "Series in memory."),
            refused_series: gauge(
                "veilleur_storage_refused_series",
                "How often a new series was refused because there were too many.",
            ),
            chunk_bytes: gauge("veilleur_storage_chunk_bytes", "Bytes of samples in memory."),
            blocks: gauge("veilleur_storage_blocks", "Blocks of samples on disk."),
            block_bytes: gauge("veilleur_storage_block_bytes", "Their bytes."),
            log_bytes: gauge(
                "veilleur_storage_log_bytes",
                "Bytes of the sample log's newest segment.",
            ),
            damaged_chunks: gauge(
                "veilleur_storage_damaged_chunks",
                "How often a query met a damaged chunk of samples, and left it out.",
            ),
            unlogged: gauge(
                "veilleur_storage_unlogged_samples",
                "Samples that only memory has, because the sample log could not be written.",
            ),
            alerts: metrics.gauges("veilleur_alerts", "Alerts, by state.", &["state"]),
            waiting: metrics.gauges(
                "veilleur_outbox_waiting",
                "Messages that wait to be delivered, by receiver.",
                &["receiver"],
            ),
            oldest: metrics.gauges(
                "veilleur_outbox_oldest_seconds",
                "How long the oldest of them has waited.",
                &["receiver"],
            ),
            overflows: gauge(
                "veilleur_outbox_overflows",
                "How often a message found no room in the queue of its lane and was put off.",
            ),
            limit: gauge("veilleur_outbox_limit", "The most messages that wait for one lane."),
            failing: metrics.gauges(
                "veilleur_receiver_failing",
                "Whether the last try to reach a receiver failed, by lane.",
                &["lane"],
            ),
            restarts: metrics.gauges(
                "veilleur_task_restarts",
                "How often a task was started again after a failure.",
                &["task"],
            ),
            escalating: metrics.gauges(
                "veilleur_escalation_groups",
                "Groups that wait for an answer, for which no step is left, or that somebody has.",
                &["state"],
            ),
            config_good: gauge(
                "veilleur_config_last_reload_successful",
                "Whether the newest configuration was taken over.",
            ),
            set_back: gauge(
                "veilleur_clock_set_back_seconds",
                "How far the system's clock is behind the times of samples: it was set back.",
            ),
            set_ahead: gauge(
                "veilleur_clock_set_ahead_seconds",
                "How far the system's clock is ahead of the times of samples: it was set ahead.",
            ),
            safe_mode: gauge(
                "veilleur_safe_mode",
                "Whether nothing is scraped and judged, because starts before this one crashed.",
            ),
        }
    }

    fn set(&self, shown: &Shown, now: Timestamp) {
        let whole = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let stats = shown.storage.stats();
        self.series.set(whole(stats.series));
        self.refused_series.set(i64::try_from(stats.refused_series).unwrap_or(i64::MAX));
        self.chunk_bytes.set(whole(stats.chunk_bytes));
        self.blocks.set(whole(stats.blocks));
        self.block_bytes.set(i64::try_from(stats.block_bytes).unwrap_or(i64::MAX));
        self.log_bytes.set(i64::try_from(stats.log_bytes).unwrap_or(i64::MAX));
        self.unlogged.set(i64::try_from(stats.unlogged).unwrap_or(i64::MAX));
        self.damaged_chunks.set(i64::try_from(stats.damaged_chunks).unwrap_or(i64::MAX));
        let (mut firing, mut stale) = (0, 0);
        for alert in shown.alerts.all().iter().filter(|alert| alert.is_firing()) {
            firing += 1;
            stale += i64::from(alert.stale_since.is_some());
        }
        self.alerts.with_label_values(&["firing"]).set(firing);
        self.alerts.with_label_values(&["stale"]).set(stale);
        for state in ["unanswered", "exhausted", "acknowledged"] {
            self.escalating.with_label_values(&[state]).set(0);
        }
        for (_, bout) in shown.escalations.all() {
            self.escalating.with_label_values(&[bout.state()]).inc();
        }
        self.waiting.reset();
        self.oldest.reset();
        let receiver = |lane: &str| lane.split('/').next().unwrap_or("").to_owned();
        // A receiver that nothing waits for is there, too, so that a graph has a line at zero.
        for lane in shown.lanes.all().keys() {
            self.waiting.with_label_values(&[&receiver(lane)]).set(0);
            self.oldest.with_label_values(&[&receiver(lane)]).set(0);
        }
        for (lane, waiting) in shown.outbox.waiting() {
            let receiver = receiver(&lane);
            self.waiting.with_label_values(&[&receiver]).add(whole(waiting.intents));
            let age = waiting.oldest.map_or(0, |at| now.since(at).as_secs());
            let oldest = self.oldest.with_label_values(&[&receiver]);
            oldest.set(oldest.get().max(i64::try_from(age).unwrap_or(i64::MAX)));
        }
        self.overflows.set(i64::try_from(shown.outbox.overflows()).unwrap_or(i64::MAX));
        self.limit.set(whole(MOST_WAITING));
        self.failing.reset();
        for (lane, state) in shown.lanes.all() {
            self.failing.with_label_values(&[&lane]).set(i64::from(state.failing_since.is_some()));
        }
        for (task, count) in shown.supervisor.restarts() {
            self.restarts.with_label_values(&[task]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let ahead = i64::try_from(shown.clock.ahead().as_secs()).unwrap_or(i64::MAX);
        self.set_back.set(ahead);
        let behind = i64::try_from(shown.clock.held_back().as_secs()).unwrap_or(i64::MAX);
        self.set_ahead.set(behind);
        self.safe_mode.set(i64::from(shown.safe.is_some()));
        self.config_good.set(i64::from(shown.config.fault().is_none()));
    }
}

/// `/metrics`
pub(super) async fn metrics(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    shown.gauges.set(&shown, shown.clock.believed());
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let encoding = Encoding::negotiate(accept);
    let mut text = String::new();
    encode(&shown.metrics.families(), encoding, &mut text);
    compressed(&headers, StatusCode::OK, &encoding.content_type(), text)
}
