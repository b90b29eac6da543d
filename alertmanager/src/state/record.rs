//! How alerts and texts stand in the journal: each text after its length, each number in eight bytes
//! or, where it is small, in as many as it needs.
//!
//! Invariant: whatever the bytes are, reading them ends with a value or with nothing.

use std::collections::BTreeMap;

use base::labels::Labels;
use base::sample::Timestamp;

use crate::alerts::{Alert, Ending};

/// Appends a number.
pub fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Appends a text.
pub fn put_text(to: &mut Vec<u8>, text: &str) {
    put_number(to, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

/// Appends a time.
pub fn put_time(to: &mut Vec<u8>, time: Timestamp) {
    to.extend_from_slice(&time.millis().to_le_bytes());
}

/// Appends an alert.
pub fn put_alert(to: &mut Vec<u8>, alert: &Alert) {
    put_text(to, alert.labels.as_encoded());
    put_number(to, alert.annotations.len() as u64);
    for (name, text) in &alert.annotations {
        put_text(to, name);
        put_text(to, text);
    }
    put_time(to, alert.starts_at);
    let ending = match alert.ended {
        None => 0,
        Some((_, Ending::Resolved)) => 1,
        Some((_, Ending::TargetRemoved)) => 2,
        Some((_, Ending::RuleRemoved)) => 3,
    };
    to.push(ending);
    if let Some((at, _)) = alert.ended {
        put_time(to, at);
    }
    to.push(u8::from(alert.stale_since.is_some()));
    if let Some(since) = alert.stale_since {
        put_time(to, since);
    }
    put_text(to, &alert.generator_url);
}

/// Reads a record from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// A byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// A number.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A number of things of which each takes a byte at least.
    pub fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.rest.len()).then_some(count)
    }

    /// A text.
    pub fn text(&mut self) -> Option<&'a str> {
        let length = self.count()?;
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        std::str::from_utf8(text).ok()
    }

    /// A time.
    pub fn time(&mut self) -> Option<Timestamp> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(Timestamp::from_millis(i64::from_le_bytes(*bytes)))
    }

    /// An alert.
    pub fn alert(&mut self) -> Option<Alert> {
        let labels = Labels::from_encoded(self.text()?)?;
        let mut annotations = BTreeMap::new();
        for _ in 0..self.count()? {
            annotations.insert(self.text()?.to_owned(), self.text()?.to_owned());
        }
        let starts_at = self.time()?;
        let ending = match self.byte()? {
            0 => None,
            1 => Some(Ending::Resolved),
            2 => Some(Ending::TargetRemoved),
            3 => Some(Ending::RuleRemoved),
            _ => return None,
        };
        let ended = ending.map(|why| Some((self.time()?, why)));
        let ended = match ended {
            Some(None) => return None,
            other => other.flatten(),
        };
        let stale_since = match self.byte()? {
            0 => None,
            _ => Some(self.time()?),
        };
        let generator_url = self.text()?.to_owned();
        Some(Alert { labels, annotations, starts_at, ended, stale_since, generator_url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "a"), ("é", "\"\n")]),
            annotations: BTreeMap::from([
                ("summary".to_owned(), "x".repeat(300)),
                ("empty".to_owned(), String::new()),
            ]),
            starts_at: Timestamp::from_millis(-1),
            ended: None,
            stale_since: Some(Timestamp::from_millis(i64::MAX)),
            generator_url: "http://x/".to_owned(),
        }
    }

    #[test]
    fn reads_what_it_wrote_and_nothing_of_what_broke_off() {
        let endings = [Ending::Resolved, Ending::TargetRemoved, Ending::RuleRemoved];
        let ended = endings.map(|why| Some((Timestamp::from_millis(2), why)));
        for ended in ended.into_iter().chain([None]) {
            let alert = Alert { ended, ..alert() };
            let mut bytes = Vec::new();
            put_alert(&mut bytes, &alert);
            assert_eq!(Reader::new(&bytes).alert(), Some(alert));
            for length in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..length]).alert(), None, "{length}");
            }
        }
    }

    #[test]
    fn numbers_are_as_long_as_they_need() {
        for (number, length) in [(0, 1), (127, 1), (128, 2), (1 << 40, 6), (u64::MAX, 10)] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!((Reader::new(&bytes).number(), bytes.len()), (Some(number), length));
        }
        assert_eq!(Reader::new(&[0xff; 12]).number(), None);
        // A length that nothing stands behind is not believed.
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0x7f]).text(), None);
    }
}
