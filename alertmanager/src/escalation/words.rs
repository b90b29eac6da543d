//! What people read of a bout, in messages, on pages and in explanations.
//!
//! Invariant: a text says when, never how long ago: it may be read later.

use super::bout::{AGAIN, Acknowledgement, Bout, Released};
use super::policy::Policy;
use crate::time::print_minute;

impl Acknowledgement {
    /// `Acknowledged by anna since 2024-01-31 09:15 UTC: on it`.
    pub fn note(&self) -> String {
        format!("Acknowledged by {} since {}{}", self.by, print_minute(self.at), self.said())
    }

    fn said(&self) -> String {
        match self.comment.as_str() {
            "" => String::new(),
            comment => format!(": {comment}"),
        }
    }

    /// The same for whoever asks who has it: `anna has it since ... until ...: on it`.
    pub fn tell(&self) -> String {
        let until =
            self.until.map_or_else(String::new, |at| format!(" until {}", print_minute(at)));
        format!("{} has it since {}{until}{}", self.by, print_minute(self.at), self.said())
    }
}

impl Released {
    /// Why nobody has it any more.
    pub fn why(&self) -> String {
        match self.timed_out {
            true => format!("the time of {}, who had it, is over", self.by),
            false => format!("{} has given it back", self.by),
        }
    }
}

impl Bout {
    /// What whoever is called is told before everything else; `first` was told first.
    pub fn call(&self, first: &str) -> String {
        let why =
            self.released.as_ref().map_or_else(String::new, |had| format!(" ({})", had.why()));
        format!("Nobody has answered since {}{why}; first told: {first}", print_minute(self.since))
    }

    /// `acknowledged`, `exhausted` where all steps were run in vain, else `unanswered`.
    pub fn state(&self) -> &'static str {
        match (&self.acknowledged, self.exhausted) {
            (Some(_), _) => "acknowledged",
            (None, true) => "exhausted",
            (None, false) => "unanswered",
        }
    }

    /// Who has it; else since when nobody has, and whom the next step tells and when.
    pub fn tell(&self, policy: &Policy) -> String {
        if let Some(has) = &self.acknowledged {
            return has.tell();
        }
        let mut text = format!("nobody has answered since {}", print_minute(self.since));
        if let Some(had) = &self.released {
            text.push_str(&format!(" ({})", had.why()));
        }
        let told = self.reached.iter().map(|r| format!("{} at {}", r.receiver, print_minute(r.at)));
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            text.push_str(&format!("; told since: {}", told.join(", ")));
        }
        match self.next_step(policy) {
            Some((to, at)) if self.exhausted => text.push_str(&format!(
                "; exhausted: no step is left, {to} is told again every {}m, next at {}",
                AGAIN.as_secs() / 60,
                print_minute(at)
            )),
            Some((to, at)) => text.push_str(&format!("; next: {to} at {}", print_minute(at))),
            None if self.held_since.is_some() => {
                text.push_str("; all of it is held back, and nobody is called meanwhile");
            }
            None => {}
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use base::sample::Timestamp;

    use super::super::bout::Seen;
    use super::super::policy::Step;
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    #[test]
    fn says_who_has_it_and_whom_it_is_told_next() {
        let step = |receiver: &str, after: &str| Step {
            receiver: receiver.into(),
            after: after.parse().unwrap(),
        };
        let steps = vec![step("phone", "10m"), step("boss", "30m")];
        let policy = Policy { steps, ..Policy::default() };
        let mut bout = Bout::beginning(at(0));
        let check = |bout: &Bout, state: &str, expected: &str| {
            assert_eq!((bout.state(), bout.tell(&policy).as_str()), (state, expected));
        };
        let advance = |bout: &mut Bout, seen, minute| {
            bout.advance(&policy, seen, &|_| true, at(minute));
        };
        let begun = "nobody has answered since 1970-01-01 00:00 UTC";
        check(&bout, "unanswered", &format!("{begun}; next: phone at 1970-01-01 00:10 UTC"));
        advance(&mut bout, Seen::Firing, 10);
        let told = format!("{begun}; told since: phone at 1970-01-01 00:10 UTC");
        check(&bout, "unanswered", &format!("{told}; next: boss at 1970-01-01 00:30 UTC"));
        advance(&mut bout, Seen::Held, 11);
        let held = format!("{told}; all of it is held back, and nobody is called meanwhile");
        check(&bout, "unanswered", &held);
        advance(&mut bout, Seen::Firing, 31);
        advance(&mut bout, Seen::Firing, 50);
        let told =
            format!("{told}, boss at 1970-01-01 00:50 UTC; exhausted: no step is left, boss is");
        let again = format!("{told} told again every 30m, next at 1970-01-01 01:20 UTC");
        check(&bout, "exhausted", &again);
        let has = Acknowledgement {
            by: "anna".into(),
            comment: "on it".into(),
            at: at(60),
            until: Some(at(180)),
        };
        assert_eq!(has.note(), "Acknowledged by anna since 1970-01-01 01:00 UTC: on it");
        bout.acknowledged = Some(has);
        let has = "anna has it since 1970-01-01 01:00 UTC until 1970-01-01 03:00 UTC: on it";
        check(&bout, "acknowledged", has);
        bout.begin_anew(true, at(180));
        let anew = "nobody has answered since 1970-01-01 03:00 UTC (the time of anna, who had it, is \
                    over); next: phone at 1970-01-01 03:10 UTC";
        check(&bout, "unanswered", anew);
        assert_eq!(
            bout.call("chat"),
            "Nobody has answered since 1970-01-01 03:00 UTC (the time of anna, who had it, is over); \
             first told: chat"
        );
    }
}
