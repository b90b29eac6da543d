//! The agent's life: bad configurations, a port in use, reload, end; and its commands.

use std::path::Path;

use tests::program::{End, run};
use tests::wait_until;

use crate::stage::Stage;

/// Faults of every kind, each in a line of its own.
const FAULTY: &str = "\
labels: {check: x}
colour: red
host: {disable: [cpus]}
checks:
  - {name: a, interval: 5s, timeout: 1h, probe: {tcp: {address: nowhere}}}
  - {name: a, cron: 'x', probe: {script: {command: [/no/such]}}}
services:
  shop: {needs: []}
";

/// The places that a report of `FAULTY` names.
const PLACES: [&str; 8] = ["1:17", "2:1", "3:18", "5:38", "5:65", "6:12", "6:21", "8:17"];

#[track_caller]
fn assert_names_every_fault(report: &str, file: &Path) {
    let file = file.display();
    for place in PLACES {
        assert!(report.contains(&format!("{file}:{place}: ")), "{place} is missing in\n{report}");
    }
}

#[test]
fn every_fault_of_a_configuration_is_told_at_once_and_nothing_is_started() {
    let stage = Stage::with(FAULTY);
    let (end, printed, told) = stage.check();
    assert_eq!((end, printed.as_str()), (End::Exit(2), ""));
    assert_names_every_fault(&told, &stage.path("agent.yml"));

    let config = stage.text("agent.yml");
    let started = run("veilleur-agent", ["--config", &config, "--listen", "127.0.0.1:0"]);
    assert_eq!(started.0, End::Exit(2));
    assert_names_every_fault(&started.2, &stage.path("agent.yml"));
    assert!(!started.2.contains("listening"), "{}", started.2);
    assert_eq!(stage.run_once(&[]).0, End::Exit(2));
}

#[test]
fn a_good_configuration_is_told_so() {
    let stage = Stage::with(
        "checks:\n  - {name: a, interval: 5s, probe: {tcp: {address: '127.0.0.1:1'}}}\n\
         services: {shop: {needs: [a]}}\n",
    );
    let told = stage.check();
    assert_eq!(told, (End::Exit(0), "ok: 1 check, 1 service\n".to_owned(), String::new()));
}

#[test]
fn a_missing_configuration_is_told_in_one_line() {
    let (end, _, told) = run("veilleur-agent", ["check", "/no/such/agent.yml"]);
    assert_eq!(end, End::Exit(2));
    assert!(told.contains("/no/such/agent.yml") && told.lines().count() == 1, "{told}");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let stage = Stage::with("checks: []");
    let first = stage.start();
    let address = first.url.strip_prefix("http://").unwrap();
    let config = stage.text("agent.yml");
    let (end, _, told) = run("veilleur-agent", ["--config", &config, "--listen", address]);
    assert_eq!(end, End::Exit(1));
    let expected = format!(
        "veilleur-agent: cannot listen on {address}: the port is in use; stop what uses it, or \
         choose another with --listen\n"
    );
    assert_eq!(told, expected);
}

#[test]
fn it_ends_when_it_is_told_to() {
    let stage = Stage::with(
        "checks:\n  - {name: hangs, interval: 1s, retries: 0, \
         probe: {script: {command: [/bin/sleep, '1000']}}}\n",
    );
    for signal in ["TERM", "INT"] {
        let mut agent = stage.start();
        wait_until("the check has run", || agent.runs("hangs") > 0.0);
        agent.program.signal(signal);
        assert_eq!(agent.program.wait(), End::Exit(0), "{}", agent.program.log());
        assert!(agent.program.log().contains("stopped"), "{}", agent.program.log());
    }
}

#[test]
fn a_reload_takes_what_is_right_and_keeps_the_old_where_it_is_not() {
    let check = |name: &str| {
        let probe = "probe: {script: {command: [/bin/true]}}";
        format!("checks:\n  - {{name: {name}, interval: 1s, {probe}}}\n")
    };
    let stage = Stage::with(&check("first"));
    let agent = stage.start();
    agent.wait_for("veilleur_check_status{check=\"first\"}", 0.0);
    assert_eq!(agent.value("veilleur_config_last_reload_successful"), Some(1.0));

    stage.configure(FAULTY);
    agent.program.signal("HUP");
    agent.wait_for("veilleur_config_last_reload_successful", 0.0);
    assert_names_every_fault(&agent.program.log(), &stage.path("agent.yml"));
    let (status, health) = agent.health();
    assert_eq!((status, health["status"].as_str()), (200, Some("warn")));
    assert!(health["notes"][0].as_str().unwrap().contains("agent.yml:2:1: "), "{health}");
    let before = agent.runs("first");
    wait_until("the old check goes on", || agent.runs("first") > before);

    stage.configure(&check("second"));
    agent.program.signal("HUP");
    agent.wait_for("veilleur_check_status{check=\"second\"}", 0.0);
    agent.wait_for("veilleur_config_last_reload_successful", 1.0);
    assert!(!agent.metrics().contains("check=\"first\""));
    assert_eq!(agent.health().0, 200);
}

#[test]
fn run_once_ends_with_the_worst_status() {
    let stage = Stage::new();
    let plugin = stage.program("plugin", "#!/bin/sh\necho \"it is $1 | n=$1\"\nexit \"$1\"\n");
    let check = |code: &str| {
        let probe = format!("probe: {{script: {{command: [{plugin}, '{code}']}}}}");
        format!("  - {{name: c{code}, interval: 1h, {probe}}}\n")
    };
    stage.configure(&format!("checks:\n{}", ["0", "1", "2", "3"].map(check).concat()));
    for code in 0..4 {
        let (end, printed, _) = stage.run_once(&["--check", &format!("c{code}")]);
        assert_eq!(end, End::Exit(code), "{printed}");
        assert!(printed.starts_with(&format!("c{code} ")), "{printed}");
        assert!(printed.contains(&format!("it is {code}")), "{printed}");
    }
    let (end, printed, _) = stage.run_once(&[]);
    assert_eq!((end, printed.lines().count()), (End::Exit(2), 4), "{printed}");
    let (end, _, told) = stage.run_once(&["--check", "c00"]);
    assert_eq!(end, End::Exit(2));
    assert!(told.contains("there is no check `c00`; did you mean `c0`?"), "{told}");
}
