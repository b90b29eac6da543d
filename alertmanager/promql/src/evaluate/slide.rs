//! Functions of range vectors, as they slide over one series after the other; over many series in
//! several threads.
//!
//! Invariant: what comes out, and in which order, does not depend on how many threads there are.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use base::labels::Labels;
use storage::{Parts, Reader, SelectError, SeriesColumns};

use super::bounds::{Bounds, Windows};
use super::context::EvalError;
use super::key::KeyRef;
use super::pieces;
use super::scalar::Column;
use super::table::{ABSENT, Sink, is_absent};
use super::window::{Buffer, Native, OverTimeCall, Row, Samples, Slide, Window, without_native};

/// After so many samples in windows the caller is asked whether to go on.
const CHECK_AFTER: usize = 1 << 20;

/// Fewer cells and samples than these are not worth a thread, which takes a tenth of a millisecond.
const WORTH: usize = 1 << 15;

/// The most cells of a piece, about. With so few what threads hand over needs no lease.
const PIECE: usize = 1 << 15;

/// So many pieces at least, for each thread, so that all have something to do until the end.
const TURNS: usize = 8;

/// Slides the windows of a call over all series.
pub(crate) fn slide<F: Slide>(
    call: &OverTimeCall<'_>,
    sink: &mut dyn Sink,
) -> Result<(), EvalError> {
    let OverTimeCall { context, input, windows, params, .. } = call;
    let constant = params.iter().all(|param| matches!(param, Column::Constant(_)));
    let param = |n: usize| params.get(n).map_or(&[][..], Column::values);
    let pass = Pass {
        windows,
        params: [param(0), param(1)],
        same_everywhere: windows.ends.is_pinned() && constant && !F::DEPENDS_ON_NOW,
        cancelled: context.cancelled(),
    };
    let steps = windows.count();
    let mut lease = context.lease();
    // A row; and where it is long, what is kept of its windows counts, too.
    lease.extend(if steps > PIECE { steps.saturating_mul(4) } else { steps })?;
    if let Some((parts, _lease)) = input.parts(context)? {
        let work = parts.len().saturating_mul(steps).saturating_add(parts.samples());
        // Of rows that are longer than a piece there is one at a time.
        let alone = work < WORTH || steps > PIECE;
        let threads = if alone { 1 } else { pieces::threads() };
        return apart::<F>(call, &pass, &parts, threads, sink);
    }
    let mut slider = Slider::<F>::default();
    let mut cells = vec![ABSENT; steps];
    input.each(context, &mut |key, samples| {
        slider.begin(samples, windows);
        let any = if context.any_native(samples.values) {
            pass.each(&mut slider, samples, &mut cells, |function, window| match F::NATIVE {
                Native::AsIs => Ok(function.value(window)),
                Native::Ignored => Ok(without_native(function, call, key, window)),
                Native::Own => function.native(call, key, window),
            })?
        } else {
            pass.fill(&mut slider, samples, &mut cells)?
        };
        if any { push(&mut slider.function, call, key, &cells, sink) } else { Ok(()) }
    })
}

/// Hands on a series that got a value.
fn push<F: Slide>(
    function: &mut F,
    call: &OverTimeCall<'_>,
    key: KeyRef<'_>,
    cells: &[f64],
    sink: &mut dyn Sink,
) -> Result<(), EvalError> {
    function.inspect(call, key, cells);
    let key = if F::KEEPS_NAME { key } else { key.without_name(call.context.without_name()) };
    sink.push(key, cells)
}

/// A function on its way over one series after the other.
#[derive(Default)]
struct Slider<F> {
    function: F,
    bounds: Bounds,
    /// The samples in windows since somebody was asked whether to go on.
    work: usize,
}

impl<F: Slide> Slider<F> {
    fn begin(&mut self, samples: Samples<'_>, windows: &Windows) {
        self.bounds.find(samples.times, windows);
        self.function.begin(samples);
    }
}

