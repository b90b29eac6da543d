//! Walks a tree over data and writes what comes of it.
//!
//! Invariant: every node, iteration and call is charged before it is done, and every error knows
//! which expression it comes from.

mod expression;
mod services;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Executing, Failure, Fault, TemplateError, place_of, shortened};
use super::html::Output;
use super::limits::Budget;
use super::pattern::Patterns;
use super::syntax::{Call, Command, Node, Pipe, Tree, Word};
use super::value::Value;
use super::{Dialect, Options};

/// Templates by name.
pub(super) type Trees = BTreeMap<Arc<str>, Arc<Tree>>;

/// The templates that a rendering can call: its own, then those that are shared.
#[derive(Clone, Copy)]
pub(super) struct Library<'a> {
    pub(super) dialect: Dialect,
    pub(super) own: &'a Trees,
    pub(super) shared: Option<&'a Trees>,
}

impl<'a> Library<'a> {
    fn find(&self, name: &str) -> Option<&'a Tree> {
        let found = self.own.get(name).or_else(|| self.shared?.get(name));
        found.map(|tree| &**tree)
    }
}

/// The state of one rendering.
pub(super) struct Machine<'a> {
    pub(super) options: &'a Options<'a>,
    pub(super) budget: Budget,
    patterns: Patterns,
    library: Library<'a>,
    out: Output,
    data: &'a Value,
    tree: &'a Tree,
    /// What is being evaluated, for errors.
    site: Site<'a>,
    /// The variables of all templates that are being rendered, innermost last.
    variables: Vec<(&'a str, Value)>,
    /// Where those of the current template begin.
    base: usize,
    /// The labels of the route that are being rendered, and those that were.
    route: services::RouteLabels,
}

