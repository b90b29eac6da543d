//! DNS messages: a question into bytes, bytes into an answer (RFC 1035, 2782, 3597, 6891, 8659).
//!
//! Invariant: no message makes this panic, loop or keep more than the message has; what is not
//! whole is refused.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Names of record types by number.
const TYPES: [(u16, &str); 32] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (17, "RP"),
    (18, "AFSDB"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (37, "CERT"),
    (39, "DNAME"),
    (43, "DS"),
    (44, "SSHFP"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (52, "TLSA"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (61, "OPENPGPKEY"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (255, "ANY"),
    (257, "CAA"),
];

/// Names of classes by number.
const CLASSES: [(u16, &str); 5] = [(1, "IN"), (3, "CH"), (4, "HS"), (254, "NONE"), (255, "ANY")];

/// The number of a class by its name.
pub(crate) fn class_of(name: &str) -> Option<u16> {
    CLASSES.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

fn class_name(number: u16) -> String {
    let known = CLASSES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("CLASS{number}"), |(_, name)| (*name).to_owned())
}

/// Names of answer codes by number.
pub(crate) const RCODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
    "NXRRSET", "NOTAUTH", "NOTZONE",
];

/// The number of a record type by its name.
pub(crate) fn type_of(name: &str) -> Option<u16> {
    let name = name.to_ascii_uppercase();
    let known = TYPES.iter().find(|(_, known)| *known == name).map(|(number, _)| *number);
    known.or_else(|| name.strip_prefix("TYPE")?.parse().ok())
}

/// The name of a record type.
pub(crate) fn type_name(number: u16) -> String {
    let known = TYPES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("TYPE{number}"), |(_, name)| (*name).to_owned())
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The name as on the wire.
    name: Vec<u8>,
    kind: u16,
    class: u16,
    recursive: bool,
    dnssec: bool,
}

impl Question {
    /// A question for `name`, a host name in ASCII.
    pub(crate) fn new(
        name: &str,
        kind: u16,
        recursive: bool,
        dnssec: bool,
    ) -> Result<Self, &'static str> {
        let mut wire = Vec::new();
        for label in name.strip_suffix('.').unwrap_or(name).split('.') {
            let fits = u8::try_from(label.len()).ok().filter(|length| *length < 64);
            let length = fits.ok_or("has a part of over 63 characters")?;
            if length == 0 && name != "." && !name.is_empty() {
                return Err("has an empty part");
            }
            if !label.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
                return Err("has other characters than those of a host name; write it in ASCII");
            }
            if length > 0 {
                wire.push(length);
                wire.extend_from_slice(label.as_bytes());
            }
        }
        wire.push(0);
        if wire.len() > 255 {
            return Err("is over 255 characters");
        }
        Ok(Self { name: wire, kind, class: 1, recursive, dnssec })
    }

    /// The same of another class than `IN`.
    pub(crate) fn of_class(self, class: u16) -> Self {
        Self { class, ..self }
    }

    /// The message that asks.
    pub(crate) fn encode(&self, id: u16) -> Vec<u8> {
        let flags: u16 = if self.recursive { 0x0100 } else { 0 };
        // The AD bit says that we understand it in the answer (RFC 6840).
        let flags = if self.dnssec { flags | 0x0020 } else { flags };
        let mut out = Vec::with_capacity(40 + self.name.len());
        for word in [id, flags, 1, 0, 0, u16::from(self.dnssec)] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&self.name);
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&self.class.to_be_bytes());
        if self.dnssec {
            // OPT: 1232 bytes at a time, DO.
            out.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
        }
        out
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) rcode: u16,
    /// The server vouches for the answer by DNSSEC.
    pub(crate) authentic: bool,
    /// There is more than fits.
    pub(crate) truncated: bool,
    pub(crate) answer: Vec<Record>,
    pub(crate) authority: Vec<Record>,
    pub(crate) additional: Vec<Record>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// As zone files write it.
    pub(crate) data: String,
    /// The serial number of a zone, of an SOA record.
    pub(crate) serial: Option<u32>,
}

