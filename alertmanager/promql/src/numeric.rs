//! Sums, means, deviations and quantiles, each in one pass over values that come one by one.
//!
//! Sums carry the digits that a float loses (Neumaier, "Rundungsfehleranalyse einiger Verfahren
//! zur Summation endlicher Summen", 1974), so that the order of the values hardly matters.
//!
//! Invariant: infinities and not-a-numbers come out as plain arithmetic would have them, never as
//! an artefact of the compensation.

/// A sum with the digits that it lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.total + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.total.abs() >= value.abs() {
            self.lost += (self.total - total) + value;
        } else {
            self.lost += (value - total) + self.total;
        }
        self.total = total;
    }

    #[inline]
    pub(crate) fn value(self) -> f64 {
        self.total + self.lost
    }
}

/// A mean: the sum divided at the end, or where the sum overflows a mean that moves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    /// The sum; of a moving mean the mean itself.
    sum: Sum,
    count: f64,
    moving: bool,
}

impl Mean {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum { total: value, lost: 0.0 };
            return;
        }
        if !self.moving {
            let mut sum = self.sum;
            sum.add(value);
            if !sum.total.is_infinite() {
                self.sum = sum;
                return;
            }
            self.begin_to_move();
        }
        self.move_towards(value);
    }

    #[cold]
    fn begin_to_move(&mut self) {
        self.moving = true;
        self.sum.total /= self.count - 1.0;
        self.sum.lost /= self.count - 1.0;
    }

    #[cold]
    fn move_towards(&mut self, value: f64) {
        let mean = self.sum.total;
        // An infinite mean stays what it is, unless the value cannot be reconciled with it.
        let same_infinity = value.is_infinite() && (mean > 0.0) == (value > 0.0);
        if mean.is_infinite() && (same_infinity || value.is_finite()) {
            return;
        }
        self.sum.add(value / self.count - self.sum.value() / self.count);
    }

    #[inline]
    pub(crate) fn value(self) -> f64 {
        if self.moving {
            self.sum.value()
        } else {
            self.sum.total / self.count + self.sum.lost / self.count
        }
    }
}

/// A variance of the whole population (Welford, "Note on a method for calculating corrected sums
/// of squares and products", 1962).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variance {
    count: f64,
    mean: Sum,
    squares: Sum,
}

impl Variance {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean.value();
        self.mean.add(delta / self.count);
        self.squares.add(delta * (value - self.mean.value()));
    }

    #[inline]
    pub(crate) fn value(self) -> f64 {
        self.squares.value() / self.count
    }
}

/// The `quantile` of `values`, between two of them where it lies between, in the order of [`order`];
/// `keys` is room to look for it. A quantile below 0 or above 1 is an infinity.
pub(crate) fn quantile(quantile: f64, values: &[f64], keys: &mut Vec<u64>) -> f64 {
    let (lower, weight) = match place(quantile, values.len()) {
        Ok(place) => place,
        Err(value) => return value,
    };
    keys.clear();
    keys.extend(values.iter().map(|value| key(*value)));
    let (_, lower, above) = keys.select_nth_unstable(lower);
    let upper = above.iter().min().unwrap_or(lower);
    between(of_key(*lower), of_key(*upper), weight)
}

/// As [`quantile`], of values that are sorted.
pub(crate) fn quantile_of_sorted(quantile: f64, values: &[f64]) -> f64 {
    let (lower, weight) = match place(quantile, values.len()) {
        Ok(place) => place,
        Err(value) => return value,
    };
    let upper = (lower + 1).min(values.len() - 1);
    between(values[lower], values[upper], weight)
}

/// Which of so many values is below a quantile, and the weight of the one above it; or what the quantile
/// is without a look at the values.
fn place(quantile: f64, count: usize) -> Result<(usize, f64), f64> {
    let last = match count.checked_sub(1) {
        Some(last) if !quantile.is_nan() => last,
        _ => return Err(f64::NAN),
    };
    if quantile < 0.0 {
        return Err(f64::NEG_INFINITY);
    }
    if quantile > 1.0 {
        return Err(f64::INFINITY);
    }
    let rank = quantile * last as f64;
    let below = rank.floor();
    Ok(((below as usize).min(last), rank - below))
}

