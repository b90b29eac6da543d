//! Cuts the text of a template into tokens: literal text outside of `{{ }}`, words within.
//!
//! ```text
//! a {{- if .X }}     text "a", open, if, space, field ".X", space, close
//! ```
//!
//! Invariant: the last token is the end of the text or a fault, and every token knows its place.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Literal text, without what trim markers take from it.
    Text,
    Open,
    Close,
    Space,
    /// A function's name.
    Name,
    /// `.x`
    Field,
    /// `$` or `$x`
    Variable,
    Dot,
    Nil,
    Bool,
    Number,
    Rune,
    Quoted,
    Raw,
    Pipe,
    OpenParen,
    CloseParen,
    Assign,
    Declare,
    Comma,
    Keyword,
    /// A character that stands for nothing here.
    Other,
    End,
    /// The text cannot be cut further; why is in [`Tokens::fault`].
    Fault,
}

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'s> {
    pub(super) kind: Kind,
    /// Where it begins, in bytes.
    pub(super) at: usize,
    pub(super) text: &'s str,
}

/// All tokens of a text.
#[derive(Debug)]
pub(super) struct Tokens<'s> {
    pub(super) tokens: Vec<Token<'s>>,
    /// What is wrong at the last token, if it is a [`Kind::Fault`].
    pub(super) fault: String,
}

