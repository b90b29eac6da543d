//! The journal: the messages that are new since the run before, counted by pattern.
//!
//! ```yaml
//! journal:
//!   units: [app.service]
//!   priority: warning
//!   patterns:
//!   - {name: oom, matches: 'Out of memory', crit: 0}
//! ```
//!
//! Asks `journalctl` for what comes from a cursor on, which is kept across restarts. The first run finds
//! out where the whole journal ends, so that the first message of a unit that has been silent counts.
//!
//! Invariant: a message is counted once; of a flood, as many as fit into one answer are counted and
//! the next run goes on after them.

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned, nearest};
use base::period::Period;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::blocking::Blocking;
use super::keep::Kept;
use super::patterns::{Counts, PatternConfig, Patterns};
use crate::script::{Answer, Tool};
use crate::text::shown_line;
use crate::{Outcome, Probe, Reason};

const JOURNALCTL: &str = "/usr/bin/journalctl";
const PRIORITIES: [&str; 8] =
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// What it says to those who may see no messages but their own, or not even those.
const BLIND: [&str; 2] =
    ["You are currently not seeing messages from other users", "due to insufficient permissions"];
const NO_RIGHT: &str = "`journalctl` shows us no messages but our own: the agent's user needs the group \
    `systemd-journal`, which the package's drop-in `journal.conf` gives it";

/// A probe of the journal, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JournalConfig {
    /// The units whose messages are looked at; all where nothing is said.
    #[serde(default)]
    units: Vec<Spanned<String>>,
    /// The least priority of messages that are looked at: `err`, `warning`, ...
    #[serde(default)]
    #[schemars(extend("enum" = PRIORITIES))]
    priority: Option<Spanned<String>>,
    /// What is counted.
    patterns: Vec<PatternConfig>,
    /// Over which time matches are judged; those of one run where nothing is said.
    #[serde(default)]
    window: Option<Spanned<Period>>,
    /// The file in which it is kept how far was read; one in `/var/lib/veilleur-agent/` where nothing is said.
    #[serde(default)]
    state: Option<Spanned<String>>,
    /// The program that asks; `/usr/bin/journalctl` where nothing is said.
    #[serde(default)]
    journalctl: Option<Spanned<String>>,
}

/// Reads the journal.
#[derive(Debug)]
pub struct JournalProbe {
    /// What says which messages.
    select: Vec<String>,
    patterns: Patterns,
    kept: Kept,
    tool: Tool,
    state: Blocking<State>,
    cursor: Cursor,
}

/// What was counted so far.
#[derive(Debug, Default)]
struct State {
    counts: Counts,
}

/// How far was read, once it is known.
#[derive(Default)]
struct Cursor(tokio::sync::Mutex<Option<Place>>);

/// A place in the journal.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// Before everything: the journal was empty.
    Start,
    /// After the message with this cursor.
    After(String),
}

impl Place {
    /// What is kept of it.
    fn to_json(&self) -> Value {
        match self {
            Self::Start => json!({"cursor": null}),
            Self::After(cursor) => json!({"cursor": cursor}),
        }
    }

    fn from_json(kept: &Value) -> Option<Self> {
        match kept.get("cursor")? {
            Value::Null => Some(Self::Start),
            Value::String(cursor) => Some(Self::After(cursor.clone())),
            _ => None,
        }
    }
}

/// Without what is remembered: by how a probe is shown it is known to be the same.
impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursor")
    }
}

impl JournalConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<JournalProbe> {
        let mut select = Vec::new();
        for unit in &self.units {
            if unit.value.is_empty() || unit.value.contains(|c: char| c.is_control() || c == ' ') {
                let message = format!("`{}` is not a name of a unit", unit.value);
                diagnostics.report_with_help(unit, message, "write it like `nginx.service`");
            }
            select.push(format!("--unit={}", unit.value));
        }
        if let Some(priority) = &self.priority {
            if !PRIORITIES.contains(&priority.value.as_str()) {
                let message = format!("`{}` is not a priority", priority.value);
                let help = match nearest(&priority.value, PRIORITIES) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are: {}", PRIORITIES.join(", ")),
                };
                diagnostics.report_with_help(priority, message, help);
            }
            select.push(format!("--priority={}", priority.value));
        }
        let patterns = Patterns::build(self.patterns, self.window.as_ref(), diagnostics);
        let identity = format!("{select:?} {patterns:?}");
        let kept = Kept::new(self.state.as_ref(), "journal", &identity, diagnostics);
        let tool = Tool::new(self.journalctl.as_ref(), JOURNALCTL, diagnostics);
        let (state, cursor) = (Blocking::new(State::default()), Cursor::default());
        Some(JournalProbe { select, patterns, kept, tool, state, cursor })
    }
}

