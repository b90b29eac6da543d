//! What the steps have found, as an outcome.
//!
//! Invariant: a probe without steps has the metrics of blackbox_exporter, and of its own only the
//! numbers that it was told to find.

use std::time::Duration;

use base::family::MetricFamily;
use base::http::client::Phases;

use super::HttpProbe;
use super::step::{Identity, PHASES, Page, Step, Taken, phases, values};
use crate::chain::with_fault;
use crate::network::{Failed, Metrics};
use crate::outcome::Status;
use crate::{Outcome, Reason};

impl HttpProbe {
    /// The outcome of all steps that were taken.
    pub(super) fn tell(&self, mut all: Vec<(&Step, Taken)>, seconds: f64) -> Outcome {
        let mut metrics = Metrics::default();
        if self.is_journey {
            tell_steps(&all, &mut metrics);
        }
        self.tell_numbers(&all, &mut metrics);
        let times = sum(&all);
        let expiries = all.iter().filter_map(|(_, taken)| taken.page.seen.expiry());
        let expiry = expiries.reduce(f64::min);

        let values = values(seconds, expiry, &times, &self.limits);
        let mut verdict = self.limits.judge(&values);
        for (step, taken) in &mut all {
            let (status, text) = (taken.verdict.status, &taken.verdict.text);
            let text = match self.is_journey {
                _ if text.is_empty() => None,
                true => Some(format!("step `{}`: {text}", step.name)),
                false => Some(text.clone()),
            };
            verdict.add(status, text.as_deref());
            for mut one in taken.verdict.measurements.drain(..) {
                if self.is_journey {
                    one.label = format!("{}.{}", step.name, one.label);
                }
                verdict.measurements.push(one);
            }
        }

        let (summary, details) = self.summary(&all, seconds);
        let failed = all.last().and_then(|(step, taken)| Some((step, taken.failed.as_ref()?)));
        let mut outcome = match failed {
            Some((step, Failed { reason, summary })) => {
                let summary = match self.is_journey {
                    true => format!("step `{}`: {summary}", step.name),
                    false => summary.clone(),
                };
                Outcome::critical(*reason, summary)
            }
            None if verdict.status == Status::Ok => Outcome::ok(summary),
            None => {
                let summary = format!("{}: {summary}", verdict.text);
                Outcome::new(verdict.status, Reason::Threshold, summary)
            }
        };
        let fault = all.iter().rev().find_map(|(_, taken)| taken.page.seen.fault.clone());
        outcome.details = with_fault(details, fault);
        outcome.measurements = verdict.measurements;
        let no_page = Page::default();
        let last = all.last().map_or(&no_page, |(_, taken)| &taken.page);
        self.tell_page(&all, last, &times, expiry, outcome.reason, &mut metrics);
        metrics.finish(outcome, seconds, times.resolve, last.peer)
    }

    /// A line for a person, and further ones.
    fn summary(&self, all: &[(&Step, Taken)], seconds: f64) -> (String, String) {
        if !self.is_journey {
            let first = all.first().map(|(_, taken)| taken.summary.clone());
            return (first.unwrap_or_default(), String::new());
        }
        let lines = all.iter().map(|(step, taken)| match &taken.failed {
            Some(failed) => format!("{}: {}", step.name, failed.summary),
            None => format!("{}: {}", step.name, taken.summary),
        });
        let missing = self.steps.iter().skip(all.len());
        let missing = missing.map(|step| format!("{}: not taken", step.name));
        let details: Vec<_> = lines.chain(missing).collect();
        (format!("{} steps in {seconds:.3} s", all.len()), details.join("\n"))
    }

