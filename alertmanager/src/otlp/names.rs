//! What metrics and attributes of OpenTelemetry are called here.
//!
//! Source: the compatibility specification of OpenTelemetry and Prometheus, and Prometheus's guide for
//! its OTLP receiver.
//!
//! Invariant: by the strategies that escape, every name is a classic one.

/// How names are made, as `translation_strategy` calls it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Classic names, with the unit and the kind at their end.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Classic names.
    UnderscoreEscapingWithoutSuffixes,
    /// Names as they are, with the unit and the kind at their end.
    NoUTF8EscapingWithSuffixes,
    /// Names as they are.
    NoTranslation,
}

impl Strategy {
    const ALL: [(&'static str, Self); 4] = [
        ("UnderscoreEscapingWithSuffixes", Self::UnderscoreEscapingWithSuffixes),
        ("UnderscoreEscapingWithoutSuffixes", Self::UnderscoreEscapingWithoutSuffixes),
        ("NoUTF8EscapingWithSuffixes", Self::NoUTF8EscapingWithSuffixes),
        ("NoTranslation", Self::NoTranslation),
    ];

    /// The one with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, strategy)| strategy)
    }

    /// The names of all.
    pub(super) fn known() -> String {
        Self::ALL.map(|(name, _)| format!("`{name}`")).join(", ")
    }

    fn escapes(self) -> bool {
        matches!(
            self,
            Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes
        )
    }

    fn adds_suffixes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::NoUTF8EscapingWithSuffixes)
    }
}

/// What of the names of labels can be chosen, as far as they are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Labelled {
    /// Whether `key` is put before a name that begins with one underscore.
    pub(super) prefixes: bool,
    /// Whether several underscores in a row stay, or are made one.
    pub(super) keeps_runs: bool,
}

impl Default for Labelled {
    fn default() -> Self {
        Self { prefixes: true, keeps_runs: true }
    }
}

/// What of a metric decides about the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A sum that only rises.
    Counter,
    Gauge,
    Other,
}

/// Units by their code in UCUM.
const UNITS: [(&str, &str); 25] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
];

/// Units behind a slash.
const PER: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// The end of a name that a unit makes: what is measured, and per what.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    // In braces stands what is counted, which is no unit.
    let of = |unit: &str, known: &[(&str, &str)]| match unit.trim() {
        "1" if known.len() == UNITS.len() => String::new(),
        unit if unit.contains(['{', '}']) => String::new(),
        unit => {
            let found = known.iter().find(|(code, _)| *code == unit);
            found.map_or(unit, |(_, name)| name).to_owned()
        }
    };
    let per = of(per, &PER);
    (of(main, &UNITS), if per.is_empty() { per } else { format!("per_{per}") })
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// A unit with underscores in the place of what no name has.
fn cleaned(unit: &str) -> String {
    let mut out = String::new();
    for c in unit.chars() {
        match is_plain(c) {
            true => out.push(c),
            false if out.ends_with('_') => {}
            false => out.push('_'),
        }
    }
    out.strip_prefix('_').map(str::to_owned).unwrap_or(out)
}

/// The name of a metric; nothing where nothing is left of it.
pub(super) fn metric(strategy: Strategy, name: &str, unit: &str, kind: Kind) -> Option<String> {
    let built = match (strategy.escapes(), strategy.adds_suffixes()) {
        (true, true) => {
            let tokens: Vec<&str> =
                name.split(|c| !is_plain(c)).filter(|t| !t.is_empty()).collect();
            with_suffixes(tokens, unit, kind)
        }
        (true, false) => {
            let is_valid = |c: char| is_plain(c) || c == '_';
            let parts: Vec<&str> = name.split(|c| !is_valid(c)).filter(|t| !t.is_empty()).collect();
            parts.join("_")
        }
        (false, true) => with_suffixes_as_is(name, unit, kind),
        (false, false) => name.to_owned(),
    };
    let built = match strategy.escapes() && built.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("_{built}"),
        false => built,
    };
    let is_left = built == name || built.contains(|c| c != '_');
    (!built.is_empty() && is_left).then_some(built)
}

fn with_suffixes(tokens: Vec<&str>, unit: &str, kind: Kind) -> String {
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (cleaned(&main), cleaned(&per));
    // Of a lifetime that ends with that of the units.
    let mut tokens: Vec<&str> = tokens.into_iter().collect();
    let mut main = if tokens.contains(&main.as_str()) { "" } else { main.as_str() };
    let mut per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    if tokens.contains(&per) {
        per = "";
    }
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    tokens.extend([main, per].into_iter().filter(|token| !token.is_empty()));
    let last = match kind {
        Kind::Counter => Some("total"),
        Kind::Gauge if unit == "1" => Some("ratio"),
        Kind::Gauge | Kind::Other => None,
    };
    if let Some(last) = last {
        tokens.retain(|token| *token != last);
        tokens.push(last);
    }
    tokens.join("_")
}

fn with_suffixes_as_is(name: &str, unit: &str, kind: Kind) -> String {
    // A suffix, and the character that parts it from the rest.
    fn without<'a>(name: &'a str, suffix: &str) -> &'a str {
        let Some(rest) = name.strip_suffix(suffix) else { return name };
        match rest.char_indices().next_back() {
            Some((at, _)) if at > 0 => &rest[..at],
            _ => name,
        }
    }
    let (main, per) = unit_suffixes(unit);
    let last = match kind {
        Kind::Counter => "total",
        Kind::Gauge if unit == "1" => "ratio",
        Kind::Gauge | Kind::Other => "",
    };
    let mut rest = name;
    for suffix in [last, per.as_str()] {
        if !suffix.is_empty() {
            rest = without(rest, suffix);
        }
    }
    let mut out = rest.to_owned();
    let main = if rest.ends_with(&main) { "" } else { main.as_str() };
    for suffix in [main, per.as_str(), last] {
        if !suffix.is_empty() {
            out.push('_');
            out.push_str(suffix);
        }
    }
    out
}

