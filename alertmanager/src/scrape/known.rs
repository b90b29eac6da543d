//! The series that a target had, by their text, in the order in which it tells them.
//!
//! A target tells the same series again and again in the same order, so the next text is mostly that
//! behind the one before it: one comparison, and no table. And a text mostly begins as the one before
//! it, so only how it goes on is kept, one behind the other:
//!
//! ```text
//! http_requests_total{code="200",method="GET"}     how many bytes of the text before it go, how many
//!                                      POST"}      come, and these; a text of its own every now and then
//! ```
//!
//! Invariant: a text is there once. The table of places is there only while texts come out of order,
//! or are new.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use storage::SeriesRef;

/// Every so many texts one is kept whole, so that none is far from it.
const WHOLE: usize = 16;

/// What is known of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// `None`: relabelling drops it.
    pub(super) series: Option<SeriesRef>,
    /// The scrape that had it last.
    pub(super) seen: u32,
    /// Whether its samples have timestamps of their own; such a series just ends.
    pub(super) timed: bool,
    /// Whether by it an agent of ours says that it is one.
    pub(super) is_agent: bool,
}

/// All texts of a target.
#[derive(Debug, Default)]
pub(super) struct KnownSeries {
    texts: Texts,
    /// What is known of each.
    entries: Vec<Known>,
    /// The text that is expected next.
    next: Cursor,
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
        self.next.seek(&self.texts, 0);
    }

    /// The text that is expected next.
    #[inline]
    pub(super) fn expected(&self) -> Option<&[u8]> {
        (self.next.place < self.entries.len()).then_some(&self.next.text)
    }

    /// What is known of the text that is expected next, which has come.
    #[inline]
    pub(super) fn take_expected(&mut self) -> Option<&mut Known> {
        let found = self.next.place;
        self.next.step(&self.texts);
        self.entries.get_mut(found)
    }

    /// What is known of `text`.
    #[inline]
    pub(super) fn get_mut(&mut self, text: &str) -> Option<&mut Known> {
        if self.expected() != Some(text.as_bytes()) {
            self.find(text)?;
        }
        self.take_expected()
    }

    /// Adds a text, unless it is known; whether it was added.
    pub(super) fn add(&mut self, text: &str, known: Known) -> bool {
        if self.find(text).is_some() || !self.texts.push(text.as_bytes()) {
            return false;
        }
        let (place, hash) = (self.entries.len(), self.hasher.hash_one(text.as_bytes()));
        self.entries.push(known);
        // Nothing is expected until the next scrape.
        self.next.place = self.entries.len();
        if let (Some(places), Ok(place)) = (&mut self.places, u32::try_from(place)) {
            places.entry(hash).or_insert(place);
        }
        true
    }

    /// Forgets those that `keep` refuses, in order.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Known) -> bool) {
        let Some(first) = self.entries.iter().position(|known| !keep(known)) else { return };
        let (texts, entries) = (std::mem::take(&mut self.texts), std::mem::take(&mut self.entries));
        self.places = None;
        let mut cursor = Cursor::default();
        cursor.seek(&texts, 0);
        for (place, known) in entries.into_iter().enumerate() {
            if (place < first || place > first && keep(&known)) && self.texts.push(&cursor.text) {
                self.entries.push(known);
            }
            cursor.step(&texts);
        }
        self.next.place = self.entries.len();
    }

    /// Takes all of them out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Known> {
        let Self { texts, entries, next, places, .. } = self;
        (*texts, *next, *places) = (Texts::default(), Cursor::default(), None);
        std::mem::take(entries).into_iter()
    }

    /// Gives back what the last scrape did not need.
    pub(super) fn settle(&mut self) {
        if !std::mem::take(&mut self.asked) {
            self.places = None;
            self.texts.shrink();
            self.entries.shrink_to_fit();
        }
    }

    /// Makes `text` the next; if it is not known, what is next stays so.
    fn find(&mut self, text: &str) -> Option<()> {
        if self.entries.is_empty() && self.places.is_none() {
            self.places = Some(HashMap::default());
        }
        self.asked = true;
        let places = self.places.take().unwrap_or_else(|| self.all_places());
        let found = places.get(&self.hasher.hash_one(text.as_bytes())).map(|place| *place as usize);
        self.places = Some(places);
        let (found, before) = (found?, self.next.place);
        // Another text with the same hash there hardly ever is.
        let mut candidates = std::iter::once(found).chain(0..self.entries.len());
        let is_there = candidates.any(|place| {
            self.next.seek(&self.texts, place);
            self.next.text == text.as_bytes()
        });
        if !is_there {
            self.next.seek(&self.texts, before);
        }
        is_there.then_some(())
    }

    fn all_places(&self) -> HashMap<u64, u32, Same> {
        let mut places = HashMap::with_capacity_and_hasher(self.entries.len(), Same);
        let mut cursor = Cursor::default();
        cursor.seek(&self.texts, 0);
        while let (true, Ok(place)) = (cursor.place < self.entries.len(), cursor.place.try_into()) {
            places.entry(self.hasher.hash_one(&*cursor.text)).or_insert(place);
            cursor.step(&self.texts);
        }
        places
    }
}

