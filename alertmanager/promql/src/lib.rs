//! PromQL (begun).

#![warn(missing_docs)]

mod fault;
pub mod ast;
mod numeric;
mod literal;
mod token;
mod lexer;
mod parser;
mod print;
mod walk;
mod plan;
mod check;
mod functions;
mod annotation;
mod query;
mod evaluate;
pub mod series_notation;

pub use annotation::{Annotation, Severity};
pub use ast::Expr;
pub use check::check;
pub use evaluate::{EvalError, Options, Output, Range, Series, Value, evaluate};
pub use fault::{Fault, FaultKind, Faults, Span};
pub use parser::{MAX_DEPTH, MAX_LENGTH, parse};
pub use plan::Type;
pub use query::{Query, Reads};
