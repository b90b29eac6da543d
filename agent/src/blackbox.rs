//! What may be looked at on request: modules, targets, and how much at a time.
//!
//! ```yaml
//! blackbox:
//!   config: /etc/veilleur/blackbox.yml
//!   targets:                                  # listed at /discovery, and allowed
//!   - {target: 'https://shop.example/', module: http_2xx, labels: {team: shop}}
//!   allow_targets: ['*.shop.example:443', 10.20.0.0/16]
//!   debug_from: [127.0.0.1]
//! ```
//!
//! Invariant: a request chooses from what is configured here, and brings nothing but a target that
//! is allowed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Spanned, nearest};
use probes::blackbox::{Module, Modules};
use probes::target::{HostPort, Place, Rules, parse_host_port, parse_url};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::check::build_labels;

/// How many looks there may be at a time, where nothing is said.
const CONCURRENCY: u32 = 128;
/// How many of them by one module: targets that hang use one up, and leave the others theirs.
const MODULE_CONCURRENCY: u32 = 64;
/// The most that can be configured.
const MAX_CONCURRENCY: u32 = 4096;

/// The section, as written.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlackboxConfig {
    /// The file of modules, in blackbox_exporter's form; `--config.blackbox` goes before it.
    config: Option<Spanned<PathBuf>>,
    /// Targets that are allowed, and listed for whoever scrapes us.
    targets: Vec<TargetConfig>,
    /// Further targets that are allowed: names, suffixes, addresses, networks.
    allow_targets: Vec<Spanned<String>>,
    /// Who may ask for `debug=true`: addresses and networks.
    debug_from: Vec<Spanned<String>>,
    /// How many looks there may be at a time; `128` where nothing is said.
    concurrency: Option<Spanned<u32>>,
    /// How many looks there may be at a time by one module; `64` where nothing is said.
    module_concurrency: Option<Spanned<u32>>,
}

/// A target, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct TargetConfig {
    /// What is looked at.
    target: Spanned<String>,
    /// How.
    module: Spanned<String>,
    /// Labels that it is listed with.
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
}

/// What may be looked at on request.
#[derive(Debug, Default)]
pub struct Blackbox {
    modules: Modules,
    /// Where a look may lead.
    pub rules: Arc<Rules>,
    /// What is listed.
    pub targets: Vec<Listed>,
    debug_from: Rules,
    turns: Option<Turns>,
}

/// A target that is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The target.
    pub target: String,
    /// The module that looks at it.
    pub module: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Turns {
    all: Arc<Semaphore>,
    of_module: BTreeMap<String, Arc<Semaphore>>,
}

/// Held during a look.
#[derive(Debug)]
pub struct Turn {
    _all: OwnedSemaphorePermit,
    _of_module: OwnedSemaphorePermit,
}

impl BlackboxConfig {
    /// What was written, with the file of modules that the command line names, where it does;
    /// reports everything that is wrong with it.
    pub fn build(self, named: Option<&Path>, diagnostics: &mut Diagnostics) -> Blackbox {
        let file = named.or(self.config.as_ref().map(|file| file.value.as_path()));
        let faults = diagnostics.faults().len();
        let modules = file.map(|file| Modules::read_file(file, diagnostics)).unwrap_or_default();
        let modules_are_whole = diagnostics.faults().len() == faults;
        let mut rules = Rules::build(&self.allow_targets, diagnostics);
        let mut targets = Vec::new();
        for TargetConfig { target, module, labels } in self.targets {
            let place = match modules.get(&module.value) {
                Some(module) => module.place_of(&target.value).ok(),
                None => address(&target.value).map(Place::Net),
            };
            match place {
                Some(place) => rules.allow(place),
                None => diagnostics.report_with_help(
                    &target,
                    format!("`{}` is not a target", target.value),
                    "write a URL for `http`, `ws://...` for `websocket`, a host for `icmp`, a path \
                     for `unix`, and `host:port` for others",
                ),
            }
            if modules_are_whole && modules.get(&module.value).is_none() {
                let message = format!("there is no module `{}`", module.value);
                match nearest(&module.value, modules.names()) {
                    Some(near) => {
                        let help = format!("did you mean `{near}`?");
                        diagnostics.report_with_help(&module, message, help);
                    }
                    None => diagnostics.report(&module, message),
                }
            }
            let labels = build_labels(labels, diagnostics);
            targets.push(Listed { target: target.value, module: module.value, labels });
        }
        let debug_from = Rules::build(&self.debug_from, diagnostics);
        let all = limit(self.concurrency.as_ref(), CONCURRENCY, diagnostics);
        let each = limit(self.module_concurrency.as_ref(), MODULE_CONCURRENCY, diagnostics);
        let each = |name: &str| (name.to_owned(), Arc::new(Semaphore::new(each)));
        let of_module = modules.names().map(each).collect();
        let turns = Some(Turns { all: Arc::new(Semaphore::new(all)), of_module });
        Blackbox { modules, rules: Arc::new(rules), targets, debug_from, turns }
    }
}

