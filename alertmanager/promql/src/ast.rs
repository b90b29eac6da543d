//! An expression as it was written: every node knows its place in the text.
//!
//! Invariant: a tree is at most [`crate::parser::MAX_DEPTH`] nodes deep, so that it can be dropped
//! and cloned without a thought for the stack.

use base::matcher::Matcher;

use crate::fault::Span;

/// An expression, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands in the text.
    pub span: Span,
}

impl Expr {
    /// What stands in the parentheses, where there are some.
    pub fn bare(&self) -> &Self {
        let mut bare = self;
        while let ExprKind::Paren(inner) = &bare.kind {
            bare = inner;
        }
        bare
    }
}

/// What an expression can be.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `1.5`, `0x1f`, `1h30m`
    Number(Number),
    /// `"text"`
    String(String),
    /// `up{job="api"}`
    Vector(VectorSelector),
    /// `up[5m]`
    Matrix(MatrixSelector),
    /// `rate(up[5m])[1h:1m]`
    Subquery(Box<Subquery>),
    /// `rate(up[5m])`
    Call(Call),
    /// `sum by (job) (up)`
    Aggregate(Box<Aggregate>),
    /// `a + b`
    Binary(Box<Binary>),
    /// `-a`
    Unary(Box<Unary>),
    /// `(a)`
    Paren(Box<Expr>),
}

/// A number literal.
#[derive(Clone, Copy, Debug)]
pub struct Number {
    /// Its value; of a duration the seconds.
    pub value: f64,
    /// Whether it was written as a duration, and so is printed as one.
    pub is_duration: bool,
}

/// Two literals are equal where they print the same.
impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        let same_value = self.value == other.value || self.value.is_nan() && other.value.is_nan();
        same_value && self.is_duration == other.is_duration
    }
}

/// Which series are meant, and which of their samples.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name before the braces, or the one in quotes within them.
    pub name: Option<String>,
    /// The conditions, the one for `name` included, which is the last.
    pub matchers: Vec<Matcher>,
    /// When to look.
    pub when: When,
    /// How to look at the edges of a range.
    pub edges: Edges,
}

/// How a range treats its edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edges {
    /// As the samples are.
    #[default]
    Plain,
    /// `anchored`
    Anchored,
    /// `smoothed`
    Smoothed,
}

/// A vector selector with a range.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// Which series.
    pub selector: VectorSelector,
    /// How far back.
    pub range: Length,
}

/// An expression that is evaluated at many times of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How far back.
    pub range: Length,
    /// From one time to the next; the evaluation has a default.
    pub step: Option<Length>,
    /// When to look.
    pub when: When,
}

/// The modifiers that move a selector or a subquery in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct When {
    /// `offset`, into the past.
    pub offset: Option<Length>,
    /// `@`
    pub at: Option<At>,
}

/// A fixed time of evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the Unix epoch.
    Time(i64),
    /// `start()`: where the query begins.
    Start,
    /// `end()`: where the query ends.
    End,
}

/// A length of time in brackets or behind `offset`.
#[derive(Clone, Debug, PartialEq)]
pub enum Length {
    /// `5m`, `300`, `-5m`: in milliseconds.
    Fixed(i64),
    /// Anything that has to be calculated.
    Computed(Box<LengthExpr>),
}

/// A calculation with lengths of time.
#[derive(Clone, Debug, PartialEq)]
pub struct LengthExpr {
    /// What it is.
    pub kind: LengthKind,
    /// Where it stands in the text.
    pub span: Span,
}

