//! What is held to be true of a check, after how many attempts.
//!
//! ```text
//! results  ok  critical  critical  critical  warning  ok
//! attempt   1         1         2         3        3   1      with two retries
//! hard     ok        ok        ok  critical  warning  ok
//! ```
//!
//! As Nagios has it: a check that fails is tried again until its attempts are used up, and only
//! then its failure is hard. Hard failures change into one another at once, and all is well as
//! soon as it is once.
//!
//! Invariant: the attempt is never above the most attempts.

use probes::Status;

/// The state of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    status: Option<Status>,
    hard: Option<Status>,
    attempt: u32,
}

impl State {
    /// The status of the last run, if there was one.
    pub fn status(&self) -> Option<Status> {
        self.status
    }

    /// What is held to be true. Nothing before the first run that is well or the last attempt that
    /// is not: after a start nobody knows how it was before.
    pub fn hard(&self) -> Option<Status> {
        self.hard
    }

    /// The attempt of the last run, from 1; 0 before the first.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether the last run failed and it is not held to be true yet.
    pub fn is_soft(&self) -> bool {
        self.status.is_some_and(|status| status != Status::Ok) && self.hard != self.status
    }

    /// The state after a run with `status`, with at most `most` attempts.
    #[must_use]
    pub fn after(self, status: Status, most: u32) -> Self {
        let most = most.max(1);
        let failing = |status: Option<Status>| status.is_some_and(|status| status != Status::Ok);
        if status == Status::Ok {
            return Self { status: Some(status), hard: Some(status), attempt: 1 };
        }
        let attempt = match failing(self.status) {
            true => (self.attempt + 1).min(most),
            false => 1,
        };
        let hard = if failing(self.hard) || attempt >= most { Some(status) } else { self.hard };
        let attempt = if failing(self.hard) { most } else { attempt };
        Self { status: Some(status), hard, attempt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs through `results`, a letter each, with three attempts; `.` stands for what is not known.
    #[track_caller]
    fn check(results: &str, hard: &str, attempts: &str) {
        let mut state = State::default();
        let (mut got_hard, mut got_attempts) = (String::new(), String::new());
        for letter in results.chars() {
            let at = "owcu".find(letter).unwrap();
            state = state.after(Status::ALL[at], 3);
            got_hard.push(
                state
                    .hard()
                    .map_or('.', |hard| "owcu".chars().nth(usize::from(hard.code())).unwrap()),
            );
            got_attempts.push_str(&state.attempt().to_string());
            assert_eq!(state.is_soft(), letter != 'o' && state.hard() != state.status());
        }
        assert_eq!((got_hard.as_str(), got_attempts.as_str()), (hard, attempts), "{results}");
    }

    #[test]
    fn a_failure_is_hard_after_its_last_attempt() {
        check("occccc", "oooccc", "112333");
    }

    #[test]
    fn recovery_counts_at_once() {
        check("oco", "ooo", "111");
        check("ocwo", "oooo", "1121");
        check("occcoc", "ooocoo", "112311");
    }

    #[test]
    fn hard_failures_change_at_once() {
        check("occcwcu", "ooocwcu", "1123333");
        // Soft ones count on, whichever they are.
        check("owcu", "ooou", "1123");
    }

    #[test]
    fn nothing_is_held_to_be_true_at_the_start() {
        check("ccc", "..c", "123");
        check("co", ".o", "11");
        assert_eq!(State::default().hard(), None);
    }

    #[test]
    fn without_retries_everything_is_hard() {
        let state = State::default().after(Status::Warning, 1);
        assert_eq!(
            (state.hard(), state.attempt(), state.is_soft()),
            (Some(Status::Warning), 1, false)
        );
    }
}
