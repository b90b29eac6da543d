//! `storage:` of the configuration: what each of its settings does to samples and exemplars; and what
//! is told of files that it names.
//!
//! Invariant: beside what a setting takes away stands what it leaves.

use std::fs;
use std::path::Path;

use base::sample::Timestamp;
use serde_json::{Value, json};
use tests::http_server::Reply;
use tests::program::{End, run};
use tests::{ask, escaped, wait_until};

use crate::remote::traced;
use crate::rig::Evaluator;

/// A day in 2025, at the begin of a window of two hours.
const BEGIN: i64 = 1_757_376_000;
const MINUTES: i64 = 540;

fn evaluator(storage: &str) -> Evaluator {
    Evaluator::with(&config(storage))
}

fn config(storage: &str) -> String {
    format!("builtin_rules: {{enabled: false}}\nstorage: {storage}\n")
}

/// Pushes a sample of so many seconds ago, with an exemplar for each of these traces; the answer.
fn push(evaluator: &Evaluator, now: i64, before: i64, traces: &[&str]) -> (u16, String) {
    let time = ((now - before * 1000) * 1_000_000).to_string();
    let example = |trace: &&str| json!({"timeUnixNano": time, "asDouble": 1, "traceId": trace});
    let exemplars: Vec<Value> = traces.iter().map(example).collect();
    let point = json!({"timeUnixNano": time, "asInt": "1", "exemplars": exemplars});
    let sum = json!({"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point]});
    let metrics = json!([{"metrics": [{"name": "calls", "sum": sum}]}]);
    let body = json!({"resourceMetrics": [{"scopeMetrics": metrics}]}).to_string();
    let url = format!("http://127.0.0.1:{}/api/v1/otlp/v1/metrics", evaluator.port);
    ask("POST", &url, "content-type: application/json\r\n", &body).unwrap()
}

#[test]
fn samples_may_come_late_within_the_window_f40() {
    let now = Timestamp::now().millis();
    for (storage, kept) in [
        ("{tsdb: {out_of_order_time_window: 30m}}", "2"),
        ("{tsdb: {out_of_order_time_window: 1h}}", "3"),
        ("{}", "1"),
    ] {
        let evaluator = evaluator(storage);
        assert_eq!(push(&evaluator, now, 0, &[]), (200, "{}".to_owned()));
        for before in [1200, 2400] {
            push(&evaluator, now, before, &[]);
        }
        assert_eq!(evaluator.value("count_over_time(calls_total[2h])"), kept, "{storage}");
    }
}

#[test]
fn so_many_exemplars_are_kept() {
    let now = Timestamp::now().millis();
    for (storage, kept) in [
        ("{exemplars: {max_exemplars: 2}}", &["0b", "0c"][..]),
        ("{exemplars: {max_exemplars: 3}}", &["0a", "0b", "0c"]),
        ("{exemplars: {max_exemplars: 0}}", &[]),
        ("{exemplars: {max_exemplars: -1}}", &[]),
        ("{}", &["0a", "0b", "0c"]),
    ] {
        let evaluator = evaluator(storage);
        for (before, trace) in [(3, "0a"), (2, "0b"), (1, "0c")] {
            assert_eq!(push(&evaluator, now, before, &[trace]).0, 200);
        }
        assert_eq!(traces(&evaluator, "calls_total", now), kept, "{storage}");
    }
}

/// The traces of the exemplars of a metric, from about `now`.
fn traces(evaluator: &Evaluator, metric: &str, now: i64) -> Vec<String> {
    let (from, to) = (now / 1000 - 600, now / 1000 + 600);
    let path = format!("/api/v1/query_exemplars?query={metric}&start={from}&end={to}");
    let data = evaluator.data(&path);
    let found = data[0]["exemplars"].as_array().cloned().unwrap_or_default();
    let trace = |one: &Value| one["labels"]["trace_id"].as_str().unwrap().to_owned();
    found.iter().map(trace).collect()
}

#[test]
fn exemplars_outlive_kills_f31() {
    let (now, target) = (Timestamp::now().millis(), traced());
    let mut evaluator = Evaluator::with(&format!(
        "global: {{scrape_interval: 300ms}}\nbuiltin_rules: {{enabled: false}}\nscrape_configs:\n\
         - {{job_name: rooms, static_configs: [{{targets: ['{}']}}]}}\n",
        target.address()
    ));
    for (before, trace) in [(3, "0a"), (2, "0b"), (1, "0c")] {
        assert_eq!(push(&evaluator, now, before, &[trace]).0, 200);
    }
    let scraped = |evaluator: &Evaluator| traces(evaluator, "calls_seconds_total", now);
    wait_until("there are some of the target", || scraped(&evaluator).len() >= 3);
    target.reply_with(|_| Reply::Answer(500, String::new(), Vec::new()));
    let up = |evaluator: &Evaluator| evaluator.value("up");
    wait_until("it gives no more", || up(&evaluator) == "0");
    let known = scraped(&evaluator);
    for _ in 0..2 {
        evaluator.kill();
        evaluator.start();
        assert_eq!(traces(&evaluator, "calls_total", now), ["0a", "0b", "0c"]);
        assert_eq!(scraped(&evaluator), known);
    }
    // What a sender sends again is known, and goes on.
    assert_eq!(push(&evaluator, now, 1, &["0c"]).0, 200);
    assert_eq!(push(&evaluator, now, 0, &["0d"]).0, 200);
    assert_eq!(traces(&evaluator, "calls_total", now), ["0a", "0b", "0c", "0d"]);
}

/// A sample a minute for nine hours, of which three windows of two are in blocks.
fn import(evaluator: &Evaluator) {
    let sample = |minute: i64| {
        let value = (minute * 7919 % 1000) as f64 / 8.0;
        format!("disk_use {value:?} {}\n", BEGIN + minute * 60)
    };
    let text: String = (0..MINUTES).map(sample).collect();
    evaluator.write("samples.om", &(text + "# EOF\n"));
    let path = |name: &str| evaluator.path(name).display().to_string();
    let (data, file) = (path("data"), path("samples.om"));
    let (end, _, err) = run("veilleur", ["storage", "import", "--data", &data, &file]);
    assert!(matches!(end, End::Exit(0)), "{err}");
}

/// The sizes of the files in a folder, by their names.
fn sizes(folder: &Path) -> Vec<u64> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap()).collect();
    files.sort_by_key(fs::DirEntry::file_name);
    files.iter().map(|file| file.metadata().unwrap().len()).collect()
}

