//! What a source says of one thing, and the limits that it is held to.
//!
//! Invariant: an alert that leaves here has few labels with short values and names that queries can
//! write, whatever its source sent (X13 to X18, X27).

use std::collections::BTreeMap;

use base::labels::{ALERT_NAME, Labels, LabelsBuilder, is_legacy_label_name};
use base::sample::Timestamp;

/// By this label people and routes know the source.
pub(super) const SOURCE: &str = "source";
/// By this label a source knows its alerts again.
pub(super) const KEY: &str = "key";
/// The most labels and annotations, and the longest values, in characters; longer ones are cut.
const MOST_PAIRS: usize = 48;
const LONGEST_LABEL: usize = 512;
const LONGEST_TEXT: usize = 8192;
/// The longest name.
const LONGEST_NAME: usize = 128;

/// Whether something is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// It is.
    Firing,
    /// It is over.
    Resolved,
    /// It says neither: a build that has begun.
    #[default]
    Neither,
}

/// What a source says of one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) status: Status,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    /// By what the source knows it again, where its labels may differ; else empty.
    pub(super) key: String,
    pub(super) starts_at: Option<Timestamp>,
    pub(super) ends_at: Option<Timestamp>,
    pub(super) url: String,
}

impl Event {
    /// An event with a name.
    pub(super) fn new(status: Status, name: &str) -> Self {
        let labels = BTreeMap::from([(ALERT_NAME.to_owned(), name.to_owned())]);
        Self { status, labels, ..Self::default() }
    }

    /// Sets a label; an empty value is none.
    pub(super) fn label(mut self, name: &str, value: impl Into<String>) -> Self {
        self.labels.insert(name.to_owned(), value.into());
        self
    }

    /// Sets an annotation; an empty text is none.
    pub(super) fn text(mut self, name: &str, text: impl Into<String>) -> Self {
        self.annotations.insert(name.to_owned(), text.into());
        self
    }

    /// The labels that its alert has, as one of `source`.
    ///
    /// # Errors
    ///
    /// It has no name, or too many labels.
    pub(super) fn alert_labels(&self, source: &str) -> Result<Labels, String> {
        let mut builder = LabelsBuilder::default();
        for (name, value) in &self.labels {
            let (name, value) = (label_name(name), one_line(value, LONGEST_LABEL));
            // Names with two underscores before them are ours.
            if !value.is_empty() && !name.starts_with("__") {
                builder.set(&name, &value);
            }
        }
        if builder.get(ALERT_NAME).is_none() {
            return Err("an alert has no `alertname`".to_owned());
        }
        if !self.key.is_empty() {
            builder.set(KEY, &one_line(&self.key, LONGEST_LABEL));
        }
        builder.set(SOURCE, source);
        let labels = builder.build();
        match labels.len() <= MOST_PAIRS {
            true => Ok(labels),
            false => Err(format!("an alert has {} labels; {MOST_PAIRS} is the most", labels.len())),
        }
    }

    /// Its texts, as an alert has them.
    ///
    /// # Errors
    ///
    /// There are too many.
    pub(super) fn alert_texts(&self) -> Result<BTreeMap<String, String>, String> {
        let mut texts = BTreeMap::new();
        for (name, text) in &self.annotations {
            let text =
                shortened(text.trim(), LONGEST_TEXT, |c| c.is_control() && c != '\n' && c != '\t');
            if !text.is_empty() {
                texts.insert(label_name(name), text);
            }
        }
        match texts.len() <= MOST_PAIRS {
            true => Ok(texts),
            false => {
                Err(format!("an alert has {} annotations; {MOST_PAIRS} is the most", texts.len()))
            }
        }
    }

    /// The address where one can see more; only one that a browser may be sent to.
    pub(super) fn link(&self) -> String {
        let is_link = self.url.starts_with("https://") || self.url.starts_with("http://");
        let is_clean = !self
            .url
            .contains(|c: char| c.is_control() || c.is_whitespace() || "<>\"'`".contains(c));
        if is_link && is_clean && self.url.len() <= 2048 { self.url.clone() } else { String::new() }
    }
}

/// A name that queries can write without quotes.
pub(super) fn label_name(name: &str) -> String {
    if is_legacy_label_name(name) && name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let name: String = name.chars().take(LONGEST_NAME - 1).map(fits).collect();
    let digit = name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit());
    if digit { format!("_{name}") } else { name }
}

fn one_line(text: &str, most: usize) -> String {
    shortened(text.trim(), most, char::is_control)
}

/// The text with a space for each character that is `unwanted`, and no longer than `most`.
fn shortened(text: &str, most: usize, unwanted: impl Fn(char) -> bool) -> String {
    let direction = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let clean = |c: char| if unwanted(c) || direction(c) { ' ' } else { c };
    let text: String = match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).map(clean).chain(['…']).collect(),
        None => text.chars().map(clean).collect(),
    };
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_labels_become_harmless_x13_x17_x27() {
        let check = |name: &str, value: &str, expected: &str| {
            let event = Event::new(Status::Firing, "a").label(name, value);
            let labels = event.alert_labels("ci").map(|labels| labels.to_string());
            let got = labels.unwrap_or_else(|error| error);
            assert_eq!(got, expected, "{name}={value}");
        };
        check("team", "web", r#"{alertname="a", source="ci", team="web"}"#);
        check("team", "", r#"{alertname="a", source="ci"}"#);
        check("source", "other", r#"{alertname="a", source="ci"}"#);
        check("__address__", "x", r#"{alertname="a", source="ci"}"#);
        check("my-label ü", "x", r#"{alertname="a", my_label__="x", source="ci"}"#);
        check("1st", "x", r#"{_1st="x", alertname="a", source="ci"}"#);
        check("to", "a\r\nBcc: x\u{202e}", r#"{alertname="a", source="ci", to="a  Bcc: x"}"#);
        check("alertname", "", "an alert has no `alertname`");
        let long = "x".repeat(600);
        check("l", &long, &format!(r#"{{alertname="a", l="{}…", source="ci"}}"#, "x".repeat(511)));
    }

    #[test]
    fn too_many_are_refused_and_links_are_links() {
        let mut event = Event::new(Status::Firing, "a");
        for n in 0..60 {
            event = event.label(&format!("l{n}"), "x").text(&format!("t{n}"), "x");
        }
        assert!(event.alert_labels("ci").unwrap_err().contains("has 62 labels"));
        assert!(event.alert_texts().unwrap_err().contains("has 60 annotations"));
        let link = |url: &str| Event { url: url.to_owned(), ..Event::default() }.link();
        assert_eq!(link("https://ci/1?a=b"), "https://ci/1?a=b");
        for url in ["javascript:alert(1)", "data:x", "//x", "https://a b", "https://a\"", "ftp://x"]
        {
            assert_eq!(link(url), "", "{url}");
        }
        let event = Event::new(Status::Firing, "a").text("s", "one\r\ntwo\u{0}");
        assert_eq!(event.alert_texts().unwrap()["s"], "one \ntwo");
    }
}
