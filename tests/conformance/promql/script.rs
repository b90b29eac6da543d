//! Reads the evaluation scripts.
//!
//! Invariant: a line that is not understood ends the run, so that nothing is skipped in silence.

use base::labels::Labels;
use promql::series_notation::{Point, parse_points, parse_series};

pub(crate) type Millis = i64;

pub(crate) enum Command {
    Clear,
    Load { step: Millis, lines: Vec<LoadLine>, to_native: bool },
    Eval(Box<Eval>),
}

/// A line below `load`.
pub(crate) enum LoadLine {
    Series(Labels, Vec<Point>),
    /// Since when the samples of a series count: how long before or behind each.
    StartTimes(Labels, Vec<Option<Millis>>),
}

pub(crate) struct Eval {
    /// The number of the line, counted from 1.
    pub(crate) line: usize,
    pub(crate) when: When,
    pub(crate) query: String,
    pub(crate) expect: Expect,
}

#[derive(Clone, Copy)]
pub(crate) enum When {
    Instant(Millis),
    Range { start: Millis, end: Millis, step: Millis },
}

#[derive(Default)]
pub(crate) struct Expect {
    pub(crate) fail: Option<Vec<Text>>,
    pub(crate) warn: Vec<Text>,
    pub(crate) info: Vec<Text>,
    pub(crate) no_warn: bool,
    pub(crate) no_info: bool,
    pub(crate) ordered: bool,
    pub(crate) string: Option<String>,
    /// Start, end and step of a range vector.
    pub(crate) range_vector: Option<(Millis, Millis, Millis)>,
    pub(crate) scalar: Option<f64>,
    pub(crate) series: Vec<(Labels, Vec<Point>)>,
}

/// What a message must be.
pub(crate) enum Text {
    Any,
    Exactly(String),
    Matching(regex::Regex),
}

impl Text {
    pub(crate) fn fits(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(text) => text == message,
            Self::Matching(pattern) => pattern.is_match(message),
        }
    }
}

/// All commands of a script.
pub(crate) fn commands(text: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut lines = text.lines().map(str::trim).enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut below = Vec::new();
        // A comment counts as an empty line, and an empty line ends the command; only `clear` has
        // nothing below it.
        while line != "clear"
            && let Some((_, next)) = lines.next_if(|(_, l)| !l.is_empty() && !l.starts_with('#'))
        {
            below.push(next);
        }
        commands.push(command(at + 1, line, &below));
    }
    commands
}

fn command(at: usize, line: &str, below: &[&str]) -> Command {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "clear" => Command::Clear,
        "load" | "load_with_nhcb" => Command::Load {
            step: millis(rest),
            lines: below.iter().map(|line| load_line(line)).collect(),
            to_native: word == "load_with_nhcb",
        },
        _ if word.starts_with("eval") => Command::Eval(Box::new(eval(at, word, rest, below))),
        _ => panic!("line {at}: unknown command {line:?}"),
    }
}

