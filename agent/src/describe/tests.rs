//! Every kind has its page, and the documents show what we tell.
//!
//! Invariant: a new kind fails here until its page is written.

use std::fs;
use std::path::Path;

use probes::Reason;
use probes::manual::manual;

use super::{kind, known, list, markdown};
use crate::config::{Source, Terms};
use crate::schema::schema;

/// A configuration as it can be tried anywhere: programs and variables that need not be here are
/// replaced.
pub(crate) fn here(text: &str) -> String {
    let text = text.replace("/usr/lib/nagios/plugins/check_disk", "/bin/df");
    let mut parts = text.split("${env:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "x" + part.split_once('}').map_or("", |(_, end)| end))
}

#[test]
fn every_kind_has_a_page_with_an_example_that_is_right() {
    let root = schema();
    let mut wrong = Vec::new();
    for name in known(&root).unwrap().keys() {
        let page = match manual(name) {
            Ok(page) => page,
            Err(diagnostics) => {
                wrong.push(format!("{diagnostics}"));
                continue;
            }
        };
        for reason in page.reasons.iter().filter(|label| Reason::from_label(label).is_none()) {
            wrong.push(format!("{name}: there is no reason `{reason}`"));
        }
        let text = here(&format!("checks:\n{}", page.example));
        let source = Source::Embedded { name: "agent.yml", text: text.clone() };
        if let Err(diagnostics) = source.load(Terms { once: true, ..Terms::default() }) {
            wrong.push(format!("the example of {name}: {diagnostics}\n{text}"));
        }
        if !text.contains(&format!("  {name}:\n")) {
            wrong.push(format!("the example of {name} has no `{name}`"));
        }
        let told = kind(name).unwrap();
        for part in ["Settings\n", "Reasons\n", "Example\n"] {
            assert!(told.contains(part), "{told}");
        }
        assert!(list().contains(&format!("\n{name} ")) || list().starts_with(name), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_kind_that_there_is_not_is_told() {
    assert_eq!(kind("htpp").unwrap_err(), "there is no kind `htpp`; did you mean `http`?");
    assert_eq!(
        kind("hartbeat").unwrap_err(),
        "there is no kind `hartbeat`; did you mean `heartbeat`?"
    );
    assert!(kind("xyzzy").unwrap_err().contains("`veilleur-agent describe` lists them"));
}

#[test]
fn the_documents_show_what_is_told() {
    let (begin, end) = ("<!-- begin: veilleur-agent describe --markdown -->\n", "<!-- end -->");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/probes.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(begin).expect("the mark where the kinds begin");
    let (_, after) = rest.split_once(end).expect("the mark where the kinds end");
    let written = format!("{before}{begin}{}\n{end}{after}", markdown().unwrap());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &written).unwrap();
    } else {
        assert!(written == text, "docs/probes.md is not what `describe` tells: run `make docs`");
    }
}
