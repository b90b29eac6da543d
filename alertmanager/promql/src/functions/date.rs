//! Dates and times of values that are seconds since the Unix epoch, in UTC.
//!
//! Invariant: the calendar is Gregorian throughout, also before it was in use; what is not a number
//! has no date, and what is too large for a time has that of the largest.

use crate::evaluate::{EvalError, Table, TableCall, is_absent};

const DAY: i64 = 86_400;

/// A day of the calendar.
struct Date {
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
}

/// What `function` says of the whole seconds.
fn of(value: f64, function: fn(i64) -> i64) -> f64 {
    if value.is_nan() { value } else { function(value as i64) as f64 }
}

/// Whole days since the Unix epoch.
fn days(seconds: i64) -> i64 {
    seconds.div_euclid(DAY)
}

/// How many days there are before `year` since the year 0.
fn days_before(year: i64) -> i64 {
    let past = year - 1;
    365 * year + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) + 1
}

/// Days from the year 0 to the Unix epoch.
const EPOCH: i64 = 719_528;

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

fn date(seconds: i64) -> Date {
    let day = days(seconds) + EPOCH;
    // 400 years have 146,097 days; the guess is at most one year off.
    let mut year = (i128::from(day) * 400 / 146_097) as i64;
    while days_before(year) > day {
        year -= 1;
    }
    while days_before(year + 1) <= day {
        year += 1;
    }
    let (mut month, mut rest) = (1, day - days_before(year));
    while rest >= month_length(year, month) {
        rest -= month_length(year, month);
        month += 1;
    }
    Date { year, month, day: rest + 1 }
}

pub(super) fn year(value: f64, _: [f64; 2]) -> f64 {
    of(value, |seconds| date(seconds).year)
}

pub(super) fn month(value: f64, _: [f64; 2]) -> f64 {
    of(value, |seconds| date(seconds).month)
}

pub(super) fn day_of_month(value: f64, _: [f64; 2]) -> f64 {
    of(value, |seconds| date(seconds).day)
}

pub(super) fn days_in_month(value: f64, _: [f64; 2]) -> f64 {
    of(value, |seconds| {
        let date = date(seconds);
        month_length(date.year, date.month)
    })
}

/// From 1.
pub(super) fn day_of_year(value: f64, _: [f64; 2]) -> f64 {
    of(value, |seconds| days(seconds) + EPOCH - days_before(date(seconds).year) + 1)
}

/// From 0, which is Sunday.
pub(super) fn day_of_week(value: f64, _: [f64; 2]) -> f64 {
    // The epoch was a Thursday.
    of(value, |seconds| (days(seconds) + 4).rem_euclid(7))
}

pub(super) fn hour(value: f64, _: [f64; 2]) -> f64 {
    of(value, |seconds| seconds.rem_euclid(DAY) / 3600)
}

pub(super) fn minute(value: f64, _: [f64; 2]) -> f64 {
    of(value, |seconds| seconds.rem_euclid(3600) / 60)
}

/// `timestamp` of what is no selector: the time of the step, in seconds.
pub(super) fn step_times(call: TableCall<'_>) -> Result<Table, EvalError> {
    let TableCall { mut table, steps, .. } = call;
    for row in 0..table.len() {
        for (step, cell) in table.row_mut(row).iter_mut().enumerate() {
            if !is_absent(*cell) {
                *cell = steps.time(step) as f64 / 1000.0;
            }
        }
    }
    table.drop_names()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: f64, expected: [f64; 8]) {
        let all =
            [year, month, day_of_month, day_of_year, day_of_week, days_in_month, hour, minute];
        assert_eq!(all.map(|f| f(seconds, [0.0; 2])), expected, "{seconds}");
    }

    #[test]
    fn tells_the_date() {
        check(0.0, [1970.0, 1.0, 1.0, 1.0, 4.0, 31.0, 0.0, 0.0]);
        check(-0.5, [1970.0, 1.0, 1.0, 1.0, 4.0, 31.0, 0.0, 0.0]);
        check(-1.0, [1969.0, 12.0, 31.0, 365.0, 3.0, 31.0, 23.0, 59.0]);
        check(1_136_239_445.9, [2006.0, 1.0, 2.0, 2.0, 1.0, 31.0, 22.0, 4.0]);
        check(1_456_790_399.0, [2016.0, 2.0, 29.0, 60.0, 1.0, 29.0, 23.0, 59.0]);
        check(1_456_790_400.0, [2016.0, 3.0, 1.0, 61.0, 2.0, 31.0, 0.0, 0.0]);
        check(1_483_191_420.0, [2016.0, 12.0, 31.0, 366.0, 6.0, 31.0, 13.0, 37.0]);
        check(951_782_400.0, [2000.0, 2.0, 29.0, 60.0, 2.0, 29.0, 0.0, 0.0]);
        check(-2_203_977_600.0, [1900.0, 2.0, 28.0, 59.0, 3.0, 28.0, 0.0, 0.0]);
        check(-62_167_219_200.0, [0.0, 1.0, 1.0, 1.0, 6.0, 31.0, 0.0, 0.0]);
    }

    #[test]
    fn absurd_times_do_no_harm() {
        assert!(year(f64::NAN, [0.0; 2]).is_nan());
        for value in [f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e18, 9.3e18] {
            assert!((0.0..7.0).contains(&day_of_week(value, [0.0; 2])));
            assert!((1.0..=366.0).contains(&day_of_year(value, [0.0; 2])));
        }
    }
}
