//! Functions of one value.
//!
//! Invariant: what is not a number stays so.

use crate::evaluate::ABSENT;

/// The smaller of two; not a number where one of them is not.
pub(super) fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// The larger of two; not a number where one of them is not.
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The nearest value between two; nothing where they are the wrong way round.
pub(super) fn clamp(value: f64, [low, high]: [f64; 2]) -> f64 {
    if high < low { ABSENT } else { max(low, min(high, value)) }
}

/// The nearest multiple, the upper one of two that are as near.
pub(super) fn round(value: f64, [nearest, _]: [f64; 2]) -> f64 {
    // Dividing by the inverse gives the float that people expect: 2.2, not 2.2000000000000002.
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// 1, 0 or -1.
pub(super) fn sign(value: f64, _: [f64; 2]) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_halves_up() {
        let check = |v: f64, nearest: f64, expected: f64| {
            assert_eq!(round(v, [nearest, 0.0]), expected);
        };
        check(0.5, 1.0, 1.0);
        check(-0.5, 1.0, 0.0);
        check(-0.6, 1.0, -1.0);
        check(2.15, 0.1, 2.2);
        check(7.4, 5.0, 5.0);
        check(f64::INFINITY, 1.0, f64::INFINITY);
    }

    #[test]
    fn clamps_between_two_values_or_to_nothing() {
        assert_eq!(clamp(5.0, [1.0, 3.0]), 3.0);
        assert_eq!(clamp(-5.0, [1.0, 3.0]), 1.0);
        assert!(clamp(2.0, [f64::NAN, 3.0]).is_nan());
        assert_eq!(clamp(2.0, [3.0, 1.0]).to_bits(), ABSENT.to_bits());
    }
}
