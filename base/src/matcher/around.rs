//! Patterns that are a plain text with anything before it, behind it, or both: `web-.*`, `.*-prod`,
//! `.+timeout.*`. Most that people write are.
//!
//! Invariant: what is read as one accepts exactly the values that its regular expression would.

/// What may stand beside the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// `.*`
    Anything,
    /// `.+`
    Something,
}

/// A text, and what may stand before and behind it.
#[derive(Clone, Debug)]
pub(super) struct Around {
    before: Beside,
    text: Box<str>,
    behind: Beside,
}

impl Around {
    /// Reads a pattern; `None` where it is anything else.
    pub(super) fn read(pattern: &str) -> Option<Self> {
        let (before, rest) = match (pattern.strip_prefix(".*"), pattern.strip_prefix(".+")) {
            (Some(rest), _) => (Beside::Anything, rest),
            (_, Some(rest)) => (Beside::Something, rest),
            _ => (Beside::Nothing, pattern),
        };
        let (text, rest) = plain(rest);
        let behind = match rest {
            "" => Beside::Nothing,
            ".*" => Beside::Anything,
            ".+" => Beside::Something,
            _ => return None,
        };
        (!text.is_empty()).then(|| Self { before, text: text.into(), behind })
    }

    pub(super) fn is_match(&self, value: &str) -> bool {
        let mut characters = value.chars();
        // What must be there besides is taken away first.
        let least = (self.before == Beside::Something && characters.next().is_none())
            || (self.behind == Beside::Something && characters.next_back().is_none());
        let (rest, text) = (characters.as_str(), &*self.text);
        !least
            && match (self.before, self.behind) {
                (Beside::Nothing, Beside::Nothing) => rest == text,
                (Beside::Nothing, _) => rest.starts_with(text),
                (_, Beside::Nothing) => rest.ends_with(text),
                _ => rest.contains(text),
            }
    }

    /// How every value ends that is accepted.
    pub(super) fn ending(&self) -> Option<&str> {
        (self.behind == Beside::Nothing).then_some(&*self.text)
    }
}

/// The plain text that a pattern begins with, and what follows it.
fn plain(pattern: &str) -> (String, &str) {
    let (mut text, mut rest) = (String::new(), pattern);
    while let Some(c) = rest.chars().next() {
        let (plain, length) = match c {
            // Those are the ends of words.
            '\\' => match rest[1..].chars().next() {
                Some(c) if c.is_ascii_punctuation() && !"<>".contains(c) => (c, 2),
                _ => break,
            },
            c if ".+*?()|[]{}^$".contains(c) => break,
            c => (c, c.len_utf8()),
        };
        text.push(plain);
        rest = &rest[length..];
    }
    (text, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::anchored;
    use super::*;

    #[test]
    fn takes_plain_texts_only() {
        let check = |pattern: &str, expected: bool| {
            assert_eq!(Around::read(pattern).is_some(), expected, "{pattern}");
        };
        check("web-.*", true);
        check(r".*\.example\.org", true);
        check(".+é.+", true);
        check(r"a\.b", true);
        check("", false);
        check(".*", false);
        check(".+.*", false);
        check("a|b.*", false);
        check("ab*", false);
        check("ab?.*", false);
        check("a{2}", false);
        check(r"\d.*", false);
        check(r".*\Qa", false);
        check("(a).*", false);
        check("^a.*", false);
        check(".*a$", false);
        check(".*?a", false);
        check("a.*b", false);
        check(r"\<a", false);
        check("(?i)a", false);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn accepts_what_the_regular_expression_does(
            pattern in r"(\.\*|\.\+|\.|\*|)([abé]|\\\.|\\-|\n){1,3}(\.\*|\.\+|\*|\+|\?|)",
            value in "[abé.\n-]{0,5}",
        ) {
            if let (Some(around), Ok(regex)) = (Around::read(&pattern), anchored(&pattern)) {
                prop_assert_eq!(around.is_match(&value), regex.is_match(&value));
                let ends = around.ending().is_none_or(|ending| value.ends_with(ending));
                prop_assert!(ends || !around.is_match(&value));
            }
        }
    }
}
