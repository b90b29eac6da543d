//! Values as JSON, written as Go's encoder writes them.
//!
//! Invariant: the text can stand within `<script>` too, since `<`, `>` and `&` are escaped.

use base::number;

use super::error::Failure;
use super::limits::Bounded;
use super::value::Value;

/// Appends `value`.
pub(super) fn push(out: &mut Bounded, value: &Value) -> Result<(), Failure> {
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(number) | Value::Duration(number) => out.push_str(&number.to_string()),
        Value::Named(named) => out.push_str(&named.number.to_string()),
        Value::Float(number) if number.is_finite() => out.push_str(&float(*number)),
        Value::Float(number) => {
            Err(format!("json: unsupported value: {}", number::shortest(*number)).into())
        }
        Value::Text(text) | Value::Safe(_, text) => push_text(out, text),
        Value::Time(time) => push_text(out, &time.rfc3339()),
        Value::List(list) => {
            out.push('[')?;
            for (n, item) in list.items.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" })?;
                push(out, item)?;
            }
            out.push(']')
        }
        Value::Map(map) => {
            let pairs = map.pairs();
            object(out, pairs.iter().map(|(name, value)| (&**name, value)))
        }
        Value::Record(record) => {
            object(out, record.fields.iter().map(|field| (field.json, &field.value)))
        }
    }
}

fn object<'v>(
    out: &mut Bounded,
    entries: impl Iterator<Item = (&'v str, &'v Value)>,
) -> Result<(), Failure> {
    out.push('{')?;
    for (n, (name, value)) in entries.enumerate() {
        out.push_str(if n > 0 { "," } else { "" })?;
        push_text(out, name)?;
        out.push(':')?;
        push(out, value)?;
    }
    out.push('}')
}

/// Without an exponent, unless it is very large or very small.
fn float(value: f64) -> String {
    if value == 0.0 || (1e-6..1e21).contains(&value.abs()) {
        return number::plain(value);
    }
    let text = number::shortest(value);
    match text.strip_suffix(|c: char| c.is_ascii_digit()) {
        // `1e-09` loses its zero.
        Some(before) if before.ends_with("e-0") => {
            format!("{}{}", &before[..before.len() - 1], &text[before.len()..])
        }
        _ => text,
    }
}

fn push_text(out: &mut Bounded, text: &str) -> Result<(), Failure> {
    out.push('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\')?;
                out.push(c)?;
            }
            '\n' => out.push_str("\\n")?,
            '\r' => out.push_str("\\r")?,
            '\t' => out.push_str("\\t")?,
            '\x08' => out.push_str("\\b")?,
            '\x0c' => out.push_str("\\f")?,
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)))?;
            }
            _ => out.push(c)?,
        }
    }
    out.push('"')
}

#[cfg(test)]
mod tests {
    use super::super::time::Time;
    use super::*;

    #[track_caller]
    fn check(value: impl Into<Value>, expected: &str) {
        let mut out = Bounded::new(1000);
        push(&mut out, &value.into()).unwrap();
        assert_eq!(out.as_str(), expected);
    }

    #[test]
    fn writes_what_go_writes() {
        check(1.5, "1.5");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1e-7, "1e-7");
        check(1.5e-10, "1.5e-10");
        check(-0.0, "-0");
        check("a\"\\\n<b>&\u{1}\u{2028}é", "\"a\\\"\\\\\\n\\u003cb\\u003e\\u0026\\u0001\\u2028é\"");
        check(Value::list([Value::Nil, true.into()]), "[null,true]");
        check(Value::map([("b", 1.into()), ("a", Value::from("x"))]), "{\"a\":\"x\",\"b\":1}");
        check(Value::Time(Time::zero()), "\"0001-01-01T00:00:00Z\"");
        check(Value::Duration(5), "5");
        assert!(push(&mut Bounded::new(100), &f64::NAN.into()).is_err());
    }
}