const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Cuts `text`.
pub(super) fn lex(text: &str) -> Tokens<'_> {
    let mut lexer = Lexer { source: text, at: 0, tokens: Vec::new() };
    let fault = match lexer.text() {
        Ok(()) => {
            lexer.push(Kind::End, text.len(), text.len());
            String::new()
        }
        Err(fault) => {
            lexer.push(Kind::Fault, lexer.at.min(text.len()), lexer.at.min(text.len()));
            fault
        }
    };
    Tokens { tokens: lexer.tokens, fault }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<Token<'s>>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn push(&mut self, kind: Kind, from: usize, to: usize) {
        self.tokens.push(Token { kind, at: from, text: &self.source[from..to] });
    }

    /// Takes `length` bytes as one token.
    fn take(&mut self, kind: Kind, length: usize) {
        self.push(kind, self.at, self.at + length);
        self.at += length;
    }

    /// From outside of an action to the end.
    fn text(&mut self) -> Result<(), String> {
        let mut trim_before = false;
        loop {
            let rest = self.rest();
            let length = rest.find("{{").unwrap_or(rest.len());
            let trims = begins_trimmed(&rest[length..]);
            let (mut start, mut end) = (self.at, self.at + length);
            if trim_before {
                start = end - self.source[start..end].trim_start_matches(SPACES).len();
            }
            if trims {
                end = start + self.source[start..end].trim_end_matches(SPACES).len();
            }
            if start < end {
                self.push(Kind::Text, start, end);
            }
            self.at += length;
            if self.at == self.source.len() {
                return Ok(());
            }
            let inner = self.at + 2 + if trims { 2 } else { 0 };
            trim_before = if self.source[inner..].starts_with("/*") {
                self.comment(inner)?
            } else {
                self.take(Kind::Open, 2);
                self.at = inner;
                self.action()?
            };
        }
    }

    /// Skips a comment; says whether it trims the text behind it.
    fn comment(&mut self, inner: usize) -> Result<bool, String> {
        let end = self.source[inner..].find("*/").ok_or("unclosed comment")?;
        self.at = inner + end + 2;
        let (length, trims) =
            ends_action(self.rest()).ok_or("comment ends before closing delimiter")?;
        self.at += length;
        Ok(trims)
    }

    /// Cuts the inside of an action and its end; says whether it trims the text behind it.
    fn action(&mut self) -> Result<bool, String> {
        let mut parens = 0_usize;
        loop {
            let rest = self.rest();
            if let Some((length, trims)) = ends_action(rest) {
                if parens > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                let marker = length - 2;
                self.at += marker;
                self.take(Kind::Close, 2);
                return Ok(trims);
            }
            let c = rest.chars().next().ok_or("unclosed action")?;
            match c {
                ' ' | '\t' | '\r' | '\n' => {
                    let spaces = rest.len() - rest.trim_start_matches(SPACES).len();
                    // The last space may belong to ` -}}`.
                    let marker = rest[spaces..].starts_with("-}}");
                    let length = if marker { spaces - 1 } else { spaces };
                    if length > 0 {
                        self.take(Kind::Space, length);
                    }
                }
                '=' => self.take(Kind::Assign, 1),
                ':' if rest.starts_with(":=") => self.take(Kind::Declare, 2),
                ':' => return Err("expected :=".to_owned()),
                '|' => self.take(Kind::Pipe, 1),
                ',' => self.take(Kind::Comma, 1),
                '(' => {
                    parens += 1;
                    self.take(Kind::OpenParen, 1);
                }
                ')' => {
                    parens = parens.checked_sub(1).ok_or("unexpected right paren")?;
                    self.take(Kind::CloseParen, 1);
                }
                '"' => self.quote(Kind::Quoted, '"', "unterminated quoted string")?,
                '\'' => self.quote(Kind::Rune, '\'', "unterminated character constant")?,
                '`' => {
                    let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                    self.take(Kind::Raw, end + 2);
                }
                '$' => self.word(Kind::Variable, 1)?,
                '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.field()?,
                '.' | '+' | '-' | '0'..='9' => self.number()?,
                _ if is_word(c) => self.name()?,
                _ if c.is_ascii_graphic() => self.take(Kind::Other, 1),
                _ => return Err(format!("unrecognized character in action: {}", shown(c))),
            }
        }
    }

    /// A text in quotes that a line feed may not interrupt.
    fn quote(&mut self, kind: Kind, quote: char, unterminated: &str) -> Result<(), String> {
        let rest = self.rest();
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if c == quote => {
                    self.take(kind, at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(unterminated.to_owned())
    }

    /// A word after `skip` bytes; what follows must end it.
    fn word(&mut self, kind: Kind, skip: usize) -> Result<(), String> {
        let rest = self.rest();
        let length = skip + rest[skip..].find(|c| !is_word(c)).unwrap_or(rest.len() - skip);
        let after = &rest[length..];
        let ends = after.is_empty()
            || after.starts_with(SPACES)
            || after.starts_with(['.', ',', '|', ':', '(', ')'])
            || after.starts_with("}}");
        if !ends {
            let c = after.chars().next().unwrap_or_default();
            return Err(format!("bad character {}", shown(c)));
        }
        self.take(kind, length);
        Ok(())
    }

    fn field(&mut self) -> Result<(), String> {
        let named = self.rest()[1..].starts_with(is_word);
        self.word(if named { Kind::Field } else { Kind::Dot }, 1)
    }

    fn name(&mut self) -> Result<(), String> {
        self.word(Kind::Name, 0)?;
        if let Some(token) = self.tokens.last_mut() {
            token.kind = match token.text {
                "nil" => Kind::Nil,
                "true" | "false" => Kind::Bool,
                word if KEYWORDS.contains(&word) => Kind::Keyword,
                _ => Kind::Name,
            };
        }
        Ok(())
    }

    /// A number as far as its characters go; whether it is one the parser decides.
    fn number(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let mut length = 0;
        for (at, c) in rest.char_indices() {
            let before = rest[..at].chars().next_back();
            let hex = rest
                .trim_start_matches(['+', '-'])
                .get(..2)
                .is_some_and(|p| p.eq_ignore_ascii_case("0x"));
            let exponent = if hex { ['p', 'P'] } else { ['e', 'E'] };
            let sign = matches!(c, '+' | '-') && before.is_none_or(|b| exponent.contains(&b));
            if !(sign || c == '.' || is_word(c)) {
                break;
            }
            length = at + c.len_utf8();
        }
        if !rest[..length].contains(|c: char| c.is_ascii_digit()) {
            let shown = &rest
                [..rest.char_indices().nth(length.max(1) + 1).map_or(rest.len(), |(at, _)| at)];
            return Err(format!("bad number syntax: {}", super::print::quoted(shown)));
        }
        self.take(Kind::Number, length);
        Ok(())
    }
}

/// Whether an action begins with `{{- `.
fn begins_trimmed(text: &str) -> bool {
    text.strip_prefix("{{-").is_some_and(|rest| rest.starts_with(SPACES))
}

/// Whether `text` begins with `}}` or ` -}}`: its length, and whether it trims.
fn ends_action(text: &str) -> Option<(usize, bool)> {
    if text.starts_with("}}") {
        Some((2, false))
    } else if text.starts_with(SPACES) && text[1..].starts_with("-}}") {
        Some((4, true))
    } else {
        None
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// `U+0021 '!'`
fn shown(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    if super::print::is_printable(c) { format!("{code} '{c}'") } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(Kind, &str)]) {
        let lexed = lex(text);
        let got: Vec<_> = lexed.tokens.iter().map(|token| (token.kind, token.text)).collect();
        assert_eq!(got, expected, "{text}: {}", lexed.fault);
    }

    #[track_caller]
    fn refuse(text: &str, fault: &str) {
        let lexed = lex(text);
        assert_eq!(lexed.fault, fault, "{text}");
        assert_eq!(lexed.tokens.last().map(|token| token.kind), Some(Kind::Fault));
    }

    #[test]
    fn cuts_text_and_actions() {
        use Kind::*;
        check("", &[(End, "")]);
        check("a }} b", &[(Text, "a }} b"), (End, "")]);
        check(
            "a {{.X.y | $z (f) -3.5e+1 }}",
            &[
                (Text, "a "),
                (Open, "{{"),
                (Field, ".X"),
                (Field, ".y"),
                (Space, " "),
                (Pipe, "|"),
                (Space, " "),
                (Variable, "$z"),
                (Space, " "),
                (OpenParen, "("),
                (Name, "f"),
                (CloseParen, ")"),
                (Space, " "),
                (Number, "-3.5e+1"),
                (Space, " "),
                (Close, "}}"),
                (End, ""),
            ],
        );
        check(
            "{{if true}}{{`a\n`}}{{'\\''}}{{\"}}\"}}",
            &[
                (Open, "{{"),
                (Keyword, "if"),
                (Space, " "),
                (Bool, "true"),
                (Close, "}}"),
                (Open, "{{"),
                (Raw, "`a\n`"),
                (Close, "}}"),
                (Open, "{{"),
                (Rune, "'\\''"),
                (Close, "}}"),
                (Open, "{{"),
                (Quoted, "\"}}\""),
                (Close, "}}"),
                (End, ""),
            ],
        );
    }

    #[test]
    fn trims_where_a_marker_says_so() {
        use Kind::*;
        check(
            "x \n{{- 3 -}}\n\ty",
            &[(Text, "x"), (Open, "{{"), (Number, "3"), (Close, "}}"), (Text, "y"), (End, "")],
        );
        check(
            "x {{-3}} y",
            &[(Text, "x "), (Open, "{{"), (Number, "-3"), (Close, "}}"), (Text, " y"), (End, "")],
        );
        check("x {{- /* c */ -}} y", &[(Text, "x"), (Text, "y"), (End, "")]);
        check("x{{/* {{ a }} */}}y", &[(Text, "x"), (Text, "y"), (End, "")]);
        check(" {{- /**/ -}} {{- /**/ -}} ", &[(End, "")]);
        check(
            "{{.  -}} a",
            &[(Open, "{{"), (Dot, "."), (Space, " "), (Close, "}}"), (Text, "a"), (End, "")],
        );
    }

    #[test]
    fn says_what_it_cannot_cut() {
        refuse("{{", "unclosed action");
        refuse("{{ \n", "unclosed action");
        refuse("{{/* a", "unclosed comment");
        refuse("{{/* a */ }}", "comment ends before closing delimiter");
        refuse("{{\"a\n\"}}", "unterminated quoted string");
        refuse("{{\"a\\\"}}", "unterminated quoted string");
        refuse("{{`a}}", "unterminated raw quoted string");
        refuse("{{'a}}", "unterminated character constant");
        refuse("{{(1}}", "unclosed left paren");
        refuse("{{1)}}", "unexpected right paren");
        refuse("{{$x+2}}", "bad character U+002B '+'");
        refuse("{{.X!}}", "bad character U+0021 '!'");
        refuse("{{:}}", "expected :=");
        refuse("{{\u{1}}}", "unrecognized character in action: U+0001");
        refuse("{{é}}{{♥}}", "unrecognized character in action: U+2665 '♥'");
        refuse("{{- - }}", "bad number syntax: \"- \"");
    }
}
