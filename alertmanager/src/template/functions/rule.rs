//! The functions of rule templates: Prometheus's, as annotations and labels of rules use them.
//!
//! Invariant: only `query` reaches beyond the data, through what the caller handed in, and no more
//! often than the limits allow.

use base::period::Period;

use super::super::error::Failure;
use super::super::evaluate::Machine;
use super::super::inputs::sample;
use super::super::print::quoted;
use super::super::value::{ListKind, MapKind, Safe, Value};
use super::escape::query_escaped;
use super::humanize::{
    float, humanize, humanize_duration, humanize_percentage, humanize_timestamp, humanize1024, time,
};
use super::text::{lower_case, title, upper_case, without_domain, without_port};
use super::{Function, Outcome, Param, function, text_of, variadic};

use Param::{Any, Sample, Samples, Text};

pub(super) const FUNCTIONS: &[Function] = &[
    function("query", &[Text], |machine, args| query(machine, text_of(args, 0))),
    function("first", &[Samples], |_, args| {
        let first = args[0].items().first().cloned();
        first.ok_or_else(|| "first() called on vector with no elements".into())
    }),
    function("label", &[Text, Sample], |_, args| Ok(label(&args[1], text_of(args, 0)))),
    function("value", &[Sample], |_, args| match &args[0] {
        Value::Record(record) => Ok(record.get("Value").cloned().unwrap_or(Value::Nil)),
        _ => Ok(Value::Nil),
    }),
    function("strvalue", &[Sample], |_, args| Ok(label(&args[0], "__value__"))),
    function("sortByLabel", &[Text, Samples], |_, args| {
        let mut samples = args[1].items().to_vec();
        let name = text_of(args, 0);
        samples.sort_by_cached_key(|sample| label(sample, name).as_text().map(str::to_owned));
        Ok(Value::list_of(ListKind::Samples, samples))
    }),
    variadic("args", &[], Any, |machine, args| {
        let named = args.iter().enumerate().map(|(n, arg)| (format!("arg{n}"), arg.clone()));
        machine.made(Value::map_of(MapKind::Any, named))
    }),
    function("tmpl", &[Text, Any], |machine, args| {
        machine.named_template(text_of(args, 0), &args[1])
    }),
    function("humanize", &[Any], |_, args| Ok(humanize(float(&args[0])?).into())),
    function("humanize1024", &[Any], |_, args| Ok(humanize1024(float(&args[0])?).into())),
    function("humanizeDuration", &[Any], |_, args| Ok(humanize_duration(float(&args[0])?).into())),
    function("humanizePercentage", &[Any], |_, args| {
        Ok(humanize_percentage(float(&args[0])?).into())
    }),
    function("humanizeTimestamp", &[Any], |_, args| {
        Ok(humanize_timestamp(float(&args[0])?)?.into())
    }),
    function("toTime", &[Any], |_, args| Ok(Value::Time(time(float(&args[0])?)?))),
    function("toDuration", &[Any], |_, args| Ok(Value::Duration((float(&args[0])? * 1e9) as i64))),
    function("now", &[], |machine, _| Ok(Value::Float(machine.options.now.seconds()))),
    function("parseDuration", &[Text], |_, args| {
        Ok(Value::Float(duration(text_of(args, 0))? as f64 / 1000.0))
    }),
    function("parseDurationTime", &[Text], |_, args| {
        Ok(Value::Duration(duration(text_of(args, 0))?.saturating_mul(1_000_000)))
    }),
    function("title", &[Text], |_, args| Ok(title(text_of(args, 0), false).into())),
    function("toUpper", &[Text], |_, args| Ok(upper_case(text_of(args, 0)).into())),
    function("toLower", &[Text], |_, args| Ok(lower_case(text_of(args, 0)).into())),
    function("match", &[Text, Text], |machine, args| {
        machine.matches(text_of(args, 0), text_of(args, 1))
    }),
    function("reReplaceAll", &[Text, Text, Text], |machine, args| {
        machine.replace_all(text_of(args, 0), text_of(args, 1), text_of(args, 2))
    }),
    function("stripPort", &[Text], |_, args| Ok(without_port(text_of(args, 0)).into())),
    function("stripDomain", &[Text], |_, args| Ok(without_domain(text_of(args, 0)).into())),
    function("graphLink", &[Text], |_, args| Ok(link(text_of(args, 0), 0))),
    function("tableLink", &[Text], |_, args| Ok(link(text_of(args, 0), 1))),
    function("externalURL", &[], |machine, _| Ok(machine.options.external_url.into())),
    function("pathPrefix", &[], |machine, _| Ok(path(machine.options.external_url).into())),
    function("urlQueryEscape", &[Text], |_, args| Ok(query_escaped(text_of(args, 0)).into())),
    function("safeHtml", &[Text], |_, args| Ok(Value::Safe(Safe::Html, text_of(args, 0).into()))),
];

fn query(machine: &mut Machine<'_>, query: &str) -> Outcome {
    machine.budget.charge_query()?;
    let Some(ask) = machine.options.query else {
        return Err("there is nothing to query here".into());
    };
    let samples = ask(query)?;
    machine.budget.charge_bytes(samples.len().saturating_mul(64))?;
    Ok(Value::list_of(ListKind::Samples, samples.into_iter().map(sample).collect()))
}

/// The value of a sample's label, or the empty text.
fn label(sample: &Value, name: &str) -> Value {
    let labels = match sample {
        Value::Record(record) => record.get("Labels"),
        _ => None,
    };
    match labels {
        Some(Value::Map(labels)) => labels.get(name).unwrap_or_else(|| "".into()),
        _ => "".into(),
    }
}

/// A length of time as Prometheus writes it, in milliseconds; it may be negative.
fn duration(text: &str) -> Result<i64, Failure> {
    let (sign, length) = text.strip_prefix('-').map_or((1, text), |length| (-1, length));
    if length.is_empty() {
        return Err("empty duration string".into());
    }
    let period: Period =
        length.parse().map_err(|_| format!("not a valid duration string: {}", quoted(text)))?;
    Ok(sign * i64::try_from(period.millis()).unwrap_or(i64::MAX))
}

/// Where the expression is shown, as a path below the external address.
fn link(expression: &str, tab: u8) -> Value {
    format!("/graph?g0.expr={}&g0.tab={tab}", query_escaped(expression)).into()
}

/// The path of an address.
fn path(url: &str) -> &str {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let path = after.find('/').map_or("", |at| &after[at..]);
    path.split(['?', '#']).next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_may_be_negative() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(duration(text).ok(), expected);
        check("1h2m10ms", Some(3_720_010));
        check("-1h", Some(-3_600_000));
        check("", None);
        check("-", None);
        check("--1h", None);
        check("1x", None);
    }

    #[test]
    fn the_path_of_an_address() {
        let check = |url: &str, expected: &str| assert_eq!(path(url), expected, "{url}");
        check("http://testhost:9090/path/prefix", "/path/prefix");
        check("http://testhost:9090", "");
        check("https://h/a?b#c", "/a");
        check("", "");
    }
}
