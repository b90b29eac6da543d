//! What a script may do: nothing beyond what any user may, whoever we are (F49, S3, X45).

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use common::{faults, run, shell};
use nix::unistd::{User, geteuid};
use probes::{Reason, Status};

/// Capabilities and `no_new_privs` of a script, of what it starts, and of a setuid program.
const STATUS: &str =
    "grep -hE '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status | sort -u";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_has_no_capabilities_and_gains_none_x45() {
    for _ in 0..3 {
        let outcome = run(shell(STATUS, "").as_ref()).await;
        let said = format!("{}\n{}", outcome.summary, outcome.details).replace('\t', " ");
        for none in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(said.contains(&format!("{none}: 0000000000000000")), "{said}");
        }
        assert!(said.contains("NoNewPrivs: 1"), "{said}");
    }
    // We ourselves have lost nothing, and neither have the threads that do something else.
    let ours = || fs::read_to_string("/proc/thread-self/status").unwrap();
    for status in [ours(), tokio::task::spawn_blocking(ours).await.unwrap()] {
        assert!(status.contains("NoNewPrivs:\t0"), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_with_file_capabilities_starts_and_gains_none_x45() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let cat = folder.path().join("cat");
    fs::copy("/bin/cat", &cat).unwrap();
    let setcap = Command::new("/usr/sbin/setcap").arg("cap_net_raw+ep").arg(&cat).status();
    if !setcap.is_ok_and(|status| status.success()) {
        println!("not run: only root can give a file capabilities, by setcap of libcap2-bin");
        return;
    }
    for user in ["", ", user: nobody"] {
        let command = format!("command: [{}, /proc/self/status]{user}", cat.display());
        let outcome = run(common::probe(&format!("script: {{{command}}}")).as_ref()).await;
        assert!(outcome.details.contains("CapEff:\t0000000000000000"), "{outcome:?}");
        assert!(outcome.details.contains("CapPrm:\t0000000000000000"), "{outcome:?}");
    }
    let command = format!("command: [{}, /proc/self/status], user: nobody", cat.display());
    let kept = common::probe(&format!("script: {{{command}, keep_privileges: true}}"));
    let outcome = run(kept.as_ref()).await;
    assert!(outcome.details.contains("CapEff:\t0000000000002000"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_keeps_privileges_where_that_is_asked_for() {
    let outcome = run(shell(STATUS, ", keep_privileges: true").as_ref()).await;
    let said = format!("{}\n{}", outcome.summary, outcome.details).replace('\t', " ");
    assert!(said.contains("NoNewPrivs: 0"), "{said}");
    let has_none = said.contains("CapEff: 0000000000000000");
    assert_eq!(has_none, !geteuid().is_root(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_runs_a_script_as_another_user_s3() {
    if !geteuid().is_root() {
        let told = faults("script: {command: [/bin/true], user: nobody}");
        assert!(told.contains("only root can run a script as `nobody`"), "{told}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let script = format!(
        "grep -h '^[UG]id' /proc/self/status | tr -s '\\t\\n' ' '; echo; id -nG; \
         cat {} 2>/dev/null || echo hidden",
        secret.display()
    );
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let (uid, gid) = (nobody.uid, nobody.gid);
    for more in [", user: nobody", ", user: nobody, keep_privileges: true"] {
        let outcome = run(shell(&script, more).as_ref()).await;
        let expected = format!("Uid: {uid} {uid} {uid} {uid} Gid: {gid} {gid} {gid} {gid}");
        assert_eq!(outcome.summary.trim(), expected, "{more}");
        assert_eq!(outcome.details, "nogroup\nhidden", "{more}");
    }
    // The threads that start programs are ours again.
    let outcome = run(shell("id -u; id -G", "").as_ref()).await;
    assert_eq!(outcome.summary, "0");

    // Who runs it may own it; nobody else may.
    let program = folder.path().join("program");
    fs::write(&program, "#!/bin/sh\necho mine\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    chown(&program, Some(uid.as_raw()), None).unwrap();
    let command = format!("command: [{}]", program.display());
    let told = faults(&format!("script: {{{command}}}"));
    assert!(told.contains(&format!("belongs to the user {uid}")), "{told}");
    let outcome =
        run(common::probe(&format!("script: {{{command}, user: nobody}}")).as_ref()).await;
    assert_eq!(outcome.summary, "mine");
    let told = faults("script: {command: [/bin/true], user: no-such-user}");
    assert_eq!(told, "test.yml:1:38: there is no user `no-such-user`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_script_has_limits_s3() {
    // They are put on right after the start; the script waits until they are.
    let script = "while grep -q 'cpu time *unlimited' /proc/self/limits; do sleep 0.01; done; awk '/^Max (cpu|file|core|processes|open|address)/ {print $2, $3, $4, $5}' \
                  /proc/self/limits | sort | tr '\\n' ';'";
    let of = async |more: &str| run(shell(script, more).as_ref()).await.summary;
    let usual = of("").await;
    for part in ["cpu time 3600", "file size 1073741824", "core file size 0", "open files 1024"] {
        assert!(usual.contains(part), "{part} is missing in {usual}");
    }
    assert!(usual.contains("address space 4294967296"), "{usual}");
    let set = of(", limits: {cpu: 5s, file_size: 1MiB, open_files: 20, memory: 64MiB}").await;
    for part in ["cpu time 5", "file size 1048576", "open files 20", "address space 67108864"] {
        assert!(set.contains(part), "{part} is missing in {set}");
    }
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    let script = format!("sleep 0.2; exec head -c 2000000 /dev/zero > {}", large.display());
    let outcome = run(shell(&script, ", limits: {file_size: 1MiB}").as_ref()).await;
    assert_eq!((outcome.status, outcome.reason), (Status::Unknown, Reason::Killed), "{outcome:?}");
    assert_eq!(fs::metadata(&large).unwrap().len(), 1 << 20);
}
