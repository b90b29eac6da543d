//! Looking into JSON: paths, and what stands at their ends.
//!
//! ```text
//! $.orders[0].state   $['a b'].c   items[*].ok   $.errors.length()
//! ```
//!
//! Invariant: a number that is outside of its range is the only thing that is worth a warning; what
//! is missing or different is a failure.

use std::fmt;

use regex::bytes::Regex;
use serde_json::Value;

use super::variables::{Escape, Template, Variables};
use crate::outcome::{Measurement, Status};
use crate::text::shown_line;
use crate::thresholds::Thresholds;

/// The most values that a path with `[*]` finds.
const MAX_FOUND: usize = 10_000;

/// Where something stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    source: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Name(String),
    /// From the end where it is negative.
    Index(i64),
    Every,
    Length,
}

/// Something that a path leads to.
#[derive(Debug, PartialEq)]
pub(super) enum Found<'j> {
    Value(&'j Value),
    Length(usize),
}

impl Found<'_> {
    /// A string as it is, everything else as JSON.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Value(Value::String(text)) => text.clone(),
            Self::Value(value) => value.to_string(),
            Self::Length(length) => length.to_string(),
        }
    }

    /// A number, also one that is written as a string; of a truth value 1 or 0.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Value(Value::Number(number)) => number.as_f64(),
            Self::Value(Value::Bool(is_true)) => Some(f64::from(u8::from(*is_true))),
            Self::Value(Value::String(text)) => text.trim().parse().ok(),
            Self::Value(_) => None,
            Self::Length(length) => Some(*length as f64),
        }
    }
}

impl Path {
    /// Reads a path; nothing where it is none.
    pub(super) fn read(source: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = source.strip_prefix('$').unwrap_or(source);
        // The `$` and its dot may be left out.
        let mut is_bare = rest.len() == source.len();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let step;
                (step, rest) = bracket(inner)?;
                steps.push(step);
            } else {
                let name = match rest.strip_prefix('.') {
                    Some(name) => name,
                    None if is_bare => rest,
                    None => return None,
                };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                let (name, after) = name.split_at(end);
                steps.push(match name {
                    "" => return None,
                    "*" => Step::Every,
                    "length()" if after.is_empty() => Step::Length,
                    name if name.contains(['(', ')', '*', '?', '\'', '"', ' ']) => return None,
                    name => Step::Name(name.to_owned()),
                });
                rest = after;
            }
            is_bare = false;
        }
        (!source.is_empty()).then(|| Self { source: source.to_owned(), steps })
    }

    /// Everything that the path leads to.
    pub(super) fn find<'j>(&self, json: &'j Value) -> Vec<Found<'j>> {
        let mut found = vec![json];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                match (step, value) {
                    (Step::Name(name), Value::Object(fields)) => next.extend(fields.get(name)),
                    (Step::Index(index), Value::Array(items)) => {
                        let from_end = items
                            .len()
                            .checked_add_signed(isize::try_from(*index).unwrap_or(isize::MIN));
                        let index = usize::try_from(*index).ok().or(from_end);
                        next.extend(index.and_then(|index| items.get(index)));
                    }
                    (Step::Every, Value::Array(items)) => next.extend(items),
                    (Step::Every, Value::Object(fields)) => next.extend(fields.values()),
                    (Step::Length, _) => next.push(value),
                    _ => {}
                }
            }
            next.truncate(MAX_FOUND);
            found = next;
        }
        if self.steps.last() != Some(&Step::Length) {
            return found.into_iter().map(Found::Value).collect();
        }
        let length = |value: &Value| match value {
            Value::Array(items) => Some(items.len()),
            Value::Object(fields) => Some(fields.len()),
            Value::String(text) => Some(text.chars().count()),
            _ => None,
        };
        found.into_iter().filter_map(|value| length(value).map(Found::Length)).collect()
    }
}

