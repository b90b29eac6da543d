//! What a Nagios plugin says: exit code, first line, further lines, performance data.
//!
//! ```text
//! DISK OK - free space | /=2643MB;5948;5958;0;5968     first line | performance data
//! / 15272 MB (77%)                                     further lines, up to the next bar
//! /boot 68 MB (69%) | /boot=68MB;88;93;0;98            ... from which all is performance data
//! /home=69357MB;253404;253409;0;253414
//! ```
//!
//! Sources: the plugin development guidelines of Nagios and of the Monitoring Plugins.
//!
//! Invariant: an entry of performance data that breaks the rules is left out, told, and takes no
//! other entry with it.

use crate::outcome::{Measurement, Status};

/// What was printed, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed<'a> {
    /// The first line without its performance data.
    pub text: &'a str,
    /// The further lines without theirs.
    pub long_text: String,
    /// The entries of performance data, as written.
    pub perfdata: Vec<&'a str>,
}

/// The status that an exit code means; `None` for a code that means nothing.
pub fn status_of(exit_code: i32) -> Option<Status> {
    Status::ALL.into_iter().find(|status| i32::from(status.code()) == exit_code)
}

/// Takes apart what a plugin printed.
pub fn take_apart(output: &str) -> Printed<'_> {
    let (first, rest) = output.split_once('\n').unwrap_or((output, ""));
    let (text, first_perfdata) = first.split_once('|').unwrap_or((first, ""));
    let (long_text, last_perfdata) = split_long(rest);
    let mut perfdata = entries(first_perfdata);
    perfdata.extend(entries(last_perfdata));
    let long_text: Vec<_> = long_text.lines().map(str::trim_end).collect();
    Printed { text: text.trim(), long_text: long_text.join("\n").trim_end().to_owned(), perfdata }
}

/// Splits the further lines at the bar from which everything is performance data. A bar that is
/// not followed by an entry belongs to the text: usage messages are full of them.
fn split_long(text: &str) -> (&str, &str) {
    /// No text for people has more.
    const MAX_BARS: usize = 200;
    let bars = text.match_indices('|').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let begins = |perfdata: &str| {
        let perfdata = perfdata.trim_start();
        perfdata.is_empty() || first_entry(perfdata).0.contains('=')
    };
    bars.take(MAX_BARS).find(|(_, perfdata)| begins(perfdata)).unwrap_or((text, ""))
}

/// The entries, which blanks separate where they are not between quotes. A quote counts only at
/// the start of an entry: elsewhere it belongs to the label. Where one is not closed, the entry
/// goes to the end of the line.
fn entries(perfdata: &str) -> Vec<&str> {
    let mut entries = Vec::new();
    for line in perfdata.lines() {
        let mut rest = line.trim();
        while !rest.is_empty() {
            let (entry, after) = first_entry(rest);
            entries.push(entry);
            rest = after.trim_start();
        }
    }
    entries
}

/// The entry at the start of `text`, and what follows it.
fn first_entry(text: &str) -> (&str, &str) {
    let quoted = text.starts_with('\'').then(|| quoted_end(text).unwrap_or(text.len()));
    let label = quoted.unwrap_or(0);
    let end = text[label..].find(char::is_whitespace).map_or(text.len(), |at| label + at);
    text.split_at(end)
}

/// Where the quoted label at the start of `text` ends, after its closing quote; a quote within is
/// written twice.
fn quoted_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        at += bytes[at..].iter().position(|b| *b == b'\'')? + 1;
        if bytes.get(at) != Some(&b'\'') {
            return Some(at);
        }
        at += 1;
    }
}

/// Reads performance data: what can be read, and what is wrong with the rest.
pub fn parse_perfdata<'a>(
    entries: impl IntoIterator<Item = &'a str>,
) -> (Vec<Measurement>, Vec<String>) {
    let (mut measurements, mut faults) = (Vec::new(), Vec::new());
    for entry in entries {
        match measurement(entry) {
            Ok(measurement) => measurements.push(measurement),
            Err(why) => faults.push(format!("performance data `{entry}`: {why}")),
        }
    }
    (measurements, faults)
}

/// As [`parse_perfdata`], of a text of entries.
pub fn parse_perfdata_text(text: &str) -> (Vec<Measurement>, Vec<String>) {
    parse_perfdata(entries(text))
}