#[derive(Clone, Copy)]
enum Site<'a> {
    Text(usize),
    Word(&'a Word),
    Command(&'a Command),
    Pipe(&'a Pipe),
    Call(&'a Call),
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

type Run<T> = Result<T, Box<TemplateError>>;

/// Renders `tree` over `data`.
pub(super) fn render(
    tree: &Tree,
    library: Library<'_>,
    data: &Value,
    options: &Options<'_>,
) -> Result<String, TemplateError> {
    let budget = Budget::new(options.limits);
    let mut machine = Machine::new(tree, library, data, options, budget);
    match machine.run() {
        Ok(()) => Ok(machine.out.into_string()),
        Err(error) => Err(*error),
    }
}

impl<'a> Machine<'a> {
    fn new(
        tree: &'a Tree,
        library: Library<'a>,
        data: &'a Value,
        options: &'a Options<'a>,
        budget: Budget,
    ) -> Self {
        Self {
            options,
            out: Output::new(options.limits.output, options.escape),
            budget,
            patterns: Patterns::default(),
            library,
            data,
            tree,
            site: Site::Text(0),
            variables: Vec::new(),
            base: 0,
            route: services::RouteLabels::default(),
        }
    }

    fn run(&mut self) -> Run<()> {
        let data = self.data;
        self.variables.push(("$", data.clone()));
        for (name, field) in self.library.dialect.variables() {
            let value = match data {
                Value::Record(record) => record.get(field).cloned().unwrap_or(Value::Nil),
                _ => Value::Nil,
            };
            self.variables.push((name, value));
        }
        let tree = self.tree;
        self.walk(data, &tree.body).map(|_| ())
    }

    fn walk(&mut self, dot: &Value, nodes: &'a [Node]) -> Run<Flow> {
        for node in nodes {
            self.charge(1)?;
            let flow = match node {
                Node::Text { from, to } => {
                    self.site = Site::Text(*from);
                    let tree = self.tree;
                    let written = self.out.literal(&tree.source.text[*from..*to]);
                    self.check(written)?;
                    Flow::Next
                }
                Node::Action(pipe) => {
                    let value = self.pipe(dot, pipe)?;
                    if !pipe.is_silent() {
                        let charged = self.budget.charge_bytes(value.size());
                        self.check(charged)?;
                        let written = self.out.value(&value);
                        self.check(written)?;
                    }
                    Flow::Next
                }
                Node::If { with, branches, otherwise } => {
                    self.branches(dot, *with, branches, otherwise)?
                }
                Node::Range { pipe, body, otherwise } => self.range(dot, pipe, body, otherwise)?,
                Node::Template(call) => {
                    self.call_template(dot, call)?;
                    Flow::Next
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn branches(
        &mut self,
        dot: &Value,
        with: bool,
        branches: &'a [(Pipe, Vec<Node>)],
        otherwise: &'a [Node],
    ) -> Run<Flow> {
        self.enter()?;
        let outside = self.variables.len();
        let mut flow = None;
        for (pipe, body) in branches {
            let value = self.pipe(dot, pipe)?;
            if value.is_true() {
                flow = Some(self.walk(if with { &value } else { dot }, body)?);
                break;
            }
        }
        let flow = match flow {
            Some(flow) => flow,
            None => self.walk(dot, otherwise)?,
        };
        self.variables.truncate(outside);
        self.budget.leave();
        Ok(flow)
    }

    fn range(
        &mut self,
        dot: &Value,
        pipe: &'a Pipe,
        body: &'a [Node],
        otherwise: &'a [Node],
    ) -> Run<Flow> {
        self.enter()?;
        let outside = self.variables.len();
        let value = self.pipe_value(dot, pipe)?;
        let mut rounds = 0_usize;
        match &value {
            Value::List(list) => {
                for (n, item) in list.items.iter().enumerate() {
                    rounds += 1;
                    let index = Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
                    if self.round(pipe, body, index, item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (name, item) in map.pairs() {
                    rounds += 1;
                    if self.round(pipe, body, Value::Text(name), &item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Int(_) if pipe.variables.len() > 1 => {
                let shown = self.shown(&value)?;
                return Err(self.fail(
                    format!("can't use {shown} to iterate over more than one variable").into(),
                ));
            }
            Value::Int(count) => {
                for n in 0..*count {
                    rounds += 1;
                    if self.round(pipe, body, Value::Nil, &Value::Int(n))? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Nil => {}
            other => {
                let shown = self.shown(other)?;
                return Err(self.fail(format!("range can't iterate over {shown}").into()));
            }
        }
        let flow = if rounds == 0 { self.walk(dot, otherwise)? } else { Flow::Next };
        self.variables.truncate(outside);
        self.budget.leave();
        Ok(flow)
    }

    /// One iteration. `continue` ends here, `break` is handed on.
    fn round(&mut self, pipe: &'a Pipe, body: &'a [Node], index: Value, item: &Value) -> Run<Flow> {
        self.charge(1)?;
        let before = self.variables.len();
        let values = match pipe.variables.as_slice() {
            [] => Vec::new(),
            [only] => vec![(&**only, item.clone())],
            [first, second, ..] => vec![(&**first, index), (&**second, item.clone())],
        };
        for (name, value) in values {
            self.declare(pipe.assigns, name, value)?;
        }
        let flow = self.walk(item, body)?;
        self.variables.truncate(before);
        Ok(flow)
    }

    fn call_template(&mut self, dot: &Value, call: &'a Call) -> Run<()> {
        self.site = Site::Call(call);
        let Some(tree) = self.library.find(&call.name) else {
            let name = super::print::quoted(&call.name);
            return Err(self.fail(format!("template {name} not defined").into()));
        };
        self.enter()?;
        let outside = self.variables.len();
        let dot = match &call.pipe {
            Some(pipe) => self.pipe(dot, pipe)?,
            None => Value::Nil,
        };
        self.body(tree, &dot)?;
        self.variables.truncate(outside);
        self.budget.leave();
        Ok(())
    }

    /// Renders a template that sees nothing but `dot`.
    fn body(&mut self, tree: &'a Tree, dot: &Value) -> Run<()> {
        let (base, caller) = (self.base, self.tree);
        self.base = self.variables.len();
        self.tree = tree;
        self.variables.push(("$", dot.clone()));
        self.walk(dot, &tree.body)?;
        self.variables.truncate(self.base);
        (self.base, self.tree) = (base, caller);
        Ok(())
    }

    fn variable(&self, name: &str) -> Option<&Value> {
        let found = self.variables[self.base..].iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    /// Declares a variable, or assigns to the innermost of that name.
    fn declare(&mut self, assigns: bool, name: &'a str, value: Value) -> Run<()> {
        if !assigns {
            self.variables.push((name, value));
            return Ok(());
        }
        let base = self.base;
        match self.variables[base..].iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, old)) => {
                *old = value;
                Ok(())
            }
            None => Err(self.fail(format!("undefined variable: {name}").into())),
        }
    }

    fn shown(&self, value: &Value) -> Run<String> {
        let mut out = self.budget.text();
        let printed = super::print::print(&mut out, std::slice::from_ref(value));
        self.check(printed)?;
        Ok(out.into_string())
    }

    fn enter(&mut self) -> Run<()> {
        let entered = self.budget.enter();
        self.check(entered)
    }

    fn charge(&mut self, steps: usize) -> Run<()> {
        let charged = self.budget.charge(steps);
        self.check(charged)
    }

    fn check<T>(&self, result: Result<T, Failure>) -> Run<T> {
        result.map_err(|failure| self.fail(failure))
    }

    /// The error that `failure` is at the current place.
    fn fail(&self, failure: Failure) -> Box<TemplateError> {
        let (at, expression) = match self.site {
            Site::Text(at) => (at, String::new()),
            Site::Word(word) => (word.at, word.to_string()),
            Site::Command(command) => (command.at, command.to_string()),
            Site::Pipe(pipe) => (pipe.at, pipe.to_string()),
            Site::Call(call) => (call.at, call.to_string()),
        };
        let Tree { name, source, .. } = self.tree;
        let (place, byte) = place_of(&source.text, at);
        let fault = |message: String| Fault {
            template: source.name.to_string(),
            place,
            message: shortened(message),
            executing: Some(Executing {
                name: name.to_string(),
                byte,
                expression: shortened(expression),
            }),
        };
        Box::new(match failure {
            Failure::Message(message) => TemplateError::Execution(fault(message)),
            Failure::Limit(message) => TemplateError::Limit(fault(message)),
            Failure::Stopped(error) => *error,
        })
    }
}
