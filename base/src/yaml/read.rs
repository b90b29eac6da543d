//! A serde deserializer over the tree of nodes.
//!
//! Invariant: every error names the node to take out so that the rest can be read.

mod error;
mod access;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Visitor};

use super::SPANNED;
use super::compose::{Content, Entry, Node, ReadFault};
use access::{Entries, Items, PlaceAndValue, Variant};
use error::ReadError;

/// Reads `root` as a `T`.
pub(super) fn from_node<T: DeserializeOwned>(root: &Node) -> Result<T, ReadFault> {
    T::deserialize(NodeReader { node: root, path: Path { parent: None, position: 0 } })
        .map_err(|error| error.located(root.place, Vec::new))
}

/// Where a node is, as a chain of positions towards the root.
#[derive(Clone, Copy)]
struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    position: usize,
}

impl Path<'_> {
    fn positions(&self) -> Vec<usize> {
        let mut positions = Vec::new();
        let mut path = self;
        while let Some(parent) = path.parent {
            positions.push(path.position);
            path = parent;
        }
        positions.reverse();
        positions
    }
}

#[derive(Clone, Copy)]
struct NodeReader<'n, 'p> {
    node: &'n Node,
    path: Path<'p>,
}

impl<'n> NodeReader<'n, '_> {
    fn locate<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        result.map_err(|error| error.at(self.node.place, || self.path.positions()))
    }

    /// Reads the node by `seed`; a fault that comes without a place is the node's.
    fn feed<S: DeserializeSeed<'n>>(self, seed: S) -> Result<S::Value, ReadError> {
        self.locate(seed.deserialize(self))
    }

    fn wrong<T>(&self, expected: &str) -> Result<T, ReadError> {
        let found = match &self.node.content {
            // A secret can stand where a section of settings should, such as a password as the whole
            // of `basic_auth` (X43).
            Content::Scalar { .. } if matches!(expected, "settings" | "a list") => {
                "a text".to_owned()
            }
            _ => self.describe(),
        };
        self.locate(Err(ReadError::custom(format!("expected {expected}, found {found}"))))
    }

    fn describe(&self) -> String {
        match &self.node.content {
            Content::Null | Content::TakenOut => "nothing".to_owned(),
            Content::Scalar { text, .. } => format!("`{}`", shortened(text)),
            Content::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(_) => "bytes".to_owned(),
                Err(_) => format!("\"{}\", which is no UTF-8", shortened(&escaped(bytes))),
            },
            Content::Sequence(_) => "a list".to_owned(),
            Content::Mapping(_) => "settings".to_owned(),
        }
    }

    fn entries(&self) -> Result<&'n [Entry], ReadError> {
        match &self.node.content {
            Content::Mapping(entries) => Ok(entries),
            Content::Null => Ok(&[]),
            _ => self.wrong("settings"),
        }
    }

    fn number<T: std::str::FromStr>(&self, expected: &str) -> Result<T, ReadError> {
        match self.node.scalar().and_then(|text| text.parse().ok()) {
            Some(number) => Ok(number),
            None => self.wrong(expected),
        }
    }

    fn truth(&self) -> Result<bool, ReadError> {
        match self.node.scalar() {
            Some("true" | "True" | "TRUE" | "yes" | "on") => Ok(true),
            Some("false" | "False" | "FALSE" | "no" | "off") => Ok(false),
            _ => self.wrong("true or false"),
        }
    }
}

/// Bytes as Go and Rust write them: `\xff` for what is no text.
fn escaped(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::new(), |out, chunk| {
        let odd: String = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect();
        out + chunk.valid() + &odd
    })
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $expected:literal)*) => {$(
        fn $method<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let number = self.number($expected)?;
            self.locate(visitor.$visit(number))
        }
    )*};
}

impl<'n> Deserializer<'n> for NodeReader<'n, '_> {
    type Error = ReadError;

