//! `veilleur.yml`: the sections of `prometheus.yml` and `alertmanager.yml` in one file, under their
//! own names.
//!
//! Each section belongs to its stage, which says what it may hold; here they are put together, and
//! checked for what they refer to in each other.
//!
//! Invariant: what [`read`] gives is complete and without fault; nothing is started or replaced
//! before all of it is there.

mod global;
pub mod prometheus;
mod sections;
mod named;
mod receivers;
mod shown;
mod fallbacks;
mod watchdog;

pub use receivers::{ReceiverConfig, Receivers};
pub use shown::ShownConfig;
pub use watchdog::{WATCHDOG, Watchdog};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::web::{Places, Web, WebConfig};
use base::labels::Labels;
use base::period::Period;
use global::GlobalConfig;
use prometheus::{
    AlertingConfig, Keeping, List, RemoteReadConfig, RuntimeConfig, StorageConfig, TracingConfig,
};
use serde::Deserialize;

use crate::agents::AgentsConfig;
use crate::discovery::{is_foreign, matching, relative_to};
use crate::dispatch::{Lanes, Route, RouteConfig, World};
use crate::hygiene::{Hygiene, SilencesConfig};
use crate::intake::{self, Source, SourceConfig};
use crate::mute::{
    self, InhibitRule, InhibitRuleConfig, MaintenanceConfig, TimeIntervalConfig, Window,
};
use crate::notify::WatchdogConfig;
use crate::otlp::{self, OtlpConfig};
use crate::remote_store::RemoteStore;
use crate::remote_write::{self, RemoteWriteConfig};
use crate::rules::{
    BuiltinConfig, OnMissing, RuleGroup, SloConfig, Unknown, builtin_group, read_file, slo_groups,
};
use crate::scrape::{Job, ScrapeConfig};
use crate::template::{Dialect, Templates};

/// The configuration of whoever has written none: scrapes the agent on this host and prints.
pub const DEFAULT: &str = include_str!("config/default.yml");

/// The file, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileConfig {
    global: GlobalConfig,
    scrape_configs: List<ScrapeConfig>,
    scrape_config_files: Vec<Spanned<String>>,
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
    otlp: OtlpConfig,
    agents: AgentsConfig,
    remote_write: List<RemoteWriteConfig>,
    // What Prometheus does with them we do not; told by name, so that nobody believes it happens.
    alerting: Option<Spanned<AlertingConfig>>,
    remote_read: Option<Spanned<List<RemoteReadConfig>>>,
    storage: Option<Spanned<StorageConfig>>,
    tracing: Option<Spanned<TracingConfig>>,
    runtime: Option<Spanned<RuntimeConfig>>,
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// Ours: what is not done here is a fault.
    #[default]
    Own,
    /// Prometheus's, taken as it is: what is not done here is told in a note.
    Prometheus,
    /// Prometheus's in agent mode, which neither judges nor alerts.
    PrometheusAgent,
}

/// Whether the files that a configuration names have to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Files {
    /// They are read, now or when they are used.
    #[default]
    Needed,
    /// It is only looked at, on another host perhaps.
    Spared,
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
    /// What becomes of alerts whose data are missing, where it is said.
    pub on_missing: Option<OnMissing>,
    /// Which other stores get our samples.
    pub remotes: Vec<Arc<remote_write::Settings>>,
    /// The store that is asked in place of ours.
    pub store: Option<Arc<RemoteStore>>,
    /// Who may ask us.
    pub web: Web,
    /// How silences are kept in order.
    pub hygiene: Hygiene,
    /// Windows of maintenance.
    pub windows: Vec<Arc<Window>>,
    /// Who may tell us something in their own words.
    pub sources: Vec<Arc<Source>>,
    /// How long an agent that pushes is missed before it counts as removed.
    pub forget_agents_after: Duration,
    /// What tells somebody outside that we are well.
    pub watchdog: Option<Watchdog>,
    /// How samples are made of what OpenTelemetry pushes.
    pub otlp: Arc<otlp::Options>,
    /// How samples are kept, as far as it is said here; it counts from a start on.
    pub keeping: Keeping,
    /// What others are shown of it.
    pub shown: ShownConfig,
    /// What is right and worth knowing, or asked for in a file of others and not done here, each with
    /// its place.
    pub notes: Vec<String>,
    /// Files with secrets that are not there, each with the place that names it.
    pub missing: Vec<String>,
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
    let origin = (text, Reading::Own);
    let config = build(file, origin, folder, web_file, diagnostics)?;
    Ok(Config { shown: ShownConfig::of(text), ..config })
}

/// The configuration in the file at `path`.
///
/// # Errors
///
/// As [`parse`]; the file cannot be read.
pub fn read(path: &Path, web_file: Option<&Path>) -> Result<Config, Diagnostics> {
    read_as(Reading::Own, path, web_file, Files::Needed)
}

/// As [`read`], of a file that is `reading`'s, and whose `files` are needed or not.
///
/// # Errors
///
/// As [`read`].
pub fn read_as(
    reading: Reading,
    path: &Path,
    web_file: Option<&Path>,
    files: Files,
) -> Result<Config, Diagnostics> {
    let mut diagnostics = Diagnostics::new(&path.display().to_string());
    if files == Files::Spared {
        diagnostics = diagnostics.sparing_files();
    }
    let file = base::yaml::read_file(path, &mut diagnostics);
    let folder = path.parent().unwrap_or(Path::new("."));
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let config = build(file, (&text, reading), folder, web_file, diagnostics)?;
    Ok(Config { shown: ShownConfig::of(&text), ..config })
}

