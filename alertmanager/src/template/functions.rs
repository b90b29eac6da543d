//! The functions that templates can call: Go's own, those of rule templates, and those of
//! notification templates.
//!
//! To add one: an entry in the table of its set, with the types of its parameters; the interpreter
//! has checked them when the function is called.
//!
//! Invariant: a function sees its arguments, the evaluation time and what the caller of the
//! rendering handed in; no clock, file, environment or network.

mod builtin;
mod compare;
mod escape;
mod humanize;
mod notification;
mod rule;
mod sequence;
mod text;

use base::diagnostic::nearest;

use super::Dialect;
use super::error::Failure;
use super::evaluate::Machine;
use super::print::quoted;
use super::value::{ListKind, Value};

pub(super) use notification::join;

/// What a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Param {
    Any,
    Text,
    Int,
    Time,
    Duration,
    List,
    Strings,
    Sample,
    Samples,
}

pub(super) type Outcome = Result<Value, Failure>;

/// A function, or a method whose first argument is what it is called on.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) params: &'static [Param],
    /// What may follow the parameters, any number of times.
    pub(super) rest: Option<Param>,
    pub(super) call: fn(&mut Machine<'_>, &[Value]) -> Outcome,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A function with exactly the given parameters.
pub(super) const fn function(
    name: &'static str,
    params: &'static [Param],
    call: fn(&mut Machine<'_>, &[Value]) -> Outcome,
) -> Function {
    Function { name, params, rest: None, call }
}

/// A function that takes more of the kind `rest` after its parameters.
const fn variadic(
    name: &'static str,
    params: &'static [Param],
    rest: Param,
    call: fn(&mut Machine<'_>, &[Value]) -> Outcome,
) -> Function {
    Function { name, params, rest: Some(rest), call }
}

/// Stands for a function that nobody knows, in a tree that is never rendered.
pub(super) static UNKNOWN: Function =
    variadic("?", &[], Param::Any, |_, _| Err("the function is not defined".into()));

impl Dialect {
    fn tables(self) -> [&'static [Function]; 2] {
        [
            match self {
                Self::Rule => rule::FUNCTIONS,
                Self::Notification => notification::FUNCTIONS,
            },
            builtin::FUNCTIONS,
        ]
    }

    /// The function of that name.
    pub(super) fn function(self, name: &str) -> Option<&'static Function> {
        self.tables().into_iter().flatten().find(|function| function.name == name)
    }

    /// The names of all functions.
    pub fn functions(self) -> impl Iterator<Item = &'static str> {
        self.tables().into_iter().flatten().map(|function| function.name)
    }
}

/// What is said of a name that is no function.
pub(super) fn unknown_function(dialect: Dialect, name: &str) -> String {
    let mut message = format!("function {} not defined", quoted(name));
    if let Some(known) = nearest(name, dialect.functions()) {
        message.push_str(&format!("; did you mean `{known}`?"));
    }
    message
}

impl Param {
    /// What Go calls the type.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Int => "int",
            Self::Time => "time.Time",
            Self::Duration => "time.Duration",
            Self::List => "[]interface {}",
            Self::Strings => "[]string",
            Self::Sample => "*template.sample",
            Self::Samples => "template.queryResult",
        }
    }

    pub(super) fn accepts(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, _)
            | (Self::Text, Value::Text(_) | Value::Safe(..))
            | (Self::Int, Value::Int(_))
            | (Self::Time, Value::Time(_))
            | (Self::Duration, Value::Duration(_))
            | (Self::List, Value::List(_)) => true,
            (Self::Strings, Value::List(list)) => {
                list.kind == ListKind::Strings
                    || list.items.iter().all(|item| item.as_text().is_some())
            }
            (Self::Sample, Value::Record(record)) => record.type_name == super::inputs::SAMPLE,
            (Self::Samples, Value::List(list)) => list.kind == ListKind::Samples,
            _ => false,
        }
    }

    /// What stands for nothing where Go's type has a nil.
    pub(super) fn nil(self) -> Option<Value> {
        match self {
            Self::Any => Some(Value::Nil),
            Self::List => Some(Value::list([])),
            Self::Strings => Some(Value::strings([""; 0])),
            Self::Samples => Some(Value::list_of(ListKind::Samples, Vec::new())),
            Self::Text | Self::Int | Self::Time | Self::Duration | Self::Sample => None,
        }
    }
}

/// The text of an argument that was checked to be one.
fn text_of(args: &[Value], n: usize) -> &str {
    args.get(n).and_then(Value::as_text).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_for_two_functions() {
        for dialect in [Dialect::Rule, Dialect::Notification] {
            let mut names: Vec<_> = dialect.functions().collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{dialect:?}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_what_is_near() {
        let check = |name: &str, expected: &str| {
            assert_eq!(unknown_function(Dialect::Rule, name), expected);
        };
        check("humanise", "function \"humanise\" not defined; did you mean `humanize`?");
        check("frobnicate", "function \"frobnicate\" not defined");
    }
}
