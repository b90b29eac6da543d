//! Go's own functions: logic, printing, and the doors to `compare`, `sequence` and `escape`.
//!
//! Invariant: `and` and `or` are listed for their names and types; the interpreter itself stops
//! at the argument that decides.

use super::super::error::Failure;
use super::super::evaluate::Machine;
use super::super::print;
use super::super::value::{Safe, Value};
use super::compare::{equal, less, less_or_equal};
use super::escape::{html_escaped, js_escaped, query_escaped};
use super::sequence::{index, length, slice};
use super::{Function, Param, function, text_of, variadic};

use Param::{Any, Text};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("and", &[Any], Any, |_, args| Ok(decide(args, false))),
    variadic("or", &[Any], Any, |_, args| Ok(decide(args, true))),
    function("not", &[Any], |_, args| Ok(Value::Bool(!args[0].is_true()))),
    function("len", &[Any], |_, args| length(&args[0])),
    variadic("index", &[Any], Any, |_, args| index(args)),
    variadic("slice", &[Any], Any, |_, args| slice(args)),
    variadic("print", &[], Any, |machine, args| {
        let mut out = machine.budget.text();
        print::print(&mut out, args)?;
        Ok(out.into_string().into())
    }),
    variadic("println", &[], Any, |machine, args| {
        let mut out = machine.budget.text();
        print::println(&mut out, args)?;
        Ok(out.into_string().into())
    }),
    variadic("printf", &[Text], Any, |machine, args| {
        let mut out = machine.budget.text();
        print::printf(&mut out, text_of(args, 0), &args[1..])?;
        Ok(out.into_string().into())
    }),
    variadic("html", &[], Any, |machine, args| {
        let text = joined(machine, args)?;
        Ok(Value::Safe(Safe::Html, html_escaped(&text).into()))
    }),
    variadic("js", &[], Any, |machine, args| Ok(js_escaped(&joined(machine, args)?).into())),
    variadic("urlquery", &[], Any, |machine, args| {
        let text = joined(machine, args)?;
        Ok(Value::Safe(Safe::Query, query_escaped(&text).into()))
    }),
    variadic("call", &[Any], Any, |_, args| {
        // There is no value that is a function.
        Err(format!("non-function of type {}", args[0].type_name()).into())
    }),
    variadic("eq", &[Any], Any, |_, args| match args {
        [_] => Err("missing argument for comparison".into()),
        [first, others @ ..] => {
            for other in others {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        [] => Ok(Value::Nil),
    }),
    function("ne", &[Any, Any], |_, args| Ok(Value::Bool(!equal(&args[0], &args[1])?))),
    function("lt", &[Any, Any], |_, args| Ok(Value::Bool(less(&args[0], &args[1])?))),
    function("le", &[Any, Any], |_, args| Ok(Value::Bool(less_or_equal(&args[0], &args[1])?))),
    function("gt", &[Any, Any], |_, args| Ok(Value::Bool(!less_or_equal(&args[0], &args[1])?))),
    function("ge", &[Any, Any], |_, args| Ok(Value::Bool(!less(&args[0], &args[1])?))),
];

/// The first argument of that truth, or the last.
fn decide(args: &[Value], truth: bool) -> Value {
    args.iter().find(|arg| arg.is_true() == truth).or(args.last()).cloned().unwrap_or(Value::Nil)
}

/// The arguments as one text, as an escaping function takes them.
fn joined(machine: &Machine<'_>, args: &[Value]) -> Result<String, Failure> {
    let mut out = machine.budget.text();
    match args {
        [only] => print::display(&mut out, only)?,
        _ => print::print(&mut out, args)?,
    }
    Ok(out.into_string())
}
