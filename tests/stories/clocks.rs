//! The system's clock is set far ahead and back again while people wait for messages, silences hold and
//! nobody answers; or it stays there.
//!
//! Invariant: the stages get the time from the clock that the loops ask; only the clocks under it are
//! the story's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::clock::SteadyClock;
use base::sample::Timestamp;

use crate::simulation::{ROUTE, Simulation, at};

const YEAR: i64 = 365 * 24 * 3600;

/// A story by a clock that can be set.
struct Skewed {
    story: Simulation,
    clock: SteadyClock,
    /// The right time, and how far the system's clock is from it.
    set: Arc<Mutex<(i64, i64)>>,
}

impl Skewed {
    async fn begin(route: &str) -> Self {
        let set = Arc::new(Mutex::new((0, 0)));
        let read = Arc::clone(&set);
        let clock = SteadyClock::by(Timestamp::MIN, move || {
            let (right, ahead) = *read.lock().unwrap();
            (at(right + ahead), Duration::from_secs(right.unsigned_abs()))
        });
        Self { story: Simulation::with(route, true).await, clock, set }
    }

    /// Lets time pass, a second a step, up to the right second.
    async fn until(&mut self, second: i64) {
        loop {
            self.story.now = self.clock.believed().millis() / 1000;
            self.story.look().await;
            let mut set = self.set.lock().unwrap();
            if set.0 >= second {
                return;
            }
            set.0 += 1;
        }
    }

    /// Sets the system's clock so far from the right time.
    fn set_ahead(&self, seconds: i64) {
        self.set.lock().unwrap().1 = seconds;
    }

    /// How often each receiver was told since it was last asked, and of what.
    fn told(&mut self) -> Vec<String> {
        let heard = std::mem::take(&mut self.story.heard);
        heard.iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }
}

#[tokio::test]
async fn a_jump_that_is_taken_back_repeats_nothing_and_ends_no_silence_f25() {
    // Two hours for less than a minute, and a year for ten.
    for (ahead, lasts) in [(2 * 3600, 50), (YEAR, 600)] {
        let mut skewed = Skewed::begin(ROUTE).await;
        skewed.story.fire("a b cause effect");
        skewed.story.silence("b", 0, 3000).await;
        skewed.until(20).await;
        skewed.story.expect("10 ops a cause");
        skewed.until(100).await;
        skewed.set_ahead(ahead);
        skewed.until(100 + lasts).await;
        skewed.story.expect("");
        // What begins meanwhile waits as long as ever.
        skewed.story.fire("c");
        skewed.until(100 + lasts + 9).await;
        skewed.set_ahead(0);
        skewed.until(100 + lasts + 70).await;
        assert_eq!(skewed.told(), ["ops a c cause"], "{ahead} s ahead");
        // The silence ends, and what was told is repeated, when they would have.
        skewed.until(2990).await;
        assert_eq!(skewed.told(), [""; 0], "{ahead} s ahead");
        skewed.until(3100).await;
        assert_eq!(skewed.told(), ["ops a b c cause"], "{ahead} s ahead");
        skewed.until(6600).await;
        assert_eq!(skewed.told(), [""; 0], "{ahead} s ahead");
        skewed.until(6800).await;
        assert_eq!(skewed.told(), ["ops a b c cause"], "{ahead} s ahead");
    }
}

#[tokio::test]
async fn a_jump_that_stays_does_what_is_overdue_once_f25() {
    let mut skewed = Skewed::begin(ROUTE).await;
    skewed.story.fire("a b");
    skewed.story.silence("b", 0, 3000).await;
    skewed.until(100).await;
    assert_eq!(skewed.told(), ["ops a"]);
    skewed.set_ahead(YEAR);
    skewed.until(100 + 14 * 60).await;
    assert_eq!(skewed.told(), [""; 0]);
    // Followed: the silence is over, and an hour has passed many times.
    skewed.until(100 + 17 * 60).await;
    assert_eq!(skewed.told(), ["ops a b"]);
    skewed.until(100 + 70 * 60).await;
    assert_eq!(skewed.told(), [""; 0]);
    // Set right again, it is followed at once, and goes on from there.
    skewed.set_ahead(0);
    skewed.until(100 + 75 * 60).await;
    assert_eq!(skewed.told(), [""; 0]);
    skewed.story.end("a b");
    skewed.until(100 + 80 * 60).await;
    assert_eq!(skewed.told(), ["ops A B"]);
}

#[tokio::test]
async fn nobody_is_called_before_their_time_because_of_a_clock_f25() {
    let route = "{receiver: ops, group_by: [g], group_wait: 10s, group_interval: 60s, \
                 repeat_interval: 4h, escalate: [{after: 10m, receiver: phone}, \
                 {after: 30m, receiver: boss}]}";
    let mut skewed = Skewed::begin(route).await;
    skewed.story.fire("a");
    skewed.until(100).await;
    assert_eq!(skewed.told(), ["ops a"]);
    skewed.set_ahead(YEAR);
    skewed.until(400).await;
    skewed.set_ahead(0);
    skewed.until(600).await;
    assert_eq!(skewed.told(), [""; 0]);
    skewed.until(1000).await;
    assert_eq!(skewed.told(), ["phone a (escalated)"]);
    // It stays: the next step is overdue, and so is repeating it; each is done once.
    skewed.set_ahead(YEAR);
    skewed.until(1000 + 16 * 60).await;
    let overdue = ["boss a (escalated)", "ops a", "phone a (noted)", "boss a (noted)"];
    assert_eq!(skewed.told(), overdue);
    skewed.until(1000 + 30 * 60).await;
    assert_eq!(skewed.told(), [""; 0]);
}
