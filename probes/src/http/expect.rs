//! What an answer should be.
//!
//! Invariant: the first thing that is wrong is told: status, then version and encryption, then
//! headers, then body.

use std::fmt;
use std::ops::RangeInclusive;

use base::http::header::HeaderName;
use regex::bytes::Regex;

use super::fetch::Fetch;
use super::variables::{Escape, Template, Variables};
use crate::Reason;
use crate::network::Failed;
use crate::text::{shown, shown_line};

/// Statuses that are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statuses(pub(super) Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Adds what `text` says: `200`, `300-399` or `2xx`.
    pub(super) fn add(&mut self, text: &str) -> bool {
        let range = match text.split_once('-') {
            Some((from, to)) => from.trim().parse().ok().zip(to.trim().parse().ok()),
            None => match text.strip_suffix("xx") {
                Some(class) => class.parse().ok().map(|class: u16| (class * 100, class * 100 + 99)),
                None => text.parse().ok().map(|status| (status, status)),
            },
        };
        match range {
            Some((from, to)) if (100..=to).contains(&from) && to <= 599 => {
                self.0.push(from..=to);
                true
            }
            _ => false,
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, range) in self.0.iter().enumerate() {
            let (from, to) = (range.start(), range.end());
            let separator = if n == 0 { "" } else { ", " };
            match (from == to, from % 100 == 0 && *to == from + 99) {
                (true, _) => write!(f, "{separator}{from}")?,
                (_, true) => write!(f, "{separator}{}xx", from / 100)?,
                _ => write!(f, "{separator}{from}-{to}")?,
            }
        }
        Ok(())
    }
}

/// A version of HTTP by the name that it has in an answer.
pub(crate) fn version_of(text: &str) -> Option<f64> {
    Some(match text {
        "HTTP/1.0" => 1.0,
        "HTTP/1.1" => 1.1,
        "HTTP/2.0" => 2.0,
        "HTTP/3.0" => 3.0,
        _ => return None,
    })
}

/// Everything that is expected of an answer.
#[derive(Debug)]
pub(super) struct Expectations {
    pub(super) status: Statuses,
    /// Any where empty.
    pub(super) versions: Vec<f64>,
    /// Each header must be there with a value that matches.
    pub(super) headers: Vec<(HeaderName, Regex)>,
    /// None of these may be there with a value that matches.
    pub(super) reject_headers: Vec<(HeaderName, Regex)>,
    pub(super) contains: Vec<Template>,
    pub(super) matches: Vec<Regex>,
    pub(super) not_matches: Vec<Regex>,
    /// Whether the connection must, or must not, be encrypted.
    pub(super) encrypted: Option<bool>,
}

impl Expectations {
    /// Whether something is compared with a regular expression.
    pub(super) fn has_regex(&self) -> bool {
        !(self.headers.is_empty()
            && self.reject_headers.is_empty()
            && self.matches.is_empty()
            && self.not_matches.is_empty())
    }

    /// Judges what was fetched; `body` is without its compression.
    pub(super) fn judge(
        &self,
        fetch: &Fetch<'_>,
        body: &[u8],
        variables: &Variables,
    ) -> Result<(), Failed> {
        let status = fetch.status();
        if !self.status.0.iter().any(|range| range.contains(&status)) {
            let summary = format!("HTTP status {status}, wanted {}", self.status);
            return Err(Failed::new(Reason::HttpStatus, summary));
        }
        let version = fetch.version().unwrap_or_default();
        if !self.versions.is_empty() && !self.versions.contains(&version) {
            let wanted: Vec<_> = self.versions.iter().map(|one| format!("{one:.1}")).collect();
            let summary = format!("HTTP version {version:.1}, wanted {}", wanted.join(", "));
            return Err(Failed::new(Reason::ProtocolError, summary));
        }
        match (self.encrypted, fetch.is_tls()) {
            (Some(true), false) => {
                return Err(Failed::new(Reason::TlsPolicy, "the connection is not encrypted"));
            }
            (Some(false), true) => {
                return Err(Failed::new(Reason::TlsPolicy, "the connection is encrypted"));
            }
            _ => {}
        }
        self.judge_headers(fetch)?;
        self.judge_body(body, variables)
    }

    fn judge_headers(&self, fetch: &Fetch<'_>) -> Result<(), Failed> {
        let mismatch = |summary: String| Err(Failed::new(Reason::HeaderMismatch, summary));
        let shown = |value: &[u8]| shown_line(value, 100);
        for (name, regex) in &self.headers {
            let mut values = fetch.header_values(name).peekable();
            let Some(first) = values.peek().map(|value| shown(value)) else {
                return mismatch(format!("the header `{name}` is missing"));
            };
            if !values.any(|value| regex.is_match(value)) {
                return mismatch(format!(
                    "the header `{name}` is `{first}`, does not match `{regex}`"
                ));
            }
        }
        for (name, regex) in &self.reject_headers {
            if let Some(value) = fetch.header_values(name).find(|value| regex.is_match(value)) {
                let value = shown(value);
                return mismatch(format!("the header `{name}` is `{value}`, matches `{regex}`"));
            }
        }
        Ok(())
    }

    fn judge_body(&self, body: &[u8], variables: &Variables) -> Result<(), Failed> {
        let mismatch = |summary: String| Err(Failed::new(Reason::BodyMismatch, summary));
        for text in &self.contains {
            let wanted = text.render(variables, Escape::None);
            if memchr::memmem::find(body, wanted.as_bytes()).is_none() {
                return mismatch(format!("the body does not contain `{}`", text.source()));
            }
        }
        for regex in &self.matches {
            if !regex.is_match(body) {
                return mismatch(format!("the body does not match `{regex}`"));
            }
        }
        for regex in &self.not_matches {
            if let Some(found) = regex.find(body) {
                let found = shown(found.as_bytes(), 100).replace('\n', " ");
                return mismatch(format!("the body has `{found}`, matches `{regex}`"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_statuses() {
        let mut statuses = Statuses(Vec::new());
        for good in ["200", "300-399", "4xx", "301-302"] {
            assert!(statuses.add(good), "{good}");
        }
        assert_eq!(statuses.to_string(), "200, 3xx, 4xx, 301-302");
        for bad in ["", "x", "99", "600", "300-200", "9xx", "2x", "xx"] {
            assert!(!statuses.add(bad), "{bad}");
        }
    }
}