impl Record {
    /// As zone files write it: `name. 300 IN A 192.0.2.1`, with tabs between.
    pub(crate) fn line(&self) -> String {
        let Self { name, ttl, data, .. } = self;
        format!("{name}\t{ttl}\t{}\t{}\t{data}", class_name(self.class), type_name(self.kind))
    }
}

impl Message {
    /// The answer to `question`; nothing where `bytes` are none.
    pub(crate) fn decode(bytes: &[u8], question: &Question) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let id = reader.u16()?;
        let flags = reader.u16()?;
        let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        let is_answer = flags & 0x8000 != 0;
        if !is_answer || counts[0] > 1 {
            return None;
        }
        if counts[0] == 1 {
            let asked = bytes.get(reader.at..reader.at + question.name.len())?;
            let same = asked.eq_ignore_ascii_case(&question.name);
            reader.at += asked.len();
            if !same || reader.u16()? != question.kind {
                return None;
            }
            reader.u16()?;
        }
        let mut message = Self {
            id,
            rcode: flags & 0xf,
            authentic: flags & 0x0020 != 0,
            truncated: flags & 0x0200 != 0,
            ..Self::default()
        };
        let is_cut = message.truncated;
        'sections: for (section, count) in [
            (&mut message.answer, counts[1]),
            (&mut message.authority, counts[2]),
            (&mut message.additional, counts[3]),
        ] {
            for _ in 0..count {
                match reader.record() {
                    Some(record) => section.push(record),
                    // It says itself that it is not whole.
                    None if is_cut => break 'sections,
                    None => return None,
                }
            }
        }
        Some(message)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A name, which may go on at a place before it.
    fn name(&mut self) -> Option<String> {
        let (mut text, mut at, mut end, mut length) = (String::new(), self.at, None, 0);
        loop {
            let size = usize::from(*self.bytes.get(at)?);
            match size {
                0 => {
                    self.at = end.unwrap_or(at + 1);
                    return Some(if text.is_empty() { ".".to_owned() } else { text });
                }
                0xc0.. => {
                    let low = usize::from(*self.bytes.get(at + 1)?);
                    let to = (size & 0x3f) << 8 | low;
                    end.get_or_insert(at + 2);
                    // Only ever back, so that there is an end.
                    if to >= at {
                        return None;
                    }
                    at = to;
                }
                64.. => return None,
                _ => {
                    length += size + 1;
                    if length > 255 {
                        return None;
                    }
                    let label = self.bytes.get(at + 1..at + 1 + size)?;
                    for byte in label {
                        match byte {
                            b'.' | b'\\' => text.extend(['\\', char::from(*byte)]),
                            b'!'..=b'~' => text.push(char::from(*byte)),
                            other => text.push_str(&format!("\\{other:03}")),
                        }
                    }
                    text.push('.');
                    at += size + 1;
                }
            }
        }
    }

    /// A text with its length before it, in quotes.
    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u8()?);
        let bytes = self.take(length)?;
        Some(quoted(bytes))
    }

    fn record(&mut self) -> Option<Record> {
        let name = self.name()?;
        let kind = self.u16()?;
        let class = self.u16()?;
        let ttl = self.u32()?;
        let length = usize::from(self.u16()?);
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let (data, serial) = self.data(kind, end)?;
        // What is said to be longer or shorter than it is is not whole.
        if self.at != end {
            return None;
        }
        Some(Record { name, kind, class, ttl, data, serial })
    }

    fn data(&mut self, kind: u16, end: usize) -> Option<(String, Option<u32>)> {
        let text = match kind {
            1 => Ipv4Addr::from(<[u8; 4]>::try_from(self.take(4)?).ok()?).to_string(),
            28 => Ipv6Addr::from(<[u8; 16]>::try_from(self.take(16)?).ok()?).to_string(),
            2 | 5 | 12 | 39 => self.name()?,
            15 => format!("{} {}", self.u16()?, self.name()?),
            33 => {
                let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
                format!("{priority} {weight} {port} {}", self.name()?)
            }
            16 => {
                let mut texts = Vec::new();
                while self.at < end {
                    texts.push(self.text()?);
                }
                texts.join(" ")
            }
            6 => {
                let (server, mailbox) = (self.name()?, self.name()?);
                let numbers = [self.u32()?, self.u32()?, self.u32()?, self.u32()?, self.u32()?];
                let text = numbers.map(|number| number.to_string()).join(" ");
                return Some((format!("{server} {mailbox} {text}"), Some(numbers[0])));
            }
            257 => {
                let flags = self.u8()?;
                let length = usize::from(self.u8()?);
                let tag = String::from_utf8_lossy(self.take(length)?).into_owned();
                let value = self.take(end.checked_sub(self.at)?)?;
                format!("{flags} {tag} {}", quoted(value))
            }
            _ => {
                let bytes = self.take(end.checked_sub(self.at)?)?;
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("\\# {} {hex}", bytes.len())
            }
        };
        Some((text, None))
    }
}

