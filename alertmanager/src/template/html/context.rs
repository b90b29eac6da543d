//! Follows HTML as it is written: in which element, attribute, address it stands.
//!
//! ```text
//! text ─<▶ tag ─name▶ attribute ─=▶ value ─quote▶ tag ─>▶ text, or the inside of a script
//! ```
//!
//! Invariant: where it is not sure, it stays in the place that allows values less.

use super::super::error::Failure;

/// Where a value would stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Context {
    /// Between tags.
    Text,
    /// In a title or a text area, where there are no tags.
    Title,
    /// Nothing is written there.
    Comment,
    /// In an attribute's value.
    Attribute { quoted: bool },
    /// In an attribute's value that is an address.
    Address { quoted: bool, part: Part },
}

/// A part of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Part {
    /// What is written decides on the scheme.
    Start,
    /// Behind the scheme, up to the query.
    Path,
    /// Behind `?` or `#`.
    Query,
}

/// A place where no value can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Refused {
    Script,
    Style,
    Handler,
    Tag,
    Attribute,
    Declaration,
}

impl Refused {
    pub(in super::super) fn message(self) -> &'static str {
        match self {
            Self::Script => "a value cannot be written within a script",
            Self::Style => "a value cannot be written within a style",
            Self::Handler => "a value cannot be written within an event handler",
            Self::Tag => "a value cannot be written within a tag, but in an attribute's quotes",
            Self::Attribute => "a value cannot be written in that attribute",
            Self::Declaration => "a value cannot be written within a declaration",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// What an attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Address(Part),
    Refused(Refused),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// Behind `<`, or within a tag's name.
    TagName,
    /// Between the attributes of a tag.
    Tag,
    AttributeName,
    AfterName,
    BeforeValue,
    Value(Quote, Kind),
    Comment,
    /// `<!DOCTYPE` and the like.
    Declaration,
    /// Within an element that has no tags but its own end.
    Raw,
}

/// Where in an HTML document we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Tracker {
    state: State,
    /// The name of the tag, with a slash if it ends the element; of a raw element while in it.
    tag: String,
    /// The name of the attribute.
    attribute: String,
}

/// Elements that have no tags but their own end.
const RAW: [&str; 4] = ["script", "style", "title", "textarea"];
/// Attributes that are addresses.
const ADDRESSES: [&str; 18] = [
    "action",
    "archive",
    "background",
    "cite",
    "classid",
    "codebase",
    "data",
    "dynsrc",
    "formaction",
    "href",
    "icon",
    "longdesc",
    "lowsrc",
    "manifest",
    "ping",
    "poster",
    "profile",
    "usemap",
];
/// Attributes that hold documents, lists of addresses, orders to the browser, or what another
/// attribute becomes.
const REFUSED: [&str; 9] =
    ["srcdoc", "srcset", "content", "http-equiv", "attributename", "to", "from", "by", "values"];
/// Elements that run or embed what they point to.
const EMBEDDING: [&str; 9] =
    ["script", "link", "base", "object", "embed", "iframe", "frame", "applet", "meta"];
/// More of a name than that does not matter.
const NAME: usize = 32;

type Emit<'e> = &'e mut dyn FnMut(&str) -> Result<(), Failure>;

