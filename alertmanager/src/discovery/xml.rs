//! XML as services answer in it: elements and their texts; attributes and comments are passed over.
//!
//! Invariant: depth and number of elements are bounded, and what is not well-formed is refused.

/// Elements within each other.
const MAX_DEPTH: usize = 32;
/// Elements of one document.
const MAX_ELEMENTS: usize = 4_000_000;

/// An element.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Reads a document.
    pub(super) fn read(xml: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("the answer is no XML: {what}"));
        // The outermost stands for the document.
        let mut open = vec![Self::default()];
        let (mut rest, mut count) = (xml, 0);
        while let Some((text, after)) = rest.split_once('<') {
            let top = open.len() - 1;
            open[top].text.push_str(&unescaped(text));
            let skip = [("?", "?>"), ("!--", "-->"), ("!", ">")];
            if let Some((_, end)) = skip.iter().find(|(begin, _)| after.starts_with(begin)) {
                let Some((_, after)) = after.split_once(end) else { return wrong("it breaks off") };
                rest = after;
                continue;
            }
            let Some((tag, after)) = after.split_once('>') else { return wrong("it breaks off") };
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                let Some(done) = open.pop().filter(|done| done.name == name.trim()) else {
                    return wrong("elements do not match");
                };
                let Some(parent) = open.last_mut() else { return wrong("elements do not match") };
                parent.children.push(done);
                continue;
            }
            count += 1;
            if count > MAX_ELEMENTS || open.len() > MAX_DEPTH {
                return wrong("it has too many elements");
            }
            let name = tag.trim_end_matches('/').split_whitespace().next().unwrap_or("");
            let element = Self { name: name.to_owned(), ..Self::default() };
            match tag.ends_with('/') {
                true => open[top].children.push(element),
                false => open.push(element),
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some(mut document), true) if document.children.len() == 1 => {
                Ok(document.children.remove(0))
            }
            _ => wrong("it breaks off"),
        }
    }

    /// The name of the element.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The child at a path of names with `/` between.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |element, name| {
            element.children.iter().find(|child| child.name == name)
        })
    }

    /// The text at a path, empty where there is none.
    pub(super) fn text(&self, path: &str) -> &str {
        self.at(path).map_or("", |element| element.text.trim())
    }

    /// The elements `item` at a path.
    pub(super) fn items(&self, path: &str) -> impl Iterator<Item = &Self> {
        self.at(path)
            .into_iter()
            .flat_map(|list| &list.children)
            .filter(|child| child.name == "item")
    }
}

fn unescaped(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_elements_and_refuses_what_is_none() {
        let xml = "<?xml version=\"1.0\"?>\n<a xmlns=\"x\"><!-- c --><b><c>1 &amp; 2</c><d/></b>\
                   <s><item><k>x</k></item><item><k>y</k></item></s></a>\n";
        let read = Element::read(xml).unwrap();
        assert_eq!(
            (read.name(), read.text("b/c"), read.text("b/d"), read.text("z")),
            ("a", "1 & 2", "", "")
        );
        assert_eq!(read.items("s").map(|item| item.text("k")).collect::<Vec<_>>(), ["x", "y"]);
        let deep = "<a>".repeat(1000);
        for bad in ["", "x", "<a>", "<a></b>", "</a>", "<a", "<a/><b/>", "<a><!-- </a>", &deep] {
            assert!(Element::read(bad).is_err(), "{bad}");
        }
    }
}
