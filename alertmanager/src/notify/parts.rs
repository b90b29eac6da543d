//! The parts of a chat message that are templates: what each is to its service, and so how it is
//! escaped and cut.
//!
//! Invariant: no part is longer than its service takes, and a part that is a link leads to the web.

use base::diagnostic::{Diagnostics, Spanned};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::texts::{Renderer, Text, but_last_line, one_line, printable, shortened};
use crate::template::Escape;

/// What a part is to its service. Numbers are the most characters that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One line, in the markup of the service.
    Line(usize),
    /// Lines in the markup of the service.
    Lines(usize),
    /// One line that is shown as it is.
    Plain(usize),
    /// An address of the web; anything else is left out.
    Link,
}

/// A part that is a template.
#[derive(Clone, Debug)]
pub(super) struct Part {
    name: &'static str,
    kind: Kind,
    text: Text,
}

/// A part as it is configured: its name in the message, which is that of its setting, what it is,
/// what is written, and what stands for nothing written: a template's name, a text, or nothing.
pub(super) type Setting<'a> = (&'static str, Kind, &'a Option<Spanned<String>>, &'a str);

/// The parts; what is wrong with them is reported.
pub(super) fn parts(settings: &[Setting<'_>], diagnostics: &mut Diagnostics) -> Vec<Part> {
    let build = |(name, kind, written, default): &Setting<'_>| {
        let text = Text::build(name, written.as_ref(), &or_template(default), diagnostics)?;
        Some(Part { name, kind: *kind, text })
    };
    settings.iter().filter_map(build).collect()
}

/// The template that calls the one of that name; a text stays what it is.
fn or_template(default: &str) -> String {
    let is_name = !default.is_empty() && default.chars().all(|c| c.is_alphanumeric() || c == '.');
    if is_name { format!("{{{{ template \"{default}\" . }}}}") } else { default.to_owned() }
}

impl Part {
    /// What is sent of it.
    pub(super) fn render(&self, renderer: &Renderer<'_>) -> String {
        match self.kind {
            Kind::Line(most) => one_line(&renderer.render(&self.text), most),
            Kind::Lines(most) => {
                but_last_line(&printable(&renderer.render(&self.text)), most, shortened)
            }
            Kind::Plain(most) => one_line(&renderer.render_as(&self.text, Escape::Text), most),
            Kind::Link => web_address(&renderer.render_as(&self.text, Escape::Text)),
        }
    }
}

/// Writes the parts that are not empty into `map`.
pub(super) fn fill(map: &mut Map<String, Value>, parts: &[Part], renderer: &Renderer<'_>) {
    for part in parts {
        let text = part.render(renderer);
        if !text.is_empty() {
            map.insert(part.name.to_owned(), json!(text));
        }
    }
}

/// The address, where it is one of the web; else nothing (X13).
pub(super) fn web_address(text: &str) -> String {
    let text = text.trim();
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\"'<>`\\".contains(c);
    if web && text.len() <= 2000 && !text.contains(odd) { text.to_owned() } else { String::new() }
}

/// A pair of a title and a value, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FieldConfig {
    /// The title.
    pub title: Option<Spanned<String>>,
    /// The value.
    pub value: Option<Spanned<String>>,
    /// Whether it stands beside others.
    pub short: Option<bool>,
}

/// Pairs of a title and a value.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Vec<(Vec<Part>, bool)>);

impl Fields {
    /// The pairs; `needed` says whether both parts of each must be there.
    pub(super) fn build(
        configs: &[Spanned<FieldConfig>],
        short: bool,
        needed: bool,
        most: usize,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut fields = Vec::new();
        for config in configs {
            let FieldConfig { title, value, short: own } = &config.value;
            for (name, part) in [("title", title), ("value", value)] {
                if needed && part.as_ref().is_none_or(|part| part.value.is_empty()) {
                    diagnostics.report(config, format!("the field has no `{name}`"));
                }
            }
            let settings =
                [("title", Kind::Line(most), title, ""), ("value", Kind::Lines(most), value, "")];
            fields.push((parts(&settings, diagnostics), own.unwrap_or(short)));
        }
        Self(fields)
    }

    /// Writes them into `map`, where there are any.
    pub(super) fn fill(&self, map: &mut Map<String, Value>, renderer: &Renderer<'_>) {
        let written = |(parts, short): &(Vec<Part>, bool)| {
            let mut field = Map::new();
            fill(&mut field, parts, renderer);
            field.insert("short".to_owned(), json!(short));
            Value::Object(field)
        };
        if !self.0.is_empty() {
            let fields: Vec<Value> = self.0.iter().map(written).collect();
            map.insert("fields".to_owned(), json!(fields));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_web_is_linked_to() {
        // X13
        let check = |text: &str, expected: &str| assert_eq!(web_address(text), expected, "{text}");
        check(" https://a/b?c=d ", "https://a/b?c=d");
        check("HTTP://a", "HTTP://a");
        check("javascript:alert(1)", "");
        check("data:text/html,x", "");
        check("/path", "");
        check("https://a\" onload=\"x", "");
        check("https://a b", "");
        check("", "");
    }

    #[test]
    fn a_default_is_a_template_of_that_name_or_a_text() {
        assert_eq!(or_template("slack.default.title"), "{{ template \"slack.default.title\" . }}");
        assert_eq!(or_template("{{ .Status }}"), "{{ .Status }}");
        assert_eq!(or_template(""), "");
    }
}
