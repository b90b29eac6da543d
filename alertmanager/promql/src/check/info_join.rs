//! The plan of `info`: which series have the labels, when they are looked at, which are wanted.
//!
//! Invariant: a series is only taken for one of labels where a condition asks for its name, or it is
//! called as such series are.

use std::sync::Arc;

use base::labels::METRIC_NAME;
use base::matcher::{MatchOp, Matcher};

use super::shift;
use crate::ast::{Edges, Expr, ExprKind, Length};
use crate::plan::{Detail, InfoPlan, Selection, Shift, VectorPlan};

/// The metric that has the labels of a target.
const TARGET: &str = "target_info";

/// What the names of such metrics end with.
const NAMES: &str = ".+_info";

pub(super) fn plan(vector: VectorPlan, selector: Option<Selection>, first: &Expr) -> VectorPlan {
    let given = selector.map_or_else(Vec::new, |selection| selection.matchers.to_vec());
    let is_name = |matcher: &Matcher| matcher.name() == METRIC_NAME;
    let (mut names, wanted): (Vec<_>, Vec<_>) = given.into_iter().partition(is_name);
    if names.is_empty() {
        names.push(Matcher::equal(METRIC_NAME, TARGET));
    }
    let asks = |m: &Matcher| matches!(m.op(), MatchOp::Equal | MatchOp::Matches);
    if !names.iter().any(asks) {
        names.extend(Matcher::new(METRIC_NAME, MatchOp::Matches, NAMES));
    }
    let matchers: Arc<[Matcher]> = names.iter().chain(&wanted).cloned().collect();
    let now = Shift { offset: Length::Fixed(0), at: None };
    let info = Selection {
        matchers,
        shift: now,
        edges: Edges::Plain,
        span: first.span,
        detail: Detail::Buckets,
    };
    let shifts = shifts(first);
    VectorPlan::Info(Box::new(InfoPlan { vector, info, shifts, names, wanted }))
}

/// How the first selector of an expression is moved in time, with the subqueries around it.
fn shifts(expr: &Expr) -> Vec<Shift> {
    let mut moved = Vec::new();
    for part in expr.parts() {
        match &part.kind {
            ExprKind::Subquery(subquery) => moved.push(shift(&subquery.when)),
            ExprKind::Vector(selector) => {
                moved.push(shift(&selector.when));
                break;
            }
            ExprKind::Matrix(matrix) => {
                moved.push(shift(&matrix.selector.when));
                break;
            }
            _ => {}
        }
    }
    moved
}
