//! The functions: their names, what they take, what they do.
//!
//! To add one is to add a line to [`FUNCTIONS`] and, where nothing there does what it needs, the
//! function that the line names. Nothing else knows functions by name.
//!
//! Invariant: the table is sorted by name, and every function of Prometheus is in it.

mod values;
mod date;
mod sorted;
mod over_time;
mod rank;
mod start;
mod native_rate;
mod edge;
mod rate;
mod extended;
mod trend;
mod order;
mod histogram;
mod native;
pub(crate) mod labels;

use crate::evaluate::{OverTime, Range, ToTable, slide};
use crate::fault::{Fault, Span};
use crate::plan::Type;
use Type::{Matrix, Scalar, String as Text, Vector};
use labels::Relabel;

/// A function of the language.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// The arguments, those at the end that may be left out included.
    pub(crate) args: &'static [Type],
    /// What is special about the last argument.
    pub(crate) tail: Tail,
    pub(crate) returns: Type,
    pub(crate) body: Body,
    /// What it does where the range is `anchored`, or `smoothed`.
    pub(crate) anchored: Option<OverTime>,
    pub(crate) smoothed: Option<OverTime>,
    pub(crate) buckets: Buckets,
}

/// Whether a function looks at the buckets of native histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buckets {
    /// What it is part of decides.
    Passed,
    Needed,
    NotNeeded,
}

/// What is special about the last argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tail {
    /// Nothing.
    Required,
    /// It may be left out, and is this number then.
    Number(f64),
    /// It may be left out, and is a vector of the evaluation time then.
    Now,
    /// It may be left out, and it is told apart by the function.
    Optional,
    /// It may come any number of times, or not at all.
    Repeated,
}

/// What a function does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    /// A number.
    Constant(f64),
    /// The evaluation time.
    Time,
    /// A number that the range of the query has.
    OfRange(fn(Range) -> f64),
    /// A number from two.
    OfTwo(fn(f64, f64) -> f64),
    /// Labels of other series; the second argument is a selector without a name.
    Info,
    /// A number from a vector with one series.
    ScalarOf,
    /// A vector with one series from a number.
    VectorOf,
    /// The times of samples; of what is no selector, those of the steps.
    Timestamp(ToTable),
    /// A value from a value and from numbers.
    Values(fn(f64, [f64; 2]) -> f64),
    /// A value from the samples in a window.
    OverTime(OverTime),
    /// Anything that needs to see all series.
    Table(ToTable),
    /// Other labels, told by strings.
    Relabel(fn(&[Literal]) -> Result<Relabel, Fault>),
    /// A series where there is none.
    Absent,
    /// A series where there are no samples; the function says where there are some.
    AbsentOverTime(OverTime),
}

/// A string among the arguments, with its place.
#[derive(Clone, Debug)]
pub(crate) struct Literal {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// The function with this name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}

impl Function {
    const fn new(name: &'static str, args: &'static [Type], body: Body) -> Self {
        let (tail, buckets) = (Tail::Required, Buckets::Passed);
        let (anchored, smoothed) = (None, None);
        Self { name, args, tail, returns: Vector, body, anchored, smoothed, buckets }
    }

    const fn at_edges(mut self, anchored: OverTime, smoothed: Option<OverTime>) -> Self {
        self.anchored = Some(anchored);
        self.smoothed = smoothed;
        self
    }

    const fn with_buckets(mut self) -> Self {
        self.buckets = Buckets::Needed;
        self
    }

    const fn without_buckets(mut self) -> Self {
        self.buckets = Buckets::NotNeeded;
        self
    }

    const fn tail(mut self, tail: Tail) -> Self {
        self.tail = tail;
        self
    }

    const fn scalar(mut self) -> Self {
        self.returns = Scalar;
        self
    }

    /// The fewest arguments that it takes.
    pub(crate) fn least(&self) -> usize {
        self.args.len() - usize::from(self.tail != Tail::Required)
    }

    /// The most arguments that it takes, if there is such a number.
    pub(crate) fn most(&self) -> Option<usize> {
        (self.tail != Tail::Repeated).then_some(self.args.len())
    }

