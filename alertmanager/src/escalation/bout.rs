//! A group from its first message until it is over: which steps were run, who has it.
//!
//! ```text
//!            acknowledge                    its end, or given back
//! unanswered ───────────▶ acknowledged ────────────────────────────▶ unanswered, from the start
//!     └─ step 1, step 2, ..., the last again every half hour
//! ```
//!
//! Invariant: plain values; whatever happens with a bout depends on its arguments alone.

use std::collections::HashMap;
use std::time::Duration;

use base::sample::Timestamp;

use super::policy::{Policy, Step};

/// How often the last step is told again while nobody answers (A3.5).
pub const AGAIN: Duration = Duration::from_secs(30 * 60);

/// A bout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bout {
    /// When it was first decided to be told, or began anew: from then on steps count.
    pub since: Timestamp,
    /// For how long all of its alerts were held back since then: that time does not count.
    pub paused: Duration,
    /// Since when all of them are held back, if they are.
    pub held_since: Option<Timestamp>,
    /// Who was told since for want of an answer, in this order.
    pub reached: Vec<Reached>,
    /// When the last of them was last told again.
    pub again_at: Option<Timestamp>,
    /// Whether all steps were run, and nobody has answered.
    pub exhausted: bool,
    /// Who has it.
    pub acknowledged: Option<Acknowledgement>,
    /// Who had it before it began anew.
    pub released: Option<Released>,
}

/// That somebody was told for want of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The receiver.
    pub receiver: String,
    /// When that was decided.
    pub at: Timestamp,
}

/// That somebody has it in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// What they say of it; may be empty.
    pub comment: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when, if that is limited.
    pub until: Option<Timestamp>,
}

/// That somebody no longer has it in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Who had it.
    pub by: String,
    /// Since when nobody has.
    pub at: Timestamp,
    /// Whether their time was over; else it was given back.
    pub timed_out: bool,
}

/// How the alerts of a group are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// One fires, and may be told of.
    Firing,
    /// The same, but nobody knows whether it still holds: its data are missing.
    Stale,
    /// All that fire are held back.
    Held,
    /// None fires.
    Ended,
}

/// What has come of a look at a bout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The places of the steps that were run.
    pub steps: Vec<usize>,
    /// How many of them led to nobody.
    pub unreachable: usize,
    /// Whether the last is to be told again.
    pub again: bool,
    /// Whether an acknowledgement has ended.
    pub released: bool,
}

impl Progress {
    /// Whether somebody is to be told of it.
    pub fn is_news(&self) -> bool {
        !self.steps.is_empty() || self.again || self.released
    }
}

impl Bout {
    /// One that begins at `now`.
    pub fn beginning(now: Timestamp) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// Does what is due at `now`; `reaches` says whether a receiver has a way to be told.
    pub fn advance(
        &mut self,
        policy: &Policy,
        seen: Seen,
        reaches: &dyn Fn(&str) -> bool,
        now: Timestamp,
    ) -> Progress {
        let mut progress = Progress::default();
        self.set_back(now);
        match seen {
            Seen::Ended => return progress,
            Seen::Held => {
                self.held_since.get_or_insert(now);
                return progress;
            }
            Seen::Firing | Seen::Stale => {}
        }
        if let Some(since) = self.held_since.take() {
            self.paused += now.since(since);
        }
        if let Some(has) = &self.acknowledged {
            // Nobody is called for what may be over (A4.4).
            if seen == Seen::Stale || has.until.is_none_or(|until| until > now) {
                return progress;
            }
            self.begin_anew(true, now);
            progress.released = true;
        }
        let mut at_once = false;
        for (place, step) in self.left(policy) {
            if !at_once && self.due(step) > now {
                break;
            }
            self.reached.push(Reached { receiver: step.receiver.clone(), at: now });
            progress.steps.push(place);
            // Who has no way to be told is passed over (A3.4).
            at_once = !reaches(&step.receiver);
            progress.unreachable += usize::from(at_once);
        }
        self.exhausted = !policy.steps.is_empty() && self.left(policy).is_empty();
        if let Some(at) = self.again_due()
            && at <= now
        {
            self.again_at = Some(now);
            progress.again = true;
        }
        progress
    }