/// What all series have in common.
#[derive(Clone, Copy)]
struct Pass<'a> {
    windows: &'a Windows,
    /// Each one value, one for each step, or none.
    params: [&'a [f64]; 2],
    /// Whether a series has the same value at every step.
    same_everywhere: bool,
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl Pass<'_> {
    /// Counts work that was done, or is about to be.
    #[inline]
    fn count(&self, done: &mut usize, work: usize) -> Result<(), EvalError> {
        *done = done.saturating_add(work);
        if *done < CHECK_AFTER {
            return Ok(());
        }
        *done = 0;
        if (self.cancelled)() { Err(EvalError::Cancelled) } else { Ok(()) }
    }

    /// Fills the cells of a series that has begun, and says whether one got a value.
    fn fill<F: Slide>(
        &self,
        slider: &mut Slider<F>,
        samples: Samples<'_>,
        cells: &mut [f64],
    ) -> Result<bool, EvalError> {
        let Slider { function, bounds, work } = slider;
        let row = Row { samples, windows: self.windows, bounds, params: self.params };
        if let Some(any) = function.fill(&row, cells) {
            return self.count(work, cells.len()).map(|()| any);
        }
        self.each(slider, samples, cells, |function, window| Ok(function.value(window)))
    }

    /// As [`Pass::fill`], window by window.
    #[inline]
    fn each<F: Slide>(
        &self,
        slider: &mut Slider<F>,
        samples: Samples<'_>,
        cells: &mut [f64],
        mut value: impl FnMut(&mut F, Window<'_>) -> Result<f64, EvalError>,
    ) -> Result<bool, EvalError> {
        let Self { windows, params, same_everywhere, .. } = *self;
        let Slider { function, bounds, work } = slider;
        let row = Row { samples, windows, bounds, params };
        let mut any = false;
        for (step, (first, behind)) in bounds.windows().iter().enumerate() {
            if step > 0 && same_everywhere {
                cells[step] = cells[0];
                continue;
            }
            self.count(work, behind - first + 1)?;
            cells[step] = ABSENT;
            if first < behind {
                cells[step] = value(function, row.window(step))?;
                any |= !is_absent(cells[step]);
            }
        }
        Ok(any)
    }

    /// The rows of some series, none of which has native histograms.
    fn rows<F: Slide>(
        &self,
        slider: &mut Slider<F>,
        reader: &mut Reader<'_>,
        part: Range<usize>,
    ) -> Result<Rows, EvalError> {
        let mut buffer = Buffer::default();
        let steps = self.windows.count();
        let mut rows = Rows {
            labels: Vec::with_capacity(part.len()),
            cells: Vec::with_capacity(part.len().saturating_mul(steps)),
        };
        reader.read(part, |SeriesColumns { labels, times, values, histograms, .. }| {
            if !histograms.is_empty() {
                // They are the first of all: another try finds that there are some.
                return Err(EvalError::from(SelectError::Moved));
            }
            let samples = Samples { times, values, starts: &[] }.without_markers(&mut buffer);
            let begin = rows.cells.len();
            rows.cells.resize(begin + steps, ABSENT);
            slider.begin(samples, self.windows);
            if self.fill(slider, samples, &mut rows.cells[begin..])? {
                rows.labels.push(labels.clone());
            } else {
                rows.cells.truncate(begin);
            }
            Ok(())
        })?;
        Ok(rows)
    }
}

/// Some series and their cells, row behind row.
struct Rows {
    labels: Vec<Labels>,
    cells: Vec<f64>,
}

/// As [`slide`], with the series shared among threads that end before it does.
fn apart<F: Slide>(
    call: &OverTimeCall<'_>,
    pass: &Pass<'_>,
    parts: &Parts<'_>,
    threads: usize,
    sink: &mut dyn Sink,
) -> Result<(), EvalError> {
    let steps = pass.windows.count();
    let count = parts.len();
    let size = (PIECE / steps.max(1)).min(count / (TURNS * threads)).max(1);
    let mut function = F::default();
    let begin = || (Slider::<F>::default(), parts.reader());
    let make = |(slider, reader): &mut (Slider<F>, Reader<'_>), piece: usize, over: &AtomicBool| {
        let is_over = || over.load(Ordering::Relaxed) || (pass.cancelled)();
        let begin = piece.saturating_mul(size);
        let part = begin.min(count)..begin.saturating_add(size).min(count);
        Pass { cancelled: &is_over, ..*pass }.rows(slider, reader, part)
    };
    let take = |rows: Rows| {
        call.context.check()?;
        let mut rows = rows.labels.iter().zip(rows.cells.chunks_exact(steps));
        rows.try_for_each(|(labels, cells)| {
            push(&mut function, call, KeyRef::from(labels), cells, sink)
        })
    };
    pieces::in_order(count.div_ceil(size), threads, begin, make, take)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use base::sample::Timestamp;
    use storage::{Point, Storage};

    use super::*;
    use crate::evaluate::select::Selections;
    use crate::evaluate::{Context, Evaluation, Options, Table};
    use crate::plan::{Plan, VectorPlan};
    use crate::query::Query;

    #[derive(Default)]
    struct Sum;

    impl Slide for Sum {
        fn value(&mut self, window: Window<'_>) -> f64 {
            window.values().iter().sum()
        }
    }

    const SERIES: usize = 5000;

    /// Series of which every seventh has no sample, and every third a gap that was marked.
    fn storage() -> Storage {
        let storage = Storage::in_memory(storage::Options::default());
        for n in 0..SERIES {
            let labels = Labels::from_pairs([("__name__", "x"), ("n", &n.to_string())]);
            let series = storage.series(&labels).unwrap();
            for step in 0..if n % 7 == 0 { 0 } else { 30 } {
                let timestamp = Timestamp::from_millis(step * 1000);
                let ends = n % 3 == 0 && step == 10;
                let value =
                    if ends { base::sample::Ended::Gone.value() } else { (n as i64 * step) as f64 };
                storage.append(&[Point { series, timestamp, value }]).unwrap();
            }
        }
        storage
    }

    /// The rows that so many threads make, or one as usual.
    fn rows(
        storage: &Storage,
        threads: Option<usize>,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<(String, Vec<u64>)>, EvalError> {
        let query = Query::new("sum_over_time(x[5s])").unwrap();
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        let range = crate::Range::new(at(0), at(29), Duration::from_secs(1));
        let options = Options { cancelled, ..Options::default() };
        let context = Context::over(Some(storage), &options, range, &Default::default());
        let selections = Selections::new(storage, [&query], range, options.lookback);
        let evaluation = Evaluation { context: &context, selections: &selections, range };
        let Plan::Vector(VectorPlan::OverTime(plan)) = query.plan() else { panic!("{query}") };
        let steps = range.steps();
        let (input, windows) = evaluation.matrix(&plan.matrix, steps).unwrap();
        let call =
            OverTimeCall { context: &context, input, windows, params: vec![], spans: plan.spans };
        let mut table = Table::new(&context, steps.count);
        match threads {
            None => slide::<Sum>(&call, &mut table)?,
            Some(threads) => {
                let (parts, _lease) = call.input.parts(&context).unwrap().unwrap();
                let pass = Pass {
                    windows: &call.windows,
                    params: [&[], &[]],
                    same_everywhere: false,
                    cancelled,
                };
                apart::<Sum>(&call, &pass, &parts, threads, &mut table)?;
            }
        }
        let row = |n: usize| {
            let cells = table.row(n).iter().map(|cell| cell.to_bits()).collect();
            (table.key(n).to_labels().to_string(), cells)
        };
        Ok((0..table.len()).map(row).collect())
    }

    #[test]
    fn several_threads_make_the_same_rows_in_the_same_order() {
        let storage = storage();
        let alone = rows(&storage, Some(1), &|| false).unwrap();
        assert_eq!(alone.len(), SERIES - SERIES.div_ceil(7));
        let (labels, cells) = &alone[1];
        assert_eq!(labels, r#"{n="2"}"#);
        // Seconds 2 to 6, five of them twice each.
        assert_eq!(f64::from_bits(cells[6]), 2.0 * (2 + 3 + 4 + 5 + 6) as f64);
        assert_eq!(rows(&storage, None, &|| false).unwrap(), alone);
        for threads in [2, 3, 8] {
            assert_eq!(rows(&storage, Some(threads), &|| false).unwrap(), alone, "{threads}");
        }
    }

    #[test]
    fn a_bomb_of_steps_is_refused_before_there_is_room_for_them_x26() {
        let (storage, options) = (storage(), Options::default());
        let now = crate::Range::instant(Timestamp::from_millis(29_000));
        for text in [
            "sum_over_time(rate(x[5s])[100y:1ms])",
            "sum_over_time(max_over_time(x[5s])[1y:1s])",
            "count_over_time(last_over_time(x{n=\"1\"}[5s])[250d:1s])",
        ] {
            let query = Query::new(text).unwrap();
            let result = crate::evaluate(&query, &storage, now, &options);
            assert!(matches!(result, Err(EvalError::TooManySamples(_))), "{text}: {result:?}");
        }
    }

    #[test]
    fn all_threads_end_when_the_query_is_cancelled_f58() {
        let storage = storage();
        let asked = AtomicUsize::new(0);
        let cancelled = || asked.fetch_add(1, Ordering::SeqCst) > 2;
        let result = rows(&storage, Some(3), &cancelled);
        assert!(matches!(result, Err(EvalError::Cancelled)), "{result:?}");
    }
}
