//! Units of systemd: that they are as they should be, and that none has failed.
//!
//! ```yaml
//! systemd:
//!   units: [nginx.service, postgresql@*.service]
//!   failed: true
//!   ignore: [apt-daily*]
//!   thresholds: {restarts: {warn: 0, crit: 5}}
//! ```
//!
//! Asks `systemctl`, which asks systemd, and which an agent may use that is not root.
//!
//! Invariant: a unit that was named and is not there is told as one that is not active.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::family::MetricFamily;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::judged;
use crate::script::Tool;
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig, Value};
use crate::{Outcome, Probe, Reason, Status, glob};

const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// How many units are named in a sentence.
const MOST_NAMED: usize = 10;
/// How many units are shown as metrics.
const MOST_UNITS: usize = 1000;
/// What is asked of every unit.
const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,Result,NRestarts";

/// A probe of units, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemdConfig {
    /// The units that must be in a state; `*`, `?` and `[...]` stand for many.
    #[serde(default)]
    units: Vec<Spanned<String>>,
    /// The state that they must be in; `active` where nothing is said.
    #[serde(default)]
    state: Option<Spanned<String>>,
    /// Whether any unit that has failed is critical.
    #[serde(default)]
    failed: bool,
    /// Units that may fail, with wildcards.
    #[serde(default)]
    ignore: Vec<Spanned<String>>,
    /// Limits of `restarts`, since the run before, and of `failed`.
    #[serde(default)]
    thresholds: LimitsConfig,
    /// The program that asks; `/usr/bin/systemctl` where nothing is said.
    #[serde(default)]
    systemctl: Option<Spanned<String>>,
}

/// Looks at units.
#[derive(Debug)]
pub struct SystemdProbe {
    units: Vec<String>,
    state: String,
    failed: bool,
    ignore: Vec<String>,
    limits: Limits,
    tool: Tool,
    restarts: Restarts,
}

/// How often each unit had been restarted at the run before.
#[derive(Default)]
struct Restarts(Mutex<Option<BTreeMap<String, f64>>>);

/// Without what is remembered: by how a probe is shown it is known to be the same.
impl std::fmt::Debug for Restarts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Restarts")
    }
}

/// A unit as systemd tells of it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Unit {
    id: String,
    load: String,
    active: String,
    sub: String,
    result: String,
    restarts: Option<f64>,
}

impl SystemdConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<SystemdProbe> {
        const STATES: [&str; 3] = ["active", "inactive", "failed"];
        for unit in &self.units {
            let good = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
            if unit.value.is_empty() || unit.value.starts_with('-') || !unit.value.chars().all(good)
            {
                let message = format!("`{}` is not a name of a unit", unit.value);
                diagnostics.report_with_help(unit, message, "write it like `nginx.service`");
            }
        }
        let state = self.state.as_ref().map_or("active", |state| state.value.as_str());
        if let Some(written) = self.state.as_ref().filter(|_| !STATES.contains(&state)) {
            let help = "write `active`, `inactive` or `failed`";
            diagnostics.report_with_help(written, format!("`{state}` is not a state"), help);
        }
        let limits = Limits::build(&self.thresholds, &["restarts", "failed"], diagnostics);
        let limits = if self.failed { limits.with_default("failed", "", "0") } else { limits };
        let tool = Tool::new(self.systemctl.as_ref(), SYSTEMCTL, diagnostics);
        let texts = |list: Vec<Spanned<String>>| list.into_iter().map(|text| text.value).collect();
        Some(SystemdProbe {
            state: state.to_owned(),
            units: texts(self.units),
            failed: self.failed,
            ignore: texts(self.ignore),
            limits,
            tool,
            restarts: Restarts::default(),
        })
    }
}

#[async_trait]
impl Probe for SystemdProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        match self.look(stop).await {
            Ok(outcome) | Err(outcome) => outcome,
        }
    }
}

impl SystemdProbe {
    async fn look(&self, stop: &CancellationToken) -> Result<Outcome, Outcome> {
        let units = if self.units.is_empty() { Vec::new() } else { self.show(stop).await? };
        let failed = self.failed_units(stop).await?;
        let mut wrong = Vec::new();
        for wanted in &self.units {
            let mut of = units.iter().filter(|unit| is_of(wanted, &unit.id)).peekable();
            if of.peek().is_none() {
                wrong.push(format!("there is no `{}`", shown_line(wanted.as_bytes(), 100)));
            }
            wrong.extend(of.filter(|unit| unit.active != self.state).map(Unit::told));
        }
        let restarts = self.new_restarts(&units).await;
        let values = [
            Value { name: "failed", value: failed.len() as f64, unit: "" },
            Value { name: "restarts", value: restarts, unit: "" },
        ];
        let summary = format!("{} units as they should be, {} failed", units.len(), failed.len());
        let summary = if wrong.is_empty() {
            summary
        } else {
            format!("{} units looked at, {} failed", units.len(), failed.len())
        };
        let mut outcome = judged(&self.limits, &values, &summary);
        if self.failed && !failed.is_empty() && outcome.status != Status::Ok {
            let named = failed[..failed.len().min(MOST_NAMED)].join(", ");
            outcome.summary = format!("failed: {named}; {}", outcome.summary);
            outcome.reason = Reason::UnitState;
        }
        if !wrong.is_empty() {
            let named = wrong[..wrong.len().min(MOST_NAMED)].join(", ");
            outcome.status = Status::Ok;
            outcome.worsen(Status::Critical, Reason::UnitState, &named);
        }
        outcome.families = families(&units, failed.len());
        Ok(outcome)
    }

