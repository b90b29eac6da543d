//! Regular expressions of `match` and `reReplaceAll`: RE2's syntax, unanchored, bounded.
//!
//! RE2 and the `regex` crate differ in what a bracket, a brace or `\d` means; a pattern is
//! rewritten before it is compiled.
//!
//! Invariant: matching takes time linear in the text, and no pattern compiles to more than the
//! limit.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use super::error::Failure;
use super::limits::{Bounded, Budget};

/// The longest pattern.
const LONGEST: usize = 4 << 10;
/// As many patterns are kept for the next time that they are used in the same rendering.
const KEPT: usize = 64;

/// What compiling costs, in steps, besides 10 for each state.
const COMPILING: usize = 500;
/// In the worst case one step pays for so many states times bytes of text.
const STEP: usize = 64;

/// Compiled patterns, and how many states each has, roughly.
#[derive(Debug, Default)]
pub(super) struct Patterns(HashMap<String, (Regex, usize)>);

impl Patterns {
    /// The compiled form of `pattern`; charges for compiling it, if it was not used before, and for
    /// running it over `text`.
    pub(super) fn get(
        &mut self,
        pattern: &str,
        text: &str,
        budget: &mut Budget,
    ) -> Result<Regex, Failure> {
        let (regex, states) = match self.0.get(pattern) {
            Some(known) => known.clone(),
            None => self.compile(pattern, budget)?,
        };
        budget.charge(1 + text.len().saturating_mul(states) / STEP)?;
        Ok(regex)
    }

    fn compile(&mut self, pattern: &str, budget: &mut Budget) -> Result<(Regex, usize), Failure> {
        let limit = budget.limits().pattern;
        if pattern.len() > LONGEST {
            return Err(Failure::Limit(format!(
                "template limit: a regular expression of more than {LONGEST} bytes"
            )));
        }
        let states = states(pattern);
        budget.charge(COMPILING.saturating_add(states.saturating_mul(10)))?;
        let compiled = RegexBuilder::new(&translated(pattern))
            .octal(true)
            .size_limit(limit)
            .dfa_size_limit(limit)
            .nest_limit(100)
            .build();
        let regex = compiled.map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => Failure::Limit(format!(
                "template limit: a regular expression of more than {limit} bytes when compiled"
            )),
            error => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or("").trim_start_matches("error: ");
                Failure::Message(format!("error parsing regexp: {reason}: `{pattern}`"))
            }
        })?;
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        self.0.insert(pattern.to_owned(), (regex.clone(), states));
        Ok((regex, states))
    }
}

/// Appends `text` with every match of `regex` replaced; `$1` and `${name}` stand for groups. Gives
/// how many matches there were.
pub(super) fn replace_all(
    out: &mut Bounded,
    regex: &Regex,
    replacement: &str,
    text: &str,
) -> Result<usize, Failure> {
    let (mut from, mut matches) = (0, 0);
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(&text[from..whole.start()])?;
        from = whole.end();
        matches += 1;
        let mut rest = replacement;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before)?;
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$')?;
                rest = after;
                continue;
            }
            let (name, after) = group(rest);
            match name {
                None => out.push('$')?,
                Some(name) => {
                    let found = match name.parse::<usize>() {
                        Ok(number) => captures.get(number),
                        Err(_) => captures.name(name),
                    };
                    out.push_str(found.map_or("", |found| found.as_str()))?;
                }
            }
            rest = after;
        }
        out.push_str(rest)?;
    }
    out.push_str(&text[from..])?;
    Ok(matches)
}

/// The name of a group behind a `$`, and what follows it; no name where none is there.
fn group(rest: &str) -> (Option<&str>, &str) {
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    if let Some(inside) = rest.strip_prefix('{') {
        return match inside.split_once('}') {
            Some((name, after)) if !name.is_empty() && name.chars().all(is_word) => {
                (Some(name), after)
            }
            _ => (None, rest),
        };
    }
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    if end == 0 { (None, rest) } else { (Some(&rest[..end]), &rest[end..]) }
}

