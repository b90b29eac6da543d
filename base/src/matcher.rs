//! Matchers: which label values are meant. `job="api"`, `code!~"2..|304"`.
//!
//! Invariant: a regular expression always matches the whole value, and a label that is missing
//! counts as the empty value.

mod around;

use std::collections::BTreeSet;
use std::fmt;

use regex::{Regex, RegexBuilder};

use crate::labels::{Labels, escape_value, is_legacy_label_name};
use around::Around;

/// Compiled size at which a pattern is refused (X25): large enough for any alternation that people
/// write, small enough that a hundred of them fit.
const SIZE_LIMIT: usize = 4 << 20;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
}

impl MatchOp {
    /// The operator that is written so.
    pub fn named(text: &str) -> Option<Self> {
        let all = [Self::Equal, Self::NotEqual, Self::Matches, Self::NotMatches];
        all.into_iter().find(|op| op.as_str() == text)
    }

    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
        }
    }

    /// Whether the operator takes a regular expression.
    pub fn is_pattern(self) -> bool {
        matches!(self, Self::Matches | Self::NotMatches)
    }
}

/// A condition on the value of one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Pattern>,
}

impl Matcher {
    /// A matcher of `name`.
    ///
    /// # Errors
    ///
    /// The regular expression cannot be read or is too large.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, PatternError> {
        let pattern = op.is_pattern().then(|| Pattern::new(value)).transpose()?;
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), pattern })
    }

    /// The matcher `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned(), pattern: None }
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// What it compares with, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The compiled expression of `=~` and `!~`.
    pub fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// Whether `value` is meant; a missing label is the empty value.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.pattern) {
            (MatchOp::Equal, _) => self.value == value,
            (MatchOp::NotEqual, _) => self.value != value,
            (MatchOp::Matches, pattern) => pattern.as_ref().is_some_and(|p| p.is_match(value)),
            (MatchOp::NotMatches, pattern) => !pattern.as_ref().is_some_and(|p| p.is_match(value)),
        }
    }

    /// Whether the set has a value that is meant.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or(""))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.name, self.op, &self.value).hash(state);
    }
}

/// Prints `name="value"`, names that need it in quotes.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            write!(f, "\"{}\"", escape_value(&self.name))?;
        }
        write!(f, "{}\"{}\"", self.op.as_str(), escape_value(&self.value))
    }
}

/// Why a regular expression was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a usable regular expression: {reason}")]
pub struct PatternError {
    pattern: String,
    reason: String,
}

/// A regular expression that matches whole values, in RE2's syntax; `.` matches line feeds too.
///
/// An alternation of plain texts (`a|b|c`, often thousands long) is kept as a set, which is faster
/// and has no size limit; one text with anything around it (`a.*`) as that text, which is faster and
/// much smaller.
#[derive(Clone, Debug)]
pub struct Pattern {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Any,
    Texts(BTreeSet<String>),
    Around(Around),
    Regex(Regex),
}

impl Pattern {
    /// Compiles `pattern`.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is larger than 4 MiB when compiled.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let form = match pattern {
            ".*" => Form::Any,
            _ => match plain_alternatives(pattern) {
                Some(texts) => Form::Texts(texts),
                None => match Around::read(pattern) {
                    Some(around) => Form::Around(around),
                    None => Form::Regex(anchored(pattern)?),
                },
            },
        };
        Ok(Self { form })
    }

    /// Whether the whole of `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        match &self.form {
            Form::Any => true,
            Form::Texts(texts) => texts.contains(value),
            Form::Around(around) => around.is_match(value),
            Form::Regex(regex) => regex.is_match(value),
        }
    }

    /// All values that match, where they can be listed: an index looks them up one by one.
    pub fn texts(&self) -> Option<&BTreeSet<String>> {
        match &self.form {
            Form::Texts(texts) => Some(texts),
            Form::Any | Form::Around(_) | Form::Regex(_) => None,
        }
    }

    /// How every value ends that matches, where that is plain.
    pub fn ending(&self) -> Option<&str> {
        match &self.form {
            Form::Around(around) => around.ending(),
            Form::Any | Form::Texts(_) | Form::Regex(_) => None,
        }
    }
}

/// Compiles `pattern` so that it must match a whole value; with capture groups, for relabelling.
///
/// # Errors
///
/// It cannot be read, or is larger than 4 MiB when compiled.
pub fn anchored(pattern: &str) -> Result<Regex, PatternError> {
    let error = |reason: String| PatternError { pattern: shortened(pattern), reason };
    // Alone first: `a)(b` must not become valid inside the group below.
    compile(&translated(pattern)).map_err(&error)?;
    compile(&format!("^(?s:{})$", translated(pattern))).map_err(error)
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).octal(true).size_limit(SIZE_LIMIT).build().map_err(|error| {
        match error {
            regex::Error::CompiledTooBig(limit) => format!("larger than {limit} bytes compiled"),
            error => error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned(),
        }
    })
}

