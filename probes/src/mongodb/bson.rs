//! BSON, the form of MongoDB's documents, as far as commands and their answers need it.
//!
//! Invariant: no input makes this panic, read past its end, or descend more than [`MAX_DEPTH`].

/// How many documents may lie in one another.
const MAX_DEPTH: usize = 100;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bson {
    Double(f64),
    Text(String),
    Document(Document),
    Array(Vec<Bson>),
    Binary(Vec<u8>),
    Bool(bool),
    /// Milliseconds since 1970.
    Date(i64),
    Int(i32),
    Long(i64),
    /// Of a type that nothing here asks for.
    Other,
}

/// Values by name, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Document(Vec<(String, Bson)>);

impl Document {
    /// A document with one value, which is how a command begins.
    pub(super) fn of(name: &str, value: Bson) -> Self {
        Self(vec![(name.to_owned(), value)])
    }

    /// The document with one more value.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: Bson) -> Self {
        self.0.push((name.to_owned(), value));
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&Bson> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// The value at the end of a path with dots, in which a number is a place in an array.
    pub(super) fn at(&self, path: &str) -> Option<&Bson> {
        // A name may have a dot in it, too.
        if let Some(value) = self.get(path) {
            return Some(value);
        }
        path.match_indices('.').find_map(|(dot, _)| {
            let (first, rest) = (&path[..dot], &path[dot + 1..]);
            self.get(first)?.at(rest)
        })
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.number()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Bson::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it has that value and the value is true; 1 counts as such, as in `ok: 1`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.number(name).is_some_and(|number| number != 0.0)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in &self.0 {
            value.encode(name, &mut body);
        }
        framed(&body)
    }

    /// The document that `bytes` begins with and ends with; nothing where they are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        document(&mut rest, 0).filter(|_| rest.is_empty())
    }
}

impl Bson {
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Double(number) => Some(*number),
            Self::Int(number) => Some(f64::from(*number)),
            Self::Long(number) => Some(*number as f64),
            Self::Bool(yes) => Some(f64::from(u8::from(*yes))),
            _ => None,
        }
    }

    fn at(&self, path: &str) -> Option<&Self> {
        match self {
            Self::Document(document) => document.at(path),
            Self::Array(values) => {
                let (place, rest) = path.split_once('.').unwrap_or((path, ""));
                let value = values.get(place.parse::<usize>().ok()?)?;
                if rest.is_empty() { Some(value) } else { value.at(rest) }
            }
            _ => None,
        }
    }

    fn encode(&self, name: &str, out: &mut Vec<u8>) {
        let (kind, body) = match self {
            Self::Double(number) => (1, number.to_le_bytes().to_vec()),
            Self::Text(text) => (2, [&length(text.len() + 1)[..], text.as_bytes(), &[0]].concat()),
            Self::Document(document) => (3, document.encode()),
            Self::Array(values) => {
                let mut body = Vec::new();
                for (place, value) in values.iter().enumerate() {
                    value.encode(&place.to_string(), &mut body);
                }
                (4, framed(&body))
            }
            Self::Binary(bytes) => (5, [&length(bytes.len())[..], &[0], bytes].concat()),
            Self::Bool(yes) => (8, vec![u8::from(*yes)]),
            Self::Date(at) => (9, at.to_le_bytes().to_vec()),
            Self::Other => (10, Vec::new()),
            Self::Int(number) => (16, number.to_le_bytes().to_vec()),
            Self::Long(number) => (18, number.to_le_bytes().to_vec()),
        };
        out.push(kind);
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.extend(body);
    }
}

fn length(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes()
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&length(body.len() + 5)[..], body, &[0]].concat()
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

fn int(rest: &mut &[u8]) -> Option<i32> {
    Some(i32::from_le_bytes(take(rest, 4)?.try_into().ok()?))
}

fn long(rest: &mut &[u8]) -> Option<[u8; 8]> {
    take(rest, 8)?.try_into().ok()
}

/// A text up to a zero.
fn name<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr::memchr(0, rest)?;
    let text = take(rest, end)?;
    take(rest, 1)?;
    Some(text)
}

/// A text with its length before it and a zero behind it.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(int(rest)?).ok()?;
    take(rest, length)?.split_last().filter(|(end, _)| **end == 0).map(|(_, text)| text)
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn document(rest: &mut &[u8], depth: usize) -> Option<Document> {
    if depth > MAX_DEPTH {
        return None;
    }
    let length = usize::try_from(int(&mut &rest[..])?).ok()?;
    let mut inner = take(rest, length)?.get(4..)?;
    let mut values = Vec::new();
    loop {
        let kind = *take(&mut inner, 1)?.first()?;
        if kind == 0 {
            return inner.is_empty().then_some(Document(values));
        }
        let name = lossy(name(&mut inner)?);
        values.push((name, value(kind, &mut inner, depth)?));
    }
}

