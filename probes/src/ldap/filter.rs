//! Filters of a search as people write them (RFC 4515), into the form in which they are sent
//! (RFC 4511, 4.5.1).
//!
//! ```text
//! (&(objectClass=person)(!(mail=*))(|(cn=an*)(uidNumber>=1000)))
//! ```
//!
//! Invariant: what is sent is a filter, whatever was written, and nested no deeper than
//! [`MAX_DEPTH`].

use crate::ber::{OCTETS, SEQUENCE, tlv};

/// How deep filters may stand in filters.
const MAX_DEPTH: usize = 50;

const AND: u8 = 0xa0;
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;
const EQUAL: u8 = 0xa3;
const SUBSTRINGS: u8 = 0xa4;
const AT_LEAST: u8 = 0xa5;
const AT_MOST: u8 = 0xa6;
const PRESENT: u8 = 0x87;
const SIMILAR: u8 = 0xa8;
const EXTENSIBLE: u8 = 0xa9;
/// The parts of a value with stars in it: before the first, between two, behind the last.
const INITIAL: u8 = 0x80;
const ANY: u8 = 0x81;
const FINAL: u8 = 0x82;
/// The parts of an extensible match: its rule, the attribute, the value, whether the DN counts.
const RULE: u8 = 0x81;
const ATTRIBUTE: u8 = 0x82;
const VALUE: u8 = 0x83;
const OF_DN: u8 = 0x84;

/// That every entry fits.
pub(super) fn any() -> Vec<u8> {
    tlv(PRESENT, &[b"objectClass"])
}

/// The filter as it is sent.
///
/// # Errors
///
/// Why the text is none.
pub(super) fn parse(text: &str) -> Result<Vec<u8>, String> {
    let mut rest = text;
    let filter = filter(&mut rest, 0)?;
    match rest {
        "" => Ok(filter),
        rest => Err(format!("`{rest}` stands behind its end")),
    }
}

/// Takes one filter in parentheses off `rest`.
fn filter(rest: &mut &str, depth: usize) -> Result<Vec<u8>, String> {
    if depth > MAX_DEPTH {
        return Err(format!("it is nested more than {MAX_DEPTH} deep"));
    }
    let inner = rest.strip_prefix('(').ok_or_else(|| match *rest {
        "" => "a `(` is missing at its end".to_owned(),
        rest => format!("a `(` is missing before `{rest}`"),
    })?;
    *rest = inner;
    let several = |tag: u8, rest: &mut &str| {
        *rest = &rest[1..];
        let mut parts = Vec::new();
        while rest.starts_with('(') {
            parts.extend(filter(rest, depth + 1)?);
        }
        // With none it is what RFC 4526 says of it, which is of no use here.
        if parts.is_empty() {
            return Err("`&` and `|` need filters behind them".to_owned());
        }
        Ok(tlv(tag, &[&parts]))
    };
    let filter = match inner.as_bytes().first() {
        Some(b'&') => several(AND, rest)?,
        Some(b'|') => several(OR, rest)?,
        Some(b'!') => {
            *rest = &inner[1..];
            tlv(NOT, &[&filter(rest, depth + 1)?])
        }
        _ => {
            let end = inner.find(['(', ')']).unwrap_or(inner.len());
            *rest = &inner[end..];
            item(&inner[..end])?
        }
    };
    *rest = rest.strip_prefix(')').ok_or("a `)` is missing")?;
    Ok(filter)
}

