//! `maintenance:` windows as they are written.
//!
//! Invariant: a window says which alerts it is about and when; one that would hold everything at any
//! time is a fault.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned, nearest};
use base::http::access::HttpConfig;
use base::http::client::Origin;
use base::period::Period;
use base::secret::Secret;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::calendar::Calendar;
use super::spans::{Span, instant};
use super::{Address, Schedule, Window};
use crate::matchers;
use crate::mute::times::{TimesConfig, build_parts, zone};

/// A window, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceConfig {
    /// How people call it.
    pub name: Spanned<String>,
    /// Which alerts it holds: those that all of them accept.
    pub matchers: Vec<Spanned<String>>,
    /// Times that come again; it holds where one of them does.
    #[serde(default)]
    time_intervals: Vec<TimesConfig>,
    /// When it begins, once.
    start: Option<Spanned<String>>,
    /// How long it takes from `start`.
    duration: Option<Spanned<Period>>,
    /// A calendar whose events are the times.
    ical: Option<Spanned<IcalConfig>>,
    /// The zone of times that name none; UTC by default.
    zone: Option<Spanned<String>>,
    /// How long before it begins it is announced; `0s` is not at all.
    announce: Option<Spanned<Period>>,
    /// How long it goes on to hold after its end, so that what still starts up pages nobody.
    settle: Option<Spanned<Period>>,
    /// Who is told of it; by default those whom its alerts go to.
    #[serde(default)]
    receivers: Vec<Spanned<String>>,
    /// Who answers for it.
    #[serde(default)]
    owner: String,
    /// Why.
    #[serde(default)]
    comment: String,
}

/// Where a calendar is, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IcalConfig {
    file: Option<Spanned<PathBuf>>,
    url: Option<Spanned<Secret>>,
    refresh: Option<Spanned<Period>>,
    http_config: Option<Spanned<HttpConfig>>,
}

/// How long before its start a window is announced.
pub(super) const ANNOUNCE: Duration = Duration::from_secs(3600);
/// How long a window goes on to hold (A5.2).
pub(super) const SETTLE: Duration = Duration::from_secs(120);
/// The longest that a window is announced before it begins.
pub(super) const LONGEST_ANNOUNCE: Duration = Duration::from_secs(7 * 86_400);
/// How often an address is asked for its calendar.
const REFRESH: Duration = Duration::from_secs(15 * 60);

impl MaintenanceConfig {
    fn build(
        &self,
        folder: &Path,
        receivers: &[String],
        diagnostics: &mut Diagnostics,
    ) -> Option<Window> {
        let name = &self.name;
        if name.value.is_empty() {
            diagnostics.report(name, "a window of maintenance has no name");
        }
        let built = matchers::build_all(
            &Default::default(),
            &Default::default(),
            &self.matchers,
            diagnostics,
        );
        if self.matchers.is_empty() || built.is_empty() {
            let help = "say which alerts it is about: `matchers: ['host = db1']`";
            diagnostics.report_with_help(name, format!("`{}` has no matchers", name.value), help);
        }
        let limited = |period: &Option<Spanned<Period>>,
                       name: &str,
                       default,
                       diagnostics: &mut Diagnostics| {
            let Some(period) = period else { return default };
            if period.value.duration() > LONGEST_ANNOUNCE {
                diagnostics.report(period, format!("`{name}` can be 7d at most"));
            }
            period.value.duration()
        };
        let announce = limited(&self.announce, "announce", ANNOUNCE, diagnostics);
        let settle = limited(&self.settle, "settle", SETTLE, diagnostics);
        for receiver in self.receivers.iter().filter(|r| !receivers.contains(&r.value)) {
            if diagnostics.is_partial_in("receivers") {
                continue;
            }
            let message = format!("there is no receiver `{}`", receiver.value);
            let near = nearest(&receiver.value, receivers.iter().map(String::as_str));
            let help = near
                .map_or("add it under `receivers:`".to_owned(), |n| format!("did you mean `{n}`?"));
            diagnostics.report_with_help(receiver, message, help);
        }
        let schedule = self.schedule(folder, diagnostics)?;
        Some(Window {
            name: name.value.clone(),
            matchers: built,
            owner: self.owner.clone(),
            comment: self.comment.clone(),
            announce,
            settle,
            receivers: self.receivers.iter().map(|receiver| receiver.value.clone()).collect(),
            schedule,
        })
    }

