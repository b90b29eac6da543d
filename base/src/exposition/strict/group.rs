//! The rules of OpenMetrics for one sample, and for the samples that share a label set.
//!
//! Invariant: a group is checked as a whole when the next one begins.

use super::Taken;
use crate::exposition::SampleEntry;
use crate::family::MetricKind;
use crate::sample::Timestamp;

/// The longest names and values of an exemplar together, in characters.
const EXEMPLAR_CHARACTERS: usize = 128;

/// Checks what can be said of a sample alone.
pub(super) fn check_sample(
    sample: &SampleEntry<'_>,
    taken: &Taken,
    kind: MetricKind,
    suffix: &str,
    family: &str,
) -> Result<(), String> {
    use MetricKind::{Counter, GaugeHistogram, Histogram, Info, StateSet, Summary};
    let value = sample.value;
    let bound = |label: &str| {
        taken.label(label).and_then(|text| text.parse::<f64>().ok()).filter(|b| !b.is_nan())
    };
    match (kind, suffix) {
        (Info, _) if value != 1.0 => return Err("an info must be 1".to_owned()),
        (StateSet, _) if value != 0.0 && value != 1.0 => {
            return Err("a state must be 0 or 1".to_owned());
        }
        (StateSet, _) if taken.label(family).is_none() => {
            return Err(format!("a state needs the label `{family}`"));
        }
        (Summary, "") => {
            if bound("quantile").is_none_or(|q| !(0.0..=1.0).contains(&q)) {
                return Err("a summary needs a quantile between 0 and 1".to_owned());
            }
            if value < 0.0 {
                return Err("a quantile cannot be negative".to_owned());
            }
        }
        (Histogram | GaugeHistogram, "_bucket") if bound("le").is_none() => {
            return Err("a bucket needs a bound in `le`".to_owned());
        }
        _ => {}
    }
    let counts = matches!(
        (kind, suffix),
        (Counter, "_total")
            | (Histogram, "_bucket" | "_sum" | "_count")
            | (GaugeHistogram, "_bucket" | "_gcount")
            | (Summary, "_sum" | "_count")
    );
    let nan = value.is_nan();
    if counts && (value < 0.0 || nan) || nan && suffix == "_gsum" {
        return Err(format!("`{}` cannot be {value}", taken.name));
    }
    if let Some(exemplar) = &sample.exemplar {
        let allowed =
            matches!((kind, suffix), (Counter, "_total") | (Histogram | GaugeHistogram, "_bucket"));
        if !allowed {
            return Err("an exemplar belongs to a counter or a bucket".to_owned());
        }
        let characters: usize =
            exemplar.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
        if characters > EXEMPLAR_CHARACTERS {
            return Err(format!("an exemplar is over {EXEMPLAR_CHARACTERS} characters"));
        }
    }
    Ok(())
}

/// What the samples of a group have in common: the labels but for those that tell its parts apart.
pub(super) fn key(
    taken: &Taken,
    kind: MetricKind,
    suffix: &str,
    family: &str,
) -> Vec<(String, String)> {
    let part = match (kind, suffix) {
        (MetricKind::Histogram | MetricKind::GaugeHistogram, "_bucket") => "le",
        (MetricKind::Summary, "") => "quantile",
        (MetricKind::StateSet, _) => family,
        _ => "",
    };
    let mut key: Vec<_> = taken.labels.iter().filter(|(n, _)| n != part).cloned().collect();
    key.sort();
    key
}

/// The samples of one label set, as far as the rules must remember them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: Vec<(String, String)>,
    timestamp: Option<Option<Timestamp>>,
    parts: Parts,
}

/// The parts of a histogram at one timestamp.
#[derive(Debug, Default)]
struct Parts {
    last_bucket: Option<(f64, f64)>,
    negative_bucket: bool,
    count: Option<f64>,
    sum: Option<f64>,
}

impl Group {
    pub(super) fn new(key: Vec<(String, String)>) -> Self {
        Self { key, timestamp: None, parts: Parts::default() }
    }

    pub(super) fn add(
        &mut self,
        sample: &SampleEntry<'_>,
        taken: &Taken,
        kind: MetricKind,
        suffix: &str,
    ) -> Result<(), String> {
        if let Some(before) = self.timestamp {
            if before.is_some() != sample.timestamp.is_some() {
                return Err("some samples of a group have a timestamp, some have not".to_owned());
            }
            if before > sample.timestamp && kind != MetricKind::Info {
                return Err("timestamps go backwards".to_owned());
            }
            if before != sample.timestamp {
                std::mem::take(&mut self.parts).end(kind)?;
            }
        }
        self.timestamp = Some(sample.timestamp);
        self.parts.add(sample.value, taken, suffix)
    }

    pub(super) fn end(self, kind: MetricKind) -> Result<(), String> {
        self.parts.end(kind)
    }
}

impl Parts {
    fn add(&mut self, value: f64, taken: &Taken, suffix: &str) -> Result<(), String> {
        match suffix {
            "_bucket" => {
                let bound = taken.label("le").and_then(|le| le.parse().ok()).unwrap_or(f64::NAN);
                if let Some((before, count)) = self.last_bucket {
                    if bound <= before {
                        return Err("buckets are not in the order of their bounds".to_owned());
                    }
                    if value < count {
                        return Err("a bucket counts less than the one below it".to_owned());
                    }
                }
                self.negative_bucket |= bound < 0.0;
                self.last_bucket = Some((bound, value));
            }
            "_count" | "_gcount" => self.count = Some(value),
            "_sum" | "_gsum" => self.sum = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn end(self, kind: MetricKind) -> Result<(), String> {
        if !matches!(kind, MetricKind::Histogram | MetricKind::GaugeHistogram) {
            return Ok(());
        }
        let fault = match (self.last_bucket, self.count, self.sum) {
            (None, None, None) => return Ok(()),
            (Some((f64::INFINITY, all)), Some(count), _) if all != count => {
                "the count is not that of the bucket `+Inf`"
            }
            (Some((f64::INFINITY, _)), Some(_), None) => "a count needs a sum",
            (Some((f64::INFINITY, _)), None, Some(_)) => "a sum needs a count",
            (Some((f64::INFINITY, _)), _, Some(sum)) => match (kind, self.negative_bucket) {
                (MetricKind::Histogram, true) => "with negative bounds there cannot be a sum",
                (MetricKind::GaugeHistogram, false) if sum < 0.0 => {
                    "without negative bounds the sum cannot be negative"
                }
                _ => return Ok(()),
            },
            (Some((f64::INFINITY, _)), None, None) => return Ok(()),
            _ => "the bucket `+Inf` is missing",
        };
        Err(fault.to_owned())
    }
}
