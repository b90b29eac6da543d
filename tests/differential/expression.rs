//! Random expressions over the series of `series`. Most are sound; some do not fit the series, which
//! is an error that must be told in the same words.
//!
//! Invariant: every function and operator of the reference comes up, but for those that leave their
//! result open, which come up only over values for which they do not. What came after Prometheus 3.5
//! does not: `anchored` and `smoothed`, `fill`, `first_over_time`, `step()`, `histogram_quantiles`.

use crate::random::Random;

const METRICS: [&str; 10] = [
    "requests_total",
    "temperature",
    "{\"température\"}",
    "target_info",
    "flag",
    "flapping",
    "{\"queue.depth\"}",
    "latency_seconds_bucket",
    "nonexistent",
    "requests_total",
];
/// Those of native histograms, the more telling ones more often.
pub(crate) const NATIVE_METRICS: [&str; 9] = [
    "native_seconds",
    "native_seconds",
    "native_gauge",
    "native_custom",
    "native_moved",
    "native_nan",
    "native_mixed",
    "native_mixed",
    "native_gaps",
];
const LABELS: [&str; 8] =
    ["job", "instance", "code", "zone", "le", "foo", "\"größe.µ\"", "__name__"];
const MATCHERS: [&str; 15] = [
    "\"größe.µ\"=~\"klein|groß\"",
    "\"größe.µ\"!=\"\"",
    r#"instance="a:9100""#,
    r#"instance=~".*:9100""#,
    r#"instance!="b:9100""#,
    r#"job="api""#,
    r#"job=~"api|web""#,
    r#"code!~"2..""#,
    r#"code="500""#,
    r#"zone="""#,
    r#"zone!="""#,
    r#"foo="""#,
    r#"foo="x""#,
    r#"le="+Inf""#,
    r#"job=~".+""#,
];
const OVER_TIME: [&str; 21] = [
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "ts_of_last_over_time",
    "rate",
    "increase",
    "delta",
    "deriv",
    "irate",
    "idelta",
    "changes",
    "resets",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "rate",
];
#[rustfmt::skip]
const OF_VALUES: [&str; 22] = [
    "abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "round", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sort", "sort_desc",
    "timestamp",
];
/// Applied to samples only: of large numbers that were calculated they depend on the last digit.
const OF_ANGLES: [&str; 5] = ["sin", "cos", "tan", "deg", "rad"];
/// What only native histograms have.
const OF_NATIVE: [&str; 5] =
    ["histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "histogram_stdvar"];
#[rustfmt::skip]
const DATES: [&str; 8] = [
    "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year",
];
const NUMBERS: [&str; 12] =
    ["0", "1", "2", "-1", "0.5", "3.7", "1e3", "NaN", "Inf", "-Inf", "5m", "0x1f"];

/// Any expression.
pub(crate) fn any(random: &mut Random) -> String {
    let depth = random.pick(&[1, 2, 2, 3, 3, 4]);
    match random.below(100) {
        0..7 => scalar(random, 3),
        7..11 => info(random),
        _ => vector(random, depth),
    }
}

fn duration(random: &mut Random) -> &'static str {
    random.pick(&["30s", "45s", "1m", "90s", "2m", "5m", "7m30s", "10m", "1h", "300", "61"])
}

/// A length of a range: written, or calculated; seldom one that is not above zero.
fn length(random: &mut Random) -> String {
    let (a, b) = (duration(random), duration(random));
    match random.below(40) {
        0 => format!("{a} + {b}"),
        1 => format!("({a} + {b}) / 2"),
        2 => format!("{a} * 1.5"),
        3 => format!("(-20s + {a}) * 2"),
        4 => format!("{a} % 7m + 10"),
        5 => format!("{a} ^ 1"),
        6 if random.chance(0.3) => random.pick(&["1m - 2m", "5m / 0", "-5m", "1m % 0"]).to_owned(),
        _ => a.to_owned(),
    }
}

/// The modifiers behind a selector.
fn when(random: &mut Random) -> String {
    let mut text = String::new();
    if random.chance(0.15) {
        let sign = random.pick(&["", "-"]);
        let length = duration(random);
        text += &match random.below(5) {
            0 => format!(" offset {sign}({length} - 20s)"),
            _ => format!(" offset {sign}{length}"),
        };
    }
    if random.chance(0.1) {
        let at = random.pick(&["start()", "end()", "1767226500", "1767227000.5"]);
        text += &format!(" @ {at}");
    }
    text
}

