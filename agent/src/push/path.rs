//! The labels of a group, as they stand in a path: `job/NAME{/LABEL/VALUE}`, each name with `@base64`
//! behind it where its value is encoded so.
//!
//! Invariant: what is read has a job that is not empty, and each label once.

use base::labels::is_legacy_label_name;

use super::GroupLabels;

/// The most labels of a group.
const MAX_LABELS: usize = 32;
/// The longest value of a label, in bytes.
const MAX_VALUE: usize = 1 << 10;

/// The labels in `path`, which is what follows `/metrics/` and is still percent-encoded.
///
/// # Errors
///
/// What is wrong with it.
pub fn group_of(path: &str) -> Result<GroupLabels, String> {
    let mut labels = GroupLabels::new();
    let path =
        path.strip_suffix('/').filter(|path| path.matches('/').count() % 2 == 1).unwrap_or(path);
    let mut parts = path.split('/');
    while let Some(name) = parts.next() {
        let (name, is_base64) = match name.strip_suffix("@base64") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let name = decoded(name).ok_or("a name is not UTF-8 text")?;
        let value = parts.next().ok_or_else(|| format!("the label `{name}` has no value"))?;
        let value =
            decoded(value).ok_or_else(|| format!("the value of `{name}` is not UTF-8 text"))?;
        let value = match is_base64 {
            true => base64(&value).ok_or_else(|| format!("the value of `{name}` is not base64"))?,
            false => value,
        };
        if labels.is_empty() && (name != "job" || value.is_empty()) {
            return Err("the first label is `job`, and it is not empty".to_owned());
        }
        if !is_legacy_label_name(&name) || name.starts_with("__") {
            return Err(format!("`{name}` is not a label name"));
        }
        if value.len() > MAX_VALUE || labels.len() >= MAX_LABELS {
            return Err(format!(
                "at most {MAX_LABELS} labels of at most {MAX_VALUE} bytes are taken"
            ));
        }
        if labels.insert(name.clone(), value).is_some() {
            return Err(format!("the label `{name}` comes twice"));
        }
    }
    Ok(labels)
}

/// Without percent signs; a plus sign is a plus sign.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// RFC 4648 with the alphabet for URLs, or the other one, with padding or without; a lone `=` is the
/// empty text.
fn base64(text: &str) -> Option<String> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // A digit that is left over, or bits that mean nothing.
    let is_whole = count < 6 && bits == 0;
    is_whole.then(|| String::from_utf8(bytes).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let got = match group_of(path) {
            Ok(labels) => {
                labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
            }
            Err(why) => format!("error: {why}"),
        };
        assert_eq!(got, expected, "{path}");
    }

    #[test]
    fn reads_what_clients_of_the_pushgateway_write() {
        check("job/etl", "job=etl");
        check("job/etl/", "job=etl");
        check("job/etl/instance/db-1:80", "instance=db-1:80,job=etl");
        check("job/a%20b/path@base64/L3Zhci90bXA", "job=a b,path=/var/tmp");
        check("job@base64/ZXRs/x@base64/4pi6Pz8_Zg==", "job=etl,x=☺???f");
        check("job/etl/empty@base64/=", "empty=,job=etl");
        check("job/etl/empty/", "empty=,job=etl");
        check("job/a+b", "job=a+b");
    }

    #[test]
    fn what_names_no_group_is_told() {
        check("job/", "error: the first label is `job`, and it is not empty");
        check("job@base64/=", "error: the first label is `job`, and it is not empty");
        check("etl/x", "error: the first label is `job`, and it is not empty");
        check("job/etl/x", "error: the label `x` has no value");
        check("job/etl/a-b/c", "error: `a-b` is not a label name");
        check("job/etl/__name__/c", "error: `__name__` is not a label name");
        check("job/etl/job/x", "error: the label `job` comes twice");
        check("job/%ff", "error: the value of `job` is not UTF-8 text");
        check("job/%f", "error: the value of `job` is not UTF-8 text");
        check("job@base64/!", "error: the value of `job` is not base64");
        check("job@base64/A", "error: the value of `job` is not base64");
        check("job@base64/_w", "error: the value of `job` is not base64");
        let long = format!("job/{}", "x".repeat(2000));
        check(&long, "error: at most 32 labels of at most 1024 bytes are taken");
    }
}
