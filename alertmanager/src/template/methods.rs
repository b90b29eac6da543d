//! The methods of values: of times and durations, of alerts, and of sets of labels.
//!
//! Invariant: a method changes nothing; what it gives is a new value.

use std::sync::Arc;

use super::functions::{Function, Param, function, join};
use super::print::string_method;
use super::time::{Time, bounded_layout, duration_text, round};
use super::value::{Field, List, ListKind, Map, MapKind, Value};

use Param::{Duration, Int, Strings, Text, Time as AtTime};

/// The method `name` of `value`'s type. Its first argument is the value itself.
pub(super) fn find(value: &Value, name: &str) -> Option<&'static Function> {
    let table = match value {
        Value::Time(_) => TIME,
        Value::Duration(_) => DURATION,
        Value::Named(_) => NAMED,
        Value::List(list) => match list.kind {
            ListKind::Strings => STRINGS,
            ListKind::Alerts => ALERTS,
            ListKind::Pairs => PAIRS,
            ListKind::Any | ListKind::Samples => return None,
        },
        Value::Map(map) if map.kind == MapKind::Kv => KV,
        _ => return None,
    };
    table.iter().find(|method| method.name == name)
}

const STRINGS: &[Function] = &[function("Join", &[Text], |machine, args| {
    join(machine, args[1].as_text().unwrap_or(""), args[0].items())
})];

const ALERTS: &[Function] = &[
    function("Firing", &[], |_, args| Ok(with_status(&args[0], "firing"))),
    function("Resolved", &[], |_, args| Ok(with_status(&args[0], "resolved"))),
];

/// What the method `String` gives.
fn shown(args: &[Value]) -> Value {
    args.first().and_then(string_method).unwrap_or_default().into()
}

fn with_status(alerts: &Value, status: &str) -> Value {
    let has = |alert: &&Value| match alert {
        Value::Record(record) => record.get("Status").and_then(Value::as_text) == Some(status),
        _ => false,
    };
    Value::list_of(ListKind::Alerts, alerts.items().iter().filter(has).cloned().collect())
}

const PAIRS: &[Function] = &[
    function("Names", &[], |_, args| Ok(strings(pairs_of(&args[0]), |(name, _)| name))),
    function("Values", &[], |_, args| Ok(strings(pairs_of(&args[0]), |(_, value)| value))),
    function("String", &[], |_, args| Ok(shown(args))),
];

const KV: &[Function] = &[
    function("SortedPairs", &[], |_, args| {
        let pairs = pairs_of(&args[0]).into_iter().map(|(name, value)| {
            let fields = vec![
                Field::new("Name", "Name", Value::Text(name)),
                Field::new("Value", "Value", Value::Text(value)),
            ];
            Value::record("template.Pair", fields)
        });
        Ok(Value::list_of(ListKind::Pairs, pairs.collect()))
    }),
    function("Names", &[], |_, args| Ok(strings(pairs_of(&args[0]), |(name, _)| name))),
    function("Values", &[], |_, args| Ok(strings(pairs_of(&args[0]), |(_, value)| value))),
    function("Remove", &[Strings], |_, args| {
        let names = args[1].items();
        let kept = pairs_of(&args[0])
            .into_iter()
            .filter(|(name, _)| !names.iter().any(|removed| removed.as_text() == Some(&**name)));
        Ok(Value::map_of(MapKind::Kv, kept.map(|(name, value)| (name, Value::Text(value)))))
    }),
    function("String", &[], |_, args| Ok(shown(args))),
];

pub(super) type Pair = (Arc<str>, Arc<str>);

/// The pairs of a map or of a list of pairs.
pub(super) fn pairs_of(value: &Value) -> Vec<Pair> {
    match value {
        Value::Map(map) => sorted_pairs(map),
        Value::List(list) => names_and_values(list),
        _ => Vec::new(),
    }
}

fn strings(pairs: Vec<Pair>, part: impl Fn(Pair) -> Arc<str>) -> Value {
    Value::list_of(
        ListKind::Strings,
        pairs.into_iter().map(|pair| Value::Text(part(pair))).collect(),
    )
}

/// The entries sorted by name, but the alert's name first.
pub(super) fn sorted_pairs(map: &Map) -> Vec<Pair> {
    let mut pairs: Vec<Pair> =
        map.pairs().into_iter().map(|(name, value)| (name, text(&value))).collect();
    if let Some(at) = pairs.iter().position(|(name, _)| &**name == base::labels::ALERT_NAME) {
        pairs[..=at].rotate_right(1);
    }
    pairs
}

/// What the records of a list of pairs hold.
pub(super) fn names_and_values(list: &List) -> Vec<Pair> {
    let pair = |item: &Value| match item {
        Value::Record(record) => Some((text(record.get("Name")?), text(record.get("Value")?))),
        _ => None,
    };
    list.items.iter().filter_map(pair).collect()
}

fn text(value: &Value) -> Arc<str> {
    match value {
        Value::Text(text) | Value::Safe(_, text) => Arc::clone(text),
        _ => "".into(),
    }
}

const NAMED: &[Function] = &[function("String", &[], |_, args| Ok(shown(args)))];

