//! What expressions come to, and what objects have in the end.
//!
//! Invariant: what can be known only while Icinga runs is an error that says so, never a guess.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::parse::{Expr, Setting};

/// How deep templates import each other.
const MAX_DEPTH: usize = 32;

/// The longest text, and the longest list, that an expression comes to.
const MAX_LENGTH: usize = 1 << 16;

/// Stands before code in the place of a value.
const CODE: char = '\u{0}';

/// The code that a value is.
pub(super) fn code(value: &Value) -> Option<&str> {
    value.as_str()?.strip_prefix(CODE)
}

/// Who knows what a text with macros comes to.
pub(super) type Ask<'a> = &'a dyn Fn(&str) -> Result<Value, String>;

/// Bodies by kind and name.
pub(super) type Bodies = BTreeMap<(String, String), Vec<Setting>>;

/// What names stand for.
pub(super) struct Scope<'s> {
    pub(super) constants: &'s Map<String, Value>,
    pub(super) templates: &'s Bodies,
    pub(super) locals: Map<String, Value>,
    pub(super) ask: Option<Ask<'s>>,
}

impl Scope<'_> {
    pub(super) fn eval(&self, expr: &Expr) -> Result<Value, String> {
        self.eval_in(expr, &Value::Null)
    }

    /// The value of `expr` within `object`.
    fn eval_in(&self, expr: &Expr, object: &Value) -> Result<Value, String> {
        Ok(match expr {
            Expr::Text(text) => Value::from(text.as_str()),
            Expr::Number(number) => Value::from(*number),
            Expr::Truth(truth) => Value::from(*truth),
            Expr::Null => Value::Null,
            Expr::Code(text) => Value::from(format!("{CODE}{text}")),
            Expr::Choice(condition, then, otherwise) => {
                let is_so = truth(&self.eval_in(condition, object)?);
                self.eval_in(if is_so { then } else { otherwise }, object)?
            }
            Expr::Name(name) => self.name(name, object)?,
            Expr::List(items) => {
                let items: Result<Vec<_>, _> =
                    items.iter().map(|item| self.eval_in(item, object)).collect();
                Value::Array(items?)
            }
            Expr::Dictionary(settings) => {
                let mut found = Value::Object(Map::new());
                self.run("", settings, &mut found, 0)?;
                found
            }
            Expr::Member(of, key) => {
                let (of, key) = (self.eval_in(of, object)?, self.eval_in(key, object)?);
                match (&of, &key) {
                    (Value::Object(map), Value::String(key)) => {
                        map.get(key).cloned().unwrap_or(Value::Null)
                    }
                    (Value::Array(list), key) => {
                        let at = key.as_f64().unwrap_or(-1.0);
                        list.iter()
                            .zip(0_u32..)
                            .find(|(_, n)| f64::from(*n) == at)
                            .map_or(Value::Null, |(value, _)| value.clone())
                    }
                    _ => Value::Null,
                }
            }
            Expr::Not(inner) => Value::from(!truth(&self.eval_in(inner, object)?)),
            Expr::Two(left, "&&", right) => {
                let left = self.eval_in(left, object)?;
                if truth(&left) { self.eval_in(right, object)? } else { left }
            }
            Expr::Two(left, "||", right) => {
                let left = self.eval_in(left, object)?;
                if truth(&left) { left } else { self.eval_in(right, object)? }
            }
            Expr::Two(left, sign, right) => {
                two(self.eval_in(left, object)?, sign, self.eval_in(right, object)?)?
            }
            Expr::Call(function, arguments) => {
                let arguments: Result<Vec<_>, _> =
                    arguments.iter().map(|argument| self.eval_in(argument, object)).collect();
                self.call(function, &arguments?, object)?
            }
        })
    }

    fn name(&self, name: &str, object: &Value) -> Result<Value, String> {
        let own = self.locals.get(name).or_else(|| object.get(name));
        match own.or_else(|| self.constants.get(name)) {
            Some(value) => Ok(value.clone()),
            None if matches!(name, "vars" | "host" | "service") => Ok(Value::Null),
            None => Err(format!("there is no `{name}`")),
        }
    }

    fn call(&self, function: &Expr, arguments: &[Value], object: &Value) -> Result<Value, String> {
        let text = |at: usize| arguments.get(at).map(plain).unwrap_or_default();
        match function {
            Expr::Name(name) if name == "match" => Ok(Value::from(glob(&text(0), &text(1)))),
            Expr::Name(name) if name == "regex" => {
                let regex =
                    Regex::new(&text(0)).map_err(|_| "an expression is wrong".to_owned())?;
                Ok(Value::from(regex.is_match(&text(1))))
            }
            Expr::Name(name) if name == "len" => {
                let length = match arguments.first() {
                    Some(Value::Array(list)) => list.len(),
                    Some(Value::Object(map)) => map.len(),
                    Some(Value::String(text)) => text.len(),
                    _ => 0,
                };
                Ok(Value::from(length))
            }
            Expr::Member(of, method) => match &**method {
                Expr::Text(method) if method == "contains" => two(
                    arguments.first().cloned().unwrap_or_default(),
                    "in",
                    self.eval_in(of, object)?,
                ),
                Expr::Text(method) if method == "trim" => {
                    Ok(Value::from(plain(&self.eval_in(of, object)?).trim()))
                }
                _ => Err("a function is known only to Icinga".to_owned()),
            },
            Expr::Name(name) if name == "string" => Ok(Value::from(text(0))),
            Expr::Name(name) if name == "macro" && self.ask.is_some() => {
                self.ask.map_or(Ok(Value::Null), |ask| ask(&text(0)))
            }
            Expr::Name(name) => Err(format!("`{name}()` is known only to Icinga")),
            _ => Err("a function is known only to Icinga".to_owned()),
        }
    }

    /// Lets `object`, of `kind`, have what `settings` say, in their order.
    pub(super) fn run(
        &self,
        kind: &str,
        settings: &[Setting],
        object: &mut Value,
        depth: usize,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("templates import each other without end".to_owned());
        }
        for setting in settings {
            match setting {
                Setting::Import(name) => {
                    let name = plain(&self.eval_in(name, object)?);
                    match self.templates.get(&(kind.to_owned(), name.clone())) {
                        Some(body) => self.run(kind, body, object, depth + 1)?,
                        // Those are only about how Icinga runs it.
                        None if name.ends_with("-check-command") => {}
                        None => return Err(format!("there is no template `{name}`")),
                    }
                }
                Setting::Set { path, sign, value } => {
                    let value = self.eval_in(value, object)?;
                    let path: Result<Vec<_>, _> = path
                        .iter()
                        .map(|part| self.eval_in(part, object).map(|v| plain(&v)))
                        .collect();
                    set(object, &path?, sign, value)?;
                }
                Setting::Odd(what) => {
                    return Err(format!("`{what} ...` is decided only by Icinga"));
                }
                Setting::Assign(_) | Setting::Ignore(_) => {}
            }
        }
        Ok(())
    }
}

