//! What an answer should be.
//!
//! Invariant: the first thing that is wrong is told: code, then DNSSEC, then records.

use regex::bytes::Regex;

use super::message::{Message, RCODES, Record};
use crate::Reason;
use crate::wire::Failed;

/// Everything that is expected of an answer.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    /// The codes that are wanted.
    pub(super) rcodes: Vec<u16>,
    /// The server must vouch for the answer.
    pub(super) dnssec: bool,
    /// Exactly these data of the type that was asked for.
    pub(super) answers: Option<Vec<String>>,
    /// The type that was asked for.
    pub(super) kind: u16,
    /// Each matches some answer.
    pub(super) matches: Vec<Regex>,
    pub(super) answer: Records,
    pub(super) authority: Records,
    pub(super) additional: Records,
}

/// What is expected of the records of a section, in blackbox_exporter's words.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) fail_if_matches: Vec<Regex>,
    pub(crate) fail_if_all_match: Vec<Regex>,
    pub(crate) fail_if_not_matches: Vec<Regex>,
    pub(crate) fail_if_none_matches: Vec<Regex>,
}

impl Expectations {
    /// What was seen, or what is wrong with it.
    pub(super) fn judge(&self, message: &Message) -> Result<String, Failed> {
        if !self.rcodes.contains(&message.rcode) {
            let said = rcode(message.rcode);
            return Err(Failed::new(Reason::ErrorAnswer, format!("the server answers {said}")));
        }
        if self.dnssec && !message.authentic {
            let summary = "the server does not vouch for its answer by DNSSEC";
            return Err(Failed::new(Reason::DnssecMissing, summary));
        }
        let mismatch = |summary: String| Err(Failed::new(Reason::AnswerMismatch, summary));
        let of_type = || message.answer.iter().filter(|record| record.kind == self.kind);
        if let Some(wanted) = &self.answers {
            let mut wanted: Vec<_> = wanted.iter().map(|data| data.to_ascii_lowercase()).collect();
            let mut got: Vec<_> = of_type().map(|r| r.data.to_ascii_lowercase()).collect();
            wanted.sort_unstable();
            got.sort_unstable();
            got.dedup();
            wanted.dedup();
            if wanted != got {
                let got = if got.is_empty() { "nothing".to_owned() } else { got.join(", ") };
                return mismatch(format!("the answer is {got}, wanted {}", wanted.join(", ")));
            }
        }
        for regex in &self.matches {
            if !message.answer.iter().any(|record| regex.is_match(record.line().as_bytes())) {
                return mismatch(format!("no answer matches `{regex}`"));
            }
        }
        let sections = [
            ("answer", &self.answer, &message.answer),
            ("authority", &self.authority, &message.authority),
            ("additional", &self.additional, &message.additional),
        ];
        for (name, expect, records) in sections {
            expect.judge(name, records)?;
        }
        let data: Vec<_> = message.answer.iter().take(5).map(|r| r.data.as_str()).collect();
        let more = message.answer.len().saturating_sub(data.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let said = rcode(message.rcode);
        Ok(if data.is_empty() { said } else { format!("{said}: {}{more}", data.join(", ")) })
    }
}

impl Records {
    /// Judges the `records` of the section that is called `section`.
    pub(crate) fn judge(&self, section: &str, records: &[Record]) -> Result<(), Failed> {
        let lines: Vec<_> = records.iter().map(Record::line).collect();
        let matches = |regex: &Regex, line: &String| regex.is_match(line.as_bytes());
        let fail = |summary: String| Err(Failed::new(Reason::AnswerMismatch, summary));
        let shown = |line: &str| line.replace('\t', " ");
        for regex in &self.fail_if_matches {
            if let Some(line) = lines.iter().find(|line| matches(regex, line)) {
                let line = shown(line);
                return fail(format!("the {section} has `{line}`, matches `{regex}`"));
            }
        }
        for regex in &self.fail_if_all_match {
            if !lines.is_empty() && lines.iter().all(|line| matches(regex, line)) {
                return fail(format!("every record of the {section} matches `{regex}`"));
            }
        }
        for regex in &self.fail_if_not_matches {
            if let Some(line) = lines.iter().find(|line| !matches(regex, line)) {
                let line = shown(line);
                return fail(format!("the {section} has `{line}`, does not match `{regex}`"));
            }
        }
        for regex in &self.fail_if_none_matches {
            if !lines.iter().any(|line| matches(regex, line)) {
                return fail(format!("no record of the {section} matches `{regex}`"));
            }
        }
        Ok(())
    }
}

/// A code by its name.
pub(crate) fn rcode(number: u16) -> String {
    let known = RCODES.get(usize::from(number));
    known.map_or_else(|| format!("code {number}"), |name| (*name).to_owned())
}
