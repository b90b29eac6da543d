//! Settings that are whole structures with templates in them: the details of a page, the payload of
//! a webhook, the fields of a ticket.
//!
//! A text that renders to JSON becomes that JSON, so that `'{{ .Alerts | toJson }}'` is a list and
//! `'{{ len .Alerts }}'` a number; one that renders to nothing is `null`. Any other text stays a
//! text, also where it could be read as YAML.
//!
//! Invariant: what a template gave is data; it is never taken as a template again.

use std::fmt;

use base::diagnostic::{Diagnostics, Place, Spanned};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::texts::{Renderer, Text};

/// Such a setting, as written.
#[derive(Clone, Debug)]
pub enum PayloadConfig {
    /// A template.
    Text(String),
    /// A number, `true`, `false` or nothing.
    Plain(Value),
    /// Several.
    List(Vec<Spanned<PayloadConfig>>),
    /// Several by name; a name is a template, too.
    Map(Vec<(Spanned<String>, Spanned<PayloadConfig>)>),
}

/// Such a setting, ready to be rendered.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Text(Text),
    Plain(Value),
    List(Vec<Payload>),
    Map(Vec<(Text, Payload)>),
}

impl PayloadConfig {
    /// The structure with its templates parsed; each that is wrong is reported.
    pub(super) fn build(
        &self,
        name: &'static str,
        place: Place,
        diagnostics: &mut Diagnostics,
    ) -> Option<Payload> {
        let mut text = |value: &String, place| {
            let written = Spanned { value: value.clone(), place };
            Text::build(name, Some(&written), "", diagnostics)
        };
        Some(match self {
            Self::Text(value) => Payload::Text(text(value, place)?),
            Self::Plain(value) => Payload::Plain(value.clone()),
            Self::List(items) => {
                let items =
                    items.iter().map(|item| item.value.build(name, item.place, diagnostics));
                Payload::List(items.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?)
            }
            Self::Map(entries) => {
                let mut built = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let key = Text::build(name, Some(key), "", diagnostics);
                    let value = value.value.build(name, value.place, diagnostics);
                    built.push(key.zip(value));
                }
                Payload::Map(built.into_iter().collect::<Option<_>>()?)
            }
        })
    }
}

impl Payload {
    /// The structure with every text rendered.
    pub(super) fn render(&self, renderer: &Renderer<'_>) -> Value {
        match self {
            Self::Text(text) => {
                let text = renderer.render(text);
                if text.is_empty() {
                    return Value::Null;
                }
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            }
            Self::Plain(value) => value.clone(),
            Self::List(items) => items.iter().map(|item| item.render(renderer)).collect(),
            Self::Map(entries) => {
                let entries = entries.iter();
                let entries =
                    entries.map(|(name, value)| (renderer.render(name), value.render(renderer)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }
}

impl<'de> Deserialize<'de> for PayloadConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = PayloadConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, a list or a map")
            }

            fn visit_bool<E>(self, value: bool) -> Result<PayloadConfig, E> {
                Ok(PayloadConfig::Plain(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<PayloadConfig, E> {
                Ok(PayloadConfig::Plain(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<PayloadConfig, E> {
                Ok(PayloadConfig::Plain(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<PayloadConfig, E> {
                Ok(PayloadConfig::Plain(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<PayloadConfig, E> {
                Ok(PayloadConfig::Text(value.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<PayloadConfig, E> {
                Ok(PayloadConfig::Plain(Value::Null))
            }

            fn visit_none<E>(self) -> Result<PayloadConfig, E> {
                Ok(PayloadConfig::Plain(Value::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PayloadConfig, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(PayloadConfig::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PayloadConfig, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(PayloadConfig::Map(entries))
            }
        }

        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::texts::tests::notification;
    use super::*;
    use crate::template::{Escape, Templates};

    #[track_caller]
    fn check(yaml: &str, expected: Value) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Spanned<PayloadConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let payload = config.value.build("payload", config.place, &mut diagnostics).unwrap();
        assert_eq!(diagnostics.to_string(), "", "{yaml}");
        let templates = Arc::new(Templates::defaults());
        let mut notification = notification();
        let texts = &mut notification.alerts[0].annotations;
        texts.insert("hostile".into(), r#"{{ .ExternalURL }}: "x""#.into());
        let renderer = Renderer::new(&templates, &notification, Escape::Text);
        assert_eq!(payload.render(&renderer), expected, "{yaml}");
    }

    #[test]
    fn a_structure_is_rendered_throughout() {
        check(
            "{a: '{{ .Status }}', b: [1, 2.5, true, null], '{{ .Receiver }}': {c: x}}",
            json!({"a": "firing", "b": [1, 2.5, true, null], "ops": {"c": "x"}}),
        );
        check("'{{ .Alerts.Firing | len }}'", json!(1));
        check("['', '{{ .CommonLabels.none }}', ' ']", json!([null, null, " "]));
        check("'{{ .GroupLabels | toJson }}'", json!({"alertname": "CheckFailed"}));
        check(
            "|\n  {\"n\": {{ len .Alerts }}, \"s\": {{ .Status | toJson }}}\n",
            json!({"n": 2, "s": "firing"}),
        );
    }

    #[test]
    fn what_an_alert_brings_is_no_template_and_no_yaml() {
        check("'{{ (index .Alerts 0).Annotations.hostile }}'", json!(r#"{{ .ExternalURL }}: "x""#));
        check("'{{ .Status }}: disk full'", json!("firing: disk full"));
    }

    #[test]
    fn every_template_that_is_wrong_is_reported_where_it_stands() {
        let mut diagnostics = Diagnostics::new("f.yml");
        let yaml = "{a: '{{ nope }}',\n b: ['{{ none }}'], '{{ if }}': 1}";
        let config: Spanned<PayloadConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
        assert!(config.value.build("payload", config.place, &mut diagnostics).is_none());
        let places: Vec<_> = diagnostics.faults().iter().map(|f| f.place().unwrap()).collect();
        let places: Vec<_> = places.iter().map(|place| place.to_string()).collect();
        assert_eq!(places, ["1:5", "2:6", "2:21"]);
    }
}
