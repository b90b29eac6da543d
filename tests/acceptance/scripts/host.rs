//! Scripts that look at files, processes and the state of the host.
//!
//! Invariant: a test has a folder of its own, and ends what it started.

use std::process::Command;
use std::time::Duration;

use super::stage::{Said, Stage};

#[test]
fn certificate_file() {
    let stage = Stage::new();
    let make = |name: &str, days: &str| {
        let arguments = ["req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-days"];
        let output = Command::new("openssl")
            .args(arguments)
            .args([days, "-keyout", "key.pem", "-out", name])
            .current_dir(stage.path("."))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(stage.path(name)).unwrap()
    };
    let long = make("long.pem", "90");
    let short = make("a 'b|c=d.pem", "10");
    let over = make("over.pem", "1");
    stage.write("chain.pem", &format!("{long}{short}").replace('\n', "\r\n"));
    stage.write("broken.pem", &over.replace("MII", "MIX"));
    stage.write("empty.pem", "");

    let script = "certificate_file.sh";
    // Rounded down, so that a day is lost with the first second.
    let days = |said: &Said, label: &str, days: f64| {
        let (left, unit) = said.measured(label);
        assert!((days - 1.0..=days).contains(&left) && unit.is_empty(), "{}", said.text);
    };
    let said = stage.check(script, &["long.pem"], 0, "long.pem expires in ");
    days(&said, "long.pem", 90.0);
    let said = stage.check(script, &["chain.pem"], 1, "chain.pem expires in ");
    days(&said, "chain.pem", 10.0);
    stage.check(script, &["-w", "5", "-c", "2", "chain.pem"], 0, "chain.pem expires in ");
    stage.check(script, &["-c", "91", "long.pem"], 2, "long.pem expires in ");
    let said = stage.check(script, &["long.pem", "a 'b|c=d.pem"], 1, "a 'b/c=d.pem expires in ");
    days(&said, "a 'b_c_d.pem", 10.0);
    assert_eq!(said.details.lines().count(), 2);
    stage.check(script, &["--", "key.pem"], 3, "holds no certificate");
    stage.check(script, &["broken.pem"], 3, "holds no certificate");
    stage.check(script, &["empty.pem"], 3, "holds no certificate");
    stage.check(script, &["long.pem", "none.pem"], 3, "none.pem cannot be read");
    stage.check(script, &["."], 3, "cannot be read");
    stage.check(script, &[], 3, "no file is given");
    stage.check(script, &["-w", "x", "long.pem"], 3, "DAYS must be a whole number");
    stage.check(script, &["long.pem", "-w"], 3, "the last option has no value");
}

#[test]
fn file_age() {
    let stage = Stage::new();
    stage.write_old("fresh", "12345", 0);
    stage.write_old("old $(x) 'y'", "1", 5);
    let script = "file_age.sh";
    let said = stage.check(script, &["-w", "1h", "-c", "1d", "fresh"], 0, "fresh was written");
    assert_eq!(said.measured("fresh").1, "s");
    let said =
        stage.check(script, &["-w", "1h", "-c", "1d", "fresh", "old $(x) 'y'"], 1, "5 hours");
    assert!(said.measured("old $(x) 'y'").0 >= 18_000.0);
    stage.check(script, &["-c", "240m", "old $(x) 'y'"], 2, "was written 5 hours ago");
    stage.check(script, &["-w", "1h", "--min-size", "6", "fresh"], 2, "fresh has only 5 bytes");
    stage.check(script, &["-w", "1h", "fresh", "none"], 2, "none is not there");
    stage.check(script, &["-w", "1h", "nowhere/none"], 3, "its folder is not there");
    stage.check(script, &["fresh"], 3, "neither -w nor -c");
    stage.check(script, &["-w", "1h"], 3, "no file is given");
    stage.check(script, &["-w", "soon", "fresh"], 3, "soon is no AGE");
    stage.check(script, &["-w", "08m", "fresh"], 0, "fresh was written");
}

