//! `veilleur.yml`: the sections of `prometheus.yml` and `alertmanager.yml` in one file, under their
//! own names.
//!
//! Each section belongs to its stage, which says what it may hold; here they are put together, and
//! checked for what they refer to in each other.
//!
//! Invariant: what [`read`] gives is complete and without fault; nothing is started or replaced
//! before all of it is there.

mod global;
mod receivers;
mod shown;
mod fallbacks;
mod watchdog;

pub use receivers::{ReceiverConfig, Receivers};
pub use watchdog::{WATCHDOG, Watchdog};

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::web::{Places, Web, WebConfig};
use base::labels::Labels;
use base::period::Period;
use global::GlobalConfig;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::discovery::{matching, relative_to};
use crate::dispatch::{Lanes, Route, RouteConfig, World};
use crate::hygiene::{Hygiene, SilencesConfig};
use crate::intake::{self, Source, SourceConfig};
use crate::mute::{
    self, InhibitRule, InhibitRuleConfig, MaintenanceConfig, TimeIntervalConfig, Window,
};
use crate::notify::WatchdogConfig;
use crate::rules::{
    BuiltinConfig, RuleGroup, SloConfig, Unknown, builtin_group, read_file, slo_groups,
};
use crate::scrape::{GlobalScrape, Job, ScrapeConfig};
use crate::template::{Dialect, Templates};

/// The configuration of whoever has written none: scrapes the agent on this host and prints.
pub const DEFAULT: &str = include_str!("config/default.yml");

/// The file, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileConfig {
    global: GlobalConfig,
    scrape_configs: Vec<ScrapeConfig>,
    rule_files: Vec<Spanned<String>>,
    builtin_rules: BuiltinConfig,
    slos: Vec<Spanned<SloConfig>>,
    route: Option<Spanned<RouteConfig>>,
    receivers: Vec<Spanned<ReceiverConfig>>,
    templates: Vec<Spanned<String>>,
    inhibit_rules: Vec<InhibitRuleConfig>,
    time_intervals: Vec<Spanned<TimeIntervalConfig>>,
    /// The older name of `time_intervals`.
    mute_time_intervals: Vec<Spanned<TimeIntervalConfig>>,
    web: Option<Spanned<WebConfig>>,
    silences: SilencesConfig,
    maintenance: Vec<Spanned<MaintenanceConfig>>,
    sources: Vec<Spanned<SourceConfig>>,
    watchdog: Option<Spanned<WatchdogConfig>>,
    // What the others have and we do not have yet; told by name, so that nobody believes it works.
    alerting: Option<Spanned<IgnoredAny>>,
    remote_write: Option<Spanned<IgnoredAny>>,
    remote_read: Option<Spanned<IgnoredAny>>,
    scrape_config_files: Option<Spanned<IgnoredAny>>,
    storage: Option<Spanned<IgnoredAny>>,
    tracing: Option<Spanned<IgnoredAny>>,
    otlp: Option<Spanned<IgnoredAny>>,
}

/// The configuration, ready to run.
#[derive(Debug)]
pub struct Config {
    /// What is scraped.
    pub jobs: Vec<Arc<Job>>,
    /// What is judged.
    pub groups: Vec<Arc<RuleGroup>>,
    /// Who hears of what.
    pub route: Route,
    /// Which alerts hold others back.
    pub inhibit_rules: Vec<InhibitRule>,
    /// How they are reached.
    pub receivers: Receivers,
    /// The ways to each receiver.
    pub lanes: Lanes,
    /// How long an alert lasts that is pushed without an end.
    pub resolve_timeout: Duration,
    /// Added to every alert.
    pub external_labels: Labels,
    /// Who may ask us.
    pub web: Web,
    /// How silences are kept in order.
    pub hygiene: Hygiene,
    /// Windows of maintenance.
    pub windows: Vec<Arc<Window>>,
    /// Who may tell us something in their own words.
    pub sources: Vec<Arc<Source>>,
    /// What tells somebody outside that we are well.
    pub watchdog: Option<Watchdog>,
    /// The sections of Alertmanager as others are shown them.
    pub shown: String,
}

/// What may be opened to everybody: whether we live, and how we are (S1).
const OPENABLE: &[&str] = &["/-/healthy", "/-/ready", "/metrics"];

/// The configuration in `text`, which is shown to people as `name`; relative paths in it are
/// relative to `folder`. Reads every file that it refers to, and `web_file` for who may ask us.
///
/// # Errors
///
/// Everything that is wrong with it and with the files that it refers to.
pub fn parse(
    name: &str,
    text: &str,
    folder: &Path,
    web_file: Option<&Path>,
) -> Result<Config, Diagnostics> {
    let mut diagnostics = Diagnostics::new(name);
    let file = base::yaml::read(text, &mut diagnostics);
    let config = build(file, folder, web_file, diagnostics)?;
    Ok(Config { shown: shown::shown(text), ..config })
}