    /// Which argument has to be a selector without a name.
    pub(crate) fn selector_at(&self) -> Option<usize> {
        matches!(self.body, Body::Info).then_some(1)
    }

    /// The type of an argument.
    pub(crate) fn arg(&self, n: usize) -> Option<Type> {
        let repeated = self.args.last().filter(|_| self.tail == Tail::Repeated);
        self.args.get(n).or(repeated).copied()
    }
}

const fn values(name: &'static str, function: fn(f64, [f64; 2]) -> f64) -> Function {
    Function::new(name, &[Vector], Body::Values(function))
}

const fn over_time(name: &'static str, function: OverTime) -> Function {
    Function::new(name, &[Matrix], Body::OverTime(function))
}

const fn of_range(name: &'static str, function: fn(Range) -> f64) -> Function {
    Function::new(name, &[], Body::OfRange(function)).scalar()
}

/// Of the optional argument the function gets the evaluation time.
const fn date(name: &'static str, function: fn(f64, [f64; 2]) -> f64) -> Function {
    values(name, function).tail(Tail::Now)
}

#[rustfmt::skip]
static FUNCTIONS: &[Function] = &[
    values("abs", |v, _| v.abs()),
    Function::new("absent", &[Vector], Body::Absent),
    Function::new("absent_over_time", &[Matrix], Body::AbsentOverTime(slide::<over_time::Any>)),
    values("acos", |v, _| v.acos()),
    values("acosh", |v, _| v.acosh()),
    values("asin", |v, _| v.asin()),
    values("asinh", |v, _| v.asinh()),
    values("atan", |v, _| v.atan()),
    values("atanh", |v, _| v.atanh()),
    over_time("avg_over_time", slide::<over_time::Avg>),
    values("ceil", |v, _| v.ceil()),
    over_time("changes", slide::<over_time::Changes>)
        .at_edges(slide::<extended::Changes>, None),
    Function::new("clamp", &[Vector, Scalar, Scalar], Body::Values(values::clamp)),
    Function::new("clamp_max", &[Vector, Scalar], Body::Values(|v, [max, _]| values::min(v, max))),
    Function::new("clamp_min", &[Vector, Scalar], Body::Values(|v, [min, _]| values::max(v, min))),
    values("cos", |v, _| v.cos()),
    values("cosh", |v, _| v.cosh()),
    over_time("count_over_time", slide::<over_time::Count>),
    date("day_of_month", date::day_of_month),
    date("day_of_week", date::day_of_week),
    date("day_of_year", date::day_of_year),
    date("days_in_month", date::days_in_month),
    values("deg", |v, _| v * 180.0 / std::f64::consts::PI),
    over_time("delta", slide::<rate::Delta>)
        .at_edges(slide::<extended::Anchored<false, false>>, Some(slide::<extended::Smoothed<false, false>>)),
    over_time("deriv", slide::<trend::Deriv>),
    Function::new("double_exponential_smoothing", &[Matrix, Scalar, Scalar],
        Body::OverTime(trend::smoothing)),
    of_range("end", |range| range.end().seconds()),
    values("exp", |v, _| v.exp()),
    over_time("first_over_time", slide::<over_time::First>),
    values("floor", |v, _| v.floor()),
    Function::new("histogram_avg", &[Vector], Body::Table(native::avg)).without_buckets(),
    Function::new("histogram_count", &[Vector], Body::Table(native::count)).without_buckets(),
    Function::new("histogram_fraction", &[Scalar, Scalar, Vector], Body::Table(histogram::fraction))
        .with_buckets(),
    Function::new("histogram_quantile", &[Scalar, Vector], Body::Table(histogram::quantile))
        .with_buckets(),
    Function::new("histogram_quantiles", &[Vector, Text, Scalar, Scalar],
        Body::Table(histogram::quantiles)).tail(Tail::Repeated).with_buckets(),
    Function::new("histogram_stddev", &[Vector], Body::Table(native::stddev)),
    Function::new("histogram_stdvar", &[Vector], Body::Table(native::stdvar)),
    Function::new("histogram_sum", &[Vector], Body::Table(native::sum)).without_buckets(),
    date("hour", date::hour),
    over_time("idelta", slide::<rate::LastDelta>),
    over_time("increase", slide::<rate::Increase>)
        .at_edges(slide::<extended::Anchored<true, false>>, Some(slide::<extended::Smoothed<true, false>>)),
    Function::new("info", &[Vector, Vector], Body::Info).tail(Tail::Optional),
    over_time("irate", slide::<rate::LastRate>),
    Function::new("label_join", &[Vector, Text, Text, Text], Body::Relabel(Relabel::join))
        .tail(Tail::Repeated),
    Function::new("label_replace", &[Vector, Text, Text, Text, Text],
        Body::Relabel(Relabel::replace)),
    over_time("last_over_time", slide::<over_time::Last>),
    values("ln", |v, _| v.ln()),
    values("log10", |v, _| v.log10()),
    values("log2", |v, _| v.log2()),
    over_time("mad_over_time", slide::<rank::Mad>),
    Function::new("max_of", &[Scalar, Scalar], Body::OfTwo(values::max)).scalar(),
    over_time("max_over_time", slide::<rank::Max>),
    Function::new("min_of", &[Scalar, Scalar], Body::OfTwo(values::min)).scalar(),
    over_time("min_over_time", slide::<rank::Min>),
    date("minute", date::minute),
    date("month", date::month),
    Function::new("pi", &[], Body::Constant(std::f64::consts::PI)).scalar(),
    Function::new("predict_linear", &[Matrix, Scalar], Body::OverTime(slide::<trend::Predict>)),
    over_time("present_over_time", slide::<over_time::Present>),
    Function::new("quantile_over_time", &[Scalar, Matrix],
        Body::OverTime(slide::<rank::Quantile>)),
    values("rad", |v, _| v * std::f64::consts::PI / 180.0),
    of_range("range", Range::seconds),
    over_time("rate", slide::<rate::Rate>)
        .at_edges(slide::<extended::Anchored<true, true>>, Some(slide::<extended::Smoothed<true, true>>)),
    over_time("resets", slide::<over_time::Resets>)
        .at_edges(slide::<extended::Resets>, None),
    Function::new("round", &[Vector, Scalar], Body::Values(values::round)).tail(Tail::Number(1.0)),
    Function::new("scalar", &[Vector], Body::ScalarOf).scalar(),
    values("sgn", values::sign),
    values("sin", |v, _| v.sin()),
    values("sinh", |v, _| v.sinh()),
    Function::new("sort", &[Vector], Body::Table(order::ascending)),
    Function::new("sort_by_label", &[Vector, Text], Body::Table(order::by_label))
        .tail(Tail::Repeated),
    Function::new("sort_by_label_desc", &[Vector, Text], Body::Table(order::by_label_descending))
        .tail(Tail::Repeated),
    Function::new("sort_desc", &[Vector], Body::Table(order::descending)),
    values("sqrt", |v, _| v.sqrt()),
    of_range("start", |range| range.start().seconds()),
    over_time("stddev_over_time", slide::<over_time::Stddev>),
    over_time("stdvar_over_time", slide::<over_time::Stdvar>),
    of_range("step", Range::step_seconds),
    over_time("sum_over_time", slide::<over_time::Sum>),
    values("tan", |v, _| v.tan()),
    values("tanh", |v, _| v.tanh()),
    Function::new("time", &[], Body::Time).scalar(),
    Function::new("timestamp", &[Vector], Body::Timestamp(date::step_times)),
    over_time("ts_of_first_over_time", slide::<over_time::TimeOfFirst>),
    over_time("ts_of_last_over_time", slide::<over_time::TimeOfLast>),
    over_time("ts_of_max_over_time", slide::<over_time::TimeOfMax>),
    over_time("ts_of_min_over_time", slide::<over_time::TimeOfMin>),
    Function::new("vector", &[Scalar], Body::VectorOf),
    date("year", date::year),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_by_name() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(find("rate").map(|f| f.name), Some("rate"));
        assert!(find("holt_winters").is_none());
    }
}
