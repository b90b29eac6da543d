//! Holds what a receiver heard against what was true: nothing lost, nothing unknown, nothing twice.
//!
//! It knows nothing of how the evaluator works, only what it was told and what came out.
//!
//! Invariant: a record that breaks a promise gives a violation; the tests below break each of them.

use std::collections::{BTreeMap, BTreeSet};

/// Something that happened, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The evaluator is about to be told that an alert fires, or has ended.
    Telling(String, bool),
    /// It has answered that it knows.
    Acknowledged(String, bool),
    /// The receiver has read a message: its id, and whether each of its alerts fires. Whether it
    /// said that it has it.
    Heard { id: String, alerts: BTreeMap<String, bool>, answered: bool },
    /// The evaluator was killed.
    Killed,
    /// Everything had time to arrive.
    Quiet,
}

/// What the checker found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Promises that were broken.
    pub(crate) violations: Vec<String>,
    /// Messages that came twice, as they may after a crash.
    pub(crate) repeats: usize,
    /// Endings of what nobody was told, as they may come after a crash.
    pub(crate) needless: usize,
    /// Messages in all.
    pub(crate) messages: usize,
}

/// Judges a record.
pub(crate) fn check(events: &[Event]) -> Verdict {
    let mut verdict = Verdict::default();
    // The last state that was acknowledged; none while another was told and not acknowledged.
    let mut truth: BTreeMap<&str, Option<bool>> = BTreeMap::new();
    let mut ever_fired: BTreeSet<&str> = BTreeSet::new();
    // What it may have been, over or firing, since everything had arrived: nothing else may be told.
    let mut since_quiet: BTreeMap<&str, [bool; 2]> = BTreeMap::new();
    // What the receiver has, and the messages that it has with the crashes there were before them.
    let mut told: BTreeMap<&str, bool> = BTreeMap::new();
    let mut have: BTreeMap<&str, usize> = BTreeMap::new();
    let mut crashes = 0;
    let mut fired_before_crash: BTreeMap<&str, usize> = BTreeMap::new();
    // What has ended since it was told: that it fires again is another page.
    let mut ended_since: BTreeSet<&str> = BTreeSet::new();
    for (n, event) in events.iter().enumerate() {
        match event {
            Event::Telling(alert, fires) => {
                truth.insert(alert, None);
                since_quiet.entry(alert).or_insert([true, false])[usize::from(*fires)] = true;
                if !*fires {
                    ended_since.insert(alert);
                } else {
                    ever_fired.insert(alert);
                    // What is decided while a message is on its way may tell its end again.
                    fired_before_crash.entry(alert).or_insert(crashes);
                }
            }
            Event::Acknowledged(alert, fires) => {
                truth.insert(alert, Some(*fires));
            }
            Event::Killed => crashes += 1,
            Event::Heard { id, alerts, answered } => {
                verdict.messages += 1;
                let needless_before = verdict.needless;
                for (alert, fires) in alerts {
                    if *fires && !ever_fired.contains(alert.as_str()) {
                        verdict.violations.push(format!("{n}: unknown page: {alert} never fired"));
                    }
                    let was =
                        since_quiet.get(alert.as_str()).is_none_or(|was| was[usize::from(*fires)]);
                    if !was {
                        let state = if *fires { "fires" } else { "is over" };
                        verdict.violations.push(format!(
                            "{n}: false news: {alert} {state}, which it was not since all was quiet"
                        ));
                    }
                    let knows = told.get(alert.as_str()) == Some(&true);
                    if !*fires && !knows {
                        let crashed = fired_before_crash.get(alert.as_str());
                        match crashed.is_some_and(|before| *before < crashes) {
                            true => verdict.needless += 1,
                            false => verdict.violations.push(format!(
                                "{n}: {alert} is told to have ended, of which nobody was told"
                            )),
                        }
                    }
                }
                if !answered {
                    continue;
                }
                let is_news = alerts.iter().any(|(alert, fires)| {
                    told.get(alert.as_str()).copied().unwrap_or(false) != *fires
                });
                let again = alerts
                    .iter()
                    .any(|(alert, fires)| *fires && ended_since.contains(alert.as_str()));
                for alert in alerts.keys() {
                    ended_since.remove(alert.as_str());
                }
                match have.insert(id, crashes) {
                    Some(before) if before < crashes => verdict.repeats += 1,
                    Some(_) => verdict.violations.push(format!("{n}: {id} came twice, no crash")),
                    None if !is_news && again && crashes > 0 => verdict.repeats += 1,
                    None if !is_news && verdict.needless == needless_before => {
                        verdict.violations.push(format!("{n}: {id} says nothing new: {alerts:?}"));
                    }
                    None => {}
                }
                told.extend(alerts.iter().map(|(alert, fires)| (alert.as_str(), *fires)));
            }
            Event::Quiet => {
                for (alert, fires) in &truth {
                    let known = told.get(alert).copied().unwrap_or(false);
                    match fires {
                        Some(true) if !known => {
                            verdict.violations.push(format!("{n}: lost page: {alert} fires"));
                        }
                        Some(false) if known => {
                            verdict.violations.push(format!("{n}: lost end: {alert} is over"));
                        }
                        _ => {}
                    }
                    let may_be = |state: bool| fires.is_none_or(|fires| fires == state);
                    since_quiet.insert(alert, [may_be(false), may_be(true)]);
                }
            }
        }
    }
    verdict
}