fn load_line(line: &str) -> LoadLine {
    if let Some((series, times)) = line.split_once("@st ") {
        let series = parse_series(series).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        let times = times.split_whitespace().flat_map(start_times).collect();
        return LoadLine::StartTimes(series.labels, times);
    }
    let series = parse_series(line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    LoadLine::Series(series.labels, series.points)
}

/// `_`, `_x3`, `-1m`, `0sx5`, `-1m+30sx3`.
fn start_times(word: &str) -> Vec<Option<Millis>> {
    let (value, times) = word.split_once('x').unwrap_or((word, "0"));
    let times: i64 = times.parse().unwrap_or_else(|_| panic!("no number of times: {word:?}"));
    if value == "_" {
        return vec![None; times.max(1) as usize];
    }
    let signed = |text: &str| match text.strip_prefix('-') {
        Some(text) => -millis(text),
        None => millis(text.strip_prefix('+').unwrap_or(text)),
    };
    let change = value[1..].find(['+', '-']).map(|at| at + 1);
    let (first, change) = value.split_at(change.unwrap_or(value.len()));
    let (first, change) = (signed(first), if change.is_empty() { 0 } else { signed(change) });
    (0..=times).map(|n| Some(first + n * change)).collect()
}

/// A duration, or a number of seconds.
pub(crate) fn millis(text: &str) -> Millis {
    let text = text.trim();
    match text.parse::<base::period::Period>() {
        Ok(period) => period.millis() as i64,
        Err(_) => {
            let seconds: f64 = text.parse().unwrap_or_else(|_| panic!("no duration: {text:?}"));
            (seconds * 1000.0).round() as i64
        }
    }
}

fn eval(at: usize, word: &str, rest: &str, below: &[&str]) -> Eval {
    let mut expect = Expect::default();
    match word {
        "eval" => {}
        "eval_fail" => expect.fail = Some(Vec::new()),
        "eval_ordered" => expect.ordered = true,
        "eval_warn" => expect.warn.push(Text::Any),
        "eval_info" => expect.info.push(Text::Any),
        _ => panic!("line {at}: unknown command {word:?}"),
    }
    let words: Vec<_> = rest.splitn(4, ' ').collect();
    let (when, query) = match words[..] {
        ["instant", "at", time, query] => (When::Instant(millis(time)), query.to_owned()),
        ["range", "from", start, rest] => {
            let words: Vec<_> = rest.splitn(5, ' ').collect();
            let ["to", end, "step", step, query] = words[..] else { panic!("line {at}: {rest:?}") };
            let (start, end, step) = (millis(start), millis(end), millis(step));
            (When::Range { start, end, step }, query.to_owned())
        }
        _ => panic!("line {at}: cannot read {rest:?}"),
    };
    below.iter().for_each(|line| expectation(&mut expect, at, line));
    Eval { line: at, when, query: query.trim().to_owned(), expect }
}

fn expectation(expect: &mut Expect, at: usize, line: &str) {
    if let Some(text) = line.strip_prefix("expected_fail_message ") {
        expect.fail = Some(vec![Text::Exactly(text.trim().to_owned())]);
    } else if let Some(text) = line.strip_prefix("expected_fail_regexp ") {
        expect.fail = Some(vec![Text::Matching(regex::Regex::new(text.trim()).unwrap())]);
    } else if let Some(rest) = line.strip_prefix("expect ") {
        let rest = rest.trim();
        let (kind, text) = rest.split_once(' ').unwrap_or((rest, ""));
        match kind {
            "fail" => expect.fail.get_or_insert_default().push(message(text)),
            "warn" => expect.warn.push(message(text)),
            "info" => expect.info.push(message(text)),
            "no_warn" => expect.no_warn = true,
            "no_info" => expect.no_info = true,
            "ordered" => expect.ordered = true,
            "string" => expect.string = Some(string(text)),
            "range" => {
                let words: Vec<_> = text.split_whitespace().collect();
                let ["vector", "from", start, "to", end, "step", step] = words[..] else {
                    panic!("line {at}: {line:?}")
                };
                expect.range_vector = Some((millis(start), millis(end), millis(step)));
            }
            _ => panic!("line {at}: unknown expectation {line:?}"),
        }
    } else if let Ok(line) = parse_series(line) {
        expect.series.push((line.labels, line.points));
    } else {
        match parse_points(line).as_deref() {
            Ok([Point::Float(value)]) => expect.scalar = Some(*value),
            _ => panic!("line {at}: cannot read {line:?}"),
        }
    }
}

/// What stands behind `fail`, `warn` and `info`.
fn message(text: &str) -> Text {
    let text = text.trim();
    if let Some(text) = text.strip_prefix("msg:") {
        Text::Exactly(text.trim().to_owned())
    } else if let Some(pattern) = text.strip_prefix("regex:") {
        Text::Matching(regex::Regex::new(pattern.trim()).unwrap())
    } else {
        assert!(text.is_empty(), "unknown message {text:?}");
        Text::Any
    }
}

fn string(text: &str) -> String {
    let query = promql::Query::new(text.trim()).unwrap();
    match &query.expr().kind {
        promql::ast::ExprKind::String(text) => text.clone(),
        _ => panic!("no string: {text:?}"),
    }
}
