//! What was expected, compared with what came.
//!
//! Invariant: a comparison says nothing only where everything that was expected came, and nothing
//! else did.

use std::collections::BTreeMap;

use base::labels::Labels;

use super::chain::{Delivered, Held};
use super::plan::{AlertTest, ExprTest, HeldAlert, HeldTest, Message};
use super::sampled::Sampled;
use super::start::Start;
use super::written::Status;
use crate::alerts::Alert;
use crate::rules::AlertView;

/// What is wrong: a sentence, and the lines below it.
pub(super) type Difference = String;

fn lines(sentence: String, lines: impl IntoIterator<Item = String>) -> Difference {
    lines.into_iter().fold(sentence, |text, line| format!("{text}\n    {line}"))
}

/// Which alerts of a name fire.
pub(super) fn alerts(test: &AlertTest, got: &[AlertView], start: &Start) -> Option<Difference> {
    let said = |labels: &Labels, texts: &BTreeMap<String, String>| match texts.is_empty() {
        true => labels.to_string(),
        false => format!("{labels} with annotations {}", Labels::from_pairs(texts)),
    };
    let mut got: Vec<_> = got.iter().map(|a| (a.labels.clone(), a.annotations.clone())).collect();
    let mut missing = Vec::new();
    for expected in &test.expected {
        match got.iter().position(|one| one == expected) {
            Some(found) => drop(got.remove(found)),
            None => missing.push(expected),
        }
    }
    if missing.is_empty() && got.is_empty() {
        return None;
    }
    let mut told = Vec::new();
    for (labels, texts) in missing {
        told.push(format!("expected: {}", said(labels, texts)));
        // The same alert with other texts stands below it, and not a second time.
        if let Some(at) = got.iter().position(|(other, _)| other == labels) {
            let (labels, texts) = got.remove(at);
            told.push(format!("got:      {}", said(&labels, &texts)));
        } else {
            told.push("got:      nothing like it".to_owned());
        }
    }
    told.extend(
        got.iter().map(|(l, texts)| format!("not expected, but fires: {}", said(l, texts))),
    );
    let at = start.tell(test.at);
    Some(lines(format!("the alerts `{}` at {at} are not as expected", test.name), told))
}

/// What an expression comes to.
pub(super) fn samples(
    test: &ExprTest,
    got: Result<Vec<(Labels, Sampled)>, String>,
    fuzzy: bool,
    start: &Start,
) -> Option<Difference> {
    let query = test.query.text().trim();
    let at = start.tell(test.at);
    let mut got = match got {
        Ok(got) => got,
        Err(error) => return Some(format!("`{query}` at {at} failed: {error}")),
    };
    let mut missing = Vec::new();
    for (labels, value) in &test.expected {
        match got.iter().position(|(other, is)| other == labels && is.is(value, fuzzy)) {
            Some(found) => drop(got.remove(found)),
            None => missing.push((labels, value)),
        }
    }
    if missing.is_empty() && got.is_empty() {
        return None;
    }
    let expected = missing.iter().map(|(labels, value)| format!("expected: {labels} {value}"));
    let got = got.iter().map(|(labels, value)| format!("got:      {labels} {value}"));
    let told: Vec<_> = expected.chain(got).collect();
    Some(lines(format!("`{query}` at {at} is not as expected"), told))
}

