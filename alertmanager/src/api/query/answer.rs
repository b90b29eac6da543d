//! What a query comes to, as Prometheus writes it.
//!
//! ```text
//! {"metric":{"job":"a"},"values":[[1435781430.781,"1"],[1435781445.781,"2"]]}
//!                                 └── of a step, for all series the same
//! ```
//!
//! Invariant: the text does not depend on how many threads write it.

use std::thread;
use std::time::Duration;

use base::clock::Stopwatch;
use base::http::Packed;
use base::labels::Labels;
use base::number;
use base::sample::{Sample, Timestamp};
use promql::{Histograms, Output, Range, Series, Severity, Value};

use super::TRUNCATED;
use crate::api::native::write_histogram;
use crate::api::reply::{Remarks, SUCCESS, end_success};

/// The most warnings and the most remarks of an answer.
const MOST_REMARKS: usize = 10;

/// Fewer samples than these are not worth a second thread, which takes a tenth of a millisecond.
const WORTH: usize = 1 << 14;

/// About how long the text of a series is without its samples, and that of a value.
const SERIES: usize = 256;
const VALUE: usize = 22;

/// What a query came to, and what that cost.
pub(super) struct Evaluated {
    pub(super) output: Output,
    /// The times that it was evaluated at.
    pub(super) range: Range,
    /// The most samples and values in memory at a time, and all of them.
    pub(super) usage: (usize, usize),
    /// How long it waited for its turn, and how long it took then.
    pub(super) waited: Duration,
    pub(super) took: Duration,
}

/// How it is to be told.
pub(super) struct Wanted {
    /// The most series.
    pub(super) limit: Option<usize>,
    /// Since when it has been worked at, where people want to know what it cost.
    pub(super) stats: Option<Stopwatch>,
    /// Whether the answer may be compressed.
    pub(super) gzip: bool,
}

/// The body of the answer.
pub(super) fn packed(evaluated: Evaluated, wanted: &Wanted) -> Packed {
    let Evaluated { mut output, range, usage, waited, took } = evaluated;
    let mut remarks = remarks(&output);
    let limit = wanted.limit.unwrap_or(usize::MAX);
    let length = match &mut output.value {
        Value::Vector(samples) => {
            let length = samples.len();
            samples.truncate(limit);
            length
        }
        Value::Matrix(series) => {
            let length = series.len();
            series.truncate(limit);
            length
        }
        Value::Scalar(_) | Value::String(_) => 0,
    };
    if length > limit {
        remarks.warnings.push(TRUNCATED.to_owned());
    }
    let mut body = SUCCESS.to_owned();
    write_value(&mut body, &output, range);
    if let Some(begun) = &wanted.stats {
        // In place of the brace that ends the data.
        body.pop();
        let (whole, took, waited) = (begun.seconds(), took.as_secs_f64(), waited.as_secs_f64());
        let stats = serde_json::json!({
            "timings": {
                "evalTotalTime": took,
                "resultSortTime": 0.0,
                "queryPreparationTime": 0.0,
                "innerEvalTime": took,
                "execQueueTime": waited,
                "execTotalTime": whole,
            },
            "samples": {"totalQueryableSamples": usage.1, "peakSamples": usage.0},
        });
        body.push_str(&format!(",\"stats\":{stats}}}"));
    }
    end_success(&mut body, &remarks);
    Packed::new(body.into_bytes(), wanted.gzip)
}

/// The data of an answer, as text.
pub fn answer_text(output: &Output, range: Range) -> String {
    let mut out = String::new();
    write_value(&mut out, output, range);
    out
}

fn remarks(output: &Output) -> Remarks {
    let mut remarks = Remarks::default();
    for (severity, list, name) in [
        (Severity::Warning, &mut remarks.warnings, "warning"),
        (Severity::Info, &mut remarks.infos, "info"),
    ] {
        let all = output.annotations.iter().filter(|annotation| annotation.severity == severity);
        let all: Vec<_> = all.map(ToString::to_string).collect();
        list.extend(all.iter().take(MOST_REMARKS).cloned());
        if all.len() > MOST_REMARKS {
            list.push(format!("{} more {name} annotations omitted", all.len() - MOST_REMARKS));
        }
    }
    remarks
}

