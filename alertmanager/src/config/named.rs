//! What a file names: the values of labels that routes ask for, and receivers whose entries are wrong.
//!
//! Invariant: what is named here stands in the file, whatever else is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use base::diagnostic::Diagnostics;
use base::matcher::{MatchOp, Matcher};
use serde::Deserialize;

use super::FileConfig;
use crate::dispatch::RouteConfig;
use crate::matchers;
use crate::notify::Named;

/// The values of labels that the routes below `route` ask for, one by one.
pub(super) fn labels(route: &RouteConfig) -> Named {
    let mut found = BTreeMap::new();
    collect(route, &mut found);
    Named(found)
}

fn collect(route: &RouteConfig, found: &mut BTreeMap<String, BTreeSet<String>>) {
    let mut add = |name: &str, values: &mut dyn Iterator<Item = String>| {
        found.entry(name.to_owned()).or_default().extend(values);
    };
    for (name, value) in &route.equal {
        add(&name.value, &mut std::iter::once(value.clone()));
    }
    let patterns = route.match_re.iter().filter_map(|(name, pattern)| {
        Matcher::new(&name.value, MatchOp::Matches, &pattern.as_ref()?.value).ok()
    });
    let written = route.matchers.iter().filter_map(|text| matchers::parse(&text.value).ok());
    for matcher in written.flatten().chain(patterns) {
        match (matcher.op(), matcher.pattern().and_then(|pattern| pattern.texts())) {
            (MatchOp::Equal, _) => {
                add(matcher.name(), &mut std::iter::once(matcher.value().to_owned()));
            }
            (MatchOp::Matches, Some(texts)) => add(matcher.name(), &mut texts.iter().cloned()),
            _ => {}
        }
    }
    route.routes.iter().for_each(|route| collect(&route.value, found));
}

/// The names of all receivers, also of those whose entries cannot be read; nothing where a name is
/// what cannot be read.
pub(super) fn receivers(text: &str) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct File {
        receivers: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
    }
    let mut faults = Diagnostics::new("");
    let file: Option<File> = base::yaml::read(text, &mut faults);
    let names = file?.receivers.into_iter().map(|entry| entry.name).collect();
    faults.is_empty().then_some(names)
}

impl FileConfig {
    /// Whether nothing is in it but sections that Alertmanager has, too: a file that was written for
    /// it is taken as it is.
    pub(super) fn is_of_alertmanager(&self) -> bool {
        self.route.is_some()
            && self.scrape_configs.is_empty()
            && self.scrape_config_files.is_empty()
            && self.rule_files.is_empty()
            && self.slos.is_empty()
            && self.maintenance.is_empty()
            && self.sources.is_empty()
            && self.watchdog.is_none()
            && self.alerting.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::*;

    #[test]
    fn values_that_routes_ask_for_one_by_one() {
        let text = "{matchers: ['a=\"b\"', 'c=~\"d|e\"', 'f!=\"g\"', 'h=~\"i.*\"'], match: {j: k}, \
                    routes: [{match_re: {a: 'l|m'}}]}";
        let route: RouteConfig = base::yaml::read(text, &mut Diagnostics::new("")).unwrap();
        let Named(found) = labels(&route);
        let shown: Vec<_> = found
            .iter()
            .map(|(name, values)| {
                format!("{name}: {}", values.iter().cloned().collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(shown, ["a: b l m", "c: d e", "j: k"]);
    }

    #[test]
    fn a_route_to_nobody_is_told_although_a_receiver_is_wrong() {
        let check = |text: &str, expected: &[&str]| {
            let faults = parse("f.yml", text, Path::new("."), None).unwrap_err().to_string();
            for part in expected {
                assert!(faults.contains(part), "{text}: {faults}");
            }
            let lines = faults.lines().filter(|line| !line.starts_with(' ')).count();
            assert_eq!(lines, expected.len(), "{text}: {faults}");
        };
        let nobody = "there is no receiver `nobody`";
        check(
            "route: {receiver: ops, routes: [{receiver: nobody}, {receiver: dev}]}\nreceivers:\n\
             - {name: ops, webhook_configs: [{urll: 'http://h/'}]}\n- {name: dev, slack: 5}",
            &[nobody, "urll", "`url` is missing", "slack"],
        );
        check(
            "route: {receiver: nobody}\nreceivers:\n- {name: ops, email_configs: 5}",
            &[nobody, "expected a list"],
        );
        // Who it is cannot be read: nobody may be it.
        let text = "route: {receiver: nobody}\nreceivers:\n- {name: [ops]}";
        let faults = parse("f.yml", text, Path::new("."), None).unwrap_err().to_string();
        assert!(!faults.contains(nobody), "{faults}");
    }

    #[test]
    fn a_template_is_taken_in_a_file_of_alertmanagers_and_listed_in_one_of_ours() {
        let file = |more: &str, allowed: &str| {
            let text = format!(
                "{more}route: {{receiver: ops}}\nreceivers:\n- name: ops\n{allowed}  \
                 slack_configs: [{{api_url: 'http://h/', channel: '#{{{{ .CommonLabels.x }}}}'}}]\n"
            );
            let read = parse("f.yml", &text, Path::new("."), None);
            read.map(|config| config.notes.len()).map_err(|faults| faults.to_string())
        };
        let ours = "watchdog: {url: 'http://h/'}\n";
        assert_eq!(file("", ""), Ok(1));
        assert!(file(ours, "").unwrap_err().contains("`channel` cannot come from an alert"));
        assert_eq!(file(ours, "  allowed_recipients: ['#a']\n"), Ok(0));
        assert_eq!(file("", "  allowed_recipients: ['#a']\n"), Ok(0));
    }
}
