//! What a checker complains about although a scrape would take it: to the letter of the formats.
//!
//! Sources: OpenMetrics 1.0 and its test suite; for the text format what Prometheus's own
//! `expfmt` refuses.
//!
//! Invariant: whatever this accepts, the lenient parser reads to the same values.

mod group;
mod text;

use std::collections::HashSet;

use self::group::Group;
use super::families::suffixes;
use super::series::{Part, Parts};
use super::{Entry, Format, ParseError, Parser, SampleEntry};
use crate::family::MetricKind;

/// Checks a whole text.
///
/// # Errors
///
/// The first thing that breaks a rule of the format.
pub fn check(text: &[u8], format: Format, max_body: usize) -> Result<(), ParseError> {
    let mut parser = Parser::strict(format, max_body);
    match format {
        Format::Text => {
            let mut rules = text::TextRules::default();
            let mut entry = |entry: Entry<'_>| rules.entry(&entry);
            run(&mut parser, text, &mut entry)
        }
        Format::OpenMetrics => {
            let mut rules = OpenRules::default();
            let mut entry = |entry: Entry<'_>| rules.entry(&entry);
            run(&mut parser, text, &mut entry)?;
            rules.end_family().map_err(|reason| parser.error_here(reason))
        }
    }
}

fn run(
    parser: &mut Parser,
    text: &[u8],
    entry: &mut impl FnMut(Entry<'_>) -> Result<(), Broken>,
) -> Result<(), ParseError> {
    let result = parser.feed(text, entry).and_then(|()| parser.finish(entry));
    result.map_err(|broken| match broken {
        Broken::Syntax(error) => error,
        Broken::Rule(reason) => parser.error_here(reason),
    })
}

/// Why an entry is not accepted.
#[derive(Debug)]
enum Broken {
    Syntax(ParseError),
    Rule(String),
}

impl From<ParseError> for Broken {
    fn from(error: ParseError) -> Self {
        Self::Syntax(error)
    }
}

impl From<String> for Broken {
    fn from(reason: String) -> Self {
        Self::Rule(reason)
    }
}

/// A sample, taken apart.
#[derive(Debug)]
struct Taken {
    name: String,
    labels: Vec<(String, String)>,
}

impl Taken {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Takes a sample apart; its labels must be separated by one comma, with known escapes only.
fn take_apart(sample: &SampleEntry<'_>, blanks: bool) -> Result<Taken, Broken> {
    sample.labels()?;
    let mut taken = Taken { name: String::new(), labels: Vec::new() };
    let name_is_plain = !sample.series.starts_with('{');
    for part in Parts::new(sample.series, if blanks { Format::Text } else { Format::OpenMetrics }) {
        match part.map_err(Broken::Rule)? {
            Part::Name { name, raw } => {
                known_escapes(raw)?;
                taken.name = name.into_owned();
            }
            Part::Label { name, value, quoted, raw_value } => {
                if quoted && name_is_plain {
                    return Err(format!("the label \"{name}\" is quoted, the name is not").into());
                }
                if blanks {
                    known_escapes(raw_value)?;
                }
                taken.labels.push((name.into_owned(), value.into_owned()));
            }
        }
    }
    if !blanks && (sample.series.contains(",}") || sample.series.contains("{ ")) {
        return Err("there is a blank or a comma too many between labels".to_owned().into());
    }
    Ok(taken)
}

fn known_escapes(raw: &str) -> Result<(), Broken> {
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && !matches!(chars.next(), Some('\\' | '"' | 'n')) {
            return Err("there is an invalid escape".to_owned().into());
        }
    }
    Ok(())
}

/// The family that the lines belong to at the moment.
#[derive(Debug, Default)]
struct Family {
    name: String,
    kind: Option<MetricKind>,
    help: bool,
    unit: Option<String>,
    sampled: bool,
    group: Option<Group>,
    groups_seen: HashSet<Vec<(String, String)>>,
}

#[derive(Debug, Default)]
struct OpenRules {
    family: Option<Family>,
    /// All names that earlier families use or could use.
    names: HashSet<String>,
}

impl OpenRules {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Broken> {
        match entry {
            Entry::Help { name, .. } => {
                let family = self.metadata(name)?;
                if std::mem::replace(&mut family.help, true) {
                    return Err(format!("`{name}` has a second HELP").into());
                }
            }
            Entry::Type { name, kind } => {
                let family = self.metadata(name)?;
                if family.kind.replace(*kind).is_some() {
                    return Err(format!("`{name}` has a second TYPE").into());
                }
            }
            Entry::Unit { name, unit } => {
                let family = self.metadata(name)?;
                if family.unit.replace(unit.to_string()).is_some() {
                    return Err(format!("`{name}` has a second UNIT").into());
                }
            }
            Entry::Comment(_) | Entry::Output { .. } | Entry::Histogram(..) => {}
            Entry::Sample(sample) => {
                let taken = take_apart(sample, false)?;
                self.sample(sample, &taken)?;
            }
        }
        Ok(())
    }

    fn metadata(&mut self, name: &str) -> Result<&mut Family, Broken> {
        if self.family.as_ref().is_none_or(|family| family.name != name) {
            self.begin_family(name, None)?;
        }
        match &mut self.family {
            Some(family) if !family.sampled => Ok(family),
            _ => Err(format!("metadata of `{name}` after its samples").into()),
        }
    }

    fn begin_family(&mut self, name: &str, kind: Option<MetricKind>) -> Result<(), Broken> {
        self.end_family()?;
        self.family = Some(Family { name: name.to_owned(), kind, ..Family::default() });
        Ok(())
    }

    fn end_family(&mut self) -> Result<(), String> {
        let Some(mut family) = self.family.take() else { return Ok(()) };
        let kind = family.kind.unwrap_or_default();
        if family.unit.is_some_and(|unit| !unit.is_empty())
            && matches!(kind, MetricKind::Info | MetricKind::StateSet)
        {
            return Err(format!("`{}` cannot have a unit", family.name));
        }
        if let Some(group) = family.group.take() {
            group.end(kind)?;
        }
        let own = suffixes(kind, Format::OpenMetrics).iter().map(|s| format!("{}{s}", family.name));
        // The family's own name is taken too, whether or not a sample has it.
        for name in own.chain([family.name.clone()]).collect::<HashSet<_>>() {
            if !self.names.insert(name.clone()) {
                return Err(format!("the name `{name}` is used by two families"));
            }
        }
        Ok(())
    }

    fn sample(&mut self, sample: &SampleEntry<'_>, taken: &Taken) -> Result<(), Broken> {
        let suffix = self.family.as_ref().and_then(|family| {
            let rest = taken.name.strip_prefix(&family.name)?;
            suffixes(family.kind.unwrap_or_default(), Format::OpenMetrics)
                .iter()
                .copied()
                .find(|suffix| *suffix == rest)
        });
        let suffix = match suffix {
            Some(suffix) => suffix,
            None => {
                if self.family.as_ref().is_some_and(|family| family.name == taken.name) {
                    return Err(format!("`{}` lacks what its type adds", taken.name).into());
                }
                self.begin_family(&taken.name, Some(MetricKind::Unknown))?;
                ""
            }
        };
        let Some(family) = &mut self.family else { return Ok(()) };
        family.sampled = true;
        let kind = family.kind.unwrap_or_default();
        group::check_sample(sample, taken, kind, suffix, &family.name)?;

        let key = group::key(taken, kind, suffix, &family.name);
        match &mut family.group {
            Some(group) if group.key == key => group.add(sample, taken, kind, suffix)?,
            other => {
                if let Some(group) = other.take() {
                    group.end(kind)?;
                }
                if !family.groups_seen.insert(key.clone()) {
                    return Err(format!("samples of `{}` are interleaved", family.name).into());
                }
                let group = other.insert(Group::new(key));
                group.add(sample, taken, kind, suffix)?;
            }
        }
        Ok(())
    }
}
