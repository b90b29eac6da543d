//! What targets say of their metrics: the kind, the help text and the unit of each family.
//!
//! Invariant: what a target says takes no more than [`MOST_BYTES`], and is replaced as a whole by a
//! scrape that succeeded.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base::exposition::Entry;
use base::family::MetricKind;

/// The most that the texts of one target may take; what comes after that is not kept.
const MOST_BYTES: usize = 2 << 20;

/// What is said of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// What its values mean.
    pub kind: MetricKind,
    /// The unit; empty for none.
    pub unit: String,
    /// What it measures.
    pub help: String,
}

/// What a target says, by the names of the families.
pub type Metadata = BTreeMap<String, Described>;

/// Collects what is said from scrape to scrape; a scrape that says the same again costs no memory.
#[derive(Debug, Default)]
pub(super) struct Describing {
    known: HashMap<Box<str>, Known>,
    /// Whether something is not as it was shown last.
    has_changed: bool,
    scrape: u64,
    /// How much this scrape has said.
    bytes: usize,
}

#[derive(Debug)]
struct Known {
    described: Described,
    /// The scrape that said it last.
    seen: u64,
}

impl Describing {
    /// A scrape begins.
    pub(super) fn begin(&mut self) {
        self.scrape += 1;
        self.bytes = 0;
    }

    /// Notes what an entry says.
    pub(super) fn take(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Help { name, text } => self.note(name, |d| set(&mut d.help, text)),
            Entry::Unit { name, unit } => self.note(name, |d| set(&mut d.unit, unit)),
            Entry::Type { name, kind } => {
                self.note(name, |d| std::mem::replace(&mut d.kind, *kind) != *kind)
            }
            _ => {}
        }
    }

    fn note(&mut self, name: &str, change: impl FnOnce(&mut Described) -> bool) {
        let Self { known, has_changed, scrape, bytes } = self;
        if let Some(known) = known.get_mut(name) {
            // What was said before this scrape counts when it is said again.
            let counted = if known.seen == *scrape { known.described.bytes(name) } else { 0 };
            *has_changed |= change(&mut known.described);
            let more = *bytes - counted + known.described.bytes(name);
            if more <= MOST_BYTES {
                (known.seen, *bytes) = (*scrape, more);
            }
            return;
        }
        let mut described = Described::default();
        change(&mut described);
        let more = *bytes + described.bytes(name);
        if more <= MOST_BYTES {
            (*bytes, *has_changed) = (more, true);
            known.insert(name.into(), Known { described, seen: *scrape });
        }
    }

    /// What there is to show after a scrape that succeeded; nothing where that is as before.
    pub(super) fn changed(&mut self) -> Option<Arc<Metadata>> {
        let (scrape, before) = (self.scrape, self.known.len());
        self.known.retain(|_, known| known.seen == scrape);
        let has_changed = std::mem::take(&mut self.has_changed) || before != self.known.len();
        let all = || {
            let pairs = self.known.iter();
            pairs.map(|(name, known)| (name.to_string(), known.described.clone())).collect()
        };
        has_changed.then(|| Arc::new(all()))
    }
}

impl Described {
    fn bytes(&self, name: &str) -> usize {
        name.len() + self.unit.len() + self.help.len()
    }
}

/// Sets a text, without memory where it is as before; whether it is another one.
fn set(text: &mut String, new: &str) -> bool {
    let differs = text != new;
    if differs {
        new.clone_into(text);
    }
    differs
}

#[cfg(test)]
mod tests {
    use base::exposition::{Format, ParseError, Parser};

    use super::*;

    fn scrape(describing: &mut Describing, text: &str) -> Option<Vec<String>> {
        describing.begin();
        let mut parser = Parser::new(Format::Text, 8 << 20);
        let mut entry = |entry: Entry<'_>| -> Result<(), ParseError> {
            describing.take(&entry);
            Ok(())
        };
        parser.feed(text.as_bytes(), &mut entry).unwrap();
        let shown = describing.changed()?;
        let line =
            |(name, d): (&String, &Described)| format!("{name} {} {}", d.kind.as_str(), d.help);
        Some(shown.iter().map(line).collect())
    }

    #[test]
    fn what_is_said_is_shown_when_it_changes() {
        let mut describing = Describing::default();
        let mut check = |text: &str, expected: Option<&[&str]>| {
            let got = scrape(&mut describing, text);
            let expected = expected.map(|lines| lines.iter().map(|l| (*l).to_owned()).collect());
            assert_eq!(got, expected, "{text}");
        };
        let both = "# HELP a A.\n# TYPE a counter\na 1\n# TYPE b gauge\nb 1\nc 1\n";
        check(both, Some(&["a counter A.", "b gauge "]));
        check(both, None);
        check("# HELP a B.\n# TYPE a counter\n", Some(&["a counter B."]));
        check("# HELP a B.\n", None);
        check("", Some(&[]));
        check("# HELP a B.\n", Some(&["a unknown B."]));
    }

    #[test]
    fn a_flood_of_texts_is_bounded() {
        let mut describing = Describing::default();
        for round in 0..3 {
            let line = |n: usize| format!("# HELP m{round}_{n} {}\n", "x".repeat(60_000));
            let shown = scrape(&mut describing, &(0..100).map(line).collect::<String>());
            let bytes: usize = shown.unwrap().iter().map(String::len).sum();
            assert!(bytes > 60_000 && bytes < MOST_BYTES + 4096, "{bytes}");
        }
    }
}
