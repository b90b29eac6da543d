//! Reads samples, and finds the last one before each step.
//!
//! Invariant: the same matchers over the same range are read once in an evaluation, and what no
//! further part of the query needs is not kept.

use std::rc::Rc;

use base::sample::{Timestamp, is_stale};
use storage::{SeriesSamples, Storage};

use super::context::Lease;
use super::table::{Key, Sink};
use super::{ABSENT, Context, EvalError, Steps};
use crate::plan::Selection;
use crate::query::Query;

/// Series with their samples in a range.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) series: Vec<SeriesSamples>,
    _lease: Lease,
}

/// What has been read in an evaluation and is needed again.
pub(crate) struct Selections<'a> {
    storage: &'a Storage,
    /// Every selection of the query that is still to come.
    coming: Vec<&'a Selection>,
    kept: Vec<Kept<'a>>,
}

struct Kept<'a> {
    selection: &'a Selection,
    from: i64,
    to: i64,
    selected: Rc<Selected>,
}

impl<'a> Selections<'a> {
    pub(crate) fn new(storage: &'a Storage, query: &'a Query) -> Self {
        let coming = query.selections().collect();
        Self { storage, coming, kept: Vec::new() }
    }

    /// The samples from `from` to `to`, both included; there may be samples outside of the range.
    pub(crate) fn select(
        &mut self,
        context: &Context<'_>,
        selection: &Selection,
        from: i64,
        to: i64,
    ) -> Result<Rc<Selected>, EvalError> {
        context.check()?;
        if let Some(at) = self.coming.iter().position(|s| std::ptr::eq(*s, selection)) {
            self.coming.swap_remove(at);
        }
        let same = |other: &Selection| other.matchers == selection.matchers;
        let again = self.coming.iter().copied().find(|coming| same(coming));
        let kept = self.kept.iter().find(|k| same(k.selection) && k.from <= from && to <= k.to);
        if let Some(kept) = kept {
            let selected = Rc::clone(&kept.selected);
            if again.is_none() {
                self.kept.retain(|kept| !same(kept.selection));
            }
            return Ok(selected);
        }
        let at = Timestamp::from_millis;
        let series = self.storage.select(&selection.matchers, at(from), at(to))?;
        let mut lease = context.lease();
        lease.extend(series.iter().map(|series| series.times.len()).sum())?;
        let selected = Rc::new(Selected { series, _lease: lease });
        match again {
            Some(selection) => {
                self.kept.push(Kept { selection, from, to, selected: Rc::clone(&selected) });
            }
            None => self.kept.retain(|kept| !same(kept.selection)),
        }
        Ok(selected)
    }

    /// The last value before each of `times`.
    pub(crate) fn last_values(
        &mut self,
        context: &Context<'_>,
        selection: &Selection,
        times: Steps,
        sink: &mut dyn Sink,
    ) -> Result<(), EvalError> {
        self.last(context, selection, times, |_, value| value, sink)
    }

    /// The time of the last sample before each of `times`, in seconds.
    pub(crate) fn last_times(
        &mut self,
        context: &Context<'_>,
        selection: &Selection,
        times: Steps,
        sink: &mut dyn Sink,
    ) -> Result<(), EvalError> {
        self.last(context, selection, times, |time, _| time as f64 / 1000.0, sink)
    }

    fn last(
        &mut self,
        context: &Context<'_>,
        selection: &Selection,
        times: Steps,
        cell: impl Fn(i64, f64) -> f64,
        sink: &mut dyn Sink,
    ) -> Result<(), EvalError> {
        if times.count == 0 {
            return Ok(());
        }
        let lookback = context.lookback();
        let from = times.first().saturating_sub(lookback).saturating_add(1);
        let selected = self.select(context, selection, from, times.last())?;
        let mut lease = context.lease();
        lease.extend(times.count)?;
        let mut cells = vec![ABSENT; times.count];
        for (n, series) in selected.series.iter().enumerate() {
            if n % 256 == 0 {
                context.check()?;
            }
            if last_before(series, times, lookback, &cell, &mut cells) {
                sink.push(Key::from(series.labels.clone()), &cells)?;
            }
        }
        Ok(())
    }
}

/// Fills the cells of a series and says whether one got a value.
fn last_before(
    series: &SeriesSamples,
    times: Steps,
    lookback: i64,
    cell: impl Fn(i64, f64) -> f64,
    cells: &mut [f64],
) -> bool {
    let (mut next, mut any) = (0, false);
    for (n, to) in cells.iter_mut().enumerate() {
        let time = times.time(n);
        if n == 0 {
            // What lies far before the first step, which another selector may have asked for.
            next = series.times.partition_point(|t| *t <= time);
        }
        while series.times.get(next).is_some_and(|t| *t <= time) {
            next += 1;
        }
        *to = ABSENT;
        let Some(at) = next.checked_sub(1) else { continue };
        let (sample, value) = (series.times[at], series.values[at]);
        if sample > time.saturating_sub(lookback) && !is_stale(value) {
            *to = cell(sample, value);
            any = true;
        }
    }
    any
}
