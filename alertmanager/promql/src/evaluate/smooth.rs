//! `smoothed` selectors: between two samples there is a straight line.
//!
//! Invariant: at the time of a sample the value is that sample.

use base::sample::is_stale;
use storage::SeriesColumns;

use super::context::Lease;
use super::histograms::Cell;
use super::key::KeyRef;
use super::select::Selections;
use super::table::{Sink, has_value};
use super::{ABSENT, Context, EvalError, Steps};
use crate::fault::Span;
use crate::histogram::{Incompatible, between};
use crate::plan::Selection;

impl Selections<'_> {
    /// The value at each of `times`, between the samples before and behind it.
    pub(super) fn smoothed(
        &self,
        context: &Context<'_>,
        selection: &Selection,
        times: Steps,
        sink: &mut dyn Sink,
    ) -> Result<(), EvalError> {
        if times.count == 0 {
            return Ok(());
        }
        let lookback = context.lookback();
        let from = times.first().saturating_sub(lookback).saturating_add(1);
        let selected =
            self.select(context, selection, from, times.last().saturating_add(lookback))?;
        let mut lease: Lease = context.lease();
        lease.extend(times.count)?;
        let mut cells = vec![ABSENT; times.count];
        selected.each_raw(context, &mut |series| {
            for (step, cell) in cells.iter_mut().enumerate() {
                *cell = at(context, series, times.time(step), selection.span)?;
            }
            if has_value(&cells) {
                sink.push(KeyRef::from(series.labels), &cells)?;
            }
            Ok(())
        })
    }
}

fn at(
    context: &Context<'_>,
    series: SeriesColumns<'_>,
    time: i64,
    span: Span,
) -> Result<f64, EvalError> {
    let lookback = context.lookback();
    let next = series.times.partition_point(|t| *t <= time);
    let sample = |at: usize| (series.times[at], series.values[at]);
    let before = next.checked_sub(1).map(sample);
    let before = before.filter(|(t, v)| *t > time.saturating_sub(lookback) && !is_stale(*v));
    let Some((begin, first)) = before else { return Ok(ABSENT) };
    let behind = (next < series.times.len()).then(|| sample(next));
    let behind = behind.filter(|(t, v)| *t <= time.saturating_add(lookback) && !is_stale(*v));
    let (end, second) = match behind {
        Some(behind) if begin != time => behind,
        _ => return Ok(first),
    };
    let share = (time - begin) as f64 / (end - begin) as f64;
    match (context.cell(first), context.cell(second)) {
        (Cell::Float(a), Cell::Float(b)) => Ok(a + (b - a) * share),
        (Cell::Native(a), Cell::Native(b)) => match between(&a, &b, share, true) {
            Ok((histogram, _)) => context.keep(histogram),
            Err(Incompatible) => {
                let name = KeyRef::from(series.labels).metric_name();
                context.warn_of_mix(name, span);
                Ok(ABSENT)
            }
        },
        _ => Ok(first),
    }
}