/// Reads `'label'=value[unit];[warn];[crit];[min];[max]`.
fn measurement(entry: &str) -> Result<Measurement, &'static str> {
    let (label, fields) = match quoted(entry) {
        Some((label, rest)) => {
            (label, rest.strip_prefix('=').ok_or("no equals sign after the label")?)
        }
        None if entry.starts_with('\'') => return Err("the quote is not closed"),
        None => {
            let (label, fields) = entry.split_once('=').ok_or("no equals sign")?;
            (label.to_owned(), fields)
        }
    };
    if label.trim().is_empty() {
        return Err("the label is empty");
    }
    let mut fields = fields.split(';');
    let (value, unit) = value_and_unit(fields.next().unwrap_or(""))?;
    let mut field = || fields.next().map(str::trim).filter(|field| !field.is_empty());
    let (warn, crit) = (field().map(str::to_owned), field().map(str::to_owned));
    let mut bound =
        || field().map(|text| finite(text).ok_or("a bound is not a number")).transpose();
    let (min, max) = (bound()?, bound()?);
    if fields.next().is_some() {
        return Err("more fields than value, warning, critical, minimum and maximum");
    }
    Ok(Measurement { label, value, unit, warn, crit, min, max })
}

/// The quoted label at the start of `entry`, and what follows it.
fn quoted(entry: &str) -> Option<(String, &str)> {
    let end = entry.starts_with('\'').then(|| quoted_end(entry)).flatten()?;
    Some((entry[1..end - 1].replace("''", "'"), &entry[end..]))
}

/// `U` stands for a value that the plugin could not determine, which is read as not a number.
fn value_and_unit(text: &str) -> Result<(f64, String), &'static str> {
    if text == "U" {
        return Ok((f64::NAN, String::new()));
    }
    let length = number_length(text);
    let value = finite(&text[..length]).ok_or("no value")?;
    let unit = &text[length..];
    if unit.contains(|c: char| c.is_ascii_digit() || matches!(c, ',' | '\'' | '"' | '=')) {
        return Err("the value is not a number with a unit");
    }
    Ok((value, unit.to_owned()))
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// How long the number at the start of `text` is. An exponent is one only with its digits:
/// without, the `E` begins a unit.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let sign = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let mut end = sign + digits(sign);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits((end + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let (measurements, faults) = parse_perfdata_text(text);
        let mut got: Vec<_> =
            measurements.iter().map(|m| format!("{} {}{}", m.label, m.value, m.unit)).collect();
        got.extend(faults.iter().map(|f| f.rsplit(": ").next().unwrap().to_owned()));
        assert_eq!(got.join(", "), expected, "{text}");
    }

    #[test]
    fn reads_labels_values_and_units() {
        check("time=0.003s;1;2;0;10 size=5KB", "time 0.003s, size 5KB");
        check("'a b'=1%;;;; 'it''s'=-2.5", "a b 1%, it's -2.5");
        check("x=1e3 y=1e z=2E-2s", "x 1000, y 1e, z 0.02s");
        check("'a=b'=1\n'c'=2", "a=b 1, c 2");
        check("load1=0.26;15.000;30.000;0; ", "load1 0.26");
        check("gone=U", "gone NaN");
    }

    #[test]
    fn leaves_out_what_breaks_the_rules_and_keeps_the_rest() {
        check("novalue a=1", "a 1, no equals sign");
        check("a=1 'open=5", "a 1, the quote is not closed");
        check("a= b=2", "b 2, no value");
        check("=5", "the label is empty");
        check("a=1;;;;;", "more fields than value, warning, critical, minimum and maximum");
        check("a=1,5", "the value is not a number with a unit");
        check("a==1", "no value");
        check("a=1;;;x", "a bound is not a number");
        check("'a'b=1", "no equals sign after the label");
        check("a=inf b=nan c=1e999", "no value, no value, no value");
    }

    #[test]
    fn keeps_thresholds_as_written() {
        let (all, faults) = parse_perfdata_text("users=0;@x:;~:5;0");
        assert_eq!(faults, [""; 0]);
        assert_eq!((all[0].warn.as_deref(), all[0].crit.as_deref()), (Some("@x:"), Some("~:5")));
        assert_eq!((all[0].min, all[0].max), (Some(0.0), None));
    }

    #[test]
    fn takes_several_lines_apart() {
        let printed = take_apart("OK | a=1\nline 2 \n\nline 3 | b=2\n'c d'=3 e=4\n");
        assert_eq!((printed.text, printed.long_text.as_str()), ("OK", "line 2\n\nline 3"));
        assert_eq!(printed.perfdata, ["a=1", "b=2", "'c d'=3", "e=4"]);
        assert_eq!(take_apart(""), Printed::default());
        let usage = take_apart("Usage:\nx [-H <host> | -I <ip>] [-f <ok|warning>]\n|a=1");
        assert_eq!(usage.long_text, "x [-H <host> | -I <ip>] [-f <ok|warning>]");
        assert_eq!(usage.perfdata, ["a=1"]);
    }

    #[test]
    fn an_exit_code_over_3_means_nothing() {
        assert_eq!(status_of(2), Some(Status::Critical));
        assert_eq!(status_of(4), None);
        assert_eq!(status_of(-1), None);
    }
}
