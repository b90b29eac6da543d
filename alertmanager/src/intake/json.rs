//! Looking into JSON of others.
//!
//! Invariant: whatever is asked for has an answer: what is not there, or is something else, is the
//! empty text.

use base::sample::Timestamp;
use serde_json::Value;

use crate::template::Value as TemplateValue;

/// The text at a path such as `/build/status`; a number or a truth as it is written.
pub(super) fn text(value: &Value, path: &str) -> String {
    value.pointer(path).map_or_else(String::new, plain)
}

/// The first of the texts that is not empty.
pub(super) fn first_text(value: &Value, paths: &[&str]) -> String {
    paths.iter().map(|path| text(value, path)).find(|text| !text.is_empty()).unwrap_or_default()
}

/// A value as text; lists and objects have none.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// The items of the list at a path; none where there is no list.
pub(super) fn items<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The names and texts of the object at a path.
pub(super) fn pairs(value: &Value, path: &str) -> impl Iterator<Item = (String, String)> {
    let object = value.pointer(path).and_then(Value::as_object);
    object.into_iter().flatten().map(|(name, value)| (name.clone(), plain(value)))
}

/// A time: RFC 3339, or seconds or milliseconds since the epoch. Go's zero time is none.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.is_empty() || text.starts_with("0001-01-01T") {
        return None;
    }
    if let Ok(number) = text.parse::<f64>() {
        // Seconds reach that in the year 5138, milliseconds did in 1973.
        let millis = if number.abs() < 1e11 { number * 1000.0 } else { number };
        return Some(Timestamp::from_seconds(millis / 1000.0)).filter(|_| number.is_finite());
    }
    let at = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()?.to_timestamp().ok()
    })?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

/// The value as templates see it.
pub(super) fn for_template(value: &Value) -> TemplateValue {
    match value {
        Value::Null => TemplateValue::Nil,
        Value::Bool(truth) => TemplateValue::Bool(*truth),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => TemplateValue::Int(whole),
            (None, Some(float)) => TemplateValue::Float(float),
            (None, None) => TemplateValue::Nil,
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => TemplateValue::list(items.iter().map(for_template)),
        Value::Object(pairs) => TemplateValue::map(
            pairs.iter().map(|(name, value)| (name.as_str(), for_template(value))),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_of_many_forms() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(time(text).map(Timestamp::millis), expected, "{text}");
        };
        check("2023-11-14T22:13:20Z", Some(1_700_000_000_000));
        check("2023-11-14T23:13:20.5+01:00", Some(1_700_000_000_500));
        check("2023-11-14T22:13:20.000+0000", Some(1_700_000_000_000));
        check("1700000000", Some(1_700_000_000_000));
        check("1700000000.25", Some(1_700_000_000_250));
        check("1700000000123", Some(1_700_000_000_123));
        check("0001-01-01T00:00:00Z", None);
        check("NaN", None);
        check("", None);
        check("soon", None);
    }
}
