//! Which labels the series of an expression can have.
//!
//! Invariant: a label that is said to be dropped is on no series of the expression, whatever the data.

use std::collections::BTreeSet;

use promql::ast::{Aggregate, AggregateOp, Binary, Call, ExprKind, Side};
use promql::{Expr, Type};

use base::matcher::MatchOp;

/// The labels that there can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// At most these.
    Only(BTreeSet<String>),
    /// Any but these.
    AllBut(BTreeSet<String>),
}

impl Kept {
    fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    fn all() -> Self {
        Self::AllBut(BTreeSet::new())
    }

    /// Whether a series can have the label.
    pub(super) fn may_have(&self, label: &str) -> bool {
        match self {
            Self::Only(labels) => labels.contains(label),
            Self::AllBut(labels) => !labels.contains(label),
        }
    }

    fn with(mut self, label: &str) -> Self {
        match &mut self {
            Self::Only(labels) => drop(labels.insert(label.to_owned())),
            Self::AllBut(labels) => drop(labels.remove(label)),
        }
        self
    }

    fn without(mut self, gone: &[String]) -> Self {
        match &mut self {
            Self::Only(labels) => labels.retain(|label| !gone.contains(label)),
            Self::AllBut(labels) => labels.extend(gone.iter().cloned()),
        }
        self
    }

    fn only(&self, labels: &[String]) -> Self {
        Self::Only(labels.iter().filter(|label| self.may_have(label)).cloned().collect())
    }

    fn either(self, other: Self) -> Self {
        match (self, other) {
            (Self::Only(a), Self::Only(b)) => Self::Only(a.union(&b).cloned().collect()),
            (Self::AllBut(a), Self::AllBut(b)) => {
                Self::AllBut(a.intersection(&b).cloned().collect())
            }
            (Self::Only(labels), Self::AllBut(gone)) | (Self::AllBut(gone), Self::Only(labels)) => {
                Self::AllBut(gone.difference(&labels).cloned().collect())
            }
        }
    }
}

/// The labels that the series of an expression can have.
pub(super) fn kept(expr: &Expr) -> Kept {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => Kept::none(),
        ExprKind::Vector(_) | ExprKind::Matrix(_) => Kept::all(),
        ExprKind::Subquery(subquery) => kept(&subquery.expr),
        ExprKind::Paren(inner) => kept(inner),
        ExprKind::Unary(unary) => kept(&unary.expr),
        ExprKind::Call(call) => of_call(call),
        ExprKind::Aggregate(aggregate) => of_aggregate(aggregate),
        ExprKind::Binary(binary) => of_binary(binary),
    }
}

fn of_call(call: &Call) -> Kept {
    let series =
        call.args.iter().find(|arg| matches!(arg.kind_of_value(), Type::Vector | Type::Matrix));
    let Some(series) = series else { return Kept::none() };
    let text = |n: usize| match call.args.get(n).map(|arg| &arg.bare().kind) {
        Some(ExprKind::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match call.name.as_str() {
        "label_replace" | "label_join" => match text(1) {
            Some(label) => kept(series).with(label),
            None => Kept::all(),
        },
        "absent" | "absent_over_time" => {
            let matchers = match &series.bare().kind {
                ExprKind::Vector(selector) => &selector.matchers,
                ExprKind::Matrix(matrix) => &matrix.selector.matchers,
                _ => return Kept::none(),
            };
            let equal = matchers.iter().filter(|matcher| matcher.op() == MatchOp::Equal);
            Kept::Only(equal.map(|matcher| matcher.name().to_owned()).collect())
        }
        "scalar" => Kept::none(),
        // They add labels, of other series or of their own.
        "info" | "histogram_quantiles" => Kept::all(),
        "histogram_quantile" | "histogram_fraction" => kept(series).without(&["le".to_owned()]),
        _ => kept(series),
    }
}

fn of_aggregate(aggregate: &Aggregate) -> Kept {
    use AggregateOp::{BottomK, CountValues, LimitK, LimitRatio, TopK};
    let inner = kept(&aggregate.expr);
    if matches!(aggregate.op, TopK | BottomK | LimitK | LimitRatio) {
        return inner;
    }
    let grouped = match &aggregate.grouping {
        None => Kept::none(),
        Some(grouping) if grouping.without => inner.without(&grouping.labels),
        Some(grouping) => inner.only(&grouping.labels),
    };
    match (aggregate.op, aggregate.param.as_ref().map(|param| &param.bare().kind)) {
        (CountValues, Some(ExprKind::String(label))) => grouped.with(label),
        _ => grouped,
    }
}

fn of_binary(binary: &Binary) -> Kept {
    let (left, right) = (&binary.left, &binary.right);
    let is_scalar = |expr: &Expr| expr.kind_of_value() == Type::Scalar;
    match (is_scalar(left), is_scalar(right)) {
        (true, true) => return Kept::none(),
        (true, false) => return kept(right),
        (false, true) => return kept(left),
        (false, false) => {}
    }
    if binary.op.is_set() {
        let left = kept(left);
        let is_or = binary.op == promql::ast::BinaryOp::Or;
        return if is_or { left.either(kept(right)) } else { left };
    }
    let Some(matching) = &binary.matching else { return kept(left) };
    match &matching.group {
        Some(group) => {
            let many = if group.many == Side::Left { left } else { right };
            group.labels.iter().fold(kept(many), |kept, label| kept.with(label))
        }
        // With `fill` a series can be of either side.
        None if matching.fill_left.is_some() || matching.fill_right.is_some() => {
            kept(left).either(kept(right))
        }
        None if matching.on => kept(left).only(&matching.labels),
        None => kept(left).without(&matching.labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_labels_are_left() {
        let check = |text: &str, left: &[&str], gone: &[&str]| {
            let kept = kept(&promql::parse(text).unwrap());
            for label in left {
                assert!(kept.may_have(label), "{text} drops {label}");
            }
            for label in gone {
                assert!(!kept.may_have(label), "{text} keeps {label}");
            }
        };
        check("up", &["team", "job"], &[]);
        check("sum(up)", &[], &["team"]);
        check("sum by (job) (up)", &["job"], &["team"]);
        check("sum by (job, team) (sum by (job) (up))", &["job"], &["team"]);
        check("sum without (team) (up)", &["job"], &["team"]);
        check("topk(3, up)", &["team"], &[]);
        check("count_values(\"v\", up)", &["v"], &["team"]);
        check("sum(up) > 3", &[], &["team"]);
        check("3 < up", &["team"], &[]);
        check("a / on (job) b", &["job"], &["team"]);
        check("a / ignoring (team) b", &["job"], &["team"]);
        check("sum by (job) (a) * on (job) group_right () b", &["team"], &[]);
        check("sum by (job) (a) * on (job) group_left (team) b", &["team"], &["host"]);
        check("sum(a) or b", &["team"], &[]);
        check("sum(a) and on () b", &[], &["team"]);
        check("label_replace(sum(a), \"team\", \"x\", \"\", \"\")", &["team"], &["job"]);
        check("absent(up{job=\"a\", host=~\"b\"})", &["job"], &["host", "team"]);
        check("histogram_quantile(0.9, sum by (le) (rate(x[5m])))", &[], &["le", "team"]);
        check("vector(1)", &[], &["team"]);
        check("max_over_time(sum by (job) (a)[1h:])", &["job"], &["team"]);
    }
}
