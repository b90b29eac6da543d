//! From YAML events to a tree of nodes, each with its place: aliases and merge keys expanded,
//! environment references replaced, doubled keys reported.
//!
//! Invariant: the tree holds at most [`MAX_NODES`] nodes and is at most [`MAX_DEPTH`] deep.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::MAX_BYTES;
use super::indent::Indent;
use crate::diagnostic::{Diagnostics, Place, nearest};

/// Enough for rule sets of a hundred thousand rules.
const MAX_NODES: usize = 4_000_000;
const MAX_DEPTH: usize = 64;

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Nothing, `~` or `null`.
    Null,
    /// `plain` where it had no quotes, so that it may be a number or a truth value.
    Scalar {
        text: String,
        plain: bool,
    },
    /// `!!binary`: bytes that need not be text.
    Bytes(Vec<u8>),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
    /// It was faulty and has been taken out; its owner must not report it as missing.
    TakenOut,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
}

/// A fault that reading a node met: which node to take out, and what to say.
#[derive(Debug)]
pub(super) struct ReadFault {
    /// The node to take out, by the path of positions from the root.
    pub(super) path: Vec<usize>,
    pub(super) place: Place,
    pub(super) kind: ReadFaultKind,
}

/// What the fault of a setting that nobody knows begins with; it is made of `what` below.
pub(super) const UNKNOWN_SETTING: &str = "unknown setting `";

/// The fault of a file that goes on where its document has ended.
pub(super) const SECOND_DOCUMENT: &str = "a second document begins here";

#[derive(Debug)]
pub(super) enum ReadFaultKind {
    Wrong(String),
    /// What was written, what it is, and what would be known.
    Unknown {
        name: String,
        what: &'static str,
        known: Vec<String>,
    },
    Missing(&'static str),
}

impl Node {
    /// Reports `fault` and takes its node out; false where that was the whole document.
    pub(super) fn take_out(&mut self, fault: ReadFault, diagnostics: &mut Diagnostics) -> bool {
        let Some(node) = self.at(&fault.path) else { return false };
        match fault.kind {
            ReadFaultKind::Wrong(message) => diagnostics.report(fault.place, message),
            ReadFaultKind::Unknown { name, what, known } => {
                let help = match nearest(&name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: `{}`", known.join("`, `")),
                };
                diagnostics.report_with_help(fault.place, format!("unknown {what} `{name}`"), help);
            }
            // Not missing: it is there, and its fault was reported.
            ReadFaultKind::Missing(name) if node.has_taken_out(name) => {}
            ReadFaultKind::Missing(name) => {
                diagnostics.report(fault.place, format!("`{name}` is missing"));
            }
        }
        node.content = Content::TakenOut;
        !fault.path.is_empty()
    }

    /// The name of the section at the top that `path` leads into; empty where it has none.
    pub(super) fn section(&self, path: &[usize]) -> &str {
        match (&self.content, path.first()) {
            (Content::Mapping(entries), Some(&position)) => {
                entries.get(position).and_then(|entry| entry.key.scalar()).unwrap_or("")
            }
            _ => "",
        }
    }

    fn at(&mut self, path: &[usize]) -> Option<&mut Self> {
        let mut node = self;
        for &position in path {
            node = match &mut node.content {
                Content::Sequence(items) => items.get_mut(position)?,
                Content::Mapping(entries) => &mut entries.get_mut(position)?.value,
                _ => return None,
            };
        }
        Some(node)
    }

    /// Whether a setting that was faulty could be the missing one: the one of that name, or one
    /// whose name was misspelt.
    fn has_taken_out(&self, name: &str) -> bool {
        let Content::Mapping(entries) = &self.content else { return false };
        entries.iter().any(|entry| {
            matches!(entry.value.content, Content::TakenOut)
                && entry.key.scalar().is_some_and(|key| nearest(key, [name]).is_some())
        })
    }

    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    fn count(&self) -> usize {
        1 + match &self.content {
            Content::Sequence(items) => items.iter().map(Self::count).sum(),
            Content::Mapping(entries) => entries.iter().map(|entry| 1 + entry.value.count()).sum(),
            _ => 0,
        }
    }
}

/// Reads the one document of `text`; `None` where it is no YAML or over a limit, which is reported.
pub(super) fn compose(text: &str, diagnostics: &mut Diagnostics) -> Option<Node> {
    if text.len() > MAX_BYTES {
        diagnostics.report_file("is larger than 32 MiB");
        return None;
    }
    let (mut text, mut indent) = (Cow::Borrowed(text), Indent::default());
    loop {
        let mut found = Diagnostics::new(diagnostics.file());
        let mut composer = Composer {
            parser: Parser::new_from_str(&text),
            anchors: HashMap::new(),
            nodes: 0,
            diagnostics: &mut found,
        };
        let node = match composer.document() {
            Ok(node) => Some(node),
            Err(Stop::Reported) => None,
            Err(Stop::Syntax(error)) => {
                if let Some(repaired) = indent.repaired(&text, &error) {
                    text = Cow::Owned(repaired);
                    continue;
                }
                let marker = error.marker();
                found.report(to_place(marker.line(), marker.col()), error.info().to_owned());
                None
            }
        };
        diagnostics.extend(found);
        return node;
    }
}

struct Composer<'a, 'd> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    diagnostics: &'d mut Diagnostics,
}

enum Stop {
    Syntax(ScanError),
    Reported,
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Syntax(error)
    }
}