fn set(object: &mut Value, path: &[String], sign: &str, value: Value) -> Result<(), String> {
    let mut place = object;
    for part in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return Err("a setting is no mapping".to_owned()) };
        place = map.entry(part.clone()).or_insert(Value::Null);
    }
    *place = match sign {
        "=" => value,
        "+=" => two(place.take(), "+", value)?,
        _ => two(place.take(), "-", value)?,
    };
    Ok(())
}

fn two(left: Value, sign: &str, right: Value) -> Result<Value, String> {
    let numbers = || Some((left.as_f64()?, right.as_f64()?));
    Ok(match (sign, left.clone(), right.clone()) {
        ("==", ..) => Value::from(same(&left, &right)),
        ("!=", ..) => Value::from(!same(&left, &right)),
        ("in", left, Value::Array(list)) => Value::from(list.iter().any(|item| same(item, &left))),
        ("in", left, Value::Object(map)) => Value::from(map.contains_key(&plain(&left))),
        ("in", ..) => Value::from(false),
        ("!in", ..) => Value::from(!truth(&two(left, "in", right)?)),
        ("+", Value::Null, right) => right,
        ("+", left, Value::Null) => left,
        ("+", Value::Object(mut left), Value::Object(right)) => {
            left.extend(right);
            Value::Object(left)
        }
        ("+", Value::Array(left), Value::Array(right)) if left.len() + right.len() > MAX_LENGTH => {
            return Err("a list is too long".to_owned());
        }
        ("+", Value::Array(mut left), Value::Array(right)) => {
            left.extend(right);
            Value::Array(left)
        }
        ("-", Value::Array(mut left), Value::Array(right)) => {
            left.retain(|item| !right.iter().any(|own| same(item, own)));
            Value::Array(left)
        }
        (sign, left, right) => match (numbers(), sign) {
            (Some((left, right)), "+") => Value::from(left + right),
            (Some((left, right)), "-") => Value::from(left - right),
            (Some((left, right)), "*") => Value::from(left * right),
            (Some((left, right)), "/") if right != 0.0 => Value::from(left / right),
            (Some((left, right)), "<") => Value::from(left < right),
            (Some((left, right)), ">") => Value::from(left > right),
            (Some((left, right)), "<=") => Value::from(left <= right),
            (Some((left, right)), ">=") => Value::from(left >= right),
            (_, "+") if left.is_string() || right.is_string() => {
                let text = plain(&left) + &plain(&right);
                if text.len() > MAX_LENGTH {
                    return Err("a text is too long".to_owned());
                }
                Value::from(text)
            }
            _ => return Err(format!("`{sign}` does not fit its values")),
        },
    })
}

fn same(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// Whether a value counts as true.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as text.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().unwrap_or_default().to_string(),
        other => other.to_string(),
    }
}

/// Whether `text` fits a pattern with `*` and `?`.
fn glob(pattern: &str, text: &str) -> bool {
    let quoted = regex::escape(pattern).replace("\\*", ".*").replace("\\?", ".");
    Regex::new(&format!("(?is)^{quoted}$")).is_ok_and(|regex| regex.is_match(text))
}
