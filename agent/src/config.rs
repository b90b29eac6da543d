//! `agent.yml`: what to look at, how often, and who may ask.
//!
//! ```yaml
//! labels: {env: prod}
//! listen: 127.0.0.1:12911
//! web: {bearer_token_files: [token]}
//! scripts: {concurrency: 8}
//! host: {disable: [netclass]}
//! checks:
//!   - name: disk
//!     interval: 1m
//!     probe:
//!       script: {command: [/usr/lib/nagios/plugins/check_disk, -w, 10%, -c, 5%, -p, /]}
//! services:
//!   shop: {needs: [disk, payments], description: The shop.}
//!   payments: {needs: ['http://bank.example:12911/health/bank']}
//! ```
//!
//! Invariant: a [`Config`] exists only where nothing was wrong with the file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::web::{Places, Web, WebConfig};
use base::yaml;
use probes::host::{Host, HostConfig};
use serde::Deserialize;

use crate::blackbox::{Blackbox, BlackboxConfig};
use crate::check::{Check, CheckConfig, build_labels};
use crate::nrpe::{Nrpe, NrpeConfig};
use crate::on_request::{OnRequestConfig, Requested};
use crate::service::{self, Service, ServiceConfig};
use crate::uplink::{Settings, UplinkConfig};

/// Where we listen where nothing is said.
pub const LISTEN: &str = "127.0.0.1:12911";

/// What may be opened to everybody: whether we live, and what we measure (S1).
const OPENABLE: &[&str] = &["/livez", "/readyz", "/metrics"];

/// The most scripts that may be configured to run at a time.
const MAX_CONCURRENCY: u32 = 4096;

/// The configuration, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Labels of everything that checks and services measure.
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
    /// The address to serve on; `127.0.0.1:12911` where nothing is said.
    #[serde(default)]
    listen: Option<Spanned<String>>,
    /// Who may ask there.
    #[serde(default)]
    web: Option<Spanned<WebConfig>>,
    /// What all scripts share.
    #[serde(default)]
    scripts: ScriptsConfig,
    /// The folder in which is kept what jobs reported.
    #[serde(default)]
    state: Option<Spanned<PathBuf>>,
    /// What `check_nrpe` is answered.
    #[serde(default)]
    nrpe: Option<Spanned<NrpeConfig>>,
    /// What is shown of the host itself.
    #[serde(default)]
    host: HostConfig,
    /// What may be looked at on request.
    #[serde(default)]
    blackbox: BlackboxConfig,
    /// What to look at.
    #[serde(default)]
    checks: Vec<CheckConfig>,
    /// What depends on it.
    #[serde(default)]
    services: BTreeMap<String, Spanned<ServiceConfig>>,
    /// Where everything is pushed to.
    #[serde(default)]
    uplink: Option<UplinkConfig>,
}

/// What all scripts share, as written.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScriptsConfig {
    /// How many scripts may run at a time.
    #[serde(default)]
    concurrency: Option<Spanned<u32>>,
    /// Scripts that are run when somebody asks, by name.
    #[serde(default)]
    on_request: BTreeMap<String, Spanned<OnRequestConfig>>,
}

/// The configuration, as meant.
#[derive(Debug)]
pub struct Config {
    /// The labels of services; those of checks have them already.
    pub labels: BTreeMap<String, String>,
    /// The address to serve on.
    pub listen: SocketAddr,
    /// Who may ask there.
    pub web: Web,
    /// How many scripts may run at a time.
    pub concurrency: usize,
    /// The folder in which is kept what jobs reported, where it is to outlive us.
    pub state: Option<PathBuf>,
    /// What `check_nrpe` is answered, where it is wanted.
    pub nrpe: Option<Nrpe>,
    /// What reads the host's own numbers, where they are wanted.
    pub host: Option<Host>,
    /// What may be looked at on request.
    pub blackbox: Blackbox,
    /// Scripts that are run when somebody asks, by name.
    pub on_request: BTreeMap<String, Requested>,
    /// The checks, in the order of the file; then those of the pages that services need.
    pub checks: Vec<Check>,
    /// The services, each behind those that it needs.
    pub services: Vec<Service>,
    /// Where everything is pushed to.
    pub uplink: Option<Settings>,
}

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A text that we bring along.
    Embedded {
        /// What people are shown as its name.
        name: &'static str,
        /// The text.
        text: String,
    },
}

impl Source {
    /// What relative paths in it are relative to.
    fn folder(&self) -> &Path {
        match self {
            Self::File(path) => path.parent().unwrap_or(Path::new(".")),
            Self::Embedded { .. } => Path::new("."),
        }
    }