/// Which messages are delivered. Gives what is wrong with the place of the message that did not
/// come; none for one that was not expected.
pub(super) fn messages<'a>(
    expected: &'a [Message],
    got: &[Delivered],
    start: &Start,
) -> Vec<(Option<&'a Message>, Difference)> {
    let fits: Vec<Vec<usize>> = expected
        .iter()
        .map(|message| (0..got.len()).filter(|n| is_as(message, &got[*n])).collect())
        .collect();
    let taken = pair(&fits, got.len());
    let mut is_free: Vec<bool> = vec![true; got.len()];
    taken.iter().flatten().for_each(|n| is_free[*n] = false);
    let mut found = Vec::new();
    for (message, _) in expected.iter().zip(&taken).filter(|(_, taken)| taken.is_none()) {
        let mut told = vec![format!("expected: {}", describe(message, start))];
        // What came in its place, if something did: the nearest in time.
        let near = |n: &usize| {
            let at = got[*n].at;
            at.since(message.from).max(message.from.since(at))
        };
        let free = (0..got.len()).filter(|n| is_free[*n] && got[*n].receiver == message.receiver);
        match free.min_by_key(near) {
            Some(n) => {
                is_free[n] = false;
                told.push(format!("got:      {}", tell(&got[n], start)));
                if message.text.is_some() {
                    told.extend(got[n].texts.iter().map(|text| {
                        format!("its text: {}", text.trim_end().replace('\n', "\n              "))
                    }));
                }
            }
            None => told.push("got:      no other message".to_owned()),
        }
        let sentence = format!("`{}` is not told as expected", message.receiver);
        found.push((Some(message), lines(sentence, told)));
    }
    for (message, _) in got.iter().zip(is_free).filter(|(_, is_free)| *is_free) {
        let told = [format!("got:      {}", tell(message, start))];
        let sentence = format!("`{}` is told something that is not expected", message.receiver);
        found.push((None, lines(sentence, told)));
    }
    found
}

fn is_as(expected: &Message, got: &Delivered) -> bool {
    let mut by = got.by.clone();
    by.sort();
    let status = |status: Status| (status == Status::Firing) == got.is_firing();
    got.receiver == expected.receiver
        && (expected.from..=expected.to).contains(&got.at)
        && expected.by.as_ref().is_none_or(|wanted| {
            let mut wanted = wanted.clone();
            wanted.sort();
            wanted == by
        })
        && expected.status.is_none_or(status)
        && expected.text.as_ref().is_none_or(|text| got.texts.iter().any(|t| text.is_match(t)))
        && expected.alerts.as_ref().is_none_or(|alerts| {
            let fits: Vec<Vec<usize>> = alerts
                .iter()
                .map(|(labels, status)| {
                    let status = status.or(expected.status);
                    let is = |n: &usize| is_alert(labels, status, &got.alerts[*n]);
                    (0..got.alerts.len()).filter(is).collect()
                })
                .collect();
            alerts.len() == got.alerts.len()
                && pair(&fits, got.alerts.len()).iter().all(Option::is_some)
        })
}

fn is_alert(labels: &Labels, status: Option<Status>, alert: &Alert) -> bool {
    let status = status.is_none_or(|status| (status == Status::Firing) == alert.is_firing());
    status && has(&alert.labels, labels)
}

fn has(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// The alerts that are held back at a time. As [`messages`].
pub(super) fn held<'a>(
    test: &'a HeldTest,
    got: &[Held],
    start: &Start,
) -> Vec<(Option<&'a HeldAlert>, Difference)> {
    let is = |expected: &HeldAlert, held: &Held| {
        let by = held.by.iter().filter(|by| by.as_str() == expected.reason.as_str());
        let mut said = by.map(ToString::to_string);
        has(&held.alert.labels, &expected.labels)
            && said.any(|text| expected.by.as_ref().is_none_or(|by| by.is_match(&text)))
    };
    let fits: Vec<Vec<usize>> = test
        .expected
        .iter()
        .map(|expected| (0..got.len()).filter(|n| is(expected, &got[*n])).collect())
        .collect();
    let taken = pair(&fits, got.len());
    let why = |held: &Held| {
        let by: Vec<_> = held.by.iter().map(ToString::to_string).collect();
        format!("{} {}", held.alert.labels, by.join("; "))
    };
    let at = start.tell(test.at);
    let mut found = Vec::new();
    for (expected, _) in test.expected.iter().zip(&taken).filter(|(_, taken)| taken.is_none()) {
        let reason = expected.reason.as_str();
        let by = expected.by.as_ref().map_or(String::new(), |by| format!(" by /{by}/"));
        let mut told = vec![format!("expected: {} {reason}{by}", expected.labels)];
        let alike = got.iter().filter(|held| has(&held.alert.labels, &expected.labels));
        told.extend(alike.map(|held| format!("got:      {}", why(held))));
        if told.len() == 1 {
            told.push("got:      no such alert is held back".to_owned());
        }
        let sentence = format!("an alert is not held back at {at} as expected");
        found.push((Some(expected), lines(sentence, told)));
    }
    for (n, held) in got.iter().enumerate() {
        if !taken.contains(&Some(n))
            && test.expected.iter().all(|e| !has(&held.alert.labels, &e.labels))
        {
            let told = [format!("got:      {}", why(held))];
            let sentence = format!("an alert is held back at {at}, which is not expected");
            found.push((None, lines(sentence, told)));
        }
    }
    found
}

