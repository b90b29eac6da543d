//! A whole text, or its protobuf form, to families, for those who want the metrics rather than the
//! series.
//!
//! Invariant: every sample of the text is in exactly one family, in its order.

use std::collections::HashMap;

use super::{Entry, Format, Histograms, ParseError, Parser, ProtobufParser, check};
use crate::family::{FamilySample, MetricFamily, MetricKind};

/// Reads `text` as families; a sample without metadata makes a family of its own.
///
/// # Errors
///
/// The text is malformed, or longer than `max_body` bytes.
pub fn parse_families(
    text: &[u8],
    format: Format,
    max_body: usize,
) -> Result<Vec<MetricFamily>, ParseError> {
    read(Parser::new(format, max_body), text, format)
}

/// The same of a text that a checker accepts, too.
///
/// # Errors
///
/// As [`parse_families`]; the first thing that breaks a rule of the format.
pub fn check_families(
    text: &[u8],
    format: Format,
    max_body: usize,
) -> Result<Vec<MetricFamily>, ParseError> {
    check(text, format, max_body)?;
    read(Parser::strict(format, max_body), text, format)
}

/// The same of the protobuf form; native histograms are counted by the buckets that they have beside.
///
/// # Errors
///
/// As [`parse_families`].
pub fn parse_protobuf(body: &[u8], max_body: usize) -> Result<Vec<MetricFamily>, ParseError> {
    let mut parser = ProtobufParser::new(Histograms::Classic, max_body);
    let mut families = Families { format: Format::Text, list: Vec::new(), places: HashMap::new() };
    parser.feed(body, &mut |entry| families.add(entry))?;
    parser.finish()?;
    Ok(families.list)
}

fn read(mut parser: Parser, text: &[u8], format: Format) -> Result<Vec<MetricFamily>, ParseError> {
    let mut families = Families { format, list: Vec::new(), places: HashMap::new() };
    let mut entry = |entry: Entry<'_>| families.add(entry);
    parser.feed(text, &mut entry)?;
    parser.finish(&mut entry)?;
    Ok(families.list)
}

/// What may follow a family's name in a sample's.
pub(super) fn suffixes(kind: MetricKind, format: Format) -> &'static [&'static str] {
    match (kind, format) {
        (MetricKind::Counter, Format::OpenMetrics) => &["_total", "_created"],
        (MetricKind::Histogram, _) => &["_bucket", "_sum", "_count", "_created"],
        (MetricKind::GaugeHistogram, Format::OpenMetrics) => &["_bucket", "_gsum", "_gcount"],
        (MetricKind::GaugeHistogram, Format::Text) => &["_bucket", "_sum", "_count"],
        (MetricKind::Summary, _) => &["", "_sum", "_count", "_created"],
        (MetricKind::Info, Format::OpenMetrics) => &["_info"],
        _ => &[""],
    }
}

struct Families {
    format: Format,
    list: Vec<MetricFamily>,
    /// By the name that the metadata has.
    places: HashMap<String, usize>,
}

impl Families {
    fn add(&mut self, entry: Entry<'_>) -> Result<(), ParseError> {
        match entry {
            Entry::Help { name, text } => self.named(&name).help = text.into_owned(),
            Entry::Unit { name, unit } => self.named(&name).unit = unit.into_owned(),
            Entry::Type { name, kind } => {
                let suffix = match (kind, self.format) {
                    (MetricKind::Counter, Format::OpenMetrics) => "_total",
                    (MetricKind::Info, Format::OpenMetrics) => "_info",
                    _ => "",
                };
                let family = self.named(&name);
                family.kind = kind;
                family.name = format!("{name}{suffix}");
            }
            Entry::Comment(_) | Entry::Output { .. } | Entry::Histogram(..) => {}
            Entry::Sample(sample) => {
                let (name, labels) = sample.pairs()?;
                let (value, timestamp, exemplar) =
                    (sample.value, sample.timestamp, sample.exemplar);
                let (place, suffix) = self.owner(&name);
                self.list[place].samples.push(FamilySample {
                    suffix,
                    labels,
                    value,
                    timestamp,
                    exemplar,
                });
            }
        }
        Ok(())
    }

    fn named(&mut self, name: &str) -> &mut MetricFamily {
        let place = self.place(name);
        &mut self.list[place]
    }

    fn place(&mut self, name: &str) -> usize {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        self.list.push(MetricFamily::new(name, "", MetricKind::Unknown));
        self.places.insert(name.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }

    /// The family whose name and a suffix of its kind make `name`, and what the encoder needs of
    /// that suffix.
    fn owner(&mut self, name: &str) -> (usize, &'static str) {
        const ALL: [&str; 8] =
            ["_total", "_created", "_bucket", "_sum", "_count", "_gsum", "_gcount", "_info"];
        for suffix in ALL {
            let Some(place) = name.strip_suffix(suffix).and_then(|base| self.places.get(base))
            else {
                continue;
            };
            let kind = self.list[*place].kind;
            if suffixes(kind, self.format).contains(&suffix) {
                // The encoder writes these two itself.
                let suffix = if matches!(suffix, "_total" | "_info") { "" } else { suffix };
                return (*place, suffix);
            }
        }
        (self.place(name), "")
    }
}