#[test]
fn log_errors() {
    let stage = Stage::new();
    let script = "log_errors.py";
    stage.write("app.log", "ERROR before\n");
    let count = |code: i32, matches: f64| {
        let said = stage.check(script, &["app.log", "ERROR", "-s", "state", "-c", "2"], code, "");
        assert_eq!(said.measured("matches").0, matches, "{}", said.text);
        said
    };
    count(0, 0.0);
    count(0, 0.0);
    stage.append("app.log", "fine\nERROR | one\nERROR unfinished");
    let said = count(1, 1.0);
    assert_eq!(said.details, "ERROR / one\n");
    assert_eq!(said.measured("lines").0, 2.0);
    stage.append("app.log", " line\n");
    count(1, 1.0);
    // Rotated: the rest of the old file counts, and the new one.
    stage.append("app.log", "ERROR last\nno newline ERROR");
    std::fs::rename(stage.path("app.log"), stage.path("app.log.1")).unwrap();
    stage.write("app.log", "ERROR new\n");
    let said = count(2, 3.0);
    assert_eq!(said.details, "ERROR last\nno newline ERROR\nERROR new\n");
    // Copied and truncated, and longer than before already.
    stage.write("app.log", "quiet\nERROR after truncation\nERROR again\n");
    count(1, 2.0);
    count(0, 0.0);
    // Rotated away and gone: the new file is read from its start.
    std::fs::remove_file(stage.path("app.log")).unwrap();
    stage.check(script, &["app.log", "ERROR", "-s", "state"], 3, "app.log is no file");
    stage.write("app.log", "ERROR fresh\n");
    count(1, 1.0);

    stage.write("b.log", "");
    stage.check(script, &["b.log", "x", "-s", "b"], 0, "from now on b.log is watched");
    std::fs::write(stage.path("b.log"), b"Error \xff\xfe\x1b[31m 1\nerror noise\n").unwrap();
    let said = stage.check(
        script,
        &["b.log", "error", "-i", "-x", "NOISE", "-s", "b"],
        1,
        "1 of 2 new lines of b.log match",
    );
    assert_eq!(said.details, "Error \u{fffd}\u{fffd}?[31m 1\n");
    stage.check(script, &["b.log", "(", "-s", "b"], 3, "is no regular expression");
    stage.check(script, &["b.log", "x"], 3, "--state");
    stage.check(script, &["b.log", "x", "-s", "nowhere/b"], 3, "nowhere/b.new: No such file");
    stage.write("b", "{}");
    stage.check(script, &["b.log", "x", "-s", "b"], 3, "is not the state of this script");
}