/// Gives each of those who want something one of what fits it, to as many as possible: for each the
/// number of what it has. `fits` are the numbers that fit each, below `count`.
fn pair(fits: &[Vec<usize>], count: usize) -> Vec<Option<usize>> {
    let mut owner: Vec<Option<usize>> = vec![None; count];
    for who in 0..fits.len() {
        give(who, fits, &mut owner, &mut vec![false; count]);
    }
    let mut taken = vec![None; fits.len()];
    for (n, owner) in owner.into_iter().enumerate() {
        if let Some(owner) = owner {
            taken[owner] = Some(n);
        }
    }
    taken
}

/// Gives `who` something, where needed by having others take something else.
fn give(who: usize, fits: &[Vec<usize>], owner: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for &n in &fits[who] {
        if !std::mem::replace(&mut seen[n], true)
            && owner[n].is_none_or(|other| give(other, fits, owner, seen))
        {
            owner[n] = Some(who);
            return true;
        }
    }
    false
}

fn describe(message: &Message, start: &Start) -> String {
    let mut text = format!("at {}", start.tell(message.from));
    if message.to > message.from {
        text.push_str(&format!(" to {}", start.tell(message.to)));
    }
    if let Some(by) = &message.by {
        text.push_str(&format!(" by {}", by.join(", ")));
    }
    match message.status {
        Some(Status::Firing) => text.push_str(" firing"),
        Some(Status::Resolved) => text.push_str(" resolved"),
        None => {}
    }
    for (labels, status) in message.alerts.iter().flatten() {
        let status = status.or(message.status).map_or("", |status| match status {
            Status::Firing => "firing ",
            Status::Resolved => "resolved ",
        });
        text.push_str(&format!("\n              {status}{labels}"));
    }
    if let Some(pattern) = &message.text {
        text.push_str(&format!("\n              text /{pattern}/"));
    }
    text
}

fn tell(message: &Delivered, start: &Start) -> String {
    let status = if message.is_firing() { "firing" } else { "resolved" };
    let mut text = format!("at {} by {} {status}", start.tell(message.at), message.by.join(", "));
    for alert in &message.alerts {
        let status = if alert.is_firing() { "firing" } else { "resolved" };
        text.push_str(&format!("\n              {status} {}", alert.labels));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_several_is_given_so_that_all_have_something() {
        let check = |fits: &[&[usize]], count, expected: &[Option<usize>]| {
            let fits: Vec<Vec<usize>> = fits.iter().map(|fits| fits.to_vec()).collect();
            assert_eq!(pair(&fits, count), expected, "{fits:?}");
        };
        check(&[], 0, &[]);
        check(&[&[0, 1], &[0]], 2, &[Some(1), Some(0)]);
        check(&[&[0, 1], &[0, 2], &[0]], 3, &[Some(1), Some(2), Some(0)]);
        check(&[&[0], &[0]], 1, &[Some(0), None]);
        check(&[&[], &[1]], 2, &[None, Some(1)]);
    }
}