fn quoted(bytes: &[u8]) -> String {
    let mut text = "\"".to_owned();
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\{other:03}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question::new("www.shop.test", 1, true, false).unwrap()
    }

    /// An answer with one record of `kind` whose data are `data`.
    fn answer(kind: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = question().encode(7);
        bytes[2] |= 0x80;
        bytes[7] = 1;
        bytes.extend_from_slice(&[0xc0, 12]);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1, 0, 0, 1, 44]);
        bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    #[track_caller]
    fn check(kind: u16, data: &[u8], expected: &str) {
        let message = Message::decode(&answer(kind, data), &question());
        let line = message.map(|message| message.answer[0].line());
        let expected = (!expected.is_empty())
            .then(|| format!("www.shop.test.\t300\tIN\t{}\t{expected}", type_name(kind)));
        assert_eq!(line, expected, "{data:?}");
    }

    #[test]
    fn reads_records_as_zone_files_write_them() {
        check(1, &[192, 0, 2, 1], "192.0.2.1");
        check(28, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "2001:db8::1");
        check(5, b"\x03abc\xc0\x10", "abc.shop.test.");
        check(15, b"\0\x0a\x04mail\xc0\x10", "10 mail.shop.test.");
        check(33, b"\0\x01\0\x02\x14\x66\x01a\0", "1 2 5222 a.");
        check(16, b"\x03a\"b\x02\xff ", "\"a\\\"b\" \"\\255 \"");
        check(257, b"\0\x05issueca.test", "0 issue \"ca.test\"");
        check(
            6,
            b"\x01a\0\x01b\0\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04",
            "a. b. 7 1 2 3 4",
        );
        check(98, &[1, 0xab], "\\# 2 01ab");
        check(2, b"\x02.\x01\0", "\\.\\001.");
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        check(1, &[192, 0, 2], "");
        check(1, &[192, 0, 2, 1, 1], "");
        // A name that leads to itself, one that leads ahead, one with a length that means nothing.
        check(5, b"\xc0\x2b", "");
        check(5, b"\xc0\xff", "");
        check(5, b"\x80", "");
        check(16, b"\x05ab", "");
        let whole = answer(1, &[192, 0, 2, 1]);
        for end in 0..whole.len() {
            assert_eq!(Message::decode(&whole[..end], &question()), None, "{end}");
        }
        let other = Question::new("other.test", 1, true, false).unwrap();
        assert_eq!(Message::decode(&whole, &other), None);
        assert_eq!(Message::decode(&question().encode(7), &question()), None, "a question");
    }

    #[test]
    fn asks_only_for_names_that_can_be() {
        let long = "a".repeat(64);
        for (name, good) in
            [("a.test", true), ("a.test.", true), (".", true), ("a..b", false), (&long, false)]
        {
            assert_eq!(Question::new(name, 1, true, false).is_ok(), good, "{name}");
        }
        assert!(Question::new("münchen.test", 1, true, false).is_err());
        assert!(Question::new(&"a.".repeat(130), 1, true, false).is_err());
    }

    proptest! {
        #[test]
        fn no_message_is_too_strange(
            head in proptest::collection::vec(any::<u8>(), 0..60),
            tail in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            Message::decode(&head, &question());
            let mut bytes = question().encode(7);
            bytes[2] |= 0x80;
            bytes[7] = 3;
            bytes.extend(tail);
            Message::decode(&bytes, &question());
        }
    }
}
