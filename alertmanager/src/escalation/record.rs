//! How a bout stands in the journal.
//!
//! Invariant: every record begins with the number of its form, so that a later one can read it.

use std::time::Duration;

use base::sample::Timestamp;

use super::bout::{Acknowledgement, Bout, Reached, Released};
use crate::state::{Reader, put_number, put_text, put_time};

/// The form that is written.
const FORM: u8 = 1;

/// The bout of the group `key`.
pub(super) fn put(to: &mut Vec<u8>, key: &str, bout: &Bout) {
    to.push(FORM);
    put_text(to, key);
    put_time(to, bout.since);
    put_number(to, u64::try_from(bout.paused.as_millis()).unwrap_or(u64::MAX));
    put_perhaps(to, bout.held_since);
    put_number(to, bout.reached.len() as u64);
    for reached in &bout.reached {
        put_text(to, &reached.receiver);
        put_time(to, reached.at);
    }
    put_perhaps(to, bout.again_at);
    to.push(u8::from(bout.exhausted));
    to.push(u8::from(bout.acknowledged.is_some()));
    if let Some(has) = &bout.acknowledged {
        put_text(to, &has.by);
        put_text(to, &has.comment);
        put_time(to, has.at);
        put_perhaps(to, has.until);
    }
    to.push(u8::from(bout.released.is_some()));
    if let Some(had) = &bout.released {
        put_text(to, &had.by);
        put_time(to, had.at);
        to.push(u8::from(had.timed_out));
    }
}

/// The group's key, and its bout.
pub(super) fn read(record: &[u8]) -> Option<(String, Bout)> {
    let mut reader = Reader::new(record);
    if reader.byte()? != FORM {
        return None;
    }
    let key = reader.text()?.to_owned();
    let (since, paused) = (reader.time()?, Duration::from_millis(reader.number()?));
    let held_since = perhaps(&mut reader)?;
    let reached = (0..reader.count()?)
        .map(|_| Some(Reached { receiver: reader.text()?.to_owned(), at: reader.time()? }))
        .collect::<Option<Vec<_>>>()?;
    let again_at = perhaps(&mut reader)?;
    let exhausted = reader.byte()? != 0;
    let mut bout =
        Bout { since, paused, held_since, reached, again_at, exhausted, ..Bout::default() };
    if reader.byte()? != 0 {
        let (by, comment) = (reader.text()?.to_owned(), reader.text()?.to_owned());
        let (at, until) = (reader.time()?, perhaps(&mut reader)?);
        bout.acknowledged = Some(Acknowledgement { by, comment, at, until });
    }
    if reader.byte()? != 0 {
        let (by, at) = (reader.text()?.to_owned(), reader.time()?);
        bout.released = Some(Released { by, at, timed_out: reader.byte()? != 0 });
    }
    Some((key, bout))
}

fn put_perhaps(to: &mut Vec<u8>, at: Option<Timestamp>) {
    to.push(u8::from(at.is_some()));
    at.into_iter().for_each(|at| put_time(to, at));
}

fn perhaps(reader: &mut Reader<'_>) -> Option<Option<Timestamp>> {
    match reader.byte()? {
        0 => Some(None),
        _ => reader.time().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_wrote_and_nothing_of_what_broke_off() {
        let at = Timestamp::from_millis;
        let reached = vec![Reached { receiver: "phone".to_owned(), at: at(7) }];
        let (by, comment) = ("anna".to_owned(), "on it".to_owned());
        let has = Acknowledgement { by: by.clone(), comment, at: at(8), until: Some(at(9)) };
        let plain = Bout::beginning(at(5));
        let whole = Bout {
            paused: Duration::from_millis(300),
            held_since: Some(at(6)),
            reached,
            again_at: Some(at(10)),
            exhausted: true,
            acknowledged: Some(has),
            released: Some(Released { by, at: at(4), timed_out: true }),
            ..plain.clone()
        };
        for bout in [plain, whole] {
            let mut bytes = Vec::new();
            put(&mut bytes, "{}:{a=\"b\"}", &bout);
            assert_eq!(read(&bytes), Some(("{}:{a=\"b\"}".to_owned(), bout)));
            for length in 0..bytes.len() {
                assert_eq!(read(&bytes[..length]), None, "{length}");
            }
            bytes[0] = 9;
            assert_eq!(read(&bytes), None, "a form that is not known");
        }
    }
}
