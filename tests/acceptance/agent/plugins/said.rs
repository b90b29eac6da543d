//! What a plugin printed, taken apart by the plugin guidelines; written for this test alone, so
//! that it shares no fault with the agent.

use std::process::Output;

/// What a plugin printed.
pub(crate) struct Said {
    /// Its first line and its long text, as the agent hands texts on: in one line.
    pub(crate) text: String,
    pub(crate) perfdata: Vec<Perf>,
}

/// A number of the performance data, as written.
#[derive(Debug)]
pub(crate) struct Perf {
    pub(crate) label: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) warn: String,
    pub(crate) crit: String,
}

impl Said {
    pub(crate) fn read(output: &Output) -> Self {
        let stdout = String::from_utf8(output.stdout.clone()).unwrap();
        let stderr = String::from_utf8(output.stderr.clone()).unwrap();
        let (mut texts, mut perfdata) = (Vec::new(), Vec::new());
        for line in stdout.trim_end().lines() {
            let (text, numbers) = line.split_once('|').unwrap_or((line, ""));
            texts.push(text.trim_end().to_owned());
            perfdata.extend(perfs(numbers));
        }
        if !stderr.is_empty() && output.status.code() != Some(0) {
            texts.push(format!("printed as errors: {}", stderr.trim()));
        }
        let text = texts.join("\n").trim().replace('\\', "\\\\").replace('\n', "\\n");
        Self { text, perfdata }
    }
}

fn perfs(numbers: &str) -> Vec<Perf> {
    let (mut perfs, mut rest) = (Vec::new(), numbers.trim());
    while !rest.is_empty() {
        let (label, after) = match rest.strip_prefix('\'') {
            Some(quoted) => {
                let (label, after) = quoted.split_once('\'').unwrap();
                (label, after.strip_prefix('=').unwrap())
            }
            None => rest.split_once('=').unwrap(),
        };
        let (fields, more) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        let mut fields = fields.split(';');
        let value = fields.next().unwrap();
        let digits =
            value.find(|c: char| !matches!(c, '0'..='9' | '.' | '-')).unwrap_or(value.len());
        let mut next = || fields.next().unwrap_or("").to_owned();
        perfs.push(Perf {
            label: label.to_owned(),
            value: value[..digits].parse().unwrap(),
            unit: value[digits..].to_owned(),
            warn: next(),
            crit: next(),
        });
        rest = more.trim_start();
    }
    perfs
}

impl Perf {
    /// The unit on `/metrics`, and how many of it one of the written ones is.
    pub(crate) fn base_unit(&self) -> (&str, f64) {
        match self.unit.as_str() {
            "s" => ("seconds", 1.0),
            "ms" => ("seconds", 0.001),
            "%" => ("ratio", 0.01),
            "B" => ("bytes", 1.0),
            "MB" => ("bytes", 1_048_576.0),
            other => (other, 1.0),
        }
    }
}

/// The text with every number in it as `#`.
pub(crate) fn shape(text: &str) -> String {
    let mut shape = String::new();
    for c in text.chars() {
        let number = c.is_ascii_digit() || c == '.' && shape.ends_with('#');
        match number {
            true if shape.ends_with('#') => {}
            true => {
                // A number near zero is now above it and now below.
                if shape.ends_with(['-', '+']) {
                    shape.pop();
                }
                shape.push('#');
            }
            false => shape.push(c),
        }
    }
    // `-8.2e-05` is a number, too.
    shape.replace("#e#", "#")
}
