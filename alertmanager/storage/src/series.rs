//! What a query is given of a series.
//!
//! Invariant: a time and its value have the same place in the two columns.

use base::labels::Labels;

/// The samples of one series, as two columns of the same length; times are milliseconds since the
/// Unix epoch and rise. Markers of an ended series are among the values.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSamples {
    /// The series.
    pub labels: Labels,
    /// When.
    pub times: Vec<i64>,
    /// How much.
    pub values: Vec<f64>,
}
