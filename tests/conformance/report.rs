//! Counts what passed, suite by suite, and compares it with the floor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The counts so far.
pub(crate) struct Report {
    dir: PathBuf,
    verbose: bool,
    suites: Vec<(String, usize, usize)>,
    not_run: Vec<String>,
}

impl Report {
    pub(crate) fn new(dir: PathBuf, verbose: bool) -> Self {
        Self { dir, verbose, suites: Vec::new(), not_run: Vec::new() }
    }

    /// A path below the folder of the data.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path)
    }

    /// A text file of the data.
    pub(crate) fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// The cases of a JSON table.
    pub(crate) fn cases(&self, path: &str) -> Vec<Value> {
        let table: Value = serde_json::from_str(&self.text(path)).unwrap();
        table["cases"].as_array().unwrap_or_else(|| panic!("{path} has no cases")).clone()
    }

    /// Runs `case` over all cases of a JSON table; an `Err` says what differs.
    pub(crate) fn table(&mut self, path: &str, case: impl Fn(&Value) -> Result<(), String>) {
        self.table_as(path.trim_end_matches(".json"), path, case);
    }

    /// As [`Report::table`], for a table that is judged in more than one way.
    pub(crate) fn table_as(
        &mut self,
        name: &str,
        path: &str,
        case: impl Fn(&Value) -> Result<(), String>,
    ) {
        let cases = self.cases(path);
        self.suite(
            name,
            cases.iter().map(|c| (c["id"].as_str().unwrap_or("?").to_owned(), case(c))),
        );
    }

    /// Counts the results of a suite's cases, each with its name.
    pub(crate) fn suite(
        &mut self,
        name: &str,
        cases: impl IntoIterator<Item = (String, Result<(), String>)>,
    ) {
        let (mut passed, mut total) = (0, 0);
        for (id, result) in cases {
            total += 1;
            match result {
                Ok(()) => passed += 1,
                Err(why) if self.verbose => println!("  {name} {id}: {why}"),
                Err(_) => {}
            }
        }
        println!("{name:<40} {passed}/{total}");
        self.suites.push((name.to_owned(), passed, total));
    }

    /// Notes that the data of a suite are not there.
    pub(crate) fn not_run(&mut self, name: &str) {
        println!("{name:<40} not run: {} is missing", self.path(name).display());
        self.not_run.push(name.to_owned());
    }

    /// Prints the sum and says whether everything is at least as good as the floor.
    pub(crate) fn finish(self, floor: &Path, update: bool, may_skip: bool) -> bool {
        let passed: usize = self.suites.iter().map(|s| s.1).sum();
        let total: usize = self.suites.iter().map(|s| s.2).sum();
        println!("{:<40} {passed}/{total}", "all");
        let mut before: BTreeMap<String, usize> = std::fs::read_to_string(floor)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
            .collect();
        let mut good = self.not_run.is_empty() || may_skip;
        for (name, passed, _) in &self.suites {
            let floor = before.get(name).copied().unwrap_or(0);
            if *passed < floor && !update {
                println!("{name}: {passed} passed, {floor} did before");
                good = false;
            }
            before.insert(name.clone(), *passed);
        }
        if update {
            let text: String = before.iter().map(|(name, n)| format!("{name}\t{n}\n")).collect();
            std::fs::write(floor, text).unwrap();
        }
        good
    }
}
