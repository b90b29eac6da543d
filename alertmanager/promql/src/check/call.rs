//! The rules of functions: how many arguments, of which types, and what becomes of them.
//!
//! Invariant: no function is named here; what is special about one is in its [`Body`].

use base::labels::{Labels, LabelsBuilder, METRIC_NAME};
use base::matcher::{MatchOp, Matcher};

use super::{Checked, Checker};
use crate::ast::{Call, Edges, Expr, ExprKind, VectorSelector};
use crate::fault::Span;
use crate::functions::{self, Body, Buckets, Function, Literal, Tail};
use crate::plan::{
    Detail, MatrixPlan, OverTimePlan, Plan, ScalarPlan, Selection, Spans, Type, VectorPlan,
};

/// The checked arguments of a call, by type; no function takes more than one vector or matrix.
#[derive(Default)]
struct Arguments {
    vector: Option<VectorPlan>,
    matrix: Option<MatrixPlan>,
    scalars: Vec<ScalarPlan>,
    strings: Vec<Literal>,
    spans: Spans,
    /// The selector without a name.
    info: Option<Selection>,
}

impl Checker {
    pub(super) fn call(&mut self, call: &Call, span: Span) -> Checked {
        // The parser refuses names that it does not know.
        let Some(function) = functions::find(&call.name) else {
            return Checked::faulty(Type::Vector);
        };
        let before = self.faults.len();
        self.check_count(call, function, span);
        let detail_before = self.detail;
        match function.buckets {
            Buckets::NotNeeded => self.detail = Detail::Counts,
            Buckets::Needed => self.detail = Detail::Buckets,
            Buckets::Passed => {}
        }
        let arguments = self.arguments(call, function, span);
        self.detail = detail_before;
        self.check_selector(call, function.selector_at());
        if self.faults.len() > before {
            return Checked::faulty(function.returns);
        }
        Checked { kind: function.returns, plan: self.plan_call(call, function, arguments) }
    }

    fn check_count(&mut self, call: &Call, function: &Function, span: Span) {
        let (got, least, most) = (call.args.len(), function.least(), function.most());
        let (bound, expected) = match most {
            Some(most) if most == least && got != least => ("", least),
            _ if got < least => ("at least ", least),
            Some(most) if got > most => ("at most ", most),
            _ => return,
        };
        let name = &call.name;
        let message =
            format!("expected {bound}{expected} argument(s) in call to {name:?}, got {got}");
        self.report(span, message);
    }

    fn arguments(&mut self, call: &Call, function: &Function, span: Span) -> Arguments {
        let mut arguments = Arguments::default();
        let first = call.args.first().map_or(span, |arg| arg.bare().span);
        arguments.spans = Spans { call: span, first, series: first };
        let context = format!("call to function {:?}", call.name);
        for (n, arg) in call.args.iter().enumerate() {
            let Some(kind) = function.arg(n) else { break };
            let checked = match &arg.kind {
                ExprKind::Vector(selector) if function.selector_at() == Some(n) => {
                    arguments.info = Some(self.any_selection(selector, arg.span));
                    continue;
                }
                _ => self.expect(arg, kind, &context),
            };
            match checked.plan {
                Some(Plan::Vector(vector)) => {
                    arguments.spans.series = arg.bare().span;
                    arguments.vector = Some(vector);
                }
                Some(Plan::Matrix(matrix)) => {
                    arguments.spans.series = arg.bare().span;
                    arguments.matrix = Some(matrix);
                }
                Some(Plan::Scalar(scalar)) => arguments.scalars.push(scalar),
                Some(Plan::String(text)) => {
                    arguments.strings.push(Literal { text, span: arg.span });
                }
                None => {}
            }
        }
        match function.tail {
            Tail::Number(default) if arguments.scalars.is_empty() => {
                arguments.scalars.push(ScalarPlan::Number(default));
            }
            Tail::Now if arguments.vector.is_none() => {
                arguments.vector = Some(VectorPlan::OfScalar(ScalarPlan::Time));
            }
            _ => {}
        }
        arguments
    }

    fn check_selector(&mut self, call: &Call, at: Option<usize>) {
        let Some(arg) = at.and_then(|at| call.args.get(at)) else { return };
        if !matches!(&arg.kind, ExprKind::Vector(VectorSelector { name: None, .. })) {
            self.report(arg.span, "expected label selectors only, got vector selector instead");
        }
    }

