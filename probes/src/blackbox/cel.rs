//! Expressions in CEL over a body in JSON, as `fail_if_body_json_matches_cel` has them.
//!
//! Invariant: an expression names nothing but `body`, and one that a body makes endless holds one of
//! a few threads, never a thread of the runtime.
//!
//! Numbers of a body are doubles, as for blackbox_exporter: `body.n == 5` holds, `body.n + 1` is an
//! error. Source: <https://github.com/google/cel-spec>.

use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::{Key, Map, Value};
use cel::{Context, Program};
use serde_json::Value as Json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How many bodies are judged at once by one expression.
const AT_ONCE: usize = 4;

/// An expression that says whether a body is right.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    source: Arc<str>,
    program: Arc<Program>,
    turns: Arc<Semaphore>,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in one line.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let program = Program::compile(source).map_err(|faults| {
            let faults: Vec<String> = faults.to_string().lines().map(str::to_owned).collect();
            faults.first().cloned().unwrap_or_else(|| "it cannot be read".to_owned())
        })?;
        names(program.expression(), &mut vec!["body".to_owned()])?;
        Ok(Self {
            source: source.into(),
            program: Arc::new(program),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// The expression as written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds for a body; nothing where `stop` came first.
    ///
    /// # Errors
    ///
    /// Why it has no answer: the body is no JSON, has not what it names, or the answer is no boolean.
    pub(super) async fn holds(
        &self,
        body: Vec<u8>,
        stop: &CancellationToken,
    ) -> Option<Result<bool, String>> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        // The semaphore is never closed.
        let turn = stop.run_until_cancelled(turn).await?.ok()?;
        let program = Arc::clone(&self.program);
        let judging = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            judge(&program, &body)
        });
        let judged = stop.run_until_cancelled(judging).await?;
        Some(judged.unwrap_or_else(|panic| Err(format!("the expression broke off: {panic}"))))
    }
}

fn judge(program: &Program, body: &[u8]) -> Result<bool, String> {
    let json: Json =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let mut context = Context::default();
    context.add_variable_from_value("body", value(json));
    match program.execute(&context) {
        Ok(Value::Bool(holds)) => Ok(holds),
        Ok(other) => Err(format!("it gives a {}, not a boolean", other.type_of())),
        Err(error) => Err(error.to_string()),
    }
}

/// JSON as CEL sees it. Not deeper than the reader of JSON lets it be.
fn value(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(is) => Value::Bool(is),
        Json::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::String(Arc::new(text)),
        Json::Array(items) => {
            Value::List(Arc::new(items.into_iter().map(value).collect::<Vec<_>>()))
        }
        Json::Object(fields) => {
            let fields = fields.into_iter();
            let map = fields.map(|(name, json)| (Key::String(Arc::new(name)), value(json)));
            Value::Map(Map { map: Arc::new(map.collect()) })
        }
    }
}

