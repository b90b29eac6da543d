//! Templates of rules and notifications: Go's text/template with the functions of Prometheus and
//! Alertmanager, interpreted within limits.
//!
//! ```text
//! text ─lex▶ tokens ─parse▶ Template ─┐
//!                                     ├─render▶ text, or HTML escaped by context
//! labels, alerts ─▶ Value ────────────┘
//! ```
//!
//! A [`Template`] is parsed once and shared; [`Templates`] is the set of named ones that others
//! call by `{{ template "name" . }}`. The two [`Dialect`]s differ in their functions: those of
//! rules can ask queries, those of notifications compose messages.
//!
//! Invariant: rendering reads no clock, file, environment or network, and ends within its
//! [`Limits`] whatever the template and the data are; what it was not given it cannot see.

mod limits;
mod error;
mod value;
mod time;
mod print;
mod json;
mod literal;
mod lex;
mod syntax;
mod parse;
mod pattern;
mod markup;
mod html;
mod inputs;
mod methods;
mod functions;
mod evaluate;
mod diagnose;

use std::sync::Arc;

use base::sample::Timestamp;

use error::place_of;
use evaluate::{Library, Trees};
use parse::Parsed;

pub use error::{Fault, TemplateError};
pub use inputs::{AlertData, NotificationData, QuerySample, RuleData};
pub use limits::Limits;
pub use markup::Markup;
pub use time::Time;
pub use value::{Field, List, ListKind, Map, MapKind, Named, Record, Safe, Value};

/// The templates that notifications use where nothing else is configured.
const DEFAULTS: &str = include_str!("template/default.tmpl");

/// Which functions and variables a template can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Labels and annotations of rules, as in Prometheus.
    Rule,
    /// Notifications, as in Alertmanager.
    Notification,
}

impl Dialect {
    /// The variables that are there from the beginning, and the fields of the data that they hold.
    fn variables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rule => &[
                ("$labels", "Labels"),
                ("$externalLabels", "ExternalLabels"),
                ("$externalURL", "ExternalURL"),
                ("$value", "Value"),
                ("$output", "Output"),
            ],
            Self::Notification => &[],
        }
    }
}

/// How the values in the output are escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// Not at all.
    #[default]
    Text,
    /// For the place in an HTML document where each stands.
    Html,
    /// `&`, `<` and `>`, as in messages for Slack and Telegram: markup is the author's alone.
    Entities,
    /// By the rules of a chat service.
    Markup(Markup),
}

impl Escape {
    /// `text` as a value of that text would be written.
    pub fn escaped(self, text: &str) -> String {
        // No escaping makes a character longer than that.
        let mut out = html::Output::new(text.len().saturating_mul(8), self);
        match out.value(&text.into()) {
            Ok(()) => out.into_string(),
            // A value stands in text here, where every value may stand.
            Err(_) => String::new(),
        }
    }
}

/// What stands for a key that a map does not have; Go's option `missingkey`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingKey {
    /// The empty text in a map of texts, else nothing.
    #[default]
    Zero,
    /// Nothing, printed as `<no value>`.
    Default,
    /// An error.
    Error,
}

/// Answers a query of a rule template, at the time for which the rule is evaluated.
pub type Query<'a> = dyn Fn(&str) -> Result<Vec<QuerySample>, String> + 'a;

/// How a template is rendered.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The time that `now` and `since` go by.
    pub now: Timestamp,
    /// How values are escaped.
    pub escape: Escape,
    /// What stands for missing keys.
    pub missing_key: MissingKey,
    /// What `externalURL` and `pathPrefix` tell of.
    pub external_url: &'a str,
    /// What `query` asks.
    pub query: Option<&'a Query<'a>>,
    /// What it may cost.
    pub limits: Limits,
}

impl Options<'_> {
    /// Plain text, with nothing to query, within the usual limits.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            escape: Escape::Text,
            missing_key: MissingKey::Zero,
            external_url: "",
            query: None,
            limits: Limits::default(),
        }
    }
}

/// A text that was parsed; cheap to clone.
#[derive(Clone, Debug)]
pub struct Template(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dialect: Dialect,
    parsed: Parsed,
    /// Whether there is no action in it.
    literal: bool,
}

impl Template {
    /// Parses `text`; errors call it `name`.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Syntax`]: the first thing that is wrong with it.
    pub fn parse(dialect: Dialect, name: &str, text: &str) -> Result<Self, TemplateError> {
        let parsed = parse::parse(dialect, name, text).map_err(first)?;
        let literal = !text.contains("{{");
        Ok(Self(Arc::new(Inner { dialect, parsed, literal })))
    }