#[test]
fn process_running() {
    let stage = Stage::new();
    let program = stage.path("a (strange) name");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let script = "process_running.py";
    stage.check(script, &["a (strange) name"], 2, "0 processes of a (strange) name");
    let mut running: Vec<_> =
        (0..2).map(|_| Command::new(&program).arg("1234").spawn().unwrap()).collect();
    let said = stage.check(script, &["a (strange) name"], 0, "2 processes of");
    assert_eq!(said.measured("processes"), (2.0, ""));
    assert!(said.measured("memory").0 > 0.0);
    stage.check(script, &["a (strange) name", "-w", "1", "-c", "1:2"], 1, "2 processes");
    stage.check(script, &["-p", r"\(strange\) name 1234$"], 0, "2 processes");
    stage.check(script, &["-p", "strange.* 999$"], 2, "0 processes");
    let (own, other) = if is_root() { (0, 2) } else { (2, 2) };
    stage.check(script, &["a (strange) name", "-u", "root"], own, "processes of");
    stage.check(script, &["a (strange) name", "-u", "daemon"], other, "0 processes");
    running[0].kill().unwrap();
    // A zombie until it is waited for.
    let since = std::time::Instant::now();
    while stage.run(script, &["a (strange) name", "-c", "1:1"]).code != 0 {
        assert!(since.elapsed() < Duration::from_secs(20));
    }
    for process in &mut running {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    stage.check(script, &["a (strange) name"], 2, "0 processes");
    // This script is a process with such a command line, too.
    stage.check(script, &["-p", "no such process, but for this one"], 2, "0 processes");
    stage.check(script, &["-p", "("], 3, "is no regular expression");
    stage.check(script, &["x", "-u", "no such user"], 3, "there is no user");
    stage.check(script, &[], 3, "NAME");
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[test]
fn reboot_required() {
    let stage = Stage::new();
    let script = "reboot_required.sh";
    stage.stand_in("needs-restarting", "exit 0");
    let said = stage.check(script, &["--file", "flag"], 0, "no reboot is due");
    assert_eq!(said.measured("waiting").0, 0.0);
    stage.write("flag", "");
    stage.write("flag.pkgs", "linux-image\nlibc6\nlibc6\n");
    stage.check(script, &["--file", "flag"], 1, "due for 0 days, because of libc6 linux-image");
    stage.check(script, &["--file", "flag", "-w", "2"], 0, "due for 0 days");
    stage.write_old("flag", "", 15 * 24);
    let said = stage.check(script, &["--file", "flag"], 2, "due for 15 days");
    assert_eq!(said.measured("waiting").0, 15.0);
    stage.stand_in("needs-restarting", "exit 1");
    stage.check(script, &["--file", "none"], 1, "a reboot is due");
    stage.stand_in("needs-restarting", "echo 'no | rpm'; exit 5");
    stage.check(script, &["--file", "none"], 3, "cannot tell: no / rpm");
    // Of dnf 5 it is a part, which may be missing.
    let of_dnf = Stage::new();
    of_dnf.stand_in("dnf", "[ \"$*\" = 'needs-restarting --help' ] || exit 1");
    of_dnf.check(script, &["--file", "none"], 1, "a reboot is due");
    of_dnf.stand_in("dnf", "echo 'No such command: needs-restarting'; exit 1");
    of_dnf.check(script, &["--file", "none"], 0, "no reboot is due");
    stage.check(script, &["--file"], 3, "the last option has no value");
    stage.check(script, &["-w", "soon"], 3, "DAYS must be a whole number");
}

/// What dnf 4.14 of Debian lists of a folder with two packages, one of them named in the notices of
/// security, and what its manual has besides: packages that replace others, and long names.
const DNF: &str = r#"
case "$*" in *--security*) echo; echo 'alpha.noarch     2.0-1       local'; exit 100 ;; esac
cat <<'END'

a-package-with-a-very-long-name-indeed-that-goes-on-and-on-and-on-beyond-all-widths.noarch 2.0-1 local
alpha.noarch                                                                               2.0-1 local
python3-a-long-name.x86_64
                         3.0-1.el9     updates
Obsoleting Packages
new-name.x86_64     2.0-1.el9     updates
    old-name.x86_64 1.0-1.el9     @base
END
exit 100"#;

/// As dnf 5 of Fedora 44 lists it, `--quiet`.
const DNF5: &str = r#"
case "$*" in *--security*) echo Upgrades; echo 'alpha-libs.x86_64    6.0.0~alpha1-1.fc44 updates'; exit 100 ;; esac
cat <<'END'
Upgrades
alpha-libs.x86_64                      6.0.0~alpha1-1.fc44 updates
beta-daemon.noarch                     0.13.8-1.fc44       beta-stable
python3-beta-api-core.x86_64           5.6.10-1.fc44       beta-stable

Obsoleting packages
python3-beta-api-core.x86_64           5.6.10-1.fc44       beta-stable
    python3-beta-api-core.noarch       5.2.5-1.fc44        beta-stable
    python3-beta-local-agent.x86_64    1.6.3-1.fc44        beta-stable
END
exit 100"#;

/// As dnf 4 of Red Hat 9 lists it, where it is not as quiet as it is asked to be.
const DNF4_NOTES: &str = r#"
cat <<'END'
Updating Subscription Management repositories.
Unable to read consumer identity

This system is not registered with an entitlement server. You can use subscription-manager to register.

Last metadata expiration check: 0:10:11 ago on Thu Nov 19 10:00:00 2026.
Security: kernel-core-5.14.0-503.15.1.el9_5.x86_64 is an installed security update
Security: kernel-core-5.14.0-427.13.1.el9_4.x86_64 is the currently running version

glibc.i686                        2.34-125.el9_5.8        rhel-9-for-x86_64-baseos-rpms
nginx-core.x86_64                 2:1.20.1-20.el9_5.1     rhel-9-for-x86_64-appstream-rpms
END
exit 100"#;