fn shortened(pattern: &str) -> String {
    match pattern.char_indices().nth(200) {
        Some((at, _)) => format!("{}...", &pattern[..at]),
        None => pattern.to_owned(),
    }
}

/// What RE2 accepts and the `regex` crate does not: `\Q...\E`, `\C`, and a `{` that begins no
/// repetition.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex::escape(literal));
            rest = after;
            continue;
        }
        let taken = match c {
            '\\' => c.len_utf8() + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => c.len_utf8(),
        };
        match c {
            '[' if !in_class => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
        // After `\p` and `\x` a brace names a class or a code point.
        let names = out.ends_with("\\p") || out.ends_with("\\P") || out.ends_with("\\x");
        if c == '{' && !in_class && !names && !begins_repetition(rest) {
            out.push('\\');
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

fn begins_repetition(text: &str) -> bool {
    let Some((inside, _)) = text[1..].split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    !low.is_empty() && low.bytes().chain(high.bytes()).all(|b| b.is_ascii_digit())
}

fn plain_alternatives(pattern: &str) -> Option<BTreeSet<String>> {
    let special = |c: char| "\\.+*?()[]{}^$".contains(c);
    if pattern.contains(special) {
        None
    } else {
        Some(pattern.split('|').map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(matcher: (&str, MatchOp, &str), value: &str, expected: bool) {
        let matcher = Matcher::new(matcher.0, matcher.1, matcher.2).unwrap();
        assert_eq!(matcher.matches(value), expected, "{matcher} on {value:?}");
    }

    #[test]
    fn compares_whole_values() {
        use MatchOp::{Equal, Matches, NotEqual, NotMatches};
        check(("a", Equal, "x"), "x", true);
        check(("a", Equal, ""), "", true);
        check(("a", NotEqual, "x"), "", true);
        check(("a", Matches, "x"), "xx", false);
        check(("a", Matches, "x|yy"), "yy", true);
        check(("a", Matches, "x|"), "", true);
        check(("a", Matches, "x.*"), "x\ny", true);
        check(("a", Matches, ".*"), "", true);
        check(("a", Matches, ".+"), "", false);
        check(("a", NotMatches, "2..|304"), "404", true);
        check(("a", NotMatches, "2..|304"), "204", false);
        check(("a", Matches, "(?i:abc)"), "AbC", true);
    }

    #[test]
    fn reads_the_syntax_of_re2() {
        use MatchOp::Matches;
        check(("a", Matches, r"\Qa.b\E"), "a.b", true);
        check(("a", Matches, r"\Qa.b\E"), "axb", false);
        check(("a", Matches, "{foo}"), "{foo}", true);
        check(("a", Matches, "x{2}"), "xx", true);
        check(("a", Matches, "x{2,}"), "xxxx", true);
        check(("a", Matches, "[{]x"), "{x", true);
        check(("a", Matches, r"\x{41}"), "A", true);
        check(("a", Matches, r"\p{Lu}x"), "Éx", true);
        check(("a", Matches, r"\101"), "A", true);
        check(("a", Matches, r"é\{"), "é{", true);
    }

    #[test]
    fn takes_an_alternation_of_any_length() {
        let names: Vec<_> = (0..50_000).map(|n| format!("instance-name-{n}")).collect();
        let pattern = Pattern::new(&names.join("|")).unwrap();
        assert!(pattern.is_match("instance-name-49999") && !pattern.is_match("instance-name-"));
    }

    #[test]
    fn refuses_patterns_that_are_wrong_or_huge_x25() {
        let million = "(a|b*)".repeat(1 << 18);
        let huge =
            [".{1,1000}{1,1000}{1,1000}", ".{1,100000}{1,1000}", r"\pL{1000}{1000}", &million];
        for pattern in ["(", "a)(b", "[", "*", "(?=x)"].into_iter().chain(huge) {
            let error = Pattern::new(pattern).unwrap_err().to_string();
            assert!(error.contains("not a usable regular expression"), "{error}");
            assert!(error.len() < 500, "{error}");
        }
        // One that others take exponential time for is answered at once.
        let slow = Pattern::new("(a+)+").unwrap();
        assert!(!slow.is_match(&format!("{}b", "a".repeat(100_000))));
        let long = format!("{}(", "x".repeat(1 << 20));
        assert!(Pattern::new(&long).unwrap_err().to_string().len() < 500);
    }
}
