//! The notation of series and their values in rule unit tests: `up{job="a"} 1 0x3 _ 2+3x4 stale`.
//!
//! ```text
//! 1.5 -3 NaN    one value each          _   _x3     a gap, three gaps
//! 5x3           four times 5            stale       the series ends
//! 5+2x3         5 7 9 11                {{...}}     a native histogram
//! ```
//!
//! Invariant: however short the text is, it does not describe more than [`MAX_POINTS`] values.

mod histogram;
mod print;

pub use histogram::{Change, HistogramPoint, Written};
pub use print::print_histogram;

use std::sync::Arc;

use base::labels::Labels;
use base::sample::Ended;

use crate::fault::{Fault, Faults, Span};
use crate::literal;
use crate::parser::series_labels;
use histogram::read_histogram;

/// The most values that one series may have.
pub const MAX_POINTS: usize = 10_000_000;

/// A series with its values, evenly spaced in time.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesLine {
    /// The series.
    pub labels: Labels,
    /// Its values; the first is at time 0.
    pub points: Vec<Point>,
}

/// What a series has at a time.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// Nothing.
    Gap,
    /// A value, or the marker that ends the series.
    Float(f64),
    /// A native histogram.
    Histogram(HistogramPoint),
}

/// Reads a line of the notation: a series and its values.
///
/// # Errors
///
/// The text does not follow the notation.
pub fn parse_series(text: &str) -> Result<SeriesLine, Faults> {
    let read = || {
        let (labels, end) = series_labels(text)?;
        Ok(SeriesLine { labels, points: Reader { text, at: end }.points()? })
    };
    read().map_err(|fault| Faults::new(text, vec![fault]))
}

/// Reads values without a series before them.
///
/// # Errors
///
/// The text does not follow the notation.
pub fn parse_points(text: &str) -> Result<Vec<Point>, Faults> {
    Reader { text, at: 0 }.points().map_err(|fault| Faults::new(text, vec![fault]))
}

/// Reads the values in a text.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn accept(&mut self, text: &str) -> bool {
        let is = self.rest().starts_with(text);
        self.at += if is { text.len() } else { 0 };
        is
    }

    fn unexpected(&self) -> Fault {
        let span = Span::new(self.at, self.text.len());
        let message = match self.rest().chars().next() {
            Some(c) => format!("unexpected {:?} in series values", c.to_string()),
            None => "unexpected end of input in series values".to_owned(),
        };
        Fault::syntax(span, message)
    }

    fn points(mut self) -> Result<Vec<Point>, Fault> {
        let mut points = Vec::new();
        self.skip_blanks();
        while !self.rest().is_empty() {
            let start = self.at;
            self.item(&mut points)?;
            if points.len() > MAX_POINTS {
                let message = format!("more than {MAX_POINTS} values");
                return Err(Fault::syntax(Span::new(start, self.at), message));
            }
            if !self.rest().is_empty() && !self.rest().starts_with([' ', '\t']) {
                return Err(self.unexpected());
            }
            self.skip_blanks();
        }
        Ok(points)
    }

    /// Reads what stands between two blanks.
    fn item(&mut self, points: &mut Vec<Point>) -> Result<(), Fault> {
        if self.accept("_") {
            let count = self.times()?.unwrap_or(1);
            extend(points, std::iter::repeat_n(Point::Gap, count));
        } else if self.accept("stale") {
            points.push(Point::Float(Ended::Gone.value()));
        } else if self.rest().starts_with("{{") {
            self.histograms(points)?;
        } else {
            self.floats(points)?;
        }
        Ok(())
    }

    fn floats(&mut self, points: &mut Vec<Point>) -> Result<(), Fault> {
        let mut value = self.number()?;
        if let Some(times) = self.times()? {
            extend(points, std::iter::repeat_n(Point::Float(value), times.saturating_add(1)));
            return Ok(());
        }
        if !self.rest().starts_with(['+', '-']) {
            points.push(Point::Float(value));
            return Ok(());
        }
        let step = self.number()?;
        let times = self.times()?.ok_or_else(|| self.unexpected())?;
        let values = std::iter::repeat_with(|| {
            let point = Point::Float(value);
            value += step;
            point
        });
        extend(points, values.take(times.saturating_add(1)));
        Ok(())
    }

    fn histograms(&mut self, points: &mut Vec<Point>) -> Result<(), Fault> {
        let start = Arc::new(read_histogram(self.text, &mut self.at)?);
        let sign = self.rest().chars().next().filter(|c| matches!(c, '+' | '-'));
        let mut change = None;
        if let Some(sign) = sign {
            self.at += 1;
            let by = Arc::new(read_histogram(self.text, &mut self.at)?);
            change = Some(Change { by, negative: sign == '-' });
        }
        let times = match self.times()? {
            None if change.is_some() => return Err(self.unexpected()),
            times => times.unwrap_or(0),
        };
        let point = |times| {
            let (start, change) = (Arc::clone(&start), change.clone());
            Point::Histogram(HistogramPoint { start, change, times })
        };
        extend(points, (0..=times as u64).map(point));
        Ok(())
    }

    /// A number of times, `x5`, where there is one.
    fn times(&mut self) -> Result<Option<usize>, Fault> {
        if !self.accept("x") {
            return Ok(None);
        }
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let times = self.rest()[..digits].parse().map_err(|_| self.unexpected())?;
        self.at += digits;
        Ok(Some(times))
    }

    /// A decimal number; `0x5` is zero, five times more.
    fn number(&mut self) -> Result<f64, Fault> {
        let start = self.at;
        let negative = self.rest().starts_with('-');
        if negative || self.rest().starts_with('+') {
            self.at += 1;
        }
        let rest = self.rest();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let length = match rest[..letters].to_ascii_lowercase().as_str() {
            "inf" | "nan" => letters,
            _ => {
                let end = rest.find('x').unwrap_or(rest.len());
                literal::scan_number(&rest[..end]).map_or(0, |(_, length)| length)
            }
        };
        let value = literal::read_number(&rest[..length]).map_err(|_| {
            self.at = start;
            self.unexpected()
        })?;
        self.at += length;
        Ok(if negative { -value } else { value })
    }
}