    numbers! {
        deserialize_u8 visit_u8 "a whole number up to 255"
        deserialize_u16 visit_u16 "a whole number up to 65535"
        deserialize_u32 visit_u32 "a whole number"
        deserialize_u64 visit_u64 "a whole number"
        deserialize_i8 visit_i8 "a whole number"
        deserialize_i16 visit_i16 "a whole number"
        deserialize_i32 visit_i32 "a whole number"
        deserialize_i64 visit_i64 "a whole number"
        deserialize_f32 visit_f32 "a number"
        deserialize_f64 visit_f64 "a number"
    }

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.content {
            Content::Null | Content::TakenOut => self.locate(visitor.visit_unit()),
            Content::Sequence(_) => self.deserialize_seq(visitor),
            Content::Mapping(_) => self.deserialize_map(visitor),
            Content::Bytes(bytes) => self.locate(visitor.visit_bytes(bytes)),
            Content::Scalar { text, plain } => self.locate(match (plain, text.as_str()) {
                (true, "true") => visitor.visit_bool(true),
                (true, "false") => visitor.visit_bool(false),
                (true, text) => {
                    if let Ok(number) = text.parse::<i64>() {
                        visitor.visit_i64(number)
                    } else if let (Ok(number), true) = (text.parse::<f64>(), looks_numeric(text)) {
                        visitor.visit_f64(number)
                    } else {
                        visitor.visit_str(text)
                    }
                }
                (false, text) => visitor.visit_str(text),
            }),
        }
    }

    fn deserialize_bool<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let truth = self.truth()?;
        self.locate(visitor.visit_bool(truth))
    }

    fn deserialize_str<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.content {
            Content::Scalar { text, .. } => self.locate(visitor.visit_str(text)),
            Content::Null => self.locate(visitor.visit_str("")),
            _ => self.wrong("a text"),
        }
    }

    fn deserialize_string<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.content {
            Content::Bytes(bytes) => self.locate(visitor.visit_bytes(bytes)),
            Content::Scalar { text, .. } => self.locate(visitor.visit_bytes(text.as_bytes())),
            Content::Null => self.locate(visitor.visit_bytes(&[])),
            _ => self.wrong("a text"),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_char<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.content {
            Content::Null | Content::TakenOut => self.locate(visitor.visit_none()),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.content {
            Content::Null => self.locate(visitor.visit_unit()),
            _ => self.wrong("nothing"),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let items: &[Node] = match &self.node.content {
            Content::Sequence(items) => items,
            Content::Null => &[],
            _ => return self.wrong("a list"),
        };
        self.locate(visitor.visit_seq(Items { items, next: 0, path: &self.path }))
    }

    fn deserialize_tuple<V: Visitor<'n>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let entries = self.entries()?;
        self.locate(visitor.visit_map(Entries::new(entries, &self.path, false)))
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if name == SPANNED {
            return visitor.visit_map(PlaceAndValue { reader: self, next: 0 });
        }
        let entries = self.entries()?;
        // An empty setting is skipped below, but its name must be right all the same.
        let misspelt = |entry: &Entry| {
            matches!(entry.value.content, Content::Null)
                && entry.key.scalar().is_some_and(|key| !fields.contains(&key))
        };
        if let Some(position) = entries.iter().position(misspelt) {
            let key = &entries[position].key;
            let path = Path { parent: Some(&self.path), position };
            return Err(ReadError::unknown_field(key.scalar().unwrap_or_default(), fields)
                .at(key.place, || path.positions()));
        }
        self.locate(visitor.visit_map(Entries::new(entries, &self.path, true)))
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let (key, value) = match &self.node.content {
            Content::Scalar { .. } => (self.node, None),
            Content::Mapping(entries) => match entries.as_slice() {
                [entry] => (&entry.key, Some(&entry.value)),
                [] => return self.wrong("one kind"),
                [_, second, ..] => {
                    let text = second.key.scalar().unwrap_or_default();
                    let error = ReadError::custom(format!("`{text}` is one kind too many"));
                    return Err(error.at(second.key.place, || self.path.positions()));
                }
            },
            _ => return self.wrong("one kind"),
        };
        self.locate(visitor.visit_enum(Variant { key, value, path: &self.path }))
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'n>> unit_struct tuple_struct
    }
}

fn looks_numeric(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
}
