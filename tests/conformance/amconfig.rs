//! Alertmanager's configuration files: which are taken, and that what is wrong is named.
//!
//! Invariant: a file that is refused has passed only if a fault names what the reference names.

use alertmanager::config;
use regex::Regex;

use crate::report::Report;

pub(crate) fn run(report: &mut Report) {
    let folder = report.path("alertmanager-config/files");
    let manifest = report.text("alertmanager-config/manifest.tsv");
    let results: Vec<_> = manifest
        .lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let name = columns[0];
            let found = config::read(&folder.join(name), None);
            // By the rules for UTF-8 names, which are amtool's default.
            let expected = (columns[3] == "ok", columns[2]);
            let result = match (found, expected) {
                (Ok(_), (true, _)) => Ok(()),
                (Ok(_), (false, why)) => Err(format!("accepted; expected: {why}")),
                (Err(faults), (true, _)) => Err(faults.to_string()),
                (Err(faults), (false, why)) => named(&faults.to_string(), why),
            };
            (name.to_owned(), result)
        })
        .collect();
    report.suite("alertmanager-config/files", results);
    let examples = ["simple", "ha"].map(|name| {
        let path = report.path(&format!("alertmanager-config/examples/{name}.yml"));
        let found = config::read(&path, None).map(drop).map_err(|faults| faults.to_string());
        (name.to_owned(), found)
    });
    report.suite("alertmanager-config/examples", examples);
}

/// Whether the faults name something that the reference names: a setting, what is in quotes, a field,
/// or words that are a setting's, such as `Topic ARN`.
fn named(faults: &str, expected: &str) -> Result<(), String> {
    let names = "\"([^\"]+)\"|([a-z]+(?:_[a-z]+)+)|(receiver|matchers)|field ([a-z]+)";
    let names = Regex::new(names).unwrap();
    let found = names.captures_iter(expected).any(|captures| {
        captures.iter().skip(1).flatten().any(|name| faults.contains(name.as_str()))
    });
    let words: Vec<_> = expected.split(|c: char| !c.is_alphanumeric()).collect();
    let setting = |words: &[&str]| format!("`{}`", words.join("_").to_lowercase());
    let mut settings = (2..=3).flat_map(|count| words.windows(count)).map(setting);
    let found = found || settings.any(|setting| faults.contains(&setting));
    if found { Ok(()) } else { Err(format!("expected: {expected}; told:\n{faults}")) }
}
