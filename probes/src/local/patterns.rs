//! Counting what lines match: what the probes of logs and of the journal share.
//!
//! Invariant: no more of a line is kept than is shown, and no more lines than [`MOST_SHOWN`].

use std::collections::VecDeque;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Spanned};
use base::family::MetricFamily;
use base::period::Period;
use base::sample::Timestamp;
use regex::bytes::Regex;
use serde::Deserialize;

use crate::network::regex;
use crate::outcome::{Measurement, Outcome, Reason, Status};
use crate::range::Range;
use crate::text::shown_line;

/// How many of the lines that matched are shown.
const MOST_SHOWN: usize = 10;
/// How much of a line is shown.
const MOST_OF_LINE: usize = 300;
/// How many runs a window remembers; longer ones are counted by coarser steps.
const MOST_STEPS: usize = 1000;

/// What is looked for, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PatternConfig {
    /// Names it in metrics.
    name: Spanned<String>,
    /// A regular expression that a line matches.
    matches: Spanned<String>,
    /// A regular expression of lines that do not count.
    #[serde(default)]
    ignore: Option<Spanned<String>>,
    /// A range: how many matches are worth a warning.
    #[serde(default)]
    warn: Option<Spanned<String>>,
    /// A range: how many matches are critical.
    #[serde(default)]
    crit: Option<Spanned<String>>,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    name: String,
    matches: Regex,
    ignore: Option<Regex>,
    warn: Option<Range>,
    crit: Option<Range>,
}

/// The patterns of a probe, and over which time their matches are judged.
#[derive(Clone, Debug)]
pub(super) struct Patterns {
    list: Vec<Pattern>,
    window: Option<Duration>,
}

/// What was counted so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Matches of every pattern since the agent began to count.
    pub(super) totals: Vec<u64>,
    /// Lines since then.
    pub(super) lines: u64,
    /// The matches of the runs within the window.
    recent: VecDeque<(Timestamp, Vec<u64>)>,
}

/// What one run counts.
#[derive(Debug)]
pub(super) struct Run {
    matches: Vec<u64>,
    lines: u64,
    shown: Vec<String>,
}

impl Patterns {
    /// The patterns, reporting what is wrong with them.
    pub(super) fn build(
        written: Vec<PatternConfig>,
        window: Option<&Spanned<Period>>,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut list: Vec<Pattern> = Vec::new();
        for config in written {
            let name = &config.name;
            if name.value.is_empty() || list.iter().any(|known| known.name == name.value) {
                let message = format!("`{}` is empty, or names another pattern too", name.value);
                diagnostics.report(name, message);
            }
            let matches = regex(&config.matches.value, config.matches.place, diagnostics);
            let ignore = config.ignore.and_then(|p| regex(&p.value, p.place, diagnostics));
            let mut range = |text: Option<Spanned<String>>| {
                let text = text?;
                text.value
                    .parse()
                    .map_err(|error| diagnostics.report(&text, format!("{error}")))
                    .ok()
            };
            let (warn, crit) = (range(config.warn), range(config.crit));
            if let Some(matches) = matches {
                list.push(Pattern { name: config.name.value, matches, ignore, warn, crit });
            }
        }
        if let Some(window) = window.filter(|window| window.value.is_zero()) {
            diagnostics.report(window, "a window must be longer than 0");
        }
        Self { list, window: window.map(|window| window.value.duration()) }
    }

    /// A run that has counted nothing yet.
    pub(super) fn begin(&self) -> Run {
        Run { matches: vec![0; self.list.len()], lines: 0, shown: Vec::new() }
    }

    /// Counts `line`.
    pub(super) fn count(&self, run: &mut Run, line: &[u8]) {
        run.lines += 1;
        for (pattern, count) in self.list.iter().zip(&mut run.matches) {
            let ignored = || pattern.ignore.as_ref().is_some_and(|ignore| ignore.is_match(line));
            if !pattern.matches.is_match(line) || ignored() {
                continue;
            }
            *count += 1;
            if run.shown.len() < MOST_SHOWN {
                let line = shown_line(line, MOST_OF_LINE);
                run.shown.push(format!("{}: {line}", pattern.name));
            }
        }
    }

