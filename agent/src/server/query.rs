//! The query of a URL, read strictly.
//!
//! Invariant: no name comes twice, and every value is text without control characters.

use std::collections::BTreeMap;

/// The most parameters of a request.
const MAX: usize = 64;

/// Why a query is not answered; it does not repeat what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadQuery {
    #[error("a `%` is not followed by two hexadecimal digits")]
    Escape,
    #[error("a parameter has characters that cannot be seen, or is not UTF-8")]
    Characters,
    #[error("a parameter is given twice")]
    Twice,
    #[error("there are too many parameters")]
    TooMany,
}

/// The parameters by their names.
pub(super) fn parse(query: &str) -> Result<BTreeMap<String, String>, BadQuery> {
    let mut parameters = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if parameters.len() == MAX {
            return Err(BadQuery::TooMany);
        }
        if parameters.insert(decode(name)?, decode(value)?).is_some() {
            return Err(BadQuery::Twice);
        }
    }
    Ok(parameters)
}

pub(super) fn decode(text: &str) -> Result<String, BadQuery> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let (high, low) = high.zip(low).ok_or(BadQuery::Escape)?;
                u8::try_from(high << 4 | low).map_err(|_| BadQuery::Escape)?
            }
            byte => byte,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| BadQuery::Characters)?;
    if text.contains(char::is_control) { Err(BadQuery::Characters) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &str) {
        let got = match parse(query) {
            Ok(parameters) => format!("{parameters:?}"),
            Err(bad) => format!("{bad:?}"),
        };
        assert_eq!(got, expected, "{query}");
    }

    #[test]
    fn reads_what_browsers_and_prometheus_write() {
        check("", "{}");
        check("a=b&c", r#"{"a": "b", "c": ""}"#);
        check(
            "target=http%3A%2F%2Fx%2F%3Fa%3Db&m=x+y",
            r#"{"m": "x y", "target": "http://x/?a=b"}"#,
        );
        check("a=%C3%BC", r#"{"a": "ü"}"#);
    }

    #[test]
    fn refuses_what_could_mean_two_things_x05_x08() {
        check("a=b&a=c", "Twice");
        check("a=%", "Escape");
        check("a=%+1", "Escape");
        check("a=%zz", "Escape");
        check("a=%ff", "Characters");
        check("a=%00", "Characters");
        check("a=%0d%0ab", "Characters");
        let many: Vec<_> = (0..100).map(|n| format!("a{n}=")).collect();
        check(&many.join("&"), "TooMany");
    }
}
