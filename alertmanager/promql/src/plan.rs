//! What is evaluated: an expression whose types have been checked.
//!
//! ```text
//!   Expr ──check──▶ Plan ──evaluate──▶ Value
//! ```
//!
//! Invariant: every part has the type that its place asks for, because the types of the plan say
//! so; the evaluator has nothing left to check.

use std::sync::Arc;

use base::labels::{Labels, METRIC_NAME};
use base::matcher::{MatchOp, Matcher};

use crate::ast::{AggregateOp, At, BinaryOp, Edges, Length};
use crate::evaluate::{OverTime, Range, ToTable};
use crate::fault::Span;
use crate::functions::labels::Relabel;

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A number at each step.
    Scalar,
    /// Series with a number at each step.
    Vector,
    /// Series with a stretch of samples at each step.
    Matrix,
    /// A text.
    String,
}

impl Type {
    /// What people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::String => "string",
        }
    }

    /// What the HTTP API calls it.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::String => "string",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Scalar(ScalarPlan),
    Vector(VectorPlan),
    Matrix(MatrixPlan),
    String(String),
}

#[derive(Clone, Debug)]
pub(crate) enum ScalarPlan {
    Number(f64),
    /// `time()`
    Time,
    /// `start()`, `end()`, `range()`, `step()`: a number that the query's range has.
    OfRange(fn(Range) -> f64),
    /// A number from two.
    OfTwo(fn(f64, f64) -> f64, Box<Self>, Box<Self>),
    /// `scalar(v)`
    OfVector(Box<VectorPlan>),
    Negative(Box<Self>),
    Binary(BinaryOp, Box<Self>, Box<Self>),
}

#[derive(Clone, Debug)]
pub(crate) enum VectorPlan {
    Select(Selection),
    /// `timestamp(selector)`: the times of the samples themselves.
    SampleTimes(Selection),
    /// `info(v, selector)`
    Info(Box<InfoPlan>),
    /// `vector(s)`
    OfScalar(ScalarPlan),
    /// A value from a value, without the metric name.
    Values {
        function: fn(f64, [f64; 2]) -> f64,
        vector: Box<Self>,
        params: Vec<ScalarPlan>,
    },
    /// A value from a stretch of samples.
    OverTime(Box<OverTimePlan>),
    /// Anything that needs to see all series.
    Table {
        function: ToTable,
        vector: Box<Self>,
        params: Vec<ScalarPlan>,
        texts: Vec<String>,
        spans: Spans,
    },
    /// Other labels, the same values.
    Relabel {
        relabel: Relabel,
        vector: Box<Self>,
    },
    /// One series with these labels where there is none.
    Absent {
        vector: Box<Self>,
        labels: Labels,
    },
    Aggregate(Box<AggregatePlan>),
    /// An operator between series and a number.
    WithScalar(Box<WithScalarPlan>),
    /// An operator between the series of two sides that match.
    Match(Box<MatchPlan>),
    /// `and`, `or`, `unless`
    Set(Box<SetPlan>),
}

#[derive(Clone, Debug)]
pub(crate) struct OverTimePlan {
    pub(crate) function: OverTime,
    pub(crate) matrix: MatrixPlan,
    pub(crate) params: Vec<ScalarPlan>,
    pub(crate) spans: Spans,
    /// Why it cannot be evaluated: what Prometheus says at the evaluation, too.
    pub(crate) refused: Option<String>,
}

impl OverTimePlan {
    /// Whether all series have the same metric name.
    pub(crate) fn reads_one_metric(&self) -> bool {
        let MatrixPlan::Samples { selection, .. } = &self.matrix else { return false };
        let names = |m: &Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
        selection.matchers.iter().any(names)
    }
}

/// Where a call stands, for annotations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spans {
    pub(crate) call: Span,
    /// The first argument.
    pub(crate) first: Span,
    /// The vector or matrix among the arguments.
    pub(crate) series: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum MatrixPlan {
    Samples { selection: Selection, range: Length },
    Subquery { vector: Box<VectorPlan>, range: Length, step: Option<Length>, shift: Shift },
}

/// Which series, and when.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) matchers: Arc<[Matcher]>,
    pub(crate) shift: Shift,
    pub(crate) edges: Edges,
    pub(crate) span: Span,
    /// What is looked at of native histograms.
    pub(crate) detail: Detail,
}

/// What is looked at of native histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All of them; only what they hold says whether a counter began again.
    #[default]
    Buckets,
    /// All of them, and what is known about beginning again.
    Resets,
    /// Counts and sums, and what is known about beginning again.
    Counts,
}

/// How a selector or a subquery is moved in time.
#[derive(Clone, Debug)]
pub(crate) struct Shift {
    /// Into the past.
    pub(crate) offset: Length,
    pub(crate) at: Option<At>,
}

#[derive(Clone, Debug)]
pub(crate) struct AggregatePlan {
    pub(crate) op: AggregateOp,
    pub(crate) keep: Keep,
    pub(crate) param: Option<ScalarPlan>,
    /// The label of `count_values`.
    pub(crate) label: String,
    pub(crate) vector: VectorPlan,
    pub(crate) param_span: Span,
    /// All of it.
    pub(crate) whole: Span,
    /// What is aggregated.
    pub(crate) span: Span,
}

/// Which labels make a group.
#[derive(Clone, Debug)]
pub(crate) enum Keep {
    /// These, sorted.
    Only(Vec<String>),
    /// All but these, sorted, and the metric name.
    Except(Vec<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct WithScalarPlan {
    pub(crate) op: BinaryOp,
    pub(crate) returns_bool: bool,
    pub(crate) vector: VectorPlan,
    pub(crate) scalar: ScalarPlan,
    pub(crate) scalar_is_left: bool,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct MatchPlan {
    pub(crate) op: BinaryOp,
    pub(crate) returns_bool: bool,
    pub(crate) keep: Keep,
    pub(crate) cardinality: Cardinality,
    pub(crate) span: Span,
    /// What a missing sample of the left, of the right side counts as.
    pub(crate) fill: [Option<f64>; 2],
    /// Labels that the one side passes on.
    pub(crate) include: Vec<String>,
    pub(crate) left: VectorPlan,
    pub(crate) right: VectorPlan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cardinality {
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
}

#[derive(Clone, Debug)]
pub(crate) struct SetPlan {
    pub(crate) op: BinaryOp,
    pub(crate) keep: Keep,
    pub(crate) left: VectorPlan,
    pub(crate) right: VectorPlan,
}

#[derive(Clone, Debug)]
pub(crate) struct InfoPlan {
    /// The series that get more labels.
    pub(crate) vector: VectorPlan,
    /// The series that have them, at the times that the first selector of `vector` looks at.
    pub(crate) info: Selection,
    /// How the times of `info` move, the outermost first.
    pub(crate) shifts: Vec<Shift>,
    /// What the name of such a series must be, all of it.
    pub(crate) names: Vec<Matcher>,
    /// Which labels are wanted, and what they must be; all labels where there is none.
    pub(crate) wanted: Vec<Matcher>,
}