/// A comparison, without its parentheses.
fn item(text: &str) -> Result<Vec<u8>, String> {
    let (left, right) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`"))?;
    let pair = |tag: u8, attribute: &str| {
        let attribute = described(attribute)?;
        Ok(tlv(tag, &[&tlv(OCTETS, &[attribute.as_bytes()]), &tlv(OCTETS, &[&value(right)?])]))
    };
    match left.as_bytes().last() {
        Some(b'>') => pair(AT_LEAST, &left[..left.len() - 1]),
        Some(b'<') => pair(AT_MOST, &left[..left.len() - 1]),
        Some(b'~') => pair(SIMILAR, &left[..left.len() - 1]),
        Some(b':') => extensible(&left[..left.len() - 1], right),
        _ if right == "*" => Ok(tlv(PRESENT, &[described(left)?.as_bytes()])),
        _ if right.contains('*') => substrings(left, right),
        _ => pair(EQUAL, left),
    }
}

/// `an*b*c`.
fn substrings(attribute: &str, text: &str) -> Result<Vec<u8>, String> {
    let last = text.matches('*').count();
    let mut parts = Vec::new();
    for (n, part) in text.split('*').enumerate() {
        let tag = match n {
            0 => INITIAL,
            n if n == last => FINAL,
            _ => ANY,
        };
        match (part, tag) {
            ("", ANY) => return Err(format!("`{text}` has two `*` side by side")),
            ("", _) => {}
            (part, tag) => parts.extend(tlv(tag, &[&value(part)?])),
        }
    }
    let attribute = tlv(OCTETS, &[described(attribute)?.as_bytes()]);
    Ok(tlv(SUBSTRINGS, &[&attribute, &tlv(SEQUENCE, &[&parts])]))
}

/// `cn:dn:caseExactMatch:=Ann`: an attribute, a rule or both, and whether the DN counts.
fn extensible(left: &str, right: &str) -> Result<Vec<u8>, String> {
    let mut parts = left.split(':');
    let attribute = parts.next().unwrap_or_default();
    let mut rest: Vec<_> = parts.collect();
    let of_dn = rest.first().is_some_and(|word| word.eq_ignore_ascii_case("dn"));
    if of_dn {
        rest.remove(0);
    }
    let rule = match rest[..] {
        [] if !attribute.is_empty() => None,
        [rule] => Some(described(rule)?),
        _ => return Err(format!("`{left}:` names neither an attribute nor a rule")),
    };
    let mut out = Vec::new();
    if let Some(rule) = rule {
        out.extend(tlv(RULE, &[rule.as_bytes()]));
    }
    if !attribute.is_empty() {
        out.extend(tlv(ATTRIBUTE, &[described(attribute)?.as_bytes()]));
    }
    out.extend(tlv(VALUE, &[&value(right)?]));
    if of_dn {
        out.extend(tlv(OF_DN, &[&[0xff]]));
    }
    Ok(tlv(EXTENSIBLE, &[&out]))
}

/// An attribute, by its name or its number, which may have options: `userCertificate;binary`.
fn described(text: &str) -> Result<&str, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ';');
    match text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
        true => Ok(text),
        false => Err(format!("`{text}` is not an attribute")),
    }
}

/// A value, in which `\2a` stands for the byte of that number.
fn value(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '*', '\0']) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let bad = || {
            format!(
                "write `\\2a` for `*`, `\\28` for `(`, `\\29` for `)`, `\\5c` for `\\`: `{text}`"
            )
        };
        let byte = rest[at..].strip_prefix('\\').and_then(|rest| rest.get(..2));
        // What `from_str_radix` takes may have a sign.
        let byte = byte.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.ok_or_else(bad)?);
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[u8]) {
        assert_eq!(parse(text).unwrap(), expected, "{text}");
    }

    #[test]
    fn filters_are_sent_as_the_rules_say() {
        check("(uid=*)", b"\x87\x03uid");
        check("(uid=ann)", b"\xa3\x0a\x04\x03uid\x04\x03ann");
        check("(uid=)", b"\xa3\x07\x04\x03uid\x04\x00");
        check("(a>=1)", b"\xa5\x06\x04\x01a\x04\x011");
        check("(a<=1)", b"\xa6\x06\x04\x01a\x04\x011");
        check("(a~=b)", b"\xa8\x06\x04\x01a\x04\x01b");
        check("(a=b=c)", b"\xa3\x08\x04\x01a\x04\x03b=c");
        check("(cn;lang-de=\\2a\\C3\\bc)", b"\xa3\x11\x04\x0acn;lang-de\x04\x03*\xc3\xbc");
        check("(!(a=b))", b"\xa2\x08\xa3\x06\x04\x01a\x04\x01b");
        check(
            "(&(a=b)(!(c=d)))",
            b"\xa0\x12\xa3\x06\x04\x01a\x04\x01b\xa2\x08\xa3\x06\x04\x01c\x04\x01d",
        );
        check("(|(a=*)(b=*))", b"\xa1\x06\x87\x01a\x87\x01b");
        check("(a=b*)", b"\xa4\x08\x04\x01a\x30\x03\x80\x01b");
        check("(a=*b)", b"\xa4\x08\x04\x01a\x30\x03\x82\x01b");
        check("(a=b*c*d)", b"\xa4\x0e\x04\x01a\x30\x09\x80\x01b\x81\x01c\x82\x01d");
        check("(a=*b*)", b"\xa4\x08\x04\x01a\x30\x03\x81\x01b");
        check("(a:dn:2.5.13.2:=b)", b"\xa9\x13\x81\x082.5.13.2\x82\x01a\x83\x01b\x84\x01\xff");
        check("(:r:=b)", b"\xa9\x06\x81\x01r\x83\x01b");
        check("(a:=b)", b"\xa9\x06\x82\x01a\x83\x01b");
    }

    #[test]
    fn what_is_no_filter_is_told() {
        let check = |text: &str, expected: &str| {
            let why = parse(text).unwrap_err();
            assert!(why.contains(expected), "{text}: {why}");
        };
        check("", "a `(` is missing at its end");
        check("uid=ann", "a `(` is missing before `uid=ann`");
        check("(uid=ann", "a `)` is missing");
        check("(uid=ann))", "`)` stands behind its end");
        check("(uid)", "`uid` has no `=`");
        check("(=x)", "`` is not an attribute");
        check("(a b=x)", "`a b` is not an attribute");
        check("(&)", "need filters");
        check("(&a=b)", "need filters");
        check("(&(a=b)x)", "a `)` is missing");
        check("(!(a=b)(c=d))", "a `)` is missing");
        check("(a=b**c)", "two `*`");
        check("(a>=*)", "write `\\2a` for `*`");
        check("(a=\\2)", "write `\\2a`");
        check("(a=\\+1)", "write `\\2a`");
        check("(a=b(c)", "a `)` is missing");
        check("(:=b)", "neither an attribute nor a rule");
        check("(a:b:c:=d)", "neither an attribute nor a rule");
        check(&"(!".repeat(100), "nested more than 50");
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[(&|!)a=*><~:\\\\2cü\0]{0,30}") {
            if let Ok(sent) = parse(&text) {
                let mut rest = &sent[..];
                prop_assert!(crate::ber::take(&mut rest).is_some() && rest.is_empty());
            }
        }
    }
}