const DURATION: &[Function] = &[
    function("Hours", &[], |_, args| Ok((nanos(args, 0) as f64 / 3.6e12).into())),
    function("Minutes", &[], |_, args| Ok((nanos(args, 0) as f64 / 6e10).into())),
    function("Seconds", &[], |_, args| Ok((nanos(args, 0) as f64 / 1e9).into())),
    function("Milliseconds", &[], |_, args| Ok((nanos(args, 0) / 1_000_000).into())),
    function("Microseconds", &[], |_, args| Ok((nanos(args, 0) / 1_000).into())),
    function("Nanoseconds", &[], |_, args| Ok(nanos(args, 0).into())),
    function("Abs", &[], |_, args| Ok(Value::Duration(nanos(args, 0).saturating_abs()))),
    function("Round", &[Duration], |_, args| {
        Ok(Value::Duration(round(nanos(args, 0), nanos(args, 1))))
    }),
    function("Truncate", &[Duration], |_, args| {
        let (length, unit) = (nanos(args, 0), nanos(args, 1));
        Ok(Value::Duration(if unit <= 0 { length } else { length - length % unit }))
    }),
    function("String", &[], |_, args| Ok(duration_text(nanos(args, 0)).into())),
];

fn nanos(args: &[Value], n: usize) -> i64 {
    args.get(n).and_then(Value::as_int).unwrap_or(0)
}

const TIME: &[Function] = &[
    function("Format", &[Text], |_, args| {
        let layout = bounded_layout(args[1].as_text().unwrap_or(""))?;
        Ok(time(args, 0).format(layout).into())
    }),
    function("String", &[], |_, args| Ok(time(args, 0).to_string().into())),
    function("UTC", &[], |_, args| Ok(Value::Time(time(args, 0).in_zone("UTC")?))),
    function("Local", &[], |_, args| Ok(Value::Time(time(args, 0).in_zone("Local")?))),
    function("In", &[Text], |_, args| {
        Ok(Value::Time(time(args, 0).in_zone(args[1].as_text().unwrap_or(""))?))
    }),
    function("Location", &[], |_, args| Ok(time(args, 0).zone_name().into())),
    function("Unix", &[], |_, args| Ok(unix(args, 1_000_000_000))),
    function("UnixMilli", &[], |_, args| Ok(unix(args, 1_000_000))),
    function("UnixMicro", &[], |_, args| Ok(unix(args, 1_000))),
    function("UnixNano", &[], |_, args| Ok(unix(args, 1))),
    function("Add", &[Duration], |_, args| Ok(Value::Time(time(args, 0).plus(nanos(args, 1))))),
    function("Sub", &[AtTime], |_, args| Ok(Value::Duration(time(args, 0).since(&time(args, 1))))),
    function("AddDate", &[Int, Int, Int], |_, args| {
        let (years, months, days) = (nanos(args, 1), nanos(args, 2), nanos(args, 3));
        Ok(Value::Time(time(args, 0).plus_date(years, months, days)))
    }),
    function("After", &[AtTime], |_, args| {
        Ok((time(args, 0).nanos() > time(args, 1).nanos()).into())
    }),
    function("Before", &[AtTime], |_, args| {
        Ok((time(args, 0).nanos() < time(args, 1).nanos()).into())
    }),
    function("Equal", &[AtTime], |_, args| {
        Ok((time(args, 0).nanos() == time(args, 1).nanos()).into())
    }),
    function("IsZero", &[], |_, args| Ok(time(args, 0).is_zero().into())),
    function("Round", &[Duration], |_, args| {
        let (time, unit) = (time(args, 0), nanos(args, 1));
        let over = over(&time, unit);
        let up = i128::from(over) * 2 >= i128::from(unit) && unit > 0;
        Ok(Value::Time(time.plus(if up { unit - over } else { -over })))
    }),
    function("Truncate", &[Duration], |_, args| {
        let time = time(args, 0);
        Ok(Value::Time(time.plus(-over(&time, nanos(args, 1)))))
    }),
    function("Year", &[], |_, args| Ok(i64::from(time(args, 0).date().year()).into())),
    function("Month", &[], |_, args| Ok(Value::Named(time(args, 0).month()))),
    function("Day", &[], |_, args| Ok(i64::from(time(args, 0).date().day()).into())),
    function("YearDay", &[], |_, args| Ok(i64::from(time(args, 0).date().day_of_year()).into())),
    function("Weekday", &[], |_, args| Ok(Value::Named(time(args, 0).weekday()))),
    function("Hour", &[], |_, args| Ok(i64::from(time(args, 0).date().hour()).into())),
    function("Minute", &[], |_, args| Ok(i64::from(time(args, 0).date().minute()).into())),
    function("Second", &[], |_, args| Ok(i64::from(time(args, 0).date().second()).into())),
    function("Nanosecond", &[], |_, args| {
        Ok(i64::from(time(args, 0).date().subsec_nanosecond()).into())
    }),
];

fn time(args: &[Value], n: usize) -> Time {
    match args.get(n) {
        Some(Value::Time(time)) => time.clone(),
        _ => Time::zero(),
    }
}

/// How many `unit`s are between the epoch and the time, as far as they fit.
fn unix(args: &[Value], unit: i128) -> Value {
    let units = time(args, 0).nanos().div_euclid(unit);
    i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX }).into()
}

/// By how much the time is over a multiple of `unit` since year 1.
fn over(time: &Time, unit: i64) -> i64 {
    if unit <= 0 {
        return 0;
    }
    let since = time.nanos() - Time::zero().nanos();
    i64::try_from(since.rem_euclid(i128::from(unit))).unwrap_or(0)
}
