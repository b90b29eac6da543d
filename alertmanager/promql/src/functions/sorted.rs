//! The values of a window in their order, kept from window to window.
//!
//! Invariant: what [`Sorted::slide`] gives is what sorting the values of the window would.

use crate::evaluate::{Samples, Window};
use crate::numeric::order;

/// The sorted values of the window that was looked at last.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    values: Vec<f64>,
    /// The samples of the series that they are.
    first: usize,
    behind: usize,
}

impl Sorted {
    /// Begins with another series.
    pub(super) fn begin(&mut self, _samples: Samples<'_>) {
        self.values.clear();
        (self.first, self.behind) = (0, 0);
    }

    /// The values of a window of the same series, sorted, what is not a number first. Windows come in the
    /// order of time.
    pub(super) fn slide(&mut self, window: Window<'_>) -> &[f64] {
        let (all, Window { first, behind, .. }) = (window.samples.values, window);
        let overlap = self.behind.saturating_sub(first);
        if first < self.first || behind < self.behind || 2 * overlap < behind - first {
            self.values.clear();
            self.values.extend_from_slice(window.values());
            self.values.sort_unstable_by(order);
        } else {
            for value in &all[self.first..first] {
                if let Ok(at) = self.values.binary_search_by(|other| order(other, value)) {
                    self.values.remove(at);
                }
            }
            for value in &all[self.behind..behind] {
                let (Ok(at) | Err(at)) = self.values.binary_search_by(|other| order(other, value));
                self.values.insert(at, *value);
            }
        }
        (self.first, self.behind) = (first, behind);
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_slides_has_the_values_that_it_has() {
        let values =
            [3.0, f64::NAN, -0.0, 0.0, 3.0, f64::INFINITY, 1.0, -2.0, f64::NAN, 0.0, 3.0, 7.0];
        let times: Vec<_> = (0..values.len() as i64).collect();
        let samples = Samples { times: &times, values: &values, starts: &[] };
        let mut sorted = Sorted::default();
        // As samples come and go one by one, several at a time, and all at once; and the next series.
        for windows in [
            &[(0, 1), (0, 4), (1, 5), (2, 5), (2, 9), (5, 10), (11, 12)][..],
            &[(3, 9), (4, 10), (5, 11), (6, 12), (11, 12)],
            &[(0, 12), (0, 12), (10, 12)],
        ] {
            sorted.begin(samples);
            for (first, behind) in windows.iter().copied() {
                let (param, second) = (f64::NAN, f64::NAN);
                let window =
                    Window { samples, first, behind, start: 0, end: 0, now: 0, param, second };
                let mut expected = values[first..behind].to_vec();
                expected.sort_by(order);
                let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(sorted.slide(window)), bits(&expected), "{first}..{behind}");
            }
        }
    }
}