fn selector(random: &mut Random) -> String {
    let matchers = random.some(&MATCHERS, 2);
    if random.chance(0.07) {
        let names =
            random.pick(&["flag|flapping", "temp.*|flag", ".*total", "native_(gauge|se.*)"]);
        let more: String = matchers.iter().map(|matcher| format!(",{matcher}")).collect();
        return format!("{{__name__=~\"{names}\"{more}}}");
    }
    let name =
        if random.chance(0.4) { random.pick(&NATIVE_METRICS) } else { random.pick(&METRICS) };
    match name.strip_suffix('}') {
        _ if matchers.is_empty() => name.to_owned(),
        Some(open) => format!("{open},{}}}", matchers.join(",")),
        None => format!("{name}{{{}}}", matchers.join(",")),
    }
}

fn matrix(random: &mut Random, depth: u32) -> String {
    if depth > 0 && random.chance(0.25) {
        let inner = vector(random, depth.saturating_sub(2));
        let range = random.pick(&["2m", "5m", "10m", "3m30s", "2m * 2", "1m + 100"]);
        let step = random.pick(&["", "30s", "1m", "17s", "10s + 20s"]);
        return format!("({inner})[{range}:{step}]{}", when(random));
    }
    format!("{}[{}]{}", selector(random), length(random), when(random))
}

/// A subquery of a subquery.
fn nested(random: &mut Random) -> String {
    let inner = random.pick(&["max_over_time", "rate", "sum_over_time", "last_over_time"]);
    let outer = random.pick(&["avg_over_time", "deriv", "changes", "min_over_time", "delta"]);
    let (middle, at) = (random.pick(&["sum_over_time", "count_over_time"]), when(random));
    let (matrix, when) = (matrix(random, 0), when(random));
    match random.chance(0.5) {
        true => format!("{outer}({inner}({matrix})[5m:40s]{when})"),
        false => format!("{outer}({middle}({inner}({matrix})[3m:25s]{at})[10m:90s]{when})"),
    }
}

/// Labels of targets, added: of some metrics, of those that are asked for, where there is one. Later
/// versions see more than this one where the series have an offset, describe targets themselves, or
/// have the labels already; and in a subquery this one mixes series up.
fn info(random: &mut Random) -> String {
    let metric = random.pick(&[
        "requests_total",
        "flag",
        "flapping",
        "{\"queue.depth\"}",
        NATIVE_METRICS[0],
    ]);
    let inner = match random.below(5) {
        0 => format!("rate({metric}[5m])"),
        1 => format!("sum by (job, instance) ({metric})"),
        2 => format!("({metric}) / (flag)"),
        _ => metric.to_owned(),
    };
    let selector = random.pick(&[
        "",
        "",
        ", {version=~\".+\"}",
        ", {version=\"1.0\"}",
        ", {zone=~\".*\", foo=\"\"}",
        ", {__name__=\"build_info\"}",
        ", {__name__=~\".+_info\", version!=\"2.0\"}",
        ", {__name__=~\"(target|build)_info\", version=\"1.0\"}",
    ]);
    let joined = format!("info({inner}{selector})");
    match random.below(4) {
        0 => format!("count by (version) ({joined})"),
        1 => format!("({joined}) + on (instance) group_left () (sum by (instance) (flag))"),
        _ => joined,
    }
}

/// Sorted by labels, of which some have numbers in them.
fn sorted(random: &mut Random, depth: u32) -> String {
    let name = random.pick(&["sort_by_label", "sort_by_label_desc"]);
    let labels = ["\"job\"", "\"instance\", \"code\"", "\"le\", \"job\"", "\"foo\""];
    let by = random.pick(&labels);
    format!("{name}({}, {by})", vector(random, depth))
}

/// Series in an order that both programs have them in, with equal values among them: which of several
/// is taken depends on it.
fn in_order(random: &mut Random) -> String {
    let ties = ["flag", "requests_total", "{\"queue.depth\"}", "target_info", "temperature"];
    match random.below(4) {
        0 => selector(random),
        1 => format!("{}({}[5m])", random.pick(&["changes", "count_over_time"]), selector(random)),
        _ => format!("{}{}", random.pick(&ties), when(random)),
    }
}

fn scalar(random: &mut Random, depth: u32) -> String {
    if depth == 0 || random.chance(0.5) {
        return random.pick(&NUMBERS).to_owned();
    }
    let depth = depth - 1;
    match random.below(10) {
        0 | 1 => "time()".to_owned(),
        2 => "pi()".to_owned(),
        3..=5 => format!("scalar({})", vector(random, depth)),
        6..=7 => {
            let op = random
                .pick(&["+", "-", "*", "/", "%", "^", "atan2", "== bool", "> bool", "!= bool"]);
            format!("({} {op} {})", scalar(random, depth), scalar(random, depth))
        }
        _ => format!("-{}", scalar(random, depth)),
    }
}

fn labels(random: &mut Random) -> String {
    random.some(&LABELS, 3).join(", ")
}