    fn plan_call(&mut self, call: &Call, entry: &Function, args: Arguments) -> Option<Plan> {
        let Arguments { vector, matrix, mut scalars, strings, spans, info } = args;
        let refused = matrix.as_ref().and_then(|matrix| refusal(call, entry, matrix));
        let vector = vector.map(Box::new);
        let over_time = |function, matrix, params| {
            let refused = refused.clone();
            let plan = OverTimePlan { function, matrix, params, spans, refused };
            VectorPlan::OverTime(Box::new(plan))
        };
        let plan = match entry.body {
            Body::Info => super::info_join::plan(*vector?, info, call.args.first()?),
            Body::Constant(value) => return Some(Plan::Scalar(ScalarPlan::Number(value))),
            Body::Time => return Some(Plan::Scalar(ScalarPlan::Time)),
            Body::OfRange(function) => return Some(Plan::Scalar(ScalarPlan::OfRange(function))),
            Body::OfTwo(function) => {
                let (b, a) = (Box::new(scalars.pop()?), Box::new(scalars.pop()?));
                return Some(Plan::Scalar(ScalarPlan::OfTwo(function, a, b)));
            }
            Body::ScalarOf => return Some(Plan::Scalar(ScalarPlan::OfVector(vector?))),
            Body::VectorOf => VectorPlan::OfScalar(scalars.pop()?),
            Body::Timestamp(function) => match *vector? {
                VectorPlan::Select(selection) => VectorPlan::SampleTimes(selection),
                other => {
                    let (vector, texts) = (Box::new(other), Vec::new());
                    VectorPlan::Table { function, vector, params: scalars, texts, spans }
                }
            },
            Body::Values(function) => {
                VectorPlan::Values { function, vector: vector?, params: scalars }
            }
            Body::OverTime(function) => {
                let matrix = matrix?;
                let edges = match &matrix {
                    MatrixPlan::Samples { selection, .. } => selection.edges,
                    MatrixPlan::Subquery { .. } => Edges::Plain,
                };
                let function = match edges {
                    Edges::Plain => function,
                    Edges::Anchored => entry.anchored.unwrap_or(function),
                    Edges::Smoothed => entry.smoothed.unwrap_or(function),
                };
                over_time(function, matrix, scalars)
            }
            Body::Table(function) => {
                let texts = strings.into_iter().map(|literal| literal.text).collect();
                VectorPlan::Table { function, vector: vector?, params: scalars, texts, spans }
            }
            Body::Relabel(prepare) => match prepare(&strings) {
                Ok(relabel) => VectorPlan::Relabel { relabel, vector: vector? },
                Err(fault) => {
                    self.faults.push(fault);
                    return None;
                }
            },
            Body::Absent => {
                VectorPlan::Absent { vector: vector?, labels: described(call.args.first()?) }
            }
            Body::AbsentOverTime(function) => {
                let present = over_time(function, matrix?, scalars);
                VectorPlan::Absent {
                    vector: Box::new(present),
                    labels: described(call.args.first()?),
                }
            }
        };
        Some(Plan::Vector(plan))
    }
}

/// Why a function cannot look at the edges of a range as its selector says.
fn refusal(call: &Call, function: &Function, matrix: &MatrixPlan) -> Option<String> {
    let MatrixPlan::Samples { selection, .. } = matrix else { return None };
    let (word, allowed, can) = match selection.edges {
        Edges::Plain => return None,
        Edges::Anchored => {
            ("anchored", "changes, delta, increase, rate, resets", function.anchored)
        }
        Edges::Smoothed => ("smoothed", "delta, increase, rate", function.smoothed),
    };
    let name = &call.name;
    can.is_none()
        .then(|| format!("{word} modifier can only be used with: {allowed} - not with {name}"))
}

/// The labels that a selector leaves no choice about; none where `expr` is something else.
fn described(expr: &Expr) -> Labels {
    let selector = match &expr.kind {
        ExprKind::Paren(inner) => return described(inner),
        ExprKind::Vector(selector) => selector,
        ExprKind::Matrix(matrix) => &matrix.selector,
        _ => return Labels::empty(),
    };
    let mut matchers: Vec<_> = selector.matchers.iter().collect();
    // Prometheus puts conditions that only take away behind the others before it looks at them.
    let required = |name| selector.matchers.iter().any(|m| m.name() == name && !m.matches(""));
    let negative =
        |matcher: &Matcher| matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotMatches);
    matchers.sort_by_key(|m| !required(m.name()) || negative(m) && m.matches(""));
    let mut labels = LabelsBuilder::default();
    let mut seen = Vec::new();
    for matcher in matchers.into_iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        // A second condition on a label leaves open what it is; a first one that says so does too.
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            labels.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            labels.remove(matcher.name());
        }
    }
    labels.build()
}