impl<'a> Composer<'a, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    self.diagnostics.report(start(&span), SECOND_DOCUMENT);
                    break;
                }
                Event::DocumentStart(..) => {}
                event => root = Some(self.node(event, &span, 0)?),
            }
        }
        Ok(root.unwrap_or(Node { place: Place { line: 1, column: 1 }, content: Content::Null }))
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Stop> {
        self.parser.next().transpose().map_err(Stop::Syntax)
    }

    fn following(&mut self) -> Result<(Event<'a>, Span), Stop> {
        self.next()?.ok_or(Stop::Reported)
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Stop> {
        let place = start(span);
        if depth > MAX_DEPTH {
            self.diagnostics.report(place, format!("nested more than {MAX_DEPTH} levels deep"));
            return Err(Stop::Reported);
        }
        self.spend(1, place)?;
        let (content, anchor) = match event {
            Event::Scalar(text, _, anchor, Some(tag)) if tag.suffix() == "binary" => {
                (self.bytes(&text, place), anchor)
            }
            Event::Scalar(text, style, anchor, tag) => {
                // `!!str 5` is a text although it has no quotes.
                let plain = style == ScalarStyle::Plain && tag.is_none();
                (self.scalar(text, plain, place), anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.following()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, &span, depth + 1)?),
                    }
                }
                (Content::Sequence(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => (self.mapping(depth)?, anchor),
            Event::Alias(id) => {
                let Some((target, size)) = self.anchors.get(&id) else {
                    // Inside the anchor's own node.
                    self.diagnostics.report(place, "an alias refers to what contains it");
                    return Err(Stop::Reported);
                };
                let (content, size) = (target.content.clone(), *size);
                self.spend(size, place)?;
                (content, 0)
            }
            _ => return Err(Stop::Reported),
        };
        let node = Node { place, content };
        if anchor > 0 {
            let size = node.count();
            self.spend(size, place)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn mapping(&mut self, depth: usize) -> Result<Content, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = Vec::new();
        let mut seen = HashMap::new();
        loop {
            let (event, span) = self.following()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, &span, depth + 1)?;
            let (event, span) = self.following()?;
            let value = self.node(event, &span, depth + 1)?;
            match &key.content {
                Content::Scalar { text, plain: true } if text == "<<" => merged.push(value),
                Content::Scalar { text, .. } => {
                    if let Some(line) = seen.insert(text.clone(), key.place.line) {
                        let message = format!("`{text}` is written twice, first in line {line}");
                        self.diagnostics.report(key.place, message);
                    } else {
                        entries.push(Entry { key, value });
                    }
                }
                _ => self.diagnostics.report(key.place, "a key must be a text"),
            }
        }
        for node in merged {
            self.merge(node, &mut entries, &mut seen);
        }
        Ok(Content::Mapping(entries))
    }

    /// `<<: *defaults`: what the mapping itself says goes before what it merges.
    fn merge(&mut self, node: Node, to: &mut Vec<Entry>, seen: &mut HashMap<String, u32>) {
        match node.content {
            Content::Mapping(entries) => {
                for entry in entries {
                    let Some(name) = entry.key.scalar().map(str::to_owned) else { continue };
                    if let std::collections::hash_map::Entry::Vacant(place) = seen.entry(name) {
                        place.insert(entry.key.place.line);
                        to.push(entry);
                    }
                }
            }
            Content::Sequence(items) => {
                for item in items {
                    self.merge(item, to, seen);
                }
            }
            _ => self.diagnostics.report(node.place, "`<<` takes a mapping or a list of mappings"),
        }
    }

    fn bytes(&mut self, text: &str, place: Place) -> Content {
        let bytes = decode_base64(text);
        if bytes.is_none() {
            self.diagnostics.report(place, "this !!binary value contains invalid base64 data");
        }
        Content::Bytes(bytes.unwrap_or_default())
    }

    fn scalar(&mut self, text: Cow<'a, str>, plain: bool, place: Place) -> Content {
        if plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL") {
            return Content::Null;
        }
        match expand(&text) {
            Ok(text) => Content::Scalar { text: text.into_owned(), plain },
            Err(name) => {
                self.diagnostics.report_with_help(
                    place,
                    format!("the environment variable `{name}` is not set"),
                    format!("set it, or give a default: `${{env:{name}:-text}}`"),
                );
                Content::Scalar { text: String::new(), plain }
            }
        }
    }

    fn spend(&mut self, nodes: usize, place: Place) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            self.diagnostics.report(place, format!("too many values, over {MAX_NODES}"));
            return Err(Stop::Reported);
        }
        Ok(())
    }
}

/// RFC 4648, section 4, with blanks and line ends anywhere.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digits = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(&text);
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in chunk {
            bits = bits << 6 | u32::try_from(ALPHABET.iter().position(|b| b == digit)?).ok()?;
        }
        bits <<= 6 * (4 - chunk.len());
        let whole = bits.to_be_bytes();
        bytes.extend_from_slice(whole.get(1..chunk.len())?);
    }
    (text.len().is_multiple_of(4) && digits.len() % 4 != 1).then_some(bytes)
}

fn start(span: &Span) -> Place {
    to_place(span.start.line(), span.start.col())
}

fn to_place(line: usize, column: usize) -> Place {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: number(line), column: number(column + 1) }
}

/// Replaces `${env:NAME}`; the error is the name of a variable that is not set.
fn expand(text: &str) -> Result<Cow<'_, str>, String> {
    const OPEN: &str = "${env:";
    if !text.contains(OPEN) {
        return Ok(Cow::Borrowed(text));
    }
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((reference, after)) = after.split_once('}') else { break };
        out.push_str(before);
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let value = super::variable(name);
        out.push_str(value.as_deref().or(default).ok_or_else(|| name.to_owned())?);
        rest = after;
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}
