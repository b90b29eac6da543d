//! The fields of a protobuf message, where they lie.
//!
//! Source: the encoding of protocol buffers. Groups, which are as old as they are unused, are refused.
//!
//! Invariant: nothing is read beyond the bytes that there are.

use super::DecodeError;

/// Why bytes are not taken.
#[derive(Debug)]
pub(super) enum Wrong {
    /// They are no such message.
    Message(String),
    /// What they hold takes more memory than it may.
    TooMuch,
}

impl Wrong {
    pub(super) fn after(self, limit: usize) -> DecodeError {
        match self {
            Self::Message(why) => DecodeError::Protobuf(why),
            Self::TooMuch => DecodeError::TooMuch(limit),
        }
    }
}

impl From<prost::DecodeError> for Wrong {
    fn from(error: prost::DecodeError) -> Self {
        Self::Message(error.to_string())
    }
}

#[cold]
pub(super) fn wrong(what: &'static str) -> Wrong {
    Wrong::Message(what.to_owned())
}

/// What a field holds, by its type on the wire.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    Number(u64),
    Word(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], Wrong> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(wrong("a message is expected")),
        }
    }

    pub(super) fn number(self) -> Result<u64, Wrong> {
        match self {
            Self::Number(number) => Ok(number),
            _ => Err(wrong("a whole number is expected")),
        }
    }

    pub(super) fn float(self) -> Result<f64, Wrong> {
        match self {
            Self::Word(bits) => Ok(f64::from_bits(bits)),
            _ => Err(wrong("a number of eight bytes is expected")),
        }
    }

    /// Hands over whole numbers, which may stand one by one or packed.
    pub(super) fn each_number(
        self,
        mut each: impl FnMut(u64) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let Self::Bytes(mut rest) = self else { return each(self.number()?) };
        while !rest.is_empty() {
            each(number(&mut rest)?)?;
        }
        Ok(())
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Wrong> {
    std::str::from_utf8(bytes).map_err(|_| wrong("a text is not UTF-8"))
}

/// Hands over the fields of a message.
#[inline]
pub(super) fn each_field<'a>(
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