    fn schedule(&self, folder: &Path, diagnostics: &mut Diagnostics) -> Option<Schedule> {
        let place = self.name.place;
        let local = match &self.zone {
            None => TimeZone::UTC,
            Some(name) => zone(name, diagnostics),
        };
        let ways = [!self.time_intervals.is_empty(), self.start.is_some(), self.ical.is_some()];
        if ways.iter().filter(|way| **way).count() != 1 {
            let message = "when it is must be said in one way";
            let help = "write one of `time_intervals`, `start` with `duration`, and `ical`";
            diagnostics.report_with_help(place, message, help);
            return None;
        }
        if let Some(start) = &self.start {
            let Some(start_at) = read_time(&start.value, &local) else {
                let help = "write `2026-12-01T22:00` with a `zone`, or `2026-12-01T22:00:00+01:00`";
                diagnostics.report_with_help(
                    start,
                    format!("`{}` is not a time", start.value),
                    help,
                );
                return None;
            };
            let Some(duration) = self.duration.as_ref().filter(|d| !d.value.is_zero()) else {
                diagnostics.report(place, "`duration` is missing beside `start`");
                return None;
            };
            return Some(Schedule::Once(Span {
                start: start_at,
                end: start_at + duration.value.duration(),
            }));
        }
        if let Some(duration) = &self.duration {
            diagnostics.report(duration, "`duration` stands beside `start` only");
        }
        if let Some(ical) = &self.ical {
            return Some(Schedule::Calendar(ical.value.build(
                ical.place,
                folder,
                local,
                diagnostics,
            )?));
        }
        let interval = build_parts(&self.time_intervals, &local, diagnostics);
        if interval.is_always() {
            let help = "say when: `times`, `weekdays`, `days_of_month`, `months` or `years`";
            diagnostics.report_with_help(place, "it would hold at any time", help);
            return None;
        }
        Some(Schedule::Times(interval))
    }
}

impl IcalConfig {
    fn build(
        &self,
        place: Place,
        folder: &Path,
        zone: TimeZone,
        diagnostics: &mut Diagnostics,
    ) -> Option<Arc<Address>> {
        let refresh = self.refresh.as_ref().map_or(REFRESH, |refresh| refresh.value.duration());
        if let Some(short) = self.refresh.as_ref().filter(|r| r.value < Period::from_secs(60)) {
            diagnostics.report(short, "`refresh` must be 1m at least");
        }
        match (&self.file, &self.url) {
            (Some(file), None) => {
                let path = folder.join(&file.value);
                let read = std::fs::read_to_string(&path)
                    .map_err(|error| format!("cannot be read: {error}"));
                if let Err(fault) = read.and_then(|text| Calendar::read(&text, &zone)) {
                    diagnostics.report(file, format!("the calendar {}: {fault}", path.display()));
                    return None;
                }
                Some(Arc::new(Address::File { path, zone }))
            }
            (None, Some(url)) => {
                if url.value.expose().parse().ok().and_then(|uri| Origin::of(&uri).ok()).is_none() {
                    let help = "write `https://host/path`, without a user name";
                    diagnostics.report_with_help(url, "this is no address of a calendar", help);
                    return None;
                }
                let (config, place) = match &self.http_config {
                    Some(config) => (config.value.clone(), config.place),
                    None => (HttpConfig::default(), place),
                };
                let access = config.build(place, diagnostics)?;
                Some(Arc::new(Address::Url { url: url.value.clone(), access, zone, refresh }))
            }
            _ => {
                diagnostics.report(place, "one of `file` and `url` is needed");
                None
            }
        }
    }
}

