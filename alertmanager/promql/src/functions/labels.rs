//! `label_replace` and `label_join`: the same values under other labels.
//!
//! Invariant: patterns are compiled and names are checked before anything is evaluated, and no label
//! becomes longer than [`MOST_BYTES`], however often one is put into the other (X26).

use base::labels::{Labels, METRIC_NAME};
use base::matcher::anchored;
use regex::Regex;

use super::Literal;
use crate::evaluate::{EvalError, Key};
use crate::fault::Fault;

/// The longest value of a label that is made: as long as the longest line of a target.
const MOST_BYTES: usize = 64 << 10;

/// How labels change.
#[derive(Clone, Debug)]
pub(crate) enum Relabel {
    /// A label from what a pattern finds in another; nothing where it does not match.
    Replace { to: String, template: String, from: String, pattern: Regex },
    /// A label from the values of others.
    Join { to: String, separator: String, from: Vec<String> },
}

impl Relabel {
    /// Of `label_replace`: the label, the template, the label to look at, the pattern.
    pub(super) fn replace(args: &[Literal]) -> Result<Self, Fault> {
        let [to, template, from, pattern] = args else {
            return Err(Fault::meaning(Default::default(), "label_replace needs four strings"));
        };
        let compiled = anchored(&pattern.text).map_err(|error| {
            let message = format!("invalid regular expression in label_replace(): {error}");
            Fault::meaning(pattern.span, message)
        })?;
        Ok(Self::Replace {
            to: label_name(to, "invalid destination label name in label_replace()")?,
            template: template.text.clone(),
            from: from.text.clone(),
            pattern: compiled,
        })
    }

    /// Of `label_join`: the label, the separator, the labels to look at.
    pub(super) fn join(args: &[Literal]) -> Result<Self, Fault> {
        let [to, separator, from @ ..] = args else {
            return Err(Fault::meaning(Default::default(), "label_join needs two strings"));
        };
        let names =
            from.iter().map(|from| label_name(from, "invalid source label name in label_join()"));
        Ok(Self::Join {
            to: label_name(to, "invalid destination label name in label_join()")?,
            separator: separator.text.clone(),
            from: names.collect::<Result<_, _>>()?,
        })
    }

    /// The changed labels.
    ///
    /// # Errors
    ///
    /// A label would become too long.
    pub(crate) fn apply(&self, key: &Key) -> Result<Key, EvalError> {
        match self {
            Self::Replace { to, template, from, pattern } => {
                let value = key.get(from).unwrap_or("");
                let Some(found) = pattern.captures(value) else { return Ok(key.clone()) };
                // Each reference gives all of the value at most.
                let references = template.bytes().filter(|byte| *byte == b'$').count();
                check_length("label_replace", to, references * value.len() + template.len())?;
                let mut text = String::new();
                found.expand(template, &mut text);
                Ok(with(key, to, &text))
            }
            Self::Join { to, separator, from } => {
                let values: Vec<_> = from.iter().map(|name| key.get(name).unwrap_or("")).collect();
                let length: usize = values.iter().map(|value| value.len() + separator.len()).sum();
                check_length("label_join", to, length)?;
                Ok(with(key, to, &values.join(separator)))
            }
        }
    }
}

fn check_length(function: &str, to: &str, most: usize) -> Result<(), EvalError> {
    if most <= MOST_BYTES {
        return Ok(());
    }
    let message = format!(
        "{function}() could make the label {to:?} {most} bytes long, more than {MOST_BYTES}"
    );
    Err(EvalError::Query(message))
}

fn with(key: &Key, name: &str, value: &str) -> Key {
    let labels: Labels = key.to_labels().with(name, value);
    // A name that was given stays.
    if name == METRIC_NAME { Key::from(labels) } else { key.with_labels(labels) }
}

fn label_name(name: &Literal, message: &str) -> Result<String, Fault> {
    if name.text.is_empty() {
        return Err(Fault::meaning(name.span, format!("{message}: {}", name.text)));
    }
    Ok(name.text.clone())
}