fn write_value(out: &mut String, output: &Output, range: Range) {
    let mut writer = Writer { histograms: &output.histograms, times: &Times::of(range), out };
    match &output.value {
        Value::Scalar(sample) => {
            writer.push("{\"resultType\":\"scalar\",\"result\":");
            writer.sample(*sample, &mut 0);
        }
        Value::String(text) => {
            writer.push("{\"resultType\":\"string\",\"result\":");
            write_time(writer.out, range.start());
            write_text(writer.out, text);
            writer.push("]");
        }
        Value::Vector(samples) => {
            writer.push("{\"resultType\":\"vector\",\"result\":[");
            writer.vector(samples);
            writer.push("]");
        }
        Value::Matrix(series) => {
            writer.push("{\"resultType\":\"matrix\",\"result\":[");
            writer.matrix(series);
            writer.push("]");
        }
    }
    writer.push("}");
}

struct Writer<'a> {
    histograms: &'a Histograms,
    times: &'a Times,
    out: &'a mut String,
}

impl Writer<'_> {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Makes room for so many samples of so many series.
    fn reserve(&mut self, series: usize, samples: usize) {
        self.out.reserve(series * SERIES + samples * (self.times.longest + VALUE));
    }

    fn vector(&mut self, samples: &[(Labels, Sample)]) {
        self.reserve(samples.len(), samples.len());
        for (n, (labels, sample)) in samples.iter().enumerate() {
            self.push(if n > 0 { ",{\"metric\":" } else { "{\"metric\":" });
            write_labels(self.out, labels);
            let is_native = self.histograms.get(sample.value).is_some();
            self.push(if is_native { ",\"histogram\":" } else { ",\"value\":" });
            self.sample(*sample, &mut 0);
            self.push("}");
        }
    }

    /// Writes series, many of them on two threads.
    fn matrix(&mut self, series: &[Series]) {
        let samples: usize = series.iter().map(|one| one.samples.len()).sum();
        self.reserve(series.len(), samples);
        if samples < WORTH || thread::available_parallelism().is_ok_and(|n| n.get() == 1) {
            return self.series(series);
        }
        // The first of the second half.
        let mut before = 0;
        let middle = series.iter().position(|one| {
            before += one.samples.len();
            before > samples / 2
        });
        let (here, there) = series.split_at(middle.unwrap_or(0));
        let (histograms, times) = (self.histograms, self.times);
        let write_there = move || {
            let mut out = String::new();
            let mut writer = Writer { histograms, times, out: &mut out };
            writer.reserve(there.len(), samples - samples / 2);
            writer.series(there);
            out
        };
        thread::scope(|scope| {
            let helper = thread::Builder::new().name("answer".to_owned());
            let helper = helper.spawn_scoped(scope, write_there);
            self.series(here);
            if !here.is_empty() && !there.is_empty() {
                self.push(",");
            }
            // A system that has no thread for us leaves all to this one. A panic is passed on by the
            // scope.
            match helper.map(|helper| helper.join()) {
                Ok(Ok(text)) => self.push(&text),
                Ok(Err(_)) => {}
                Err(_) => self.series(there),
            }
        });
    }

    fn series(&mut self, series: &[Series]) {
        for (n, Series { labels, samples }) in series.iter().enumerate() {
            self.push(if n > 0 { ",{\"metric\":" } else { "{\"metric\":" });
            write_labels(self.out, labels);
            let numbers = self.samples(",\"values\":[", samples, false);
            if numbers < samples.len() {
                self.samples(",\"histograms\":[", samples, true);
            }
            self.push("}");
        }
    }

    /// Writes those samples that are native histograms, or those that are not; says how many.
    fn samples(&mut self, name: &str, samples: &[Sample], native: bool) -> usize {
        let (mut count, mut step) = (0, 0);
        for sample in samples {
            if self.histograms.get(sample.value).is_some() == native {
                self.push(if count == 0 { name } else { "," });
                self.sample(*sample, &mut step);
                count += 1;
            }
        }
        if count > 0 {
            self.push("]");
        }
        count
    }

    /// `[1435781430.781,"1"]`: seconds as a number, the value as a text, because JSON has no NaN.
    /// Before `step` there is no step with the time of the sample, nor of any that follows.
    #[inline]
    fn sample(&mut self, sample: Sample, step: &mut usize) {
        match self.times.text(sample.timestamp, step) {
            Some(text) => self.out.push_str(text),
            None => write_time(self.out, sample.timestamp),
        }
        match self.histograms.get(sample.value) {
            Some(histogram) => write_histogram(self.out, histogram),
            None => {
                self.out.push('"');
                number::push_plain(self.out, sample.value);
                self.out.push('"');
            }
        }
        self.out.push(']');
    }
}