/// The pattern as the `regex` crate writes it.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    // How far into a class we are: nothing, or whether its first item is still to come.
    let mut class: Option<bool> = None;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        let first = class == Some(true);
        match c {
            '\\' => {
                if let Some(quoted) = rest.strip_prefix("\\Q") {
                    let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                    out.push_str(&regex::escape(literal));
                    rest = after;
                    continue;
                }
                let escaped = rest[1..].chars().next();
                length += escaped.map_or(0, char::len_utf8);
                match (escaped, class.is_some()) {
                    // In RE2 these mean ASCII.
                    (Some('d'), _) => out.push_str("[0-9]"),
                    (Some('D'), _) => out.push_str("[^0-9]"),
                    (Some('w'), _) => out.push_str("[0-9A-Za-z_]"),
                    (Some('W'), _) => out.push_str("[^0-9A-Za-z_]"),
                    (Some('s'), _) => out.push_str("[\\t\\n\\x0C\\r ]"),
                    (Some('S'), _) => out.push_str("[^\\t\\n\\x0C\\r ]"),
                    (Some('b'), false) => out.push_str("(?-u:\\b)"),
                    (Some('z'), false) => out.push_str("\\z"),
                    (Some('p' | 'P' | 'x'), _) if rest[length..].starts_with('{') => {
                        // The brace belongs to the name.
                        length += rest[length..].find('}').map_or(0, |at| at + 1);
                        out.push_str(&rest[..length]);
                    }
                    _ => out.push_str(&rest[..length]),
                }
            }
            '[' if class.is_none() => {
                class = Some(true);
                out.push('[');
                if rest[1..].starts_with('^') {
                    out.push('^');
                    length += 1;
                }
                rest = &rest[length..];
                continue;
            }
            '[' if rest.starts_with("[:") => match rest.find(":]") {
                Some(end) => {
                    length = end + 2;
                    out.push_str(&rest[..length]);
                }
                None => out.push_str("\\["),
            },
            '[' => out.push_str("\\["),
            ']' if first => out.push_str("\\]"),
            ']' => {
                class = None;
                out.push(']');
                rest = &rest[length..];
                continue;
            }
            '&' | '~' if class.is_some() => out.extend(['\\', c]),
            // Two lines are a difference of classes elsewhere; at an end one stands for itself.
            '-' if class.is_some() && (first || rest[1..].starts_with(['-', ']'])) => {
                out.push_str("\\-");
            }
            '{' if class.is_none() && !begins_repetition(rest) => out.push_str("\\{"),
            _ => out.push(c),
        }
        if first {
            class = Some(false);
        }
        rest = &rest[length..];
    }
    out
}

/// How many states a pattern has, roughly: a repetition counts as often as it repeats.
fn states(pattern: &str) -> usize {
    let mut groups = vec![0_usize];
    // The states of the last item, which a repetition behind it repeats.
    let mut last = 0_usize;
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        let mut item = 1;
        let mut repeated = 0;
        match c {
            '(' => {
                groups.push(0);
                item = 0;
            }
            ')' => item = if groups.len() > 1 { groups.pop().unwrap_or(0) } else { 0 },
            '\\' => {
                let escaped = rest[1..].chars().next();
                length += escaped.map_or(0, char::len_utf8);
                // A class of Unicode has hundreds of ranges.
                item = if matches!(escaped, Some('p' | 'P')) { 50 } else { 1 };
            }
            '[' => {
                // The end of the class is the first bracket that is not its first item.
                let inside = rest[1..].trim_start_matches('^');
                let skipped = rest.len() - inside.len();
                let end = inside.char_indices().skip(1).find(|(_, c)| *c == ']');
                length = end.map_or(rest.len(), |(at, _)| skipped + at + 1);
                item = 1 + 50 * rest[..length].matches("\\p").count();
            }
            '{' if begins_repetition(rest) => {
                let end = rest.find('}').unwrap_or(rest.len() - 1);
                let counts = rest[1..end].split(',').filter_map(|n| n.parse::<usize>().ok());
                let most = counts.max().unwrap_or(1);
                item = last.saturating_mul(most.saturating_sub(1));
                repeated = last;
                length = end + 1;
            }
            _ => {}
        }
        if let Some(group) = groups.last_mut() {
            *group = group.saturating_add(item);
        }
        last = item.saturating_add(repeated);
        rest = &rest[length..];
    }
    groups.into_iter().fold(0, usize::saturating_add)
}

