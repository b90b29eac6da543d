//! Lengths of time that depend on when the query is evaluated.
//!
//! Invariant: a length that cannot be told is a fault of the query, never a guess.

use crate::ast::{BinaryOp, Length, LengthExpr, LengthKind};
use crate::evaluate::Range;

/// About 292 years: what fits Prometheus's nanoseconds.
const MOST_SECONDS: f64 = 9_223_372_036.0;

impl Length {
    /// Milliseconds, for an evaluation over `range`.
    pub(crate) fn millis(&self, range: Range) -> Result<i64, String> {
        match self {
            Self::Fixed(millis) => Ok(*millis),
            Self::Computed(expr) => {
                let seconds = seconds(expr, range)?;
                if seconds.is_nan() || seconds.abs() > MOST_SECONDS {
                    return Err("duration out of range".to_owned());
                }
                Ok((seconds * 1000.0).round() as i64)
            }
        }
    }

    /// As [`Length::millis`], of a stretch of time.
    pub(crate) fn positive_millis(&self, range: Range) -> Result<i64, String> {
        match self.millis(range)? {
            millis if millis > 0 => Ok(millis),
            _ => Err("duration must be greater than 0".to_owned()),
        }
    }
}

impl Range {
    /// Seconds from one evaluation to the next; 0 where there is only one.
    pub(crate) fn step_seconds(self) -> f64 {
        self.step().map_or(0.0, |step| step.as_secs_f64())
    }

    /// Seconds from the first evaluation to the last.
    pub(crate) fn seconds(self) -> f64 {
        self.end().millis().saturating_sub(self.start().millis()) as f64 / 1000.0
    }
}

/// How deep a calculation nests is bounded by the parser.
fn seconds(expr: &LengthExpr, range: Range) -> Result<f64, String> {
    Ok(match &expr.kind {
        LengthKind::Number(number) => number.value,
        LengthKind::Step => range.step_seconds(),
        LengthKind::Range => range.seconds(),
        LengthKind::MinOf(a, b) => seconds(a, range)?.min(seconds(b, range)?),
        LengthKind::MaxOf(a, b) => seconds(a, range)?.max(seconds(b, range)?),
        LengthKind::Negative(inner) => -seconds(inner, range)?,
        LengthKind::Paren(inner) => seconds(inner, range)?,
        LengthKind::Binary(op, a, b) => {
            let (a, b) = (seconds(a, range)?, seconds(b, range)?);
            match op {
                BinaryOp::Add => a + b,
                BinaryOp::Subtract => a - b,
                BinaryOp::Multiply => a * b,
                BinaryOp::Divide if b == 0.0 => return Err("division by zero".to_owned()),
                BinaryOp::Divide => a / b,
                BinaryOp::Remainder if b == 0.0 => return Err("modulo by zero".to_owned()),
                BinaryOp::Remainder => a % b,
                _ => a.powf(b),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::sample::Timestamp;

    use super::*;
    use crate::ast::ExprKind;

    #[track_caller]
    fn check(length: &str, expected: Result<i64, &str>) {
        let expr = crate::parse(&format!("x[{length}]")).unwrap();
        let ExprKind::Matrix(matrix) = expr.kind else { panic!("{expr}") };
        let at = Timestamp::from_millis;
        let range = Range::new(at(0), at(60_000), Duration::from_secs(15));
        let got = matrix.range.positive_millis(range);
        assert_eq!(got, expected.map_err(str::to_owned), "{length}");
    }

    #[test]
    fn calculates_with_the_step_and_the_range() {
        check("5m", Ok(300_000));
        check("step() * 2 + 1ms", Ok(30_001));
        check("range() - step()", Ok(45_000));
        check("min_of(range(), 1h) % 7", Ok(4000));
        check("max_of(-5, (2 ^ 3) / 2)", Ok(4000));
        check("step() - 15", Err("duration must be greater than 0"));
        check("1 / (step() - 15s)", Err("division by zero"));
        check("1 % (step() - 15s)", Err("modulo by zero"));
        check("1h ^ 9", Err("duration out of range"));
    }
}
