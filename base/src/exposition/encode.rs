//! Families to text.
//!
//! Invariant: what is written is accepted by [`super::check`] where the family itself is sound.

use std::borrow::Cow;

use super::families::suffixes;
use super::series::{float_text, push_float_text};
use super::{Escaping, Format};
use crate::family::{FamilySample, MetricFamily, MetricKind};
use crate::labels::{Labels, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use crate::number::push_shortest;
use crate::sample::Timestamp;

/// The `Content-Type` of the text format.
pub const CONTENT_TYPE_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The `Content-Type` of OpenMetrics.
pub const CONTENT_TYPE_OPENMETRICS: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// In which form a reader wants its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The format.
    pub format: Format,
    /// How names outside `[a-zA-Z0-9_:]` are written.
    pub names: Escaping,
}

impl Encoding {
    /// What an `Accept` header asks for: OpenMetrics where it weighs at least as much as plain
    /// text, else the text format, which everybody reads.
    pub fn negotiate(accept: &str) -> Self {
        let mut best = Self { format: Format::Text, names: Escaping::default() };
        let (mut best_weight, mut best_is_open) = (0.0, false);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("");
            let (mut weight, mut names, mut version) = (1.0, Escaping::default(), "");
            for part in parts {
                match part.split_once('=').unwrap_or((part, "")) {
                    ("q", q) => weight = q.parse().unwrap_or(0.0),
                    ("escaping", scheme) => names = Escaping::named(scheme).unwrap_or_default(),
                    ("version", v) => version = v,
                    _ => {}
                }
            }
            let format = match (kind, version) {
                ("application/openmetrics-text", "" | "0.0.1" | "1.0.0") => Format::OpenMetrics,
                ("text/plain", _) => Format::Text,
                _ => continue,
            };
            let open = format == Format::OpenMetrics;
            if weight > best_weight || weight == best_weight && open && !best_is_open {
                best = Self { format, names };
                (best_weight, best_is_open) = (weight, open);
            }
        }
        best
    }

    /// The `Content-Type` to answer with.
    pub fn content_type(self) -> String {
        let base = match self.format {
            Format::Text => CONTENT_TYPE_TEXT,
            Format::OpenMetrics => CONTENT_TYPE_OPENMETRICS,
        };
        format!("{base}; escaping={}", self.names.as_str())
    }
}

/// Appends `families` to `out`; in OpenMetrics with the closing `# EOF`.
pub fn encode<'a>(
    families: impl IntoIterator<Item = &'a MetricFamily>,
    encoding: Encoding,
    out: &mut String,
) {
    for family in families {
        let is_legacy = is_legacy_metric_name(&family.name);
        let whole = match is_legacy {
            true => Cow::Borrowed(family.name.as_str()),
            false => encoding.names.escape(&family.name),
        };
        let name = base_name(&whole, family.kind, encoding.format);
        // The start of a plain name is plain where there is one.
        let plain = if is_legacy { !name.is_empty() } else { is_legacy_metric_name(name) };
        Writer { family, name, plain, encoding, out }.family();
    }
    if encoding.format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
}

/// Appends the comment that carries what a check said, in the text format only.
pub fn encode_output(labels: &Labels, text: &str, out: &mut String) {
    out.push_str("# OUTPUT {");
    for (n, (name, value)) in labels.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        push_label(out, name, value, Escaping::AllowUtf8);
    }
    out.push_str("} ");
    push_escaped(out, text, false);
    out.push('\n');
}

/// Appends one sample with its time as a line of OpenMetrics; names in UTF-8 as they are.
pub fn encode_point(labels: &Labels, value: f64, timestamp: Timestamp, out: &mut String) {
    let name = labels.metric_name();
    let plain = is_legacy_metric_name(name);
    if plain {
        out.push_str(name);
    }
    let mut separator = '{';
    if !plain && !name.is_empty() {
        out.push('{');
        push_quoted(out, name);
        separator = ',';
    }
    for (label, value) in labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
        out.push(separator);
        push_label(out, label, value, Escaping::AllowUtf8);
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    out.push(' ');
    push_float_text(out, value);
    out.push(' ');
    // Seconds, to the millisecond, without what a float would make of them.
    let (seconds, millis) = (timestamp.millis() / 1000, timestamp.millis() % 1000);
    if timestamp.millis() < 0 {
        out.push('-');
    }
    out.push_str(itoa::Buffer::new().format(seconds.unsigned_abs()));
    if millis != 0 {
        let text = format!(".{:03}", millis.unsigned_abs());
        out.push_str(text.trim_end_matches('0'));
    }
    out.push('\n');
}

/// The name in metadata: in OpenMetrics without what the kind adds to samples.
fn base_name(name: &str, kind: MetricKind, format: Format) -> &str {
    let suffix = match (format, kind) {
        (Format::OpenMetrics, MetricKind::Counter) => "_total",
        (Format::OpenMetrics, MetricKind::Info) => "_info",
        _ => "",
    };
    name.strip_suffix(suffix).unwrap_or(name)
}