/// Texts, one behind the other, each by what it does not share with the one before it.
#[derive(Debug, Default)]
struct Texts {
    /// Of each: how many bytes of the text before it go, how many come, and these.
    steps: Vec<u8>,
    /// Where those begin that are whole.
    whole: Vec<u32>,
    count: usize,
    last: Vec<u8>,
}

impl Texts {
    /// Adds a text; not where there would be more than any body is let in with.
    fn push(&mut self, text: &[u8]) -> bool {
        let Ok(begin) = u32::try_from(self.steps.len()) else { return false };
        if self.count.is_multiple_of(WHOLE) {
            self.whole.push(begin);
            self.last.clear();
        }
        let shared = self.last.iter().zip(text).take_while(|(a, b)| a == b).count();
        push_number(&mut self.steps, self.last.len() - shared);
        push_number(&mut self.steps, text.len() - shared);
        self.steps.extend_from_slice(&text[shared..]);
        self.last.truncate(shared);
        self.last.extend_from_slice(&text[shared..]);
        self.count += 1;
        true
    }

    fn shrink(&mut self) {
        self.steps.shrink_to_fit();
        self.whole.shrink_to_fit();
    }
}

/// One of the texts.
#[derive(Debug, Default)]
struct Cursor {
    place: usize,
    text: Vec<u8>,
    /// Where the step to the text behind it begins.
    behind: usize,
}

impl Cursor {
    /// Goes to the text at `place`, which may be behind the last.
    fn seek(&mut self, texts: &Texts, place: usize) {
        let whole = place / WHOLE;
        self.place = place;
        let Some(begin) = texts.whole.get(whole) else { return };
        (self.place, self.behind) = (whole * WHOLE, *begin as usize);
        self.text.clear();
        self.read(texts);
        while self.place < place {
            self.step(texts);
        }
    }

    /// Goes to the text behind it.
    #[inline]
    fn step(&mut self, texts: &Texts) {
        self.place += 1;
        if self.place.is_multiple_of(WHOLE) {
            self.text.clear();
        }
        self.read(texts);
    }

    /// Makes of the text before it the one that it is to be at.
    #[inline]
    fn read(&mut self, texts: &Texts) {
        if self.place >= texts.count {
            return;
        }
        let go = take_number(&texts.steps, &mut self.behind);
        let come = take_number(&texts.steps, &mut self.behind);
        let end = self.behind + come;
        self.text.truncate(self.text.len().saturating_sub(go));
        self.text.extend_from_slice(texts.steps.get(self.behind..end).unwrap_or_default());
        self.behind = end;
    }
}

