//! Test files of the whole chain, and the way through the routes: what is known before it happens.
//!
//! Invariant: what the document shows is what is tried here.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::program::{End, run};

pub(crate) fn document() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join("docs/explaining.md")).unwrap()
}

/// Writes the files that the document shows into `folder`.
pub(crate) fn files_of_the_document(folder: &Path) {
    for block in document().split("```yaml\n# ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, rest.split("```").next().unwrap()).unwrap();
    }
}

/// Runs `veilleur` with arguments that have no blanks; gives its exit status and what it printed.
fn veilleur(arguments: &[&str]) -> (i32, String, String) {
    let (end, out, err) = run("veilleur", arguments);
    let End::Exit(status) = end else { panic!("{arguments:?}: {end:?}") };
    (status, out, err)
}

#[test]
fn the_chain_of_the_document_is_as_its_test_says() {
    let dir = tempfile::tempdir().unwrap();
    files_of_the_document(dir.path());
    let file = dir.path().join("chain/chain_test.yml");
    let path = file.to_str().unwrap();
    let (status, out, err) = veilleur(&["test", path]);
    assert_eq!((status, out.as_str()), (0, format!("{path}: ok: 3 tests\n").as_str()), "{err}");
    let right = fs::read_to_string(&file).unwrap();
    // The failure that the document shows.
    let document = document();
    let shown = document.split("```text\nchain_test.yml:").nth(1).unwrap();
    let shown = format!("chain_test.yml:{}", shown.split("```").next().unwrap());
    fs::write(&file, right.replace("at: 6m30s", "at: 7m30s")).unwrap();
    let (_, _, err) = veilleur(&["test", path]);
    let folder = format!("{}/", file.parent().unwrap().display());
    assert_eq!(err.replace(&folder, ""), shown);
    // What is changed in the file, and what is told then, with its place.
    let cases: &[(&str, &str, &str, &[&str])] = &[
        (
            "at: 6m30s",
            "at: 7m30s",
            "  - at: 7m30s",
            &["`chat` is not told as expected", "got:      at 6m30s"],
        ),
        (
            "reason: inhibited",
            "reason: silenced",
            "    - {labels: {alertname: Slow",
            &[
                "is not held back at 10m",
                "got:      {alertname=\"Slow\"",
                "inhibited by {alertname=\"Down\"",
            ],
        ),
        (
            "eval_time: 6m",
            "eval_time: 5m",
            "  - eval_time: 5m",
            &[
                "the alerts `Down` at 5m (Fri 2026-11-20 09:05:00 CET) are not as expected",
                "got:      nothing like it",
            ],
        ),
        (
            "summary: web1 is down",
            "summary: web1 is up",
            "  - eval_time: 6m",
            &["web1 is up", "got:      {alertname=\"Down\"", "web1 is down"],
        ),
        ("text: 'Down'", "text: 'Up'", "  - at: 6m30s", &["text /Up/", "its text: "]),
        ("by: [slack]", "by: [email]", "  - {at: 30m", &["by email"]),
        (
            "2026-11-20 11:50",
            "2026-11-20 09:50",
            "    - {labels: {instance: web1}, reason: muted",
            &["expected: {instance=\"web1\"} muted", "no such alert is held back"],
        ),
        (
            "until: 30m",
            "until: 5m",
            "    alerts: [{labels: {instance: web1}, reason: silenced",
            &["expected: {instance=\"web1\"} silenced by /deploy/"],
        ),
        (
            "receiver: chat\n",
            "receiver: chta\n",
            "    receiver: chta",
            &["there is no receiver `chta`"],
        ),
        (
            "Europe/Paris\n  interval",
            "Europe/Pari\n  interval",
            "  start: 2026-11-20 09:00 Europe/Pari",
            &["`Europe/Pari` is not a time zone"],
        ),
        (
            "config: veilleur.yml",
            "rule_files: [rules.yml]",
            "  - at: 10m",
            &["`held` without a configuration"],
        ),
        ("config: veilleur.yml", "config: none.yml", "", &["none.yml: cannot be read"]),
        (
            "alert_rule_test",
            "alert_rules_test",
            "  alert_rules_test",
            &["unknown setting `alert_rules_test`", "did you mean `alert_rule_test`?"],
        ),
    ];
    for (from, to, line, told) in cases {
        assert!(right.contains(from), "{from}");
        let wrong = right.replacen(from, to, 1);
        fs::write(&file, &wrong).unwrap();
        let (status, _, err) = veilleur(&["test", path]);
        assert_eq!(status, 1, "{to}: {err}");
        for part in *told {
            assert!(err.contains(part), "{to}: {part} is not in:\n{err}");
        }
        if !line.is_empty() {
            let number = 1 + wrong.lines().position(|l| l.starts_with(line)).unwrap();
            assert!(err.contains(&format!("chain_test.yml:{number}:")), "{to}: {number}\n{err}");
        }
    }
}

#[test]
fn a_test_that_is_chosen_by_name_is_run_alone() {
    let dir = tempfile::tempdir().unwrap();
    files_of_the_document(dir.path());
    let file = dir.path().join("chain/chain_test.yml");
    let path = file.to_str().unwrap();
    let (status, out, _) = veilleur(&["test", "rules", "--run", "lunch", path]);
    assert_eq!((status, out.as_str()), (0, format!("{path}: ok: 1 test\n").as_str()));
    assert_eq!(veilleur(&["test", "--run", "(", path]).0, 2);
    assert_eq!(veilleur(&["test"]).0, 2);
    assert_eq!(veilleur(&["test", "/nowhere.yml"]).0, 1);
}

#[test]
fn windows_of_maintenance_and_a_watchdog_are_taken_along() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write(
        "veilleur.yml",
        "builtin_rules: {enabled: false}\nrule_files: [rules.yml]\nroute: {receiver: hook, group_wait: 0s}\n\
         watchdog: {url: 'http://127.0.0.1:9/x', interval: 1m}\n\
         maintenance:\n- name: disks\n  matchers: [host=db1]\n  settle: 0s\n  \
         zone: Europe/Paris\n  time_intervals: [{times: [{start_time: '02:00', end_time: '03:00'}]}]\n\
         receivers: [{name: hook, webhook_configs: [{url: 'http://127.0.0.1:9/'}]}]\n",
    );
    write("rules.yml", "groups: [{name: g, rules: [{alert: Full, expr: free < 1}]}]\n");
    write(
        "test.yml",
        "config: veilleur.yml\nevaluation_interval: 1m\ntests:\n- start: 2026-11-20 02:30 Europe/Paris\n  \
         input_series: [{series: 'free{host=\"db1\"}', values: '0x60'}]\n  \
         held: [{at: 10m, alerts: [{labels: {host: db1}, reason: maintenance, by: disks}]}]\n  \
         notifications: [{at: 30m, within: 6m, receiver: hook, status: firing}]\n",
    );
    let path = dir.path().join("test.yml");
    let (status, out, err) = veilleur(&["test", path.to_str().unwrap()]);
    assert_eq!(status, 0, "{out}{err}");
}