    /// What people are shown as its name.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Embedded { name, .. } => (*name).to_owned(),
        }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn load(&self, terms: Terms<'_>) -> Result<Config, Diagnostics> {
        let mut diagnostics = Diagnostics::new(&self.name());
        let config: Option<AgentConfig> = match self {
            Self::File(path) => yaml::read_file(path, &mut diagnostics),
            Self::Embedded { text, .. } => yaml::read(text, &mut diagnostics),
        };
        let config = config.and_then(|config| config.build(self.folder(), terms, &mut diagnostics));
        match config {
            Some(config) => diagnostics.into_result(config),
            None => Err(diagnostics),
        }
    }
}

/// What the command line says beside the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// The address, which goes before the file's.
    pub listen: Option<&'a str>,
    /// Whether others than this host may ask, without TLS and without saying who they are.
    pub insecure_listen: bool,
    /// The file that says who may ask, in place of the section.
    pub web_file: Option<&'a Path>,
    /// The file of modules, which goes before the one that the file names.
    pub blackbox: Option<&'a Path>,
    /// Nobody listens: the checks are run once.
    pub once: bool,
}

impl AgentConfig {
    /// The configuration, reporting everything that is wrong with it; paths are relative to
    /// `folder`.
    pub fn build(
        self,
        folder: &Path,
        terms: Terms<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Config> {
        let labels = build_labels(self.labels, diagnostics);
        let places = Places { file: terms.web_file, folder: Some(folder), openable: OPENABLE };
        let web = if terms.once {
            // Keys may not be readable for whoever runs checks by hand.
            Web::read(Places::default(), None, diagnostics)
        } else {
            Web::read(places, self.web, diagnostics)
        };
        let listen = listen(self.listen.as_ref(), terms, web.as_ref(), diagnostics);
        let concurrency = concurrency(self.scripts.concurrency.as_ref(), diagnostics);
        // Nobody listens where checks are run once.
        let nrpe = self.nrpe.filter(|_| !terms.once);
        let nrpe =
            nrpe.and_then(|nrpe| nrpe.value.build(folder, terms.insecure_listen, diagnostics));
        let wanted = self.host.enabled;
        // Built in any case, so that what is wrong is told before it is switched on.
        let host = Some(self.host.build(diagnostics)).filter(|_| wanted);
        let blackbox = self.blackbox.build(terms.blackbox, diagnostics);
        let on_request = self.scripts.on_request.into_iter();
        let on_request = on_request
            .map(|(name, script)| (name, script.value.build(script.place, diagnostics)))
            .collect();
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        for check in &self.checks {
            if let Some(first) = places.insert(check.name.value.clone(), check.name.place) {
                let message = format!("a check `{}` exists already", check.name.value);
                let help = format!("the first is in line {}; names are unique", first.line);
                diagnostics.report_with_help(&check.name, message, help);
            }
        }
        if let Some(state) = self.state.as_ref().filter(|state| !state.value.is_dir()) {
            let message = format!("`{}` is not a folder", state.value.display());
            let help = "create it, owned by the user that the agent runs as";
            diagnostics.report_with_help(state, message, help);
        }
        let mut names: BTreeSet<String> = places.into_keys().collect();
        let pages = service::pages(&self.services, &names);
        names.extend(pages.iter().map(|page| page.value.clone()));
        let services = service::build(self.services, &names, diagnostics);
        let checks = self.checks.into_iter().chain(pages.iter().map(CheckConfig::of_page));
        let checks = checks.filter_map(|check| check.build(&labels, diagnostics));
        let checks: Vec<_> = checks.collect();
        check_ids(&checks, diagnostics);
        let state = self.state.map(|state| state.value);
        let node = rustix::system::uname();
        let node = node.nodename().to_string_lossy();
        let uplink = self.uplink.filter(|_| !terms.once);
        let uplink = uplink.and_then(|uplink| uplink.build(&node, diagnostics));
        Some(Config {
            labels,
            listen: listen?,
            web: web?,
            concurrency,
            nrpe,
            state,
            host,
            blackbox,
            on_request,
            checks,
            services,
            uplink,
        })
    }
}

/// Reports jobs that could not be told from one another.
fn check_ids(checks: &[Check], diagnostics: &mut Diagnostics) {
    let mut ids: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for check in checks {
        let heartbeat = check.heartbeat().map(|heartbeat| ("id", heartbeat.id.as_str()));
        let Some(key) = heartbeat.or(check.push().map(|push| ("job", push.job.as_str()))) else {
            continue;
        };
        if let Some(first) = ids.insert(key, &check.name) {
            let ((what, id), name) = (key, &check.name);
            let message = format!("the checks `{first}` and `{name}` have the same {what}, `{id}`");
            diagnostics.report_file(message);
        }
    }
}

fn listen(
    written: Option<&Spanned<String>>,
    terms: Terms<'_>,
    web: Option<&Web>,
    diagnostics: &mut Diagnostics,
) -> Option<SocketAddr> {
    let text = terms.listen.or(written.map(|listen| listen.value.as_str())).unwrap_or(LISTEN);
    let mut report = |message: String, help: &str| match (terms.listen, written) {
        (None, Some(written)) => diagnostics.report_with_help(written, message, help),
        _ => diagnostics.report_file(format!("--listen: {message}; {help}")),
    };
    let Ok(address) = text.parse::<SocketAddr>() else {
        let help = "write it like `127.0.0.1:12911` or `[::1]:12911`";
        report(format!("`{text}` is not an address to listen on"), help);
        return None;
    };
    if terms.insecure_listen || terms.once {
        return Some(address);
    }
    // What is wrong with `web` was told already.
    if let Some((message, help)) = web.and_then(|web| web.refuses(address)) {
        report(message, help);
        return None;
    }
    Some(address)
}

/// Eight times the number of processors, and at least 32: most scripts wait, and as many as usually
/// hang together, because all of them ask the same server, must leave slots for the others.
fn concurrency(written: Option<&Spanned<u32>>, diagnostics: &mut Diagnostics) -> usize {
    let Some(written) = written else {
        return (8 * std::thread::available_parallelism().map_or(2, usize::from)).max(32);
    };
    if written.value == 0 || written.value > MAX_CONCURRENCY {
        let message = format!("between 1 and {MAX_CONCURRENCY} scripts can run at a time");
        diagnostics.report(written, message);
    }
    written.value as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, terms: Terms<'_>) -> Result<Config, String> {
        let source = Source::Embedded { name: "agent.yml", text: text.to_owned() };
        source.load(terms).map_err(|diagnostics| diagnostics.to_string())
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got =
            load(text, Terms::default()).map(|_| String::new()).unwrap_or_else(|faults| faults);
        assert_eq!(got, expected, "{text}");
    }

