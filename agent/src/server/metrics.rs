//! `/metrics`: everything that is known, in the format that the reader asks for.
//!
//! The evaluator asks for what the checks said, too (`veilleur-outputs: 1`): a comment a check, after
//! the metrics. No other reader sees texts, and none of them ever is a label.
//!
//! Invariant: what is written is valid in its format, whatever the probes have measured.

use base::exposition::{Encoding, Format, encode, encode_output};
use base::family::{MetricFamily, MetricKind};
use base::http::{Full, HeaderMap, Response, StatusCode, answer_compressed, header};
use base::labels::Labels;
use base::sample::Timestamp;
use hyper::body::Bytes;

use super::Shown;
use super::check_metrics::{Seen, of_checks, of_services};
use super::merge::Merge;

/// The most that is handed on of what a check said.
const MAX_OUTPUT: usize = 4 << 10;

/// Answers a scrape.
pub(super) fn answer(shown: &Shown, headers: &HeaderMap, now: Timestamp) -> Response<Full<Bytes>> {
    let header =
        |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let outputs = header("veilleur-outputs") == Some("1");
    let mut encoding = Encoding::negotiate(header(header::ACCEPT.as_str()).unwrap_or(""));
    if outputs {
        // OpenMetrics allows no comments of our own.
        encoding.format = Format::Text;
    }
    let text = write(shown, encoding, outputs, now);
    answer_compressed(headers, StatusCode::OK, &encoding.content_type(), text.into_bytes())
}

/// The whole page.
pub(super) fn write(shown: &Shown, encoding: Encoding, outputs: bool, now: Timestamp) -> String {
    let seen = Seen::of(&shown.results.slots());
    let mut text = String::with_capacity(16 << 10);
    encode(&merged(shown, &seen, now).families, encoding, &mut text);
    if outputs {
        seen.iter().for_each(|one| push_output(one, &mut text));
    }
    text
}

/// What was left out of the page, and why.
pub(super) fn left_out(shown: &Shown, now: Timestamp) -> Vec<String> {
    merged(shown, &Seen::of(&shown.results.slots()), now).told
}

/// All families: ours, then those of the host and of the process, then those of the probes, which
/// make way.
fn merged(shown: &Shown, seen: &[Seen], now: Timestamp) -> Merge {
    let mut merge = Merge::default();
    of_checks(seen).into_iter().for_each(|family| merge.add_own(family));
    let (slots, services, labels) =
        (shown.results.slots(), shown.services.load(), shown.labels.load());
    for family in of_services(&services, &slots, &labels, now) {
        merge.add_own(family);
    }
    let others = about_us(shown).into_iter().chain(shown.own().families());
    others.for_each(|family| merge.add_own(family));
    for collector in &shown.collectors {
        collector().into_iter().for_each(|family| merge.add_own(family));
    }
    for one in seen {
        let Some(result) = &one.latest.result else { continue };
        let labels = one.labels();
        for family in &result.outcome.families {
            merge.add(family, &one.check.name, &labels);
        }
    }
    let help = "Samples of the check that are left out here, because they would clash.";
    let mut left_out = MetricFamily::gauge("veilleur_check_samples_left_out", help);
    for one in seen {
        let count = merge.left_out.get(one.check.name.as_ref()).copied().unwrap_or(0);
        left_out.add_pairs("", one.labels(), count as f64);
    }
    merge.families.push(left_out);
    merge
}

/// What we know of ourselves.
fn about_us(shown: &Shown) -> [MetricFamily; 5] {
    let (reload, scripts) = (shown.reload(), probes::script::totals());
    let info = MetricFamily::new("veilleur_agent_info", "The agent's version.", MetricKind::Info);
    let successful = f64::from(u8::from(reload.faults.is_none()));
    [
        info.with(&[("version", env!("CARGO_PKG_VERSION"))], 1.0),
        MetricFamily::gauge(
            "veilleur_config_last_reload_successful",
            "Whether the configuration that was read last could be taken.",
        )
        .with(&[], successful),
        MetricFamily::gauge(
            "veilleur_config_last_reload_success_timestamp_seconds",
            "When a configuration was read last that could be taken.",
        )
        .with(&[], reload.taken.seconds()),
        MetricFamily::counter("veilleur_scripts_started_total", "Scripts that were started.")
            .with(&[], scripts.started as f64),
        MetricFamily::counter(
            "veilleur_scripts_killed_total",
            "Processes that were ended by force: scripts past their time, and what they left behind.",
        )
        .with(&[], scripts.killed as f64),
    ]
}

/// The comment with what a check said.
fn push_output(one: &Seen, text: &mut String) {
    let Some(result) = &one.latest.result else { return };
    let (summary, details) = (&result.outcome.summary, &result.outcome.details);
    let mut output = String::with_capacity(summary.len() + details.len() + 1);
    output.push_str(summary);
    if !details.is_empty() {
        output.push('\n');
        output.push_str(details);
    }
    let end = (0..=MAX_OUTPUT.min(output.len())).rev().find(|at| output.is_char_boundary(*at));
    output.truncate(end.unwrap_or(0));
    encode_output(&Labels::from_pairs([("check", one.check.name.as_ref())]), &output, text);
}