fn between(lower: f64, upper: f64, weight: f64) -> f64 {
    lower * (1.0 - weight) + upper * weight
}

/// A number for each float, in the order of floats: what is not a number before all of them, -0 before 0.
#[inline]
fn key(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let bits = value.to_bits();
    match value.is_nan() {
        true => 0,
        false if bits & SIGN == 0 => bits | SIGN,
        false => !bits,
    }
}

#[inline]
fn of_key(key: u64) -> f64 {
    const SIGN: u64 = 1 << 63;
    match key {
        0 => f64::NAN,
        key if key & SIGN == 0 => f64::from_bits(!key),
        key => f64::from_bits(key & !SIGN),
    }
}

/// The order of numbers, what is not a number before all of them, -0 before 0.
#[inline]
pub(crate) fn order(a: &f64, b: &f64) -> std::cmp::Ordering {
    key(*a).cmp(&key(*b))
}

/// The order of numbers, with what is not a number before all of them.
#[inline]
pub(crate) fn smaller_first(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    #[track_caller]
    fn check(values: &[f64], sum: f64, mean: f64, variance: f64) {
        let (mut s, mut m, mut v) = (Sum::default(), Mean::default(), Variance::default());
        for value in values {
            s.add(*value);
            m.add(*value);
            v.add(*value);
        }
        for (what, got, expected) in
            [("sum", s.value(), sum), ("mean", m.value(), mean), ("variance", v.value(), variance)]
        {
            let near = (got - expected).abs() <= expected.abs() * 1e-15;
            let same = got == expected || near || got.is_nan() && expected.is_nan();
            assert!(same, "{what} of {values:?} is {got}, not {expected}");
        }
    }

    #[test]
    fn keeps_what_floats_lose() {
        check(&[1.0, 1e100, 1.0, -1e100], 2.0, 0.5, 5e199);
        check(&[5.0, 1e-60, -5.0], 1e-60, 1e-60 / 3.0, 50.0 / 3.0);
        check(&[52.0; 12], 624.0, 52.0, 0.0);
        check(&[1.599_050_563_727_786_8; 3], 4.797_151_691_183_36, 1.599_050_563_727_786_8, 0.0);
    }

    #[test]
    fn a_mean_survives_a_sum_that_overflows() {
        let big = 9.988_465_674_311_58e307;
        let mut mean = Mean::default();
        (0..4).for_each(|_| mean.add(big));
        assert_eq!(mean.value(), big);
        let mut mean = Mean::default();
        [-big, -big, big, big].iter().for_each(|v| mean.add(*v));
        assert_eq!(mean.value(), 0.0);
    }

    #[test]
    fn infinities_come_out_as_arithmetic_has_them() {
        check(&[0.0, INF, INF, 0.0], INF, INF, f64::NAN);
        check(&[INF, 0.0, INF], INF, INF, f64::NAN);
        check(&[-INF, -INF, -INF, INF], f64::NAN, f64::NAN, f64::NAN);
        check(&[1.0, f64::NAN], f64::NAN, f64::NAN, f64::NAN);
    }

    #[test]
    fn keys_are_in_the_order_of_their_floats() {
        let floats = [f64::NAN, -INF, -2.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, 1e300, INF];
        assert!(floats.iter().map(|float| key(*float)).is_sorted_by(|a, b| a < b));
        for float in &floats[1..] {
            assert_eq!(of_key(key(*float)).to_bits(), float.to_bits());
        }
        assert!(of_key(key(-f64::NAN)).is_nan());
    }

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let check = |q: f64, values: &[f64], expected: f64| {
            let got = quantile(q, values, &mut Vec::new());
            let same = (got - expected).abs() < 1e-12 || got == expected;
            assert!(same || got.is_nan() && expected.is_nan(), "{q} of {values:?} is {got}");
        };
        check(0.8, &[2.0, 0.0, 1.0], 1.6);
        check(0.8, &[1.0, f64::NAN, 0.0], 0.6);
        check(0.2, &[1.0, f64::NAN, 0.0], f64::NAN);
        check(1.0, &[3.0], 3.0);
        check(0.5, &[], f64::NAN);
        check(-0.1, &[3.0], -INF);
        check(1.1, &[3.0], INF);
    }
}
