//! The notation for UTF-8 names: whatever needs it stands in quotes.
//!
//! Invariant: places in errors are `from:to`, counted in characters from 0.

use base::matcher::MatchOp;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Comma,
    Op(MatchOp),
    Quoted(String),
    Plain(String),
}

#[derive(Clone, Debug)]
struct Lexeme {
    token: Token,
    text: String,
    from: usize,
    to: usize,
}

/// Reads names, operators and values.
pub(super) fn parse(text: &str) -> Result<Vec<(String, MatchOp, String)>, String> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0 };
    let mut found = Vec::new();
    let braces =
        matches!(reader.peek("a comma or close brace"), Ok(Some(l)) if l.token == Token::Open);
    if braces {
        reader.next("")?;
    }
    loop {
        match reader.peek("a label name")? {
            None => break,
            Some(lexeme) if lexeme.token == Token::Close => break,
            Some(_) => {}
        }
        found.push(reader.matcher()?);
        match reader.peek("a comma or close brace")? {
            Some(lexeme) if lexeme.token == Token::Comma => {
                reader.next("")?;
            }
            Some(lexeme) if lexeme.token == Token::Close => break,
            Some(lexeme) => return Err(lexeme.unexpected("a comma or close brace")),
            None => break,
        }
    }
    match (braces, reader.next("close brace")?) {
        (true, Some(lexeme)) if lexeme.token == Token::Close => {}
        (true, _) => return Err(reader.ended("close brace")),
        (false, Some(lexeme)) => {
            return Err(format!("{}:{}: }}: expected opening brace", lexeme.from, lexeme.to));
        }
        (false, None) => return Ok(found),
    }
    match reader.next("end of input")? {
        None => Ok(found),
        Some(lexeme) => Err(lexeme.unexpected("end of input")),
    }
}

impl Lexeme {
    fn unexpected(&self, expected: &str) -> String {
        format!("{}:{}: unexpected {}: expected {expected}", self.from, self.to, self.text)
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn matcher(&mut self) -> Result<(String, MatchOp, String), String> {
        let name = match self.next("a label name")? {
            Some(Lexeme { token: Token::Quoted(name) | Token::Plain(name), .. }) => name,
            Some(lexeme) => return Err(lexeme.unexpected("label name")),
            None => return Err(self.ended("label name")),
        };
        let op = match self.next("an operator such as '=', '!=', '=~' or '!~'")? {
            Some(Lexeme { token: Token::Op(op), .. }) => op,
            Some(lexeme) => {
                return Err(lexeme.unexpected("an operator such as '=', '!=', '=~' or '!~'"));
            }
            None => return Err(self.ended("an operator such as '=', '!=', '=~' or '!~'")),
        };
        match self.next("a label value")? {
            Some(Lexeme { token: Token::Quoted(value) | Token::Plain(value), .. }) => {
                Ok((name, op, value))
            }
            Some(lexeme) => Err(lexeme.unexpected("label value")),
            None => Err(self.ended("label value")),
        }
    }

    fn ended(&self, expected: &str) -> String {
        // The last character, as Alertmanager counts, except for an opening brace alone.
        let end = self.chars.len();
        let from = if end == 1 { 0 } else { end };
        let (from, to) = if expected == "close brace" { (0, end) } else { (from, end) };
        format!("{from}:{to}: end of input: expected {expected}")
    }

    fn peek(&mut self, expected: &str) -> Result<Option<Lexeme>, String> {
        let at = self.at;
        let lexeme = self.next(expected);
        self.at = at;
        lexeme
    }

    fn next(&mut self, expected: &str) -> Result<Option<Lexeme>, String> {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        let from = self.at;
        let Some(&first) = self.chars.get(from) else { return Ok(None) };
        self.at += 1;
        let second = self.chars.get(self.at).copied();
        let token = match (first, second) {
            ('{', _) => Token::Open,
            ('}', _) => Token::Close,
            (',', _) => Token::Comma,
            ('=', Some('~')) => self.op(MatchOp::Matches),
            ('!', Some('~')) => self.op(MatchOp::NotMatches),
            ('!', Some('=')) => self.op(MatchOp::NotEqual),
            ('=', _) => Token::Op(MatchOp::Equal),
            ('"', _) => self.quoted(from)?,
            (c, _) if super::is_reserved(c) => {
                let to = self.at;
                let mut message = format!("{from}:{to}: {c}: invalid input");
                if !expected.is_empty() {
                    message.push_str(&format!(": expected {expected}"));
                }
                return Err(message);
            }
            _ => {
                while self.chars.get(self.at).is_some_and(|c| !super::is_reserved(*c)) {
                    self.at += 1;
                }
                Token::Plain(self.chars[from..self.at].iter().collect())
            }
        };
        let text = self.chars[from..self.at].iter().collect();
        Ok(Some(Lexeme { token, text, from, to: self.at }))
    }

    fn op(&mut self, op: MatchOp) -> Token {
        self.at += 1;
        Token::Op(op)
    }

    /// A text in quotes with Go's escapes.
    fn quoted(&mut self, from: usize) -> Result<Token, String> {
        let mut escaped = false;
        loop {
            let Some(&c) = self.chars.get(self.at) else {
                let text: String = self.chars[from..].iter().collect();
                return Err(format!("{from}:{}: {text}: missing end \"", self.at));
            };
            self.at += 1;
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => break,
                _ => {}
            }
        }
        let text: String = self.chars[from..self.at].iter().collect();
        match unquote(&self.chars[from + 1..self.at - 1]) {
            Some(value) => Ok(Token::Quoted(value)),
            None => Err(format!("{from}:{}: {text}: invalid input", self.at)),
        }
    }
}

/// Resolves the escapes of a Go string; `None` for an unknown escape, or bytes that are not UTF-8.
fn unquote(chars: &[char]) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = chars.iter();
    let mut buffer = [0; 4];
    while let Some(&c) = rest.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            continue;
        }
        let kind = *rest.next()?;
        let simple = match kind {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' => Some(b'\\'),
            '"' => Some(b'"'),
            _ => None,
        };
        if let Some(byte) = simple {
            bytes.push(byte);
            continue;
        }
        match kind {
            'x' => bytes.push(u8::try_from(take_code(&mut rest, 2, 16)?).ok()?),
            'u' | 'U' => {
                let digits = if kind == 'u' { 4 } else { 8 };
                let c = char::from_u32(take_code(&mut rest, digits, 16)?)?;
                bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            }
            '0'..='7' => {
                let high = kind.to_digit(8)?;
                let low = take_code(&mut rest, 2, 8)?;
                bytes.push(u8::try_from(high << 6 | low).ok()?);
            }
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

fn take_code(from: &mut std::slice::Iter<'_, char>, digits: usize, radix: u32) -> Option<u32> {
    let text: String = from.by_ref().take(digits).collect();
    if text.len() == digits { u32::from_str_radix(&text, radix).ok() } else { None }
}
