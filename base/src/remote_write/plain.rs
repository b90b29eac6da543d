//! Reads the message of 1.0 where it lies: a busy receiver reads the labels of thousands of series a
//! second that it knows already, and a text of its own for each name and value would cost more than
//! all the rest.
//!
//! Invariant: what is read, and what is refused, is what `v1::WriteRequest` would read and refuse; a
//! test compares the two.

use prost::Message;

use super::message::{self, v1};
use super::{DecodeError, Example, Received};
use crate::labels::Labels;

/// What is wrong with bytes that are no message.
#[derive(Debug)]
struct Wrong(String);

impl From<prost::DecodeError> for Wrong {
    fn from(error: prost::DecodeError) -> Self {
        Self(error.to_string())
    }
}

/// Reads a message.
pub(super) fn read(bytes: &[u8]) -> Result<Received, DecodeError> {
    let mut received = Received::default();
    let mut one = One::default();
    each_field(bytes, |number, field| {
        if number == 1 {
            one.read(field.message()?)?;
            one.give(&mut received);
        }
        Ok(())
    })
    .map_err(|Wrong(why)| DecodeError::Protobuf(why))?;
    Ok(received)
}

/// One series, in room that the next uses again.
#[derive(Default)]
struct One<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    samples: Vec<message::Sample>,
    histograms: Vec<message::Histogram>,
    exemplars: Vec<Example>,
}

impl<'a> One<'a> {
    fn read(&mut self, bytes: &'a [u8]) -> Result<(), Wrong> {
        self.pairs.clear();
        self.samples.clear();
        each_field(bytes, |number, field| {
            match number {
                1 => self.pairs.push(label(field.message()?)?),
                2 => self.samples.push(sample(field.message()?)?),
                3 => {
                    let read = v1::Exemplar::decode(field.message()?)?;
                    let pairs = read.labels.into_iter().map(|label| (label.name, label.value));
                    let (value, timestamp) = (read.value, read.timestamp);
                    let labels = Labels::from_pairs(pairs);
                    self.exemplars.push(Example { labels, value, timestamp });
                }
                4 => self.histograms.push(message::Histogram::decode(field.message()?)?),
                _ => {}
            }
            Ok(())
        })
    }

    fn give(&mut self, received: &mut Received) {
        let exemplars = std::mem::take(&mut self.exemplars);
        let histograms = std::mem::take(&mut self.histograms);
        let Some(labels) = received.labels(self.pairs.iter().copied()) else { return };
        received.add(&labels, &self.samples, 0, |_| {});
        received.add_more(&labels, &histograms, exemplars, 0);
    }
}

fn label(bytes: &[u8]) -> Result<(&str, &str), Wrong> {
    let (mut name, mut value) = ("", "");
    each_field(bytes, |number, field| {
        match number {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((name, value))
}

fn sample(bytes: &[u8]) -> Result<message::Sample, Wrong> {
    let mut sample = message::Sample::default();
    each_field(bytes, |number, field| {
        match (number, field) {
            (1, Field::Word(bits)) => sample.value = Some(f64::from_bits(bits)),
            (2, Field::Number(number)) => sample.timestamp = number as i64,
            (1 | 2, _) => return Err(wrong("a sample has a field of another type")),
            _ => {}
        }
        Ok(())
    })?;
    Ok(sample)
}

/// What a field holds, by its type on the wire.
#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Word(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Field<'a> {
    fn message(self) -> Result<&'a [u8], Wrong> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(wrong("a message is expected")),
        }
    }

    fn text(self) -> Result<&'a str, Wrong> {
        std::str::from_utf8(self.message()?).map_err(|_| wrong("a text is not UTF-8"))
    }
}

#[cold]
fn wrong(what: &'static str) -> Wrong {
    Wrong(what.to_owned())
}

/// Hands over the fields of a message.
fn each_field<'a>(
    mut rest: &'a [u8],
    mut each: impl FnMut(u32, Field<'a>) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    while !rest.is_empty() {
        let key = number(&mut rest)?;
        let key = u32::try_from(key).map_err(|_| wrong("a field has no number"))?;
        let field = match key & 7 {
            0 => Field::Number(number(&mut rest)?),
            1 => Field::Word(u64::from_le_bytes(fixed(&mut rest)?)),
            2 => {
                let length = usize::try_from(number(&mut rest)?).unwrap_or(usize::MAX);
                let (bytes, after) =
                    rest.split_at_checked(length).ok_or_else(|| wrong("the message is cut off"))?;
                rest = after;
                Field::Bytes(bytes)
            }
            5 => {
                let _: [u8; 4] = fixed(&mut rest)?;
                Field::Other
            }
            _ => return Err(wrong("a field has an unknown type")),
        };
        if key >> 3 == 0 {
            return Err(wrong("a field has the number 0"));
        }
        each(key >> 3, field)?;
    }
    Ok(())
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Wrong> {
    let (bytes, after) = rest.split_first_chunk().ok_or_else(|| wrong("the message is cut off"))?;
    *rest = after;
    Ok(*bytes)
}

#[inline]
fn number(rest: &mut &[u8]) -> Result<u64, Wrong> {
    match **rest {
        [byte, ..] if byte < 0x80 => {
            *rest = &rest[1..];
            Ok(byte.into())
        }
        _ => Ok(prost::encoding::decode_varint(rest)?),
    }
}
