//! When a group is judged before its time, because there are news.
//!
//! Invariant: the first news are judged at once, whenever the planned evaluation was; news without
//! end cost no more evaluations than planned ones and three times as many.

use std::time::Duration;

use base::sample::Timestamp;

/// How many evaluations there may be for each planned one, that one among them.
const NEWS_PER_INTERVAL: u32 = 4;

/// The early evaluations of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Early {
    /// When the next one is, if there are news.
    at: Option<Timestamp>,
    /// No other before: it was judged early just now.
    rest_until: Timestamp,
}

impl Default for Early {
    fn default() -> Self {
        Self { at: None, rest_until: Timestamp::MIN }
    }
}

impl Early {
    /// When the next evaluation is: the one `planned`, or one before it.
    pub(super) fn next(&self, planned: Timestamp) -> Timestamp {
        self.at.map_or(planned, |at| at.min(planned))
    }

    /// Whether news would change when the next evaluation is.
    pub(super) fn listens(&self) -> bool {
        self.at.is_none()
    }

    /// There are news at `now`.
    pub(super) fn hear(&mut self, now: Timestamp) {
        self.at = Some(now.max(self.rest_until));
    }

    /// The group is judged at `at`, and with it all news until now. True where that is before the
    /// one `planned`.
    pub(super) fn judge(&mut self, at: Timestamp, planned: Timestamp, interval: Duration) -> bool {
        self.at = None;
        if at >= planned {
            return false;
        }
        self.rest_until = at + interval / (NEWS_PER_INTERVAL - 1);
        true
    }

    /// Nobody judges before `at`.
    pub(super) fn rest_until(&mut self, at: Timestamp) {
        *self = Self { at: None, rest_until: at };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The evaluations within `end` ms of a group that is judged each 1,000 ms, with news at these
    /// times: early ones have an `e`.
    fn evaluations(news: impl IntoIterator<Item = i64>, end: i64) -> String {
        let at = Timestamp::from_millis;
        let (mut early, mut planned) = (Early::default(), at(0));
        let mut news: std::collections::VecDeque<_> = news.into_iter().collect();
        let mut log = Vec::new();
        loop {
            let next = early.next(planned);
            match news.front() {
                Some(time) if early.listens() && at(*time) <= next => {
                    early.hear(at(*time));
                    news.pop_front();
                    continue;
                }
                _ if next > at(end) => return log.join(" "),
                _ => {}
            }
            // What came meanwhile is seen by this one.
            while news.front().is_some_and(|time| at(*time) <= next) {
                news.pop_front();
            }
            let was_early = early.judge(next, planned, Duration::from_secs(1));
            log.push(format!("{}{}", next.millis(), if was_early { "e" } else { "" }));
            if !was_early {
                planned = next + Duration::from_secs(1);
            }
        }
    }

    #[test]
    fn news_are_judged_at_once_and_a_flood_of_them_seldom() {
        assert_eq!(evaluations([], 2500), "0 1000 2000");
        assert_eq!(evaluations([1, 600, 1900], 2500), "0 1e 600e 1000 1900e 2000");
        assert_eq!(evaluations([1001, 1002, 1100], 2500), "0 1000 1001e 1334e 2000");
        let flood = evaluations(0..20_000, 20_000);
        let early = flood.split(' ').filter(|one| one.ends_with('e')).count();
        assert!((55..=60).contains(&early), "{flood}");
    }

    #[test]
    fn who_rests_hears_of_nothing_before() {
        let at = Timestamp::from_millis;
        let mut early = Early::default();
        early.hear(at(5));
        early.rest_until(at(100));
        assert_eq!(early.next(at(200)), at(200));
        early.hear(at(7));
        assert_eq!(early.next(at(200)), at(100));
    }
}
