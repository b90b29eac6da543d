//! Unit tests of rules, and what promtool checks.
//!
//! Invariant: a file that must fail has passed only if it was understood: what is not supported yet
//! is no reason to fail.

use std::collections::BTreeSet;
use std::path::Path;

use alertmanager::config::{self, Files, Reading};
use alertmanager::discovery::TargetGroupConfig;
use alertmanager::rules::{Findings, Unknown, read_file};
use alertmanager::scrape;
use alertmanager::unit_test::{Options, run_file};
use base::diagnostic::Diagnostics;
use base::period::Period;
use base::yaml;
use regex::Regex;
use tokio::runtime::Builder;

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let manifest = report.text("rule-tests/manifest.tsv");
    let results: Vec<_> = manifest
        .lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [file, exit, flags] = columns[..3] else { panic!("{line:?}") };
            let mut flags = flags.split_whitespace();
            let mut options = Options::default();
            while let Some(flag) = flags.next() {
                match flag {
                    "--run" => options.only = Some(Regex::new(flags.next().unwrap()).unwrap()),
                    "--ignore-unknown-fields" => options.unknown = Unknown::Ignored,
                    other => panic!("{other}"),
                }
            }
            let path = report.path(&format!("rule-tests/{file}"));
            let outcome = runtime.block_on(run_file(&path, &options));
            let said = outcome.faults.to_string();
            let result = match (exit, outcome.faults.is_empty()) {
                ("0", true) => Ok(()),
                ("0", false) => Err(said),
                ("1", true) => Err("passed, and must fail".to_owned()),
                ("1", false) if said.contains("not supported") => Err(said),
                ("1", false) => Ok(()),
                (other, _) => panic!("exit status {other:?}"),
            };
            (format!("{file} {}", columns[2]), result)
        })
        .collect();
    report.suite("rule-tests/files", results);
}

pub(crate) fn promtool(report: &mut Report) {
    let manifest = report.text("promtool/manifest.tsv");
    let mut results = Vec::new();
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, command, expected, why] = columns[..4] else { panic!("{line:?}") };
        let path = report.path(&format!("promtool/{file}"));
        let found = match command {
            "check rules" => rules(&path, Unknown::Refused),
            "check rules --ignore-unknown-fields" => rules(&path, Unknown::Ignored),
            _ if command.starts_with("check config") => {
                let files = match command.ends_with("--syntax-only") {
                    true => Files::Spared,
                    false => Files::Needed,
                };
                let read = config::read_as(Reading::Prometheus, &path, None, files);
                read.map_err(|faults| faults.to_string()).and_then(|config| {
                    let missing = config.missing.join("\n");
                    if missing.is_empty() { Ok(()) } else { Err(missing) }
                })
            }
            "check metrics (stdin)" => {
                let expected = path.with_extension("promtool-3.5.3.txt");
                let result = metrics(&path, &std::fs::read_to_string(expected).unwrap());
                results.push((format!("{file} {command}"), result));
                continue;
            }
            "file_sd" => targets(&path),
            _ => {
                results.push((file.to_owned(), Err(format!("`{command}` is not there"))));
                continue;
            }
        };
        let result = match (expected, found) {
            ("ok", found) => found,
            ("lint", Ok(())) if command.starts_with("check rules") => lint(&path, why),
            (_, Ok(())) => Err(format!("accepted; expected {expected}: {why}")),
            (_, Err(said)) => named(&said, why),
        };
        results.push((format!("{file} {command}"), result));
    }
    report.suite("promtool/checks", results);
}

fn rules(path: &Path, unknown: Unknown) -> Result<(), String> {
    let read = read_file(path, Period::from_secs(60), unknown);
    read.map(drop).map_err(|faults| faults.to_string())
}

/// Whether the same is told of metrics as promtool has told: what the manifest says of it is less.
fn metrics(path: &Path, expected: &str) -> Result<(), String> {
    let text = std::fs::read(path).unwrap();
    let found = scrape::lint(&text, 1 << 20).map_err(|error| error.to_string())?;
    let told: String = found.iter().map(|p| format!("{} {}\n", p.metric, p.text)).collect();
    if told == expected { Ok(()) } else { Err(format!("{told:?}, not {expected:?}")) }
}

/// Whether something is told of a file that is right.
fn lint(path: &Path, why: &str) -> Result<(), String> {
    let mut findings = Findings::new(BTreeSet::new());
    findings.look_at(path, Unknown::Refused);
    match findings.found.is_empty() {
        true => Err("nothing is told".to_owned()),
        false => named(&findings.found.to_string(), why),
    }
}

fn targets(path: &Path) -> Result<(), String> {
    let mut diagnostics = Diagnostics::new(&path.display().to_string());
    let groups: Option<Vec<TargetGroupConfig>> = yaml::read_file(path, &mut diagnostics);
    for group in groups.iter().flatten() {
        group.build("", &mut diagnostics);
    }
    diagnostics.into_result(()).map_err(|faults| faults.to_string())
}

/// Whether what is said names what the reference names: one of its words that say something.
fn named(said: &str, why: &str) -> Result<(), String> {
    let words = why.split_whitespace().map(|word| word.trim_matches(['"', '\'', '`', ':', ',']));
    let mut telling = words.filter(|word| word.len() > 5);
    if why.is_empty() || telling.any(|word| said.contains(word)) {
        Ok(())
    } else {
        Err(format!("expected: {why}; said: {said}"))
    }
}