/// Refuses names that nothing bears; `known` are those that stand around the expression.
fn names(expression: &IdedExpr, known: &mut Vec<String>) -> Result<(), String> {
    match &expression.expr {
        Expr::Ident(name) if known.contains(name) => Ok(()),
        Expr::Ident(name) => Err(format!("there is no `{name}`, only `body`")),
        Expr::Literal(_) => Ok(()),
        Expr::Unspecified => Err("a part of it is missing".to_owned()),
        Expr::Struct(_) => Err("messages are not known here".to_owned()),
        Expr::Select(select) => names(&select.operand, known),
        Expr::List(list) => list.elements.iter().try_for_each(|one| names(one, known)),
        Expr::Call(call) => {
            let target = call.target.as_deref().into_iter();
            target.chain(&call.args).try_for_each(|one| names(one, known))
        }
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                names(&entry.key, known)?;
                names(&entry.value, known)
            }
            EntryExpr::StructField(_) => Err("messages are not known here".to_owned()),
        }),
        Expr::Comprehension(comprehension) => {
            names(&comprehension.iter_range, known)?;
            names(&comprehension.accu_init, known)?;
            let outside = known.len();
            known.push(comprehension.accu_var.clone());
            known.push(comprehension.iter_var.clone());
            known.extend(comprehension.iter_var2.clone());
            names(&comprehension.loop_cond, known)?;
            names(&comprehension.loop_step, known)?;
            names(&comprehension.result, known)?;
            known.truncate(outside);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"foo": "bar", "baz": "qux", "n": 5, "on": true, "none": null,
        "deep": {"a": [{"up": true, "ms": 12.5}, {"up": false, "ms": 3}]}}"#;

    #[tokio::test]
    async fn an_expression_says_whether_a_body_is_right() {
        for (source, body, answer) in [
            ("body.foo == 'bar' && body.baz.startsWith('q')", BODY, Ok(true)),
            ("body.foo == 'bar' && body.baz.endsWith('q')", BODY, Ok(false)),
            ("body.n == 5", BODY, Ok(true)),
            ("body.n > 4.5 && body.n < 6", BODY, Ok(true)),
            ("body['n'] in [1.0, 5.0]", BODY, Ok(true)),
            ("body.on", BODY, Ok(true)),
            ("!body.on || body.none == null", BODY, Ok(true)),
            ("has(body.foo) && !has(body.missing)", BODY, Ok(true)),
            ("body.deep.a.all(x, x.up)", BODY, Ok(false)),
            ("body.deep.a.exists(x, x.up && x.ms > 10.0)", BODY, Ok(true)),
            ("body.deep.a.filter(x, x.up).size() == 1", BODY, Ok(true)),
            ("size(body.deep.a) == 2", BODY, Ok(true)),
            ("body.foo.matches('^b.r$')", BODY, Ok(true)),
            ("body == 'text'", "\"text\"", Ok(true)),
            ("body[1] == 2.0", "[1, 2]", Ok(true)),
            ("body.missing == 1", BODY, Err("No such key: missing")),
            ("body.foo", BODY, Err("it gives a string, not a boolean")),
            ("body.foo > 1", BODY, Err("no matching overload")),
            ("body.n == 5", "", Err("the body is not JSON: EOF while parsing")),
            ("body.n == 5", "<html>", Err("the body is not JSON: expected value")),
            ("body.n == 5", "{\"n\": 5} x", Err("the body is not JSON: trailing characters")),
        ] {
            let expression = Expression::parse(source).unwrap();
            let stop = CancellationToken::new();
            let said = expression.holds(body.as_bytes().to_vec(), &stop).await.unwrap();
            match (&said, answer) {
                (Err(said), Err(part)) => assert!(said.contains(part), "{source}: {said}"),
                (Ok(said), Ok(holds)) => assert_eq!(*said, holds, "{source}"),
                _ => panic!("{source}: {said:?}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_with_an_expression_is_said_when_it_is_read() {
        for (source, part) in [
            ("", ""),
            ("body.foo ==", ""),
            ("body.foo = 1", ""),
            ("(body", ""),
            ("status == 200", "there is no `status`, only `body`"),
            ("body.all(x, y)", "there is no `y`"),
            ("body.all(x, x) && x", "there is no `x`"),
            ("Message{a: body}", "messages are not known here"),
        ] {
            let fault = Expression::parse(source).unwrap_err();
            assert!(fault.contains(part) && !fault.contains('\n'), "{source}: {fault:?}");
        }
    }

    #[test]
    fn one_that_never_ends_is_left_when_the_time_is_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let expression =
            Expression::parse("body.all(x, body.all(y, body.all(z, x + y + z > 0.0)))").unwrap();
        // 8 thousand million steps.
        let body = format!("[{}1]", "1,".repeat(2_000));
        let stop = CancellationToken::new();
        let holds = runtime.block_on(async {
            let holds = expression.holds(body.into_bytes(), &stop);
            tokio::join!(holds, async { stop.cancel() }).0
        });
        assert_eq!(holds, None);
        // Nobody waits for the thread; it goes with the process.
        runtime.shutdown_background();
    }
}