    /// Adds what `run` counted to `counts`, and says what it means.
    pub(super) fn finish(
        &self,
        run: Run,
        counts: &mut Counts,
        now: Timestamp,
        source: (&'static str, &str),
    ) -> Outcome {
        counts.totals.resize(self.list.len(), 0);
        counts.lines += run.lines;
        counts.totals.iter_mut().zip(&run.matches).for_each(|(total, new)| *total += new);
        let judged = self.within_window(&run, counts, now);
        let mut status = Status::Ok;
        let mut over = Vec::new();
        let mut measurements = Vec::new();
        for (pattern, count) in self.list.iter().zip(&judged) {
            let value = *count as f64;
            let found = Range::judge(value, pattern.warn.as_ref(), pattern.crit.as_ref());
            if found != Status::Ok {
                over.push(format!("`{}` matched {count} lines", pattern.name));
            }
            status = status.worse(found);
            measurements.push(Measurement {
                label: pattern.name.clone(),
                value,
                warn: pattern.warn.as_ref().map(Range::to_string),
                crit: pattern.crit.as_ref().map(Range::to_string),
                ..Measurement::default()
            });
        }
        let (new, lines) = (run.matches.iter().sum::<u64>(), run.lines);
        let summary = format!("{lines} new lines, {new} matches");
        let mut outcome = match status {
            Status::Ok => Outcome::ok(summary),
            status => {
                let summary = format!("{}; {summary}", over.join(", "));
                Outcome::new(status, Reason::PatternFound, summary)
            }
        };
        outcome.details = run.shown.join("\n");
        outcome.measurements = measurements;
        outcome.families = self.families(counts, source);
        outcome
    }

    /// The matches that are judged: of this run, or of all within the window.
    fn within_window(&self, run: &Run, counts: &mut Counts, now: Timestamp) -> Vec<u64> {
        let Some(window) = self.window else { return run.matches.clone() };
        // What is as long ago as the window is no longer in it; a clock set back empties nothing.
        counts.recent.retain(|(at, _)| now.since(*at) < window);
        if run.matches.iter().any(|count| *count > 0) {
            counts.recent.push_back((now, run.matches.clone()));
        }
        while counts.recent.len() > MOST_STEPS {
            let Some((_, oldest)) = counts.recent.pop_front() else { break };
            if let Some((_, next)) = counts.recent.front_mut() {
                next.iter_mut().zip(oldest).for_each(|(next, oldest)| *next += oldest);
            }
        }
        let mut sums = vec![0; self.list.len()];
        for (_, matches) in &counts.recent {
            sums.iter_mut().zip(matches).for_each(|(sum, count)| *sum += count);
        }
        sums
    }

    fn families(&self, counts: &Counts, (label, value): (&'static str, &str)) -> Vec<MetricFamily> {
        let mut matches =
            MetricFamily::counter("veilleur_log_matches_total", "Lines that matched, by pattern.");
        for (pattern, total) in self.list.iter().zip(&counts.totals) {
            matches.add(&[(label, value), ("pattern", &pattern.name)], *total as f64);
        }
        let mut lines = MetricFamily::counter("veilleur_log_lines_total", "Lines that were read.");
        lines.add(&[(label, value)], counts.lines as f64);
        vec![matches, lines]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn patterns(text: &str) -> (Patterns, String) {
        #[derive(Deserialize)]
        struct File {
            patterns: Vec<PatternConfig>,
            #[serde(default)]
            window: Option<Spanned<Period>>,
        }
        let mut diagnostics = Diagnostics::new("f.yml");
        let file: File = base::yaml::read(text, &mut diagnostics).unwrap();
        let built = Patterns::build(file.patterns, file.window.as_ref(), &mut diagnostics);
        (built, diagnostics.to_string())
    }

    fn look(patterns: &Patterns, counts: &mut Counts, at: i64, lines: &[&str]) -> Outcome {
        let mut run = patterns.begin();
        lines.iter().for_each(|line| patterns.count(&mut run, line.as_bytes()));
        patterns.finish(run, counts, Timestamp::from_millis(at * 1000), ("file", "/x"))
    }

    #[test]
    fn counts_what_matches_and_is_not_ignored() {
        let (patterns, faults) =
            patterns("patterns: [{name: e, matches: ERR, ignore: known, crit: 1}]");
        assert_eq!(faults, "");
        let mut counts = Counts::default();
        let outcome =
            look(&patterns, &mut counts, 0, &["ERR a", "ok", "ERR known", "ERR \u{1b}[b"]);
        assert_eq!((outcome.status, outcome.reason), (Status::Critical, Reason::PatternFound));
        assert_eq!(outcome.summary, "`e` matched 2 lines; 4 new lines, 2 matches");
        assert_eq!(outcome.details, "e: ERR a\ne: ERR \\u{1b}[b");
        assert_eq!(look(&patterns, &mut counts, 1, &["ERR"]).status, Status::Ok);
        assert_eq!((counts.totals[0], counts.lines), (3, 5));
    }

    #[test]
    fn a_window_remembers() {
        let (patterns, _) = patterns("patterns: [{name: e, matches: x, warn: 2}]\nwindow: 1m");
        let mut counts = Counts::default();
        let mut at = |second, lines: &[&str]| look(&patterns, &mut counts, second, lines).status;
        assert_eq!(at(0, &["x", "x"]), Status::Ok);
        assert_eq!(at(30, &["x"]), Status::Warning);
        assert_eq!(at(59, &[]), Status::Warning);
        assert_eq!(at(60, &[]), Status::Ok);
    }

    #[test]
    fn reports_what_is_no_pattern() {
        let text = "patterns: [{name: a, matches: '('}, {name: b, matches: b, warn: x}, \
                    {name: b, matches: b}]\nwindow: 0s";
        assert_eq!(
            patterns(text).1,
            "f.yml:1:31: `(` is not a regular expression: unclosed group\n\
             f.yml:1:65: `x` is not a range; write it like `10`, `10:`, `~:10`, `10:20` or `@10:20`\n\
             f.yml:1:76: `b` is empty, or names another pattern too\n\
             f.yml:2:9: a window must be longer than 0"
        );
    }
}
