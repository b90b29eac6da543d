//! The same rules over the same targets, beside a real Prometheus: the same alerts at the same
//! evaluation.
//!
//! Both scrape a target whose values change by the clock, the page of another Prometheus and, where it
//! is there, node_exporter's; both judge [`RULES`] and every file of the `rule-sets` that Prometheus
//! takes. Then `ALERTS` of both are laid side by side. `BESIDE_SECONDS` says for how long (60); who has
//! more than five minutes judges every five seconds, else every two.
//!
//! What is there for less than an interval may be seen by one of them only. The pages of programs change
//! at every look, so [`Held`] shows each number for an interval of those who look at it: both see the same.
//! What a program that judges shows of itself moves with its judging, so another one is watched. What one
//! of them had for a single evaluation is no difference.
//!
//! Invariant: an alert that one of them has and the other has not, or that changes at another time
//! than the two differ by nature in (when each scrapes and judges), is a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use base::sample::Timestamp;
use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{ask, escaped, peers, wait_until};

/// How far two changes may be apart, in intervals: each sees the target up to one late, and judges up
/// to one later; and one more for a machine that does something else.
const APART: i64 = 3;
/// The interval of the groups of the rule sets, which are many, in those of the target's rules.
const SETS: i64 = 10;

/// What we say is the file of the rules that we bring.
const BUILTIN: &str = "built-in";

/// `@5s` stands for five intervals.
const RULES: &str = r#"
groups:
- name: waves
  interval: @1s
  rules:
  - {record: 'wave:high:sum', expr: sum by (period) (wave > bool 50)}
  - {alert: High, expr: 'wave > 50', labels: {severity: page}, annotations: {summary: '{{ $labels.period }} is at {{ $value }}'}}
  - {alert: HighForLong, expr: 'wave{period=~"2[0-9]|4[0-9]"} > 50', for: @5s}
  - {alert: HighKept, expr: 'wave{period="20"} > 50', keep_firing_for: @6s}
  - {alert: NeverLongEnough, expr: 'wave{period="12"} > 50', for: 1h}
  - {alert: Recorded, expr: 'wave:high:sum > 0'}
  - {alert: Rising, expr: 'rate(steps_total[@10s]) > 0.5'}
  - {alert: Absent, expr: 'absent(sometimes)'}
  - {alert: Gone, expr: 'absent_over_time(sometimes[@4s])'}
  - {alert: Slow, expr: 'histogram_quantile(0.9, rate(seconds_bucket[@10s])) > 0.5'}
  - {alert: FlakyDown, expr: 'up{job="flaky"} == 0', for: @2s}
  - {alert: Together, expr: 'wave{period="20"} > 50 and on() wave{period="40"} > 50'}
  - {alert: Always, expr: 'vector(1)'}
"#;

/// The rules with their times, for an interval in seconds.
fn rules(interval: i64) -> String {
    let mut pieces = RULES.split('@');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        let (count, rest) = piece.split_once('s').unwrap();
        text + &format!("{}s{rest}", count.parse::<i64>().unwrap() * interval)
    })
}

/// The page of the target at a moment, in thousandths of an interval: waves of several periods, a counter
/// that now rises and now does not, a histogram whose answers become slow, a series that is there half
/// of the time.
fn shown(millis: i64) -> String {
    let high = |period: i64| millis.rem_euclid(period * 1000) < period * 500;
    let mut page = String::from("# TYPE wave gauge\n");
    for period in [12, 20, 26, 40] {
        let _ =
            writeln!(page, "wave{{period=\"{period}\"}} {}", if high(period) { 90 } else { 10 });
    }
    // It rises by ten in a second for half of the time.
    let (turn, within) = (millis.div_euclid(40_000), millis.rem_euclid(40_000).min(20_000));
    let steps = |each: i64| (turn % 1000) * 20 * each + within * each / 1000;
    let _ = writeln!(page, "# TYPE steps counter\nsteps_total {}", steps(10));
    let (fast, all) = (millis / 100, millis / 100 + steps(10));
    let _ = writeln!(page, "# TYPE seconds histogram\nseconds_bucket{{le=\"0.1\"}} {fast}");
    let _ = writeln!(page, "seconds_bucket{{le=\"1\"}} {all}\nseconds_bucket{{le=\"+Inf\"}} {all}");
    let _ = writeln!(page, "seconds_count {all}\nseconds_sum {all}");
    if high(28) {
        page.push_str("sometimes 1\n");
    }
    page
}

