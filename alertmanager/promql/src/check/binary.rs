//! The rules of binary operators.
//!
//! Invariant: sets are made of series only, and only series are matched.

use super::{Checked, Checker, keep};
use crate::ast::{Binary, BinaryOp, Group, Matching, Side};
use crate::fault::Span;
use crate::plan::{
    Cardinality, Keep, MatchPlan, Plan, ScalarPlan, SetPlan, Type, VectorPlan, WithScalarPlan,
};

impl Checker {
    pub(super) fn binary(&mut self, binary: &Binary, left: Checked) -> Checked {
        let right = self.check(&binary.right);
        let Binary { op, op_span, returns_bool, .. } = *binary;
        let span = binary.left.span.to(binary.right.span);
        let both_scalar = left.kind == Type::Scalar && right.kind == Type::Scalar;
        let both_vector = left.kind == Type::Vector && right.kind == Type::Vector;
        if returns_bool && !op.is_comparison() {
            self.report(op_span, "bool modifier can only be used on comparison operators");
        }
        if op.is_comparison() && !returns_bool && both_scalar {
            self.report(op_span, "comparisons between scalars must use BOOL modifier");
        }
        let matching = binary.matching.as_ref();
        self.check_group_labels(matching, op_span);
        for (side, kind) in [(&binary.left, left.kind), (&binary.right, right.kind)] {
            if !matches!(kind, Type::Scalar | Type::Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                self.report(side.span, message);
            }
        }
        if let Some(matching) = matching {
            self.check_matching(op, matching, both_vector, span);
        }
        if op.is_set() && (left.kind == Type::Scalar || right.kind == Type::Scalar) {
            let name = op.as_str();
            let message = format!("set operator {name:?} not allowed in binary scalar expression");
            self.report(span, message);
        }
        let kind = if both_scalar { Type::Scalar } else { Type::Vector };
        match left.plan.zip(right.plan) {
            Some((left, right)) => Checked { kind, plan: plan(binary, left, right) },
            None => Checked::faulty(kind),
        }
    }

    fn check_group_labels(&mut self, matching: Option<&Matching>, op_span: Span) {
        let Some(Matching { on: true, labels, group: Some(group), .. }) = matching else { return };
        for label in labels.iter().filter(|label| group.labels.contains(label)) {
            let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
            self.report(op_span, message);
        }
    }

    fn check_matching(&mut self, op: BinaryOp, matching: &Matching, vectors: bool, span: Span) {
        if !vectors {
            if !matching.labels.is_empty() {
                self.report(span, "vector matching only allowed between instant vectors");
            }
        } else if op.is_set() && matching.group.is_some() {
            let name = op.as_str();
            self.report(span, format!("no grouping allowed for {name:?} operation"));
            self.report(span, "set operations must always be many-to-many");
        }
    }
}

fn plan(binary: &Binary, left: Plan, right: Plan) -> Option<Plan> {
    let Binary { op, returns_bool, .. } = *binary;
    let with_scalar = |vector: VectorPlan, scalar: ScalarPlan, scalar_is_left: bool| {
        let span = binary.left.span.to(binary.right.span);
        let plan = WithScalarPlan { op, returns_bool, vector, scalar, scalar_is_left, span };
        Some(Plan::Vector(VectorPlan::WithScalar(Box::new(plan))))
    };
    match (left, right) {
        (Plan::Scalar(left), Plan::Scalar(right)) => {
            Some(Plan::Scalar(ScalarPlan::Binary(op, Box::new(left), Box::new(right))))
        }
        (Plan::Vector(vector), Plan::Scalar(scalar)) => with_scalar(vector, scalar, false),
        (Plan::Scalar(scalar), Plan::Vector(vector)) => with_scalar(vector, scalar, true),
        (Plan::Vector(left), Plan::Vector(right)) => {
            Some(Plan::Vector(between_vectors(binary, left, right)))
        }
        _ => None,
    }
}

fn between_vectors(binary: &Binary, left: VectorPlan, right: VectorPlan) -> VectorPlan {
    let Binary { op, returns_bool, .. } = *binary;
    let (keep, group) = match &binary.matching {
        Some(matching) => (keep(&matching.labels, !matching.on), matching.group.as_ref()),
        None => (Keep::Except(Vec::new()), None),
    };
    if op.is_set() {
        return VectorPlan::Set(Box::new(SetPlan { op, keep, left, right }));
    }
    let cardinality = match group.map(|group| group.many) {
        None => Cardinality::OneToOne,
        Some(Side::Left) => Cardinality::ManyToOne,
        Some(Side::Right) => Cardinality::OneToMany,
    };
    let fill = binary.matching.as_ref().map_or([None; 2], |m| [m.fill_left, m.fill_right]);
    let include = group.map_or_else(Vec::new, |Group { labels, .. }| labels.clone());
    VectorPlan::Match(Box::new(MatchPlan {
        op,
        returns_bool,
        keep,
        span: binary.left.span.to(binary.right.span),
        fill,
        cardinality,
        include,
        left,
        right,
    }))
}
