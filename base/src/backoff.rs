//! Growing delays between tries.
//!
//! Invariant: a delay is never longer than the longest, and never shorter than the first.

use std::time::Duration;

/// Delays that double from the first to the longest.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The delay before the next try; the one after it will be twice as long.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (self.next * 2).min(self.longest);
        delay
    }

    /// Starts again at the first delay.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The delay before try number `attempt` (the first try is 1), without keeping a state; `seed`
    /// takes up to a quarter off, so that many that failed together do not come back together.
    pub fn delay(first: Duration, longest: Duration, attempt: u32, seed: u64) -> Duration {
        let doubled = first.saturating_mul(1_u32 << attempt.saturating_sub(1).min(20)).min(longest);
        let share = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u32;
        (doubled - doubled / 4 * share / 256).max(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn doubles_up_to_the_longest_and_starts_again() {
        let mut backoff = Backoff::new(secs(1), secs(5));
        let delays: Vec<_> = (0..5).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), secs(1));
    }

    #[test]
    fn a_seed_spreads_and_stays_within_the_bounds() {
        for attempt in 1..60 {
            for seed in 0..100 {
                let delay = Backoff::delay(secs(1), secs(300), attempt, seed);
                assert!((secs(1)..=secs(300)).contains(&delay), "{attempt} {seed}: {delay:?}");
            }
        }
        assert!(Backoff::delay(secs(1), secs(300), 20, 7) >= secs(225));
    }
}