/// Pages of programs: what counts is shown as it was at the beginning of its interval, and gauges as
/// they were at the beginning of the rule sets' one.
struct Held {
    interval: i64,
    sets_interval: i64,
    /// By address and whether it is for the gauges, with the number of the time.
    pages: Mutex<BTreeMap<(String, bool), (i64, String)>>,
}

impl Held {
    fn page(&self, address: &str) -> Reply {
        let now = Timestamp::now().millis() / 1000;
        let counted = self.held(address, false, now / self.interval);
        let gauges = self.held(address, true, now / self.sets_interval);
        let (Some(counted), Some(gauges)) = (counted, gauges) else { return Reply::status(503) };
        let gauges: BTreeMap<_, _> = families(&gauges).collect();
        let shown = families(&counted).map(|(head, family)| match gauges.get(head) {
            Some(held) if head.ends_with(" gauge") => held,
            _ => family,
        });
        Reply::text(&shown.collect::<String>())
    }

    fn held(&self, address: &str, gauges: bool, time: i64) -> Option<String> {
        let mut pages = self.pages.lock().unwrap();
        let key = (address.to_owned(), gauges);
        if let Some((_, page)) = pages.get(&key).filter(|(of, _)| *of == time) {
            return Some(page.clone());
        }
        let (status, page) = ask("GET", &format!("http://{address}/metrics"), "", "")?;
        let page = (status == 200).then_some(page)?;
        pages.insert(key, (time, page.clone()));
        Some(page)
    }
}

/// The families of a page, with the lines that say their names and types.
fn families(page: &str) -> impl Iterator<Item = (&str, &str)> {
    let begins: Vec<_> = page.match_indices("# TYPE ").map(|(at, _)| at).collect();
    let ends: Vec<_> = begins.iter().skip(1).copied().chain([page.len()]).collect();
    begins.into_iter().zip(ends).map(|(begin, end)| {
        let family = &page[begin..end];
        (family.lines().next().unwrap_or_default(), family)
    })
}

/// The rule sets that Prometheus takes.
fn sets() -> Option<Vec<String>> {
    let folder = peers::conformance("rule-sets")?.canonicalize().unwrap();
    let manifest = std::fs::read_to_string(folder.join("manifest.tsv")).unwrap();
    let rows = manifest.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let taken = rows.filter(|row| row.get(4) == Some(&"ok"));
    Some(taken.map(|row| folder.join(row[0]).display().to_string()).collect())
}

/// The name of an alert whose labels are `labels`, as JSON.
fn alert_name(labels: &str) -> String {
    let labels: Value = serde_json::from_str(labels).unwrap();
    labels["alertname"].as_str().unwrap().to_owned()
}

/// What a program says of alerts: for each, the moments at which it was there.
type Times = BTreeMap<String, BTreeSet<i64>>;

struct Side {
    url: String,
    _program: Program,
}

impl Side {
    fn data(&self, path: &str) -> Value {
        let body = ask("GET", &format!("{}{path}", self.url), "", "").map(|(_, body)| body);
        let body: Value = serde_json::from_str(&body.unwrap_or_default()).unwrap_or_default();
        body["data"].clone()
    }

    /// Every alert, pending or firing, in each second of a time.
    fn alerts(&self, from: i64, until: i64) -> Times {
        let query = escaped("ALERTS");
        let data = self
            .data(&format!("/api/v1/query_range?query={query}&start={from}&end={until}&step=1"));
        let series = data["result"].as_array().unwrap().iter();
        let times = |series: &Value| {
            let values = series["values"].as_array().unwrap().iter();
            values.map(|value| value[0].as_f64().unwrap() as i64).collect()
        };
        series.map(|series| (series["metric"].to_string(), times(series))).collect()
    }

