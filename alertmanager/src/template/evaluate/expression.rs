//! Evaluates expressions: pipelines, fields, functions and methods with their arguments.
//!
//! Invariant: a function is called only with as many arguments as it takes, each of the type that
//! it says.

use std::sync::Arc;

use super::super::MissingKey;
use super::super::functions::{Function, Param};
use super::super::literal::Number;
use super::super::methods;
use super::super::print::quoted;
use super::super::syntax::{Command, Operand, Pipe, Word};
use super::super::value::Value;
use super::{Machine, Run, Site};

/// A function or method with what it is called on, and the expression that calls it.
struct Callee<'a> {
    function: &'static Function,
    receiver: Option<Value>,
    site: Site<'a>,
}

/// What a function, method or field is given, still to be evaluated.
struct Given<'a, 'd> {
    dot: &'d Value,
    words: &'a [Word],
    /// The value of the command before.
    last: Option<Value>,
}

impl<'d> Given<'_, 'd> {
    fn nothing(dot: &'d Value) -> Self {
        Self { dot, words: &[], last: None }
    }

    fn count(&self) -> usize {
        self.words.len() + usize::from(self.last.is_some())
    }
}

impl<'a> Machine<'a> {
    /// The value of a pipeline, which its variables take.
    pub(super) fn pipe(&mut self, dot: &Value, pipe: &'a Pipe) -> Run<Value> {
        let value = self.pipe_value(dot, pipe)?;
        for name in &pipe.variables {
            self.declare(pipe.assigns, name, value.clone())?;
        }
        Ok(value)
    }