    /// Adds the metrics by the names that blackbox_exporter gives them: of the last page, with the
    /// times and redirects of all.
    fn tell_page(
        &self,
        all: &[(&Step, Taken)],
        last: &Page,
        times: &Phases,
        expiry: Option<f64>,
        reason: Reason,
        metrics: &mut Metrics,
    ) {
        let mut told: Vec<_> = PHASES.into_iter().zip(phases(times)).collect();
        if let Identity::OAuth2(_) = &self.access.identity {
            told.push(("token", add(all.iter().map(|(_, taken)| taken.page.token))));
        }
        let help = "Duration of http request by phase, summed over all redirects";
        metrics.phases("probe_http_duration_seconds", help, &told);
        last.seen.measure(metrics);
        if last.seen.expiry().is_none()
            && let Some(expiry) = expiry
        {
            let help = "Returns last SSL chain expiry in unixtime";
            metrics.gauge("probe_ssl_earliest_cert_expiry", help, expiry);
        }
        let mut gauge = |name, help, value| metrics.gauge(name, help, value);
        gauge("probe_http_status_code", "Response HTTP status code", f64::from(last.status));
        let redirects: u32 = all.iter().map(|(_, taken)| taken.page.redirects).sum();
        gauge("probe_http_redirects", "The number of redirects", f64::from(redirects));
        let length = last.content_length.map_or(-1.0, |length| length as f64);
        gauge("probe_http_content_length", "Length of http content response", length);
        let help = "Length of uncompressed response body";
        gauge("probe_http_uncompressed_body_length", help, last.length as f64);
        let help = "Indicates if SSL was used for the final redirect";
        gauge("probe_http_ssl", help, f64::from(u8::from(last.is_tls)));
        if let Some(version) = last.version {
            let help = "Returns the version of HTTP of the probe response";
            gauge("probe_http_version", help, version);
        }
        if let Some(modified) = last.last_modified {
            let help = "Returns the Last-Modified HTTP response header in unixtime";
            gauge("probe_http_last_modified_timestamp_seconds", help, modified);
        }
        if self.steps.iter().any(|step| step.expect.has_regex()) {
            let by_regex = matches!(reason, Reason::BodyMismatch | Reason::HeaderMismatch);
            let help = "Indicates if probe failed due to regex";
            gauge("probe_failed_due_to_regex", help, f64::from(u8::from(by_regex)));
        }
    }

    fn tell_numbers(&self, all: &[(&Step, Taken)], metrics: &mut Metrics) {
        let help = "Number that was found in the JSON of the response, by the name of its rule";
        let mut family = MetricFamily::gauge("probe_http_json_value", help);
        for (step, taken) in all {
            for (name, number) in &taken.numbers {
                let (step, name) = (("step", step.name.as_str()), ("name", name.as_str()));
                let both = [step, name];
                family.add(if self.is_journey { &both } else { &both[1..] }, *number);
            }
        }
        if !family.samples.is_empty() {
            metrics.push(family);
        }
    }
}

/// Adds what each step took and how it went.
fn tell_steps(all: &[(&Step, Taken)], metrics: &mut Metrics) {
    let help = "Duration of a step's http request by phase, summed over all redirects";
    let mut durations = MetricFamily::gauge("probe_http_step_duration_seconds", help);
    let help = "Displays whether or not the step was a success";
    let mut success = MetricFamily::gauge("probe_http_step_success", help);
    let mut status =
        MetricFamily::gauge("probe_http_step_status_code", "Response HTTP status code of a step");
    for (step, taken) in all {
        let name = step.name.as_str();
        for (phase, time) in PHASES.into_iter().zip(phases(&taken.page.times)) {
            let seconds = time.unwrap_or_default().as_secs_f64();
            durations.add(&[("step", name), ("phase", phase)], seconds);
        }
        let is_well = taken.failed.is_none() && taken.verdict.status == Status::Ok;
        success.add(&[("step", name)], f64::from(u8::from(is_well)));
        status.add(&[("step", name)], f64::from(taken.page.status));
    }
    for family in [durations, success, status] {
        metrics.push(family);
    }
}

fn sum(all: &[(&Step, Taken)]) -> Phases {
    let of = |phase: fn(&Phases) -> Option<Duration>| {
        add(all.iter().map(|(_, taken)| phase(&taken.page.times)))
    };
    Phases {
        resolve: of(|times| times.resolve),
        connect: of(|times| times.connect),
        tls: of(|times| times.tls),
        first_byte: of(|times| times.first_byte),
        transfer: of(|times| times.transfer),
    }
}

fn add(times: impl Iterator<Item = Option<Duration>>) -> Option<Duration> {
    times.flatten().reduce(|a, b| a + b)
}
