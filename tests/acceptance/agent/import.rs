//! Moving in: the configurations that Debian's packages of Nagios, Icinga 2 and Monit bring, turned
//! into ours, and run.
//!
//! Invariant: what is written passes our own check, and a plugin gives the same result as by hand.

use std::fs;
use std::process::Command;

use tests::peers;
use tests::program::{End, run};

/// What becomes of `file`, once it has passed the check.
#[track_caller]
fn import(kind: &str, file: &str, checks: usize) -> Option<(tempfile::TempDir, String)> {
    let file = peers::configuration(file)?;
    let (end, yaml, notes) =
        run("veilleur-agent", ["import".as_ref(), kind.as_ref(), file.as_os_str()]);
    assert_eq!(end, End::Exit(0), "{notes}");
    assert!(notes.lines().all(|note| note.split(':').nth(1).is_some()), "{notes}");
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("agent.yml");
    fs::write(&written, &yaml).unwrap();
    let (end, said, log) = run("veilleur-agent", ["check".as_ref(), written.as_os_str()]);
    assert_eq!(end, End::Exit(0), "{log}\n{yaml}");
    let checks = base::number::counted(checks, "check");
    assert_eq!(said, format!("ok: {checks}, 0 services\n"), "{notes}\n{yaml}");
    Some((folder, yaml))
}

/// Runs checks by their names, and their plugins by hand.
#[track_caller]
fn same_as_by_hand(folder: &tempfile::TempDir, yaml: &str, names: &[&str]) {
    for name in names {
        let (_, rest) = yaml.split_once(&format!("- name: \"{name}\"\n")).unwrap();
        let (_, rest) = rest.split_once("command: ").unwrap();
        let words = rest.split_once(']').unwrap().0.to_owned() + "]";
        let words: Vec<String> = serde_json::from_str(&words).unwrap();
        let status = Command::new(&words[0]).args(&words[1..]).output().unwrap().status;
        let file = folder.path().join("agent.yml");
        let arguments = [
            "run-once".as_ref(),
            "--config".as_ref(),
            file.as_os_str(),
            "--check".as_ref(),
            name.as_ref(),
        ];
        let (end, said, log) = run("veilleur-agent", arguments);
        assert_eq!(end, End::Exit(status.code().unwrap()), "{words:?}\n{said}{log}");
    }
}

#[test]
fn nagios_moves_in() {
    let Some((folder, yaml)) = import("nagios", "etc/nagios4/nagios.cfg", 9) else { return };
    let names = ["Root Partition", "Current Users", "Swap Usage", "Total Processes"];
    let names: Vec<_> = names.iter().map(|name| format!("localhost: {name}")).collect();
    same_as_by_hand(&folder, &yaml, &names.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn icinga2_moves_in() {
    let Some((folder, yaml)) = import("icinga2", "etc/icinga2/icinga2.conf", 12) else { return };
    same_as_by_hand(&folder, &yaml, &["localhost: disk /", "localhost: users", "localhost: swap"]);
}

#[test]
fn monit_moves_in() {
    // Its own file only has examples in comments; each package has one besides.
    import("monit", "etc/monit/monitrc", 0);
    for name in ["nginx", "openssh-server", "memcached", "postfix"] {
        let Some(file) = peers::configuration(&format!("etc/monit/conf-available/{name}")) else {
            return;
        };
        let (end, yaml, notes) =
            run("veilleur-agent", ["import".as_ref(), "monit".as_ref(), file.as_os_str()]);
        assert_eq!(end, End::Exit(0), "{notes}");
        assert!(yaml.contains("probe: {process: {name: "), "{yaml}");
        let folder = tempfile::tempdir().unwrap();
        let written = folder.path().join("agent.yml");
        fs::write(&written, &yaml).unwrap();
        let (end, _, log) = run("veilleur-agent", ["check".as_ref(), written.as_os_str()]);
        assert_eq!(end, End::Exit(0), "{log}\n{yaml}");
    }
}
