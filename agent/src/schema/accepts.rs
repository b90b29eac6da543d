//! What the structs really read, found by reading nothing: a deserializer that notes what it is
//! asked for at the end of a path.
//!
//! Invariant: it is asked by the same code that reads the file, so it cannot know anything else.

use std::cell::RefCell;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// What is asked for at a place of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    /// A mapping with these settings.
    Settings(Vec<&'static str>),
    /// One of these.
    OneOf(Vec<&'static str>),
    /// A list.
    List,
    /// Entries with any names.
    Names,
    /// A single value, or whatever is there.
    Value,
}

/// What `T` asks for at `path`.
pub(super) fn asked<'de, T: Deserialize<'de>>(path: &[String]) -> Asked {
    let asked = RefCell::new(Asked::Value);
    let _ = T::deserialize(Walk { path, asked: &asked });
    asked.into_inner()
}

#[derive(Clone, Copy)]
struct Walk<'p> {
    path: &'p [String],
    asked: &'p RefCell<Asked>,
}

impl<'p> Walk<'p> {
    /// The next step and what is behind it; at the end of the path `asked` is noted.
    fn step(self, asked: Asked) -> Result<(&'p str, Self), Error> {
        match self.path.split_first() {
            Some((first, rest)) => Ok((first.as_str(), Self { path: rest, ..self })),
            None => {
                *self.asked.borrow_mut() = asked;
                Err(Error::custom("the end of the path"))
            }
        }
    }
}

macro_rules! values {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("a value"))
        }
    )*};
}

impl<'de> Deserializer<'de> for Walk<'_> {
    type Error = Error;

    values! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier
        deserialize_ignored_any
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: V,
    ) -> Result<V::Value, Error> {
        Err(Error::custom("a value"))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Inside(Some(self.step(Asked::List)?)))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Inside(Some(self.step(Asked::Names)?)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == "$base::Spanned" {
            return visitor.visit_map(Place { walk: self, stage: 0 });
        }
        visitor.visit_map(Inside(Some(self.step(Asked::Settings(fields.to_vec()))?)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(Inside(Some(self.step(Asked::OneOf(variants.to_vec()))?)))
    }
}

/// The one entry that the path leads through.
struct Inside<'p>(Option<(&'p str, Walk<'p>)>);

impl<'p> Inside<'p> {
    fn walk(&mut self) -> Result<Walk<'p>, Error> {
        self.0.take().map(|(_, walk)| walk).ok_or_else(|| Error::custom("nothing is left"))
    }
}

impl<'de> SeqAccess<'de> for Inside<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        seed.deserialize(self.walk()?).map(Some)
    }
}

impl<'de> MapAccess<'de> for Inside<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, _)) = self.0 else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.walk()?)
    }
}

impl<'de, 'p> EnumAccess<'de> for Inside<'p> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name = self.0.as_ref().map_or("", |(name, _)| *name);
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Inside<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Err(Error::custom("a value"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.walk()?)
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.walk()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.walk()?.deserialize_struct("", fields, visitor)
    }
}

/// A value with a place, as our YAML gives it.
struct Place<'p> {
    walk: Walk<'p>,
    stage: usize,
}

impl<'de> MapAccess<'de> for Place<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let name: StrDeserializer<'_, Error> =
            if self.stage == 0 { "place" } else { "value" }.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.stage += 1;
        if self.stage == 1 {
            return seed.deserialize(de::value::SeqDeserializer::new([1_u32, 1].into_iter()));
        }
        seed.deserialize(self.walk)
    }
}