    /// The steps that were not run, with their places, in the order of their times. A receiver that
    /// stands in the policy twice is told twice.
    fn left<'a>(&self, policy: &'a Policy) -> Vec<(usize, &'a Step)> {
        let mut told: HashMap<&str, usize> = HashMap::new();
        for reached in &self.reached {
            *told.entry(&reached.receiver).or_default() += 1;
        }
        let mut was_run = |step: &Step| match told.get_mut(step.receiver.as_str()) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        };
        policy.steps.iter().enumerate().filter(|(_, step)| !was_run(step)).collect()
    }

    fn due(&self, step: &Step) -> Timestamp {
        self.since + self.paused + step.after.duration()
    }

    fn again_due(&self) -> Option<Timestamp> {
        let last = self.reached.last().filter(|_| self.exhausted)?;
        Some(self.again_at.map_or(last.at, |at| at.max(last.at)) + AGAIN)
    }

    /// Whom the next step tells and when, unless somebody answers.
    pub fn next_step(&self, policy: &Policy) -> Option<(String, Timestamp)> {
        if self.acknowledged.is_some() || self.held_since.is_some() {
            return None;
        }
        match self.left(policy).first() {
            Some((_, step)) => Some((step.receiver.clone(), self.due(step))),
            None => Some((self.reached.last()?.receiver.clone(), self.again_due()?)),
        }
    }

    /// When it is to be looked at again.
    pub fn next_due(&self, policy: &Policy, seen: Seen) -> Option<Timestamp> {
        match (&self.acknowledged, seen) {
            (_, Seen::Held | Seen::Ended) | (Some(_), Seen::Stale) => None,
            (Some(has), Seen::Firing) => has.until,
            (None, _) => self.next_step(policy).map(|(_, at)| at),
        }
    }

    /// When a receiver was last told for want of an answer, if it was.
    pub fn called_at(&self, receiver: &str) -> Option<Timestamp> {
        if self.acknowledged.is_some() {
            return None;
        }
        let reached = self.reached.iter().rev().find(|reached| reached.receiver == receiver)?;
        Some(reached.at)
    }

    /// Nobody has it any more: the time of whoever had it is over, or they gave it back. It begins
    /// again at the first step (A3.2).
    pub fn begin_anew(&mut self, timed_out: bool, now: Timestamp) {
        let Some(has) = self.acknowledged.take() else { return };
        let released = Some(Released { by: has.by, at: now, timed_out });
        let held_since = self.held_since.map(|_| now);
        *self = Self { released, held_since, ..Self::beginning(now) };
    }

    /// Follows a clock that was set back: no step is further away than it was from the start.
    fn set_back(&mut self, now: Timestamp) {
        let past = |at: &mut Timestamp| *at = (*at).min(now);
        past(&mut self.since);
        self.held_since.iter_mut().for_each(past);
        self.again_at.iter_mut().for_each(past);
        self.reached.iter_mut().for_each(|reached| past(&mut reached.at));
        if let Some(has) = &mut self.acknowledged
            && has.at > now
        {
            has.until = has.until.map(|until| now + until.since(has.at));
            has.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use base::period::Period;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn policy(steps: &str) -> Policy {
        let step = |text: &str| {
            let (receiver, after) = text.split_once(' ').unwrap();
            Step { after: after.parse().unwrap(), receiver: receiver.to_owned() }
        };
        let steps = steps.split(", ").filter(|text| !text.is_empty()).map(step).collect();
        Policy { steps, ..Policy::default() }
    }

    /// Walks a bout of `steps` through `events`: a second and what is seen then, `F`, `S`, `H` or
    /// `E`; `+60` acknowledges for a minute, `-` gives back. Expects who is told and when.
    #[track_caller]
    fn check(steps: &str, events: &str, expected: &str) {
        let policy = policy(steps);
        let (mut bout, mut told) = (Bout::beginning(at(0)), Vec::new());
        for event in events.split(' ') {
            let (second, what) = event.split_at(event.find(|c: char| !c.is_numeric()).unwrap());
            let second: i64 = second.parse().unwrap();
            let now = at(second);
            let seen = match what {
                "F" => Seen::Firing,
                "S" => Seen::Stale,
                "H" => Seen::Held,
                "E" => Seen::Ended,
                "-" => {
                    bout.begin_anew(false, now);
                    continue;
                }
                length => {
                    let until = length.trim_start_matches('+').parse::<u64>().ok();
                    let until = until.map(|length| now + Duration::from_secs(length));
                    let (by, comment) = ("anna".to_owned(), String::new());
                    bout.acknowledged = Some(Acknowledgement { by, comment, at: now, until });
                    continue;
                }
            };
            let done = bout.advance(&policy, seen, &|name| name != "nobody", now);
            let names = done.steps.iter().map(|place| policy.steps[*place].receiver.clone());
            let mut names: Vec<String> = names.collect();
            names.extend(done.released.then(|| "anew".to_owned()));
            names.extend(done.again.then(|| "again".to_owned()));
            if !names.is_empty() {
                told.push(format!("{second} {}", names.join("+")));
            }
            // A second look at the same time finds nothing to do.
            let before = bout.clone();
            let twice = bout.advance(&policy, seen, &|name| name != "nobody", now);
            assert!(!twice.is_news() && bout == before, "{event}");
            let next = bout.next_due(&policy, seen);
            assert!(next.is_none_or(|next| next > now), "{event}: {next:?}");
        }
        assert_eq!(told.join(", "), expected, "{events}");
    }

    const TWO: &str = "phone 10m, boss 30m";

    #[test]
    fn steps_are_run_at_their_times_and_late_ones_once_f21() {
        check(TWO, "1F 599F 600F 601F 1799F 1800F 1801F", "600 phone, 1800 boss");
        check(TWO, "605F 1804F", "605 phone, 1804 boss");
        check(TWO, "7200F 7201F", "7200 phone+boss");
        check("", "600F 99999F", "");
        check("phone 1m, phone 2m", "60F 61F 120F 121F", "60 phone, 120 phone");
    }

    #[test]
    fn the_last_is_told_again_until_somebody_answers_a3_5() {
        check(
            TWO,
            "600F 1800F 3599F 3600F 3601F 5400F",
            "600 phone, 1800 boss, 3600 again, 5400 again",
        );
        check(TWO, "600F 1800F 3600F 3700+ 5400F 99999F", "600 phone, 1800 boss, 3600 again");
    }

    #[test]
    fn who_cannot_be_told_is_passed_over_a3_4() {
        check("nobody 1m, boss 30m", "60F", "60 nobody+boss");
        check("phone 1m, nobody 2m", "60F 120F 1920F", "60 phone, 120 nobody, 1920 again");
    }

    #[test]
    fn an_answer_stops_it_until_its_time_is_over_or_it_is_given_back_a4_4_a3_2() {
        check(TWO, "500+3600 600F 1800F 4099F 4100F 4700F", "4100 anew, 4700 phone");
        check(
            TWO,
            "600F 700+3600 4300F 4900F 6100F",
            "600 phone, 4300 anew, 4900 phone, 6100 boss",
        );
        check(TWO, "600F 700+ 1800F 2000- 2001F 2599F 2600F", "600 phone, 2600 phone");
        check(TWO, "500+60 600S 900S 901F", "901 anew");
    }

    #[test]
    fn the_time_in_which_all_is_held_back_does_not_count() {
        check(TWO, "300H 900H 1200F 1499F 1500F 2700F", "1500 phone, 2700 boss");
        check(TWO, "500+60 550H 900H 1000F", "1000 anew");
        check(TWO, "599F 600E 700F", "700 phone");
    }

    #[test]
    fn says_whom_it_tells_next() {
        let (policy, mut bout) = (policy(TWO), Bout::beginning(at(0)));
        let next = |bout: &Bout| bout.next_step(&policy).map(|(to, at)| (to, at.millis() / 1000));
        assert_eq!(next(&bout), Some(("phone".to_owned(), 600)));
        bout.advance(&policy, Seen::Firing, &|_| true, at(1800));
        assert_eq!(next(&bout), Some(("boss".to_owned(), 3600)));
        assert!(bout.exhausted);
        assert_eq!(bout.called_at("phone"), Some(at(1800)));
        assert_eq!(bout.called_at("chat"), None);
        bout.advance(&policy, Seen::Held, &|_| true, at(1900));
        assert_eq!(next(&bout), None);
    }

    #[test]
    fn other_steps_take_the_place_of_those_that_were_not_run() {
        let mut bout = Bout::beginning(at(0));
        bout.advance(&policy(TWO), Seen::Firing, &|_| true, at(600));
        let done = |bout: &mut Bout, steps: &str, second| {
            let policy = policy(steps);
            let done = bout.advance(&policy, Seen::Firing, &|_| true, at(second));
            done.steps.iter().map(|n| policy.steps[*n].receiver.clone()).collect::<Vec<_>>()
        };
        // What was run stays so; what is new and past is run.
        assert!(done(&mut bout.clone(), "phone 20m, boss 30m", 700).is_empty());
        assert_eq!(done(&mut bout.clone(), "chef 5m, phone 20m", 700), ["chef"]);
        assert_eq!(done(&mut bout, "boss 11m", 700), ["boss"]);
    }

    #[test]
    fn a_clock_that_is_set_back_puts_no_step_further_away() {
        let policy = policy(TWO);
        let mut bout = Bout::beginning(at(100_000));
        bout.advance(&policy, Seen::Firing, &|_| true, at(50_000));
        let next = bout.next_due(&policy, Seen::Firing).unwrap();
        assert_eq!(next, at(50_000) + Period::from_secs(600).duration());
    }
}
