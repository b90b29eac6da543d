//! Makes values harmless in the markup of chat services, which share a handful of devices.
//!
//! Invariant: what a value becomes begins no mention, no link and no element; an address stays one
//! that leads to the same place.

/// A space without width: it keeps apart what would mean something together.
const APART: char = '\u{200b}';

/// What is special in a markup, and how it is made literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Markup {
    /// These get a backslash before them.
    pub backslash: &'static str,
    /// Whether they get it everywhere. Else `_` goes without within a word, where it means nothing,
    /// what begins a heading, a quotation or a list gets one at the beginning of a line, and in an
    /// address all of it is percent-encoded.
    pub strict: bool,
    /// Whether `&`, `<` and `>` become references.
    pub entities: bool,
    /// These get a space without width behind them, so that they begin nothing.
    pub apart: &'static str,
}

impl Markup {
    /// `text`, which reads in this markup as it is.
    pub fn escaped(&self, text: &str) -> String {
        if !self.strict && is_address(text) {
            return self.address(text);
        }
        let mut out = String::with_capacity(text.len() + text.len() / 8);
        let mut before: Option<char> = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '&' if self.entities => out.push_str("&amp;"),
                '<' if self.entities => out.push_str("&lt;"),
                '>' if self.entities => out.push_str("&gt;"),
                _ => {
                    if self.is_special(before, c, chars.peek().copied()) {
                        out.push('\\');
                    }
                    out.push(c);
                }
            }
            if self.apart.contains(c) {
                out.push(APART);
            }
            before = Some(c);
        }
        out
    }

    fn is_special(&self, before: Option<char>, c: char, after: Option<char>) -> bool {
        if self.strict {
            return self.backslash.contains(c);
        }
        let begins = matches!(before, None | Some('\n'));
        if begins && "#>-+".contains(c) {
            return !self.backslash.is_empty();
        }
        self.backslash.contains(c) && !within_word(before, c, after)
    }

    /// An address with everything that is special percent-encoded.
    fn address(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut before = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let special = self.backslash.contains(c)
                || self.apart.contains(c)
                || "<>".contains(c)
                || (!self.backslash.is_empty() && "()".contains(c));
            match c {
                '&' if self.entities => out.push_str("&amp;"),
                _ if special && c.is_ascii() && !within_word(before, c, chars.peek().copied()) => {
                    out.push_str(&format!("%{:02X}", u32::from(c)));
                }
                _ => out.push(c),
            }
            before = Some(c);
        }
        out
    }
}

/// Whether `c` is a `_` between letters or digits.
fn within_word(before: Option<char>, c: char, after: Option<char>) -> bool {
    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    c == '_' && letter(before) && letter(after)
}

/// Whether the whole of `text` is an address of the web.
fn is_address(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://"))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Markup =
        Markup { backslash: r"\`*_[]~|", strict: false, entities: true, apart: "@" };

    #[track_caller]
    fn check(markup: Markup, text: &str, expected: &str) {
        assert_eq!(markup.escaped(text), expected, "{text}");
    }

    #[test]
    fn values_read_as_they_are() {
        // X15, X16
        check(DOWN, "node_exporter on web1.example", "node_exporter on web1.example");
        check(DOWN, "_a_ **b** `c` ~~d~~", r"\_a\_ \*\*b\*\* \`c\` \~\~d\~\~");
        check(DOWN, "[log in](https://evil)", r"\[log in\](https://evil)");
        check(DOWN, "<script>&lt;", "&lt;script&gt;&amp;lt;");
        check(DOWN, "@everyone a@b", "@\u{200b}everyone a@\u{200b}b");
        check(DOWN, "# a\n- b\n> c\nd - e # f", "\\# a\n\\- b\n&gt; c\nd - e # f");
        check(DOWN, r"C:\*", r"C:\\\*");
    }

    #[test]
    fn addresses_stay_addresses() {
        check(
            DOWN,
            "https://v/graph?g0.expr=node_load1*(a)&x=_y",
            "https://v/graph?g0.expr=node_load1%2A%28a%29&amp;x=%5Fy",
        );
        check(DOWN, "https://v/[a](b)<c>@d", "https://v/%5Ba%5D%28b%29%3Cc%3E%40d");
        check(DOWN, "https://v/ *a*", r"https://v/ \*a\*");
        let plain = Markup { backslash: "", strict: false, entities: false, apart: "<@" };
        check(plain, "https://v/a*b_c", "https://v/a*b_c");
        check(plain, "<users/all> & *b*", "<\u{200b}users/all> & *b*");
    }

    #[test]
    fn strictly_means_everywhere() {
        let strict =
            Markup { backslash: r"\_*[]()~`>#+-=|{}.!", strict: true, entities: false, apart: "" };
        check(strict, "a_b (1.5)", r"a\_b \(1\.5\)");
        check(strict, "https://v/a_b", r"https://v/a\_b");
    }
}
