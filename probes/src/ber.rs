//! Basic encoding rules (X.690), as far as LDAP and SNMP use them: definite lengths, short tags.
//!
//! Invariant: no input makes this panic or read past its end.

/// Tags that both use.
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;

/// One value with its tag: the parts one after the other.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(length @ 0..=0x7f) => out.push(length),
        _ => {
            let bytes = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
            out.push(0x84);
            out.extend_from_slice(&bytes);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A whole number.
pub(crate) fn integer(tag: u8, number: i32) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let spare = |n: &usize| {
        let sign = if bytes[n + 1] & 0x80 == 0 { 0 } else { 0xff };
        bytes[*n] == sign
    };
    let start = (0..3).take_while(spare).count();
    tlv(tag, &[&bytes[start..]])
}

/// An object identifier written with dots; nothing where it is none.
pub(crate) fn oid(text: &str) -> Option<Vec<u8>> {
    let parts = text.trim_start_matches('.').split('.').map(|part| part.parse().ok());
    let parts: Vec<u32> = parts.collect::<Option<_>>()?;
    let (first, rest) = parts.split_first()?;
    let (second, rest) = rest.split_first()?;
    if *first > 2 || *second > 39 {
        return None;
    }
    let mut content = vec![u8::try_from(first * 40 + second).ok()?];
    for part in rest {
        for shift in (0..5).rev() {
            let septet = (part >> (7 * shift)) as u8 & 0x7f;
            let leading = part.checked_shr(7 * shift).unwrap_or(0) == 0;
            if shift == 0 {
                content.push(septet);
            } else if !leading {
                content.push(septet | 0x80);
            }
        }
    }
    Some(tlv(OID, &[&content]))
}

/// How long a value will be with its tag and length, once so much of it is known that this is, too.
pub(crate) fn whole_length(begin: &[u8]) -> Option<Result<usize, ()>> {
    match *begin.get(1)? {
        short @ 0..=0x7f => Some(Ok(2 + usize::from(short))),
        long @ 0x81..=0x84 => {
            let count = usize::from(long & 0x7f);
            let bytes = begin.get(2..2 + count)?;
            let length = bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            Some(Ok(length.saturating_add(2 + count)))
        }
        _ => Some(Err(())),
    }
}

/// Takes the next value off `rest`: its tag and its content.
pub(crate) fn take<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let length = whole_length(rest)?.ok()?;
    let whole = rest.get(..length)?;
    let head = match whole[1] {
        0..=0x7f => 2,
        long => 2 + usize::from(long & 0x7f),
    };
    *rest = &rest[length..];
    Some((whole[0], &whole[head..]))
}

/// As [`take`], of a value that must have that tag.
pub(crate) fn expect<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    take(rest).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// A whole number; with `signed` the first bit is its sign.
pub(crate) fn number(content: &[u8], signed: bool) -> Option<i128> {
    if content.is_empty() || content.len() > 9 {
        return None;
    }
    let negative = signed && content[0] & 0x80 != 0;
    let begin = if negative { -1 } else { 0 };
    Some(content.iter().fold(begin, |sum: i128, byte| sum << 8 | i128::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_come_back() {
        for n in [0, 1, -1, 127, 128, -128, -129, 255, 256, 65_536, i32::MAX, i32::MIN] {
            let bytes = integer(INTEGER, n);
            let content = expect(&mut &bytes[..], INTEGER).unwrap();
            assert_eq!(number(content, true), Some(i128::from(n)), "{bytes:?}");
        }
        assert_eq!(integer(INTEGER, 128), [2, 2, 0, 128]);
        assert_eq!(integer(INTEGER, -1), [2, 1, 255]);
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff], false), Some(4_294_967_295));
    }

    #[test]
    fn identifiers_are_written_as_the_rules_say() {
        assert_eq!(oid("1.3.6.1.2.1.1.3.0").unwrap(), [6, 8, 43, 6, 1, 2, 1, 1, 3, 0]);
        assert_eq!(oid(".1.3.6.1.4.1.8072").unwrap(), [6, 7, 43, 6, 1, 4, 1, 0xbf, 8]);
        for text in ["", "1", "3.1", "1.40", "1.3.x", "1.3.4294967296"] {
            assert_eq!(oid(text), None, "{text}");
        }
    }

    #[test]
    fn long_values_have_long_lengths() {
        let bytes = tlv(OCTETS, &[&[7; 100], &[8; 100]]);
        assert_eq!(whole_length(&bytes[..4]), None);
        assert_eq!(whole_length(&bytes), Some(Ok(206)));
        assert_eq!(take(&mut &bytes[..]).unwrap().1.len(), 200);
        assert_eq!(whole_length(&[4, 0x80]), Some(Err(())));
    }

    proptest! {
        #[test]
        fn no_input_is_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut rest = &bytes[..];
            while let Some((_, content)) = take(&mut rest) {
                number(content, true);
            }
        }
    }
}