    /// Everything that is wrong with `text`: unknown functions and variables, each with its place,
    /// and the first other fault of its syntax.
    pub fn faults(dialect: Dialect, name: &str, text: &str) -> Vec<TemplateError> {
        parse::parse(dialect, name, text).err().unwrap_or_default()
    }

    /// The text itself where there is nothing to render in it.
    pub fn as_literal(&self) -> Option<&str> {
        self.0.literal.then_some(&self.0.parsed.body.source.text)
    }

    /// Renders it over `data`, without other templates than its own.
    ///
    /// # Errors
    ///
    /// - [`TemplateError::Execution`]: it does not fit the data.
    /// - [`TemplateError::Limit`]: it takes more than the limits allow.
    pub fn render(&self, data: &Value, options: &Options<'_>) -> Result<String, TemplateError> {
        self.render_with(None, data, options)
    }

    fn render_with(
        &self,
        shared: Option<&Trees>,
        data: &Value,
        options: &Options<'_>,
    ) -> Result<String, TemplateError> {
        if let Some(text) = self.as_literal()
            && text.len() <= options.limits.output
            && (options.escape != Escape::Html || !text.contains('<'))
        {
            return Ok(text.to_owned());
        }
        let Inner { dialect, parsed, .. } = &*self.0;
        let library = Library { dialect: *dialect, own: &parsed.defines, shared };
        evaluate::render(&parsed.body, library, data, options)
    }
}

/// Named templates that others call.
#[derive(Clone, Debug)]
pub struct Templates {
    dialect: Dialect,
    trees: Trees,
}

impl Templates {
    /// An empty set.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, trees: Trees::new() }
    }

    /// The templates that notifications use by default; what is added replaces those of its name.
    pub fn defaults() -> Self {
        let mut templates = Self::new(Dialect::Notification);
        templates.add("default.tmpl", DEFAULTS).expect("a test parses the embedded templates");
        templates
    }

    /// Adds what the file `name` with that `text` defines, and the text itself under its name.
    ///
    /// A template replaces an earlier one of its name, unless it is empty.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Syntax`]; nothing was added then.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), TemplateError> {
        let Parsed { body, defines } = parse::parse(self.dialect, name, text).map_err(first)?;
        for (name, tree) in defines.into_iter().chain([(name.into(), body)]) {
            if !parse::is_empty(&tree) || !self.trees.contains_key(&name) {
                self.trees.insert(name, tree);
            }
        }
        Ok(())
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.trees.keys().map(|name| &**name)
    }

    /// Renders `template`, which can call those of the set.
    ///
    /// # Errors
    ///
    /// As [`Template::render`].
    pub fn render(
        &self,
        template: &Template,
        data: &Value,
        options: &Options<'_>,
    ) -> Result<String, TemplateError> {
        template.render_with(Some(&self.trees), data, options)
    }

    /// Renders the template `name` of the set.
    ///
    /// # Errors
    ///
    /// As [`Template::render`], also if there is none of that name.
    pub fn render_named(
        &self,
        name: &str,
        data: &Value,
        options: &Options<'_>,
    ) -> Result<String, TemplateError> {
        let Some(tree) = self.trees.get(name) else {
            let (place, _) = place_of("", 0);
            let message = format!("template {} not defined", print::quoted(name));
            let template = name.to_owned();
            return Err(TemplateError::Execution(Fault {
                template,
                place,
                message,
                executing: None,
            }));
        };
        let library = Library { dialect: self.dialect, own: &self.trees, shared: None };
        evaluate::render(tree, library, data, options)
    }

    /// Parses and renders a text without a name, which can call the templates of the set.
    ///
    /// # Errors
    ///
    /// As [`Template::parse`] and [`Template::render`].
    pub fn render_text(
        &self,
        text: &str,
        data: &Value,
        options: &Options<'_>,
    ) -> Result<String, TemplateError> {
        self.render(&Template::parse(self.dialect, "", text)?, data, options)
    }
}

fn first(errors: Vec<TemplateError>) -> TemplateError {
    let nothing = || Fault {
        template: String::new(),
        place: place_of("", 0).0,
        message: "the text cannot be parsed".to_owned(),
        executing: None,
    };
    errors.into_iter().next().unwrap_or_else(|| TemplateError::Syntax(nothing()))
}

#[cfg(test)]
mod tests;