/// How samples begin at the steps of a query.
struct Times {
    text: String,
    /// The steps, each with where its text ends.
    ends: Vec<(Timestamp, usize)>,
    /// The longest text.
    longest: usize,
}

impl Times {
    fn of(range: Range) -> Self {
        let mut times = Self { text: String::new(), ends: Vec::new(), longest: 0 };
        let mut at = Some(range.start());
        while let Some(time) = at.filter(|time| *time <= range.end()) {
            let begin = times.text.len();
            write_time(&mut times.text, time);
            times.ends.push((time, times.text.len()));
            times.longest = times.longest.max(times.text.len() - begin);
            at = range.step().map(|step| time + step).filter(|next| *next > time);
        }
        times
    }

    /// How a sample begins at that time; none where that is no step from `step` on.
    #[inline]
    fn text(&self, time: Timestamp, step: &mut usize) -> Option<&str> {
        loop {
            let (at, end) = *self.ends.get(*step)?;
            if at >= time {
                let begin = step.checked_sub(1).map_or(0, |before| self.ends[before].1);
                return (at == time).then(|| &self.text[begin..end]);
            }
            *step += 1;
        }
    }
}

fn write_time(out: &mut String, time: Timestamp) {
    let millis = time.millis();
    out.push_str(if millis < 0 { "[-" } else { "[" });
    let mut digits = itoa::Buffer::new();
    out.push_str(digits.format(millis.unsigned_abs() / 1000));
    let rest = millis.unsigned_abs() % 1000;
    if rest > 0 {
        // Three digits behind a one, which is where the point is.
        let fraction = digits.format(1000 + rest);
        out.push('.');
        out.push_str(fraction[1..].trim_end_matches('0'));
    }
    out.push(',');
}

fn write_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (n, (name, value)) in labels.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        write_text(out, name);
        out.push(':');
        write_text(out, value);
    }
    out.push('}');
}

