//! The series that a target had, by their text, in the order in which it tells them.
//!
//! A target tells the same series again and again in the same order, so the next text is mostly that
//! behind the one before it: one comparison of memory that lies in a row, and no table.
//!
//! Invariant: a text is there once. The table of places is there only while texts come out of order,
//! or are new.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use storage::SeriesRef;

/// What is known of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// `None`: relabelling drops it.
    pub(super) series: Option<SeriesRef>,
    /// The scrape that had it last.
    pub(super) seen: u32,
    /// Whether its samples have timestamps of their own; such a series just ends.
    pub(super) timed: bool,
}

/// All texts of a target.
#[derive(Debug, Default)]
pub(super) struct KnownSeries {
    /// One behind the other.
    texts: String,
    /// Where each ends among the texts, and what is known of it.
    entries: Vec<(u32, Known)>,
    /// Where the next is expected.
    next: usize,
    /// The place of each by its hash; the first of those that have the same.
    places: Option<HashMap<u64, u32, Same>>,
    /// Whether the table was asked since the last [`KnownSeries::settle`].
    asked: bool,
    hasher: RandomState,
}

impl KnownSeries {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A new scrape begins with the first.
    pub(super) fn rewind(&mut self) {
        self.next = 0;
    }

    /// The text that is expected next.
    #[inline]
    pub(super) fn expected(&self) -> Option<&str> {
        self.text(self.next)
    }

    /// What is known of `text`.
    #[inline]
    pub(super) fn get_mut(&mut self, text: &str) -> Option<&mut Known> {
        if self.text(self.next) != Some(text) {
            self.next = self.place(text)?;
        }
        let at = self.next;
        self.next += 1;
        self.entries.get_mut(at).map(|(_, known)| known)
    }

    /// Adds a text, unless it is known; whether it was added.
    pub(super) fn add(&mut self, text: &str, known: Known) -> bool {
        if self.place(text).is_some() {
            return false;
        }
        let place = self.entries.len();
        // No body is let in that is so long.
        let Ok(end) = u32::try_from(self.texts.len() + text.len()) else { return false };
        self.texts.push_str(text);
        self.entries.push((end, known));
        let hash = self.hasher.hash_one(text);
        if let (Some(places), Ok(place)) = (&mut self.places, u32::try_from(place)) {
            places.entry(hash).or_insert(place);
        }
        true
    }

    /// Forgets those that `keep` refuses, in order.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Known) -> bool) {
        let Some(first) = self.entries.iter().position(|(_, known)| !keep(known)) else { return };
        let mut texts = self.texts[..self.begin(first)].to_owned();
        let mut entries = self.entries[..first].to_vec();
        for place in first + 1..self.entries.len() {
            let known = self.entries[place].1;
            if keep(&known) {
                texts.push_str(self.text(place).unwrap_or_default());
                entries.push((texts.len() as u32, known));
            }
        }
        (self.texts, self.entries, self.places) = (texts, entries, None);
    }

    /// Takes all of them out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Known> {
        (self.texts, self.places, self.next) = (String::new(), None, 0);
        std::mem::take(&mut self.entries).into_iter().map(|(_, known)| known)
    }

    /// Gives back what the last scrape did not need.
    pub(super) fn settle(&mut self) {
        if !std::mem::take(&mut self.asked) {
            self.places = None;
            self.texts.shrink_to_fit();
            self.entries.shrink_to_fit();
        }
    }

    fn begin(&self, place: usize) -> usize {
        let before = place.checked_sub(1).and_then(|before| self.entries.get(before));
        before.map_or(0, |(end, _)| *end as usize)
    }

    #[inline]
    fn text(&self, place: usize) -> Option<&str> {
        let (end, _) = self.entries.get(place)?;
        self.texts.get(self.begin(place)..*end as usize)
    }

    fn place(&mut self, text: &str) -> Option<usize> {
        if self.entries.is_empty() && self.places.is_none() {
            self.places = Some(HashMap::default());
        }
        self.asked = true;
        let places = self.places.take().unwrap_or_else(|| self.all_places());
        let found = places.get(&self.hasher.hash_one(text)).map(|place| *place as usize);
        self.places = Some(places);
        let found = found?;
        if self.text(found) == Some(text) {
            return Some(found);
        }
        // Another text has the same hash, which hardly ever happens.
        (0..self.entries.len()).find(|place| self.text(*place) == Some(text))
    }

    fn all_places(&self) -> HashMap<u64, u32, Same> {
        let mut places = HashMap::with_capacity_and_hasher(self.entries.len(), Same);
        for place in 0..self.entries.len() {
            if let (Some(text), Ok(number)) = (self.text(place), u32::try_from(place)) {
                places.entry(self.hasher.hash_one(text)).or_insert(number);
            }
        }
        places
    }
}

/// Takes a number that is a hash already.
#[derive(Clone, Copy, Debug, Default)]
struct Same;

impl BuildHasher for Same {
    type Hasher = Taken;

    fn build_hasher(&self) -> Taken {
        Taken(0)
    }
}

struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |all, byte| all << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Known = Known { series: None, seen: 0, timed: false };

    /// One scrape: texts that are known are seen, the others are added.
    fn scrape(all: &mut KnownSeries, number: u32, texts: &str) -> String {
        all.rewind();
        let mut fresh = Vec::new();
        let mut told = String::new();
        for text in texts.split(' ') {
            match all.get_mut(text) {
                Some(known) if known.seen == number => told.push('='),
                Some(known) => {
                    known.seen = number;
                    told.push('+');
                }
                None => {
                    told.push('?');
                    fresh.push(text);
                }
            }
        }
        for text in fresh {
            told.push(if all.add(text, Known { seen: number, ..NEW }) { '!' } else { '=' });
        }
        all.retain(|known| {
            told.push_str(if known.seen == number { "" } else { "-" });
            known.seen == number
        });
        all.settle();
        told
    }

    #[test]
    fn texts_are_found_in_any_order() {
        let mut all = KnownSeries::default();
        // What a scrape tells, and for each text whether it is known (+), new (?), a second time (=),
        // added (!) or gone (-).
        let scrapes = [
            ("a b c", "???!!!"),
            ("a b c", "+++"),
            ("c b a", "+++"),
            ("a a b c", "+=++"),
            ("a x b c x", "+?++?!="),
            ("a x b c", "++++"),
            ("a c", "++--"),
            ("c d ab", "+??!!-"),
            ("c d ab", "+++"),
            ("abc", "?!---"),
        ];
        for (number, (texts, told)) in (1..).zip(scrapes) {
            assert_eq!(scrape(&mut all, number, texts), told, "{texts}");
        }
        assert_eq!((all.len(), all.drain().count(), all.len()), (1, 1, 0));
    }

    #[test]
    fn texts_in_order_need_no_table() {
        let mut all = KnownSeries::default();
        let texts: Vec<_> = (0..1000).map(|n| format!("x{{n=\"{n}\"}}")).collect();
        let texts = texts.join(" ");
        scrape(&mut all, 1, &texts);
        assert!(all.places.is_some());
        scrape(&mut all, 2, &texts);
        assert!(all.places.is_none());
        assert_eq!(all.len(), 1000);
    }
}
