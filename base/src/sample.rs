//! Points in time, values, and the markers that say that a series ended.
//!
//! Invariant: a [`Timestamp`] is milliseconds since the Unix epoch in UTC; nothing else in the
//! house is called a timestamp.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time there is.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time there is.
    pub const MAX: Self = Self(i64::MAX);

    /// The time `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The nearest millisecond to `seconds` since the Unix epoch; not a number becomes 0.
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds * 1000.0).round() as i64)
    }

    /// Seconds since the Unix epoch.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// How long `self` is after `earlier`; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub timestamp: Timestamp,
    /// How much; a marker of [`Ended`] where the series ended.
    pub value: f64,
}

/// Why a series has no further samples, written into it as a value of its own.
///
/// `Gone` has the bits that Prometheus uses for its stale marker. The others are ours: a rule must
/// tell a series that its target no longer offers (the disk was unmounted) from one whose target
/// did not answer (nobody knows). All of them are NaN and end the series for every query alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The target answered and no longer has the series.
    Gone,
    /// The target did not answer, or what it answered could not be used.
    Lost,
    /// The target is no longer among those to be scraped.
    Removed,
}

const MARKER: u64 = 0x7ff0_0000_0000_0002;

impl Ended {
    /// The value that marks this end.
    pub fn value(self) -> f64 {
        f64::from_bits(match self {
            Self::Gone => MARKER,
            Self::Lost => MARKER + 1,
            Self::Removed => MARKER + 2,
        })
    }

    /// Which end `value` marks, if any.
    pub fn from_value(value: f64) -> Option<Self> {
        match value.to_bits().wrapping_sub(MARKER) {
            0 => Some(Self::Gone),
            1 => Some(Self::Lost),
            2 => Some(Self::Removed),
            _ => None,
        }
    }
}

/// Whether `value` marks the end of a series.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits().wrapping_sub(MARKER) < 3
}

/// What a target may not send: every not-a-number becomes the one that arithmetic gives, so that
/// only we write markers (F39).
#[inline]
pub fn without_markers(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_told_apart_from_each_other_and_from_nan() {
        for end in [Ended::Gone, Ended::Lost, Ended::Removed] {
            assert!(end.value().is_nan() && is_stale(end.value()));
            assert_eq!(Ended::from_value(end.value()), Some(end));
            assert!(!is_stale(without_markers(end.value())));
        }
        for value in [f64::NAN, -f64::NAN, 0.0, f64::INFINITY, f64::NEG_INFINITY, 2.0] {
            assert_eq!(Ended::from_value(value), None, "{value}");
        }
    }

    #[test]
    fn time_saturates_instead_of_wrapping() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Duration::from_secs(1), Timestamp::MIN);
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Timestamp::from_seconds(1.0005).millis(), 1001);
        assert_eq!(Timestamp::from_seconds(f64::NAN).millis(), 0);
    }
}