/// The name of the label that an attribute becomes; nothing where nothing is left of it.
pub(super) fn label(strategy: Strategy, labelled: Labelled, name: &str) -> Option<String> {
    if !strategy.escapes() {
        return (!name.is_empty()).then(|| name.to_owned());
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut built: String = match labelled.keeps_runs {
        true => name.chars().map(plain).collect(),
        false => without_runs(name, plain),
    };
    if built.starts_with(|c: char| c.is_ascii_digit()) {
        built.insert_str(0, "key_");
    } else if labelled.prefixes && built.starts_with('_') && !built.starts_with("__") {
        built.insert_str(0, "key");
    }
    let is_left = built == name || built.contains(|c| c != '_');
    (!built.is_empty() && is_left).then_some(built)
}

/// A name with one underscore for each run of them; those around a reserved name stay.
fn without_runs(name: &str, plain: impl Fn(char) -> char) -> String {
    let inner = name.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    let around = if inner.is_some_and(|inner| !inner.is_empty()) { "__" } else { "" };
    let mut built = String::new();
    for c in inner.filter(|inner| !inner.is_empty()).unwrap_or(name).chars().map(plain) {
        if c != '_' || !built.ends_with('_') {
            built.push(c);
        }
    }
    format!("{around}{built}{around}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_called_by_name_unit_and_kind() {
        let check = |name: &str, unit: &str, kind, expected: [&str; 4]| {
            for ((_, strategy), expected) in Strategy::ALL.into_iter().zip(expected) {
                let got = metric(strategy, name, unit, kind).unwrap_or_default();
                assert_eq!(got, expected, "{name} {unit} {strategy:?}");
            }
        };
        use Kind::{Counter, Gauge, Other};
        let all = |same: &'static str| [same; 4];
        check("up", "", Gauge, all("up"));
        check(
            "http.server.duration",
            "s",
            Other,
            [
                "http_server_duration_seconds",
                "http_server_duration",
                "http.server.duration_seconds",
                "http.server.duration",
            ],
        );
        check(
            "requests.total",
            "1",
            Counter,
            ["requests_total", "requests_total", "requests_total", "requests.total"],
        );
        check("cpu.use", "1", Gauge, ["cpu_use_ratio", "cpu_use", "cpu.use_ratio", "cpu.use"]);
        check(
            "disk.io",
            "By/s",
            Gauge,
            ["disk_io_bytes_per_second", "disk_io", "disk.io_bytes_per_second", "disk.io"],
        );
        check("calls", "{call}", Counter, ["calls_total", "calls", "calls_total", "calls"]);
        check(
            "calls",
            "{call}/s",
            Gauge,
            ["calls_per_second", "calls", "calls_per_second", "calls"],
        );
        check("9lives", "", Gauge, ["_9lives", "_9lives", "9lives", "9lives"]);
        check("heat bytes", "By", Gauge, ["heat_bytes", "heat_bytes", "heat bytes", "heat bytes"]);
        check("é", "", Gauge, ["", "", "é", "é"]);
        check("", "", Gauge, all(""));
    }

    #[test]
    fn attributes_become_labels() {
        let check = |name: &str, expected: Option<&str>| {
            let got = label(Strategy::default(), Labelled::default(), name);
            assert_eq!(got.as_deref(), expected, "{name}");
        };
        check("http.method", Some("http_method"));
        check("1st", Some("key_1st"));
        check("_private", Some("key_private"));
        check("__reserved__", Some("__reserved__"));
        check("", None);
        check("é.", None);
        let as_is = label(Strategy::NoTranslation, Labelled::default(), "http.method");
        assert_eq!(as_is.as_deref(), Some("http.method"));
    }

    #[test]
    fn underscores_of_labels_are_as_was_asked() {
        // With both, without the prefix, without the runs, with neither: as Prometheus's own namer.
        let check = |name: &str, expected: [&str; 4]| {
            let asked = [(true, true), (false, true), (true, false), (false, false)];
            for ((prefixes, keeps_runs), expected) in asked.into_iter().zip(expected) {
                let labelled = Labelled { prefixes, keeps_runs };
                let got = label(Strategy::default(), labelled, name).unwrap_or_default();
                assert_eq!(got, expected, "{name} {labelled:?}");
                let got = label(Strategy::NoTranslation, labelled, name).unwrap_or_default();
                assert_eq!(got, name, "{labelled:?}");
            }
        };
        check(".foo", ["key_foo", "_foo", "key_foo", "_foo"]);
        check("_own", ["key_own", "_own", "key_own", "_own"]);
        check("__two", ["__two", "__two", "key_two", "_two"]);
        check("a__b..c", ["a__b__c", "a__b__c", "a_b_c", "a_b_c"]);
        check("__a__b__", ["__a__b__", "__a__b__", "__a_b__", "__a_b__"]);
        check("end___", ["end___", "end___", "end_", "end_"]);
        check("1__st", ["key_1__st", "key_1__st", "key_1_st", "key_1_st"]);
        check("字符a", ["__a", "__a", "key_a", "_a"]);
    }
}