    /// The rules that cannot be evaluated, by their names, and how many there are in all, but for
    /// those that we bring.
    fn failing(&self) -> (BTreeSet<String>, usize) {
        let data = self.data("/api/v1/rules");
        let groups = data["groups"].as_array().unwrap().iter();
        let groups = groups.filter(|group| group["file"] != BUILTIN);
        let rules: Vec<_> = groups.flat_map(|group| group["rules"].as_array().unwrap()).collect();
        let failing = rules.iter().filter(|rule| rule["health"] == "err");
        let name = |rule: &&&Value| format!("{}: {}", rule["name"], rule["lastError"]);
        (failing.map(|rule| name(&rule)).collect(), rules.len())
    }

    /// The rules that we bring.
    fn builtin(&self) -> BTreeSet<String> {
        let data = self.data("/api/v1/rules?type=alert");
        let groups = data["groups"].as_array().unwrap().iter();
        let groups = groups.filter(|group| group["file"] == BUILTIN);
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect()
    }

    fn is_judged(&self) -> bool {
        let data = self.data("/api/v1/rules");
        let groups = data["groups"].as_array().into_iter().flatten();
        let mut rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
        rules.clone().next().is_some() && rules.all(|rule| rule["health"] != "unknown")
    }
}

/// Where one of the two has an alert between `from` and `until` that the other has not; `limits` says how
/// far changes may be apart, and for how many seconds it must go on.
fn differences(
    (ours, theirs): (&Times, &Times),
    (from, until): (i64, i64),
    limits: impl Fn(&str) -> (i64, i64),
) -> Vec<String> {
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let none = BTreeSet::new();
        let [ours, theirs] = [ours, theirs].map(|side| side.get(name).unwrap_or(&none));
        let (apart, least) = limits(name);
        for (who, some, others) in [("ours", ours, theirs), ("theirs", theirs, ours)] {
            let alone = |time: &&i64| others.range(*time - apart..=*time + apart).next().is_none();
            let alone = some.range(from..=until).filter(alone);
            for (first, last) in stretches(alone.copied()) {
                if last - first >= least {
                    found.push(format!("only {who} has {name}, from {first} to {last}"));
                }
            }
        }
    }
    found
}

/// The first and the last of each row of times without a gap.
fn stretches(times: impl Iterator<Item = i64>) -> Vec<(i64, i64)> {
    let mut found: Vec<(i64, i64)> = Vec::new();
    for time in times {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == time => *last = time,
            _ => found.push((time, time)),
        }
    }
    found
}

#[test]
fn a_difference_is_found() {
    let times = |times: &[i64]| Times::from([("a".to_owned(), times.iter().copied().collect())]);
    let check = |ours: &[i64], theirs: &[i64], expected: usize| {
        let found = differences((&times(ours), &times(theirs)), (0, 9), |_| (2, 0));
        assert_eq!(found.len(), expected, "{ours:?} {theirs:?} {found:?}");
    };
    check(&[1, 2, 3], &[2, 3, 4, 5], 0);
    check(&[1, 2, 3], &[2, 3, 4, 5, 6], 1);
    check(&[1], &[9], 2);
    check(&[], &[1], 1);
    check(&[8], &[8, 9, 10, 11], 0);
}

