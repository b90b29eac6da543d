//! Scripts that are run when somebody asks, with the parameters that are declared for them.
//!
//! ```yaml
//! scripts:
//!   on_request:
//!     ping:
//!       script: {command: [/usr/local/bin/ping-host], output: {metrics: {prefix: ping_}}}
//!       timeout: 5s
//!       params:
//!       - {name: host, type: hostname}
//!       - {name: count, type: int, min: 1, max: 10, default: '3'}
//!       - {name: mode, type: enum, values: [fast, thorough], default: fast}
//!       - {name: ticket, type: regex, pattern: '[A-Z]+-[0-9]+', default: NONE-0}
//!       pass: arguments        # after `--`, in this order; `environment` is the default: PROBE_ARG_HOST
//! ```
//!
//! Invariant: no byte of a request reaches a script but a value that its declared type admits; no
//! value begins with `-`, has a control character, or is over [`MAX_VALUE`] bytes (S3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::period::Period;
use base::supervisor::Supervisor;
use probes::script::{ScriptConfig, ScriptProbe};
use probes::target::is_host;
use regex::Regex;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest value.
pub const MAX_VALUE: usize = 256;
/// How many scripts run on request at a time, in all: those of checks have slots of their own.
const CONCURRENCY: usize = 16;
/// How often one script runs on request at a time, where nothing is said.
const SCRIPT_CONCURRENCY: u32 = 2;

/// A script, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnRequestConfig {
    /// What is run.
    script: ScriptConfig,
    /// The longest a run may take; `10s` where nothing is said.
    #[serde(default)]
    timeout: Option<Spanned<Period>>,
    /// What a request may say.
    #[serde(default)]
    params: Vec<ParamConfig>,
    /// How the script gets it; `environment` where nothing is said.
    #[serde(default)]
    pass: Pass,
    /// How many runs there may be at a time; `2` where nothing is said.
    #[serde(default)]
    concurrency: Option<Spanned<u32>>,
}

/// How a script gets its parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Pass {
    /// Each as `PROBE_ARG_` with its name in capitals.
    #[default]
    Environment,
    /// All of them after `--`, in the order of their declaration.
    Arguments,
}

/// A parameter, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ParamConfig {
    /// Its name in a request.
    name: Spanned<String>,
    /// What it may be.
    #[serde(rename = "type")]
    kind: Spanned<String>,
    /// The values that it may have, of an `enum`.
    #[serde(default)]
    values: Vec<String>,
    /// The expression that the whole value matches, of a `pattern`.
    #[serde(default)]
    pattern: Option<Spanned<String>>,
    /// The smallest, of a number.
    #[serde(default)]
    min: Option<i64>,
    /// The largest, of a number.
    #[serde(default)]
    max: Option<i64>,
    /// What it is where a request does not say; without one it must.
    #[serde(default)]
    default: Option<Spanned<String>>,
}

/// A parameter.
#[derive(Debug)]
struct Param {
    name: String,
    kind: Kind,
    default: Option<String>,
}

#[derive(Debug)]
enum Kind {
    Int { min: i64, max: i64 },
    Enum(Vec<String>),
    Hostname,
    Regex(Regex),
}

/// A script that may be asked for.
#[derive(Debug)]
pub struct Requested {
    /// The longest a run may take.
    pub timeout: Duration,
    probe: ScriptProbe,
    params: Vec<Param>,
    pass: Pass,
    turns: Arc<Semaphore>,
}

/// Why a script is not run. It does not repeat what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadParam {
    /// It is not declared.
    #[error("a parameter is not declared for this script")]
    Unknown,
    /// It is declared without a default, and was not given.
    #[error("the parameter `{0}` is missing")]
    Missing(String),
    /// Its type does not admit the value.
    #[error("the value of `{0}` is not one that its declaration admits")]
    Value(String),
}

impl OnRequestConfig {
    /// The script, reporting everything that is wrong with it.
    pub fn build(self, place: Place, diagnostics: &mut Diagnostics) -> Requested {
        let probe = self.script.build(diagnostics);
        let mut names = BTreeSet::new();
        let mut params = Vec::new();
        for param in self.params {
            if !names.insert(param.name.value.clone()) {
                let message = format!("`{}` is declared twice", param.name.value);
                diagnostics.report(&param.name, message);
            }
            params.extend(param.build(diagnostics));
        }
        let timeout = self.timeout.map_or(Duration::from_secs(10), |t| t.value.duration());
        if let Some(written) = self.timeout.filter(|t| t.value.is_zero()) {
            diagnostics.report(&written, "a timeout cannot be 0");
        }
        let turns = self.concurrency.as_ref().map_or(SCRIPT_CONCURRENCY, |c| c.value);
        if turns == 0 || turns as usize > CONCURRENCY {
            let place = self.concurrency.map_or(place, |c| c.place);
            diagnostics.report(place, format!("between 1 and {CONCURRENCY} can run at a time"));
        }
        let turns = Arc::new(Semaphore::new(turns as usize));
        Requested { timeout, probe, params, pass: self.pass, turns }
    }
}