    async fn show(&self, stop: &CancellationToken) -> Result<Vec<Unit>, Outcome> {
        let mut arguments = vec!["show".to_owned(), "--no-pager".to_owned()];
        arguments.push(format!("--property={PROPERTIES}"));
        arguments.push("--".to_owned());
        arguments.extend(self.units.iter().cloned());
        let units = parse(&self.ask(&arguments, stop).await?);
        // One that was named without wildcards is shown even if there is none.
        Ok(units.into_iter().filter(|unit| unit.load != "not-found").collect())
    }

    /// The names of the units that have failed and should not.
    async fn failed_units(&self, stop: &CancellationToken) -> Result<Vec<String>, Outcome> {
        let arguments = [
            "list-units",
            "--state=failed",
            "--all",
            "--plain",
            "--no-legend",
            "--no-pager",
            "--full",
        ];
        let text = self.ask(&arguments.map(str::to_owned), stop).await?;
        let names = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
        let names = names.filter(|name| !self.ignore.iter().any(|ignored| is_of(ignored, name)));
        Ok(names.map(|name| shown_line(name.as_bytes(), 200)).collect())
    }

    async fn ask(&self, arguments: &[String], stop: &CancellationToken) -> Result<String, Outcome> {
        let answer = self.tool.ask(arguments, stop).await?;
        if answer.code != 0 {
            let errors = shown_line(answer.errors.as_bytes(), 300);
            let summary = format!("`systemctl` exited with {}: {errors}", answer.code);
            return Err(Outcome::unknown(Reason::ToolFailed, summary));
        }
        Ok(String::from_utf8_lossy(&answer.text).into_owned())
    }

    /// How often units were restarted since the run before.
    async fn new_restarts(&self, units: &[Unit]) -> f64 {
        let now: BTreeMap<_, _> =
            units.iter().filter_map(|unit| Some((unit.id.clone(), unit.restarts?))).collect();
        let mut before = self.restarts.0.lock().await;
        // A unit that is new, or was started by hand, begins at 0 again.
        let more = before.as_ref().map_or(0.0, |before| {
            let more =
                |(id, count): (&String, &f64)| (count - before.get(id).unwrap_or(&0.0)).max(0.0);
            // Of nothing the sum is -0.
            now.iter().map(more).sum::<f64>() + 0.0
        });
        *before = Some(now);
        more
    }
}

/// Whether `name` is the unit that was `wanted`; without a suffix it is a service.
fn is_of(wanted: &str, name: &str) -> bool {
    glob::matches(wanted.as_bytes(), name.as_bytes())
        || glob::matches(format!("{wanted}.service").as_bytes(), name.as_bytes())
}

impl Unit {
    fn told(&self) -> String {
        let text = |text: &str| shown_line(text.as_bytes(), 100);
        let result = match self.result.as_str() {
            "" | "success" => String::new(),
            result => format!(", {}", text(result)),
        };
        format!("`{}` is {} ({}{result})", text(&self.id), text(&self.active), text(&self.sub))
    }
}

/// The blocks of `NAME=VALUE` lines, one for each unit.
fn parse(text: &str) -> Vec<Unit> {
    let mut units = Vec::new();
    for block in text.split("\n\n") {
        let mut unit = Unit::default();
        for (name, value) in block.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "Id" => unit.id = value.to_owned(),
                "LoadState" => unit.load = value.to_owned(),
                "ActiveState" => unit.active = value.to_owned(),
                "SubState" => unit.sub = value.to_owned(),
                "Result" => unit.result = value.to_owned(),
                "NRestarts" => unit.restarts = value.parse::<u32>().ok().map(f64::from),
                _ => {}
            }
        }
        if !unit.id.is_empty() {
            units.push(unit);
        }
    }
    units
}

