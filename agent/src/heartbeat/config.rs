//! A heartbeat as written.
//!
//! Invariant: a built one has an id that is fit for a URL and either a period or a calendar.

use std::time::Duration;

use base::diagnostic::{Diagnostics, Spanned};
use base::period::Period;
use probes::thresholds::{Limits, LimitsConfig};
use serde::Deserialize;

use super::{Expected, Heartbeat, RUNTIME};
use crate::schedule::{Schedule, report};

/// How late a report may be where nothing is said.
const GRACE: Period = Period::from_secs(300);
/// The longest id.
const MAX_ID: usize = 128;

/// A heartbeat, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatConfig {
    /// What stands behind `/ping/`: a UUID, a name, or a key and a name with a slash between them;
    /// the check's name where nothing is said.
    #[serde(default)]
    id: Option<Spanned<String>>,
    /// From one report to the next.
    #[serde(default)]
    period: Option<Spanned<Period>>,
    /// In place of a period: minute, hour, day, month, weekday.
    #[serde(default)]
    cron: Option<Spanned<String>>,
    /// The time zone of `cron`; `UTC` where nothing is said.
    #[serde(default)]
    timezone: Option<Spanned<String>>,
    /// How late a report may be; `5m` where nothing is said.
    #[serde(default)]
    grace: Option<Spanned<Period>>,
    /// The longest from `/start` to the end; as long as the grace where nothing is said.
    #[serde(default)]
    max_runtime: Option<Spanned<Period>>,
    /// How long the first report may take from when the check is configured; for ever where nothing
    /// is said.
    #[serde(default)]
    first_by: Option<Spanned<Period>>,
    /// Whether GET and HEAD report as POST does.
    #[serde(default)]
    get: bool,
    /// Limits on `runtime`, from `/start` to the end, in seconds.
    #[serde(default)]
    thresholds: LimitsConfig,
}

impl HeartbeatConfig {
    /// The heartbeat of the check called `name`, reporting everything that is wrong with it.
    pub fn build(self, name: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Heartbeat> {
        let id = self.id.as_ref().unwrap_or(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_part = |part: &str| !part.is_empty() && part.chars().all(plain) && part != "..";
        let parts = id.value.split('/').count();
        if !id.value.split('/').all(is_part) || parts > 2 || id.value.len() > MAX_ID {
            let help = "it is a part of a URL: give an `id` of letters, digits, `-`, `_` and `.`";
            let message = format!("`{}` cannot be the id of a heartbeat", id.value);
            diagnostics.report_with_help(id, message, help);
        } else if is_action(id.value.rsplit('/').next().unwrap_or("")) {
            let message = format!("the id `{}` means something else at its end", id.value);
            diagnostics.report(id, message);
        }
        let grace = self.grace.as_ref().map_or(GRACE, |grace| grace.value);
        for period in [&self.period, &self.max_runtime, &self.first_by].into_iter().flatten() {
            if period.value.is_zero() {
                diagnostics.report(period, "a period cannot be 0");
            }
        }
        let limits = Limits::build(&self.thresholds, &[RUNTIME], diagnostics);
        let expected = self.expected(name, diagnostics)?;
        let duration = |period: &Option<Spanned<Period>>| -> Option<Duration> {
            period.as_ref().map(|period| period.value.duration())
        };
        Some(Heartbeat {
            id: id.value.clone(),
            get: self.get,
            expected,
            grace: grace.duration(),
            max_runtime: duration(&self.max_runtime).unwrap_or(grace.duration()),
            first_by: duration(&self.first_by),
            limits,
        })
    }

    fn expected(&self, name: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Expected> {
        if let (Some(zone), None) = (&self.timezone, &self.cron) {
            diagnostics.report(zone, "a time zone means nothing without `cron`");
        }
        match (&self.period, &self.cron) {
            (Some(period), None) => Some(Expected::After(period.value.duration())),
            (None, Some(cron)) => {
                let zone = self.timezone.as_ref();
                match Schedule::calendar(&cron.value, zone.map_or("UTC", |zone| &zone.value)) {
                    Ok(schedule) => Some(Expected::On(schedule)),
                    Err(error) => {
                        report(&error, cron, zone, diagnostics);
                        None
                    }
                }
            }
            (None, None) => {
                if !diagnostics.is_partial() {
                    let message = "neither `period` nor `cron` says when the job reports";
                    diagnostics.report_with_help(name, message, "add `period: 1d`");
                }
                None
            }
            (Some(_), Some(cron)) => {
                let message = "either `period` or `cron` says when the job reports, not both";
                diagnostics.report(cron, message);
                None
            }
        }
    }
}

/// Whether the last part of a path says what happened.
fn is_action(part: &str) -> bool {
    matches!(part, "start" | "fail" | "log") || part.parse::<u8>().is_ok()
}
