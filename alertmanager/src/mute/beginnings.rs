//! How every value begins that a regular expression accepts, where its text shows that.
//!
//! Invariant: a value that is accepted begins with one of the texts; where that is not certain there
//! are none.

/// A longer text tells sets of matchers apart no better, and each length is one more question.
const LONGEST: usize = 24;
/// A pattern with more alternatives is not taken apart.
const MOST: usize = 256;

/// The texts with one of which each accepted value begins; `None` where one of them would be empty.
pub(super) fn of(pattern: &str) -> Option<Vec<String>> {
    // As the older form of matchers is anchored.
    let inside = pattern.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$"));
    // Without its group, an alternation inside is one of the whole.
    let pattern = inside.filter(|inside| is_balanced(inside)).unwrap_or(pattern);
    let alternatives = alternatives(pattern)?;
    if alternatives.len() > MOST {
        return None;
    }
    let texts: Vec<String> = alternatives.into_iter().map(beginning).collect();
    texts.iter().all(|text| !text.is_empty()).then_some(texts)
}

/// Whether no parenthesis of it closes one that stands before it.
fn is_balanced(pattern: &str) -> bool {
    alternatives(pattern).is_some()
}

/// The parts between the bars that stand in no group; `None` for what is too intricate to tell.
fn alternatives(pattern: &str) -> Option<Vec<&str>> {
    let (mut found, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    let mut characters = pattern.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            // The quoted text would be read as if it were not.
            '\\' if pattern[at..].starts_with("\\Q") => return None,
            '\\' => drop(characters.next()?),
            // What a bracket, a bar or a parenthesis means in a class is told by what is around it.
            '[' => {
                let (inside, _) = pattern[at + 1..].split_once(']')?;
                if inside.is_empty() || inside == "^" || inside.contains(['[', '\\']) {
                    return None;
                }
                for _ in inside.chars().chain([']']) {
                    characters.next();
                }
            }
            // What it sets may hold for what stands behind it, too.
            '(' if pattern[at..].starts_with("(?") && !pattern[at..].starts_with("(?:") => {
                return None;
            }
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            '|' if depth == 0 => {
                found.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&pattern[start..]);
    (depth == 0).then_some(found)
}

/// The plain text that an alternative begins with.
fn beginning(alternative: &str) -> String {
    let mut rest = alternative.strip_prefix('^').unwrap_or(alternative);
    let mut text = String::new();
    while let Some(c) = rest.chars().next() {
        let (plain, length) = match c {
            // The two are ends of words.
            '\\' => match rest[1..].chars().next() {
                Some(c) if c.is_ascii_punctuation() && !"<>".contains(c) => (c, 2),
                _ => break,
            },
            '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => break,
            plain => (plain, plain.len_utf8()),
        };
        let after = &rest[length..];
        // It may be left out, or come more than once.
        if after.starts_with(['*', '+', '?', '{']) || text.len() + plain.len_utf8() > LONGEST {
            break;
        }
        text.push(plain);
        rest = after;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, expected: &str) {
        let got = of(pattern).map_or("-".to_owned(), |texts| texts.join(","));
        assert_eq!(got, expected, "{pattern}");
    }

    #[test]
    fn the_plain_text_before_anything_else() {
        check("web-.*", "web-");
        check("web-.*|db-[0-9]+", "web-,db-");
        check("^(?:web-.*)$", "web-");
        check("^(?:web|db.*)$", "web,db");
        check("^web", "web");
        check(r"a\.b\-c.*", "a.b-c");
        check("host-(a|b).*", "host-");
        check("host-[ab|c]x", "host-");
        check("éa?b", "é");
        check("abc+", "ab");
        check("ab{2}", "a");
        check("a{b", "-");
        check(&"x".repeat(40), &"x".repeat(LONGEST));
    }

    #[test]
    fn nothing_where_that_is_not_certain() {
        for pattern in [
            "",
            ".*",
            ".*x",
            "a|",
            "a|.*",
            "a*b",
            "(?i)abc",
            "(a|b)c",
            "[ab]c",
            "a|[]x]",
            r"\d+",
            r"\Qa|b\E",
            "(a",
            "a)|(b",
            "^(?:a)|(?:b)$",
            "[[:alpha:]]|x",
            r"a|[\]]|b",
            "x?y",
            "$",
            r"\<a",
            "x(?i)|b",
            "(?P<n>a)",
        ] {
            check(pattern, "-");
        }
    }
}
