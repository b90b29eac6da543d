//! How numbers and bytes stand in the JSON form of protobuf: numbers of 64 bits as texts, floats that
//! JSON lacks by their names, enumerations by their number or name, ids in hexadecimal digits.
//!
//! Invariant: what is no such value is an error that says so.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A whole number.
struct Whole<T>(T);

impl<'de, T: TryFrom<i128> + Default> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reading<T>(PhantomData<T>);
        impl<T: TryFrom<i128> + Default> Visitor<'_> for Reading<T> {
            type Value = Whole<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, as such or as a text")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole<T>, E> {
                fitting(i128::from(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole<T>, E> {
                fitting(i128::from(number))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole<T>, E> {
                let is_whole = number.fract() == 0.0 && number.abs() < 1e19;
                is_whole
                    .then_some(number as i128)
                    .map_or_else(|| Err(E::custom(format!("{number} is not whole"))), fitting)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Whole<T>, E> {
                let number = text.parse().map_err(|_| E::custom("a text is no whole number"))?;
                fitting(number)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Whole<T>, E> {
                Ok(Whole(T::default()))
            }
        }
        from.deserialize_any(Reading(PhantomData))
    }
}

fn fitting<T: TryFrom<i128>, E: de::Error>(number: i128) -> Result<Whole<T>, E> {
    T::try_from(number).map(Whole).map_err(|_| E::custom(format!("{number} is out of range")))
}

/// A number.
struct Float(f64);

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reading;
        impl Visitor<'_> for Reading {
            type Value = Float;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, as such or as a text")
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Float, E> {
                Ok(Float(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Float, E> {
                Ok(Float(number as f64))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Float, E> {
                Ok(Float(number as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Float, E> {
                let number = text.parse().map_err(|_| E::custom("a text is no number"))?;
                Ok(Float(number))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Float, E> {
                Ok(Float(0.0))
            }
        }
        from.deserialize_any(Reading)
    }
}

pub(super) fn whole<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128> + Default,
{
    Whole::deserialize(from).map(|Whole(number)| number)
}

pub(super) fn some_whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<Whole<i64>>::deserialize(from)?.map(|Whole(number)| number))
}

pub(super) fn wholes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
    let all = Vec::<Whole<u64>>::deserialize(from)?;
    Ok(all.into_iter().map(|Whole(number)| number).collect())
}

pub(super) fn float<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Float::deserialize(from).map(|Float(number)| number)
}

pub(super) fn some_float<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<Float>::deserialize(from)?.map(|Float(number)| number))
}

pub(super) fn floats<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let all = Vec::<Float>::deserialize(from)?;
    Ok(all.into_iter().map(|Float(number)| number).collect())
}

/// Whether values are differences or counted from a start.
pub(super) fn temporality<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(i32),
        Name(String),
    }
    Ok(match Written::deserialize(from)? {
        Written::Number(number) => number,
        Written::Name(name) => match name.as_str() {
            "AGGREGATION_TEMPORALITY_DELTA" => 1,
            "AGGREGATION_TEMPORALITY_CUMULATIVE" => 2,
            _ => 0,
        },
    })
}

pub(super) fn hex<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    let digits = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.chunks(2).map(pair).collect::<Option<Vec<u8>>>();
    let is_even = digits.len().is_multiple_of(2);
    bytes.filter(|_| is_even).ok_or_else(|| de::Error::custom("an id is not in hexadecimal digits"))
}

pub(super) fn base64<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let bytes = STANDARD.decode(text).map_err(|_| de::Error::custom("bytes are not in base64"))?;
    Ok(Some(bytes))
}