#[async_trait]
impl Probe for JournalProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let mut place = self.cursor.0.lock().await;
        if place.is_none() {
            *place = self.kept.read().as_ref().and_then(Place::from_json);
        }
        let answer = match self.ask(place.as_ref(), stop).await {
            Ok(answer) => answer,
            Err(outcome) => return outcome,
        };
        let first = place.is_none();
        let mut entries = entries(&answer.text);
        if let Some(Place::After(known)) = place.as_ref()
            && entries.first().is_some_and(|(cursor, _)| cursor == known)
        {
            entries.remove(0);
        }
        let reached = match (entries.last(), place.take()) {
            (Some((last, _)), _) => Place::After(last.clone()),
            (None, Some(before)) => before,
            (None, None) => Place::Start,
        };
        let kept = reached.to_json();
        *place = Some(reached);
        let (patterns, file, is_cut) = (self.patterns.clone(), self.kept.clone(), answer.is_cut);
        self.state
            .run(stop, move |look| {
                let mut run = patterns.begin();
                // At the very first run it is only found out where the journal ends.
                let new = if first { &[][..] } else { &entries[..] };
                new.iter().for_each(|(_, message)| patterns.count(&mut run, message));
                let counts = &mut look.state.counts;
                let mut outcome = patterns.finish(run, counts, look.now, ("path", "journal"));
                let mut notes = Vec::new();
                if is_cut {
                    notes.push("further messages are left for the next run".to_owned());
                }
                notes.extend(file.write(&kept).err());
                for note in notes {
                    outcome.details = format!("{note}\n{}", outcome.details).trim_end().to_owned();
                }
                outcome
            })
            .await
    }
}

impl JournalProbe {
    /// What comes after a place; without one, the last message of all.
    async fn ask(
        &self,
        place: Option<&Place>,
        stop: &CancellationToken,
    ) -> Result<Answer, Outcome> {
        // Not `--quiet`: then it would not say that it shows us only what we ourselves have written.
        let plain = ["--no-pager", "--output=json", "--output-fields=MESSAGE"];
        let mut arguments: Vec<String> = plain.map(str::to_owned).to_vec();
        match place {
            None => arguments.push("--lines=1".to_owned()),
            Some(Place::Start) => arguments.extend(self.select.iter().cloned()),
            Some(Place::After(cursor)) => {
                // Not `--after-cursor`: where that message is gone, or is none of those that are
                // selected, systemd before 254 leaves out the one that comes next.
                arguments.push(format!("--cursor={cursor}"));
                arguments.extend(self.select.iter().cloned());
            }
        }
        let answer = self.tool.ask(&arguments, stop).await?;
        if BLIND.iter().any(|hint| answer.errors.contains(hint)) {
            return Err(Outcome::unknown(Reason::PermissionDenied, NO_RIGHT));
        }
        if answer.code != 0 {
            let errors = shown_line(answer.errors.as_bytes(), 300);
            let summary = format!("`journalctl` exited with {}: {errors}", answer.code);
            return Err(Outcome::unknown(Reason::ToolFailed, summary));
        }
        Ok(answer)
    }
}

