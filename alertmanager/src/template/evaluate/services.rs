//! What functions ask of the rendering: regular expressions, templates by name, labels of routes.
//!
//! Invariant: all of it is paid from the budget of the rendering that it is done for.

use std::collections::BTreeMap;

use super::super::Escape;
use super::super::error::Failure;
use super::super::functions::Outcome;
use super::super::html::Output;
use super::super::inputs::NOTIFICATION;
use super::super::limits::{Budget, NESTING};
use super::super::parse;
use super::super::pattern;
use super::super::value::{Safe, Value};
use super::{Library, Machine};

/// The labels of the route, as far as they were rendered.
#[derive(Debug, Default)]
pub(super) struct RouteLabels {
    rendered: BTreeMap<String, String>,
    /// Those that are being rendered, outermost first.
    within: Vec<String>,
}

impl Machine<'_> {
    /// Refuses a list or map that is nested too deeply to be printed or dropped.
    pub(in super::super) fn made(&mut self, value: Value) -> Outcome {
        if value.depth() > NESTING {
            return Err(Failure::Limit(format!(
                "template limit: more than {NESTING} lists or maps within each other"
            )));
        }
        Ok(value)
    }

    pub(in super::super) fn matches(&mut self, pattern: &str, text: &str) -> Outcome {
        let regex = self.patterns.get(pattern, text, &mut self.budget)?;
        Ok(Value::Bool(regex.is_match(text)))
    }

    pub(in super::super) fn replace_all(
        &mut self,
        pattern: &str,
        replacement: &str,
        text: &str,
    ) -> Outcome {
        let regex = self.patterns.get(pattern, text, &mut self.budget)?;
        let mut out = self.budget.text();
        let matches = pattern::replace_all(&mut out, &regex, replacement, text)?;
        self.budget.charge(matches)?;
        Ok(out.into_string().into())
    }

    /// What the template `name` makes of `dot`, as a value.
    pub(in super::super) fn named_template(&mut self, name: &str, dot: &Value) -> Outcome {
        let Some(tree) = self.library.find(name) else {
            let name = super::super::print::quoted(name);
            return Err(format!("no template {name} associated with template {}", {
                super::super::print::quoted(&self.tree.source.name)
            })
            .into());
        };
        self.budget.enter()?;
        let escape = self.out.escape();
        let inner = Output::new(self.budget.limits().output, escape);
        let outer = std::mem::replace(&mut self.out, inner);
        let result = self.body(tree, dot);
        let inner = std::mem::replace(&mut self.out, outer);
        result.map_err(Failure::Stopped)?;
        self.budget.leave();
        let text = inner.into_string();
        Ok(match escape {
            Escape::Text => text.into(),
            Escape::Html | Escape::Entities | Escape::Markup(_) => {
                Value::Safe(Safe::Html, text.into())
            }
        })
    }

    /// A label of the route, rendered as the template that it is. A name that is not there gives
    /// nothing.
    pub(in super::super) fn route_label(&mut self, name: &str) -> Outcome {
        let Some(text) = self.route_label_text(name) else { return Ok("".into()) };
        if let Some(rendered) = self.route.rendered.get(name) {
            return Ok(rendered.as_str().into());
        }
        if self.route.within.iter().any(|outer| outer == name) {
            let path = [self.route.within.join(" -> "), name.to_owned()].join(" -> ");
            return Err(format!("route label cycle detected: {path}").into());
        }
        self.budget.enter()?;
        self.budget.charge_bytes(text.len().saturating_mul(8))?;
        let parsed = parse::parse(self.library.dialect, "", &text).map_err(|errors| {
            Failure::from(errors.first().map(ToString::to_string).unwrap_or_default())
        })?;
        let nothing = Budget::new(self.options.limits);
        let mut inner = Machine::new(
            &parsed.body,
            Library { own: &parsed.defines, ..self.library },
            self.data,
            self.options,
            std::mem::replace(&mut self.budget, nothing),
        );
        inner.out = Output::new(self.options.limits.output, Escape::Text);
        inner.route = std::mem::take(&mut self.route);
        inner.route.within.push(name.to_owned());
        let result = inner.run();
        self.budget = std::mem::replace(&mut inner.budget, Budget::new(self.options.limits));
        self.route = std::mem::take(&mut inner.route);
        self.route.within.pop();
        result.map_err(Failure::Stopped)?;
        self.budget.leave();
        let rendered = inner.out.into_string();
        self.route.rendered.insert(name.to_owned(), rendered.clone());
        Ok(rendered.into())
    }

    fn route_label_text(&self, name: &str) -> Option<String> {
        let Value::Record(record) = self.data else { return None };
        match record.get("RouteLabels") {
            Some(Value::Map(labels)) if record.type_name == NOTIFICATION => {
                labels.get(name)?.as_text().map(str::to_owned)
            }
            _ => None,
        }
    }
}
