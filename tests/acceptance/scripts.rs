//! The ready scripts, run as the agent runs them, with good, bad and missing input: the exit code,
//! the first line, and performance data that keep the contract of `probes/scripts/README.md`.
//!
//! What a script asks for is real where that is simple (files, certificates, processes, ports, web
//! and time servers); psql, systemctl, needs-restarting, dnf and apt-get are stand-ins that print
//! what the real ones do.
//!
//! Invariant: every run of a script is checked against the contract, whatever it was made for.

#[path = "scripts/stage.rs"]
mod stage;
#[path = "scripts/host.rs"]
mod host;
#[path = "scripts/network.rs"]
mod network;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use stage::{Said, Stage, scripts};
use tests::peers::installed;

/// The scripts that the table of the contract's page names.
fn all_scripts() -> Vec<String> {
    let readme = std::fs::read_to_string(scripts().join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect()
}

#[test]
fn every_script_is_ready_to_be_run_and_tells_how() {
    let stage = Stage::new();
    let all = all_scripts();
    assert!(all.len() >= 12, "{all:?}");
    for script in &all {
        let path = scripts().join(script);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o133, 0o111, "{script}: others may run it and not write to it");
        let help = stage.start(&path, &["--help"]);
        let printed = String::from_utf8(help.stdout).unwrap();
        assert_eq!(help.status.code(), Some(3), "{script}");
        assert!(printed.starts_with(&format!("usage: {script} ")), "{printed}");
        assert!(printed.lines().all(|line| line.len() <= 80), "{printed}");
        assert_eq!(stage.run(script, &["--no-such-option"]).code, 3, "{script}");
    }
}

#[test]
fn what_python_scripts_share_is_the_same_in_all() {
    let shared = |script: &String| {
        let text = std::fs::read_to_string(scripts().join(script)).unwrap();
        let (_, rest) = text.split_once("# ---- The same in every script").unwrap();
        rest.split_once("# ---- The end of what is the same").unwrap().0.to_owned()
    };
    let python: Vec<_> = all_scripts().into_iter().filter(|name| name.ends_with(".py")).collect();
    assert!(python.iter().all(|script| shared(script) == shared(&python[0])));
}

#[test]
fn shellcheck_finds_nothing() {
    let shell = all_scripts().into_iter().filter(|name| name.ends_with(".sh"));
    let Some(shellcheck) = installed("/usr/bin/shellcheck") else { return };
    let checked = Command::new(shellcheck).args(shell).current_dir(scripts()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn the_example_of_the_contract_keeps_it() {
    let stage = Stage::new();
    let readme = std::fs::read_to_string(scripts().join("README.md")).unwrap();
    let example = readme.split_once("```bash\n").unwrap().1.split_once("```").unwrap().0;
    assert_eq!(example.lines().count(), 10);
    stage.write("example.sh", example);
    let run = |arguments: &[&str]| {
        let arguments: Vec<_> = ["example.sh"].iter().chain(arguments).copied().collect();
        stage.start(Path::new("/bin/bash"), &arguments)
    };
    std::fs::create_dir(stage.path("shop")).unwrap();
    stage.write("shop/new.order", "");
    let said = Said::read(&run(&["shop"]), "example");
    assert_eq!((said.code, said.measured("waiting").0), (0, 0.0));
    (0..21).for_each(|n| stage.write_old(&format!("shop/{n}.order"), "", 1));
    let said = Said::read(&run(&["shop"]), "example");
    assert_eq!((said.code, said.measured("waiting").0), (2, 21.0));
    assert_eq!(run(&["nowhere"]).status.code(), Some(3));
}