/// Writes a number by seven bits at a time, the lowest first.
fn push_number(to: &mut Vec<u8>, mut number: usize) {
    while number >= 128 {
        to.push(128 | number as u8);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Reads a number, and leaves `at` behind it.
#[inline]
fn take_number(from: &[u8], at: &mut usize) -> usize {
    let (mut number, mut shift) = (0, 0);
    while let Some(byte) = from.get(*at) {
        *at += 1;
        number |= usize::from(byte & 127) << shift;
        shift += 7;
        if *byte < 128 {
            break;
        }
    }
    number
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const NEW: Known = Known { series: None, seen: 0, timed: false, is_agent: false };

    /// One scrape: texts that are known are seen, the others are added. Tells of each text whether it
    /// is known (+), new (?), a second time (=), added (!) or gone (-).
    fn scrape(all: &mut KnownSeries, number: u32, texts: &[&str]) -> String {
        all.rewind();
        let mut fresh = Vec::new();
        let mut told = String::new();
        for text in texts {
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

    /// What a scrape must tell, where there were those of `before`.
    fn expected(before: &BTreeSet<&str>, texts: &[&str]) -> String {
        let mut now = BTreeSet::new();
        let mut tell = |text: &str, first, again| {
            if now.insert(text.to_owned()) { first } else { again }
        };
        let (known, new): (Vec<&str>, Vec<&str>) = texts.iter().partition(|t| before.contains(*t));
        let marks = texts.iter().map(|text| match before.contains(text) {
            true => tell(text, '+', '='),
            false => '?',
        });
        let mut told: String = marks.collect();
        told.extend(new.iter().map(|text| tell(text, '!', '=')));
        let seen: BTreeSet<_> = known.into_iter().collect();
        told.extend(before.difference(&seen).map(|_| '-'));
        told
    }

    #[test]
    fn texts_are_found_in_any_order() {
        let mut all = KnownSeries::default();
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
            let texts: Vec<_> = texts.split(' ').collect();
            assert_eq!(scrape(&mut all, number, &texts), told, "{texts:?}");
        }
        assert_eq!((all.len(), all.drain().count(), all.len()), (1, 1, 0));
    }

    #[test]
    fn texts_in_order_need_no_table_and_little_room() {
        let mut all = KnownSeries::default();
        let texts: Vec<_> =
            (0..1000).map(|n| format!("http_requests_total{{n=\"{n}\"}}")).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        scrape(&mut all, 1, &texts);
        assert!(all.places.is_some());
        scrape(&mut all, 2, &texts);
        assert!(all.places.is_none());
        assert_eq!(all.len(), 1000);
        assert!(all.texts.steps.len() < 12 * texts.len(), "{} bytes", all.texts.steps.len());
        assert!(size_of::<Known>() <= 16, "{} bytes", size_of::<Known>());
    }

    #[test]
    fn two_texts_with_one_hash_are_two_texts() {
        let mut all = KnownSeries::default();
        assert_eq!(scrape(&mut all, 1, &["a", "b", "c"]), "???!!!");
        let (a, b) = (all.hasher.hash_one(&b"a"[..]), all.hasher.hash_one(&b"b"[..]));
        if let Some(places) = &mut all.places {
            places.insert(b, places[&a]);
        }
        assert_eq!(scrape(&mut all, 2, &["b", "a", "c"]), "+++");
        if let Some(places) = &mut all.places {
            places.insert(all.hasher.hash_one(&b"d"[..]), 1);
        }
        assert_eq!(scrape(&mut all, 3, &["a", "d", "b", "c"]), "+?++!");
    }

    proptest! {
        #[test]
        fn a_text_is_known_from_when_it_is_told_until_it_is_not(scrapes in prop::collection::vec(
            prop::collection::vec("(a|é|xx|aé|a{70})(a|b|é|è){0,2}", 0..60), 1..6
        )) {
            let (mut all, mut before) = (KnownSeries::default(), BTreeSet::new());
            for (number, texts) in (1..).zip(&scrapes) {
                let texts: Vec<_> = texts.iter().map(String::as_str).collect();
                prop_assert_eq!(scrape(&mut all, number, &texts), expected(&before, &texts));
                before = texts.into_iter().collect();
            }
        }
    }
}
