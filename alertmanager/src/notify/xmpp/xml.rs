//! The XML that XMPP is made of, element by element as it arrives.
//!
//! Source: RFC 6120, section 11: no comments, no processing instructions, no document types, and no
//! entities but the five that XML has by itself.
//!
//! Invariant: no element is larger than [`LARGEST`] or nested deeper than [`DEEPEST`]; what is not of
//! this kind of XML is an error, never a panic.

/// The largest element, in bytes.
const LARGEST: usize = 128 << 10;
/// How deep elements may lie within each other.
const DEEPEST: usize = 32;

/// An element with what is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Element {
    /// Without the prefix of its namespace.
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// What has arrived.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// The stream has begun.
    Opened,
    /// An element directly within the stream.
    Element(Element),
    /// The stream has ended.
    Closed,
}

/// Reads a stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: String,
    /// The elements that are open, the stream itself first.
    open: Vec<Element>,
    /// How much the element that is being read has so far.
    size: usize,
}

impl Reader {
    /// The next event of what has been read so far, after `more` of it; `None` where it takes more.
    pub(super) fn next(&mut self, more: &str) -> Result<Option<Event>, String> {
        self.buffer.push_str(more);
        loop {
            if self.size + self.buffer.len() > LARGEST {
                return Err(format!("an element is larger than {LARGEST} bytes"));
            }
            let Some(at) = self.buffer.find('<') else { return Ok(None) };
            if at > 0 {
                let text: String = self.buffer.drain(..at).collect();
                self.size += text.len();
                // Between elements of the stream there are only spaces, to keep it alive.
                if let Some(inner) = self.open.get_mut(1..).and_then(<[Element]>::last_mut) {
                    inner.text.push_str(&unescaped(&text)?);
                } else {
                    self.size = 0;
                }
                continue;
            }
            let Some(end) = end_of_tag(&self.buffer) else { return Ok(None) };
            let tag: String = self.buffer.drain(..=end).collect();
            self.size += tag.len();
            if let Some(event) = self.tag(&tag)? {
                self.size = 0;
                return Ok(Some(event));
            }
        }
    }

    /// Takes a whole tag, from `<` to `>`.
    fn tag(&mut self, tag: &str) -> Result<Option<Event>, String> {
        let inner = tag.trim_start_matches('<').trim_end_matches('>');
        if inner.starts_with('?') && self.open.is_empty() {
            return Ok(None);
        }
        if inner.starts_with(['?', '!']) {
            return Err("it has what XMPP does not allow in XML".to_owned());
        }
        if let Some(name) = inner.strip_prefix('/') {
            let Some(done) = self.open.pop() else { return Err("an end without a begin".into()) };
            if done.name != local(name.trim_end()) {
                return Err(format!("`{}` ends as `{name}`", done.name));
            }
            return Ok(self.close(done));
        }
        let (inner, empty) = match inner.strip_suffix('/') {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let element = begin(inner)?;
        if self.open.len() >= DEEPEST {
            return Err(format!("elements lie more than {DEEPEST} deep"));
        }
        if empty {
            return Ok(self.close(element));
        }
        let is_stream = self.open.is_empty();
        self.open.push(element);
        Ok(is_stream.then_some(Event::Opened))
    }

    /// Puts an element that is complete where it belongs.
    fn close(&mut self, element: Element) -> Option<Event> {
        match self.open.as_mut_slice() {
            [] => Some(Event::Closed),
            [_stream] => Some(Event::Element(element)),
            [.., parent] => {
                parent.children.push(element);
                None
            }
        }
    }
}

/// Where the tag at the start of `text` ends; a `>` in quotes is none.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return Some(at),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// A name and its attributes.
fn begin(inner: &str) -> Result<Element, String> {
    let (name, mut rest) = match inner.find(char::is_whitespace) {
        Some(at) => inner.split_at(at),
        None => (inner, ""),
    };
    let mut element = Element { name: local(name).to_owned(), ..Element::default() };
    if element.name.is_empty() {
        return Err("an element without a name".to_owned());
    }
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(element);
        }
        let wrong = || format!("an attribute of `{}` cannot be read", element.name);
        let (name, after) = rest.split_once('=').ok_or_else(wrong)?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| "\"'".contains(*c)).ok_or_else(wrong)?;
        let (value, after) = after[1..].split_once(quote).ok_or_else(wrong)?;
        let value = unescaped(value)?;
        element.attributes.push((name.trim_end().to_owned(), value));
        rest = after;
    }
}

