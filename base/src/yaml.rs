//! Reading YAML configuration: into the structs of its owner, with a place for every value, and
//! with every fault of the file found in one pass.
//!
//! ```text
//! text ──compose──▶ tree of nodes ──read──▶ struct
//!                        ▲            │ a fault: note it, take the faulty node out, read again
//!                        └────────────┘
//! ```
//!
//! serde stops at the first fault. Since the tree stays, a faulty node can be taken out of it and
//! the rest read again, until the rest is right; so the structs stay plain derived ones.
//!
//! `${env:NAME}` in a value is replaced by the environment variable, `${env:NAME:-text}` by `text`
//! where there is none; this is the only place that reads the environment. It happens after the
//! YAML is read, so a variable cannot bring structure with it.
//!
//! Invariant: no input makes this run out of stack, memory or time: bytes, depth and the number of
//! nodes after aliases are expanded are bounded (X24).

mod indent;
mod compose;
mod read;
mod schema;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};

use crate::diagnostic::{Diagnostics, Place, Spanned};

/// The largest file that is read.
pub const MAX_BYTES: usize = 32 << 20;

/// Reads `text` as a `T`, reporting everything that is wrong with it to `diagnostics`.
///
/// Where something is reported the result is what could be read of the rest, so that its further
/// checks can run too; `None` where nothing is left.
pub fn read<T: DeserializeOwned>(text: &str, diagnostics: &mut Diagnostics) -> Option<T> {
    let mut root = compose::compose(text, diagnostics)?;
    loop {
        match read::from_node(&root) {
            Ok(value) => return Some(value),
            Err(fault) => {
                diagnostics.set_partial(root.section(&fault.path));
                if !root.take_out(fault, diagnostics) {
                    return None;
                }
            }
        }
    }
}

/// Whether a fault is that of a setting that nobody knows, and nothing else.
pub fn is_unknown_setting(fault: &crate::diagnostic::Fault) -> bool {
    fault.message().starts_with(compose::UNKNOWN_SETTING)
}

/// Whether a fault is that the file goes on where its document has ended, and nothing else.
pub fn is_second_document(fault: &crate::diagnostic::Fault) -> bool {
    fault.message() == compose::SECOND_DOCUMENT
}

/// As [`read`], of the file at `path`; a file that cannot be read is reported too.
pub fn read_file<T: DeserializeOwned>(
    path: &std::path::Path,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let text = match std::fs::read(path) {
        Ok(bytes) if bytes.len() > MAX_BYTES => Err("is larger than 32 MiB".to_owned()),
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned()),
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    match text {
        Ok(text) => read(&text, diagnostics),
        Err(message) => {
            diagnostics.report_file(message);
            None
        }
    }
}