/// Cursor and message of each entry; a last line that was cut is none.
fn entries(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let whole = memchr::memrchr(b'\n', text).map_or(0, |end| end + 1);
    let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let entry = |line: &[u8]| {
        let entry: Value = serde_json::from_slice(line).ok()?;
        let cursor = entry["__CURSOR"].as_str()?.to_owned();
        let message = match &entry["MESSAGE"] {
            Value::String(text) => text.clone().into_bytes(),
            // What is not UTF-8 comes as numbers; what is too long as nothing.
            Value::Array(bytes) => {
                bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect()
            }
            _ => Vec::new(),
        };
        Some((cursor, message))
    };
    lines.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::Status;

    /// A `journalctl` whose journal is the lines of a file, their numbers the cursors.
    const FAKE: &str = "#!/bin/sh\ncd \"${0%/*}\"\necho \"$@\" >> asked\nafter=\n\
        for a; do case $a in --cursor=*) after=${a#*=};; esac; done\n\
        case $* in *--lines=1*) tail -n 1 journal;; *) awk -v n=\"${after:-0}\" 'NR >= n' journal;; esac\n\
        [ ! -e hint ] || cat hint >&2\n[ ! -e broken ] || { echo no journal >&2; exit 1; }\n";

    struct Stage(tempfile::TempDir);

    impl Stage {
        fn new() -> Self {
            let folder =
                tempfile::Builder::new().prefix("veilleur-").tempdir_in("/var/lib").unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            let program = folder.path().join("journalctl");
            std::fs::write(&program, FAKE).unwrap();
            std::fs::set_permissions(program, mode.clone()).unwrap();
            std::fs::set_permissions(folder.path(), mode).unwrap();
            Self(folder)
        }

        fn journal(&self, messages: &[&str]) {
            let line = |(n, message): (usize, &&str)| {
                format!("{{\"__CURSOR\":\"{}\",\"MESSAGE\":{message}}}\n", n + 1)
            };
            let text: String = messages.iter().enumerate().map(line).collect();
            std::fs::write(self.0.path().join("journal"), text).unwrap();
        }

        fn probe(&self) -> JournalProbe {
            let root = self.0.path().display();
            let text = format!(
                "journalctl: {root}/journalctl\nstate: {root}/state.json\nunits: [a.service]\n\
                 priority: err\npatterns: [{{name: oom, matches: '^Out of', crit: 0}}]"
            );
            let mut diagnostics = Diagnostics::new("f.yml");
            let config: JournalConfig = base::yaml::read(&text, &mut diagnostics).unwrap();
            let probe = config.build(&mut diagnostics).unwrap();
            assert!(diagnostics.is_empty(), "{diagnostics}");
            probe
        }
    }

    #[tokio::test]
    async fn counts_new_messages_only_also_after_a_restart() {
        let (stage, stop) = (Stage::new(), CancellationToken::new());
        let check = async |probe: &JournalProbe, status: Status, summary: &str| {
            let outcome = probe.run(&stop).await;
            assert_eq!(
                (outcome.status, outcome.summary.as_str()),
                (status, summary),
                "{outcome:?}"
            );
        };
        let probe = stage.probe();
        stage.journal(&["\"Out of date\""]);
        check(&probe, Status::Ok, "0 new lines, 0 matches").await;
        stage.journal(&["\"x\"", "\"Out of memory\"", "[79,117,116,32,111,102,255]", "null"]);
        let found = "`oom` matched 2 lines; 3 new lines, 2 matches";
        check(&probe, Status::Critical, found).await;
        check(&probe, Status::Ok, "0 new lines, 0 matches").await;
        stage.journal(&["\"x\"", "\"x\"", "\"x\"", "\"x\"", "\"Out of it\""]);
        let again = stage.probe();
        check(&again, Status::Critical, "`oom` matched 1 lines; 1 new lines, 1 matches").await;
        let asked = std::fs::read_to_string(stage.0.path().join("asked")).unwrap();
        assert!(asked.contains("--cursor=4 --unit=a.service --priority=err\n"), "{asked}");
        std::fs::write(stage.0.path().join("hint"), BLIND[0]).unwrap();
        check(&again, Status::Unknown, NO_RIGHT).await;
        std::fs::remove_file(stage.0.path().join("hint")).unwrap();
        std::fs::write(stage.0.path().join("broken"), "").unwrap();
        check(&again, Status::Unknown, "`journalctl` exited with 1: no journal").await;
    }

    #[tokio::test]
    async fn the_first_message_of_a_journal_that_was_empty_counts() {
        let (stage, stop) = (Stage::new(), CancellationToken::new());
        stage.journal(&[]);
        let summary = async |probe: &JournalProbe| probe.run(&stop).await.summary;
        assert_eq!(summary(&stage.probe()).await, "0 new lines, 0 matches");
        // Also over a restart.
        let probe = stage.probe();
        assert_eq!(summary(&probe).await, "0 new lines, 0 matches");
        stage.journal(&["\"Out of memory\""]);
        assert_eq!(summary(&probe).await, "`oom` matched 1 lines; 1 new lines, 1 matches");
        let asked = std::fs::read_to_string(stage.0.path().join("asked")).unwrap();
        // Where the journal ends is asked of the whole of it.
        let first = asked.lines().next().unwrap();
        assert!(first.ends_with("--lines=1") && !first.contains("--unit"), "{asked}");
    }

    #[test]
    fn an_entry_that_was_cut_is_read_the_next_time() {
        let found =
            entries(b"{\"__CURSOR\":\"1\",\"MESSAGE\":\"a\"}\nnonsense\n{\"__CURSOR\":\"2\",\"ME");
        assert_eq!(found, [("1".to_owned(), b"a".to_vec())]);
        assert!(entries(b"").is_empty());
    }
}
