//! Rules are checked, tried and looked at against a running evaluator, from the command line.
//!
//! Invariant: what is told is of samples that the test has stored.

use std::path::Path;
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use storage::{Point, Storage};
use tests::program::{End, run};

use super::rig::Evaluator;

const MINUTE: i64 = 60_000;

/// Two hours of a gauge, a value a minute until now: 1, and 9 for half an hour in the middle.
fn store(folder: &Path, now: Timestamp) {
    std::fs::create_dir_all(folder).unwrap();
    let storage = Storage::open(folder, storage::Options::default()).unwrap();
    let labels = [("__name__", "queue_length"), ("job", "shop"), ("instance", "a")];
    let series = storage.series(&Labels::from_pairs(labels)).unwrap();
    let begin = now.millis() - 120 * MINUTE;
    let points: Vec<_> = (0..120)
        .map(|minute| {
            let timestamp = Timestamp::from_millis(begin + minute * MINUTE);
            let value = if (40..70).contains(&minute) { 9.0 } else { 1.0 };
            Point { series, timestamp, value }
        })
        .collect();
    storage.append(&points).unwrap();
    storage.sync().unwrap();
}

fn rules(threshold: u32, hold: &str) -> String {
    format!(
        "groups:\n- name: g\n  interval: 1m\n  rules:\n  - alert: Long\n    \
         expr: queue_length > {threshold}\n    for: {hold}\n"
    )
}

#[test]
fn rules_are_tried_over_what_is_stored() {
    let mut evaluator = Evaluator::new();
    let now = Timestamp::now();
    store(&evaluator.path("data/samples"), now);
    evaluator.write("veilleur.yml", "builtin_rules: {enabled: false}\n");
    evaluator.write("new.yml", &rules(5, "10m"));
    evaluator.write("old.yml", &rules(20, "10m"));
    evaluator.write(
        "dead.yml",
        "groups:\n- name: g\n  rules:\n  - {record: 'a:b', expr: 'rate(gone_total[5m])'}\n",
    );
    evaluator.start();
    let url = format!("http://127.0.0.1:{}", evaluator.port);
    let file = |name: &str| evaluator.path(name).display().to_string();
    let veilleur = |arguments: &[&str]| {
        let (end, out, said) = run("veilleur", arguments);
        (end, format!("{out}{said}"))
    };

    let until = now.seconds().to_string();
    let files = [file("new.yml"), file("old.yml"), file("dead.yml")];
    let [new, old, dead] = files.each_ref().map(String::as_str);
    let backtest = ["backtest", "--url", &url, "--since", "3h", "--until", &until];
    let (end, said) = veilleur(&[&backtest[..], &[new]].concat());
    assert_eq!(end, End::Exit(0), "{said}");
    assert!(said.starts_with("Long: fires 1 time, "), "{said}");
    assert!(said.contains("{instance=\"a\", job=\"shop\"}"), "{said}");

    let (end, said) = veilleur(&[&backtest[..], &[new, "--against", old]].concat());
    assert_eq!(end, End::Exit(0), "{said}");
    assert!(said.contains("before: never fires; 1 added, 0 gone\n+ "), "{said}");

    let (end, said) = veilleur(&["check", "rules", "--strict", new]);
    assert_eq!((end, said.as_str()), (End::Exit(0), &*format!("{new}: ok: 1 rule in 1 group\n")));
    let (end, said) = veilleur(&["check", "rules", "--strict", "--url", &url, new, dead]);
    assert_eq!(end, End::Exit(1), "{said}");
    assert!(said.contains("`gone_total` of `a:b` has matched nothing for 1h"), "{said}");
    assert!(!said.contains("queue_length"), "{said}");

    let at = (now - Duration::from_secs(60)).seconds().to_string();
    let (end, said) = veilleur(&["query", "--url", &url, "--time", &at, "queue_length"]);
    assert_eq!(end, End::Exit(0));
    assert_eq!(said, "queue_length{instance=\"a\",job=\"shop\"}  1\n");
    let range = ["query-range", "--url", &url, "--since", "2h", "--until", &until, "queue_length"];
    let (end, said) = veilleur(&range);
    assert_eq!(end, End::Exit(0));
    assert!(said.contains('█') && said.ends_with("min 1  last 1  max 9\n"), "{said}");
    let (end, said) = veilleur(&["query", "--url", &url, "rate("]);
    assert_eq!(end, End::Exit(1));
    assert!(said.contains("unclosed left parenthesis"), "{said}");
}

