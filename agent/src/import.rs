//! Moving in: configurations of others, turned into ours as far as they go.
//!
//! Invariant: nothing is left out in silence: what is not converted is told with its file and line.

mod blackbox;
mod nrpe;
mod words;

pub(crate) use blackbox::blackbox;
pub(crate) use nrpe::nrpe;

use std::fmt;

/// What became of a configuration of somebody else's.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    /// A part of `agent.yml`.
    pub(crate) yaml: String,
    /// What was not converted, or means something else here.
    pub(crate) notes: Vec<Note>,
}

/// Something that whoever moves in should know.
#[derive(Debug)]
pub(crate) struct Note {
    file: String,
    line: usize,
    text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}

/// A text as a value of YAML: JSON is a part of it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Texts as a list of YAML.
fn list(texts: &[String]) -> String {
    let quoted: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}
