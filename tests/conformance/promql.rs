//! PromQL: how expressions are read and printed, and what they come to.
//!
//! Each script of `promql/` is one suite, with a case for every evaluation in it.

mod parse;
mod script;
mod run;
mod compare;
mod classic;
mod golden;

pub(crate) use golden::run as run_golden;
pub(crate) use parse::run as run_parse;

use promql::Features;

use crate::report::Report;

/// Runs the scripts, with the feature flags that they ask for, and without.
pub(crate) fn run(report: &mut Report) {
    let mut files: Vec<_> = std::fs::read_dir(report.path("promql"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".test"))
        .collect();
    files.sort();
    for file in files {
        let text = report.text(&format!("promql/{file}"));
        let (commands, name) = (script::commands(&text), file.trim_end_matches(".test"));
        let flags = Features { late_names: true, start_times: true };
        report.suite(&format!("promql/{name}"), run::script(&commands, flags));
        let results = run::script(&commands, Features::default());
        report.suite(&format!("promql without flags/{name}"), results);
    }
}
