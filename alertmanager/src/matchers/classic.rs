//! The classic notation: names of letters, digits, `_` and `:`, values with or without quotes.
//!
//! Invariant: an escape is `\\`, `\n` or `\"`; any other backslash stands for itself.

use base::labels::is_legacy_metric_name;
use base::matcher::MatchOp;

/// Reads names, operators and values.
pub(super) fn parse(text: &str) -> Result<Vec<(String, MatchOp, String)>, String> {
    let text = text.strip_prefix('{').unwrap_or(text);
    let text = text.strip_suffix('}').unwrap_or(text);
    let mut parts = split(text);
    // A comma may stand at the end.
    if parts.last().is_some_and(|last| last.trim().is_empty()) {
        parts.pop();
    }
    parts.into_iter().map(matcher).collect()
}

/// The parts between commas that are not in quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn matcher(part: &str) -> Result<(String, MatchOp, String), String> {
    let bad = || format!("bad matcher format: {part}");
    let at = part.find(['=', '!']).ok_or_else(bad)?;
    let (name, rest) = part.split_at(at);
    let ops = [
        ("=~", MatchOp::Matches),
        ("!~", MatchOp::NotMatches),
        ("!=", MatchOp::NotEqual),
        ("=", MatchOp::Equal),
    ];
    let (value, op) =
        ops.iter().find_map(|(text, op)| Some((rest.strip_prefix(text)?, *op))).ok_or_else(bad)?;
    let name = name.trim();
    if !is_legacy_metric_name(name) {
        return Err(bad());
    }
    Ok((name.to_owned(), op, unescape(value.trim())?))
}

fn unescape(value: &str) -> Result<String, String> {
    let quote = || format!("matcher value contains unescaped double quote: {value}");
    let inner = match value.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"').ok_or_else(quote)?,
        None => value,
    };
    let mut out = String::new();
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        let escape = match (c, chars.peek()) {
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some(&next @ ('\\' | '"'))) => Some(next),
            ('"', _) => return Err(quote()),
            _ => None,
        };
        if escape.is_some() {
            chars.next();
        }
        out.push(escape.unwrap_or(c));
    }
    // A quote that the value ends with was escaped, so nothing closes it.
    if value.starts_with('"') && inner.ends_with('\\') && !inner.ends_with("\\\\") {
        return Err(quote());
    }
    Ok(out)
}