impl ParamConfig {
    fn build(self, diagnostics: &mut Diagnostics) -> Option<Param> {
        let name = &self.name.value;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain);
        if !is_name || name.len() > 64 || RESERVED.contains(&name.as_str()) {
            let help = "use lower-case letters, digits and underscores; `script`, `params` and \
                        `debug` have a meaning of their own";
            let message = format!("`{name}` cannot name a parameter");
            diagnostics.report_with_help(&self.name, message, help);
        }
        let kind = match self.kind.value.as_str() {
            "int" => {
                let (min, max) = (self.min.unwrap_or(0), self.max.unwrap_or(i64::MAX));
                if min < 0 || min > max {
                    let message = format!("no number is between {min} and {max}, and 0 or more");
                    diagnostics.report(&self.kind, message);
                }
                Kind::Int { min, max }
            }
            "enum" => {
                if self.values.is_empty() {
                    diagnostics.report(&self.kind, "an `enum` needs `values`");
                }
                Kind::Enum(self.values)
            }
            "hostname" => Kind::Hostname,
            "regex" => {
                let Some(pattern) = &self.pattern else {
                    diagnostics.report(&self.kind, "a `regex` needs a `pattern`");
                    return None;
                };
                // The whole value, in whatever way the pattern itself is anchored.
                match Regex::new(&format!(r"\A(?:{})\z", pattern.value)) {
                    Ok(regex) => Kind::Regex(regex),
                    Err(_) => {
                        let message = format!("`{}` is not a regular expression", pattern.value);
                        diagnostics.report(pattern, message);
                        return None;
                    }
                }
            }
            other => {
                let help = "`int`, `enum`, `hostname` and `regex` are";
                let message = format!("`{other}` is not a type of parameter");
                diagnostics.report_with_help(&self.kind, message, help);
                return None;
            }
        };
        let param = Param { name: self.name.value, kind, default: None };
        if let Some(default) = &self.default
            && !param.admits(&default.value)
        {
            diagnostics.report(default, "the declaration does not admit its own default");
        }
        Some(Param { default: self.default.map(|default| default.value), ..param })
    }
}

/// Parameters of a request that are not a script's.
const RESERVED: [&str; 3] = ["script", "params", "debug"];

impl Param {
    fn admits(&self, value: &str) -> bool {
        let is_plain = !value.is_empty()
            && value.len() <= MAX_VALUE
            && !value.starts_with('-')
            && !value.contains(char::is_control);
        is_plain
            && match &self.kind {
                // As digits and nothing else: no sign, no blank.
                Kind::Int { min, max } => {
                    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    digits && value.parse().is_ok_and(|number| (*min..=*max).contains(&number))
                }
                Kind::Enum(values) => values.iter().any(|known| known == value),
                Kind::Hostname => is_host(value),
                Kind::Regex(regex) => regex.is_match(value),
            }
    }
}

impl Requested {
    /// The script as `asked` for, with further `variables`.
    ///
    /// `params`, a list of names as script_exporter wants it, is read and changes nothing.
    ///
    /// # Errors
    ///
    /// [`BadParam`]; nothing was run then.
    pub fn aim(
        &self,
        asked: &BTreeMap<String, String>,
        mut variables: Vec<(String, String)>,
    ) -> Result<ScriptProbe, BadParam> {
        let is_declared = |name: &str| self.params.iter().any(|param| param.name == name);
        let listed = asked.get("params").into_iter().flat_map(|list| list.split(','));
        let listed = listed.filter(|name| !name.is_empty());
        let given =
            asked.keys().map(String::as_str).filter(|name| !["script", "params"].contains(name));
        if given.chain(listed).any(|name| !is_declared(name)) {
            return Err(BadParam::Unknown);
        }
        let mut arguments = Vec::new();
        for param in &self.params {
            let value = asked.get(&param.name).or(param.default.as_ref());
            let value = value.ok_or_else(|| BadParam::Missing(param.name.clone()))?;
            if !param.admits(value) {
                return Err(BadParam::Value(param.name.clone()));
            }
            match self.pass {
                Pass::Environment => {
                    let name = format!("PROBE_ARG_{}", param.name.to_ascii_uppercase());
                    variables.push((name, value.clone()));
                }
                Pass::Arguments => arguments.push(value.clone()),
            }
        }
        if !arguments.is_empty() {
            arguments.insert(0, "--".to_owned());
        }
        self.probe.with(&arguments, &variables).ok_or(BadParam::Unknown)
    }

    /// Whether it can be asked for without saying anything.
    pub fn needs_nothing(&self) -> bool {
        self.params.iter().all(|param| param.default.is_some())
    }
}

/// The scripts that may be asked for, and where they run.
#[derive(Debug, Default)]
pub struct OnRequest {
    /// By their names.
    pub scripts: BTreeMap<String, Requested>,
    /// Where runs live: one that nobody waits for any more is seen through to its end.
    pub scope: Option<Supervisor>,
    turns: Option<Arc<Semaphore>>,
}

