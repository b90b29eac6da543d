//! Processes: how many there are, what they take.
//!
//! ```yaml
//! process:
//!   name: nginx
//!   user: www-data
//!   thresholds: {count: {crit: "1:"}, memory: {warn: 2e9}, cpu: {warn: 1.5}}
//! ```
//!
//! Invariant: a process that ends while it is looked at is one that was not there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::family::MetricFamily;
use base::sample::Timestamp;
use regex::bytes::Regex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::blocking::Blocking;
use super::judged;
use crate::network::regex;
use crate::process_stat::{Process, TICKS, parse};
use crate::thresholds::{Limits, LimitsConfig, Value};
use crate::{Outcome, Probe, Reason};

/// What is measured, by the names that thresholds have.
const VALUES: [&str; 5] = ["count", "memory", "cpu", "threads", "zombies"];

/// A probe of processes, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessConfig {
    /// The name: what the kernel calls it, or the last part of the program's path.
    #[serde(default)]
    name: Option<Spanned<String>>,
    /// A regular expression that the command line matches, its arguments with a blank between.
    #[serde(default)]
    command_matches: Option<Spanned<String>>,
    /// Whose processes, by name or number.
    #[serde(default)]
    user: Option<Spanned<String>>,
    /// Limits of `count`, `memory` (bytes), `cpu` (CPUs in use since the run before), `threads` and
    /// `zombies`; at least one process where nothing is said of `count`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Counts processes.
#[derive(Debug)]
pub struct ProcessProbe {
    select: Select,
    limits: Limits,
    state: Blocking<Before>,
}

/// Which processes are meant.
#[derive(Clone, Debug)]
struct Select {
    procfs: PathBuf,
    name: Option<String>,
    command: Option<Regex>,
    user: Option<u32>,
}

/// The CPU time of each process in the run before, by number and start.
#[derive(Debug, Default)]
struct Before {
    at: Option<Timestamp>,
    ticks: HashMap<(i32, u64), u64>,
    /// Seconds that all of them together have used since the first run.
    total: f64,
}

impl ProcessConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<ProcessProbe> {
        let mut user = None;
        if let Some(written) = &self.user {
            user = written.value.parse().ok().or_else(|| {
                let found = nix::unistd::User::from_name(&written.value).ok().flatten();
                found.map(|user| user.uid.as_raw())
            });
            if user.is_none() {
                diagnostics.report(written, format!("there is no user `{}`", written.value));
            }
        }
        let command = self.command_matches.as_ref();
        let command = command.and_then(|c| regex(&c.value, c.place, diagnostics));
        let limits = Limits::build(&self.thresholds, &VALUES, diagnostics);
        let select = Select {
            procfs: PathBuf::from("/proc"),
            name: self.name.map(|name| name.value),
            command,
            user,
        };
        Some(ProcessProbe {
            select,
            limits: limits.with_default("count", "", "1:"),
            state: Blocking::new(Before::default()),
        })
    }
}

#[async_trait]
impl Probe for ProcessProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let (select, limits) = (self.select.clone(), self.limits.clone());
        self.state.run(stop, move |look| select.look(&limits, look.state, look.now)).await
    }
}

impl Select {
    fn look(&self, limits: &Limits, before: &mut Before, now: Timestamp) -> Outcome {
        let entries = match std::fs::read_dir(&self.procfs) {
            Ok(entries) => entries,
            Err(error) => {
                let summary = format!("`{}` cannot be listed: {error}", self.procfs.display());
                return Outcome::unknown(Reason::CannotRead, summary);
            }
        };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let found: Vec<Process> = pids.filter_map(|pid| self.find(pid)).collect();
        let sum = |of: fn(&Process) -> u64| found.iter().map(of).sum::<u64>() as f64;
        let (alive, zombies) = (sum(|p| u64::from(!p.zombie)), sum(|p| u64::from(p.zombie)));
        let memory = sum(|p| p.pages) * rustix::param::page_size() as f64;
        let cpu = before.replace(&found, now);
        let mut values = vec![
            Value { name: "count", value: alive, unit: "" },
            Value { name: "memory", value: memory, unit: "B" },
            Value { name: "threads", value: sum(|p| p.threads), unit: "" },
            Value { name: "zombies", value: zombies, unit: "" },
        ];
        values.extend(cpu.map(|value| Value { name: "cpu", value, unit: "" }));
        let summary = format!("{alive} processes, {:.1} MiB", memory / f64::from(1 << 20));
        let mut outcome = judged(limits, &values, &summary);
        outcome.families = vec![
            MetricFamily::gauge("veilleur_process_count", "Processes that were found.")
                .with(&[], alive),
            MetricFamily::gauge("veilleur_process_memory_bytes", "Memory they hold (RSS).")
                .with(&[], memory),
            MetricFamily::counter(
                "veilleur_process_cpu_seconds_total",
                "CPU time that they used while they were watched.",
            )
            .with(&[], before.total),
        ];
        outcome
    }

