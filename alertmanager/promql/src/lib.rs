//! PromQL: from the text of an expression to its value over the samples of a [`storage::Storage`].
//!
//! ```text
//! text ──lexer, parser──▶ Expr ──check──▶ Query (a plan) ──evaluate──▶ Output
//!             │             │        │                        ▲  │
//!           Faults          │      Faults             Storage ┘  ├─ Value: numbers, series, text
//!         with places       └─▶ canonical text                   └─ annotations, with places
//! ```
//!
//! A [`Query`] is read and checked once, when a rule file is loaded, and evaluated any number of
//! times. Faults and annotations are worded as Prometheus words them, because people search for
//! what they read.
//!
//! Invariant: nothing here knows a clock, a task or a network: the same query over the same samples
//! and [`Range`] has the same [`Output`]. No text and no samples make it panic, and each evaluation
//! stays within the limits of its [`Options`].

#![warn(missing_docs)]

mod fault;
pub mod ast;
mod numeric;
mod histogram;
mod literal;
mod token;
mod lexer;
mod parser;
mod print;
mod pretty;
mod walk;
mod plan;
mod check;
mod functions;
mod signature;
mod annotation;
mod query;
mod evaluate;
pub mod series_notation;

pub use annotation::{Annotation, Severity};
pub use ast::Expr;
pub use check::check;
pub use evaluate::{
    EvalError, Features, Histograms, Options, Output, Range, Series, Session, Value, evaluate,
};
pub use fault::{Fault, FaultKind, Faults, Span};
pub use parser::{MAX_DEPTH, MAX_LENGTH, parse};
pub use plan::Type;
pub use query::{Query, Reads};
pub use signature::{Signature, signature};