/// Recording rules of one file, and an alert that reads the last of them.
fn recorded(threshold: u32, factor: u32) -> String {
    format!(
        "groups:\n- name: g\n  interval: 1m\n  labels: {{team: web}}\n  rules:\n  \
         - {{record: 'job:queue:max', expr: 'max by (job) (queue_length) * {factor}'}}\n  \
         - {{record: 'job:queue:smooth', expr: 'avg_over_time(job:queue:max[5m])', labels: {{kind: mean}}}}\n  \
         - {{alert: Smooth, expr: 'job:queue:smooth{{kind=\"mean\"}} > {threshold}'}}\n  \
         - {{alert: Both, expr: 'job:queue:max > on (job) 2 * queue_length'}}\n"
    )
}

#[test]
fn alerts_are_tried_that_read_recording_rules_which_are_new() {
    let mut evaluator = Evaluator::new();
    let now = Timestamp::now();
    let samples = evaluator.path("data/samples");
    store(&samples, now);
    // What is stored under the name of one of them must not count.
    {
        let storage = Storage::open(&samples, storage::Options::default()).unwrap();
        let labels = [("__name__", "job:queue:smooth"), ("kind", "mean"), ("job", "other")];
        let series = storage.series(&Labels::from_pairs(labels)).unwrap();
        let points = (0..100).map(|n| Point {
            series,
            timestamp: Timestamp::from_millis(now.millis() - (110 - n) * MINUTE),
            value: 1000.0,
        });
        storage.append(&points.collect::<Vec<_>>()).unwrap();
        storage.sync().unwrap();
    }
    evaluator.write("veilleur.yml", "builtin_rules: {enabled: false}\n");
    evaluator.write("new.yml", &recorded(5, 1));
    evaluator.write("old.yml", &recorded(50, 3));
    evaluator.start();
    let url = format!("http://127.0.0.1:{}", evaluator.port);
    let file = |name: &str| evaluator.path(name).display().to_string();
    let (new, old) = (file("new.yml"), file("old.yml"));
    let until = now.seconds().to_string();
    let backtest = |more: &[&str]| {
        let asked = ["backtest", "--url", &url, "--since", "3h", "--until", &until];
        let (end, out, said) = run("veilleur", [&asked[..], more].concat().as_slice());
        assert_eq!(end, End::Exit(0), "{out}{said}");
        out
    };
    // 9 for half an hour: the mean of five minutes is above 5 from the third minute of it to the second
    // after it, and 30 minutes long, whatever the first second is.
    let said = backtest(&[&new]);
    let smooth = said.lines().find(|line| line.starts_with("Smooth: ")).unwrap();
    assert_eq!(smooth, "Smooth: fires 1 time, 30m in all, 30m at the longest, 1 series", "{said}");
    assert!(said.contains("{job=\"shop\", kind=\"mean\", team=\"web\"}"), "{said}");
    assert!(!said.contains("other"), "{said}");
    assert!(said.contains("Both: never fires\n"), "{said}");
    // With the factor of three it is above twice the queue wherever there is one.
    let said = backtest(&[&new, "--against", &old]);
    let changes = "Smooth: fires 1 time, 30m in all, 30m at the longest, 1 series; before: never fires; 1 added, 0 gone\n+ ";
    assert!(said.contains(changes), "{said}");
    assert!(said.contains("Both: never fires; before: fires 1 time, "), "{said}");
    assert!(said.contains("; 0 added, 1 gone\n- "), "{said}");
    // From the first step behind the first sample until now.
    let both = backtest(&[&old]);
    let both = both.lines().find(|line| line.starts_with("Both: ")).unwrap();
    let lengths = ["Both: fires 1 time, 1h59m", "Both: fires 1 time, 2h "];
    assert!(lengths.iter().any(|length| both.starts_with(length)), "{both}");
}