impl Tracker {
    /// Follows `text` and hands on what is to be written of it.
    pub(in super::super) fn feed(&mut self, text: &str, emit: Emit<'_>) -> Result<(), Failure> {
        let mut rest = text;
        while !rest.is_empty() {
            let (taken, written) = self.step(rest);
            if written {
                emit(&rest[..taken])?;
            }
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Where a value would stand that is written next.
    pub(in super::super) fn context(&self) -> Result<Context, Refused> {
        let (quote, kind) = match self.state {
            State::Text => return Ok(Context::Text),
            State::Comment => return Ok(Context::Comment),
            State::Raw => {
                return match self.tag.as_str() {
                    "script" => Err(Refused::Script),
                    "style" => Err(Refused::Style),
                    _ => Ok(Context::Title),
                };
            }
            State::Declaration => return Err(Refused::Declaration),
            State::TagName | State::Tag | State::AttributeName | State::AfterName => {
                return Err(Refused::Tag);
            }
            State::BeforeValue => (Quote::None, self.kind()),
            State::Value(quote, kind) => (quote, kind),
        };
        let quoted = quote != Quote::None;
        match kind {
            Kind::Plain => Ok(Context::Attribute { quoted }),
            Kind::Address(part) => Ok(Context::Address { quoted, part }),
            Kind::Refused(refused) => Err(refused),
        }
    }

    /// Notes that a value was written, escaped for where it stands.
    pub(in super::super) fn value(&mut self, text: &str) {
        if self.state == State::BeforeValue {
            self.state = State::Value(Quote::None, self.kind());
        }
        if let State::Value(_, Kind::Address(part @ Part::Start)) = &mut self.state
            && text.contains([':', '/', '?', '#'])
        {
            // Behind these no scheme can come any more.
            *part = Part::Path;
        }
    }

    /// Follows some of `rest`, which is not empty: how much, and whether it is written.
    fn step(&mut self, rest: &str) -> (usize, bool) {
        let first = rest.chars().next().unwrap_or_default();
        let one = first.len_utf8();
        match self.state {
            State::Text => match rest.find('<') {
                Some(0) if rest.starts_with("<!--") => {
                    self.state = State::Comment;
                    (4, false)
                }
                Some(0) => {
                    let second = rest[1..].chars().next();
                    self.tag.clear();
                    self.state = match second {
                        Some('!' | '?') => State::Declaration,
                        Some(c) if c != '/' && !c.is_ascii_alphabetic() => State::Text,
                        _ => State::TagName,
                    };
                    (1, true)
                }
                at => (at.unwrap_or(rest.len()), true),
            },
            State::Comment => match rest.find("-->") {
                Some(at) => {
                    self.state = State::Text;
                    (at + 3, false)
                }
                None => (rest.len(), false),
            },
            State::Declaration => {
                let end = rest.find('>');
                if end.is_some() {
                    self.state = State::Text;
                }
                (end.map_or(rest.len(), |at| at + 1), true)
            }
            State::Raw => match raw_end(rest, &self.tag) {
                Some(0) => {
                    self.tag = format!("/{}", self.tag);
                    self.state = State::Tag;
                    (self.tag.len() + 1, true)
                }
                at => (at.unwrap_or(rest.len()), true),
            },
            State::TagName => {
                if ends_name(first) {
                    if first == '/' && self.tag.is_empty() {
                        self.tag.push('/');
                        return (one, true);
                    }
                    self.state = State::Tag;
                    return (0, false);
                }
                push_name(&mut self.tag, first);
                (one, true)
            }
            State::Tag => {
                match first {
                    '>' => self.end_tag(),
                    '/' => {}
                    _ if first.is_ascii_whitespace() => {}
                    _ => {
                        self.attribute.clear();
                        push_name(&mut self.attribute, first);
                        self.state = State::AttributeName;
                    }
                }
                (one, true)
            }
            State::AttributeName => {
                if first == '=' || ends_name(first) {
                    self.state = State::AfterName;
                    return (0, false);
                }
                push_name(&mut self.attribute, first);
                (one, true)
            }
            State::AfterName => {
                match first {
                    '=' => self.state = State::BeforeValue,
                    _ if first.is_ascii_whitespace() => {}
                    _ => {
                        self.state = State::Tag;
                        return (0, false);
                    }
                }
                (one, true)
            }
            State::BeforeValue => {
                match first {
                    '"' => self.state = State::Value(Quote::Double, self.kind()),
                    '\'' => self.state = State::Value(Quote::Single, self.kind()),
                    '>' => self.end_tag(),
                    _ if first.is_ascii_whitespace() => {}
                    _ => {
                        self.state = State::Value(Quote::None, self.kind());
                        return (0, false);
                    }
                }
                (one, true)
            }
            State::Value(quote, kind) => self.in_value(rest, quote, kind),
        }
    }

    fn in_value(&mut self, rest: &str, quote: Quote, kind: Kind) -> (usize, bool) {
        let end = match quote {
            Quote::Double => rest.find('"'),
            Quote::Single => rest.find('\''),
            Quote::None => rest.find(|c: char| c == '>' || c.is_ascii_whitespace()),
        };
        let value = &rest[..end.unwrap_or(rest.len())];
        let kind = match kind {
            Kind::Address(_) if value.contains(['?', '#']) => Kind::Address(Part::Query),
            Kind::Address(Part::Start) if value.contains([':', '/']) => Kind::Address(Part::Path),
            kind => kind,
        };
        self.state = if end.is_some() { State::Tag } else { State::Value(quote, kind) };
        match (end, quote) {
            // What ends an unquoted value belongs to the tag.
            (Some(at), Quote::None) => (at, at > 0),
            (Some(at), _) => (at + 1, true),
            (None, _) => (rest.len(), true),
        }
    }

    fn end_tag(&mut self) {
        let raw = RAW.contains(&self.tag.as_str());
        self.state = if raw { State::Raw } else { State::Text };
    }

    fn kind(&self) -> Kind {
        let name = self.attribute.as_str();
        let name = name.strip_prefix("data-").unwrap_or(name);
        let name = name.rsplit_once(':').map_or(name, |(_, name)| name);
        if name.starts_with("on") {
            Kind::Refused(Refused::Handler)
        } else if name == "style" {
            Kind::Refused(Refused::Style)
        } else if REFUSED.contains(&name) {
            Kind::Refused(Refused::Attribute)
        } else if ADDRESSES.contains(&name)
            || ["src", "uri", "url"].iter().any(|n| name.contains(n))
        {
            if EMBEDDING.contains(&self.tag.as_str()) {
                Kind::Refused(Refused::Attribute)
            } else {
                Kind::Address(Part::Start)
            }
        } else {
            Kind::Plain
        }
    }
}

fn ends_name(c: char) -> bool {
    c == '>' || c == '/' || c.is_ascii_whitespace()
}

fn push_name(name: &mut String, c: char) {
    if name.len() < NAME {
        name.push(c.to_ascii_lowercase());
    }
}

/// Where the tag begins that ends the raw element `name`.
fn raw_end(text: &str, name: &str) -> Option<usize> {
    text.match_indices("</").map(|(at, _)| at).find(|at| {
        let after = &text[at + 2..];
        after.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name))
            && after[name.len()..].chars().next().is_some_and(ends_name)
    })
}
