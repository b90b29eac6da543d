//! The words of Icinga's language, with their lines.
//!
//! Invariant: any text has words; what is none is a [`Token::Odd`].

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    /// Seconds, where a unit of time stands behind it.
    Number(f64),
    /// Punctuation, operators.
    Sign(&'static str),
    /// `<itl>` behind `include`.
    Library(String),
    /// `{{ ... }}`: code that runs later.
    Code(String),
    NewLine,
    Odd(char),
}

/// The longest first.
const SIGNS: [&str; 33] = [
    "!in", "=>", "==", "!=", "<=", ">=", "&&", "||", "+=", "-=", "*=", "/=", "{", "}", "(", ")",
    "[", "]", ",", ";", ".", ":", "=", "<", ">", "+", "-", "*", "/", "!", "&", "%", "?",
];

/// The words of `text` with their lines, counted from 1.
pub(super) fn lex(text: &str) -> Vec<(Token, usize)> {
    let mut found: Vec<(Token, usize)> = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(c) = rest.chars().next() {
        let begins = rest;
        let (token, after) = one(rest, c, &found);
        rest = after;
        let passed = begins.len() - rest.len();
        found.extend(token.map(|token| (token, line)));
        line += begins[..passed].matches('\n').count();
    }
    found
}

fn one<'t>(rest: &'t str, c: char, before: &[(Token, usize)]) -> (Option<Token>, &'t str) {
    let until = |end: &str, skip: usize| match rest[skip..].find(end) {
        Some(at) => (&rest[skip..skip + at], &rest[skip + at + end.len()..]),
        None => (&rest[skip..], ""),
    };
    let line_end = || rest.find('\n').map_or("", |at| &rest[at..]);
    match c {
        '\n' => (Some(Token::NewLine), &rest[1..]),
        c if c.is_whitespace() => (None, &rest[c.len_utf8()..]),
        '#' => (None, line_end()),
        '/' if rest.starts_with("//") => (None, line_end()),
        '/' if rest.starts_with("/*") => (None, until("*/", 2).1),
        '{' if rest.starts_with("{{{") => {
            let (text, after) = until("}}}", 3);
            (Some(Token::Text(text.to_owned())), after)
        }
        '{' if rest.starts_with("{{") => {
            let (code, after) = until("}}", 2);
            (Some(Token::Code(code.to_owned())), after)
        }
        '"' => text(rest),
        '<' if matches!(before.last(), Some((Token::Name(name), _)) if name == "include") => {
            let (name, after) = until(">", 1);
            (Some(Token::Library(name.to_owned())), after)
        }
        c if c.is_ascii_digit() => number(rest),
        c if c.is_alphanumeric() || c == '_' || c == '@' => {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '@');
            let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
            (Some(Token::Name(name.to_owned())), after)
        }
        c => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => (Some(Token::Sign(sign)), &rest[sign.len()..]),
            None => (Some(Token::Odd(c)), &rest[c.len_utf8()..]),
        },
    }
}

fn text(rest: &str) -> (Option<Token>, &str) {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (Some(Token::Text(text)), &rest[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, c)) => text.push(c),
                None => {}
            },
            c => text.push(c),
        }
    }
    (Some(Token::Text(text)), "")
}

fn number(rest: &str) -> (Option<Token>, &str) {
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
    let (unit, behind) = after.split_at(end);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return (Some(Token::Number(digits.parse().unwrap_or(0.0))), after),
    };
    (Some(Token::Number(digits.parse::<f64>().unwrap_or(0.0) * factor)), behind)
}