/// A name without the prefix of its namespace.
fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, name)| name)
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (name, after) = after.split_once(';').ok_or("an `&` without its `;`")?;
        let code =
            |digits: &str, base| u32::from_str_radix(digits, base).ok().and_then(char::from_u32);
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => name
                .strip_prefix("#x")
                .map_or_else(|| code(name.strip_prefix('#')?, 10), |digits| code(digits, 16))
                .ok_or_else(|| format!("there is no entity `{name}`"))?,
        });
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// `text` as it stands in an element or an attribute; what XML cannot hold is replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(c),
            '\r' => {}
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reader: &mut Reader, text: &str) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        let mut more = text;
        while let Some(event) = reader.next(more)? {
            events.push(event);
            more = "";
        }
        Ok(events)
    }

    const STREAM: &str = "<?xml version='1.0'?><stream:stream id='a>b' xmlns='jabber:client'>";

    #[test]
    fn reads_elements_however_they_arrive() {
        let text = format!(
            "{STREAM}\n <stream:features><a:m x='1' y=\"&lt;&#65;&#x42;\"/><m>t&amp;u</m></stream:features> \
             <success/></stream:stream>"
        );
        let whole = all(&mut Reader::default(), &text).unwrap();
        assert_eq!(whole.len(), 4, "{whole:?}");
        let Event::Element(features) = &whole[1] else { panic!("{whole:?}") };
        assert_eq!(features.name, "features");
        assert_eq!(features.children[0].attribute("y"), "<AB");
        assert_eq!(features.children[1].text, "t&u");
        assert_eq!(features.child("m").unwrap().attribute("x"), "1");
        assert_eq!(whole[3], Event::Closed);
        let mut reader = Reader::default();
        let pieces: Vec<Event> =
            text.chars().flat_map(|c| all(&mut reader, &c.to_string()).unwrap()).collect();
        assert_eq!(pieces, whole);
    }

    #[test]
    fn refuses_what_xmpp_does_not_allow() {
        let check = |text: &str, part: &str| {
            let got = all(&mut Reader::default(), &format!("{STREAM}{text}"));
            assert!(got.as_ref().is_err_and(|error| error.contains(part)), "{text}: {got:?}");
        };
        check("<!DOCTYPE a [<!ENTITY b 'c'>]>", "does not allow");
        check("<!-- x -->", "does not allow");
        check("<?php x?>", "does not allow");
        check("<a>&evil;</a>", "no entity");
        check("<a>&lt</a>", "without its");
        check("<a></b>", "ends as");
        check("<a x=1/>", "cannot be read");
        check("< a/>", "without a name");
        check(&"<a>".repeat(40), "deep");
        check(&format!("<a>{}</a>", "x".repeat(200_000)), "larger");
        check(&format!("<a x='{}", "x".repeat(200_000)), "larger");
        assert!(all(&mut Reader::default(), "</a>").is_err());
    }

    #[test]
    fn text_is_text() {
        // X13
        let hostile = "</body><body>&\u{0}\u{1b}'\"\r\n\u{ffff}";
        let escaped = escaped(hostile);
        assert_eq!(escaped, "&lt;/body&gt;&lt;body&gt;&amp;\u{fffd}\u{fffd}&apos;&quot;\n\u{fffd}");
        assert!(unescaped(&escaped).unwrap().starts_with("</body><body>&"));
    }
}
