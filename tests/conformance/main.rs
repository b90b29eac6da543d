//! Runs every suite of the conformance data that the code covers, and prints a line for each.
//!
//! ```text
//! exposition/expfmt                 44/44
//! ...
//! all                               ...
//! ```
//!
//! The data stay where they are (`CONFORMANCE_DIR`, by default `../shared/conformance` beside the
//! project). `floor.tsv` holds how many cases passed last; with fewer the run fails, and
//! `UPDATE_FLOOR=1` writes what is reached. With `CONFORMANCE_VERBOSE=1` the cases that fail are
//! named.
//!
//! Invariant: a case counts as passed only if its whole expectation was compared.

mod report;
mod blackbox;
mod exposition;
mod durations;
mod nagios;
mod node;
mod relabel;
mod remote_write;
mod promql;
mod templates;
mod matchers;
mod routing;
mod mutes;
mod scenarios;
mod amconfig;
mod rule_tests;
mod prometheus;
mod names;
mod rules;
mod http_api;

use std::path::PathBuf;
use std::process::ExitCode;

use report::Report;

type Suite = fn(&mut Report);

/// Every suite: the folder of its data, and what runs it.
const SUITES: &[(&str, Suite)] = &[
    ("exposition", exposition::run),
    ("durations", durations::run),
    ("nagios", nagios::run),
    ("node", node::run),
    ("blackbox", blackbox::run),
    ("relabel", relabel::run),
    ("remote-write", remote_write::run),
    ("promql", promql::run),
    ("promql-golden", promql::run_golden),
    ("promql-parse", promql::run_parse),
    ("templates", templates::rules),
    ("rule-sets", templates::rule_sets),
    ("rule-sets", rules::sets),
    ("rule-files", rules::files),
    ("alertmanager-tables", matchers::run),
    ("alertmanager-tables", routing::run),
    ("alertmanager-tables", mutes::run),
    ("alertmanager-tables", templates::notifications),
    ("alertmanager-templates", templates::defaults),
    ("alertmanager-scenarios", scenarios::run),
    ("alertmanager-config", amconfig::run),
    ("rule-tests", rule_tests::run),
    ("promtool", rule_tests::promtool),
    ("http-api", http_api::run),
    ("prometheus-config", prometheus::config),
    ("http-client-config", prometheus::http_client),
    ("sd-files", prometheus::targets),
    ("names", names::run),
];

fn main() -> ExitCode {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = std::env::var_os("CONFORMANCE_DIR")
        .map_or_else(|| project.join("../shared/conformance"), PathBuf::from);
    let mut report = Report::new(dir, std::env::var_os("CONFORMANCE_VERBOSE").is_some());
    let only: Vec<_> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    for (folder, run) in SUITES {
        if !only.is_empty() && !only.iter().any(|name| name == folder) {
            continue;
        }
        if report.path(folder).is_dir() {
            run(&mut report);
        } else {
            report.not_run(folder);
        }
    }
    let floor = project.join("tests/conformance/floor.tsv");
    let update = std::env::var_os("UPDATE_FLOOR").is_some();
    let may_skip = std::env::var_os("CI").is_none();
    if report.finish(&floor, update, may_skip) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