struct Writer<'f, 'o> {
    family: &'f MetricFamily,
    /// The name in metadata.
    name: &'f str,
    /// Whether it may be written without quotes.
    plain: bool,
    encoding: Encoding,
    out: &'o mut String,
}

impl Writer<'_, '_> {
    fn family(&mut self) {
        let family = self.family;
        let open = self.encoding.format == Format::OpenMetrics;
        if !family.help.is_empty() {
            self.meta("HELP");
            push_escaped(self.out, &family.help, open);
            self.out.push('\n');
        }
        self.meta("TYPE");
        self.out.push_str(match (family.kind, open) {
            (kind, true) => kind.as_str(),
            (MetricKind::Unknown, false) => "untyped",
            (MetricKind::GaugeHistogram, false) => "histogram",
            (MetricKind::Info | MetricKind::StateSet, false) => "gauge",
            (kind, false) => kind.as_str(),
        });
        self.out.push('\n');
        if open && !family.unit.is_empty() {
            self.meta("UNIT");
            self.out.push_str(&family.unit);
            self.out.push('\n');
        }
        for sample in &family.samples {
            self.sample(sample);
        }
    }

    fn meta(&mut self, keyword: &str) {
        self.out.push_str("# ");
        self.out.push_str(keyword);
        self.out.push(' ');
        if self.plain {
            self.out.push_str(self.name);
        } else {
            push_quoted(self.out, self.name);
        }
        self.out.push(' ');
    }

    fn sample(&mut self, sample: &FamilySample) {
        let suffix = match suffixes(self.family.kind, self.encoding.format) {
            [only] if sample.suffix.is_empty() => only,
            ["_total", ..] if sample.suffix.is_empty() => "_total",
            _ => sample.suffix,
        };
        // In the text format a counter is called what it is called, but `a_total` has `a_created`.
        let base = match (suffix, self.family.kind) {
            ("_created", MetricKind::Counter) => {
                self.name.strip_suffix("_total").unwrap_or(self.name)
            }
            _ => self.name,
        };
        let mut separator = '{';
        if self.plain {
            self.out.push_str(base);
            self.out.push_str(suffix);
        } else {
            self.out.push('{');
            push_quoted(self.out, &format!("{base}{suffix}"));
            separator = ',';
        }
        let bound = match self.family.kind {
            MetricKind::Histogram | MetricKind::GaugeHistogram => "le",
            MetricKind::Summary => "quantile",
            _ => "",
        };
        for (name, value) in &sample.labels {
            self.out.push(separator);
            separator = ',';
            let number = if name == bound { crate::number::parse(value) } else { None };
            match number {
                Some(number) => {
                    let text = self.float(number);
                    push_label(self.out, name, &text, Escaping::AllowUtf8);
                }
                None => push_label(self.out, name, value, self.encoding.names),
            }
        }
        if separator == ',' {
            self.out.push('}');
        }
        self.out.push(' ');
        let counts = matches!(suffix, "_bucket" | "_count" | "_gcount");
        self.value(sample.value, counts);
        if let Some(timestamp) = sample.timestamp {
            self.out.push(' ');
            self.timestamp(timestamp);
        }
        if let (Some(exemplar), Format::OpenMetrics) = (&sample.exemplar, self.encoding.format) {
            self.out.push_str(" # {");
            for (n, (name, value)) in exemplar.labels.iter().enumerate() {
                if n > 0 {
                    self.out.push(',');
                }
                push_label(self.out, name, value, self.encoding.names);
            }
            self.out.push_str("} ");
            self.value(exemplar.value, false);
            if let Some(timestamp) = exemplar.timestamp {
                self.out.push(' ');
                self.timestamp(timestamp);
            }
        }
        self.out.push('\n');
    }

    /// OpenMetrics writes floats with a point, but counts as whole numbers.
    fn value(&mut self, value: f64, count: bool) {
        if self.encoding.format == Format::Text || count {
            push_shortest(self.out, value);
        } else {
            push_float_text(self.out, value);
        }
    }

    fn float(&self, value: f64) -> String {
        match self.encoding.format {
            Format::Text => crate::number::shortest(value),
            Format::OpenMetrics => float_text(value),
        }
    }

    fn timestamp(&mut self, timestamp: Timestamp) {
        match self.encoding.format {
            Format::Text => {
                self.out.push_str(itoa::Buffer::new().format(timestamp.millis()));
            }
            Format::OpenMetrics => push_float_text(self.out, timestamp.seconds()),
        }
    }
}

fn push_label(out: &mut String, name: &str, value: &str, names: Escaping) {
    if is_legacy_label_name(name) {
        out.push_str(name);
    } else if names == Escaping::AllowUtf8 {
        push_quoted(out, name);
    } else {
        out.push_str(&names.escape_label(name));
    }
    out.push('=');
    push_quoted(out, value);
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text, true);
    out.push('"');
}