/// The configuration in the file at `path`.
///
/// # Errors
///
/// As [`parse`]; the file cannot be read.
pub fn read(path: &Path, web_file: Option<&Path>) -> Result<Config, Diagnostics> {
    let mut diagnostics = Diagnostics::new(&path.display().to_string());
    let file = base::yaml::read_file(path, &mut diagnostics);
    let config = build(file, path.parent().unwrap_or(Path::new(".")), web_file, diagnostics)?;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    Ok(Config { shown: shown::shown(&text), ..config })
}

fn build(
    file: Option<FileConfig>,
    folder: &Path,
    web_file: Option<&Path>,
    mut diagnostics: Diagnostics,
) -> Result<Config, Diagnostics> {
    let Some(mut file) = file else { return Err(diagnostics) };
    let places = Places { file: web_file, folder: Some(folder), openable: OPENABLE };
    let web = Web::read(places, file.web.take(), &mut diagnostics);
    file.report_unsupported(&mut diagnostics);
    let global = &file.global;
    let default_interval = Period::from_secs(60);
    let scrape = GlobalScrape {
        interval: global.scrape_interval.map_or(default_interval, |period| period.value),
        timeout: global.scrape_timeout.map_or(Period::from_secs(10), |period| period.value),
    };
    let evaluation = global.evaluation_interval.map_or(default_interval, |period| period.value);
    for (name, period) in [
        ("scrape_interval", &global.scrape_interval),
        ("evaluation_interval", &global.evaluation_interval),
    ] {
        if let Some(period) = period.as_ref().filter(|period| period.value.is_zero()) {
            diagnostics.report(period, format!("`{name}` cannot be zero"));
        }
    }
    for name in global.external_labels.keys().filter(|name| name.value.is_empty()) {
        diagnostics.report(name, "a label name is empty");
    }
    let external = global.external_labels.iter().map(|(name, value)| (name.value.clone(), value));
    let external_labels = Labels::from_pairs(external);

    let jobs = jobs(&file.scrape_configs, scrape, folder, &mut diagnostics);
    let mut groups: Vec<Arc<RuleGroup>> = Vec::new();
    groups.extend(builtin_group(&file.builtin_rules, evaluation, &mut diagnostics).map(Arc::new));
    groups.extend(slo_groups(&file.slos, evaluation, &mut diagnostics).into_iter().map(Arc::new));
    groups.extend(rule_groups(&file.rule_files, evaluation, folder, &mut diagnostics));
    let templates = templates(&file.templates, folder, &mut diagnostics);
    global.check(&mut diagnostics);
    let mut receivers = Receivers::build(&file.receivers, global, &templates, &mut diagnostics);
    let mut names: Vec<String> =
        file.receivers.iter().map(|r| r.value.name.value.clone()).collect();
    let watchdog = file.watchdog.take().map(|config| {
        let Spanned { value: config, place } = config;
        groups.extend(watchdog::rule_group(&config).map(Arc::new));
        let watchdog = Watchdog::build(&config, &names, &mut diagnostics);
        if file.route.is_none() && file.receivers.is_empty() {
            // Whoever has configured nobody reads it on the console.
            receivers = Receivers::console();
            names.push("console".to_owned());
            file.route = Some(console_route());
        }
        if let Some(route) = &mut file.route {
            route.value.routes.insert(0, watchdog::route(&config));
        }
        if let Some(notifier) = config.build(place, &global.http_config, &mut diagnostics) {
            receivers.add_watchdog(notifier, config.interval().duration());
        }
        names.push(WATCHDOG.to_owned());
        watchdog
    });
    let intervals: Vec<_> =
        file.time_intervals.iter().chain(&file.mute_time_intervals).cloned().collect();
    let intervals = mute::build_all(&intervals, &mut diagnostics);
    let world = World { receivers: &names, intervals: &intervals };
    let inhibit_rules =
        file.inhibit_rules.iter().map(|rule| rule.build(&mut diagnostics)).collect();
    let (route, receivers) = match &file.route {
        Some(route) => (route.value.build(route.place, world, &mut diagnostics), receivers),
        None => {
            if let Some(receiver) = file.receivers.first() {
                diagnostics.report_with_help(
                    receiver,
                    "there are receivers, but no `route` leads to them",
                    "add `route: {receiver: ...}`",
                );
            }
            // Whoever has configured nobody reads it on the console.
            (Route::to("console"), Receivers::console())
        }
    };
    let lanes = receivers.lanes();
    let hygiene = file.silences.build(&mut diagnostics);
    let windows = mute::build_windows(&file.maintenance, folder, &names, &mut diagnostics);
    let sources = intake::build_sources(&file.sources, folder, &mut diagnostics);
    let resolve_timeout = global.resolve_timeout.map_or(Duration::from_secs(300), Period::duration);
    let Some(mut web) = web else { return Err(diagnostics) };
    // They show who they are by themselves.
    web.open_too(sources.iter().map(|source| format!("/api/v1/in/{}", source.name)).collect());
    diagnostics.into_result(Config {
        jobs,
        groups,
        route,
        inhibit_rules,
        receivers,
        lanes,
        resolve_timeout,
        external_labels,
        web,
        hygiene,
        windows,
        sources,
        watchdog,
        shown: String::new(),
    })
}

