//! Who we run as: X45.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tests::program::{End, Program, path_of};
use tests::wait_until;

use crate::stage::{BOTH, Kind, Running};

/// Whether we can try it: only root can run something as another user.
fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    let is_root = id.stdout == b"0\n";
    if !is_root {
        println!("not run: only root can run a program as another user");
    }
    is_root
}

#[test]
fn a_setuid_bit_is_refused_x45() {
    if !is_root() {
        return;
    }
    for kind in BOTH {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let program = folder.path().join(kind.name());
        fs::copy(path_of(kind.name()), &program).unwrap();
        for (mode, refused) in [(0o755, false), (0o4755, true), (0o2755, true)] {
            fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            let mut run = Program::spawn({
                command.arg(&program).arg("--help");
                command
            });
            let (end, told) = (run.wait(), run.log());
            let expected = if refused { End::Exit(1) } else { End::Exit(0) };
            assert_eq!(end, expected, "{kind:?} {mode:o}: {told}");
            assert_eq!(told.contains("chmod ug-s"), refused, "{kind:?} {mode:o}: {told}");
        }
    }
}

#[test]
fn no_crash_leaves_a_memory_image_x43() {
    for kind in BOTH {
        let running = Running::under(kind, kind.idle(), "ulimit -c unlimited; exec \"$@\"", &[]);
        let limits = fs::read_to_string(format!("/proc/{}/limits", running.program.pid())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let words: Vec<_> = core.split_whitespace().collect();
        assert_eq!(words[4..6], ["0", "0"], "{kind:?}: {core}");
    }
}

#[test]
fn root_is_warned_and_nobody_else_x45() {
    if !is_root() {
        return;
    }
    let warned = |running: &Running| running.program.log().contains("we run as root");
    let running = Running::new(Kind::Agent, Kind::Agent.idle());
    wait_until("root is warned", || warned(&running));
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    // One that its user may run; the folder that it was built in need not be open to others.
    fs::copy(path_of("veilleur-agent"), folder.path().join("agent")).unwrap();
    let copy = folder.path().join("agent").display().to_string();
    let shell =
        format!("shift; exec setpriv --reuid=65534 --regid=65534 --clear-groups {copy} \"$@\"");
    // Without a capability and outside of the range of groups, no echo can be sent.
    let config = "host: {enabled: false}\nchecks:\n\
        - {name: ping, interval: 500ms, retries: 0, probe: {icmp: {host: 127.0.0.1}}}\n\
        - {name: status, interval: 500ms, retries: 0, probe: {script: {command: [/bin/grep, CapEff, \
        /proc/self/status]}}}\n";
    let running = Running::inside(Kind::Agent, config, &shell, &[], folder);
    assert!(!warned(&running), "{}", running.program.log());
    wait_until("both have run", || running.value("veilleur_check_runs_total") >= 2.0);
    wait_until("the script has told", || {
        running.program.log().contains("CapEff: 0000000000000000")
    });
    let range = fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap();
    let range: Vec<u32> = range.split_whitespace().map(|n| n.parse().unwrap()).collect();
    let may = (range[0]..=range[1]).contains(&65534);
    let refused = "veilleur_check_reason{check=\"ping\",reason=\"permission-denied\"} 1";
    let metrics = tests::get(&running.url("/metrics")).unwrap().1;
    assert_eq!(metrics.contains(refused), !may, "{metrics}");
}
