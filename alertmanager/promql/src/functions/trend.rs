//! Straight lines through the samples of a window, by least squares.
//!
//! Invariant: a line needs two samples; samples that are all the same give a level one exactly.

use crate::evaluate::{ABSENT, EvalError, OverTimeCall, Sink, Slide, Window, slide};
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
    for (param, (name, letters)) in call.params.iter().zip([("smoothing", "sf"), ("trend", "tf")]) {
        if let Some(got) = param.values().iter().find(|v| **v <= 0.0 || **v >= 1.0) {
            let message =
                format!("invalid {name} factor. Expected: 0 < {letters} < 1, got: {got:.6}");
            return Err(EvalError::Query(message));
        }
    }
    slide::<Smoothing>(call, sink)
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