/// What a calculation with lengths of time can be.
#[derive(Clone, Debug, PartialEq)]
pub enum LengthKind {
    /// A literal.
    Number(Number),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min_of(a, b)`
    MinOf(Box<LengthExpr>, Box<LengthExpr>),
    /// `max_of(a, b)`
    MaxOf(Box<LengthExpr>, Box<LengthExpr>),
    /// `-a`
    Negative(Box<LengthExpr>),
    /// `a + b`
    Binary(BinaryOp, Box<LengthExpr>, Box<LengthExpr>),
    /// `(a)`
    Paren(Box<LengthExpr>),
}

/// A function with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The name, as it is known.
    pub name: String,
    /// The arguments.
    pub args: Vec<Expr>,
}

/// An aggregation over series.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// What is calculated.
    pub op: AggregateOp,
    /// Which labels the groups keep; without it there is one group.
    pub grouping: Option<Grouping>,
    /// The first of two arguments.
    pub param: Option<Expr>,
    /// What is aggregated.
    pub expr: Expr,
}

/// `by (a, b)` or `without (a, b)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Whether the labels are those that go.
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}

/// An operator between two expressions.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// From the operator to the last of its modifiers.
    pub op_span: Span,
    /// `bool`: a comparison gives 0 or 1 instead of choosing.
    pub returns_bool: bool,
    /// Which series of the two sides belong together; without it those with the same labels.
    pub matching: Option<Matching>,
    /// The left side.
    pub left: Expr,
    /// The right side.
    pub right: Expr,
}

/// The modifiers that pair the series of two sides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// `on`: `labels` are those that must agree; else, `ignoring`, those that need not.
    pub on: bool,
    /// The labels.
    pub labels: Vec<String>,
    /// `group_left` or `group_right`.
    pub group: Option<Group>,
    /// What a missing left sample counts as.
    pub fill_left: Option<f64>,
    /// What a missing right sample counts as.
    pub fill_right: Option<f64>,
}

/// `group_left (a)` or `group_right (a)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The side that may have many series for one of the other.
    pub many: Side,
    /// Labels that the one passes on to the many.
    pub labels: Vec<String>,
}

/// A side of a binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before the operator.
    Left,
    /// Behind the operator.
    Right,
}

/// A sign before an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Whether the sign is a minus.
    pub negative: bool,
    /// What it is before.
    pub expr: Expr,
}

/// An operator between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `or`
    Or,
    /// `and`
    And,
    /// `unless`
    Unless,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `</`
    TrimUpper,
    /// `>/`
    TrimLower,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
    /// `atan2`
    Atan2,
    /// `^`
    Power,
}

impl BinaryOp {
    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Atan2 => "atan2",
            Self::Power => "^",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Or, Self::And, Self::Unless, Self::Atan2].into_iter().find(|op| op.as_str() == word)
    }

    /// How tightly it binds; what is higher binds first.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            op if op.is_comparison() || op.is_trim() => 3,
            Self::Add | Self::Subtract => 4,
            Self::Power => 6,
            _ => 5,
        }
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Less
                | Self::LessOrEqual
                | Self::Greater
                | Self::GreaterOrEqual
        )
    }

    /// Whether it works on sets of series.
    pub fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    /// Whether it cuts off a part of a histogram.
    pub fn is_trim(self) -> bool {
        matches!(self, Self::TrimLower | Self::TrimUpper)
    }

    pub(crate) fn is_word(self) -> bool {
        self.is_set() || self == Self::Atan2
    }
}

/// What an aggregation calculates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is what its name in PromQL says")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    LimitK,
    LimitRatio,
}

impl AggregateOp {
    const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::TopK,
        Self::BottomK,
        Self::CountValues,
        Self::Quantile,
        Self::LimitK,
        Self::LimitRatio,
    ];

    /// The name in PromQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::TopK => "topk",
            Self::BottomK => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::LimitK => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str() == word)
    }

    /// Whether it can do something with native histograms.
    pub(crate) fn takes_native(self) -> bool {
        use AggregateOp::{Avg, Count, CountValues, Group, LimitK, LimitRatio, Sum};
        matches!(self, Sum | Avg | Count | Group | CountValues | LimitK | LimitRatio)
    }

    /// Whether it takes an argument before what it aggregates.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            Self::TopK
                | Self::BottomK
                | Self::CountValues
                | Self::Quantile
                | Self::LimitK
                | Self::LimitRatio
        )
    }
}