fn begins_repetition(text: &str) -> bool {
    let Some((inside, _)) = text[1..].split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    !low.is_empty() && low.bytes().chain(high.bytes()).all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;

    fn compiled(pattern: &str) -> Result<Regex, Failure> {
        Patterns::default().get(pattern, "", &mut Budget::new(Limits::default()))
    }

    #[test]
    fn states_are_counted_through_repetitions() {
        let check =
            |pattern: &str, expected: usize| assert_eq!(states(pattern), expected, "{pattern}");
        check("", 0);
        check("abc", 3);
        check("a{10}", 10);
        check("(ab){10}c", 21);
        check("((a{10}b){3}){2,5}", 165);
        check("[a-z]{3}[]x]\\d", 5);
        check("\\pL[\\p{Lu}a]", 102);
        check("a{x}", 4);
        check("))((", 0);
        check("[", 1);
        check("(a{1000}){1000}{1000}{1000}{1000}{1000}{1000}{1000}{1000}", usize::MAX);
    }

    #[track_caller]
    fn check(pattern: &str, replacement: &str, text: &str, expected: &str) {
        let regex = compiled(pattern).unwrap();
        let mut out = Bounded::new(1000);
        replace_all(&mut out, &regex, replacement, text).unwrap();
        assert_eq!(out.as_str(), expected, "{pattern}");
    }

    #[test]
    fn replaces_with_groups() {
        check("(a)b", "x$1", "ab", "xa");
        check("(a)b", "${1}b$$1", "ab", "ab$1");
        check("(?P<n>a)b", "<$n>", "abab", "<a><a>");
        check("(a)b", "$1x", "ab", "");
        check("a", "$ ${ ${} ${1", "a", "$ ${ ${} ${1");
        check("x*", "-", "abc", "-a-b-c-");
        check("", "-", "é", "-é-");
    }

    #[test]
    fn means_what_re2_means() {
        check(r"\d+", "n", "12 ١٢", "n ١٢");
        check(r"\w+", "n", "ab_é", "né");
        check(r"[\d-]+", "n", "1-2", "n");
        check(r"[^\s]+", "n", "a\tb", "n\tn");
        check(r"\Qa.b\E.", "n", "a.bc axbc", "n axbc");
        check("{x}", "n", "{x}", "n");
        check("[[]", "n", "a[", "an");
        check("[a&&b]+", "n", "a&b", "n");
        check("[]a]+", "n", "]a", "n");
        check("[^]a]+", "n", "]bc", "]n");
        check("[[:alpha:]]+", "n", "ab1", "n1");
        check(r"\bab\b", "n", "ab éab", "n én");
        check(r"\p{Lu}+x{2}", "n", "ÀBxx", "n");
        check("[[a-c~]+", "n", "[~b", "n");
    }

    #[test]
    fn refuses_what_is_wrong_or_too_large() {
        let refuse = |pattern: &str, limit: bool| {
            let failure = compiled(pattern).unwrap_err();
            assert_eq!(matches!(failure, Failure::Limit(_)), limit, "{pattern}: {failure:?}");
        };
        refuse("(", false);
        refuse("[z-a]", false);
        refuse(r"(?:\pL{1000}){1000}", true);
        refuse(&"a".repeat(20_000), true);
        refuse(&"(".repeat(4_000), false);
        refuse(&"x{1000}".repeat(100), true);
    }
}
