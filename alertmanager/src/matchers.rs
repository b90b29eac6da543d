//! Matchers as text, as routes, silences and the command line write them:
//! `{severity="critical", team=~"db|web"}`, with or without braces and quotes.
//!
//! Text is read by the rules for UTF-8 names first; what they refuse is read by the older,
//! classic rules, as Alertmanager does by default.
//!
//! Invariant: what [`print`] writes is read back to the same matcher.

mod classic;
mod utf8;
mod link;

pub use link::{acknowledge_path, silence_path};

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Spanned};
use base::matcher::{MatchOp, Matcher, PatternError};

/// Why a text is no list of matchers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchersError {
    /// It breaks the notation.
    #[error("{0}")]
    Syntax(String),
    /// A regular expression is wrong.
    #[error("{0}")]
    Pattern(#[from] PatternError),
}

/// Reads a list of matchers.
///
/// # Errors
///
/// What both notations have against it; told is what the UTF-8 one has.
pub fn parse(text: &str) -> Result<Vec<Matcher>, MatchersError> {
    match parse_utf8(text) {
        Ok(matchers) => Ok(matchers),
        Err(error) => parse_classic(text).map_err(|_| error),
    }
}

/// Reads a list of matchers by the rules for UTF-8 names.
///
/// # Errors
///
/// What is wrong, after the place as `from:to` in characters.
pub fn parse_utf8(text: &str) -> Result<Vec<Matcher>, MatchersError> {
    build(utf8::parse(text).map_err(MatchersError::Syntax)?)
}

/// Reads a list of matchers by the classic rules.
///
/// # Errors
///
/// What is wrong.
pub fn parse_classic(text: &str) -> Result<Vec<Matcher>, MatchersError> {
    build(classic::parse(text).map_err(MatchersError::Syntax)?)
}

fn build(parts: Vec<(String, MatchOp, String)>) -> Result<Vec<Matcher>, MatchersError> {
    parts.into_iter().map(|(n, op, v)| Ok(Matcher::new(&n, op, &v)?)).collect()
}

/// The matchers of the configuration in its three forms: labels with values, labels with regular
/// expressions, and texts; sorted as Alertmanager does, by name, value, operator, which shows in the
/// route's key.
pub fn build_all(
    equal: &BTreeMap<Spanned<String>, String>,
    patterns: &BTreeMap<Spanned<String>, Option<Spanned<String>>>,
    texts: &[Spanned<String>],
    diagnostics: &mut Diagnostics,
) -> Vec<Matcher> {
    let mut found = Vec::new();
    for (name, value) in equal {
        found.push(Matcher::equal(&name.value, value));
    }
    for (name, pattern) in patterns {
        let Some(pattern) = pattern else {
            diagnostics.report(name, format!("`{}` has no regular expression", name.value));
            continue;
        };
        // As Alertmanager writes it.
        let anchored = format!("^(?:{})$", pattern.value);
        match Matcher::new(&name.value, MatchOp::Matches, &anchored) {
            Ok(matcher) => found.push(matcher),
            Err(error) => diagnostics.report(pattern, error.to_string()),
        }
    }
    for text in texts {
        match parse(&text.value) {
            Ok(matchers) => found.extend(matchers),
            Err(error) => diagnostics.report(text, error.to_string()),
        }
    }
    found.sort_by(|a, b| (a.name(), a.value(), a.op()).cmp(&(b.name(), b.value(), b.op())));
    found
}

/// Whether a character can stand in a name or value only in quotes.
fn is_reserved(c: char) -> bool {
    c.is_whitespace() || "{}!=~,\\\"'`".contains(c)
}

/// Writes a matcher: the value in quotes, the name only where it must be.
pub fn print(matcher: &Matcher) -> String {
    let name = matcher.name();
    let name =
        if name.is_empty() || name.contains(is_reserved) { quoted(name) } else { name.to_owned() };
    format!("{name}{}{}", matcher.op().as_str(), quoted(matcher.value()))
}

/// Writes matchers in braces, as they stand in the key of a route.
pub fn print_all(matchers: &[Matcher]) -> String {
    format!("{{{}}}", matchers.iter().map(print).collect::<Vec<_>>().join(","))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", base::labels::escape_value(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = parse(text).map_or_else(|e| format!("error: {e}"), |m| print_all(&m));
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn reads_both_notations() {
        check("", "{}");
        check("severity=critical", r#"{severity="critical"}"#);
        check(r#"{ a = "b" , c!~"d|e", }"#, r#"{a="b",c!~"d|e"}"#);
        check(r#"{"my label"="x"}"#, r#"{"my label"="x"}"#);
        check("foo=bar baz", r#"{foo="bar baz"}"#);
        check(r"foo=a\nb", r#"{foo="a\nb"}"#);
    }

    #[test]
    fn tells_what_is_wrong() {
        check(
            "{foo",
            "error: 4:4: end of input: expected an operator such as '=', '!=', '=~' or '!~'",
        );
        check("foo=~(", "error: `(` is not a usable regular expression: unclosed group");
    }

    #[test]
    fn they_are_in_the_order_of_alertmanagers_keys() {
        let mut diagnostics = Diagnostics::new("f.yml");
        let texts: Vec<Spanned<String>> = base::yaml::read(
            r#"['host="e"', 'host!="b"', 'a=~"z"', 'host!="e"']"#,
            &mut diagnostics,
        )
        .unwrap();
        let none = (BTreeMap::new(), BTreeMap::new());
        let found = build_all(&none.0, &none.1, &texts, &mut diagnostics);
        assert_eq!(print_all(&found), r#"{a=~"z",host!="b",host="e",host!="e"}"#);
    }

    #[test]
    fn a_label_without_a_regular_expression_is_a_fault() {
        let mut diagnostics = Diagnostics::new("f.yml");
        let patterns = base::yaml::read("{a: , b: x}", &mut diagnostics).unwrap();
        let found = build_all(&BTreeMap::new(), &patterns, &[], &mut diagnostics);
        assert_eq!(found.len(), 1);
        assert_eq!(diagnostics.to_string(), "f.yml:1:2: `a` has no regular expression");
    }
}
