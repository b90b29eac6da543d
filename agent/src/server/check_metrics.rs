//! What is known of the checks and services, as families.
//!
//! Invariant: each check has at most one series of a name and label set.

use std::collections::HashSet;
use std::sync::Arc;

use base::family::{LabelPairs, MetricFamily};
use probes::range::Range;
use probes::{Measurement, Reason, Status};

use crate::check::Check;
use crate::results::{Latest, Slot};
use crate::service::Forest;

/// A check and what is known of it, as of one moment.
pub(super) struct Seen {
    pub(super) check: Arc<Check>,
    pub(super) latest: Latest,
}

impl Seen {
    pub(super) fn of(slots: &[Arc<Slot>]) -> Vec<Self> {
        let seen = |slot: &Arc<Slot>| Self { check: slot.check(), latest: slot.latest() };
        slots.iter().map(seen).collect()
    }

    /// The labels of everything that the check measures.
    pub(super) fn labels(&self) -> LabelPairs {
        let mut pairs = Vec::with_capacity(self.check.labels.len() + 3);
        pairs.push(("check".into(), self.check.name.to_string()));
        let own = self.check.labels.iter();
        pairs.extend(own.map(|(name, value)| (name.clone().into(), value.clone())));
        pairs
    }

    fn with(&self, name: &'static str, value: &str) -> LabelPairs {
        let mut labels = self.labels();
        labels.push((name.into(), value.to_owned()));
        labels
    }
}

/// A gauge with one sample a check, where `value` has one.
fn gauge(
    seen: &[Seen],
    name: &str,
    help: &str,
    value: impl Fn(&Seen) -> Option<f64>,
) -> MetricFamily {
    let mut family = MetricFamily::gauge(name, help);
    for one in seen {
        if let Some(value) = value(one) {
            family.add_pairs("", one.labels(), value);
        }
    }
    family
}

/// The families of the checks themselves.
pub(super) fn of_checks(seen: &[Seen]) -> Vec<MetricFamily> {
    let status = |status: Status| f64::from(status.code());
    let result = |one: &Seen| one.latest.result.clone();
    let mut families = vec![
        gauge(
            seen,
            "veilleur_check_status",
            "Status of the last run: 0 ok, 1 warning, 2 critical, 3 unknown, as before the first.",
            |one| Some(status(one.latest.status())),
        ),
        gauge(
            seen,
            "veilleur_check_hard_status",
            "Status that is held to be true after all attempts; missing before it is known.",
            |one| one.latest.state.hard().map(status),
        ),
        gauge(
            seen,
            "veilleur_check_attempt",
            "Attempt of the last run, from 1; 0 before the first.",
            |one| Some(f64::from(one.latest.state.attempt())),
        ),
        gauge(
            seen,
            "veilleur_check_max_attempts",
            "Attempts after which a failure is held to be true.",
            |one| Some(f64::from(one.check.max_attempts)),
        ),
        gauge(seen, "veilleur_check_duration_seconds", "How long the last run took.", |one| {
            Some(result(one)?.duration.as_secs_f64())
        }),
        gauge(
            seen,
            "veilleur_check_lateness_seconds",
            "How much later than planned the last run began.",
            |one| Some(result(one)?.lateness.as_secs_f64()),
        ),
        gauge(
            seen,
            "veilleur_check_last_run_timestamp_seconds",
            "When the last run began.",
            |one| Some(result(one)?.started.seconds()),
        ),
        gauge(
            seen,
            "veilleur_check_overdue_timestamp_seconds",
            "When the next result must be in at the latest.",
            |one| Some(one.latest.overdue?.seconds()),
        ),
    ];
    let mut reasons =
        MetricFamily::gauge("veilleur_check_reason", "Why the last run ended as it did.");
    let mut runs = MetricFamily::counter("veilleur_check_runs_total", "Runs, by their status.");
    let help = "Runs that were left out, because the one before was not done.";
    let mut skipped = MetricFamily::counter("veilleur_check_skipped_total", help);
    for one in seen {
        let reason = result(one).map_or(Reason::NeverRun, |result| result.outcome.reason);
        reasons.add_pairs("", one.with("reason", reason.as_str()), 1.0);
        for status in Status::ALL {
            let count = one.latest.runs[usize::from(status.code())] as f64;
            runs.add_pairs("", one.with("status", status.as_str()), count);
        }
        skipped.add_pairs("", one.labels(), one.latest.skipped as f64);
    }
    families.extend([reasons, runs, skipped]);
    families.extend(performance_data(seen));
    families
}