fn vector(random: &mut Random, depth: u32) -> String {
    if depth == 0 {
        return format!("{}{}", selector(random), when(random));
    }
    let depth = depth - 1;
    match random.below(131) {
        0..12 => format!("{}{}", selector(random), when(random)),
        12..32 => format!("{}({})", random.pick(&OVER_TIME), matrix(random, depth)),
        32..36 => {
            let quantile = random.pick(&["0", ".5", ".9", "1", "2", "-1"]).to_owned();
            let quantile = if random.chance(0.3) { scalar(random, depth) } else { quantile };
            format!("quantile_over_time({quantile}, {})", matrix(random, depth))
        }
        36..39 => {
            let ahead = random.pick(&["60", "-3600", "5m", "0", "1e9", "NaN"]);
            format!("predict_linear({}, {ahead})", matrix(random, depth))
        }
        39..43 => format!("{}({})", random.pick(&OF_VALUES), vector(random, depth)),
        43..46 => format!("{}({})", random.pick(&OF_ANGLES), selector(random)),
        46..49 => format!("{}({})", random.pick(&DATES), of_times(random)),
        49..52 => {
            let inner = vector(random, depth);
            let (name, params) = random.pick(&[
                ("clamp", "1, 1e8"),
                ("clamp_min", "30"),
                ("clamp_max", "1e2"),
                ("round", "0.1"),
                ("round", "100"),
            ]);
            format!("{name}({inner}, {params})")
        }
        52 => absent(random, depth),
        53 => format!("vector({})", scalar(random, depth)),
        54..57 => {
            let to = random.pick(&["foo", "instance", "zone", "größe.µ", "__name__"]);
            let template = random.pick(&["$1", "x-$1", "", "c"]);
            let from = random.pick(&["instance", "zone", "code", "__name__"]);
            let pattern = random.pick(&[".*:(.*)", "(.+)", "", ".*", "(f).*"]);
            let inner = vector(random, depth);
            format!(r#"label_replace({inner}, "{to}", "{template}", "{from}", "{pattern}")"#)
        }
        57..59 => format!(r#"label_join({}, "foo", "-", "zone", "job")"#, vector(random, depth)),
        59..63 => {
            let quantile = random.pick(&["0.9", "0.5", "1", "0", "2", "NaN"]);
            let inner = match random.below(5) {
                0 => "rate(latency_seconds_bucket[5m])".to_owned(),
                1 => "sum by (le) (rate(latency_seconds_bucket[5m]))".to_owned(),
                2 => "latency_seconds_bucket".to_owned(),
                3 => "sum by (le, job) (latency_seconds_bucket)".to_owned(),
                _ => vector(random, depth),
            };
            match random.chance(0.7) {
                true => format!("histogram_quantile({quantile}, {inner})"),
                false => format!("histogram_fraction(0.2, {quantile}, {inner})"),
            }
        }
        63..80 => aggregation(random, depth),
        100..107 => format!("{}({})", random.pick(&OF_NATIVE), of_native(random, depth)),
        107..113 => {
            let inner = of_native(random, depth);
            // Of what lies in the first classic bucket later versions know more.
            let classic = inner.contains("latency");
            let a = if classic { "0.2" } else { random.pick(&NUMBERS) };
            let b = random.pick(&["0.9", "0.4", "1", "0", "2"]);
            match random.chance(0.6) {
                true => format!("histogram_quantile({b}, {inner})"),
                false => format!("histogram_fraction({a}, {b}, {inner})"),
            }
        }
        // Of what is no number later versions make something else.
        113 => {
            let name = random.pick(&["flapping", "requests_total", "native_mixed"]);
            format!("mad_over_time({name}[{}])", duration(random))
        }
        114 => {
            let factors = random.pick(&["0.5, 0.5", "0.1, 0.9", "0.01, 0.3", "1, 0.5"]);
            format!("double_exponential_smoothing({}, {factors})", matrix(random, depth))
        }
        115..118 => nested(random),
        118..124 => sorted(random, depth),
        124..128 => {
            let op = random.pick(&["limitk", "limitk", "topk", "bottomk"]);
            let grouping = random.pick(&["", " by (job)", " without (instance, code)"]);
            let count = random.pick(&["1", "2", "3", "100", "0", "-1", "1.9"]);
            format!("{op}{grouping} ({count}, {})", in_order(random))
        }
        128..131 => {
            let value = random.pick(&["requests_total", "flag", "rate(requests_total[3m])"]);
            let by = random.pick(&["version", "version, zone", "", "__name__"]);
            let of = random.pick(&["target_info", "build_info", "max without (zone) (build_info)"]);
            format!("{value} * on (job, instance) group_left ({by}) {of}")
        }
        80..82 => format!("-{}", vector(random, depth)),
        82..84 => format!("({})", vector(random, depth)),
        _ => operation(random, depth),
    }
}

/// Something that has histograms, most probably.
fn of_native(random: &mut Random, depth: u32) -> String {
    let name = random.pick(&NATIVE_METRICS);
    let function = random.pick(&["rate", "increase", "irate", "last_over_time", "sum_over_time"]);
    match random.below(6) {
        0 => name.to_owned(),
        1 => format!("{function}({name}[{}]{})", duration(random), when(random)),
        2 => format!("sum by ({}) ({name})", labels(random)),
        3 => format!("avg without (job) ({function}({name}[5m]))"),
        4 => format!("sum by (le, job) ({{__name__=~\"{name}|latency_seconds_bucket\"}})"),
        _ => vector(random, depth),
    }
}

/// Which labels a series has that is not there depends on whether storage has looked for it, where
/// there are several conditions on one label; so there is one.
fn absent(random: &mut Random, depth: u32) -> String {
    let names = ["requests_total", "temperature", "flag", "nonexistent"];
    let (name, matcher) = (random.pick(&names), random.pick(&MATCHERS));
    match random.below(4) {
        0 => format!("absent({name}{{{matcher}}})"),
        1 => format!("absent_over_time({name}{{{matcher}}}[{}]{})", duration(random), when(random)),
        2 => format!("absent(({}) > 1)", vector(random, depth)),
        _ => format!("absent(abs({}))", vector(random, depth)),
    }
}

/// Something that is a time: the date of what is no number depends on the processor there.
fn of_times(random: &mut Random) -> String {
    random.pick(&["", "flag", "timestamp(flapping)", "vector(time())", "flag * 1e9"]).to_owned()
}

/// Series of which no two have the same value: which of those is chosen is left open.
fn of_different_values(random: &mut Random) -> String {
    let all =
        ["flapping", "rate(flapping[3m])", "-flapping offset 1m", "flapping or native_seconds"];
    random.pick(&all).to_owned()
}

/// Values of which every digit is the same, whoever calculates them.
fn of_exact_values(random: &mut Random) -> String {
    let of_floats = ["requests_total", "flag", "resets(flapping[5m])", "temperature"];
    let of_natives = ["native_gauge", "native_gauge - native_gauge offset 1m", "native_custom"];
    if random.chance(0.4) { random.pick(&of_natives) } else { random.pick(&of_floats) }.to_owned()
}

fn aggregation(random: &mut Random, depth: u32) -> String {
    let op = random.pick(&[
        "sum",
        "avg",
        "min",
        "max",
        "count",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "quantile",
        "count_values",
        "limit_ratio",
        "sum",
        "avg",
    ]);
    let param = match op {
        "topk" | "bottomk" => random.pick(&["1, ", "2, ", "5, ", "0, "]),
        "limit_ratio" => random.pick(&["0.5, ", "-0.3, ", "1, ", "0, ", "-1, ", "1.5, ", "-2, "]),
        "quantile" => random.pick(&[".5, ", ".9, ", "0, ", "1, ", "2, "]),
        "count_values" => random.pick(&["\"cv\", ", "\"job\", ", "\"größe.µ\", "]),
        _ => "",
    };
    let grouping = match random.below(4) {
        0 => String::new(),
        1 => format!(" without ({})", labels(random)),
        _ => format!(" by ({})", labels(random)),
    };
    let inner = match op {
        "topk" | "bottomk" => of_different_values(random),
        "count_values" => of_exact_values(random),
        _ => vector(random, depth),
    };
    format!("{op}{grouping} ({param}{inner})")
}

fn operation(random: &mut Random, depth: u32) -> String {
    let op = random.pick(&[
        "+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "atan2", "and", "or",
        "unless", "== bool", "> bool", "!= bool",
    ]);
    let is_set = matches!(op, "and" | "or" | "unless");
    if !is_set && random.chance(0.45) {
        let depth = if op == "%" { 0 } else { depth };
        let (a, b) = (vector(random, depth), scalar(random, depth));
        let (a, b) = if random.chance(0.4) { (b, a) } else { (a, b) };
        return format!("({a}) {op} ({b})");
    }
    let mut matching = String::new();
    if random.chance(0.5) {
        let listed = random.some(&LABELS[..7], 3);
        let on = random.chance(0.6);
        let word = if on { "on" } else { "ignoring" };
        matching = format!(" {word} ({})", listed.join(", "));
        if !is_set && random.chance(0.5) {
            let mut included = random.some(&LABELS[..7], 1);
            included.retain(|label| !on || !listed.contains(label));
            let word = random.pick(&["group_left", "group_right"]);
            matching += &format!(" {word} ({})", included.join(", "));
        }
    }
    // The rest of a division depends on the last digit of what was calculated.
    let depth = if op == "%" { 0 } else { depth };
    let a = vector(random, depth);
    let b = match random.below(3) {
        0 => vector(random, depth),
        1 => a.clone(),
        _ => selector(random),
    };
    format!("({a}) {op}{matching} ({b})")
}
