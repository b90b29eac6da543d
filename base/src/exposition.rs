//! The text in which metrics travel: the Prometheus text format 0.0.4 and OpenMetrics 1.0.
//!
//! ```text
//! families ──encode──▶ text ──feed──▶ lines ──▶ Entry: help, type, unit, sample, output
//! ```
//!
//! Sources: the exposition formats of the Prometheus documentation, and the OpenMetrics
//! specification 1.0 with Prometheus's quoted notation for names in UTF-8. Reading is as lenient as
//! a scrape by Prometheus is; [`check`] adds what a
//! checker would complain about.
//!
//! One comment of our own: `# OUTPUT {labels} text` carries what a check said, beside the metrics
//! and never as a label, so that a changing text makes no new series. Every other reader skips it.
//!
//! Invariant: this is the only place that knows the text format, and it takes whatever comes: a
//! line is at most [`MAX_LINE`] bytes, a body as long as the caller allows, nothing panics.

mod parse;
mod feed;
mod series;
mod families;
mod escaping;
mod strict;
mod encode;
mod protobuf;

pub use encode::{
    CONTENT_TYPE_OPENMETRICS, CONTENT_TYPE_TEXT, Encoding, encode, encode_output, encode_point,
};
pub use escaping::Escaping;
pub use families::{check_families, parse_families, parse_protobuf};
pub use feed::Expecting;
pub use parse::Parser;
pub use protobuf::{Histograms, ProtobufParser, is_protobuf};
pub use series::parse_series;
pub use strict::check;

use std::borrow::Cow;
use std::fmt;

use crate::family::{Exemplar, LabelPairs, MetricKind};
use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::sample::Timestamp;

/// The header by which whoever reads metrics asks for what checks said, too; in the answer of
/// a receiver of samples, that it takes such texts: what it says there is another after it has lost
/// those that it had.
pub const OUTPUTS_HEADER: &str = "veilleur-outputs";
/// The longest line that is read.
pub const MAX_LINE: usize = 64 << 10;

/// Which of the two formats a text is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that a `Content-Type` names; the text format where it names none that we know,
    /// as long as it is text. `None` for what cannot be metrics, such as HTML.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or("").trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => Some(Self::OpenMetrics),
            "" | "text/plain" => Some(Self::Text),
            _ => None,
        }
    }
}

/// Why a text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// The line, from 1; 0 where it is about the whole.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        f.write_str(&self.reason)
    }
}

/// One line that means something.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// `# HELP name text`
    Help {
        /// The family.
        name: Cow<'a, str>,
        /// What it measures.
        text: Cow<'a, str>,
    },
    /// `# TYPE name kind`
    Type {
        /// The family.
        name: Cow<'a, str>,
        /// What its values mean.
        kind: MetricKind,
    },
    /// `# UNIT name unit`
    Unit {
        /// The family.
        name: Cow<'a, str>,
        /// Its unit.
        unit: Cow<'a, str>,
    },
    /// Any other comment, as written.
    Comment(&'a str),
    /// `# OUTPUT {labels} text`: what a check said.
    Output {
        /// Which check.
        labels: Labels,
        /// Its text.
        text: Cow<'a, str>,
    },
    /// A value of a series.
    Sample(SampleEntry<'a>),
    /// A native histogram of a series, beside which the value means nothing. Only protobuf has them.
    Histogram(SampleEntry<'a>, Histogram),
}

/// A sample as it was read. Its labels are read on demand: whoever has met the same text of the
/// series before need not read them again.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleEntry<'a> {
    /// Name and labels as written.
    pub series: &'a str,
    /// The value.
    pub value: f64,
    /// When it was measured, where the target says so.
    pub timestamp: Option<Timestamp>,
    /// An example of what was counted (OpenMetrics).
    pub exemplar: Option<Exemplar>,
    /// Since when it counts, where the target says so with the sample (protobuf).
    pub start: Option<Timestamp>,
    /// The kind in the last `# TYPE` above: it decides how bounds are written.
    kind: MetricKind,
    format: Format,
    line: u64,
}

impl SampleEntry<'_> {
    /// Name and labels. The bounds of histograms and summaries are written as floats (`le="1.0"`),
    /// as Prometheus 3 does, so that both formats give the same series.
    ///
    /// # Errors
    ///
    /// The text of the series is malformed.
    pub fn labels(&self) -> Result<Labels, ParseError> {
        series::labels(self.series, self.kind, self.format).map_err(|reason| self.error(reason))
    }

    /// The metric's name, and the labels in the order and with the values that were written.
    ///
    /// # Errors
    ///
    /// As [`SampleEntry::labels`].
    pub fn pairs(&self) -> Result<(String, LabelPairs), ParseError> {
        series::pairs(self.series, self.format).map_err(|reason| self.error(reason))
    }

    fn error(&self, reason: String) -> ParseError {
        ParseError { line: self.line, reason }
    }
}
