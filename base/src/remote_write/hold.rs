//! How the series of a message are held: each by itself, or all in two long rows of memory, which is how
//! a receiver takes thousands of series a second that it knows already.
//!
//! Invariant: what is held is given back in the order in which it came.

use super::Series;
use crate::family::MetricKind;
use crate::labels::Labels;
use crate::sample::Sample;

/// A series of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// The labels, with the name, as [`Labels::as_encoded`] has them.
    pub labels: &'a str,
    /// The samples, as they were sent.
    pub samples: &'a [Sample],
    /// What the values mean, what is measured, and the unit.
    pub about: (MetricKind, &'a str, &'a str),
}

/// What holds series.
pub trait Hold: Default {
    /// Bytes that it takes for `row`, about.
    fn weight(row: &Row<'_>) -> usize;

    /// Adds a series.
    fn push(&mut self, row: Row<'_>);

    /// All series.
    fn rows(&self) -> impl Iterator<Item = Row<'_>> + Clone;

    /// Keeps those samples of the series at a place that `keep` accepts.
    fn retain(&mut self, place: usize, keep: impl Fn(&Sample) -> bool);
}

impl Hold for Vec<Series> {
    fn weight(row: &Row<'_>) -> usize {
        let (_, help, unit) = row.about;
        size_of::<Series>() + Rows::weight(row) + help.len() + unit.len()
    }

    fn push(&mut self, row: Row<'_>) {
        let Some(labels) = Labels::from_encoded(row.labels) else { return };
        let (samples, (kind, help, unit)) = (row.samples.to_vec(), row.about);
        let (help, unit) = (help.to_owned(), unit.to_owned());
        Self::push(self, Series { labels, samples, kind, help, unit });
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> + Clone {
        self.iter().map(|series| Row {
            labels: series.labels.as_encoded(),
            samples: &series.samples,
            about: (series.kind, &series.help, &series.unit),
        })
    }

    fn retain(&mut self, place: usize, keep: impl Fn(&Sample) -> bool) {
        if let Some(series) = self.get_mut(place) {
            series.samples.retain(keep);
        }
    }
}

/// Series in a row, without what is said of them.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    texts: String,
    samples: Vec<Sample>,
    rows: Vec<Ends>,
}

/// Where a series ends, and the next begins.
#[derive(Clone, Copy, Debug)]
struct Ends {
    text: usize,
    samples: usize,
    /// How many of its samples count: the first.
    count: usize,
}

impl Hold for Rows {
    fn weight(row: &Row<'_>) -> usize {
        row.labels.len() + size_of_val(row.samples) + size_of::<Ends>()
    }

    fn push(&mut self, row: Row<'_>) {
        self.texts.push_str(row.labels);
        self.samples.extend_from_slice(row.samples);
        let (text, samples, count) = (self.texts.len(), self.samples.len(), row.samples.len());
        self.rows.push(Ends { text, samples, count });
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> + Clone {
        let (mut text, mut samples) = (0, 0);
        self.rows.iter().map(move |ends| {
            let row = Row {
                labels: &self.texts[text..ends.text],
                samples: &self.samples[samples..samples + ends.count],
                about: (MetricKind::Unknown, "", ""),
            };
            (text, samples) = (ends.text, ends.samples);
            row
        })
    }

    fn retain(&mut self, place: usize, keep: impl Fn(&Sample) -> bool) {
        let begin = place.checked_sub(1).and_then(|before| self.rows.get(before));
        let begin = begin.map_or(0, |before| before.samples);
        let Some(ends) = self.rows.get_mut(place) else { return };
        let samples = &mut self.samples[begin..begin + ends.count];
        let mut kept = 0;
        for at in 0..samples.len() {
            if keep(&samples[at]) {
                samples[kept] = samples[at];
                kept += 1;
            }
        }
        ends.count = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Timestamp;

    #[test]
    fn both_ways_to_hold_series_hold_the_same() {
        fn check<S: Hold>() {
            let at = |n: i64| Sample { timestamp: Timestamp::from_millis(n), value: n as f64 };
            let mut held = S::default();
            let samples = [vec![at(1), at(2), at(3)], vec![], vec![at(4), at(5)]];
            let labels = ["a", "b", "cc"].map(|n| Labels::from_pairs([("__name__", n)]));
            for (labels, samples) in labels.iter().zip(&samples) {
                let about = (MetricKind::Unknown, "", "");
                held.push(Row { labels: labels.as_encoded(), samples, about });
            }
            let all = |held: &S| -> Vec<(String, Vec<i64>)> {
                let times = |samples: &[Sample]| -> Vec<i64> {
                    samples.iter().map(|sample| sample.timestamp.millis()).collect()
                };
                held.rows().map(|row| (row.labels.to_owned(), times(row.samples))).collect()
            };
            let expected = |times: [&[i64]; 3]| -> Vec<(String, Vec<i64>)> {
                let labels = labels.iter().map(|labels| labels.as_encoded().to_owned());
                labels.zip(times.map(<[i64]>::to_vec)).collect()
            };
            assert_eq!(all(&held), expected([&[1, 2, 3], &[], &[4, 5]]));
            held.retain(0, |sample| sample.value != 2.0);
            held.retain(2, |sample| sample.value > 4.0);
            held.retain(1, |_| false);
            held.retain(7, |_| false);
            assert_eq!(all(&held), expected([&[1, 3], &[], &[5]]));
            held.retain(0, |sample| sample.value > 1.0);
            assert_eq!(all(&held), expected([&[3], &[], &[5]]));
        }
        check::<Vec<Series>>();
        check::<Rows>();
    }
}