fn build(
    file: Option<FileConfig>,
    (text, reading): (&str, Reading),
    folder: &Path,
    web_file: Option<&Path>,
    mut diagnostics: Diagnostics,
) -> Result<Config, Diagnostics> {
    let Some(mut file) = file else { return Err(diagnostics) };
    let places = Places { file: web_file, folder: Some(folder), openable: OPENABLE };
    let web = Web::read(places, file.web.take(), &mut diagnostics);
    let mut notes = file.others(reading, folder, &mut diagnostics);
    let keeping = file.keeping(reading, &mut notes, &mut diagnostics);
    let global = &file.global;
    let default_interval = Period::from_secs(60);
    let scrape = global.scrape(default_interval, &mut diagnostics);
    let evaluation = global.evaluation_interval.map_or(default_interval, |period| period.value);
    for (name, period) in [
        ("scrape_interval", &global.scrape_interval),
        ("evaluation_interval", &global.evaluation_interval),
    ] {
        if let Some(period) = period.as_ref().filter(|period| period.value.is_zero()) {
            diagnostics.report(period, format!("`{name}` cannot be zero"));
        }
    }
    let external_labels = global.external_labels(reading, &mut diagnostics);
    let on_missing = global.on_missing;
    let store = file.store(folder, &mut diagnostics);
    let remotes = file.remotes((reading, folder), &external_labels, &mut notes, &mut diagnostics);

    let job_files = match reading {
        Reading::Own => file.scrape_config_files.clone(),
        _ => there(&file.scrape_config_files, folder, &diagnostics, &mut notes),
    };
    let found = (&file.scrape_configs, job_files.as_slice());
    let jobs = sections::jobs(found, &scrape, folder, &mut diagnostics);
    let mut groups: Vec<Arc<RuleGroup>> = Vec::new();
    groups.extend(builtin_group(&file.builtin_rules, evaluation, &mut diagnostics).map(Arc::new));
    groups.extend(slo_groups(&file.slos, evaluation, &mut diagnostics).into_iter().map(Arc::new));
    let rule_files = match reading {
        Reading::Own => file.rule_files.clone(),
        _ => there(&file.rule_files, folder, &diagnostics, &mut notes),
    };
    let as_global = (evaluation, global.rule_query_offset);
    groups.extend(rule_groups(&rule_files, as_global, folder, &mut diagnostics));
    let templates = templates(&file.templates, folder, &mut diagnostics);
    global.check(&mut diagnostics);
    let named = file.route.as_ref().map(|route| named::labels(&route.value)).unwrap_or_default();
    let aims = (named, file.is_of_alertmanager());
    let mut receivers =
        Receivers::build(&file.receivers, global, &templates, aims, &mut diagnostics);
    let mut names: Vec<String> =
        file.receivers.iter().map(|r| r.value.name.value.clone()).collect();
    if diagnostics.is_partial_in("receivers")
        && let Some(written) = named::receivers(text)
    {
        // Who is wrong otherwise is there all the same: routes to others lead nowhere.
        diagnostics.set_named("receivers");
        names.extend(written);
    }
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
    let otlp = Arc::new(file.otlp.build(&mut diagnostics));
    let forget_agents_after = file.agents.forget_after();
    let resolve_timeout = global.resolve_timeout.map_or(Duration::from_secs(300), Period::duration);
    if reading != Reading::Own {
        // Its other jobs, and other targets of the same job, are no worse for it.
        diagnostics.retain(|fault| {
            if !is_foreign(fault) {
                return true;
            }
            let place = fault.place().map_or_else(String::new, |place| format!("{place}:"));
            notes.push(format!("{}:{place} {}", fault.file(), fault.message()));
            false
        });
    }
    notes.extend(diagnostics.notes());
    let missing = diagnostics.missing();
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
        on_missing,
        remotes,
        store,
        web,
        hygiene,
        windows,
        sources,
        forget_agents_after,
        watchdog,
        otlp,
        keeping,
        shown: ShownConfig::default(),
        notes,
        missing,
    })
}

/// The route of whoever has configured none.
fn console_route() -> Spanned<RouteConfig> {
    let receiver = Spanned { value: "console".to_owned(), place: Place::default() };
    let value = RouteConfig { receiver: Some(receiver), ..RouteConfig::default() };
    Spanned { value, place: Place::default() }
}

/// Those of `patterns` that name a file, or could: Prometheus asks for none of them to be there.
fn there(
    patterns: &[Spanned<String>],
    folder: &Path,
    diagnostics: &Diagnostics,
    notes: &mut Vec<String>,
) -> Vec<Spanned<String>> {
    let mut found = Vec::new();
    for pattern in patterns {
        let path = relative_to(folder, &pattern.value);
        if pattern.value.contains('*') || path.exists() {
            found.push(pattern.clone());
        } else {
            let (file, place) = (diagnostics.file(), pattern.place);
            notes.push(format!("{file}:{place}: there is no file `{}`", path.display()));
        }
    }
    found
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
            if diagnostics.spares_files() {
                continue;
            }
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
    (interval, offset): (Period, Option<Period>),
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Vec<Arc<RuleGroup>> {
    let mut groups = Vec::new();
    for path in files(patterns, folder, diagnostics) {
        match read_file(&path, interval, Unknown::Refused) {
            Ok(read) => {
                groups.extend(read.into_iter().map(|group| Arc::new(group.looking_back(offset))));
            }
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
            "alerting: {}\ntracing: {endpoint: h}",
            "v.yml:1:11: the section `alerting` has no use here\n  \
             help: take the section out: alerts go to `route` without a detour",
        );
    }
}
