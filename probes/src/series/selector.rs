//! Which series are meant: `up`, `node_load1{job="a",mode!~"idle|iowait"}`, `{__name__=~"shop_.*"}`.
//!
//! Invariant: a selector has at least one matcher that an empty value does not match, so that it
//! never means everything.

use std::str::FromStr;

use base::labels::{Labels, is_legacy_label_name, is_legacy_metric_name};
use base::matcher::{MatchOp, Matcher};

/// The longest selector that is read.
const MAX_LENGTH: usize = 4 << 10;

/// Conditions on the labels of a series, the name included.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selector(Vec<Matcher>);

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a selector: {why}")]
pub(super) struct ParseSelectorError {
    text: String,
    why: String,
}

impl Selector {
    /// Whether the series with these labels is meant.
    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches_labels(labels))
    }
}

impl FromStr for Selector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, ParseSelectorError> {
        let fail = |why: String| {
            let text = text.chars().take(200).collect();
            Err(ParseSelectorError { text, why })
        };
        if text.len() > MAX_LENGTH {
            return fail(format!("it is longer than {MAX_LENGTH} bytes"));
        }
        let matchers = match parse(text.trim()) {
            Ok(matchers) => matchers,
            Err(why) => return fail(why),
        };
        if matchers.iter().all(|matcher| matcher.matches("")) {
            return fail("it means every series; name one".to_owned());
        }
        Ok(Self(matchers))
    }
}

fn parse(text: &str) -> Result<Vec<Matcher>, String> {
    let (name, mut rest) = match text.split_once('{') {
        None => (text, None),
        Some((name, rest)) => (name.trim_end(), Some(rest)),
    };
    let mut matchers = Vec::new();
    if !name.is_empty() {
        if !is_legacy_metric_name(name) {
            return Err(format!("`{name}` is not a name of a metric"));
        }
        matchers.push(Matcher::equal("__name__", name));
    }
    while let Some(left) = rest {
        let left = left.trim_start();
        if let Some(behind) = left.strip_prefix('}') {
            return match behind.trim() {
                "" => Ok(matchers),
                behind => Err(format!("`{behind}` stands behind its end")),
            };
        }
        let (matcher, behind) = matcher(left)?;
        matchers.push(matcher);
        let behind = behind.trim_start();
        rest = match behind.strip_prefix(',') {
            Some(behind) => Some(behind),
            None if behind.starts_with('}') => Some(behind),
            None => return Err("a `,` or `}` is missing".to_owned()),
        };
    }
    Ok(matchers)
}

/// The matcher at the start of `text`, and what follows.
fn matcher(text: &str) -> Result<(Matcher, &str), String> {
    let end = text.find(['=', '!']).ok_or("a matcher has no `=`")?;
    let (name, rest) = (text[..end].trim_end(), &text[end..]);
    if !is_legacy_label_name(name) {
        return Err(format!("`{name}` is not a name of a label"));
    }
    let ops = [
        ("=~", MatchOp::Matches),
        ("!~", MatchOp::NotMatches),
        ("!=", MatchOp::NotEqual),
        ("=", MatchOp::Equal),
    ];
    let found = ops.iter().find_map(|(sign, op)| Some((*op, rest.strip_prefix(sign)?)));
    let (op, rest) = found.ok_or("`!` alone is no operator")?;
    let (value, rest) = quoted(rest.trim_start())?;
    let matcher = Matcher::new(name, op, &value).map_err(|error| error.to_string())?;
    Ok((matcher, rest))
}

/// The text in double or single quotes at the start of `text`, and what follows.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut chars = text.char_indices();
    let quote = match chars.next() {
        Some((_, quote @ ('"' | '\''))) => quote,
        _ => return Err("a value is not in quotes".to_owned()),
    };
    let mut value = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('\\' | '"' | '\''))) => value.push(c),
                Some((_, c)) => return Err(format!("`\\{c}` means nothing; write `\\\\{c}`")),
                None => break,
            },
            c if c == quote => return Ok((value, &text[at + 1..])),
            c => value.push(c),
        }
    }
    Err("a quote is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, meant: &[&[(&str, &str)]], others: &[&[(&str, &str)]]) {
        let selector: Selector = text.parse().unwrap();
        for (series, expected) in
            meant.iter().map(|s| (s, true)).chain(others.iter().map(|s| (s, false)))
        {
            let labels = Labels::from_pairs(series.iter().copied());
            assert_eq!(selector.matches(&labels), expected, "{text} {series:?}");
        }
    }

    #[test]
    fn selects() {
        let a: &[_] = &[("__name__", "up"), ("job", "a")];
        let b: &[_] = &[("__name__", "up"), ("job", "b}\",x")];
        let other: &[_] = &[("__name__", "upper"), ("job", "a")];
        check("up", &[a, b], &[other]);
        check(" up { job = \"a\" , } ", &[a], &[b, other]);
        check("up{job='b}\\\",x'}", &[b], &[a]);
        check("up{job!=\"a\"}", &[b], &[a, other]);
        check("up{job=~\"a|c\",x=\"\"}", &[a], &[b]);
        check("{__name__=~\"up.*\",job!~\"b.*\"}", &[a, other], &[b]);
    }

    #[test]
    fn what_is_no_selector_is_told() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("", "means every series");
        check("{}", "means every series");
        check("{a=~\".*\"}", "means every series");
        check("a b", "`a b` is not a name of a metric");
        check("up{job=\"a\"", "a `,` or `}` is missing");
        check("up{job=a}", "not in quotes");
        check("up{job=\"a}", "not closed");
        check("up{job}", "no `=`");
        check("up{job!a=\"x\"}", "no operator");
        check("up{a-b=\"x\"}", "`a-b` is not a name of a label");
        check("up{a=~\"(\"}", "`(`");
        check("up{a=\"\\d\"}", "write `\\\\d`");
        check("up{a=\"1\"} x", "`x` stands behind its end");
        check("up{", "a matcher has no `=`");
        check(&"x".repeat(5000), "longer than 4096");
    }
}