/// The windows of a configuration; relative paths are relative to `folder`.
pub fn build_windows(
    configs: &[Spanned<MaintenanceConfig>],
    folder: &Path,
    receivers: &[String],
    diagnostics: &mut Diagnostics,
) -> Vec<Arc<Window>> {
    let mut windows: Vec<Arc<Window>> = Vec::new();
    for config in configs {
        let name = &config.value.name;
        if windows.iter().any(|window| window.name == name.value) {
            diagnostics.report(name, format!("there are two windows `{}`", name.value));
        }
        windows.extend(config.value.build(folder, receivers, diagnostics).map(Arc::new));
    }
    windows
}

/// A time with its offset from UTC, or one in `zone`.
pub fn read_time(text: &str, zone: &TimeZone) -> Option<base::sample::Timestamp> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(base::sample::Timestamp::from_millis(at.as_millisecond()));
    }
    instant(zone, text.parse::<DateTime>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("bad.ics"), "<html>").unwrap();
        let check = |yaml: &str, expected: &str| {
            let mut diagnostics = Diagnostics::new("f.yml");
            let configs: Vec<Spanned<MaintenanceConfig>> =
                base::yaml::read(yaml, &mut diagnostics).unwrap();
            build_windows(&configs, dir.path(), &["ops".to_owned()], &mut diagnostics);
            let told = diagnostics.to_string().replace(dir.path().to_str().unwrap(), "");
            let told: Vec<_> = told.lines().filter(|line| !line.starts_with("  help")).collect();
            assert_eq!(told.join("\n"), expected, "{yaml}");
        };
        let once = "start: '2026-12-01T22:00', duration: 1h";
        check(&format!("[{{name: a, matchers: [h=x], {once}, zone: Europe/Paris}}]"), "");
        check(&format!("[{{name: a, matchers: [], {once}}}]"), "f.yml:1:9: `a` has no matchers");
        check("[{name: a, matchers: [h=x]}]", "f.yml:1:9: when it is must be said in one way");
        check(
            "[{name: a, matchers: [h=x], start: soon, duration: 1h}]",
            "f.yml:1:36: `soon` is not a time",
        );
        check(
            "[{name: a, matchers: [h=x], start: '2026-12-01T22:00'}]",
            "f.yml:1:9: `duration` is missing beside `start`",
        );
        let whole = "{times: [{start_time: '00:00', end_time: '24:00'}]}";
        for always in ["{}", "{weekdays: ['sunday:saturday']}", whole] {
            check(
                &format!("[{{name: a, matchers: [h=x], time_intervals: [{always}]}}]"),
                "f.yml:1:9: it would hold at any time",
            );
        }
        check(
            "[{name: a, matchers: [h=x], ical: {}}]",
            "f.yml:1:35: one of `file` and `url` is needed",
        );
        check(
            "[{name: a, matchers: [h=x], ical: {file: bad.ics}}]",
            "f.yml:1:42: the calendar /bad.ics: does not begin with BEGIN:VCALENDAR",
        );
        check(
            "[{name: a, matchers: [h=x], ical: {url: 'ftp://x/'}}]",
            "f.yml:1:41: this is no address of a calendar",
        );
        check(
            &format!("[{{name: a, matchers: [h=x], receivers: [opps], announce: 8d, {once}}}]"),
            "f.yml:1:41: there is no receiver `opps`\nf.yml:1:58: `announce` can be 7d at most",
        );
        check(
            &format!(
                "[{{name: a, matchers: [h=x], {once}}}, {{name: a, matchers: [h=x], {once}}}]"
            ),
            "f.yml:1:78: there are two windows `a`",
        );
        check(
            &format!("[{{name: a, matchers: [h=x], {once}, zone: Mars}}]"),
            "f.yml:1:76: `Mars` is not a time zone",
        );
    }
}