/// Adds points, but not many more than are allowed.
fn extend(points: &mut Vec<Point>, more: impl Iterator<Item = Point>) {
    let room = (MAX_POINTS + 1).saturating_sub(points.len());
    points.extend(more.take(room));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = match parse_points(text) {
            Err(faults) => faults.to_string(),
            Ok(points) => {
                let point = |point: &Point| match point {
                    Point::Gap => "_".to_owned(),
                    Point::Float(value) if base::sample::is_stale(*value) => "stale".to_owned(),
                    Point::Float(value) => value.to_string(),
                    Point::Histogram(point) => format!("h{}", point.times),
                };
                points.iter().map(point).collect::<Vec<_>>().join(" ")
            }
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn reads_values() {
        check("1 -2  .5 1e3 NaN -Inf +inf", "1 -2 0.5 1000 NaN -inf inf");
        check("_ _x3 stale", "_ _ _ _ stale");
        check("5x2 0x1", "5 5 5 0 0");
        check("1+2x2 3-0x1 0-1.5x2", "1 3 5 3 3 0 -1.5 -3");
        check("1+1x0", "1");
        check("{{sum:1}}x1 {{}}-{{count:2}}x2", "h0 h1 h0 h1 h2");
        check("", "");
    }

    #[test]
    fn refuses_what_is_no_value() {
        check("1+1", "1:4: parse error: unexpected end of input in series values");
        check("-3-3 -3", "1:5: parse error: unexpected \" \" in series values");
        check("3+3x4-4", "1:6: parse error: unexpected \"-\" in series values");
        check("_-2", "1:2: parse error: unexpected \"-\" in series values");
        check("1 x", "1:3: parse error: unexpected \"x\" in series values");
        check("5xa", "1:3: parse error: unexpected \"a\" in series values");
        check("é", "1:1: parse error: unexpected \"é\" in series values");
        check("1x99999999999", "1:1: parse error: more than 10000000 values");
        check("_x9999999 _x9999999", "1:11: parse error: more than 10000000 values");
    }

    #[test]
    fn reads_series() {
        let line = parse_series(r#"{"my.metric", a='b'} 1"#).unwrap();
        assert_eq!(line.labels.to_string(), r#"{"my.metric", a="b"}"#);
        assert_eq!(parse_series("sum 1 2").unwrap().labels.metric_name(), "sum");
        let fault = |text: &str| parse_series(text).unwrap_err().to_string();
        assert!(fault("x{a!='b'} 1").contains("only `=`"));
        assert!(fault("1 2").contains("unexpected number"));
    }
}
