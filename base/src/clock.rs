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

/// The system's clock is followed at once where it is ahead by no more than this.
const MOST_AHEAD: Duration = Duration::from_secs(10 * 60);
/// How long a larger jump has to last until it is believed, and one of more than a day.
const LASTS: Duration = Duration::from_secs(60);
const LASTS_FAR: Duration = Duration::from_secs(15 * 60);
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// The time of a server: that of the system's clock, but never before what it was. Where the system's
/// clock is set back, it goes on from where it was, at the speed of a clock that nobody sets, until
/// the other has caught up (F24). So it does where that is set far ahead, until that has lasted: what
/// is written with a time a year ahead would be in the way when the clock is right again (F25). Clones
/// share it.
#[derive(Clone, Debug)]
pub struct SteadyClock(Arc<Mutex<Reading>>);

/// What it was, and how long ago.
#[derive(Debug)]
struct Reading {
    at: Timestamp,
    since: Stopwatch,
    /// Since when the system's clock is far ahead.
    jumped: Option<Stopwatch>,
}

impl SteadyClock {
    /// A clock that is never before `at_least`: what is newest of what we keep from before.
    pub fn starting_at(at_least: Timestamp) -> Self {
        let (at, since) = (at_least.max(Timestamp::now()), Stopwatch::start());
        Self(Arc::new(Mutex::new(Reading { at, since, jumped: None })))
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reading.step(Timestamp::now())
    }

    /// How far the system's clock is ahead of it: zero where it is followed.
    pub fn held_back(&self) -> Duration {
        let by = Timestamp::now().since(self.now());
        if by > MOST_AHEAD { by } else { Duration::ZERO }
    }

    /// How far it is ahead of the system's clock: zero where nobody set that one back.
    pub fn ahead(&self) -> Duration {
        self.now().since(Timestamp::now())
    }
}

impl Reading {
    /// The present, where the system's clock says that it is `system`.
    fn step(&mut self, system: Timestamp) -> Timestamp {
        let steady = self.at + self.since.elapsed();
        if system < steady {
            self.jumped = None;
            return steady;
        }
        let by = system.since(steady);
        if by > MOST_AHEAD {
            let lasts = if by > FAR { LASTS_FAR } else { LASTS };
            if self.jumped.get_or_insert_with(Stopwatch::start).elapsed() < lasts {
                return steady;
            }
        }
        *self = Self { at: system, since: Stopwatch::start(), jumped: None };
        system
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

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_far_ahead_is_followed_when_it_has_lasted_f25() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        // Ahead by so many minutes, for so many: whether it is followed.
        let cases = [
            (9, 0, true),
            (11, 0, false),
            (30, 0, false),
            (30, 2, true),
            (366 * 24 * 60, 2, false),
            (366 * 24 * 60, 14, false),
            (366 * 24 * 60, 16, true),
        ];
        for (ahead, lasts, followed) in cases {
            let begun = Timestamp::from_millis(1_800_000_000_000);
            let mut reading = Reading { at: begun, since: Stopwatch::start(), jumped: None };
            let wrong = begun + minutes(ahead);
            let first = reading.step(wrong);
            tokio::time::advance(minutes(lasts)).await;
            let now = reading.step(wrong + minutes(lasts));
            let right = begun + minutes(lasts);
            let expected = if followed { wrong + minutes(lasts) } else { right };
            assert_eq!(now, expected, "{ahead} minutes ahead for {lasts}");
            assert_eq!(first, if lasts == 0 && followed { wrong } else { begun });
            // It is right again: nothing has happened, or it waits until the other has caught up.
            tokio::time::advance(minutes(1)).await;
            let after = reading.step(right + minutes(1));
            let expected = if followed { wrong + minutes(lasts + 1) } else { right + minutes(1) };
            assert_eq!(after, expected, "{ahead} minutes ahead for {lasts}, and back");
        }
        // Each jump has to last by itself.
        let begun = Timestamp::from_millis(1_800_000_000_000);
        let mut reading = Reading { at: begun, since: Stopwatch::start(), jumped: None };
        for minute in 0..40 {
            let right = begun + minutes(minute);
            let system = if minute % 10 == 9 { right } else { right + minutes(10_000) };
            assert_eq!(reading.step(system), right, "minute {minute}");
            tokio::time::advance(minutes(1)).await;
        }
    }
}