fn limit(written: Option<&Spanned<u32>>, default: u32, diagnostics: &mut Diagnostics) -> usize {
    let number = written.map_or(default, |written| written.value);
    if let Some(written) = written.filter(|_| number == 0 || number > MAX_CONCURRENCY) {
        let message = format!("between 1 and {MAX_CONCURRENCY} looks can be made at a time");
        diagnostics.report(written, message);
    }
    number as usize
}

/// Where a target leads, whatever kind of module looks at it.
fn address(target: &str) -> Option<HostPort> {
    let of_url = || parse_url(target).ok().map(|(_, at)| at);
    if target.contains("://") { of_url() } else { parse_host_port(target).ok().or_else(of_url) }
}

impl Blackbox {
    /// The module of that name.
    pub fn module(&self, name: &str) -> Option<&Module> {
        self.modules.get(name)
    }

    /// The right to look once; nothing where as many looks go on as may.
    pub fn turn(&self, module: &str) -> Option<Turn> {
        let turns = self.turns.as_ref()?;
        let of_module = Arc::clone(turns.of_module.get(module)?).try_acquire_owned().ok()?;
        let all = Arc::clone(&turns.all).try_acquire_owned().ok()?;
        Some(Turn { _all: all, _of_module: of_module })
    }

    /// Whether whoever asks from `address` may see how a look went.
    pub fn may_debug(&self, address: IpAddr) -> bool {
        let from = HostPort { host: address.to_canonical().to_string(), port: 1 };
        self.debug_from.admit_host(&from).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(text: &str) -> (Blackbox, String) {
        let mut diagnostics = Diagnostics::new("agent.yml");
        let config: BlackboxConfig = base::yaml::read(text, &mut diagnostics).unwrap_or_default();
        let blackbox = config.build(None, &mut diagnostics);
        (blackbox, diagnostics.to_string())
    }

    #[test]
    fn faults_of_both_files_are_told_with_their_places() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "modules:\n  web: {prober: htp}\n").unwrap();
        let path = file.path().display();
        let text = format!(
            "config: {path}\ntargets:\n- {{target: 'no target', module: wbe}}\n\
             allow_targets: ['a b']\nconcurrency: 0\n"
        );
        assert_eq!(
            build(&text).1,
            format!(
                "{path}:2:17: `htp` is no prober\n  help: did you mean `http`?\n\
                 agent.yml:3:12: `no target` is not a target\n  \
                 help: write a URL for `http`, `ws://...` for `websocket`, a host for `icmp`, a path \
                 for `unix`, and `host:port` for others\n\
                 agent.yml:4:17: `a b` does not say which targets are allowed\n  \
                 help: write it like `shop.example`, `*.shop.example:443`, `10.0.0.0/8` or `[::1]:80`\n\
                 agent.yml:5:14: between 1 and 4096 looks can be made at a time"
            )
        );
        std::fs::write(file.path(), "modules:\n  web: {prober: http}\n").unwrap();
        let text = format!("config: {path}\ntargets: [{{target: a.example, module: wbe}}]");
        assert!(build(&text).1.contains("there is no module `wbe`\n  help: did you mean `web`?"));
    }

    #[test]
    fn turns_are_limited_by_module_and_in_all() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "modules: {a: {prober: tcp}, b: {prober: tcp}}").unwrap();
        let path = file.path().display();
        let (blackbox, faults) =
            build(&format!("{{config: {path}, concurrency: 3, module_concurrency: 2}}"));
        assert_eq!(faults, "");
        let first = blackbox.turn("a").unwrap();
        let _second = blackbox.turn("a").unwrap();
        assert!(blackbox.turn("a").is_none());
        let _third = blackbox.turn("b").unwrap();
        assert!(blackbox.turn("b").is_none());
        drop(first);
        assert!(blackbox.turn("b").is_some() && blackbox.turn("c").is_none());
    }

    #[test]
    fn nobody_may_debug_unless_that_is_said() {
        let asks = |text: &str, from: &str| build(text).0.may_debug(from.parse().unwrap());
        assert!(!asks("{}", "127.0.0.1"));
        assert!(asks("debug_from: [127.0.0.1]", "127.0.0.1"));
        assert!(asks("debug_from: [127.0.0.1]", "::ffff:127.0.0.1"));
        assert!(asks("debug_from: [10.0.0.0/8]", "10.1.2.3"));
        assert!(!asks("debug_from: [10.0.0.0/8]", "127.0.0.1"));
    }
}
