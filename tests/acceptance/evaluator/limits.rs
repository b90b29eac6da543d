//! Targets that send more series than anybody wants, and starts that read them again: F36, F37, F38.
//!
//! Invariant: what one target does costs itself alone; each test says what its numbers stand for.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::{ask, wait_until};

use crate::rig::Evaluator;

/// One more than a scrape may have by default; stands for an exporter with five million.
const TOO_MANY: usize = 500_001;

/// A line for each job.
fn jobs(all: &[(&str, &HttpServer)]) -> String {
    let job = |(name, server): &(&str, &HttpServer)| {
        format!("- {{job_name: {name}, static_configs: [{{targets: ['{}']}}]}}\n", server.address())
    };
    all.iter().map(job).collect()
}

/// The targets of `job`.
fn target(evaluator: &Evaluator, job: &str) -> Value {
    let data = evaluator.data("/api/v1/targets");
    let all = data["activeTargets"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|target| target["labels"]["job"] == job).unwrap_or_default()
}

#[test]
fn an_exporter_with_far_too_much_is_up_0_by_default_with_its_reason_f37() {
    let many: String = (0..TOO_MANY).map(|n| format!("bomb{{n=\"{n}\"}} 1\n")).collect();
    let labels: Vec<String> = (0..300).map(|n| format!("l{n}=\"v\"")).collect();
    let labels = format!("bomb{{{}}} 1\n", labels.join(","));
    let long = format!("bomb{{l=\"{}\"}} 1\n", "x".repeat(70_000));
    let serve = |text: String| HttpServer::start(move |_| Reply::text(&text));
    let (good, many) = (serve("sample 1\n".to_owned()), serve(many));
    let (labels, long) = (serve(labels), serve(long));
    let all = [("good", &good), ("many", &many), ("labels", &labels), ("long", &long)];
    let mut evaluator = Evaluator::with(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{}",
        // Time enough for half a million lines.
        jobs(&all)
            .replace("job_name: many", "job_name: many, scrape_interval: 10s, scrape_timeout: 10s")
    ));
    let before = evaluator.program().peak();
    for (job, expected) in [
        ("many", "more than 500000 samples"),
        ("labels", "labels, more than 256"),
        ("long", "65536 bytes"),
    ] {
        wait_until(expected, || {
            target(&evaluator, job)["lastError"].as_str().is_some_and(|e| e.contains(expected))
        });
        wait_until("it is up 0", || evaluator.value(&format!("up{{job='{job}'}}")) == "0");
    }
    assert_eq!(evaluator.value("count(bomb)"), "", "something of it is stored");
    // Who is well is scraped all the time.
    assert_eq!(evaluator.value("min_over_time(up{job='good'}[5m])"), "1");
    let grown = evaluator.program().peak() - before;
    assert!(grown < 400, "{grown} MiB for a scrape that is refused");
}

#[test]
fn a_gzip_bomb_costs_no_memory_and_is_up_0_with_its_reason_f38() {
    // A gigabyte in some megabytes; stands for ten.
    let bomb = |text: &str| {
        let pack = format!("{text} | head -c 1000000000 | gzip -1");
        let packed = Command::new("sh").args(["-c", &pack]).output().unwrap().stdout;
        assert!(packed.len() < 10_000_000, "{}", packed.len());
        let head = "content-encoding: gzip\r\ncontent-type: text/plain\r\n";
        HttpServer::start(move |_| Reply::Answer(200, head.to_owned(), packed.clone()))
    };
    let (lines, line) = (bomb("yes '# a comment'"), bomb("cat /dev/zero"));
    let good = HttpServer::start(|_| Reply::text("sample 1\n"));
    let scrape = "global: {scrape_interval: 5s, scrape_timeout: 5s}\nscrape_configs:\n";
    let mut evaluator = Evaluator::with(&format!("{scrape}{}", jobs(&[("good", &good)])));
    wait_until("it is scraped", || evaluator.value("sample") == "1");
    let before = evaluator.program().peak();
    let all = [("good", &good), ("lines", &lines), ("line", &line)];
    evaluator.write("veilleur.yml", &format!("{scrape}{}", jobs(&all)));
    evaluator.program().signal("HUP");
    for (job, expected) in [("lines", "the body is over its limit"), ("line", "65536 bytes")] {
        wait_until(expected, || {
            target(&evaluator, job)["lastError"].as_str().is_some_and(|e| e.contains(expected))
        });
        wait_until("it is up 0", || evaluator.value(&format!("up{{job='{job}'}}")) == "0");
    }
    wait_until("who is well is scraped", || evaluator.value("up{job='good'}") == "1");
    // Half of what a body may have: none is held, and the rest of the start may fall into it.
    let grown = evaluator.program().peak() - before;
    assert!(grown <= 64, "{grown} MiB for what is refused");
}

