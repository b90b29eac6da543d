//! What part of the metrics a reader wants: `collect[]` and `exclude[]`, as node_exporter has them.
//!
//! ```text
//! /metrics?collect[]=cpu&collect[]=meminfo     these collectors and nothing else of the host
//! /metrics?exclude[]=netclass                  all but this one
//! ```
//!
//! What checks, services and jobs measured is chosen as if it were one more collector, called
//! `checks`. What the agent says of itself is always there, as with node_exporter.
//!
//! Invariant: whoever asks for what is not there is told so, and never gets less without a word.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Shown;
use super::check_metrics::Seen;
use super::query::decode;
use crate::host::Wanted;

/// By which everything is chosen that is not the host's.
const CHECKS: &str = "checks";

/// A part of the metrics; all of them by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// What of the host.
    pub(super) host: Wanted,
    /// Whether with what checks, services and jobs measured.
    checks: bool,
}

impl Default for Choice {
    fn default() -> Self {
        Self { host: Wanted::All, checks: true }
    }
}

impl Choice {
    /// What `query` chooses, where `collectors` run.
    ///
    /// # Errors
    ///
    /// It chooses what is not there, or in both ways; the text does not repeat what was asked.
    pub(super) fn of(query: &str, collectors: &[&'static str]) -> Result<Self, String> {
        let (mut collect, mut exclude) = (None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (list, may_be_unknown): (&mut Option<BTreeSet<_>>, _) =
                match decode(name).as_deref() {
                    Ok("collect[]") => (&mut collect, false),
                    Ok("exclude[]") => (&mut exclude, true),
                    // Readers add parameters that mean something to others.
                    _ => continue,
                };
            let value = decode(value).map_err(|bad| bad.to_string())?;
            let found = collectors.iter().chain([&CHECKS]).find(|name| **name == value);
            if found.is_none() && !may_be_unknown {
                let there: Vec<_> = collectors.iter().chain([&CHECKS]).copied().collect();
                let there = there.join(", ");
                return Err(format!("`collect[]` names what does not run here; there is: {there}"));
            }
            list.get_or_insert_default().extend(found.copied());
        }
        match (collect, exclude) {
            (None, None) => Ok(Self::default()),
            (Some(_), Some(_)) => {
                Err("`collect[]` and `exclude[]` have no meaning together".to_owned())
            }
            (Some(collect), None) => Ok(Self::these(collect)),
            (None, Some(exclude)) => {
                let all = collectors.iter().chain([&CHECKS]).copied();
                Ok(Self::these(all.filter(|name| !exclude.contains(name)).collect()))
            }
        }
    }

    fn these(mut names: BTreeSet<&'static str>) -> Self {
        let checks = names.remove(CHECKS);
        Self { host: Wanted::These(Arc::new(names)), checks }
    }

    /// What is known of the checks, where it is chosen.
    pub(super) fn seen(&self, shown: &Shown) -> Option<Vec<Seen>> {
        self.checks.then(|| Seen::of(&shown.results.slots()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &str) {
        let said = match Choice::of(query, &["cpu", "loadavg", "uname"]) {
            Err(why) => why,
            Ok(Choice { host: Wanted::All, checks }) => format!("all {checks}"),
            Ok(Choice { host: Wanted::These(names), checks }) => {
                format!("{} {checks}", Vec::from_iter(names.iter().copied()).join(","))
            }
        };
        assert_eq!(said, expected, "{query}");
    }

    #[test]
    fn chooses_as_node_exporter_does() {
        check("", "all true");
        check("a=b&&name[]=cpu&%zz=1", "all true");
        check("collect[]=cpu&collect%5B%5D=uname&collect[]=cpu", "cpu,uname false");
        check("collect[]=cpu&collect[]=checks", "cpu true");
        check("exclude[]=cpu", "loadavg,uname true");
        check("exclude[]=cpu&exclude[]=nobody", "loadavg,uname true");
        check("exclude[]=checks", "cpu,loadavg,uname false");
        let unknown =
            "`collect[]` names what does not run here; there is: cpu, loadavg, uname, checks";
        check("collect[]=cpu&collect[]=ntp", unknown);
        check("collect[]=", unknown);
        check("collect[]=%3Cscript%3E", unknown);
        check("collect[]=%zz", "a `%` is not followed by two hexadecimal digits");
        check(
            "collect[]=cpu&exclude[]=cpu",
            "`collect[]` and `exclude[]` have no meaning together",
        );
    }
}