/// The route of whoever has configured none.
fn console_route() -> Spanned<RouteConfig> {
    let receiver = Spanned { value: "console".to_owned(), place: Place::default() };
    let value = RouteConfig { receiver: Some(receiver), ..RouteConfig::default() };
    Spanned { value, place: Place::default() }
}

impl FileConfig {
    fn report_unsupported(&self, diagnostics: &mut Diagnostics) {
        for (name, section) in [
            ("alerting", &self.alerting),
            ("remote_write", &self.remote_write),
            ("remote_read", &self.remote_read),
            ("scrape_config_files", &self.scrape_config_files),
            ("storage", &self.storage),
            ("tracing", &self.tracing),
            ("otlp", &self.otlp),
        ] {
            if let Some(section) = section {
                let (what, help) = match name {
                    "alerting" => (
                        "has no use here",
                        "take the section out: alerts go to `route` without a detour",
                    ),
                    "storage" => {
                        ("has no use here", "take the section out, and say `--retention 15d`")
                    }
                    _ => ("is not supported yet", "take the section out"),
                };
                let message = format!("the section `{name}` {what}");
                diagnostics.report_with_help(Place::from(section), message, help);
            }
        }
    }
}

fn jobs(
    configs: &[ScrapeConfig],
    global: GlobalScrape,
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Vec<Arc<Job>> {
    let mut seen = HashSet::new();
    let mut jobs = Vec::new();
    for config in configs {
        let name = &config.job_name;
        if !seen.insert(name.value.clone()) {
            diagnostics.report(name, format!("there are two jobs `{}`", name.value));
        }
        jobs.extend(config.clone().build(global, folder, diagnostics).map(Arc::new));
    }
    jobs
}

/// The files that patterns name, in the order of the patterns, none twice.
fn files(
    patterns: &[Spanned<String>],
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for pattern in patterns {
        let path = relative_to(folder, &pattern.value);
        let in_folder = path.parent().and_then(Path::to_str).is_some_and(|p| p.contains('*'));
        if in_folder {
            let help = "write `*` in the last part of the path only";
            let message = format!("`{}` has `*` in the name of a folder", pattern.value);
            diagnostics.report_with_help(pattern, message, help);
            continue;
        }
        if !pattern.value.contains('*') && path.try_exists().is_ok_and(|exists| !exists) {
            let help = "a relative path begins in the folder of this file";
            let message = format!("there is no file `{}`", path.display());
            diagnostics.report_with_help(pattern, message, help);
            continue;
        }
        for path in matching(&path) {
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found
}

fn rule_groups(
    patterns: &[Spanned<String>],
    interval: Period,
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Vec<Arc<RuleGroup>> {
    let mut groups = Vec::new();
    for path in files(patterns, folder, diagnostics) {
        match read_file(&path, interval, Unknown::Refused) {
            Ok(read) => groups.extend(read.into_iter().map(Arc::new)),
            Err(faults) => diagnostics.extend(faults),
        }
    }
    groups
}

fn templates(
    patterns: &[Spanned<String>],
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Arc<Templates> {
    let mut templates = Templates::defaults();
    for path in files(patterns, folder, diagnostics) {
        let name = path.display().to_string();
        let mut own = Diagnostics::new(&name);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let faults = crate::template::Template::faults(Dialect::Notification, &name, &text);
                for fault in &faults {
                    own.report(fault.fault().place, fault.fault().message.clone());
                }
                if faults.is_empty()
                    && let Err(error) = templates.add(&name, &text)
                {
                    own.report(error.fault().place, error.fault().message.clone());
                }
            }
            Err(error) => own.report_file(format!("cannot be read: {error}")),
        }
        diagnostics.extend(own);
    }
    Arc::new(templates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_and_what_has_no_use_is_told_where_it_is_named() {
        let check = |text: &str, expected: &str| {
            let got = parse("v.yml", text, Path::new("/nowhere"), None);
            assert_eq!(got.err().map(|faults| faults.to_string()).unwrap_or_default(), expected);
        };
        check("rule_files: ['none*.yml']", "");
        check(
            "rule_files: [rules.yml]\ntemplates: [t/mail.tmpl]",
            "v.yml:1:14: there is no file `/nowhere/rules.yml`\n  \
             help: a relative path begins in the folder of this file\n\
             v.yml:2:13: there is no file `/nowhere/t/mail.tmpl`\n  \
             help: a relative path begins in the folder of this file",
        );
        check(
            "alerting: {}\notlp: {}",
            "v.yml:1:11: the section `alerting` has no use here\n  \
             help: take the section out: alerts go to `route` without a detour\n\
             v.yml:2:7: the section `otlp` is not supported yet\n  help: take the section out",
        );
    }
}