fn push_escaped(out: &mut String, text: &str, quotes: bool) {
    let mut rest = text;
    // Where quotes are nothing special the third is the second again.
    let quote = if quotes { b'"' } else { b'\n' };
    while let Some(at) = memchr::memchr3(b'\\', b'\n', quote, rest.as_bytes()) {
        out.push_str(&rest[..at]);
        out.push('\\');
        out.push(match rest.as_bytes()[at] {
            b'\n' => 'n',
            other => char::from(other),
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(family: &MetricFamily, format: Format, names: Escaping) -> String {
        let mut out = String::new();
        encode([family], Encoding { format, names }, &mut out);
        out
    }

    #[test]
    fn writes_both_formats() {
        let mut family = MetricFamily::counter("reads_total", "Reads \\ \"done\".\nAll.");
        family.add(&[("dev", "a\"b")], 3.0).add(&[], 1e9);
        assert_eq!(
            encoded(&family, Format::Text, Escaping::Underscores),
            "# HELP reads_total Reads \\\\ \"done\".\\nAll.\n# TYPE reads_total counter\n\
             reads_total{dev=\"a\\\"b\"} 3\nreads_total 1e+09\n"
        );
        assert_eq!(
            encoded(&family, Format::OpenMetrics, Escaping::Underscores),
            "# HELP reads Reads \\\\ \\\"done\\\".\\nAll.\n# TYPE reads counter\n\
             reads_total{dev=\"a\\\"b\"} 3.0\nreads_total 1e+09\n# EOF\n"
        );
    }

    #[test]
    fn a_counter_without_total_gets_it_in_openmetrics() {
        let family = MetricFamily::counter("reads", "").with(&[], 1.0);
        assert_eq!(
            encoded(&family, Format::OpenMetrics, Escaping::Underscores),
            "# TYPE reads counter\nreads_total 1.0\n# EOF\n"
        );
        assert_eq!(
            encoded(&family, Format::Text, Escaping::Underscores),
            "# TYPE reads counter\nreads 1\n"
        );
    }

    #[test]
    fn names_in_utf8_are_quoted_or_replaced() {
        let mut family = MetricFamily::gauge("my.metric", "");
        family.add_pairs("", vec![("a.b".into(), "é".to_owned())], 1.0);
        assert_eq!(
            encoded(&family, Format::Text, Escaping::AllowUtf8),
            "# TYPE \"my.metric\" gauge\n{\"my.metric\",\"a.b\"=\"é\"} 1\n"
        );
        assert_eq!(
            encoded(&family, Format::Text, Escaping::Underscores),
            "# TYPE my_metric gauge\nmy_metric{a_b=\"é\"} 1\n"
        );
        assert_eq!(
            encoded(&family, Format::Text, Escaping::Dots),
            "# TYPE my_dot_metric gauge\nmy_dot_metric{a_dot_b=\"é\"} 1\n"
        );
        assert_eq!(
            encoded(&family, Format::Text, Escaping::Values),
            "# TYPE U__my_2e_metric gauge\nU__my_2e_metric{U__a_2e_b=\"é\"} 1\n"
        );
        let family = MetricFamily::counter("a.b_total", "").with(&[("c_d", "")], 1.0);
        assert_eq!(
            encoded(&family, Format::OpenMetrics, Escaping::Values),
            "# TYPE U__a_2e_b_ counter\nU__a_2e_b__total{c_d=\"\"} 1.0\n# EOF\n"
        );
    }

    #[test]
    fn carries_outputs_as_a_comment() {
        let mut out = String::new();
        encode_output(&Labels::from_pairs([("check", "disk")]), "a\n# EOF\nup 1 \\", &mut out);
        assert_eq!(out, "# OUTPUT {check=\"disk\"} a\\n# EOF\\nup 1 \\\\\n");
    }

    #[test]
    fn negotiates() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
            escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let check = |accept: &str, format, names| {
            assert_eq!(Encoding::negotiate(accept), Encoding { format, names }, "{accept}");
        };
        check(prometheus, Format::OpenMetrics, Escaping::AllowUtf8);
        check("", Format::Text, Escaping::Underscores);
        check("*/*", Format::Text, Escaping::Underscores);
        check("text/html,*/*;q=0.8", Format::Text, Escaping::Underscores);
        check(
            "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.1",
            Format::Text,
            Escaping::Underscores,
        );
        check("application/openmetrics-text;version=2.0.0", Format::Text, Escaping::Underscores);
        check("text/plain;escaping=dots", Format::Text, Escaping::Dots);
        check("text/plain;escaping=values;q=0.5,*/*", Format::Text, Escaping::Values);
        check("text/plain;escaping=runes", Format::Text, Escaping::Underscores);
    }
}