#[test]
fn updates_pending() {
    let stage = Stage::new();
    let script = "updates_pending.sh";
    stage.stand_in("dnf", DNF);
    let dnf = |more: &[&str], code, part: &str| {
        stage.check(script, &[&["--cache", "cache"], more].concat(), code, part)
    };
    dnf(&[], 3, "dnf has downloaded no lists of packages");
    std::fs::create_dir_all(stage.path("cache/base/repodata")).unwrap();
    stage.write("cache/base/repodata/repomd.xml", "");
    let said = dnf(&[], 1, "3 updates wait, 1 of them for security");
    assert_eq!((said.measured("pending").0, said.measured("security").0), (3.0, 1.0));
    dnf(&["-W", "1"], 0, "3 updates wait");
    dnf(&["-W", "1", "-w", "2"], 1, "3 updates wait");
    dnf(&["-W", "1", "-c", "2"], 2, "3 updates wait");
    dnf(&["-C", "0"], 2, "1 of them for security");
    stage.stand_in("dnf", "exit 0");
    dnf(&["-w", "0"], 0, "0 updates wait, 0 of them for security");
    stage.stand_in("dnf", "echo 'Error: Failed to | lock'; exit 1");
    dnf(&[], 3, "dnf cannot tell: Error: Failed to / lock");
    // What dnf 5 lists, with packages that replace others under their own headline.
    stage.stand_in("dnf", DNF5);
    let said = dnf(&[], 1, "3 updates wait, 1 of them for security");
    assert_eq!((said.measured("pending").0, said.measured("security").0), (3.0, 1.0));
    // What dnf 4 and the plugin of Red Hat say besides, which is no package.
    stage.stand_in("dnf", DNF4_NOTES);
    dnf(&[], 1, "2 updates wait, 2 of them for security");
    dnf(&["-w", "many"], 3, "NUMBER must be a whole number");
    dnf(&["-w"], 3, "the last option has no value");
}

#[test]
fn updates_pending_by_apt() {
    let stage = Stage::new();
    let script = "updates_pending.sh";
    // Where dnf is installed beside it, dnf is asked.
    if std::path::Path::new("/usr/bin/dnf").exists() {
        return;
    }
    stage.stand_in(
        "apt-get",
        "echo 'Inst libc6 [2.36-9] (2.36-9+deb12u4 Debian:12.5/stable [amd64])'\n\
         echo 'Inst libssl3 [3.0.1] (3.0.2 Debian-Security:12/stable-security [amd64]) []'\n\
         echo 'Inst vim (9.1 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [amd64])'\n\
         echo 'Conf libc6 (2.36-9+deb12u4 Debian:12.5/stable [amd64])'",
    );
    stage.check(script, &["-W", "2"], 0, "3 updates wait, 2 of them for security");
    stage.check(script, &[], 1, "3 updates wait, 2 of them for security");
    stage.stand_in("apt-get", "echo 'E: broken'; exit 100");
    stage.check(script, &[], 3, "apt-get cannot tell: E: broken");
}

#[test]
fn systemd_failed() {
    let stage = Stage::new();
    let script = "systemd_failed.sh";
    stage.stand_in("systemctl", "exit 0");
    let said = stage.check(script, &[], 0, "no unit has failed");
    assert_eq!(said.measured("failed").0, 0.0);
    let units = "shop@1.service loaded failed failed Shop | front\n\
                 fwupd-refresh.service loaded failed failed Firmware\n\
                 gone.service not-found failed failed gone.service\n\
                 backup.timer loaded failed failed Nightly\n";
    stage.stand_in("systemctl", &format!("cat <<'END'\n{units}END"));
    let said = stage.check(script, &[], 2, "3 units have failed: shop@1.service fwupd-refresh");
    assert_eq!(said.details.lines().next(), Some("shop@1.service: Shop / front"));
    let said = stage.check(script, &["-x", "fwupd-*"], 1, "2 units have failed");
    assert_eq!(said.measured("failed").0, 2.0);
    stage.check(script, &["-x", "*.service"], 1, "1 unit has failed: backup.timer");
    stage.check(script, &["-x", "*"], 0, "no unit has failed");
    stage.check(script, &["-w", "5", "-c", "9"], 0, "3 units have failed");
    stage.stand_in("systemctl", "echo 'System has not been booted with systemd' >&2; exit 1");
    stage.check(script, &[], 3, "systemctl cannot tell: System has not been booted");
    stage.check(script, &["-c", "many"], 3, "COUNT must be a whole number");
}
