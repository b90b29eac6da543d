//! The command line of a check: macros, and arguments with their conditions and order.
//!
//! Invariant: an argument whose value only Icinga could find out is left out only where it may be.

use serde_json::{Map, Value};

use super::code;
use super::eval::{code, plain, truth};

/// How deep values may hold macros themselves.
const MAX_DEPTH: usize = 8;
/// The most arguments.
const MOST: usize = 4096;

/// Where macros look for their values.
pub(super) struct Line<'l> {
    pub(super) host: &'l Value,
    pub(super) service: Option<&'l Value>,
    pub(super) command: &'l Value,
}

/// The words of a command line, or a line for a shell.
pub(super) enum Words {
    List(Vec<String>),
    Shell(String),
}

impl Line<'_> {
    /// The command line.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(super) fn words(&self) -> Result<Words, String> {
        let Value::Array(begin) = &self.command["command"] else {
            return match &self.command["command"] {
                Value::String(text) if code(&self.command["command"]).is_none() => {
                    self.text(text, 0).map(|text| Words::Shell(text.unwrap_or_default()))
                }
                _ => Err("its command is part of Icinga itself".to_owned()),
            };
        };
        let mut words = Vec::new();
        for part in begin {
            words.extend(self.values(part)?);
        }
        let mut arguments = Vec::new();
        for (key, argument) in self.command["arguments"].as_object().into_iter().flatten() {
            let order = argument["order"].as_f64().unwrap_or(0.0);
            arguments.push((order, self.argument(key, argument)?));
        }
        arguments.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        words.extend(arguments.into_iter().flat_map(|(_, words)| words));
        if words.len() > MOST {
            return Err("its command line is too long".to_owned());
        }
        Ok(Words::List(words))
    }

    fn argument(&self, key: &str, argument: &Value) -> Result<Vec<String>, String> {
        let none = Map::new();
        let settings = argument.as_object().unwrap_or(&none);
        let set = |name: &str, usual: bool| settings.get(name).map_or(usual, truth);
        if let Some(condition) = settings.get("set_if") {
            let is_set = match condition {
                Value::String(text) if code(condition).is_none() => self
                    .text(text, 0)?
                    .is_some_and(|text| !matches!(text.as_str(), "" | "0" | "false" | "null")),
                other => truth(&self.known(other, 0)?),
            };
            if !is_set {
                return Ok(Vec::new());
            }
        }
        let value = if argument.is_object() { settings.get("value") } else { Some(argument) };
        let key = settings.get("key").map_or(key.to_owned(), plain);
        let Some(value) = value else { return Ok(vec![key]) };
        let values = self.values(value)?;
        if values.is_empty() && set("required", false) {
            return Err(format!("the value of `{key}` is missing"));
        }
        if set("skip_key", false) {
            return Ok(values);
        }
        if let Some(separator) = settings.get("separator").map(plain) {
            return Ok(values.iter().map(|value| format!("{key}{separator}{value}")).collect());
        }
        let repeats = set("repeat_key", true);
        let mut words = Vec::new();
        for (n, value) in values.into_iter().enumerate() {
            if repeats || n == 0 {
                words.push(key.clone());
            }
            words.push(value);
        }
        Ok(words)
    }

    /// A value, or what its code comes to.
    fn known(&self, value: &Value, depth: usize) -> Result<Value, String> {
        let Some(text) = code(value) else { return Ok(value.clone()) };
        if depth > MAX_DEPTH {
            return Err("its macros name each other without end".to_owned());
        }
        code::run(text, &|text| {
            let name = text.strip_prefix('$').and_then(|rest| rest.strip_suffix('$'));
            let value = name.filter(|name| !name.contains('$')).and_then(|name| self.value(name));
            match value {
                Some(value) if !value.is_string() => Ok(value),
                _ => Ok(self.text(text, depth + 1)?.map_or(Value::Null, Value::from)),
            }
        })
    }

    /// The texts that a value comes to: none where a macro of it has no value.
    fn values(&self, value: &Value) -> Result<Vec<String>, String> {
        match &self.known(value, 0)? {
            Value::Null => Ok(Vec::new()),
            Value::Array(list) => {
                let mut found = Vec::new();
                for item in list {
                    found.extend(self.values(item)?);
                }
                Ok(found)
            }
            Value::String(text) => {
                let name = text.strip_prefix('$').and_then(|rest| rest.strip_suffix('$'));
                match name.filter(|name| !name.is_empty() && !name.contains('$')) {
                    Some(name) => match self.value(name) {
                        Some(list @ Value::Array(_)) => self.values(&list),
                        Some(Value::Null) | None => Ok(Vec::new()),
                        Some(_) => Ok(self.text(text, 0)?.into_iter().collect()),
                    },
                    None => Ok(self.text(text, 0)?.into_iter().collect()),
                }
            }
            other => Ok(vec![plain(other)]),
        }
    }

    /// A text with the values of its macros; `None` where one has none.
    fn text(&self, text: &str, depth: usize) -> Result<Option<String>, String> {
        if depth > MAX_DEPTH {
            return Err("its macros name each other without end".to_owned());
        }
        let mut found = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            found.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                found.push('$');
                rest = after;
                continue;
            }
            let Some((name, after)) = after.split_once('$') else {
                return Err(format!("`{text}` has a `$` without its other"));
            };
            let value = self.value(name).unwrap_or_default();
            let is_code = code(&value).is_some();
            match Some(self.known(&value, depth + 1)?) {
                None | Some(Value::Null) => return Ok(None),
                // What code comes to has no macros of its own.
                Some(value) if is_code => found.push_str(&plain(&value)),
                Some(Value::String(value)) => match self.text(&value, depth + 1)? {
                    Some(value) => found.push_str(&value),
                    None => return Ok(None),
                },
                Some(Value::Array(list)) => {
                    let items: Vec<_> = list.iter().map(plain).collect();
                    found.push_str(&items.join(";"));
                }
                Some(other) => found.push_str(&plain(&other)),
            }
            rest = after;
        }
        found.push_str(rest);
        Ok(Some(found))
    }

    /// What a macro stands for: of the service, then of the host, then of the command.
    fn value(&self, name: &str) -> Option<Value> {
        let inside = |object: &Value, path: &str| {
            let mut place = object;
            for part in path.split('.') {
                place = place.get(part)?;
            }
            Some(place.clone()).filter(|value| !value.is_null())
        };
        if let Some(path) = name.strip_prefix("host.") {
            return inside(self.host, path);
        }
        if let Some(path) = name.strip_prefix("service.") {
            return self.service.and_then(|service| inside(service, path));
        }
        let objects = self.service.into_iter().chain([self.host]);
        objects.chain([self.command]).find_map(|object| {
            let vars = inside(&object["vars"], name);
            vars.or_else(|| if object == self.command { None } else { inside(object, name) })
        })
    }
}