/// The environment variable `name`, for settings that say that it counts.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The names by which [`Spanned`] asks our deserializer for a place; no other has them.
const SPANNED: &str = "$base::Spanned";
const SPANNED_FIELDS: &[&str] = &["place", "value"];

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpannedVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spanned<T>, A::Error> {
                let bug = || serde::de::Error::custom("places are known in our own YAML only");
                let (_, [line, column]): (String, [u32; 2]) = map.next_entry()?.ok_or_else(bug)?;
                let (_, value): (String, T) = map.next_entry()?.ok_or_else(bug)?;
                Ok(Spanned { value, place: Place { line, column } })
            }
        }

        deserializer.deserialize_struct(SPANNED, SPANNED_FIELDS, SpannedVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::period::Period;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        checks: Vec<Check>,
        #[serde(default)]
        size: Option<u64>,
        #[serde(default)]
        on: bool,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Check {
        name: Spanned<String>,
        #[serde(default)]
        interval: Option<Spanned<Period>>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        #[serde(default)]
        probe: Option<Probe>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Probe {
        Tcp { address: String },
        Host,
        Program(Vec<String>),
    }

    fn parse(text: &str) -> (Option<File>, String) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let file = read(text, &mut diagnostics);
        (file, diagnostics.to_string())
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(parse(text).1, expected, "{text}");
    }

    #[test]
    fn reads_values_with_their_places() {
        let (file, faults) = parse("checks:\n  - name: a\n    interval: 90s\n    labels: {n: 1}\n");
        let check = &file.unwrap().checks[0];
        assert_eq!((check.name.place.line, check.name.place.column), (2, 11));
        assert_eq!(check.interval.unwrap().value.to_string(), "1m30s");
        assert_eq!(check.labels["n"], "1");
        assert_eq!(faults, "");
    }

    #[test]
    fn lines_of_a_quoted_text_may_go_back_to_the_left() {
        let check = |name: &str, expected: &str| {
            let (file, faults) =
                parse(&format!("checks:\n  - name: {name}\n    labels: {{n: 1}}\n"));
            assert_eq!(faults, "");
            assert_eq!(file.unwrap().checks[0].name.value, expected);
        };
        check("\"a\n  b\n\nc: d\"", "a b\nc: d");
        check("'a\nb'", "a b");
        super::tests::check("checks:\n  - name: \"a\nb\n", "f.yml:2:11: unclosed quote");
    }

    #[test]
    fn reads_every_form_of_a_variant() {
        let text = "checks: [{name: a, probe: {tcp: {address: x}}}, {name: b, probe: host}, \
                    {name: c, probe: {host: }}, {name: d, probe: {program: [x, 'y']}}]";
        let (file, faults) = parse(text);
        assert_eq!(faults, "");
        let probes: Vec<_> = file.unwrap().checks.into_iter().filter_map(|c| c.probe).collect();
        let program = Probe::Program(vec!["x".into(), "y".into()]);
        let tcp = Probe::Tcp { address: "x".into() };
        assert_eq!(probes, [tcp, Probe::Host, Probe::Host, program]);
    }

    #[test]
    fn reports_every_fault_of_a_file_at_once() {
        let text = "checks:\n  - nmae: a\n    interval: 5x\n  - name: b\n    probe: {tpc: {}}\n  \
                    - name: [c]\nsize: many\non: maybe\nother: 1\n";
        check(
            text,
            "f.yml:2:5: unknown setting `nmae`\n  help: did you mean `name`?\n\
             f.yml:3:15: `5x` is not a period; write it like `30s`, `5m` or `1h30m`\n\
             f.yml:5:13: unknown kind `tpc`\n  help: did you mean `tcp`?\n\
             f.yml:6:11: expected a text, found a list\n\
             f.yml:7:7: expected a whole number, found `many`\n\
             f.yml:8:5: expected true or false, found `maybe`\n\
             f.yml:9:1: unknown setting `other`\n  help: known here: `checks`, `size`, `on`",
        );
    }

    #[test]
    fn a_missing_setting_is_reported_at_the_start_of_its_block() {
        check("checks:\n  - interval: 1s\n", "f.yml:2:5: `name` is missing");
    }

    #[test]
    fn what_is_empty_counts_as_not_written() {
        let (file, faults) = parse("checks:\nsize:\non:\n");
        assert_eq!((file.unwrap().checks.len(), faults.as_str()), (0, ""));
        assert!(parse("").0.is_some());
        let file = parse("# only a comment\n").0.unwrap();
        assert_eq!((file.size, file.on), (None, false));
    }

    #[test]
    fn faults_of_the_yaml_itself_have_a_place() {
        let first = |text: &str| parse(text).1.lines().next().unwrap_or_default().to_owned();
        assert!(first("checks: [").starts_with("f.yml:"), "{}", first("checks: ["));
        assert!(first("a: b: c").starts_with("f.yml:1:"), "{}", first("a: b: c"));
        check("on: true\non: false\n", "f.yml:2:1: `on` is written twice, first in line 1");
        check("on: *x\n", "f.yml:1:5: while parsing node, found unknown anchor");
        check("---\non: true\n---\non: true\n", "f.yml:3:1: a second document begins here");
        check("[1]", "f.yml:1:1: expected settings, found a list");
        // It can be a secret that was put too high.
        check("hunter2", "f.yml:1:1: expected settings, found a text");
    }

    #[test]
    fn expands_aliases_merges_and_the_environment() {
        let text = "checks:\n  - &a {name: a, labels: &l {x: '1', y: '2'}}\n  \
                    - {<<: *a, name: b}\n  - {name: c, labels: {<<: *l, y: '${env:NONE_SUCH:-3}'}}";
        let (file, faults) = parse(text);
        assert_eq!(faults, "");
        let checks = file.unwrap().checks;
        assert_eq!((checks[1].name.value.as_str(), checks[1].labels["x"].as_str()), ("b", "1"));
        assert_eq!(checks[2].labels["y"], "3");
        check(
            "checks: [{name: '${env:NONE_SUCH}'}]",
            "f.yml:1:17: the environment variable `NONE_SUCH` is not set\n  \
             help: set it, or give a default: `${env:NONE_SUCH:-text}`",
        );
    }

    #[test]
    fn binary_values_are_bytes_to_whom_takes_bytes() {
        #[derive(Debug)]
        struct Bytes(Vec<u8>);

        impl<'de> Deserialize<'de> for Bytes {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct BytesVisitor;

                impl Visitor<'_> for BytesVisitor {
                    type Value = Bytes;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("bytes")
                    }

                    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                        Ok(Bytes(bytes.to_vec()))
                    }
                }

                deserializer.deserialize_bytes(BytesVisitor)
            }
        }

        let read = |text: &str| {
            let mut diagnostics = Diagnostics::new("f.yml");
            let bytes: Option<Vec<Bytes>> = super::read(text, &mut diagnostics);
            (bytes.unwrap_or_default().into_iter().map(|b| b.0).collect::<Vec<_>>(), diagnostics)
        };
        let (bytes, _) = read("[!!binary AAAACATSFi8=, !!binary 'Zg==', Zg==, 007, !!binary '']");
        let expected: [&[u8]; 5] = [b"\0\0\0\x08\x04\xd2\x16/", b"f", b"Zg==", b"007", b""];
        assert_eq!(bytes, expected);
        for bad in ["[!!binary a]", "[!!binary '=']", "[!!binary 'a-=='] "] {
            let told = read(bad).1.to_string();
            assert!(
                told.ends_with("this !!binary value contains invalid base64 data"),
                "{bad}: {told}"
            );
        }
        check("checks: [{name: !!binary Zg==}]", "f.yml:1:26: expected a text, found bytes");
    }

    #[test]
    fn bombs_are_refused_within_limits_x24() {
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
            let deep = format!("{}1{}", open.repeat(1_000_000), close.repeat(1_000_000));
            let (file, faults) = parse(&deep);
            assert!(file.is_none() && faults.len() < 500, "{faults}");
        }
        // Of itself, twice the same, numbers that nothing holds, and tabs.
        for (text, expected) in [
            ("checks: &a [*a]\n", "an alias refers to what contains it"),
            ("on: true\non: true\n", "`on` is written twice"),
            ("size: 99999999999999999999999\n", "f.yml:1:7: "),
            ("size: 1e400\n", "f.yml:1:7: "),
            ("on:\n\ttrue\n", "f.yml:"),
        ] {
            let (_, faults) = parse(text);
            assert!(faults.contains(expected), "{text}: {faults}");
        }
        // One that is used by many, and those of those.
        let wide = format!("checks: &a [{}]\nsize: [{}]\n", "x,".repeat(5000), "*a,".repeat(5000));
        assert!(parse(&wide).1.contains("too many values"), "{}", parse(&wide).1);
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..12 {
            let list = vec![format!("*a{}", n - 1); 10].join(",");
            laughs.push_str(&format!("a{n}: &a{n} [{list}]\n"));
        }
        assert!(parse(&laughs).1.contains("too many values"), "{}", parse(&laughs).1);
    }

    #[test]
    fn what_depends_on_a_fault_is_not_reported_as_missing() {
        check("checks:\n  - name: [x]\n", "f.yml:2:11: expected a text, found a list");
    }
}
