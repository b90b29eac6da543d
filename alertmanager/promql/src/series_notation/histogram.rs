//! Native histograms in the notation of series:
//! `{{schema:1 sum:3 count:22 buckets:[5 10 7] offset:-1}}`.
//!
//! Invariant: a histogram that is added several times is kept as what was written and how often, and
//! is calculated only when it is asked for.

use std::sync::Arc;

use base::histogram::{Buckets, Histogram, Reset};

use crate::fault::{Fault, Span};
use crate::{histogram, literal};

/// A native histogram as it was written; what was left out is zero.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each is what its name in the notation says")]
pub struct Written {
    pub schema: i32,
    pub sum: f64,
    pub count: f64,
    /// `z_bucket`
    pub zero_count: f64,
    /// `z_bucket_w`
    pub zero_width: f64,
    pub buckets: Vec<f64>,
    pub offset: i32,
    /// `n_buckets`
    pub negative_buckets: Vec<f64>,
    /// `n_offset`
    pub negative_offset: i32,
    pub custom_values: Vec<f64>,
    /// `counter_reset_hint`
    pub reset_hint: Option<String>,
}

/// A histogram to which another has been added some number of times.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    /// What it begins with.
    pub start: Arc<Written>,
    /// What is added each time.
    pub change: Option<Change>,
    /// How many times.
    pub times: u64,
}

/// What is added to a histogram, or taken away.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// How much.
    pub by: Arc<Written>,
    /// Whether it is taken away.
    pub negative: bool,
}

impl Written {
    /// What is meant.
    fn meant(&self) -> Histogram {
        let side = |counts: &[f64], offset: i32| -> Buckets {
            let buckets = (offset..=i32::MAX).zip(counts.iter().copied());
            buckets.filter(|(_, count)| *count != 0.0).collect()
        };
        Histogram {
            schema: self.schema,
            reset: match self.reset_hint.as_deref() {
                Some("reset") => Reset::Reset,
                Some("not_reset") => Reset::NotReset,
                Some("gauge") => Reset::Gauge,
                _ => Reset::Unknown,
            },
            zero_threshold: self.zero_width,
            zero_count: self.zero_count,
            count: self.count,
            sum: self.sum,
            positive: side(&self.buckets, self.offset),
            negative: side(&self.negative_buckets, self.negative_offset),
            bounds: self.custom_values.as_slice().into(),
        }
    }
}

impl HistogramPoint {
    /// The histogram; none where what is added has other buckets than what it is added to.
    pub fn value(&self) -> Option<Histogram> {
        let start = self.start.meant();
        let Some(Change { by, negative }) = self.change.as_ref().filter(|_| self.times > 0) else {
            return Some(start);
        };
        let by = histogram::multiple(&by.meant(), self.times as f64);
        let result = if *negative {
            histogram::difference(&start, &by)
        } else {
            histogram::sum(&start, &by)
        };
        result.ok().map(|(histogram, _)| histogram)
    }

    /// Whether it says how the counter continues.
    pub fn says_reset(&self) -> bool {
        self.start.reset_hint.is_some()
    }
}