fn families(units: &[Unit], failed: usize) -> Vec<MetricFamily> {
    let mut active =
        MetricFamily::gauge("veilleur_systemd_unit_active", "Whether a unit is active.");
    let mut restarts = MetricFamily::counter(
        "veilleur_systemd_unit_restarts_total",
        "How often systemd started a service again.",
    );
    for unit in units.iter().take(MOST_UNITS) {
        let id = shown_line(unit.id.as_bytes(), 256);
        active.add(&[("unit", &id)], f64::from(u8::from(unit.active == "active")));
        if let Some(count) = unit.restarts {
            restarts.add(&[("unit", &id)], count);
        }
    }
    let help = "Units that have failed, without those that may.";
    let failed =
        MetricFamily::gauge("veilleur_systemd_failed_units", help).with(&[], failed as f64);
    let all = [active, restarts, failed];
    all.into_iter().filter(|family| !family.samples.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// A `systemctl` that says what is in the files beside it.
    const FAKE: &str = "#!/bin/sh\ncd \"${0%/*}\"\necho \"$@\" >> asked\n\
                        case $1 in show) cat shown;; *) cat failed;; esac\n\
                        [ ! -e broken ] || { echo no bus >&2; exit 1; }\n";

    fn stage(shown: &str, failed: &str) -> tempfile::TempDir {
        // Not below a folder that others may write to: such a program is refused.
        let folder = tempfile::Builder::new().prefix("veilleur-").tempdir_in("/var/lib").unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("systemctl"), FAKE).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path("systemctl"), mode.clone()).unwrap();
        std::fs::set_permissions(folder.path(), mode).unwrap();
        std::fs::write(path("shown"), shown).unwrap();
        std::fs::write(path("failed"), failed).unwrap();
        folder
    }

    fn build(text: &str, folder: &Path) -> SystemdProbe {
        let text = format!("systemctl: {}/systemctl\n{text}", folder.display());
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: SystemdConfig = base::yaml::read(&text, &mut diagnostics).unwrap();
        let probe = config.build(&mut diagnostics);
        assert!(diagnostics.is_empty(), "{diagnostics}");
        probe.unwrap()
    }

    const SHOWN: &str = "Id=a.service\nLoadState=loaded\nActiveState=active\nSubState=running\n\
                         Result=success\nNRestarts=1\n\nId=b.service\nLoadState=loaded\n\
                         ActiveState=failed\nSubState=failed\nResult=exit-code\n\n\
                         Id=c.service\nLoadState=not-found\nActiveState=inactive\n";

    #[tokio::test]
    async fn tells_units_that_are_not_as_they_should_be() {
        let folder = stage(SHOWN, "b.service loaded failed failed B\n");
        let check = async |text: &str, expected: (Status, Reason, &str)| {
            let outcome = build(text, folder.path()).run(&CancellationToken::new()).await;
            assert_eq!((outcome.status, outcome.reason, outcome.summary.as_str()), expected);
        };
        let wrong = (Status::Critical, Reason::UnitState);
        let seen = "2 units looked at, 1 failed";
        let ok = (Status::Ok, Reason::None, "2 units as they should be, 1 failed");
        check("units: [a]", ok).await;
        check(
            "units: [a.service, b.*]",
            (wrong.0, wrong.1, &format!("`b.service` is failed (failed, exit-code); {seen}")),
        )
        .await;
        check("units: [c]", (wrong.0, wrong.1, &format!("there is no `c`; {seen}"))).await;
        check("failed: true", (
            wrong.0,
            wrong.1,
            "failed: b.service; `failed` is 1, critical by `0`; 0 units as they should be, 1 failed",
        ))
        .await;
        check(
            "failed: true\nignore: [b*]",
            (Status::Ok, Reason::None, "0 units as they should be, 0 failed"),
        )
        .await;
        let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
        assert!(asked.contains("Result,NRestarts -- a.service b.*\n"), "{asked}");
        std::fs::write(folder.path().join("broken"), "").unwrap();
        check(
            "failed: true",
            (Status::Unknown, Reason::ToolFailed, "`systemctl` exited with 1: no bus"),
        )
        .await;
    }

    #[tokio::test]
    async fn restarts_since_the_run_before_are_judged() {
        let folder = stage(SHOWN, "");
        let probe = build("units: [a]\nthresholds: {restarts: {warn: 0}}", folder.path());
        let stop = CancellationToken::new();
        assert_eq!(probe.run(&stop).await.status, Status::Ok);
        let more = SHOWN.replace("NRestarts=1", "NRestarts=3");
        std::fs::write(folder.path().join("shown"), more).unwrap();
        let outcome = probe.run(&stop).await;
        assert_eq!((outcome.status, outcome.measurements[1].value), (Status::Warning, 2.0));
        assert_eq!(probe.run(&stop).await.status, Status::Ok);
    }

    #[test]
    fn reports_what_cannot_be_meant() {
        let mut diagnostics = Diagnostics::new("f.yml");
        let text = "units: [--root=/, 'a b']\nstate: on\nsystemctl: /no/such";
        let config: SystemdConfig = base::yaml::read(text, &mut diagnostics).unwrap();
        config.build(&mut diagnostics);
        assert_eq!(
            diagnostics.to_string(),
            "f.yml:1:9: `--root=/` is not a name of a unit\n  help: write it like `nginx.service`\n\
             f.yml:1:19: `a b` is not a name of a unit\n  help: write it like `nginx.service`\n\
             f.yml:2:8: `on` is not a state\n  help: write `active`, `inactive` or `failed`\n\
             f.yml:3:12: `/no/such` does not exist"
        );
    }
}
