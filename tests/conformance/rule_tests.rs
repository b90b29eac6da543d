//! Unit tests of rules, and what promtool checks.
//!
//! Invariant: a file that must fail has passed only if it was understood: what is not supported yet
//! is no reason to fail.

use std::path::Path;

use alertmanager::config;
use alertmanager::rules::{Unknown, read_file};
use alertmanager::unit_test::{Options, run_file};
use base::period::Period;
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
                config::read(&path, None).map(drop).map_err(|faults| faults.to_string())
            }
            _ => Err(format!("`{command}` is not there")),
        };
        let result = match (expected, found) {
            ("ok", found) => found,
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

/// Whether what is said names what is wrong: one of the words of the reference that say something.
fn named(said: &str, why: &str) -> Result<(), String> {
    let known = ["unknown", "credentials", "hostname", "targats", "duplicate"];
    let mut words = known.iter().filter(|word| why.contains(**word) || why.is_empty()).peekable();
    let blank = words.peek().is_none() || why.is_empty();
    if blank && !said.contains("is not there") || words.any(|word| said.contains(word)) {
        Ok(())
    } else {
        Err(format!("expected: {why}; said: {said}"))
    }
}
