//! Probes of what is on the host, and what the host's metrics have beyond the kernel's counters.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::program::End;

use crate::stage::Stage;

#[test]
fn a_log_is_counted_once_also_across_a_restart_of_the_agent() {
    let stage = Stage::new();
    let append = |text: &str| {
        let mut options = std::fs::OpenOptions::new();
        let mut log = options.create(true).append(true).open(stage.path("app.log")).unwrap();
        log.write_all(text.as_bytes()).unwrap();
    };
    append("ERROR before anybody looked\n");
    let (log, state) = (stage.text("app.log"), stage.text("state.json"));
    stage.configure(&format!(
        "checks:\n- name: log\n  interval: 200ms\n  retries: 0\n  probe:\n    log: {{path: {log}, \
         state: {state}, window: 1h, patterns: [{{name: errors, matches: ERROR, crit: 1}}]}}\n"
    ));
    let matches =
        format!("veilleur_log_matches_total{{check=\"log\",path=\"{log}\",pattern=\"errors\"}}");
    let mut agent = stage.start();
    agent.wait_for("veilleur_check_status{check=\"log\"}", 0.0);
    append("ERROR 1\nfine\nERROR 2\n");
    agent.wait_for(&matches, 2.0);
    agent.wait_for("veilleur_check_reason{check=\"log\",reason=\"pattern-found\"}", 1.0);
    agent.program.signal("TERM");
    assert_eq!(agent.program.wait(), End::Exit(0), "{}", agent.program.log());
    append("ERROR while nobody looked\n");
    std::fs::rename(stage.path("app.log"), stage.path("app.log.1")).unwrap();
    append("fine\nERROR after the rotation\n");
    let agent = stage.start();
    agent.wait_for(&matches, 4.0);
}

#[test]
fn every_kind_says_what_it_found_when_run_once() {
    let stage = Stage::new();
    let text = "patterns: [{name: e, matches: x}]";
    let state = stage.text("state.json");
    std::fs::write(stage.path("backup.gz"), "content").unwrap();
    let root = stage.text("");
    stage.configure(&format!(
        "checks:\n\
         - {{name: file, interval: 1m, probe: {{file: {{path: '{root}*.gz', thresholds: {{age: {{crit: 3600}}}}}}}}}}\n\
         - {{name: old, interval: 1m, probe: {{file: {{path: '{root}none', missing: warning}}}}}}\n\
         - {{name: process, interval: 1m, probe: {{process: {{name: veilleur-agent}}}}}}\n\
         - {{name: port, interval: 1m, probe: {{port: {{listening: [tcp/1]}}}}}}\n\
         - {{name: cert, interval: 1m, probe: {{certificate: {{path: '{root}*.gz'}}}}}}\n\
         - {{name: log, interval: 1m, probe: {{log: {{path: '{root}none', state: {state}, {text}}}}}}}\n"
    ));
    let (end, out, error) = stage.run_once(&[]);
    assert_eq!(end, End::Exit(2), "{out}{error}");
    for (check, status, words) in [
        ("file", "ok", "has 7 bytes"),
        ("old", "warning", "there is no `"),
        ("process", "ok", "processes"),
        ("port", "critical", "nobody listens on tcp/1;"),
        ("cert", "critical", "holds no certificate"),
        ("log", "critical", "there is no `"),
    ] {
        let line = out.lines().find(|line| line.starts_with(&format!("{check} ")));
        let line = line.unwrap_or_else(|| panic!("{check} is missing in {out}"));
        assert!(line.contains(status) && line.contains(words), "{line}");
    }
}

/// A pipe that nobody writes to stands for a sensor that does not answer.
#[test]
fn a_sensor_that_hangs_has_failed_and_hides_nothing_else() {
    let stage = Stage::new();
    let zone = "sys/class/thermal/thermal_zone0";
    std::fs::create_dir_all(stage.path(zone)).unwrap();
    std::fs::create_dir(stage.path("text")).unwrap();
    std::fs::write(stage.path("text/a.prom"), "left_by_another 17\n").unwrap();
    std::fs::write(stage.path("text/bad.prom"), "???\n").unwrap();
    for pipe in [format!("{zone}/type"), "text/pipe.prom".to_owned()] {
        assert!(Command::new("mkfifo").arg(stage.path(&pipe)).status().unwrap().success());
    }
    stage.configure(&format!(
        "host:\n  collector_timeout: 500ms\n  paths: {{sysfs: {}}}\n  textfile: {{directories: [{}]}}\n",
        stage.text("sys"),
        stage.text("text")
    ));
    let agent = stage.start();
    agent.metrics();
    let begun = Instant::now();
    for _ in 0..5 {
        let metrics = agent.metrics();
        let failed = "node_scrape_collector_success{collector=\"thermal_zone\"} 0";
        assert!(metrics.contains(&format!("\n{failed}\n")), "{metrics}");
        for series in ["left_by_another 17", "node_textfile_scrape_error 1", "node_load1 "] {
            assert!(metrics.contains(&format!("\n{series}")), "{series} is missing in\n{metrics}");
        }
        assert_eq!(metrics.matches("\nveilleur_textfile_error{").count(), 2, "{metrics}");
    }
    // It was waited for once.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
