//! Log files: the lines that are new since the run before, counted by pattern.
//!
//! ```yaml
//! log:
//!   path: /var/log/app.log
//!   window: 10m
//!   patterns:
//!   - {name: errors, matches: '\bERROR\b', ignore: 'retrying', warn: 10, crit: 100}
//! ```
//!
//! A file is read from where the run before stopped, also after a restart of the agent. One that was
//! moved away (logrotate) is read to its end first; one that became shorter begins anew.
//!
//! Invariant: a run reads [`MOST_BYTES`] at most and goes on there the next time; a line is counted
//! once it has its end, or is longer than [`MOST_OF_LINE`].

mod follow;

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::family::MetricFamily;
use base::period::Period;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::absolute;
use super::blocking::{Blocking, Look};
use super::keep::Kept;
use super::patterns::{Counts, PatternConfig, Patterns};
use crate::{Outcome, Probe, Reason, Status, glob};
use follow::Follow;

/// How much a run reads of a file.
pub(super) const MOST_BYTES: u64 = 64 << 20;
/// How much of a line is looked at.
pub(super) const MOST_OF_LINE: usize = 64 << 10;
/// How many files one probe reads.
const MOST_FILES: usize = 100;

/// A probe of log files, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// The file; `*`, `?` and `[...]` stand for many.
    path: Spanned<String>,
    /// What is counted.
    patterns: Vec<PatternConfig>,
    /// Over which time matches are judged; those of one run where nothing is said.
    #[serde(default)]
    window: Option<Spanned<Period>>,
    /// Whether a file that is seen for the first time is read from its beginning.
    #[serde(default)]
    from_beginning: bool,
    /// Whether it is as it should be that there is no file.
    #[serde(default)]
    may_be_missing: bool,
    /// The file in which it is kept how far was read; one in `/var/lib/veilleur-agent/` where nothing is said.
    #[serde(default)]
    state: Option<Spanned<String>>,
}

/// Reads logs.
#[derive(Debug)]
pub struct LogProbe {
    what: What,
    state: Blocking<State>,
}

#[derive(Clone, Debug)]
struct What {
    path: String,
    patterns: Patterns,
    from_beginning: bool,
    may_be_missing: bool,
    kept: Kept,
}

/// How far every file was read.
#[derive(Debug, Default)]
struct State {
    loaded: bool,
    files: BTreeMap<String, Follow>,
    counts: Counts,
}

impl LogConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<LogProbe> {
        absolute(&self.path, diagnostics);
        let patterns = Patterns::build(self.patterns, self.window.as_ref(), diagnostics);
        let identity = format!("{} {patterns:?}", self.path.value);
        let kept = Kept::new(self.state.as_ref(), "log", &identity, diagnostics);
        let what = What {
            path: self.path.value,
            patterns,
            from_beginning: self.from_beginning,
            may_be_missing: self.may_be_missing,
            kept,
        };
        Some(LogProbe { what, state: Blocking::new(State::default()) })
    }
}

#[async_trait]
impl Probe for LogProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let what = self.what.clone();
        self.state.run(stop, move |look| what.look(look)).await
    }
}

impl What {
    fn look(&self, look: Look<'_, State>) -> Outcome {
        let Look { state, now, stop } = look;
        let restarted = !std::mem::replace(&mut state.loaded, true);
        let kept = if restarted { self.kept.read() } else { None };
        state.load(kept.as_ref());
        let first_run = restarted && kept.is_none();
        let found = glob::find(&self.path, MOST_FILES);
        let mut run = self.patterns.begin();
        let mut faults = Vec::new();
        let mut backlog = 0;
        for path in &found.paths {
            let name = path.to_string_lossy().into_owned();
            // A file that appears later than the probe is all new.
            let beginning = self.from_beginning || !first_run;
            let follow = state.files.entry(name.clone()).or_insert_with(|| Follow::new(beginning));
            let mut line = |line: &[u8]| self.patterns.count(&mut run, line);
            match follow.read(path, stop, &mut line) {
                Ok(left) => backlog += left,
                Err(error) => faults.push(format!("`{name}` cannot be read: {error}")),
            }
        }
        // What was moved away is read to its end even while nothing has its name.
        let gone: Vec<_> = state.files.keys().cloned().collect();
        for name in
            gone.iter().filter(|name| !found.paths.iter().any(|p| p.as_os_str() == name.as_str()))
        {
            let mut line = |line: &[u8]| self.patterns.count(&mut run, line);
            if let Some(follow) = state.files.get_mut(name) {
                follow.read_rest(stop, &mut line);
                if glob::is_pattern(&self.path) && follow.is_done() {
                    state.files.remove(name);
                }
            }
        }
        let mut outcome = self.patterns.finish(run, &mut state.counts, now, ("path", &self.path));
        if found.paths.is_empty() && !self.may_be_missing {
            let why = format!("there is no `{}`", self.path);
            outcome.worsen(Status::Critical, Reason::FileMissing, &why);
        }
        for why in faults {
            outcome.worsen(Status::Critical, Reason::CannotRead, &why);
        }
        let mut notes = Vec::new();
        if found.more {
            notes.push(format!("only the first {MOST_FILES} files are read"));
        }
        if backlog > 0 {
            notes.push(format!("{backlog} bytes are left for the next run"));
        }
        notes.extend(self.kept.write(&state.to_json()).err());
        for note in notes {
            outcome.details = format!("{note}\n{}", outcome.details).trim_end().to_owned();
        }
        let help = "What is written already and not read yet.";
        let backlog = MetricFamily::gauge("veilleur_log_backlog_bytes", help)
            .with(&[("path", &self.path)], backlog as f64);
        outcome.families.push(backlog);
        outcome
    }
}

impl State {
    fn load(&mut self, kept: Option<&Value>) {
        let Some(kept) = kept else { return };
        let files = kept["files"].as_object().into_iter().flatten();
        self.files =
            files.filter_map(|(name, kept)| Some((name.clone(), Follow::load(kept)?))).collect();
        let totals = kept["totals"].as_array().into_iter().flatten();
        self.counts.totals = totals.filter_map(Value::as_u64).collect();
        self.counts.lines = kept["lines"].as_u64().unwrap_or(0);
    }

    fn to_json(&self) -> Value {
        let files: BTreeMap<_, _> =
            self.files.iter().map(|(name, follow)| (name, follow.to_json())).collect();
        json!({"files": files, "totals": self.counts.totals, "lines": self.counts.lines})
    }
}

#[cfg(test)]
mod tests;
