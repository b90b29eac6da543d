//! Cuts a text in the HTML of chat services without leaving an element, a tag or a reference half.
//!
//! Invariant: what was well formed is so after the cut.

/// Elements that have no end.
const VOID: [&str; 3] = ["br", "hr", "img"];

/// The text with at most `most` characters between its tags, in units of UTF-16; a reference counts
/// as all that it is written with.
pub(super) fn cut_html(text: &str, most: usize) -> String {
    let mut shown = 0;
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    let mut end = None;
    while let Some(c) = rest.chars().next() {
        let at = text.len() - rest.len();
        let tag = rest.split_once('>').filter(|_| c == '<').map(|(tag, _)| tag);
        let (piece, length) = match (c, tag) {
            ('<', Some(tag)) => (tag.len() + 1, 0),
            ('&', _) => match rest.find(';').filter(|end| *end < 10) {
                Some(semicolon) => (semicolon + 1, semicolon + 1),
                None => (1, 1),
            },
            _ => (c.len_utf8(), c.len_utf16()),
        };
        // One is kept for the sign that something is missing.
        if end.is_none() && shown + length > most.saturating_sub(1) {
            end = Some((at, open.clone()));
        }
        shown += length;
        if shown > most {
            break;
        }
        match tag.map(|tag| &tag[1..]) {
            Some(tag) if tag.starts_with('/') => {
                open.pop();
            }
            Some(tag) => {
                let name = tag.split([' ', '\n', '/']).next().unwrap_or_default();
                if !VOID.contains(&name) {
                    open.push(name);
                }
            }
            None => {}
        }
        rest = &rest[piece..];
    }
    match end.filter(|_| shown > most) {
        None => text.to_owned(),
        Some((at, open)) => {
            let closing: String = open.iter().rev().map(|tag| format!("</{tag}>")).collect();
            format!("{}…{closing}", &text[..at])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_half() {
        let check = |text: &str, most: usize, expected: &str| {
            assert_eq!(cut_html(text, most), expected, "{text} {most}");
        };
        check("abc", 3, "abc");
        check("abcd", 3, "ab…");
        check("<b>abc</b>", 3, "<b>abc</b>");
        check("<b>ab<i>cdef</i></b>", 4, "<b>ab<i>c…</i></b>");
        check("<b>ab<br>cdef</b>", 4, "<b>ab<br>c…</b>");
        check("<a href=\"http://x/y\">abcd</a>", 3, "<a href=\"http://x/y\">ab…</a>");
        check("ab&lt;cd", 5, "ab…");
        check("ab&lt;cd", 8, "ab&lt;cd");
        check("a & b", 5, "a & b");
        check("a & bc", 5, "a & …");
        check("😀😀😀", 4, "😀…");
        check("a < b > c", 9, "a < b > c");
        check("", 3, "");
        check(&"x".repeat(10), 1, "…");
    }
}
