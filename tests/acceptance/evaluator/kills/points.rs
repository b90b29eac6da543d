//! The points within the evaluator at which it can be made to crash.
//!
//! Invariant: they are those that its code has; a test compares the two.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The one that only the first start on a folder passes.
pub(super) const FIRST: &str = "schema.saving";

/// The names of the others, in the order of an alert's way.
pub(super) const POINTS: &[&str] = &[
    "reload.stopped",
    "reload.reconciled",
    "reload.adopted",
    "reload.done",
    "push.durable",
    "push.answering",
    "timers.saving",
    "timers.saved",
    "silences.saving",
    "silences.saved",
    "silence.answering",
    "journal.appended",
    "journal.synced",
    "journal.copy.begun",
    "journal.copy.written",
    "journal.copy.synced",
    "journal.copy.renamed",
    "journal.copied",
    "intent.durable",
    "intent.withdrawn",
    "flight.noted",
    "message.sent",
    "failure.noted",
    "receipt.noted",
    "receipt.seen",
    "history.saving",
    "history.saved",
];

/// The names in the code below `folder`.
fn named(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named(&path, names);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let found = text.split("crash::point(\"").skip(1);
        names.extend(found.map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
}

#[test]
fn every_point_of_the_code_has_a_crash() {
    let mut names = BTreeSet::new();
    named(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../alertmanager/src")), &mut names);
    let known = POINTS.iter().chain([&FIRST]).map(|name| (*name).to_owned());
    assert_eq!(names, known.collect());
}