#[test]
fn the_way_of_an_alert_through_the_routes_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    files_of_the_document(dir.path());
    let config = dir.path().join("chain/veilleur.yml");
    let config = config.to_str().unwrap();
    let test = |more: &[&str]| {
        let mut arguments = vec!["routes", "test", "--config.file", config];
        arguments.extend(more);
        veilleur(&arguments)
    };
    let slow = ["--label", "severity=page", "alertname=Slow", "instance=web1"];
    let (status, out, _) = test(&[&slow[..], &["--at", "2026-11-20T11:30:00Z"]].concat());
    assert_eq!(status, 0);
    for part in [
        "everything to mail: matches, and a route below takes it",
        "{severity=\"page\"} to chat: takes it",
        "group {}/{severity=\"page\"}:{alertname=\"Slow\", instance=\"web1\"}",
        "told after 30s, then every 5m, again after 4h",
        "mute in lunch: tells nobody at this time, because of lunch",
        "by chat/slack/0",
        "held back while {alertname=\"Down\",instance=\"web1\"} fires (down is not slow)",
        "receivers: chat\n",
    ] {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }
    let (status, out, _) = test(&["alertname=Slow", "severity=low", "--verify.receivers", "mail"]);
    assert_eq!(status, 0);
    assert!(out.contains("no: severity=\"page\", and it is \"low\""), "{out}");
    let (status, _, err) = test(&["alertname=Slow", "--verify.receivers=mail,chat"]);
    assert_eq!(
        (status, err.as_str()),
        (1, "veilleur: the receivers are `mail`, not `mail,chat`\n")
    );
    let (_, out, _) = test(&[&slow[..], &["--json", "--at", "2026-11-20T13:30:00Z"]].concat());
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["routes"][1]["mutedBy"], serde_json::json!([]));
    assert_eq!(json["routes"][1]["lanes"][0], "chat/slack/0");
    assert_eq!(test(&["nothing"]).0, 2);
    assert_eq!(test(&["a=b", "--at", "noon"]).0, 2);
    let (status, out, _) = veilleur(&["routes", "show", "--config.file", config]);
    assert_eq!(status, 0);
    assert!(
        out.contains("  {severity=\"page\"} to chat  [by alertname, instance; after 30s"),
        "{out}"
    );
}

#[test]
fn features_of_prometheus_are_asked_for_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("names_test.yml");
    let text = "tests:\n- input_series: [{series: a_total, values: 0+60x4}]\n  \
        promql_expr_test:\n  - expr: label_replace(rate(a_total[2m]), 'from', '$1', '__name__', '(.+)')\n    \
        eval_time: 4m\n    exp_samples: [{labels: '{from=\"a_total\"}', value: 1}]\n";
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let (status, _, err) = veilleur(&["test", path]);
    assert_eq!(status, 1, "the name goes with the rate: {err}");
    let names = "--enable-feature=native-histograms,promql-delayed-name-removal";
    let (status, _, err) = veilleur(&["test", names, path]);
    assert_eq!(status, 0, "{err}");
    for command in [&["test", "--enable-feature=later", path][..], &["--enable-feature=later"]] {
        let (status, _, err) = veilleur(command);
        assert_eq!(status, 2, "{err}");
        assert!(err.contains("there is no feature `later` here"), "{err}");
    }
}
