//! What one step of a journey finds, and the next ones use as `${name}`.
//!
//! ```text
//! answer ── Extract ─▶ Variables ── Template::render ─▶ URL, headers, body, expected text
//! ```
//!
//! Invariant: a value is escaped for where it is put, and is never part of a text that somebody
//! reads: it may be a token.

use std::collections::BTreeMap;
use std::fmt;

use base::diagnostic::{Diagnostics, Place, nearest};
use base::http::header::HeaderName;
use base::http::percent_encoded;
use base::secret::Secret;
use regex::bytes::Regex;

use super::fetch::Fetch;
use super::json::Path;
use crate::Reason;
use crate::network::Failed;

/// The longest value that is kept, in bytes.
const MAX_VALUE: usize = 8 << 10;

/// What was found so far, by name.
#[derive(Debug, Default)]
pub(super) struct Variables(BTreeMap<String, Secret>);

/// How a value is written where it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// As it is.
    None,
    /// As a part of a URL or of a form.
    Url,
    /// As a part of a text in JSON.
    Json,
}

/// A text with variables in it.
#[derive(Clone, Default)]
pub(super) struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone)]
enum Part {
    Text(String),
    Variable(String),
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a password.
        f.write_str("Template")
    }
}

impl Template {
    /// The text as it is.
    pub(super) fn plain(text: &str) -> Self {
        Self { source: text.to_owned(), parts: vec![Part::Text(text.to_owned())] }
    }

    /// The text with its `${name}`; `$${` is a plain `${`. Names that are not `known` are reported.
    pub(super) fn build(
        text: &str,
        place: Place,
        known: &[&str],
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find("${") {
            let after = &rest[at + 2..];
            if rest[..at].ends_with('$') {
                plain.push_str(&rest[..at]);
                plain.push('{');
                rest = after;
                continue;
            }
            plain.push_str(&rest[..at]);
            let name = after.split_once('}').filter(|(name, _)| is_name(name));
            let Some((name, end)) = name else {
                plain.push_str("${");
                rest = after;
                continue;
            };
            if !known.contains(&name) {
                let help = match nearest(name, known.iter().copied()) {
                    Some(near) => format!("did you mean `${{{near}}}`?"),
                    None => "write `$${` for a plain `${`".to_owned(),
                };
                let message = format!("no step before this one extracts `{name}`");
                diagnostics.report_with_help(place, message, help);
            }
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Variable(name.to_owned()));
            rest = end;
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Self { source: text.to_owned(), parts }
    }

    /// As it is written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether there are variables in it.
    pub(super) fn varies(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Variable(_)))
    }

    /// The text with the values that the variables have.
    pub(super) fn render(&self, variables: &Variables, escape: Escape) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable(name) => {
                    let value = variables.0.get(name).map_or("", Secret::expose);
                    match escape {
                        Escape::None => out.push_str(value),
                        Escape::Url => out.push_str(&percent_encoded(value)),
                        Escape::Json => {
                            let quoted = serde_json::Value::from(value).to_string();
                            out.push_str(&quoted[1..quoted.len() - 1]);
                        }
                    }
                }
            }
        }
        out
    }

    /// As [`Self::render`] of a URL: a variable that it begins with is a URL itself.
    pub(super) fn render_url(&self, variables: &Variables) -> String {
        match self.parts.as_slice() {
            [Part::Text(empty), Part::Variable(name), rest @ ..] if empty.is_empty() => {
                let rest = Self { source: String::new(), parts: rest.to_vec() };
                let first = variables.0.get(name).map_or("", Secret::expose);
                format!("{first}{}", rest.render(variables, Escape::Url))
            }
            _ => self.render(variables, Escape::Url),
        }
    }

    /// Whether a variable decides which host a URL leads to.
    pub(super) fn host_varies(&self) -> bool {
        let start = self.source.find("://").map_or(0, |at| at + 3);
        let end = self.source[start..].find(['/', '?']).map_or(self.source.len(), |at| start + at);
        self.varies() && (start == 0 || self.source[start..end].contains("${"))
    }
}