/// `+a` the evaluator is told that `a` fires and says that it knows, `-a` that it has ended; `1:aB`
/// the receiver is handed message 1 and takes it, `1?aB` it does not answer; `!` killed, `.` quiet.
fn record(text: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for word in text.split(' ') {
        let letters = |text: &str| {
            let state = |c: char| (c.to_ascii_lowercase().to_string(), c.is_ascii_lowercase());
            text.chars().map(state).collect::<BTreeMap<_, _>>()
        };
        match word.split_at(1) {
            ("!", _) => events.push(Event::Killed),
            (".", _) => events.push(Event::Quiet),
            (sign @ ("+" | "-"), name) => {
                events.push(Event::Telling(name.to_owned(), sign == "+"));
                events.push(Event::Acknowledged(name.to_owned(), sign == "+"));
            }
            (id, rest) => {
                let (answered, alerts) = (rest.starts_with(':'), letters(&rest[1..]));
                events.push(Event::Heard { id: id.to_owned(), alerts, answered });
            }
        }
    }
    events
}

#[test]
fn the_checker_finds_what_is_wrong_and_nothing_else() {
    let cases = [
        // All is well.
        ("+a 1:a . -a 2:A .", ""),
        ("+a +b 1:ab -a 2:Ab .", ""),
        ("+a -a .", ""),
        // A crash before the answer: the same message again; after it: the same id.
        ("+a 1?a ! 1:a .", ""),
        ("+a 1:a ! 1:a .", ""),
        ("+a 1:a ! -a 2:A .", ""),
        ("+a ! -a 2:A .", ""),
        // It ended and began again, and nobody knows whether the end arrived.
        ("+a 1:a -a 2?A ! +a 3:a .", ""),
        ("+a 1:a -a 2:A ! +a .", "lost page"),
        // Broken promises.
        ("+a .", "lost page"),
        ("+a 1?a ! .", "lost page"),
        ("+a 1:a -a .", "lost end"),
        ("+a 1:a ! -a .", "lost end"),
        ("1:a .", "unknown page"),
        ("+a 1:b .", "unknown page"),
        ("+a 1:a 1:a .", "came twice"),
        ("+a 1:a 2:a .", "nothing new"),
        ("+a 1:a ! 2:a .", "nothing new"),
        ("+a -a 1:A .", "nobody was told"),
        // It began again while the end of before was on its way again.
        ("+a 1:a -a 2?A ! +a 2:A 3:a .", ""),
        ("+a -a ! +a 1:A 2:a .", ""),
        // It fires all the time, or does not any more, whatever was true before.
        ("+a 1:a . ! 2:A 3:a .", "false news: a is over"),
        ("+a 1:a -a 2:A . ! 3:a 4:A .", "false news: a fires"),
        ("+a 1:a . -a +a ! 2:A 3:a .", ""),
        // That one end was needless excuses no other message.
        ("+a +b 1:b ! -a 2:A 3:b .", "nothing new"),
    ];
    for (text, expected) in cases {
        let found = check(&record(text)).violations;
        match expected {
            "" => assert!(found.is_empty(), "{text}: {found:?}"),
            _ => assert!(found.iter().any(|v| v.contains(expected)), "{text}: {found:?}"),
        }
    }
}
