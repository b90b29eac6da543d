//! Format strings of `printf`: flags, width, precision, indexes, and what Go says of mistakes.
//!
//! Invariant: every format is printable; a verb without a value, or a value without a verb, is
//! named in the output.

use super::super::error::Failure;
use super::super::limits::Bounded;
use super::super::value::Value;
use super::verb::{Spec, push};

/// The widest that Go pads; beyond it the width is a mistake.
const WIDEST: usize = 1_000_000;

/// Appends `values` as `format` says.
pub(in super::super) fn printf(
    out: &mut Bounded,
    format: &str,
    values: &[Value],
) -> Result<(), Failure> {
    let mut arguments = Arguments { values, next: 0, good: true, reordered: false };
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before)?;
        rest = one(out, after, &mut arguments)?;
    }
    out.push_str(rest)?;
    if !arguments.reordered && arguments.next < values.len() {
        out.push_str("%!(EXTRA ")?;
        for (n, value) in values[arguments.next..].iter().enumerate() {
            out.push_str(if n > 0 { ", " } else { "" })?;
            if *value != Value::Nil {
                out.push_str(value.type_name())?;
                out.push('=')?;
            }
            push(out, value, &Spec::PLAIN)?;
        }
        out.push(')')?;
    }
    Ok(())
}

struct Arguments<'v> {
    values: &'v [Value],
    next: usize,
    /// Whether the last index named a value that there is.
    good: bool,
    reordered: bool,
}

impl Arguments<'_> {
    /// Reads `[n]`, which says which value comes next.
    fn index<'f>(&mut self, rest: &'f str) -> &'f str {
        let Some(inside) = rest.strip_prefix('[') else { return rest };
        self.reordered = true;
        let Some((number, after)) = inside.split_once(']') else {
            self.good = false;
            return inside;
        };
        match number.parse::<usize>() {
            Ok(n) if (1..=self.values.len()).contains(&n) => self.next = n - 1,
            _ => self.good = false,
        }
        after
    }

    /// Reads a width or precision: digits, or `*` for the next value. A `None` within says that
    /// it cannot be used.
    fn number<'f>(&mut self, rest: &'f str) -> (Option<Option<i64>>, &'f str) {
        if let Some(after) = rest.strip_prefix('*') {
            let number = match self.values.get(self.next) {
                Some(Value::Int(n)) if n.unsigned_abs() <= WIDEST as u64 => Some(*n),
                _ => None,
            };
            self.next += 1;
            return (Some(number), after);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return (None, rest);
        }
        let number = rest[..digits].parse().ok().filter(|n| *n <= WIDEST as i64);
        (Some(number), &rest[digits..])
    }
}

