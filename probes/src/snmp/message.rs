//! What is asked of a device and what it answers: PDUs (RFC 3416) and the values in them.
//!
//! Invariant: an answer is taken apart as far as it is one; nothing of it is trusted for a length.

use crate::ber::{self, INTEGER, NULL, OCTETS, OID, SEQUENCE, integer, tlv};

pub(super) const GET: u8 = 0xa0;
pub(super) const GET_BULK: u8 = 0xa5;
pub(super) const RESPONSE: u8 = 0xa2;
pub(super) const REPORT: u8 = 0xa8;

/// What a device answers, or reports about a question that it does not answer.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) tag: u8,
    pub(super) id: i128,
    pub(super) error: i128,
    /// The names, encoded, with their values.
    pub(super) bindings: Vec<(Vec<u8>, Value)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Text(Vec<u8>),
    /// There is no such object.
    Missing,
    /// There is nothing behind this name any more.
    End,
}

impl Value {
    /// The value as text, and as a number where it is one: some devices write numbers as texts.
    pub(super) fn read(&self) -> Option<(Vec<u8>, Option<f64>)> {
        match self {
            Self::Missing | Self::End => None,
            Self::Number(number) => Some((number.to_string().into_bytes(), Some(*number))),
            Self::Text(text) => {
                let number =
                    std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
                Some((text.clone(), number))
            }
        }
    }
}

/// A question: `tag` with its two numbers (of a GET zero), for one name or none.
pub(super) fn question(tag: u8, id: i32, numbers: [i32; 2], oid: Option<&[u8]>) -> Vec<u8> {
    let binding = oid.map(|oid| tlv(SEQUENCE, &[oid, &[NULL, 0]])).unwrap_or_default();
    let bindings = tlv(SEQUENCE, &[&binding]);
    let [first, second] = numbers.map(|number| integer(INTEGER, number));
    tlv(tag, &[&integer(INTEGER, id), &first, &second, &bindings])
}

/// A message of version 2c.
pub(super) fn with_community(community: &[u8], pdu: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&integer(INTEGER, 1), &tlv(OCTETS, &[community]), pdu])
}

/// The answer in a message of version 2c.
pub(super) fn of_community(datagram: &[u8]) -> Option<Answer> {
    let mut rest = ber::expect(&mut &datagram[..], SEQUENCE)?;
    let version = ber::number(ber::expect(&mut rest, INTEGER)?, true)?;
    ber::expect(&mut rest, OCTETS)?;
    answer(rest).filter(|answer| version == 1 && answer.tag == RESPONSE)
}

/// The answer in a PDU.
pub(super) fn answer(mut pdu: &[u8]) -> Option<Answer> {
    let (tag, mut rest) = ber::take(&mut pdu)?;
    let id = ber::number(ber::expect(&mut rest, INTEGER)?, true)?;
    let error = ber::number(ber::expect(&mut rest, INTEGER)?, true)?;
    ber::expect(&mut rest, INTEGER)?;
    let mut list = ber::expect(&mut rest, SEQUENCE)?;
    let mut bindings = Vec::new();
    while !list.is_empty() {
        let mut binding = ber::expect(&mut list, SEQUENCE)?;
        let name = ber::expect(&mut binding, OID)?.to_vec();
        bindings.push((name, value(binding)?));
    }
    Some(Answer { tag, id, error, bindings })
}

fn value(mut binding: &[u8]) -> Option<Value> {
    let (tag, content) = ber::take(&mut binding)?;
    Some(match tag {
        INTEGER => Value::Number(ber::number(content, true)? as f64),
        // Counter32, Gauge32, TimeTicks, Counter64.
        0x41 | 0x42 | 0x43 | 0x46 => Value::Number(ber::number(content, false)? as f64),
        // An address.
        0x40 => {
            let parts: Vec<_> = content.iter().map(u8::to_string).collect();
            Value::Text(parts.join(".").into_bytes())
        }
        NULL | 0x80 | 0x81 => Value::Missing,
        0x82 => Value::End,
        _ => Value::Text(content.to_vec()),
    })
}

/// The numbers of an encoded name, the first two of them in one: what names are ordered by.
pub(super) fn arcs(name: &[u8]) -> Vec<u64> {
    let mut arcs = Vec::new();
    let mut arc = 0_u64;
    for byte in name {
        arc = arc.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            arcs.push(arc);
            arc = 0;
        }
    }
    arcs
}

/// An encoded name in numbers with dots.
pub(super) fn dotted(name: &[u8]) -> String {
    let arcs = arcs(name);
    let Some((first, rest)) = arcs.split_first() else { return String::new() };
    let root = (first / 40).min(2);
    let numbers = [root, first - 40 * root].into_iter().chain(rest.iter().copied());
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_and_its_answer() {
        let oid = ber::oid("1.3.6.1.2.1.1.3.0").unwrap();
        let asked = question(GET, 7, [0, 0], Some(&oid));
        let mut datagram = with_community(b"public", &asked);
        assert_eq!(of_community(&datagram), None, "a question is no answer");
        let at = datagram.iter().position(|byte| *byte == GET).unwrap();
        datagram[at] = RESPONSE;
        let answer = of_community(&datagram).unwrap();
        assert_eq!((answer.id, answer.error), (7, 0));
        assert_eq!(answer.bindings, [(oid[2..].to_vec(), Value::Missing)]);
        for end in 0..datagram.len() {
            assert_eq!(of_community(&datagram[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn names_are_ordered_by_their_numbers() {
        let arcs = |text| arcs(&ber::oid(text).unwrap()[2..]);
        assert!(arcs("1.3.6.1.2.1.2.2.1.8.2") < arcs("1.3.6.1.2.1.2.2.1.8.10"));
        assert!(arcs("1.3.6.1.2.1.2.2.1.8.127") < arcs("1.3.6.1.2.1.2.2.1.8.128"));
        for text in ["1.3.6.1.4.1.8072", "2.39.0", "0.0"] {
            assert_eq!(dotted(&ber::oid(text).unwrap()[2..]), text);
        }
        assert_eq!(dotted(&[]), "");
    }
}
