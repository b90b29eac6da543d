//! Small pieces of code in configurations: what a value is, by conditions on macros.
//!
//! Invariant: a piece runs once through at most, and what is not understood is an error.

use serde_json::{Map, Value};

use super::eval::{Ask, Scope, truth};
use super::lex::lex;
use super::parse::{Step, steps};

/// The value of the code `text`, whose macros `ask` knows.
///
/// # Errors
///
/// What of it is known only to Icinga.
pub(super) fn run(text: &str, ask: Ask<'_>) -> Result<Value, String> {
    let steps = steps(&lex(text)).ok_or("code in it is known only to Icinga")?;
    let (constants, templates) = (Map::new(), std::collections::BTreeMap::new());
    let locals = Map::new();
    let mut scope = Scope { constants: &constants, templates: &templates, locals, ask: Some(ask) };
    Ok(walk(&steps, &mut scope)?.unwrap_or(Value::Null))
}

fn walk(steps: &[Step], scope: &mut Scope<'_>) -> Result<Option<Value>, String> {
    let mut last = None;
    for step in steps {
        match step {
            Step::Var(name, value) => {
                let value = scope.eval(value)?;
                scope.locals.insert(name.clone(), value);
            }
            Step::Return(value) => return scope.eval(value).map(Some),
            Step::Value(value) => last = Some(scope.eval(value)?),
            Step::If(condition, then, otherwise) => {
                let chosen = if truth(&scope.eval(condition)?) { then } else { otherwise };
                if let Some(value) = walk(chosen, scope)? {
                    return Ok(Some(value));
                }
            }
        }
    }
    Ok(last)
}
