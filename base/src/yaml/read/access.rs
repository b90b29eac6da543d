//! What lists, mappings and variants give serde, one part when asked.
//!
//! Invariant: what was taken out of the tree is passed over, and what comes behind it keeps its
//! position.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use super::super::SPANNED_FIELDS;
use super::super::compose::{Content, Entry, Node};
use super::error::ReadError;
use super::{NodeReader, Path};
use crate::diagnostic::Place;

/// The items of a list.
pub(super) struct Items<'n, 'p> {
    pub(super) items: &'n [Node],
    pub(super) next: usize,
    pub(super) path: &'p Path<'p>,
}

impl<'n> SeqAccess<'n> for Items<'n, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'n>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        while let Some(node) = self.items.get(self.next) {
            let path = Path { parent: Some(self.path), position: self.next };
            self.next += 1;
            if !matches!(node.content, Content::TakenOut) {
                return NodeReader { node, path }.feed(seed).map(Some);
            }
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

/// The settings of a mapping.
pub(super) struct Entries<'n, 'p> {
    entries: &'n [Entry],
    next: usize,
    path: &'p Path<'p>,
    /// Of a struct: an empty setting counts as not written.
    skip_empty: bool,
}

impl<'n, 'p> Entries<'n, 'p> {
    pub(super) fn new(entries: &'n [Entry], path: &'p Path<'p>, skip_empty: bool) -> Self {
        Self { entries, next: 0, path, skip_empty }
    }
}

impl<'n> MapAccess<'n> for Entries<'n, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'n>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        while let Some(Entry { key, value }) = self.entries.get(self.next) {
            let path = Path { parent: Some(self.path), position: self.next };
            let skip = match value.content {
                Content::TakenOut => true,
                Content::Null => self.skip_empty,
                _ => false,
            };
            if skip {
                self.next += 1;
                continue;
            }
            // A fault of the key takes the whole entry out.
            return NodeReader { node: key, path }.feed(seed).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let path = Path { parent: Some(self.path), position: self.next };
        let entry = self.entries.get(self.next).ok_or_else(|| ReadError::custom("no value"))?;
        self.next += 1;
        NodeReader { node: &entry.value, path }.feed(seed)
    }
}

/// A [`crate::diagnostic::Spanned`] value: where it is, then what it is.
pub(super) struct PlaceAndValue<'n, 'p> {
    pub(super) reader: NodeReader<'n, 'p>,
    pub(super) next: usize,
}

impl<'n> MapAccess<'n> for PlaceAndValue<'n, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'n>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some(name) = SPANNED_FIELDS.get(self.next) else { return Ok(None) };
        self.next += 1;
        seed.deserialize((*name).into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        if self.next == 1 {
            let Place { line, column } = self.reader.node.place;
            seed.deserialize([line, column].into_iter().into_seq())
        } else {
            self.reader.feed(seed)
        }
    }
}

/// An iterator of numbers as a deserializer of a list.
trait IntoSeq: Iterator<Item = u32> + Sized {
    fn into_seq(self) -> de::value::SeqDeserializer<Self, ReadError> {
        de::value::SeqDeserializer::new(self)
    }
}

impl<I: Iterator<Item = u32>> IntoSeq for I {}

/// One kind out of several: its name, and what belongs to it.
pub(super) struct Variant<'n, 'p> {
    pub(super) key: &'n Node,
    pub(super) value: Option<&'n Node>,
    pub(super) path: &'p Path<'p>,
}

impl<'n, 'p> EnumAccess<'n> for Variant<'n, 'p> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'n>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let name = seed
            .deserialize(NodeReader { node: self.key, path: *self.path })
            .map_err(|error| error.at(self.key.place, || self.path.positions()))?;
        Ok((name, self))
    }
}

/// What a variant without anything behind it holds.
static NOTHING: Node = Node { place: Place { line: 0, column: 0 }, content: Content::Null };

impl<'n> Variant<'n, '_> {
    /// Reads the content with `read`; a fault in the variant itself is told at its name.
    fn content<T>(
        &self,
        read: impl FnOnce(NodeReader<'n, '_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let (node, inside) = match self.value {
            Some(node) if !matches!(node.content, Content::TakenOut) => (node, true),
            _ => (&NOTHING, false),
        };
        let path = Path { parent: Some(self.path), position: 0 };
        let reader = NodeReader { node, path: if inside { path } else { *self.path } };
        read(reader).map_err(|error| {
            let error = if inside { error } else { error.without_place() };
            error.at(self.key.place, || self.path.positions())
        })
    }
}

impl<'n> VariantAccess<'n> for Variant<'n, '_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.value.map(|node| &node.content) {
            None | Some(Content::Null) => Ok(()),
            Some(Content::Mapping(entries)) if entries.is_empty() => Ok(()),
            Some(_) => self.content(|reader| reader.wrong("nothing")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'n>>(self, seed: T) -> Result<T::Value, ReadError> {
        self.content(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'n>>(self, _len: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.content(|reader| reader.deserialize_seq(visitor))
    }

    fn struct_variant<V: Visitor<'n>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.content(|reader| reader.deserialize_struct("", fields, visitor))
    }
}