impl OnRequest {
    /// `scripts`, which run in `scope`.
    pub fn new(scripts: BTreeMap<String, Requested>, scope: Supervisor) -> Self {
        let turns = Some(Arc::new(Semaphore::new(CONCURRENCY)));
        Self { scripts, scope: Some(scope), turns }
    }

    /// The right to run `script` once; nothing where as many runs go on as may.
    pub fn turn(&self, script: &Requested) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = Arc::clone(&script.turns).try_acquire_owned().ok()?;
        let all = Arc::clone(self.turns.as_ref()?).try_acquire_owned().ok()?;
        Some([own, all])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(params: &str) -> (Requested, String) {
        let mut diagnostics = Diagnostics::new("agent.yml");
        let text = format!("script: {{command: [/bin/true]}}\nparams: {params}\n");
        let config: OnRequestConfig = base::yaml::read(&text, &mut diagnostics).unwrap();
        let requested = config.build(Place::default(), &mut diagnostics);
        (requested, diagnostics.to_string())
    }

    #[track_caller]
    fn check(param: &str, value: &str, admitted: bool) {
        let (requested, faults) = build(&format!("[{{name: p, {param}}}]"));
        assert_eq!(faults, "", "{param}");
        let asked = BTreeMap::from([("p".to_owned(), value.to_owned())]);
        let got = requested.aim(&asked, Vec::new()).map(|_| ());
        let expected = if admitted { Ok(()) } else { Err(BadParam::Value("p".to_owned())) };
        assert_eq!(got, expected, "{param} {value:?}");
    }

    #[test]
    fn a_value_is_of_its_declared_type_x08() {
        check("type: int, min: 1, max: 10", "10", true);
        for bad in ["0", "11", "+1", "1 ", "1e1", "-1", "0x1", "", "99999999999999999999"] {
            check("type: int, min: 1, max: 10", bad, false);
        }
        check("type: enum, values: [a, 'b c']", "b c", true);
        check("type: enum, values: [a, 'b c']", "A", false);
        check("type: hostname", "db-1.shop.example", true);
        check("type: hostname", "2001:db8::1", true);
        for bad in ["a b", "a;b", "$(id)", "`id`", "-oProxyCommand=x", "--", "a/b", "ü.example"] {
            check("type: hostname", bad, false);
        }
        check("type: regex, pattern: '[a-z]+|x'", "abc", true);
        for bad in ["abc1", "abc\n", "abc\nx", "x\u{0}", "", "-abc"] {
            check("type: regex, pattern: '[a-z]+|x'", bad, false);
        }
        check("type: regex, pattern: '(?m)^a$'", "a\nb", false);
        check("type: regex, pattern: '.*'", "-rf", false);
        check("type: regex, pattern: '.*'", &"a".repeat(256), true);
        check("type: regex, pattern: '.*'", &"a".repeat(257), false);
    }

    #[test]
    fn only_what_is_declared_may_be_given_x09() {
        let (requested, _) = build("[{name: host, type: hostname, default: a.example}]");
        let aim = |pairs: &[(&str, &str)]| {
            let asked = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            requested.aim(&asked, Vec::new()).map(|_| ())
        };
        assert_eq!(aim(&[]), Ok(()));
        assert_eq!(aim(&[("script", "x"), ("params", "host"), ("host", "b.example")]), Ok(()));
        for name in
            ["LD_PRELOAD", "params[LD_PRELOAD]", "PATH", "BASH_ENV", "IFS", "PYTHONPATH", "HOST"]
        {
            assert_eq!(aim(&[(name, "x")]), Err(BadParam::Unknown), "{name}");
            assert_eq!(aim(&[("params", name)]), Err(BadParam::Unknown), "{name}");
        }
        let (requested, _) = build("[{name: host, type: hostname}]");
        let missing = requested.aim(&BTreeMap::new(), Vec::new()).map(|_| ());
        assert_eq!(missing, Err(BadParam::Missing("host".to_owned())));
        assert!(!requested.needs_nothing());
    }

    #[test]
    fn faults_of_a_declaration_are_told_with_their_places() {
        let check = |param: &str, expected: &str| {
            let faults = build(&format!("[{{{param}}}]")).1;
            assert!(faults.contains(expected), "{param}: {faults}");
        };
        check("name: PATH, type: int", "agent.yml:2:17: `PATH` cannot name a parameter");
        check("name: script, type: int", "agent.yml:2:17: `script` cannot name a parameter");
        check("name: a, type: text", "agent.yml:2:26: `text` is not a type of parameter");
        check("name: a, type: enum", "agent.yml:2:26: an `enum` needs `values`");
        check("name: a, type: regex", "agent.yml:2:26: a `regex` needs a `pattern`");
        check(
            "name: a, type: regex, pattern: '['",
            "agent.yml:2:42: `[` is not a regular expression",
        );
        check("name: a, type: int, min: 3, max: 2", "agent.yml:2:26: no number is between 3 and 2");
        check("name: a, type: int, default: x", "agent.yml:2:40: the declaration does not admit");
        check("name: a, type: int}, {name: a, type: int", "agent.yml:2:39: `a` is declared twice");
    }
}
