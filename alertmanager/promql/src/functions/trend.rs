//! Straight lines through the samples of a window, by least squares.
//!
//! Invariant: a line needs two samples; samples that are all the same give a level one exactly.

use super::over_time::Any;
use crate::evaluate::{
    ABSENT, Column, EvalError, KeyRef, OverTimeCall, Sink, Slide, Window, is_absent, slide,
};
use crate::numeric::Sum;

/// The slope, a second, and the value at the time `at`.
fn line(window: &Window<'_>, at: i64) -> Option<(f64, f64)> {
    let (times, values) = (window.times(), window.values());
    if values.len() < 2 {
        return None;
    }
    if values.iter().all(|value| *value == values[0]) {
        let level = values[0];
        return Some(if level.is_finite() { (0.0, level) } else { (f64::NAN, f64::NAN) });
    }
    let [mut x, mut y, mut xy, mut xx] = [Sum::default(); 4];
    for (time, value) in times.iter().zip(values) {
        let seconds = (time - at) as f64 / 1000.0;
        x.add(seconds);
        y.add(*value);
        xy.add(seconds * value);
        xx.add(seconds * seconds);
    }
    let n = values.len() as f64;
    let (x, y, xy, xx) = (x.value(), y.value(), xy.value(), xx.value());
    let slope = (xy - x * y / n) / (xx - x * x / n);
    Some((slope, y / n - slope * x / n))
}

/// `deriv`
#[derive(Default)]
pub(super) struct Deriv;

impl Slide for Deriv {
    fn value(&mut self, window: Window<'_>) -> f64 {
        // From the first sample on, so that large times do not cost digits.
        line(&window, window.times()[0]).map_or(ABSENT, |(slope, _)| slope)
    }
}

/// `predict_linear`
#[derive(Default)]
pub(super) struct Predict;

impl Slide for Predict {
    const DEPENDS_ON_NOW: bool = true;

    fn value(&mut self, window: Window<'_>) -> f64 {
        line(&window, window.now).map_or(ABSENT, |(slope, value)| slope * window.param + value)
    }
}

/// `double_exponential_smoothing`
pub(super) fn smoothing(call: &OverTimeCall<'_>, sink: &mut dyn Sink) -> Result<(), EvalError> {
    let is_factor = |value: &f64| !(*value <= 0.0 || *value >= 1.0);
    if !call.params.iter().all(|param| param.values().iter().all(is_factor)) {
        slide::<Any>(call, &mut Refusing(&call.params))?;
    }
    slide::<Smoothing>(call, sink)
}

/// Refuses what there is at a step at which a factor is none; where there is nothing, nobody minds.
struct Refusing<'a>(&'a [Column]);

impl Sink for Refusing<'_> {
    fn push(&mut self, _key: KeyRef<'_>, cells: &[f64]) -> Result<(), EvalError> {
        for step in (0..cells.len()).filter(|step| !is_absent(cells[*step])) {
            for (param, (name, letters)) in
                self.0.iter().zip([("smoothing", "sf"), ("trend", "tf")])
            {
                let got = param.at(step);
                if got <= 0.0 || got >= 1.0 {
                    return Err(EvalError::Query(format!(
                        "invalid {name} factor. Expected: 0 < {letters} < 1, got: {got:.6}"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// A value that each sample moves, and a trend that each move changes (Holt, 1957).
#[derive(Default)]
struct Smoothing;

impl Slide for Smoothing {
    fn value(&mut self, window: Window<'_>) -> f64 {
        let values = window.values();
        let [first, second, ..] = values else { return ABSENT };
        let (smoothing, trend_factor) = (window.param, window.second);
        let (mut before, mut level, mut trend) = (0.0, *first, second - first);
        for (n, value) in values.iter().enumerate().skip(1) {
            if n > 1 {
                trend = trend_factor * (level - before) + (1.0 - trend_factor) * trend;
            }
            let next = smoothing * value + (1.0 - smoothing) * (level + trend);
            (before, level) = (level, next);
        }
        level
    }
}