/// Appends one value; `rest` stands behind the `%`. Gives what follows the verb.
fn one<'f>(
    out: &mut Bounded,
    mut rest: &'f str,
    arguments: &mut Arguments<'_>,
) -> Result<&'f str, Failure> {
    let mut spec = Spec::PLAIN;
    arguments.good = true;
    while let Some(c) = rest.chars().next() {
        match c {
            '+' => spec.plus = true,
            '-' => spec.minus = true,
            '#' => spec.sharp = true,
            ' ' => spec.space = true,
            '0' => spec.zero = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    rest = arguments.index(rest);
    let (width, after) = arguments.number(rest);
    rest = after;
    match width {
        Some(Some(width)) => {
            // A negative width aligns to the left.
            spec.minus |= width < 0;
            spec.width = usize::try_from(width.unsigned_abs()).ok();
        }
        Some(None) => out.push_str("%!(BADWIDTH)")?,
        None => {}
    }
    if let Some(after) = rest.strip_prefix('.') {
        let after = arguments.index(after);
        let (precision, after) = arguments.number(after);
        rest = after;
        match precision {
            Some(Some(precision)) => spec.precision = usize::try_from(precision).ok(),
            Some(None) => out.push_str("%!(BADPREC)")?,
            None => spec.precision = Some(0),
        }
    }
    rest = arguments.index(rest);
    let Some(verb) = rest.chars().next() else {
        out.push_str("%!(NOVERB)")?;
        return Ok(rest);
    };
    spec.verb = verb;
    let after = &rest[verb.len_utf8()..];
    match arguments.values.get(arguments.next) {
        _ if verb == '%' => out.push('%')?,
        _ if !arguments.good => mistake(out, verb, "BADINDEX")?,
        None => mistake(out, verb, "MISSING")?,
        Some(value) => {
            arguments.next += 1;
            push(out, value, &spec)?;
        }
    }
    Ok(after)
}

fn mistake(out: &mut Bounded, verb: char, what: &str) -> Result<(), Failure> {
    out.push_str("%!")?;
    out.push(verb)?;
    out.push('(')?;
    out.push_str(what)?;
    out.push(')')
}

#[cfg(test)]
mod tests {
    use base::labels::Labels;

    use super::*;

    #[track_caller]
    fn check(format: &str, values: &[Value], expected: &str) {
        let mut out = Bounded::new(1000);
        printf(&mut out, format, values).unwrap();
        assert_eq!(out.as_str(), expected, "{format} {values:?}");
    }

    #[test]
    fn prints_numbers() {
        check(
            "%d|%5d|%-5d|%05d|%+d|% d",
            &[1, 2, 3, -4, 5, 6].map(Value::from),
            "1|    2|3    |-0004|+5| 6",
        );
        check(
            "%x %X %#x %o %b %c %q %U",
            &[255, 255, 255, 8, 5, 65, 65, 65].map(Value::from),
            "ff FF 0xff 10 101 A 'A' U+0041",
        );
        check("%.3d %08.3d", &[7.into(), 7.into()], "007      007");
        check(
            "%f %.2f %8.3f|%-8.1f|%08.2f",
            &[1.5, 1.005, 3.14229, 2.0, -1.5].map(Value::from),
            "1.500000 1.00    3.142|2.0     |-0001.50",
        );
        check(
            "%e %.4g %v %6.1f%%",
            &[1234.5, 1234.5, 1e6, 99.55].map(Value::from),
            "1.234500e+03 1234 1e+06   99.5%",
        );
        check("%5.1f %05f %+v", &[f64::NAN, f64::INFINITY, 1.0].map(Value::from), "  NaN  +Inf 1");
        check(
            "%*d %-*d| %.*f",
            &[4.into(), 1.into(), 3.into(), 2.into(), 1.into(), 2.55.into()],
            "   1 2  | 2.5",
        );
    }

    #[test]
    fn prints_texts_and_truth() {
        check(
            "%s|%5s|%-5s|%.2s|%q|%x|% X",
            &["a", "b", "c", "déf", "g\n", "hi", "hi"].map(Value::from),
            "a|    b|c    |dé|\"g\\n\"|6869|68 69",
        );
        check("%t %v %5t", &[true, false, true].map(Value::from), "true false  true");
        check("%T %T %T", &[1.into(), "a".into(), Value::Nil], "int string <nil>");
        check("%v %s", &[Value::Nil, Value::Nil], "<nil> %!s(<nil>)");
        check("%+q %#q", &["é".into(), "a\"b".into()], "\"\\u00e9\" `a\"b`");
    }

    #[test]
    fn prints_several_values_one_by_one() {
        let list = Value::strings(["a", "b"]);
        check(
            "%s %q %v %d",
            &[list.clone(), list.clone(), list.clone(), list.clone()],
            "[a b] [\"a\" \"b\"] [a b] [%!d(string=a) %!d(string=b)]",
        );
        check("%#v", &[list], "[]string{\"a\", \"b\"}");
        let kv = Value::kv(Labels::from_pairs([("a", "b")]));
        check("%s %v %#v", &[kv.clone(), kv.clone(), kv], "a=b a=b template.KV{\"a\":\"b\"}");
        check(
            "%d %v %s %.1f",
            &[Value::Duration(5), Value::Duration(5), Value::Duration(5), Value::Duration(5)],
            "5 5ns 5ns %!f(time.Duration=5ns)",
        );
    }

    #[test]
    fn names_mistakes() {
        check("%d %d", &[1.into()], "1 %!d(MISSING)");
        check("a", &[1.into(), "b".into()], "a%!(EXTRA int=1, string=b)");
        check("%d %s %f", &["a".into(), 1.into(), 2.into()], "%!d(string=a) %!s(int=1) %!f(int=2)");
        check("%d", &[1.5.into()], "%!d(float64=1.5)");
        check("%", &[], "%!(NOVERB)");
        check("%y", &[1.into()], "%!y(int=1)");
        check("%[2]d %[1]d", &[1.into(), 2.into()], "2 1");
        check("%[3]d", &[1.into()], "%!d(BADINDEX)");
        check("%2000000d", &[1.into()], "%!(BADWIDTH)1");
        check("100%%", &[], "100%");
    }

    #[test]
    fn a_width_beyond_the_output_is_refused() {
        let mut out = Bounded::new(1000);
        assert!(matches!(printf(&mut out, "%1001d", &[1.into()]), Err(Failure::Limit(_))));
        assert!(matches!(printf(&mut out, "%.999999d", &[1.into()]), Err(Failure::Limit(_))));
        assert!(printf(&mut out, "%.999999f", &[1.0.into()]).is_err());
    }
}
