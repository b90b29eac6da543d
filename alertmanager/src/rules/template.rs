//! Templates in labels and annotations of rules.
//!
//! Invariant: a template that fails leaves a text that says so, as Prometheus does; the alert is
//! there all the same.

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Spanned};
use base::labels::Labels;
use base::sample::Timestamp;

use crate::template::{Dialect, Options, Query, RuleData, Template, Value};

/// Named templates, each rendered for every alert.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    texts: Vec<(String, Template)>,
}

/// What the templates of one alert see.
pub(super) struct Seen<'a> {
    pub(super) labels: &'a Labels,
    pub(super) value: f64,
    pub(super) output: &'a str,
    pub(super) external_labels: &'a Labels,
    pub(super) external_url: &'a str,
    pub(super) query: &'a Query<'a>,
    pub(super) now: Timestamp,
}

impl Texts {
    /// Parses the texts of the rule `rule`, reporting everything that is wrong with them.
    pub(super) fn build(
        rule: &str,
        written: &BTreeMap<Spanned<String>, Spanned<String>>,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut texts = Vec::new();
        for (name, text) in written {
            let title = format!("__alert_{rule}");
            for fault in Template::faults(Dialect::Rule, &title, &text.value) {
                diagnostics.report(text, format!("`{}`: {fault}", name.value));
            }
            if let Ok(template) = Template::parse(Dialect::Rule, &title, &text.value) {
                texts.push((name.value.clone(), template));
            }
        }
        Self { texts }
    }

    /// The names with their texts as they were written.
    pub(super) fn written(
        written: &BTreeMap<Spanned<String>, Spanned<String>>,
    ) -> BTreeMap<String, String> {
        written.iter().map(|(name, text)| (name.value.clone(), text.value.clone())).collect()
    }

    /// Renders every text.
    pub(super) fn render(&self, seen: &Seen<'_>) -> impl Iterator<Item = (&str, String)> {
        // Most texts have nothing to render; then the data are not needed either.
        let needed = self.texts.iter().any(|(_, template)| template.as_literal().is_none());
        let data = needed.then(|| {
            RuleData {
                labels: seen.labels.clone(),
                external_labels: seen.external_labels.clone(),
                external_url: seen.external_url,
                value: Value::from(seen.value),
                output: seen.output,
            }
            .into_value()
        });
        let options = Options {
            external_url: seen.external_url,
            query: Some(seen.query),
            ..Options::at(seen.now)
        };
        self.texts.iter().map(move |(name, template)| {
            let text = match (template.as_literal(), &data) {
                (Some(text), _) => text.to_owned(),
                (None, Some(data)) => template
                    .render(data, &options)
                    .unwrap_or_else(|error| format!("<error expanding template: {error}>")),
                (None, None) => String::new(),
            };
            (name.as_str(), text)
        })
    }
}