fn write_text(out: &mut String, text: &str) {
    let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
    if text.as_bytes().iter().all(is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64, value: f64) -> Sample {
        Sample { timestamp: Timestamp::from_millis(millis), value }
    }

    fn text(value: Value, range: Range) -> String {
        let output = Output { value, annotations: Vec::new(), histograms: Histograms::default() };
        answer_text(&output, range)
    }

    fn named(name: &str, samples: Vec<Sample>) -> Series {
        Series { labels: Labels::from_pairs([("__name__", name)]), samples }
    }

    #[test]
    fn writes_samples_as_prometheus_does() {
        let check = |millis, value, expected: &str| {
            let sample = at(millis, value);
            let expected = format!("{{\"resultType\":\"scalar\",\"result\":{expected}}}");
            assert_eq!(text(Value::Scalar(sample), Range::instant(sample.timestamp)), expected);
            let elsewhere = Range::instant(Timestamp::from_millis(77));
            assert_eq!(text(Value::Scalar(sample), elsewhere), expected);
        };
        check(1_435_781_430_781, 1.0, "[1435781430.781,\"1\"]");
        check(1_435_781_430_500, 0.1, "[1435781430.5,\"0.1\"]");
        check(1_435_781_430_007, 0.1, "[1435781430.007,\"0.1\"]");
        check(2000, f64::NAN, "[2,\"NaN\"]");
        check(-1500, f64::NEG_INFINITY, "[-1.5,\"-Inf\"]");
        check(-40, 1e6, "[-0.04,\"1000000\"]");
        check(0, 1e21, "[0,\"1000000000000000000000\"]");
        check(i64::MIN, 0.0, "[-9223372036854775.808,\"0\"]");
    }

    #[test]
    fn writes_texts_as_json() {
        for plain in ["", "up", "a b/c<d>&\u{7f}", "größe"] {
            let mut out = String::new();
            write_text(&mut out, plain);
            assert_eq!(out, serde_json::Value::from(plain).to_string());
            assert_eq!(out.len(), plain.len() + 2);
        }
        for quoted in ["a\"b", "a\\b", "a\nb", "\u{1}"] {
            let mut out = String::new();
            write_text(&mut out, quoted);
            assert_eq!(out, serde_json::Value::from(quoted).to_string());
            assert!(out.len() > quoted.len() + 2);
        }
    }

    #[test]
    fn series_may_begin_late_and_have_gaps() {
        let time = Timestamp::from_millis;
        let range = Range::new(time(500), time(3500), Duration::from_secs(1));
        let series = vec![
            named("a", vec![at(500, 1.0), at(1500, 2.0), at(2500, 3.0), at(3500, 4.0)]),
            named("b", vec![at(1500, 5.0), at(3500, 6.0)]),
            // No step of the query.
            named("c", vec![at(1500, 7.0), at(1600, 8.0), at(2500, 9.0), at(9000, 10.0)]),
        ];
        let expected = "{\"resultType\":\"matrix\",\"result\":[\
            {\"metric\":{\"__name__\":\"a\"},\"values\":[[0.5,\"1\"],[1.5,\"2\"],[2.5,\"3\"],[3.5,\"4\"]]},\
            {\"metric\":{\"__name__\":\"b\"},\"values\":[[1.5,\"5\"],[3.5,\"6\"]]},\
            {\"metric\":{\"__name__\":\"c\"},\"values\":[[1.5,\"7\"],[1.6,\"8\"],[2.5,\"9\"],[9,\"10\"]]}]}";
        assert_eq!(text(Value::Matrix(series), range), expected);
        assert_eq!(
            text(Value::Matrix(Vec::new()), range),
            "{\"resultType\":\"matrix\",\"result\":[]}"
        );
    }

    #[test]
    fn a_large_answer_is_the_same_as_its_series_one_by_one() {
        let time = Timestamp::from_millis;
        let range = Range::new(time(0), time(60_000), Duration::from_millis(10));
        let check = |lengths: &[i64]| {
            let series = |(n, length): (usize, &i64)| {
                let sample = |step| at(step * 10, step as f64 / 3.0 + n as f64);
                named(&format!("series_{n}"), (0..*length).map(sample).collect())
            };
            let series: Vec<_> = lengths.iter().enumerate().map(series).collect();
            assert!(lengths.iter().sum::<i64>() >= WORTH as i64);
            let head = "{\"resultType\":\"matrix\",\"result\":[";
            let alone = series.iter().map(|one| {
                let alone = text(Value::Matrix(vec![one.clone()]), range);
                let alone = alone.strip_prefix(head).and_then(|rest| rest.strip_suffix("]}"));
                alone.unwrap().to_owned()
            });
            let expected = format!("{head}{}]}}", alone.collect::<Vec<_>>().join(","));
            assert!(text(Value::Matrix(series), range) == expected, "{lengths:?}");
        };
        check(&[100; 200]);
        check(&[9000, 1, 9000]);
        check(&[1, 1, 1, 9000, 9000]);
        check(&[9000, 9000, 1, 1]);
        // One series more than half.
        check(&[1, 9001, 9001, 9001, 1]);
        check(&[5000, 9001, 5000]);
    }
}
