//! A log that nobody takes, and events that would write more than their own line: F50, X42.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use tests::program::End;
use tests::{ask, exchange, wait_until};

use crate::stage::{BOTH, Kind, Running};

const DROPPED: &str = "veilleur_log_lines_dropped_total";

fn busy(kind: Kind) -> &'static str {
    match kind {
        Kind::Agent => {
            "host: {enabled: false}\nchecks: [{name: a, interval: 100ms, timeout: 90ms, retries: 0, \
             probe: {script: {command: [/bin/true]}}}]\n"
        }
        Kind::Evaluator => {
            "global: {scrape_interval: 100ms, scrape_timeout: 100ms}\nscrape_configs:\n- job_name: t\n  \
             static_configs: [{targets: ['127.0.0.1:1']}]\n"
        }
    }
}

fn work(running: &Running) -> f64 {
    running.value(match running.kind {
        Kind::Agent => "veilleur_check_runs_total",
        Kind::Evaluator => "veilleur_scrapes_total",
    })
}

/// A program whose standard error is what `redirection` says goes on with its work, and ends when it
/// is told to.
fn check(kind: Kind, redirection: &str, drops: bool) {
    let shell = format!("exec \"$@\" {redirection}");
    let mut running = Running::under(kind, busy(kind), &shell, &["--log-level", "trace"]);
    let begun = work(&running);
    if drops {
        wait_until(&format!("{kind:?} {redirection}: lines are dropped"), || {
            // Each request is told at this level.
            running.value(DROPPED) > 0.0
        });
    }
    wait_until("work goes on", || work(&running) >= begun + 10.0);
    running.program.signal("HUP");
    let begun = work(&running);
    wait_until("work goes on after a reload", || work(&running) >= begun + 10.0);
    assert_eq!(running.value(DROPPED) > 0.0, drops, "{kind:?} {redirection}");
    running.program.signal("TERM");
    assert_eq!(running.program.wait(), End::Exit(0), "{kind:?} {redirection}");
}

#[test]
fn a_log_that_cannot_be_written_stops_nobody_f50() {
    for kind in BOTH {
        check(kind, "2>/dev/full", true);
        // It is opened as /dev/null then, by the standard library.
        check(kind, "2>&-", false);
    }
}

#[test]
fn a_log_that_nobody_reads_stops_nobody_f50() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Whoever could read, and does not; the pipe is full already.
    const NON_BLOCKING: i32 = 0o4000;
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).custom_flags(NON_BLOCKING);
    let mut reader = options.open(&pipe).unwrap();
    while reader.write(&[b'x'; 4096]).is_ok() {}
    for kind in BOTH {
        check(kind, &format!("2>{}", pipe.display()), true);
    }
    drop(reader);
}

#[test]
fn a_log_whose_reader_has_gone_stops_nobody_f50() {
    for kind in BOTH {
        check(kind, "2> >(exec 0<&-)", true);
    }
}

/// What rotates logs renames the file, and then sends the signal by which others open a new one.
#[test]
fn the_signals_of_logrotate_kill_nobody_f50() {
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        let (log, old) = (folder.path().join("log"), folder.path().join("log.1"));
        let shell = format!("exec \"$@\" 2>>{}", log.display());
        let running = Running::under(kind, busy(kind), &shell, &[]);
        fs::rename(&log, &old).unwrap();
        for signal in ["USR1", "USR2", "USR1", "HUP"] {
            running.program.signal(signal);
        }
        wait_until("it reads its configuration again, and says so", || {
            fs::read_to_string(&old).unwrap().lines().count() >= 2
        });
        assert!(running.is_alive() && !log.exists());
    }
}

/// Whether each line of a log is one event: it begins with a time, and nothing in it acts.
fn is_clean(log: &str) -> bool {
    log.lines().all(|line| {
        let begins = line.len() > 20 && line.as_bytes()[4] == b'-' && line.contains('Z');
        begins && line.len() <= 17 << 10 && !line.chars().any(char::is_control)
    })
}

#[test]
fn whatever_is_logged_is_one_line_x42() {
    let evil =
        "\\n2026-01-01T00:00:00.000000Z ERROR forged\\r\\033[2J\\033]0;x\\007\\342\\200\\256";
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("evil");
    tests::write_program(&script, &format!("#!/bin/sh\nprintf 'a{evil}'\nexit 2\n"));
    let config = format!(
        "host: {{enabled: false}}\nchecks:\n- {{name: a, interval: 500ms, retries: 0, probe: {{script: \
         {{command: [{0}]}}}}}}\n- {{name: b, interval: 500ms, retries: 0, probe: {{script: \
         {{command: [/bin/sh, -c, 'head -c 60000 /dev/zero | tr \"\\000\" x; exit 2']}}}}}}\n",
        script.display()
    );
    let agent = Running::under(Kind::Agent, &config, "exec \"$@\"", &["--log-level", "trace"]);
    wait_until("both are told", || agent.program.log().matches("something is wrong").count() >= 2);
    let config = busy(Kind::Evaluator);
    let evaluator =
        Running::under(Kind::Evaluator, config, "exec \"$@\"", &["--log-level", "trace"]);
    for running in [&agent, &evaluator] {
        let url = |path: &str| running.url(path);
        let _ = ask("GET", &url("/%0a%1b[31m?x=%0d%0aforged"), "", "");
        let _ = exchange("GET", &url("/"), "user-agent: \u{1b}[31mx\u{202e}\r\n", "");
        let body = "x\n".repeat(5 << 20);
        let _ = ask("POST", &url("/api/v1/write"), "", &body);
        let _ = ask("POST", &url("/metrics/job/x"), "", &body);
        running.talk(b"GET /\x1b[31m\n\nforged HTTP/1.1\r\n\r\n");
        let log = running.program.log();
        assert!(is_clean(&log), "{:?}: {log}", running.kind);
        assert!(
            !log.lines()
                .any(|line| line.contains("ERROR forged") && line.starts_with("2026-01-01"))
        );
    }
    let long = agent.program.log();
    let long = long.lines().find(|line| line.contains("xxxx")).unwrap();
    assert!(long.len() < 5 << 10, "{}", long.len());
}