/// What stands in brackets, and what follows them.
fn bracket(inner: &str) -> Option<(Step, &str)> {
    if let Some(quote) = inner.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let (name, rest) = inner[1..].split_once(quote)?;
        return Some((Step::Name(name.to_owned()), rest.strip_prefix(']')?));
    }
    let (index, rest) = inner.split_once(']')?;
    match index {
        "*" => Some((Step::Every, rest)),
        index => Some((Step::Index(index.parse().ok()?), rest)),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// What should stand at the end of a path.
#[derive(Debug)]
pub(super) struct JsonRule {
    pub(super) path: Path,
    /// What the number is called.
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) equals: Option<Template>,
    pub(super) matches: Option<Regex>,
    pub(super) thresholds: Thresholds,
    /// Whether there are thresholds, so that it must be a number.
    pub(super) is_measured: bool,
}

/// What a rule says of an answer.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// What is different from what it should be.
    pub(super) mismatch: Option<String>,
    /// What is over a limit, and how bad that is.
    pub(super) over: Vec<(Status, String)>,
    /// The number, where there is one.
    pub(super) measurement: Option<Measurement>,
}

impl JsonRule {
    /// Judges everything that the path leads to.
    pub(super) fn judge(&self, json: &Value, variables: &Variables) -> Judged {
        let (path, mut judged) = (&self.path, Judged::default());
        let found = path.find(json);
        if found.is_empty() {
            judged.mismatch = Some(format!("the body has no `{path}`"));
            return judged;
        }
        for one in &found {
            let shown = || shown_line(one.text().as_bytes(), 100);
            if let Some(equals) = &self.equals {
                let wanted = equals.render(variables, Escape::None);
                let same_number = || Some(one.number()? == wanted.parse::<f64>().ok()?);
                let is_string = matches!(one, Found::Value(Value::String(_)));
                if one.text() != wanted && (is_string || same_number() != Some(true)) {
                    let (shown, wanted) = (shown(), equals.source());
                    judged.mismatch = Some(format!("`{path}` is `{shown}`, wanted `{wanted}`"));
                    return judged;
                }
            }
            if let Some(regex) =
                self.matches.as_ref().filter(|r| !r.is_match(one.text().as_bytes()))
            {
                let shown = shown();
                judged.mismatch = Some(format!("`{path}` is `{shown}`, does not match `{regex}`"));
                return judged;
            }
            match one.number() {
                Some(number) => {
                    let (status, text) = self.thresholds.told(&self.name, number, &self.unit);
                    judged.over.extend(text.map(|text| (status, text)));
                }
                None if self.is_measured => {
                    judged.mismatch =
                        Some(format!("`{path}` is `{}`, which is no number", shown()));
                    return judged;
                }
                None => {}
            }
        }
        if let [one] = found.as_slice() {
            let number = one.number();
            judged.measurement =
                number.map(|number| self.thresholds.measurement(&self.name, number, &self.unit));
        }
        judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        r#"{"a": {"b c": [1, "two", {"d": true}], "n": "7.5", "x.y": null}, "l": []}"#;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let json: Value = serde_json::from_str(JSON).unwrap();
        let found = match Path::read(path) {
            Some(path) => path.find(&json).iter().map(Found::text).collect::<Vec<_>>().join(" "),
            None => "no path".to_owned(),
        };
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn finds_what_a_path_leads_to() {
        check("$.a['b c'][0]", "1");
        check("a.n", "7.5");
        check("$['a'][\"b c\"][-1].d", "true");
        check("$.a['b c'][-4]", "");
        check("$.a['b c'][3]", "");
        check("$.a['x.y']", "null");
        check("$.a['b c'][*]", "1 two {\"d\":true}");
        check("$.a['b c'].length()", "3");
        check("$.l.length()", "0");
        check("l[*].x", "");
        check("$.none.n", "");
        check("$.l", "[]");
        for bad in ["", "$a", "a..b", "a[", "a[x]", "a['x]", "a.", "$.a b", "$.a[?(@.x)]", "$.f()"]
        {
            check(bad, "no path");
        }
        check("$", &serde_json::from_str::<Value>(JSON).unwrap().to_string());
    }
}
