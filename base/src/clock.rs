//! The only reader of a clock.
//!
//! Invariant: everything below the loops (`run.rs` files and `api`) takes the time as a parameter;
//! probes measure with a [`Stopwatch`].

use std::fmt;
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
#[derive(Clone)]
pub struct SteadyClock {
    clocks: Arc<Clocks>,
    reading: Arc<Mutex<Reading>>,
}

/// The system's clock, and how long ago something was by one that nobody sets.
type Clocks = dyn Fn() -> (Timestamp, Duration) + Send + Sync;

/// What it was, and when.
#[derive(Debug)]
struct Reading {
    at: Timestamp,
    since: Duration,
    /// Since when the system's clock is far ahead.
    jumped: Option<Duration>,
}

impl fmt::Debug for SteadyClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SteadyClock").field(&self.reading).finish()
    }
}

impl SteadyClock {
    /// A clock that is never before `at_least`: what is newest of what we keep from before.
    pub fn starting_at(at_least: Timestamp) -> Self {
        let watch = Stopwatch::start();
        Self::by(at_least, move || (Timestamp::now(), watch.elapsed()))
    }

    /// The same by other clocks than those of the system: the one that can be set, and how long ago
    /// something was by one that cannot.
    pub fn by(
        at_least: Timestamp,
        clocks: impl Fn() -> (Timestamp, Duration) + Send + Sync + 'static,
    ) -> Self {
        let (system, since) = clocks();
        let reading = Reading { at: at_least.max(system), since, jumped: None };
        Self { clocks: Arc::new(clocks), reading: Arc::new(Mutex::new(reading)) }
    }

    /// The time, and the one of the system's clock.
    fn both(&self) -> (Timestamp, Timestamp) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let (system, since) = (self.clocks)();
        (reading.step(system, since), system)
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        self.both().0
    }

    /// The time for what people are told, and for what they have set an end to: that of the system's
    /// clock, also where that was set back, but not where it is far ahead and that has not lasted. What
    /// a message, a silence or a page waits for does not come because of a clock that is wrong (F25).
    pub fn believed(&self) -> Timestamp {
        let (now, system) = self.both();
        now.min(system)
    }

    /// How far the system's clock is ahead of it: zero where it is followed.
    pub fn held_back(&self) -> Duration {
        let (now, system) = self.both();
        let by = system.since(now);
        if by > MOST_AHEAD { by } else { Duration::ZERO }
    }

    /// How far it is ahead of the system's clock: zero where nobody set that one back.
    pub fn ahead(&self) -> Duration {
        let (now, system) = self.both();
        now.since(system)
    }
}

impl Reading {
    /// The present, where the system's clock says that it is `system`, and the other `since`.
    fn step(&mut self, system: Timestamp, since: Duration) -> Timestamp {
        let steady = self.at + since.saturating_sub(self.since);
        if system < steady {
            self.jumped = None;
            return steady;
        }
        let by = system.since(steady);
        if by > MOST_AHEAD {
            let lasts = if by > FAR { LASTS_FAR } else { LASTS };
            if since.saturating_sub(*self.jumped.get_or_insert(since)) < lasts {
                return steady;
            }
        }
        *self = Self { at: system, since, jumped: None };
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

    #[test]
    fn a_clock_that_is_far_ahead_is_followed_when_it_has_lasted_f25() {
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
            let mut reading = Reading { at: begun, since: Duration::ZERO, jumped: None };
            let wrong = begun + minutes(ahead);
            let first = reading.step(wrong, Duration::ZERO);
            let now = reading.step(wrong + minutes(lasts), minutes(lasts));
            let right = begun + minutes(lasts);
            let expected = if followed { wrong + minutes(lasts) } else { right };
            assert_eq!(now, expected, "{ahead} minutes ahead for {lasts}");
            assert_eq!(first, if lasts == 0 && followed { wrong } else { begun });
            // It is right again: nothing has happened, or it waits until the other has caught up.
            let after = reading.step(right + minutes(1), minutes(lasts + 1));
            let expected = if followed { wrong + minutes(lasts + 1) } else { right + minutes(1) };
            assert_eq!(after, expected, "{ahead} minutes ahead for {lasts}, and back");
        }
        // Each jump has to last by itself.
        let begun = Timestamp::from_millis(1_800_000_000_000);
        let mut reading = Reading { at: begun, since: Duration::ZERO, jumped: None };
        for minute in 0..40 {
            let right = begun + minutes(minute);
            let system = if minute % 10 == 9 { right } else { right + minutes(10_000) };
            assert_eq!(reading.step(system, minutes(minute)), right, "minute {minute}");
        }
    }

    #[test]
    fn what_people_wait_for_follows_a_clock_back_at_once_and_far_ahead_late_f25() {
        let set = Arc::new(Mutex::new((1_000_000_i64, 0_u64)));
        let read = Arc::clone(&set);
        let clock = SteadyClock::by(Timestamp::MIN, move || {
            let (system, since) = *read.lock().unwrap();
            (Timestamp::from_millis(system * 1000), Duration::from_secs(since))
        });
        let check = |system: i64, since: u64, believed: i64, now: i64| {
            *set.lock().unwrap() = (system, since);
            let told = (clock.believed().millis() / 1000, clock.now().millis() / 1000);
            assert_eq!(told, (believed, now), "{system} after {since} s");
        };
        check(1_000_010, 10, 1_000_010, 1_000_010);
        // Set back an hour, and right again.
        check(996_420, 20, 996_420, 1_000_020);
        check(1_000_030, 30, 1_000_030, 1_000_030);
        // A year ahead for a minute.
        check(32_536_030, 30, 1_000_030, 1_000_030);
        check(32_536_090, 90, 1_000_090, 1_000_090);
        check(1_000_100, 100, 1_000_100, 1_000_100);
        // An hour ahead, until that is believed.
        check(1_003_710, 110, 1_000_110, 1_000_110);
        check(1_003_771, 171, 1_003_771, 1_003_771);
        check(1_000_180, 180, 1_000_180, 1_003_780);
    }
}
