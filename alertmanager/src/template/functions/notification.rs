//! The functions of notification templates: Alertmanager's, and a few of ours.
//!
//! Invariant: none of them looks beyond its arguments, the evaluation time and the labels of the
//! route.

use super::super::evaluate::Machine;
use super::super::json;
use super::super::methods::pairs_of;
use super::super::time::{Time, bounded_layout};
use super::super::value::{ListKind, MapKind, Safe, Value};
use super::escape::{base64, query_unescaped, unbase64};
use super::humanize::{float, humanize_duration};
use super::text::{lower_case, title, upper_case};
use super::{Function, Outcome, Param, function, text_of, variadic};

use crate::matchers::silence_path;
use Param::{Any, List, Strings, Text, Time as AtTime};

pub(super) const FUNCTIONS: &[Function] = &[
    function("toUpper", &[Text], |_, args| Ok(upper_case(text_of(args, 0)).into())),
    function("toLower", &[Text], |_, args| Ok(lower_case(text_of(args, 0)).into())),
    function("title", &[Text], |_, args| Ok(title(text_of(args, 0), true).into())),
    function("trimSpace", &[Text], |_, args| Ok(text_of(args, 0).trim().into())),
    function("join", &[Text, Strings], |machine, args| {
        join(machine, text_of(args, 0), args[1].items())
    }),
    function("match", &[Text, Text], |machine, args| {
        machine.matches(text_of(args, 0), text_of(args, 1))
    }),
    function("reReplaceAll", &[Text, Text, Text], |machine, args| {
        machine.replace_all(text_of(args, 0), text_of(args, 1), text_of(args, 2))
    }),
    function("safeHtml", &[Text], |_, args| Ok(Value::Safe(Safe::Html, text_of(args, 0).into()))),
    function("safeUrl", &[Text], |_, args| Ok(Value::Safe(Safe::Url, text_of(args, 0).into()))),
    function("urlUnescape", &[Text], |_, args| Ok(query_unescaped(text_of(args, 0))?.into())),
    variadic("stringSlice", &[], Text, |_, args| {
        Ok(Value::list_of(ListKind::Strings, args.to_vec()))
    }),
    function("silenceURL", &[Any], |machine, args| {
        let pairs = pairs_of(&args[0]);
        machine.budget.charge(pairs.len())?;
        let path = silence_path(pairs.iter().map(|(name, value)| (&**name, &**value)));
        let base = machine.options.external_url;
        let is_web = base.starts_with("http://") || base.starts_with("https://");
        Ok(path.filter(|_| is_web).map_or(String::new(), |path| format!("{base}/{path}")).into())
    }),
    function("oldest", &[List], |machine, args| {
        machine.budget.charge_bytes(args[0].items().len())?;
        Ok(Value::Time(oldest(args[0].items())))
    }),
    function("routeLabels", &[Text], |machine, args| machine.route_label(text_of(args, 0))),
    function("date", &[Text, AtTime], |_, args| {
        Ok(time_of(&args[1]).format(bounded_layout(text_of(args, 0))?).into())
    }),
    function("tz", &[Text, AtTime], |_, args| {
        Ok(Value::Time(time_of(&args[1]).in_zone(text_of(args, 0))?))
    }),
    function("now", &[], |machine, _| Ok(Value::Time(Time::at(machine.options.now)))),
    function("since", &[AtTime], |machine, args| {
        let now = Time::at(machine.options.now);
        Ok(Value::Duration(now.since(&time_of(&args[0]))))
    }),
    function("humanizeDuration", &[Any], |_, args| Ok(humanize_duration(float(&args[0])?).into())),
    function("toDate", &[Text, Text], |_, args| {
        let time = Time::parse(bounded_layout(text_of(args, 0))?, text_of(args, 1));
        Ok(Value::Time(time.unwrap_or_else(|_| Time::zero())))
    }),
    function("mustToDate", &[Text, Text], |_, args| {
        Ok(Value::Time(Time::parse(bounded_layout(text_of(args, 0))?, text_of(args, 1))?))
    }),
    function("toJson", &[Any], |machine, args| {
        let mut out = machine.budget.text();
        json::push(&mut out, &args[0])?;
        Ok(out.into_string().into())
    }),
    function("base64encode", &[Text], |_, args| Ok(base64(text_of(args, 0)).into())),
    function("base64decode", &[Text], |_, args| Ok(unbase64(text_of(args, 0))?.into())),
    variadic("list", &[], Any, |machine, args| machine.made(Value::list(args.iter().cloned()))),
    variadic("append", &[List], Any, |machine, args| {
        let items = args[0].items().iter().chain(&args[1..]).cloned();
        machine.made(Value::list(items))
    }),
    variadic("dict", &[], Any, |machine, args| {
        if !args.len().is_multiple_of(2) {
            return Err("dict requires an even number of arguments".into());
        }
        let mut entries = Vec::with_capacity(args.len() / 2);
        for pair in args.chunks_exact(2) {
            match pair[0].as_text() {
                Some(name) => entries.push((name, pair[1].clone())),
                None => return Err("dict keys must be strings".into()),
            }
        }
        machine.made(Value::map_of(MapKind::Any, entries))
    }),
];

/// The texts of `items` with `separator` between them.
pub(in super::super) fn join(machine: &Machine<'_>, separator: &str, items: &[Value]) -> Outcome {
    let mut out = machine.budget.text();
    for (n, item) in items.iter().enumerate() {
        out.push_str(if n > 0 { separator } else { "" })?;
        out.push_str(item.as_text().unwrap_or(""))?;
    }
    Ok(out.into_string().into())
}

/// The earliest `StartsAt` of the alerts that fire, or of all where none does; Go's zero time where
/// there is no alert.
fn oldest(alerts: &[Value]) -> Time {
    let records = alerts.iter().filter_map(|alert| match alert {
        Value::Record(record) => Some(record),
        _ => None,
    });
    let start = records.filter_map(|record| {
        let is_over = record.get("Status").and_then(Value::as_text) == Some("resolved");
        let start = time_of(record.get("StartsAt")?);
        Some((is_over, start.nanos(), start))
    });
    start.min_by_key(|(is_over, at, _)| (*is_over, *at)).map_or_else(Time::zero, |(.., at)| at)
}

/// The time of an argument that was checked to be one.
fn time_of(value: &Value) -> Time {
    match value {
        Value::Time(time) => time.clone(),
        _ => Time::zero(),
    }
}
