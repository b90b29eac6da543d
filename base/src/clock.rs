//! The only reader of a clock.
//!
//! Invariant: everything below the loops (`run.rs` files and `api`) takes the time as a parameter;
//! probes measure with a [`Stopwatch`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::sample::Timestamp;

impl Timestamp {
    /// The present, by the system's clock; before 1970 it counts as 1970.
    pub fn now() -> Self {
        Self::from_millis(i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX))
    }
}

/// The present as the time since 1970, as finely as the system knows it: for what compares clocks.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Measures how long something takes; does not jump when the wall clock is set.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(tokio::time::Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The time since the start, in seconds.
    pub fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }

    /// The instant `after` the start, for tokio's timers.
    pub fn instant(&self, after: Duration) -> tokio::time::Instant {
        self.0 + after
    }
}

/// The time of a server: that of the system's clock, but never before what it was. Where the system's
/// clock is set back, it goes on from where it was, at the speed of a clock that nobody sets, until
/// the other has caught up (F24). Clones share it.
#[derive(Clone, Debug)]
pub struct SteadyClock(Arc<Mutex<Reading>>);

/// What it was, and how long ago.
#[derive(Debug)]
struct Reading {
    at: Timestamp,
    since: Stopwatch,
}

impl SteadyClock {
    /// A clock that is never before `at_least`: what is newest of what we keep from before.
    pub fn starting_at(at_least: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Reading { at: at_least, since: Stopwatch::start() })))
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (steady, system) = (reading.at + reading.since.elapsed(), Timestamp::now());
        if system < steady {
            return steady;
        }
        *reading = Reading { at: system, since: Stopwatch::start() };
        system
    }

    /// How far it is ahead of the system's clock: zero where nobody set that one back.
    pub fn ahead(&self) -> Duration {
        self.now().since(Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_is_not_followed_f24() {
        let hours = Duration::from_secs(2 * 3600);
        let ahead = Timestamp::now() + hours;
        let clock = SteadyClock::starting_at(ahead);
        let first = clock.now();
        assert!(first >= ahead && first.since(ahead) < Duration::from_secs(60));
        assert!(clock.clone().now() >= first);
        assert!(clock.ahead() > hours - Duration::from_secs(60));
        let clock = SteadyClock::starting_at(Timestamp::MIN);
        assert!(clock.now() <= Timestamp::now());
        assert_eq!(clock.ahead().as_secs(), 0);
    }
}