#[test]
fn what_is_too_old_or_too_much_goes_and_the_rest_stays() {
    let [mut by_time, mut by_size, mut unlimited] = [(); 3].map(|()| Evaluator::new());
    for evaluator in [&by_time, &by_size, &unlimited] {
        import(evaluator);
    }
    let samples = by_size.path("data/samples");
    let (blocks, log) = (sizes(&samples.join("blocks")), sizes(&samples.join("log")));
    assert_eq!(blocks.len(), 3);
    // One block is too many.
    let most = blocks.iter().chain(&log).sum::<u64>() - blocks[0] / 2;
    by_time.write("veilleur.yml", &config("{tsdb: {retention: {time: 4h}}}"));
    by_size.write("veilleur.yml", &config(&format!("{{tsdb: {{retention: {{size: {most}B}}}}}}")));
    unlimited.write("veilleur.yml", &config("{tsdb: {retention: {time: 0s, size: 0B}}}"));
    for evaluator in [&mut by_time, &mut by_size, &mut unlimited] {
        evaluator.start();
    }
    let at = |minute: i64| BEGIN + minute * 60;
    let query = escaped(&format!("count_over_time(disk_use[{MINUTES}m])"));
    let count = |evaluator: &Evaluator| {
        let path = format!("/api/v1/query?query={query}&time={}", at(MINUTES - 1));
        evaluator.data(&path)["result"][0]["value"][1].as_str().unwrap_or("0").to_owned()
    };
    assert_eq!(count(&unlimited), MINUTES.to_string());
    // Two windows are more than four hours older than the newest sample, and one block too large.
    wait_until("old blocks go", || count(&by_time) == "300");
    wait_until("the oldest block goes", || count(&by_size) == "420");
    assert_eq!(count(&unlimited), MINUTES.to_string());
    for (evaluator, blocks) in [(&by_time, 1), (&by_size, 2), (&unlimited, 3)] {
        assert_eq!(sizes(&evaluator.path("data/samples/blocks")).len(), blocks);
    }
}

#[test]
fn files_that_are_not_there_are_told_unless_only_the_text_is_looked_at() {
    let evaluator = Evaluator::new();
    evaluator.write(
        "veilleur.yml",
        "scrape_configs:\n- job_name: a\n  authorization: {credentials_file: none.token}\n\
         - job_name: b\n  tls_config: {ca_file: none.pem}\n- job_name: c\n  static_configs:\n\
         \x20 - targets: ['https://page.example/']\n  relabel_configs:\n\
         \x20 - {source_labels: [__address__], target_label: __param_target}\n\
         \x20 - {target_label: __address__, replacement: 'prober:9115'}\nrule_files: [none.yml]\n",
    );
    let file = evaluator.path("veilleur.yml").display().to_string();
    let check = |more: &[&str]| {
        let (end, _, err) = run("veilleur", [&["check"][..], more, &[file.as_str()]].concat());
        (end, err)
    };
    let (end, said) = check(&[]);
    assert_eq!(end, End::Exit(2));
    for expected in [":5:15: cannot read", ":12:14: there is no file"] {
        assert!(said.contains(expected), "{expected} in {said}");
    }
    let (end, said) = check(&["--syntax-only"]);
    assert_eq!((end, said.as_str()), (End::Exit(0), ""));
    // Of what is read when it is used nothing else need be wrong.
    evaluator.write(
        "veilleur.yml",
        "scrape_configs: [{job_name: a, authorization: {credentials_file: none.token}}]\n",
    );
    let (end, said) = check(&[]);
    assert_eq!(end, End::Exit(2));
    assert!(said.contains(":1:47: there is no file `"), "{said}");
    assert!(said.contains("none.token` for `credentials_file`"), "{said}");
    assert_eq!(check(&["--syntax-only"]).0, End::Exit(0));
}

#[test]
fn what_is_not_done_is_refused_with_its_place() {
    let evaluator = Evaluator::new();
    for (storage, expected) in [
        ("{tsdb: {retention: {percentage: 50}}}", "2:42: `percentage` has no use here"),
        ("{tsdb: {retention: {percentage: 101}}}", "`percentage` is not between 0 and 100"),
        (
            "{tsdb: {stale_series_compaction_threshold: 0.5}}",
            "`stale_series_compaction_threshold` has no use here",
        ),
        ("{tsdb: {retention: {size: much}}}", "2:"),
        ("{tsdb: {retention_size: 1GB}}", "retention_size"),
    ] {
        evaluator.write("veilleur.yml", &config(storage));
        let file = evaluator.path("veilleur.yml").display().to_string();
        let (end, _, err) = run("veilleur", ["check", &file]);
        assert!(matches!(end, End::Exit(2)) && err.contains(expected), "{storage}: {err}");
    }
}
