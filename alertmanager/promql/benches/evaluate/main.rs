//! How long the evaluator takes over 200 hosts of 1,000 series each.
//!
//! ```text
//! samples   the series: what a web service exposes, and its host
//! queries   ten queries, at one time and over 30 minutes
//! rules     1,200 rules over them, once
//! reading   texts, without evaluating them
//! ```
//!
//! Figures to compare with are those of other programs in the measurements of the project, over the
//! same number of series, for the same queries and rules.

mod samples;
mod queries;
mod rules;
mod reading;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, queries::bench, rules::bench, reading::bench);
criterion_main!(benches);
