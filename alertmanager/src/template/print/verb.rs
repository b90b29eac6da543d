//! One value by one verb: `%5d`, `%-8s`, `%q`, `%+v`, and the same within lists and maps.
//!
//! Invariant: a width is counted in characters and only ever adds padding.

use super::super::error::Failure;
use super::super::limits::Bounded;
use super::super::value::{Safe, Value};
use super::{float, quoted_by, string_method};

/// A verb with its flags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) verb: char,
    pub(super) plus: bool,
    pub(super) minus: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

impl Spec {
    /// `%v`
    pub(super) const PLAIN: Self = Self {
        verb: 'v',
        plus: false,
        minus: false,
        sharp: false,
        space: false,
        zero: false,
        width: None,
        precision: None,
    };

    /// As Go's source would have the value.
    fn is_source(&self) -> bool {
        self.verb == 'v' && self.sharp
    }
}

/// Appends `value` by the verb.
pub(super) fn push(out: &mut Bounded, value: &Value, spec: &Spec) -> Result<(), Failure> {
    if spec.verb == 'T' {
        return pad(out, value.type_name(), spec);
    }
    if !spec.is_source()
        && matches!(spec.verb, 'v' | 's' | 'x' | 'X' | 'q')
        && let Some(text) = string_method(value)
    {
        return push_text(out, value, &text, spec);
    }
    match value {
        Value::Nil if spec.verb == 'v' => pad(out, "<nil>", spec),
        Value::Bool(value) if matches!(spec.verb, 'v' | 't') => {
            pad(out, if *value { "true" } else { "false" }, spec)
        }
        Value::Int(number) | Value::Duration(number) => push_int(out, value, *number, spec),
        Value::Named(named) => push_int(out, value, named.number, spec),
        Value::Float(number) => push_float(out, value, *number, spec),
        Value::Text(text) | Value::Safe(_, text) => push_text(out, value, text, spec),
        Value::List(list) => {
            let (before, between, after) = brackets(value, spec, "[", "]");
            out.push_str(&before)?;
            for (n, item) in list.items.iter().enumerate() {
                out.push_str(if n > 0 { between } else { "" })?;
                push(out, item, spec)?;
            }
            out.push_str(after)
        }
        Value::Map(map) => {
            let (before, between, after) = brackets(value, spec, "map[", "]");
            out.push_str(&before)?;
            for (n, (name, item)) in map.pairs().into_iter().enumerate() {
                out.push_str(if n > 0 { between } else { "" })?;
                push(out, &Value::Text(name), spec)?;
                out.push(':')?;
                push(out, &item, spec)?;
            }
            out.push_str(after)
        }
        Value::Record(record) => {
            let (before, between, after) = brackets(value, spec, "{", "}");
            out.push_str(&before)?;
            for (n, field) in record.fields.iter().enumerate() {
                out.push_str(if n > 0 { between } else { "" })?;
                if spec.verb == 'v' && (spec.plus || spec.sharp) {
                    out.push_str(field.name)?;
                    out.push(':')?;
                }
                push(out, &field.value, spec)?;
            }
            out.push_str(after)
        }
        Value::Nil | Value::Bool(_) | Value::Time(_) => complain(out, value, spec.verb),
    }
}

/// What stands before, between and after the items of `value`.
fn brackets(
    value: &Value,
    spec: &Spec,
    open: &str,
    close: &'static str,
) -> (String, &'static str, &'static str) {
    if spec.is_source() {
        (format!("{}{{", value.type_name()), ", ", "}")
    } else {
        (open.to_owned(), " ", close)
    }
}

/// `%!d(string=x)`: the verb does not fit the value.
fn complain(out: &mut Bounded, value: &Value, verb: char) -> Result<(), Failure> {
    out.push_str("%!")?;
    out.push(verb)?;
    out.push('(')?;
    if *value != Value::Nil {
        out.push_str(value.type_name())?;
        out.push('=')?;
    }
    push(out, value, &Spec::PLAIN)?;
    out.push(')')
}

fn push_text(out: &mut Bounded, value: &Value, text: &str, spec: &Spec) -> Result<(), Failure> {
    let cut = match spec.precision.and_then(|most| text.char_indices().nth(most)) {
        Some((end, _)) => &text[..end],
        None => text,
    };
    match spec.verb {
        'v' if spec.sharp => pad(out, &quoted_by(cut, '"', false), spec),
        'v' | 's' => pad(out, cut, spec),
        'q' if spec.sharp && !cut.contains(['`', '\u{feff}']) && !cut.contains(hidden) => {
            pad(out, &format!("`{cut}`"), spec)
        }
        'q' => pad(out, &quoted_by(cut, '"', spec.plus), spec),
        'x' | 'X' => {
            let bytes = &text.as_bytes()[..spec.precision.unwrap_or(text.len()).min(text.len())];
            let (prefix, between) = match (spec.sharp, spec.space, spec.verb) {
                (true, true, 'x') => ("0x", " 0x"),
                (true, true, _) => ("0X", " 0X"),
                (true, false, 'x') => ("0x", ""),
                (true, false, _) => ("0X", ""),
                (false, space, _) => ("", if space { " " } else { "" }),
            };
            let mut hex = Bounded::new(text.len().saturating_mul(5).saturating_add(2));
            for (n, byte) in bytes.iter().enumerate() {
                hex.push_str(if n == 0 { prefix } else { between })?;
                hex.push_str(&match spec.verb {
                    'x' => format!("{byte:02x}"),
                    _ => format!("{byte:02X}"),
                })?;
            }
            pad(out, hex.as_str(), spec)
        }
        verb => match value {
            // By other verbs a type with a name is shown as what it is made of.
            Value::Text(_) | Value::Safe(Safe::Html | Safe::Url | Safe::Query, _) => {
                complain(out, value, verb)
            }
            _ => complain(out, &Value::from(text), verb),
        },
    }
}