/// Reads a histogram in its braces and moves `at` behind it.
pub(super) fn read_histogram(text: &str, at: &mut usize) -> Result<Written, Fault> {
    let mut reader = Reader { text, at: *at };
    let histogram = reader.histogram()?;
    *at = reader.at;
    Ok(histogram)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) -> bool {
        let before = self.at;
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t']).len();
        self.at > before
    }

    fn accept(&mut self, text: &str) -> bool {
        let is = self.rest().starts_with(text);
        self.at += if is { text.len() } else { 0 };
        is
    }

    fn fault(&self, at: usize, message: String) -> Fault {
        Fault::syntax(Span::new(at, self.text.len()), message)
    }

    fn unexpected(&self) -> Fault {
        let next = self.rest().chars().next().map_or_else(String::new, String::from);
        self.fault(self.at, format!("unexpected {next:?} in series values"))
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn histogram(&mut self) -> Result<Written, Fault> {
        if !self.accept("{{") {
            return Err(self.unexpected());
        }
        let mut histogram = Written::default();
        let mut seen = Vec::new();
        let blank_first = self.skip_blanks();
        if self.accept("}}") {
            return Ok(histogram);
        }
        if blank_first {
            return Err(self.unexpected());
        }
        loop {
            let start = self.at;
            let key = self.word();
            if !self.accept(":") {
                return Err(self.fault(start, "missing `:` for histogram descriptor".to_owned()));
            }
            if seen.contains(&key) {
                return Err(self.fault(0, format!("duplicate key {key:?} in histogram")));
            }
            seen.push(key);
            self.property(&mut histogram, key, start)?;
            let blank = self.skip_blanks();
            if self.accept("}}") {
                return Ok(histogram);
            }
            if !blank {
                return Err(self.unexpected());
            }
        }
    }

    fn property(&mut self, to: &mut Written, key: &str, start: usize) -> Result<(), Fault> {
        match key {
            "schema" => to.schema = self.integer()?,
            "sum" => to.sum = self.number()?,
            "count" => to.count = self.number()?,
            "z_bucket" => to.zero_count = self.number()?,
            "z_bucket_w" => to.zero_width = self.number()?,
            "buckets" => to.buckets = self.list()?,
            "offset" => to.offset = self.integer()?,
            "n_buckets" => to.negative_buckets = self.list()?,
            "n_offset" => to.negative_offset = self.integer()?,
            "custom_values" => to.custom_values = self.list()?,
            "counter_reset_hint" => {
                let at = self.at;
                let hint = self.word();
                if !matches!(hint, "unknown" | "reset" | "not_reset" | "gauge") {
                    let message = format!("bad histogram descriptor found: {hint:?}");
                    return Err(self.fault(at, message));
                }
                to.reset_hint = Some(hint.to_owned());
            }
            _ => {
                let message = format!("bad histogram descriptor found: {key:?}");
                return Err(self.fault(start, message));
            }
        }
        Ok(())
    }

    fn integer(&mut self) -> Result<i32, Fault> {
        let start = self.at;
        let value = self.number()?;
        let whole = value as i32;
        if f64::from(whole) == value {
            Ok(whole)
        } else {
            Err(self.fault(start, format!("`{value}` is not a whole number")))
        }
    }

    fn number(&mut self) -> Result<f64, Fault> {
        let negative = self.accept("-");
        if !negative {
            self.accept("+");
        }
        let rest = self.rest();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let length = match rest[..letters].to_ascii_lowercase().as_str() {
            "inf" | "nan" => letters,
            _ => literal::scan_number(rest).map_or(0, |(_, length)| length),
        };
        let value = literal::read_number(&rest[..length]).map_err(|_| self.unexpected())?;
        self.at += length;
        Ok(if negative { -value } else { value })
    }

    fn list(&mut self) -> Result<Vec<f64>, Fault> {
        if !self.accept("[") {
            return Err(self.unexpected());
        }
        let mut numbers = Vec::new();
        self.skip_blanks();
        while !self.accept("]") {
            numbers.push(self.number()?);
            self.skip_blanks();
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Written, String> {
        read_histogram(text, &mut 0).map_err(|f| format!("{} {}", f.span.start, f.message))
    }

    #[test]
    fn reads_every_property() {
        let text = "{{schema:-53 sum:-0.3 count:3.1 z_bucket:7 z_bucket_w:0.05 buckets:[5.1 10] \
                    offset:-3 n_buckets:[4 5] n_offset:5 custom_values:[1 +Inf] \
                    counter_reset_hint:not_reset}}";
        let histogram = read(text).unwrap();
        assert_eq!((histogram.schema, histogram.offset, histogram.negative_offset), (-53, -3, 5));
        assert_eq!(histogram.custom_values, [1.0, f64::INFINITY]);
        assert_eq!(histogram.reset_hint.as_deref(), Some("not_reset"));
        assert_eq!(read("{{ }}"), Ok(Written::default()));
    }

    #[test]
    fn refuses_what_is_no_histogram() {
        let check = |text: &str, fault: &str| assert_eq!(read(text).unwrap_err(), fault);
        check("{{schema:1 schema:1}}", "0 duplicate key \"schema\" in histogram");
        check("{{schema :1}}", "2 missing `:` for histogram descriptor");
        check("{{schema: 1}}", "9 unexpected \" \" in series values");
        check("{{schema:1.5}}", "9 `1.5` is not a whole number");
        check("{{counter_reset_hint:foo}}", "21 bad histogram descriptor found: \"foo\"");
        check("{{height:1}}", "2 bad histogram descriptor found: \"height\"");
        check("{{sum:1", "7 unexpected \"\" in series values");
        check("{{buckets:[1 a]}}", "13 unexpected \"a\" in series values");
        check("{{buckets:[1", "12 unexpected \"\" in series values");
    }
}