    /// The value of a pipeline, whose variables are not touched.
    pub(super) fn pipe_value(&mut self, dot: &Value, pipe: &'a Pipe) -> Run<Value> {
        self.enter()?;
        self.site = Site::Pipe(pipe);
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(dot, command, last)?);
        }
        self.budget.leave();
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(&mut self, dot: &Value, command: &'a Command, last: Option<Value>) -> Run<Value> {
        let Some((first, words)) = command.words.split_first() else { return Ok(Value::Nil) };
        let given = Given { dot, words, last };
        match &first.operand {
            Operand::Function(function) => {
                self.site = Site::Word(first);
                let site = Site::Command(command);
                let callee = Callee { function, receiver: None, site };
                self.call(callee, given)
            }
            Operand::Field(_) | Operand::Chain(..) => self.path(first, given),
            Operand::Variable(_, names) if !names.is_empty() => self.path(first, given),
            operand => {
                self.site = Site::Word(first);
                if given.count() > 0 {
                    let message = format!("can't give argument to non-function {first}");
                    return Err(self.fail(message.into()));
                }
                if matches!(operand, Operand::Nil) {
                    return Err(self.fail("nil is not a command".into()));
                }
                self.word(dot, first)
            }
        }
    }

    /// The value of a word that stands alone.
    fn word(&mut self, dot: &Value, word: &'a Word) -> Run<Value> {
        self.site = Site::Word(word);
        match &word.operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Number { value, written } => self.number(value, written),
            Operand::Rune { value, .. } => Ok(Value::Int(*value)),
            Operand::Text { value, .. } => Ok(Value::Text(Arc::clone(value))),
            Operand::Pipe(pipe) => self.pipe(dot, pipe),
            Operand::Variable(name, names) if names.is_empty() => {
                let value = self.variable(name).cloned();
                value.ok_or_else(|| self.fail(format!("undefined variable: {name}").into()))
            }
            Operand::Field(_) | Operand::Variable(..) | Operand::Chain(..) => {
                self.path(word, Given::nothing(dot))
            }
            Operand::Function(function) => {
                let callee = Callee { function, receiver: None, site: Site::Word(word) };
                self.call(callee, Given::nothing(dot))
            }
        }
    }

    fn number(&self, number: &Number, written: &str) -> Run<Value> {
        match (number.is_float, number.int) {
            (true, _) => Ok(Value::Float(number.float)),
            (false, Some(int)) => Ok(Value::Int(int)),
            (false, None) => Err(self.fail(format!("{written} overflows int").into())),
        }
    }

    /// `.a.b`, `$x.a.b` or `(pipe).a.b`; the last name may be a method.
    fn path(&mut self, word: &'a Word, given: Given<'a, '_>) -> Run<Value> {
        self.site = Site::Word(word);
        let (mut value, names) = match &word.operand {
            Operand::Field(names) => (given.dot.clone(), names),
            Operand::Variable(name, names) => match self.variable(name) {
                Some(value) => (value.clone(), names),
                None => return Err(self.fail(format!("undefined variable: {name}").into())),
            },
            Operand::Chain(inner, names) => (self.word(given.dot, inner)?, names),
            _ => return Ok(Value::Nil),
        };
        let Some((name, before)) = names.split_last() else { return Ok(value) };
        for name in before {
            value = self.field(value, name, word, Given::nothing(given.dot))?;
        }
        self.field(value, name, word, given)
    }

    /// The field or method `name` of `value`, which `word` asks for.
    fn field(
        &mut self,
        value: Value,
        name: &str,
        word: &'a Word,
        given: Given<'a, '_>,
    ) -> Run<Value> {
        self.charge(1)?;
        if value == Value::Nil {
            return match self.options.missing_key {
                MissingKey::Error => {
                    let message = format!("nil data; no entry for key {}", quoted(name));
                    Err(self.fail(message.into()))
                }
                _ => Ok(Value::Nil),
            };
        }
        if let Some(function) = methods::find(&value, name) {
            let callee = Callee { function, receiver: Some(value), site: Site::Word(word) };
            return self.call(callee, given);
        }
        let has_arguments = given.count() > 0;
        match &value {
            Value::Record(record) => match record.get(name) {
                Some(_) if has_arguments => {
                    let message = format!("{name} has arguments but cannot be invoked as function");
                    Err(self.fail(message.into()))
                }
                Some(found) => Ok(found.clone()),
                None => Err(self.no_field(name, &value)),
            },
            Value::Map(_) if has_arguments => {
                Err(self.fail(format!("{name} is not a method but has arguments").into()))
            }
            Value::Map(map) => match (map.get(name), self.options.missing_key) {
                (Some(found), _) => Ok(found),
                (None, MissingKey::Zero) => Ok(map.kind.zero()),
                (None, MissingKey::Default) => Ok(Value::Nil),
                (None, MissingKey::Error) => {
                    let message = format!("map has no entry for key {}", quoted(name));
                    Err(self.fail(message.into()))
                }
            },
            _ => Err(self.no_field(name, &value)),
        }
    }

    fn no_field(&self, name: &str, value: &Value) -> Box<super::TemplateError> {
        let type_name = value.type_name();
        self.fail(format!("can't evaluate field {name} in type {type_name}").into())
    }

    /// Calls a function with what it is given.
    fn call(&mut self, callee: Callee<'a>, given: Given<'a, '_>) -> Run<Value> {
        let Callee { function, receiver, site } = callee;
        let Function { name, params, rest, call } = function;
        let count = given.count();
        let Given { dot, words, last } = given;
        if rest.is_none() && count != params.len() {
            let message =
                format!("wrong number of args for {name}: want {} got {count}", params.len());
            return Err(self.fail(message.into()));
        }
        if count < params.len() {
            let want = params.len();
            let message = format!(
                "wrong number of args for {name}: want at least {want} got {}",
                words.len()
            );
            return Err(self.fail(message.into()));
        }
        let decides = match *name {
            "and" if receiver.is_none() => Some(false),
            "or" if receiver.is_none() => Some(true),
            _ => None,
        };
        let mut args: Vec<Value> = Vec::with_capacity(count + 1);
        args.extend(receiver);
        for (n, word) in words.iter().enumerate() {
            let param = params.get(n).copied().or(*rest).unwrap_or(Param::Any);
            let arg = self.argument(dot, word, param)?;
            // The rest is not even looked at.
            if decides == Some(arg.is_true()) {
                return Ok(arg);
            }
            args.push(arg);
        }
        if let Some(last) = last {
            let param = params.get(words.len()).copied().or(*rest).unwrap_or(Param::Any);
            args.push(self.fitting(last, param)?);
        }
        let result = self.charge_for(&args).and_then(|()| call(self, &args));
        let result = result.and_then(|value| {
            self.budget.charge_bytes(value.size())?;
            Ok(value)
        });
        result.map_err(|failure| {
            self.site = site;
            self.fail(match failure {
                super::Failure::Message(message) => {
                    format!("error calling {name}: {message}").into()
                }
                other => other,
            })
        })
    }

    fn charge_for(&mut self, args: &[Value]) -> Result<(), super::Failure> {
        let bytes = args.iter().map(Value::size).fold(0, usize::saturating_add);
        self.budget.charge_bytes(bytes)
    }

    /// The value of an argument. A literal must be what the parameter asks for.
    fn argument(&mut self, dot: &Value, word: &'a Word, param: Param) -> Run<Value> {
        self.site = Site::Word(word);
        let literal = match &word.operand {
            Operand::Nil => {
                return param.nil().ok_or_else(|| {
                    self.fail(format!("cannot assign nil to {}", param.type_name()).into())
                });
            }
            Operand::Bool(_)
            | Operand::Number { .. }
            | Operand::Rune { .. }
            | Operand::Text { .. } => word,
            _ => {
                let value = self.word(dot, word)?;
                return self.fitting(value, param);
            }
        };
        let expected = match (param, &literal.operand) {
            (Param::Int, Operand::Number { value: Number { int: Some(int), .. }, .. })
            | (Param::Int, Operand::Rune { value: int, .. }) => return Ok(Value::Int(*int)),
            (Param::Duration, Operand::Number { value: Number { int: Some(int), .. }, .. }) => {
                return Ok(Value::Duration(*int));
            }
            (Param::Any, _) | (Param::Text, Operand::Text { .. }) => return self.word(dot, word),
            (Param::Text, _) => "string",
            (Param::Int | Param::Duration, _) => "integer",
            _ => {
                let type_name = param.type_name();
                let message = format!("can't handle {word} for arg of type {type_name}");
                return Err(self.fail(message.into()));
            }
        };
        Err(self.fail(format!("expected {expected}; found {word}").into()))
    }

    /// `value`, if the parameter takes it.
    fn fitting(&self, value: Value, param: Param) -> Run<Value> {
        if param.accepts(&value) {
            return Ok(value);
        }
        let type_name = param.type_name();
        match (&value, param.nil()) {
            (Value::Nil, Some(nil)) => Ok(nil),
            (Value::Nil, None) => {
                Err(self.fail(format!("invalid value; expected {type_name}").into()))
            }
            _ => {
                let got = value.type_name();
                let message = format!("wrong type for value; expected {type_name}; got {got}");
                Err(self.fail(message.into()))
            }
        }
    }
}
