//! A set of labels as one text: what [`super::Labels`] holds, for those who have no set of it yet.
//!
//! A length is written in base 64 with the lowest digit first, each digit a byte below 128 (bit 6 says
//! that another follows), so that the whole stays valid UTF-8 and no unchecked conversion is needed.
//!
//! Invariant: texts that were pushed one behind the other are taken as they were.

/// Adds a name or a value, behind its length. Of bytes that are no UTF-8 the whole becomes none, and of
/// others it stays such: between two texts there is always a byte below 128.
#[inline]
pub fn push(to: &mut Vec<u8>, text: &[u8]) {
    each_digit(text.len(), |digit| to.push(digit));
    to.extend_from_slice(text);
}

/// The value of `name` in a set; nothing where there is no such label.
pub fn value_of<'a>(set: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = set;
    while let Some((known, after)) = take_text(rest) {
        let (value, after) = take_text(after)?;
        if known >= name {
            return (known == name).then_some(value);
        }
        rest = after;
    }
    None
}

pub(super) fn push_text(to: &mut String, text: &str) {
    each_digit(text.len(), |digit| to.push(char::from(digit)));
    to.push_str(text);
}

#[inline]
fn each_digit(mut length: usize, mut each: impl FnMut(u8)) {
    loop {
        let digit = (length & 0x3f) as u8;
        length >>= 6;
        each(if length > 0 { digit | 0x40 } else { digit });
        if length == 0 {
            break;
        }
    }
}

#[inline]
pub(super) fn take_text(from: &str) -> Option<(&str, &str)> {
    // Nearly all texts are shorter than 64 bytes.
    let first = *from.as_bytes().first()?;
    if first < 0x40 {
        let end = usize::from(first) + 1;
        return Some((from.get(1..end)?, from.get(end..)?));
    }
    take_long_text(from)
}

fn take_long_text(from: &str) -> Option<(&str, &str)> {
    let (mut length, mut shift) = (0_usize, 0);
    for (at, byte) in from.bytes().enumerate() {
        if byte >= 0x80 || shift > 36 {
            return None;
        }
        length |= usize::from(byte & 0x3f) << shift;
        shift += 6;
        if byte & 0x40 == 0 {
            let start = at + 1;
            let end = start.checked_add(length)?;
            return Some((from.get(start..end)?, from.get(end..)?));
        }
    }
    None
}