fn hidden(c: char) -> bool {
    c != '\t' && c.is_control()
}

fn push_float(out: &mut Bounded, value: &Value, number: f64, spec: &Spec) -> Result<(), Failure> {
    let verb = match spec.verb {
        'v' => 'g',
        verb @ ('e' | 'E' | 'f' | 'F' | 'g' | 'G') => verb,
        verb => return complain(out, value, verb),
    };
    let most = spec.precision.map(|precision| precision.min(1_000_000));
    let negative = number.is_sign_negative() && !number.is_nan();
    match float::digits(number, verb, most) {
        Some(digits) => pad_number(out, negative, &digits, spec),
        None if number.is_nan() => pad_number(out, false, "NaN", &Spec { zero: false, ..*spec }),
        // Infinity always has its sign.
        None => pad_number(out, negative, "Inf", &Spec { zero: false, plus: true, ..*spec }),
    }
}

fn push_int(out: &mut Bounded, value: &Value, number: i64, spec: &Spec) -> Result<(), Failure> {
    let magnitude = number.unsigned_abs();
    let (digits, prefix) = match spec.verb {
        'v' | 'd' => (magnitude.to_string(), ""),
        'b' => (format!("{magnitude:b}"), if spec.sharp { "0b" } else { "" }),
        'o' => (format!("{magnitude:o}"), if spec.sharp { "0" } else { "" }),
        'O' => (format!("{magnitude:o}"), "0o"),
        'x' => (format!("{magnitude:x}"), if spec.sharp { "0x" } else { "" }),
        'X' => (format!("{magnitude:X}"), if spec.sharp { "0X" } else { "" }),
        'c' | 'q' | 'U' => {
            let c = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            return match spec.verb {
                'c' => pad(out, c.encode_utf8(&mut [0; 4]), spec),
                'q' => pad(out, &quoted_by(c.encode_utf8(&mut [0; 4]), '\'', spec.plus), spec),
                _ if spec.sharp => pad(out, &format!("U+{magnitude:04X} '{c}'"), spec),
                _ => pad(out, &format!("U+{magnitude:04X}"), spec),
            };
        }
        verb => return complain(out, value, verb),
    };
    let digits = match spec.precision {
        Some(0) if number == 0 => String::new(),
        Some(least) => {
            let mut padded = out_of(least)?;
            padded.pad('0', least.saturating_sub(digits.len()))?;
            padded.push_str(&digits)?;
            padded.into_string()
        }
        None => digits,
    };
    let spec = Spec { zero: spec.zero && spec.precision.is_none(), ..*spec };
    pad_number(out, number < 0, &format!("{prefix}{digits}"), &spec)
}

/// A text for a number with at least that many digits, which nobody wants beyond a thousand.
fn out_of(digits: usize) -> Result<Bounded, Failure> {
    if digits > 10_000 {
        return Err(Failure::Limit("template limit: more than 10000 digits".to_owned()));
    }
    Ok(Bounded::new(digits + 100))
}

/// Appends a sign and digits; zeros go between the two, spaces before both.
fn pad_number(out: &mut Bounded, negative: bool, digits: &str, spec: &Spec) -> Result<(), Failure> {
    let sign = match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) if spec.verb != 'v' || digits == "Inf" => "+",
        (false, false, true) => " ",
        _ => "",
    };
    if spec.zero && !spec.minus {
        out.push_str(sign)?;
        let width = spec.width.unwrap_or(0);
        out.pad('0', width.saturating_sub(sign.len() + digits.len()))?;
        out.push_str(digits)
    } else {
        pad(out, &format!("{sign}{digits}"), spec)
    }
}

/// Appends `text`, filled up to the width.
fn pad(out: &mut Bounded, text: &str, spec: &Spec) -> Result<(), Failure> {
    let missing = spec.width.map_or(0, |width| width.saturating_sub(text.chars().count()));
    if spec.minus {
        out.push_str(text)?;
        out.pad(' ', missing)
    } else {
        out.pad(if spec.zero { '0' } else { ' ' }, missing)?;
        out.push_str(text)
    }
}