/// The unit without prefixes, and how many of it the unit as written is.
///
/// `KB` and its sisters are powers of 1024: that is what plugins mean by them, whatever the letter
/// of the standard says.
fn base_unit(unit: &str) -> (&str, f64) {
    let power = |power: i32| 1024_f64.powi(power);
    match unit {
        "s" => ("seconds", 1.0),
        "ms" => ("seconds", 1e-3),
        "us" | "µs" => ("seconds", 1e-6),
        "ns" => ("seconds", 1e-9),
        "%" => ("ratio", 0.01),
        "B" => ("bytes", 1.0),
        "KB" | "kB" | "KiB" => ("bytes", power(1)),
        "MB" | "MiB" => ("bytes", power(2)),
        "GB" | "GiB" => ("bytes", power(3)),
        "TB" | "TiB" => ("bytes", power(4)),
        "PB" | "PiB" => ("bytes", power(5)),
        other => (other, 1.0),
    }
}

/// What the checks measured, in base units, with the limits that can be drawn as lines.
fn performance_data(seen: &[Seen]) -> [MetricFamily; 3] {
    let mut values = MetricFamily::gauge(
        "veilleur_check_perfdata",
        "What the check measured, in seconds, bytes, as a ratio, or in the unit that it gave.",
    );
    let help = "The value above which the check warns.";
    let mut warnings = MetricFamily::gauge("veilleur_check_perfdata_warning", help);
    let help = "The value above which the check is critical.";
    let mut criticals = MetricFamily::gauge("veilleur_check_perfdata_critical", help);
    for one in seen {
        let Some(result) = &one.latest.result else { continue };
        let mut labels_seen: HashSet<(&str, &str)> = HashSet::new();
        for measurement in &result.outcome.measurements {
            let Measurement { label, value, unit, warn, crit, .. } = measurement;
            let (unit, factor) = base_unit(unit);
            if value.is_nan() || !labels_seen.insert((label, unit)) {
                continue;
            }
            let labels = || {
                let mut labels = one.with("perfdata", label);
                if !unit.is_empty() {
                    labels.push(("unit".into(), unit.to_owned()));
                }
                labels
            };
            values.add_pairs("", labels(), value * factor);
            for (limit, family) in [(warn, &mut warnings), (crit, &mut criticals)] {
                let limit =
                    limit.as_ref().and_then(|limit| limit.parse::<Range>().ok()?.as_limit());
                if let Some(limit) = limit {
                    family.add_pairs("", labels(), limit * factor);
                }
            }
        }
    }
    [values, warnings, criticals]
}

/// The families of the services.
pub(super) fn of_services(forest: &Forest, labels: &[(String, String)]) -> [MetricFamily; 2] {
    let help = "Whether the service has what it needs; missing where that is not known yet.";
    let mut up = MetricFamily::gauge("veilleur_service_up", help);
    let help = "Whether something that the service needs works, and the first broken part of it \
                where not; missing where that is not known yet.";
    let mut parts = MetricFamily::gauge("veilleur_service_dependency_up", help);
    for (name, service) in &forest.services {
        let mut own: LabelPairs = vec![("service".into(), name.clone())];
        own.extend(labels.iter().map(|(name, value)| (name.clone().into(), value.clone())));
        for need in &service.needs {
            let Some(value) = need.up() else { continue };
            let mut labels = own.clone();
            labels.push(("dependency".into(), need.name.clone()));
            if let Some((path, _)) = need.culprit() {
                labels.push(("culprit".into(), path.join("/")));
            }
            parts.add_pairs("", labels, value);
        }
        if let Some(value) = service.up() {
            up.add_pairs("", own, value);
        }
    }
    [up, parts]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_base_units() {
        let check = |unit, expected| assert_eq!(base_unit(unit), expected);
        check("ms", ("seconds", 1e-3));
        check("%", ("ratio", 0.01));
        check("MB", ("bytes", 1_048_576.0));
        check("c", ("c", 1.0));
        check("", ("", 1.0));
        check("°C", ("°C", 1.0));
    }
}