fn value(kind: u8, rest: &mut &[u8], depth: usize) -> Option<Bson> {
    Some(match kind {
        1 => Bson::Double(f64::from_le_bytes(long(rest)?)),
        2 => Bson::Text(lossy(text(rest)?)),
        3 => Bson::Document(document(rest, depth + 1)?),
        4 => {
            let values = document(rest, depth + 1)?.0;
            Bson::Array(values.into_iter().map(|(_, value)| value).collect())
        }
        5 => {
            let length = usize::try_from(int(rest)?).ok()?;
            take(rest, 1)?;
            Bson::Binary(take(rest, length)?.to_vec())
        }
        8 => Bson::Bool(take(rest, 1)? != [0]),
        9 => Bson::Date(i64::from_le_bytes(long(rest)?)),
        16 => Bson::Int(int(rest)?),
        18 => Bson::Long(i64::from_le_bytes(long(rest)?)),
        // Undefined, null, the smallest and the largest key.
        6 | 10 | 127 | 255 => Bson::Other,
        // What is skipped: an identifier, a regular expression, a reference, code, a symbol, code
        // with a scope, a timestamp, a decimal number.
        7 => take(rest, 12).map(|_| Bson::Other)?,
        11 => name(rest).and_then(|_| name(rest)).map(|_| Bson::Other)?,
        12 => text(rest).and_then(|_| take(rest, 12)).map(|_| Bson::Other)?,
        13 | 14 => text(rest).map(|_| Bson::Other)?,
        15 => {
            let length = usize::try_from(int(rest)?).ok()?;
            take(rest, length.checked_sub(4)?).map(|_| Bson::Other)?
        }
        17 => take(rest, 8).map(|_| Bson::Other)?,
        19 => take(rest, 16).map(|_| Bson::Other)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Document {
        let inner = Document::of("n", Bson::Int(-3)).with("pi", Bson::Double(2.5));
        Document::of("hello", Bson::Int(1))
            .with("text", Bson::Text("größer".to_owned()))
            .with("list", Bson::Array(vec![Bson::Document(inner.clone()), Bson::Bool(true)]))
            .with("inner", Bson::Document(inner))
            .with("bytes", Bson::Binary(vec![1, 2, 0]))
            .with("at", Bson::Date(1_700_000_000_000))
            .with("long", Bson::Long(1 << 40))
            .with("none", Bson::Other)
            .with("a.b", Bson::Int(9))
    }

    #[test]
    fn documents_come_back() {
        assert_eq!(Document::decode(&sample().encode()), Some(sample()));
    }

    #[test]
    fn a_document_is_written_as_the_specification_shows() {
        let written = Document::of("hello", Bson::Text("world".to_owned())).encode();
        assert_eq!(written, b"\x16\0\0\0\x02hello\0\x06\0\0\0world\0\0");
        let list = Bson::Array(vec![
            Bson::Text("awesome".to_owned()),
            Bson::Double(5.05),
            Bson::Int(1986),
        ]);
        assert_eq!(
            Document::of("BSON", list).encode(),
            b"1\0\0\0\x04BSON\0&\0\0\0\x020\0\x08\0\0\0awesome\0\x011\x00333333\x14@\x102\0\xc2\x07\0\0\0\0"
        );
    }

    #[test]
    fn paths_lead_into_documents_and_arrays() {
        let at = |path| sample().at(path).and_then(Bson::number);
        assert_eq!(at("inner.n"), Some(-3.0));
        assert_eq!(at("list.0.pi"), Some(2.5));
        assert_eq!(at("list.1"), Some(1.0));
        assert_eq!(at("a.b"), Some(9.0));
        for path in ["", ".", "inner", "inner.x", "list.2", "list.x", "text.n", "inner."] {
            assert_eq!(at(path), None, "{path}");
        }
    }

    #[test]
    fn documents_in_documents_end_somewhere() {
        let mut deep = Document::default();
        for _ in 0..2 * MAX_DEPTH {
            deep = Document::of("d", Bson::Document(deep));
        }
        assert_eq!(Document::decode(&deep.encode()), None);
    }

    proptest! {
        #[test]
        fn no_input_is_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 0..200_usize) {
            let mut changed = sample().encode();
            let place = at % changed.len();
            changed.truncate(place);
            changed.extend(&bytes);
            Document::decode(&changed);
            Document::decode(&framed(&bytes));
        }
    }
}
