//! The central evaluator.

pub mod relabel;