#[test]
fn the_same_alerts_at_the_same_evaluation_as_prometheus() {
    let (Some(prometheus), Some(sets)) = (peers::program("prometheus"), sets()) else { return };
    let seconds = std::env::var("BESIDE_SECONDS").ok().and_then(|text| text.parse().ok());
    let seconds: i64 = seconds.unwrap_or(60);
    let interval = if seconds > 300 { 5 } else { 2 };
    let (apart, sets_interval) = (APART * interval, SETS * interval);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let ports = [free_port(), free_port(), free_port(), free_port()];
    let held = Held { interval, sets_interval, pages: Mutex::default() };
    let target = HttpServer::start(move |asked| {
        let millis = Timestamp::now().millis() / interval;
        match asked.path.as_str() {
            // It fails for a third of the time.
            "/flaky" if millis.rem_euclid(30_000) < 10_000 => Reply::status(500),
            "/prometheus" => held.page(&format!("127.0.0.1:{}", ports[3])),
            "/node" => held.page(&format!("127.0.0.1:{}", ports[2])),
            _ => Reply::text(&shown(millis)),
        }
    });
    let exporter = peers::program("prometheus-node-exporter").map(|program| {
        let mut command = Command::new(program);
        command.arg(format!("--web.listen-address=127.0.0.1:{}", ports[2]));
        command.args(["--no-collector.systemd", "--no-collector.textfile", "--log.level=error"]);
        Program::spawn(command)
    });
    let files: Vec<_> = sets.iter().map(|file| format!("- '{file}'\n")).collect();
    let yaml = format!(
        "global: {{scrape_interval: {interval}s, evaluation_interval: {sets_interval}s}}\n\
         rule_files:\n- waves.yml\n{}scrape_configs:\n\
         - job_name: waves\n  static_configs: [{{targets: ['{1}']}}]\n\
         - job_name: flaky\n  metrics_path: /flaky\n  static_configs: [{{targets: ['{1}']}}]\n\
         - job_name: prometheus\n  metrics_path: /prometheus\n  static_configs: [{{targets: ['{1}']}}]\n\
         - job_name: node\n  metrics_path: /node\n  static_configs: [{{targets: ['{1}']}}]\n",
        files.concat(),
        target.address(),
    );
    std::fs::write(path("waves.yml"), rules(interval)).unwrap();
    std::fs::write(path("prometheus.yml"), yaml).unwrap();
    let own = [
        ["--config.prometheus".to_owned(), path("prometheus.yml")],
        ["--rules.on-missing".to_owned(), "resolve".to_owned()],
        ["--data".to_owned(), path("ours")],
        ["--listen".to_owned(), format!("127.0.0.1:{}", ports[0])],
    ];
    let prometheus = |config: &str, data: &str, port: u16| {
        let mut command = Command::new(&prometheus);
        command
            .arg(format!("--config.file={}", path(config)))
            .arg(format!("--storage.tsdb.path={}", path(data)))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error");
        Program::spawn(command)
    };
    let itself = format!(
        "scrape_configs: [{{job_name: itself, scrape_interval: {interval}s, \
         static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]\n",
        ports[3]
    );
    std::fs::write(path("watched.yml"), itself).unwrap();
    let watched = prometheus("watched.yml", "watched", ports[3]);
    let [ours, theirs] = [
        (ports[0], Program::start("veilleur", own.concat())),
        (ports[1], prometheus("prometheus.yml", "theirs", ports[1])),
    ]
    .map(|(port, program)| Side { url: format!("http://127.0.0.1:{port}"), _program: program });
    for side in [&ours, &theirs] {
        wait_until("every rule has been judged", || side.is_judged());
    }
    // What was there before both judged is not compared: an alert is as old as its evaluator.
    let from = Timestamp::now().millis() / 1000 + 2 * sets_interval;
    let until = from + seconds;
    let most = apart + sets_interval;
    while Timestamp::now().millis() / 1000 < until + most {
        std::thread::sleep(Duration::from_millis(200));
    }

    let ((our_failing, count), (their_failing, their_count)) = (ours.failing(), theirs.failing());
    assert_eq!(count, their_count);
    let [mut a, b] = [&ours, &theirs].map(|side| side.alerts(from - most, until + most));
    let builtin = ours.builtin();
    assert!(!builtin.is_empty());
    a.retain(|name, _| !builtin.contains(&alert_name(name)));
    let is_own = |name: &str| RULES.contains(&format!("alert: {},", alert_name(name)));
    let limits = |name: &str| if is_own(name) { (apart, interval) } else { (most, sets_interval) };
    let found = differences((&a, &b), (from, until), limits);
    let (shared, all) = (b.keys().filter(|name| a.contains_key(*name)).count(), b.len());
    println!(
        "{count} rules, {seconds} s beside Prometheus: {shared} of its {all} alerts are ours, \
         {} differences",
        found.len()
    );
    drop((exporter, watched));
    assert_eq!(our_failing, their_failing, "rules that cannot be evaluated");
    assert!(all > 15, "there is something to compare: {b:?}");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