    const PROBE: &str = "probe: {tcp: {address: 'x:1'}}";

    #[test]
    fn what_is_not_said_has_a_sensible_value() {
        let text = format!(
            "checks: [{{name: a, interval: 5s, {PROBE}}}, {{name: b, cron: '0 6 * * *', {PROBE}}}]"
        );
        let config = load(&text, Terms::default()).unwrap();
        assert_eq!(config.listen.to_string(), LISTEN);
        let [a, b] = &config.checks[..] else { panic!("{config:?}") };
        assert_eq!((a.timeout.as_secs(), a.max_attempts, a.retry_interval.as_secs()), (5, 3, 5));
        assert_eq!(
            (b.timeout.as_secs(), b.retry_interval.as_secs(), b.takes_slot),
            (10, 30, false)
        );
        let empty = load("", Terms::default()).unwrap();
        assert!(empty.checks.is_empty() && empty.host.is_some());
        assert!(load("host: {enabled: false}", Terms::default()).unwrap().host.is_none());
    }

    #[test]
    fn labels_of_the_agent_are_those_of_its_checks() {
        let text = format!(
            "labels: {{env: prod, team: a}}\nchecks: [{{name: a, interval: 5s, labels: {{team: b}}, {PROBE}}}]"
        );
        let labels = &load(&text, Terms::default()).unwrap().checks[0].labels;
        assert_eq!(format!("{labels:?}"), r#"{"env": "prod", "team": "b"}"#);
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        check(
            "labels: {check: x, a-b: y}\nscripts: {concurrency: 0}\nlisten: here\nchecks:\n\
             - {name: a, interval: 5s, timeout: 6s, probe: {tcp: {address: x}}}\n\
             - {name: a, cron: '* * *', timezone: Mars, probe: {tcp: {address: 'x:1'}}}\n\
             - {name: '', interval: 0s, retry_interval: 0s, probe: {http: {url: 'x:1'}}}\n\
             - {name: c, probe: {script: {command: [/no/such]}}}\n\
             - {name: d, interval: 1s, cron: '* * * * *', timeout: 0s, probe: {tcp: {address: 'x:1'}}}\n\
             - {name: e, interval: 1s, timezone: UTC, probe: {tcp: {address: 'x:1'}}}\n\
             services:\n  s/t: {needs: [c, c, dd, zzz]}\n  u: {needs: []}\n",
            "agent.yml:1:17: the label `check` is not yours to set\n\
             agent.yml:1:25: `a-b` is not a label name\n  help: use letters, digits and underscores\n\
             agent.yml:2:24: between 1 and 4096 scripts can run at a time\n\
             agent.yml:3:9: `here` is not an address to listen on\n  \
             help: write it like `127.0.0.1:12911` or `[::1]:12911`\n\
             agent.yml:5:36: 6s is longer than the interval, 5s\n  \
             help: shorten `timeout`, or make `interval` longer\n\
             agent.yml:5:63: `x` has no port\n  help: write it like `db.example:5432`\n\
             agent.yml:6:10: a check `a` exists already\n  \
             help: the first is in line 5; names are unique\n\
             agent.yml:6:38: `Mars` is not a time zone\n  \
             help: write a name of the IANA list, such as `Europe/Paris`\n\
             agent.yml:7:10: a name has between 1 and 128 characters that can be seen\n\
             agent.yml:7:24: an interval cannot be 0\n\
             agent.yml:7:44: a retry interval cannot be 0\n\
             agent.yml:7:68: `x:1` is not an http or https URL\n\
             agent.yml:8:10: neither `interval` nor `cron` says when the check runs\n  \
             help: add `interval: 30s`\n\
             agent.yml:8:40: `/no/such` does not exist\n\
             agent.yml:9:33: either `interval` or `cron` says when the check runs, not both\n\
             agent.yml:9:55: a timeout cannot be 0\n\
             agent.yml:10:37: a time zone means nothing without `cron`\n\
             agent.yml:12:16: `s/t` cannot name a service\n  \
             help: it is a part of a URL: use letters, digits, `-`, `_` and `.`\n\
             agent.yml:12:20: `c` is needed twice\n\
             agent.yml:12:23: there is no check or service `dd`\n  help: did you mean `d`?\n\
             agent.yml:12:27: there is no check or service `zzz`\n\
             agent.yml:13:14: the service `u` needs nothing",
        );
    }

    #[test]
    fn services_stand_on_services_and_pages_and_never_on_themselves() {
        let services = |text: &str| {
            let own = format!("{{name: own, interval: 5s, {PROBE}}}");
            format!("checks: [{{name: db, interval: 5s, {PROBE}}}, {own}]\nservices:\n{text}")
        };
        let config = load(
            &services(
                "  a: {needs: [b, db]}\n  b: {needs: [db, 'http://h:1/health/x']}\n  \
                 c: {needs: ['http://h:1/health/x']}\n  own: {needs: [own]}\n",
            ),
            Terms::default(),
        )
        .unwrap();
        let names: Vec<_> = config.services.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "c", "own"]);
        let checks: Vec<_> = config.checks.iter().map(|c| c.name.as_ref()).collect();
        assert_eq!(checks, ["db", "own", "http://h:1/health/x"]);
        assert!(format!("{:?}", config.checks[2]).contains("HealthProbe"));
        check(
            &services(
                "  a: {needs: [b]}\n  b: {needs: [db, c]}\n  c: {needs: [a]}\n  d: {needs: [d]}\n",
            ),
            "agent.yml:5:15: `a` needs itself: a → b → c → a\n  \
             help: take one of these needs out: a circle has no first cause\n\
             agent.yml:6:15: `d` needs itself: d → d\n  \
             help: take one of these needs out: a circle has no first cause",
        );
        check(
            &services(
                "  a: {needs: [db]}\n  db: {needs: [db]}\n  c: {needs: ['http://u@h/', bd]}\n",
            ),
            "agent.yml:3:15: `db` is a check and a service\n  help: give one of them another name\n\
             agent.yml:5:15: a URL cannot hold a user name; use basic_auth\n\
             agent.yml:5:30: there is no check or service `bd`\n  help: did you mean `db`?",
        );
    }

    #[test]
    fn others_cannot_ask_unless_that_is_accepted_s1() {
        let with = |text: &str, terms| load(text, terms).map(|config| config.listen.to_string());
        let given = |listen, insecure_listen| Terms {
            listen: Some(listen),
            insecure_listen,
            ..Terms::default()
        };
        check(
            "listen: 0.0.0.0:12911",
            "agent.yml:1:9: others could reach `0.0.0.0:12911` without TLS and without a password\n  \
             help: set `tls_server_config` and `basic_auth_users` under `web:` or in \
             `--web.config.file`, listen on `127.0.0.1`, or accept it with `--insecure-listen`",
        );
        assert!(
            with("", given("192.0.2.1:1", false))
                .unwrap_err()
                .contains("--listen: others could reach `192.0.2.1:1` without TLS")
        );
        assert_eq!(with("", given("192.0.2.1:1", true)).unwrap(), "192.0.2.1:1");
        assert_eq!(with("listen: 0.0.0.0:1", given("[::1]:2", false)).unwrap(), "[::1]:2");
        assert_eq!(with("", given("[::ffff:127.0.0.1]:2", false)).unwrap(), "[::ffff:127.0.0.1]:2");
    }
}