/// Whether `text` can be the name of a variable.
pub(super) fn is_name(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Where the value of a variable comes from.
#[derive(Debug)]
pub(super) struct Extract {
    pub(super) name: String,
    pub(super) from: Source,
    /// Its first group, or all that it matches, is the value.
    pub(super) regex: Option<Regex>,
}

/// What is looked into.
#[derive(Debug)]
pub(super) enum Source {
    Body,
    Header(HeaderName),
    Json(Path),
}

impl Extract {
    /// Finds the value and keeps it.
    pub(super) fn run(
        &self,
        fetch: &Fetch<'_>,
        body: &[u8],
        json: Option<&serde_json::Value>,
        variables: &mut Variables,
    ) -> Result<(), Failed> {
        let (reason, found) = match &self.from {
            Source::Body => (Reason::BodyMismatch, Some(body.to_vec())),
            Source::Header(name) => {
                let found = fetch.header_values(name).next().map(<[u8]>::to_vec);
                (Reason::HeaderMismatch, found)
            }
            Source::Json(path) => {
                let found = json.and_then(|json| path.find(json).into_iter().next());
                (Reason::BodyMismatch, found.map(|value| value.text().into_bytes()))
            }
        };
        let found = found.and_then(|found| self.part_of(found));
        let found = found.and_then(|found| String::from_utf8(found).ok());
        let Some(found) = found.filter(|found| found.len() <= MAX_VALUE) else {
            let place = match &self.from {
                Source::Body => "the body".to_owned(),
                Source::Header(name) => format!("the header `{name}`"),
                Source::Json(path) => format!("`{path}` of the body"),
            };
            let by = self.regex.as_ref().map(|regex| format!(" by `{regex}`"));
            let by = by.unwrap_or_default();
            let summary = format!("there is nothing for `{}` in {place}{by}", self.name);
            return Err(Failed::new(reason, summary));
        };
        variables.0.insert(self.name.clone(), Secret::new(found));
        Ok(())
    }

    fn part_of(&self, found: Vec<u8>) -> Option<Vec<u8>> {
        let Some(regex) = &self.regex else { return Some(found) };
        let groups = regex.captures(&found)?;
        let group = groups.get(1).or_else(|| groups.get(0))?;
        Some(group.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, escape: Escape, expected: &str) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let template = Template::build(text, Place::default(), &["a", "b_1"], &mut diagnostics);
        assert!(diagnostics.is_empty(), "{diagnostics}");
        let mut variables = Variables::default();
        variables.0.insert("a".to_owned(), Secret::new("x \"&/ü\n"));
        variables.0.insert("b_1".to_owned(), Secret::new("http://h.example/p?q=1"));
        let rendered = match escape {
            Escape::Url => template.render_url(&variables),
            other => template.render(&variables, other),
        };
        assert_eq!(rendered, expected, "{text}");
    }

    #[test]
    fn a_value_is_escaped_for_where_it_is_put() {
        check("plain", Escape::None, "plain");
        check("<${a}>", Escape::None, "<x \"&/ü\n>");
        check(r#"{"k": "${a}"}"#, Escape::Json, r#"{"k": "x \"&/ü\n"}"#);
        check("http://h/${a}", Escape::Url, "http://h/x%20%22%26%2F%C3%BC%0A");
        check("${b_1}", Escape::Url, "http://h.example/p?q=1");
        check("${b_1}&r=${a}", Escape::Url, "http://h.example/p?q=1&r=x%20%22%26%2F%C3%BC%0A");
        check("$${a} ${ x} ${", Escape::None, "${a} ${ x} ${");
    }

    #[test]
    fn knows_whether_the_host_is_written() {
        let check = |text: &str, expected: bool| {
            let mut diagnostics = Diagnostics::new("f.yml");
            let template = Template::build(text, Place::default(), &["a"], &mut diagnostics);
            assert_eq!(template.host_varies(), expected, "{text}");
        };
        check("http://h/${a}", false);
        check("http://h?x=${a}", false);
        check("http://h:80/", false);
        check("${a}", true);
        check("${a}/x", true);
        check("http://${a}/x", true);
        check("http://x.${a}", true);
        check("http://h:${a}/", true);
    }

    #[test]
    fn a_name_that_nothing_extracts_is_reported() {
        let mut diagnostics = Diagnostics::new("f.yml");
        Template::build("${tokn} ${x}", Place { line: 1, column: 2 }, &["token"], &mut diagnostics);
        let expected = "f.yml:1:2: no step before this one extracts `tokn`\n  \
                        help: did you mean `${token}`?\n\
                        f.yml:1:2: no step before this one extracts `x`\n  \
                        help: write `$${` for a plain `${`";
        assert_eq!(diagnostics.to_string(), expected);
    }
}