#[test]
fn labels_that_never_repeat_fill_no_more_than_their_share_f37() {
    // 2,000 series stand for the five million that are allowed by default.
    const MOST: f64 = 2000.0;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let bomb = HttpServer::start(|_| {
        let from = NEXT.fetch_add(500, Ordering::SeqCst);
        Reply::text(
            &(from..from + 500).map(|n| format!("bomb{{n=\"{n}\"}} 1\n")).collect::<String>(),
        )
    });
    let good = HttpServer::start(|_| Reply::text("sample 1\n"));
    let begun = HttpServer::start(|_| {
        Reply::text(&(0..100).map(|n| format!("begun{{n=\"{n}\"}} 1\n")).collect::<String>())
    });
    let config = |all: &[(&str, &HttpServer)]| {
        format!("global: {{scrape_interval: 500ms}}\nscrape_configs:\n{}", jobs(all))
    };
    let mut evaluator = Evaluator::new();
    evaluator.write("veilleur.yml", &config(&[("bomb", &bomb), ("good", &good)]));
    evaluator.start_with(&["--max-series", "2000"]);
    wait_until("it is refused", || target(&evaluator, "bomb")["health"] == "down");
    let error = target(&evaluator, "bomb")["lastError"].as_str().unwrap().to_owned();
    assert!(error.contains("the job `bomb` has") && error.contains("--max-series"), "{error}");
    let asked = bomb.asked().len();
    wait_until("it goes on for some scrapes", || bomb.asked().len() > asked + 5);
    assert!(evaluator.own("veilleur_storage_refused_series") >= 5.0);
    let health = evaluator.get("/health").unwrap().1;
    assert!(health.contains("new series were refused"), "{health}");
    // What is new elsewhere is stored, and what was there goes on.
    evaluator
        .write("veilleur.yml", &config(&[("bomb", &bomb), ("good", &good), ("begun", &begun)]));
    let url = format!("http://127.0.0.1:{}/-/reload", evaluator.port);
    assert_eq!(ask("POST", &url, "", "").unwrap().0, 200);
    wait_until("what is new is stored", || evaluator.value("count(begun)") == "100");
    wait_until("the bomb is up 0", || evaluator.value("up{job='bomb'}") == "0");
    assert_eq!(evaluator.value("min_over_time(up{job=~'good|begun'}[5m])"), "1");
    let series = evaluator.own("veilleur_storage_series");
    assert!(series <= MOST, "{series} series");
    // The same is true after a start, which reads all of it again.
    evaluator.kill();
    evaluator.start_with(&["--max-series", "2000"]);
    wait_until("it is scraped again", || evaluator.own("veilleur_scrapes_total") > 6.0);
    let series = evaluator.own("veilleur_storage_series");
    assert!(series <= MOST, "{series} series");
    assert_eq!(evaluator.value("up{job='good'}"), "1");
}

#[test]
fn reading_everything_again_takes_little_more_memory_than_having_it_f36() {
    let many: String = (0..50_000).map(|n| format!("many{{n=\"{n}\"}} {n}\n")).collect();
    let many = HttpServer::start(move |_| Reply::text(&many));
    let mut evaluator = Evaluator::new();
    let jobs = jobs(&[("many", &many)]);
    evaluator.write(
        "veilleur.yml",
        &format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{jobs}"),
    );
    evaluator.start();
    wait_until("there are samples", || {
        evaluator.own("veilleur_storage_appended_samples_total") > 1e6
    });
    let steady = evaluator.program().peak();
    evaluator.kill();
    // Nobody to scrape: what is held now was read.
    evaluator.write("veilleur.yml", "scrape_configs: []\n");
    evaluator.start();
    assert!(evaluator.own("veilleur_storage_series") >= 50_000.0);
    let read = evaluator.program().peak();
    println!("{steady} MiB before the kill, {read} MiB after reading it again");
    assert!(read * 10 <= steady * 11, "{read} MiB to read what took {steady} MiB");
    // With a lower limit it takes no more of them than that.
    evaluator.kill();
    evaluator.start_with(&["--max-series", "1000"]);
    assert!(evaluator.own("veilleur_storage_series") <= 1000.0);
    assert!(evaluator.program().peak() < read);
    let log = evaluator.program().log();
    assert!(log.contains("are left out"), "{log}");
    assert!(evaluator.path("data/samples/left-out").is_dir());
}
