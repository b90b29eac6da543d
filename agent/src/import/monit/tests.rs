//! Monit's control files, right and broken.
//!
//! Invariant: what is written is right by our own reader.

use std::fs;

use super::super::Note;
use super::*;
use crate::config::{Source, Terms};

fn import(text: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("monitrc");
    fs::write(&main, text).unwrap();
    let imported = monit(&[main]).unwrap();
    let notes: Vec<_> = imported.notes.iter().map(Note::to_string).collect();
    (imported.yaml, notes.join("\n").replace(&format!("{}/", folder.path().display()), ""))
}

#[track_caller]
fn is_right(yaml: &str) {
    let source = Source::Embedded { name: "agent.yml", text: yaml.to_owned() };
    if let Err(diagnostics) = source.load(Terms { once: true, ..Terms::default() }) {
        panic!("{diagnostics}\n{yaml}");
    }
}

const FILE: &str = r#"
set daemon 30   # cycles
check process nginx with pidfile /run/nginx.pid
  if failed port 80 protocol http request "/up" for 3 cycles then alert
  if totalmem > 200.0 MB for 5 cycles then alert
check process worker matching "celery worker"
check file backup with path /var/backups/db.gz
  if timestamp > 25 hours then alert
  if size < 1 MB then alert
check host gw with address 192.0.2.1
  if failed ping then alert
  if failed port 22 protocol ssh then alert
check program up with path "/bin/true -x 'a b'"
  if status != 0 then alert
check system here
  if loadavg (5min) > 4 then alert
"#;

#[test]
fn checks_become_probes() {
    let (yaml, _) = import(FILE);
    for expected in [
        "- name: \"nginx http port 80\"\n  interval: 30s\n  retries: 2\n  probe: {http: {url: \"http://localhost:80/up\"}}\n",
        "- name: \"nginx\"\n  interval: 30s\n  retries: 4\n  probe: {process: {name: \"nginx\", thresholds: {memory: {crit: \"~:209715200\"}}}}\n",
        "probe: {process: {command_matches: \"celery worker\"}}\n",
        "probe: {file: {path: \"/var/backups/db.gz\", thresholds: {age: {crit: \"~:90000\"}, size: {crit: \"1048576:\"}}}}\n",
        "- name: \"gw ping\"\n  interval: 30s\n  probe: {icmp: {host: \"192.0.2.1\"}}\n",
        "probe: {ssh: {address: \"192.0.2.1:22\"}}\n",
        "probe: {script: {command: [\"/bin/true\", \"-x\", \"a b\"]}}\n",
        "select: node_load5, crit: \"~:4\"",
    ] {
        assert!(yaml.contains(expected), "{expected}\nin: {yaml}");
    }
    is_right(&yaml);
}

#[test]
fn what_is_not_converted_is_told() {
    let check = |text: &str, expected: &str| {
        let (yaml, notes) = import(text);
        assert!(notes.contains(expected), "{expected}\nin: {notes}");
        is_right(&yaml);
    };
    let with = |test: &str| format!("check process a with pidfile /run/a.pid\n{test}\n");
    check(&with(""), "monitrc:1: `a` is watched by the name `a`");
    check(
        &with("if cpu > 60% for 2 cycles then alert"),
        "monitrc:2: `if cpu > 60% for 2 cycles` is not",
    );
    check(&with("if totalmem > 1 GB then restart"), "`restart` is not done here");
    check(&with("start program = \"/bin/x\""), "nothing is started or stopped here");
    check(&with("every 2 cycles"), "`every` is not converted");
    check(&with("depends on b"), "`depends` is not converted");
    check(
        "check filesystem root with path /\n if space usage > 80% then alert",
        "node_filesystem_avail_bytes",
    );
    check("set mailserver localhost", "`set mailserver` is not converted");
    check("check file x", "names nothing to look at");
    check("if failed port 1 then alert", "outside of a check");
    check("include /none/x", "cannot be read");
    check("check program p with path \"/bin/true | x\"", "means something to a shell only");
    check("check program p with path \"/bin/true --password hunter2\"", "has a secret");
}

#[test]
fn nothing_that_is_broken_ends_us() {
    let texts = [
        "check",
        "check process",
        "\"",
        "'",
        "if",
        "if then",
        "set",
        "set daemon",
        "set daemon x",
        "include",
        "#",
        "check file a path",
        "check file a path /x\nif size > then alert",
        "check file a path /x\nif size > 1e999 gb then",
        "check file a path /x\nif timestamp >",
        "check host h address h\nif failed port 99999 protocol then",
        "cycles",
        "\u{1f980}",
        "check system s\nif loadavg(1min) > x",
        "check process p matching \"(\"",
    ];
    for text in texts {
        let (yaml, _) = import(&format!("{FILE}{text}"));
        if !text.contains('(') {
            is_right(&yaml);
        }
    }
}