    /// The process, if it is one of those meant.
    fn find(&self, pid: i32) -> Option<Process> {
        let folder = self.procfs.join(pid.to_string());
        let process = parse(&std::fs::read(folder.join("stat")).ok()?)?;
        if let Some(user) = self.user {
            use std::os::unix::fs::MetadataExt;
            if std::fs::metadata(&folder).ok()?.uid() != user {
                return None;
            }
        }
        let needs_command = self.command.is_some() || self.name.is_some();
        let command =
            if needs_command { std::fs::read(folder.join("cmdline")).ok()? } else { Vec::new() };
        if let Some(name) = &self.name {
            let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
            let program = Path::new(std::str::from_utf8(program).unwrap_or_default());
            // The kernel keeps 15 bytes of a name.
            let is = process.name == name.as_bytes()
                || program.file_name().is_some_and(|program| program == name.as_str());
            if !is {
                return None;
            }
        }
        if let Some(regex) = &self.command {
            let mut line = command;
            line.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
            if !regex.is_match(line.trim_ascii_end()) {
                return None;
            }
        }
        Some(process)
    }
}

impl Before {
    /// Remembers this run; says how many CPUs were in use since the one before.
    fn replace(&mut self, found: &[Process], now: Timestamp) -> Option<f64> {
        let key = |process: &Process| (process.pid, process.started);
        let used: u64 = found
            .iter()
            .map(|p| match self.ticks.get(&key(p)) {
                Some(before) => p.ticks.saturating_sub(*before),
                // One that was started since then has used all of its time since then.
                None if self.at.is_some() => p.ticks,
                None => 0,
            })
            .sum();
        let used = used as f64 / TICKS;
        let passed = self.at.map(|at| now.since(at).as_secs_f64()).filter(|passed| *passed > 0.0);
        self.at = Some(now);
        self.ticks = found.iter().map(|process| (key(process), process.ticks)).collect();
        self.total += used;
        Some(used / passed?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    const STAT: &str = "S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 1000 4096 10 0";

    fn probe(text: &str) -> Result<ProcessProbe, String> {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Option<ProcessConfig> = base::yaml::read(text, &mut diagnostics);
        let probe = config.and_then(|config| config.build(&mut diagnostics));
        diagnostics.into_result(()).map_err(|d| d.to_string())?;
        Ok(probe.unwrap())
    }

    fn tree(processes: &[(i32, &str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (pid, name, command) in processes {
            let path = folder.path().join(pid.to_string());
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("stat"), format!("{pid} ({name}) {STAT}")).unwrap();
            std::fs::write(path.join("cmdline"), command.replace(' ', "\0")).unwrap();
        }
        std::fs::create_dir(folder.path().join("17")).unwrap();
        folder
    }

    #[track_caller]
    fn check(text: &str, expected: (Status, &str)) {
        let folder = tree(&[
            (1, "nginx", "nginx: master"),
            (2, "nginx", "nginx: worker"),
            (3, "a) S (b", "/usr/bin/python3 /opt/app.py --port 80"),
            (4, "verylongnameofa", "/opt/verylongnameofaprogram"),
        ]);
        let mut probe = probe(text).unwrap();
        probe.select.procfs = folder.path().to_owned();
        let now = Timestamp::from_millis(0);
        let outcome = probe.select.look(&probe.limits, &mut Before::default(), now);
        assert_eq!((outcome.status, outcome.summary.as_str()), expected, "{text}");
    }

    #[test]
    fn finds_processes_by_name_command_and_user() {
        check("name: nginx", (Status::Ok, "2 processes, 0.1 MiB"));
        check("command_matches: 'app\\.py --port 80$'", (Status::Ok, "1 processes, 0.0 MiB"));
        check("name: verylongnameofaprogram", (Status::Ok, "1 processes, 0.0 MiB"));
        check("name: python3", (Status::Ok, "1 processes, 0.0 MiB"));
        check("user: root", (Status::Ok, "4 processes, 0.2 MiB"));
        check(
            "user: '4242'",
            (Status::Critical, "`count` is 0, critical by `1:`; 0 processes, 0.0 MiB"),
        );
        check(
            "{name: nginx, thresholds: {count: {warn: 1}}}",
            (Status::Warning, "`count` is 2, warning by `1`; 2 processes, 0.1 MiB"),
        );
    }

    #[test]
    fn cpu_is_what_was_used_since_the_run_before() {
        let at = Timestamp::from_millis;
        let process = |pid, ticks| Process {
            ticks,
            pid,
            ..parse(format!("1 (a) {STAT}").as_bytes()).unwrap()
        };
        let mut before = Before::default();
        assert_eq!(before.replace(&[process(1, 100)], at(0)), None);
        assert_eq!(before.replace(&[process(1, 300), process(2, 50)], at(5000)), Some(0.5));
        assert_eq!(before.replace(&[], at(6000)), Some(0.0));
        assert_eq!(before.total, 2.5);
    }

    #[test]
    fn reports_what_cannot_be_meant() {
        assert_eq!(
            probe("user: nobody-at-all\ncommand_matches: '('\nthresholds: {memry: {warn: 1}}")
                .unwrap_err(),
            "f.yml:1:7: there is no user `nobody-at-all`\n\
             f.yml:2:18: `(` is not a regular expression: unclosed group\n\
             f.yml:3:21: no value `memry` is measured\n  help: did you mean `memory`?"
        );
    }

    #[tokio::test]
    async fn finds_itself() {
        let probe = probe(&format!("user: '{}'", rustix::process::geteuid().as_raw())).unwrap();
        let outcome = probe.run(&CancellationToken::new()).await;
        assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    }
}
