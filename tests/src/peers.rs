//! The reference programs that `tests/peers/fetch.sh` unpacks, the Python that
//! `tests/peers/python.sh` lays out, the configurations of other monitors that
//! `tests/peers/configurations.sh` unpacks, and the data of the conformance suites.
//!
//! Invariant: where one is missing the test that wants it says so; with `CI` set it fails then.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the program is, such as `prometheus`, `promtool`, `amtool`; nothing where it is missing,
/// which is told.
pub fn program(name: &str) -> Option<PathBuf> {
    find(&format!("root/usr/bin/{name}"), "tests/peers/fetch.sh unpacks it")
}

/// A command that runs Debian's Alertmanager, which reads its templates from where its package would
/// have put them; where nothing is there, it sees a `/usr/share` of its own with them. Nothing where
/// it is missing, which is told.
pub fn alertmanager() -> Option<Command> {
    let program = program("prometheus-alertmanager")?;
    if Path::new("/usr/share/prometheus").exists() {
        return Some(Command::new(program));
    }
    let share = program.parent()?.parent()?.join("share");
    let script =
        "mount -t overlay -o lowerdir=\"$1\":/usr/share overlay /usr/share && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(share).arg(program);
    Some(command)
}

/// The interpreter of Python that has the packages that tests talk to; nothing where it is missing,
/// which is told.
pub fn python() -> Option<PathBuf> {
    find("python/bin/python", "tests/peers/python.sh lays it out")
}

/// A file of the configurations that Debian's packages of other monitors bring; nothing where it is
/// missing, which is told.
pub fn configuration(path: &str) -> Option<PathBuf> {
    find(&format!("configurations/{path}"), "tests/peers/configurations.sh unpacks it")
}

/// A file or folder of the conformance data (`CONFORMANCE_DIR`, by default `../shared/conformance`
/// beside the project); nothing where it is missing, which is told.
pub fn conformance(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CONFORMANCE_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance")),
        PathBuf::from,
    );
    present(folder.join(path), "CONFORMANCE_DIR says where the data are")
}

fn find(path: &str, help: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("VEILLEUR_PEERS").map(PathBuf::from);
    let cache = cache
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/veilleur-peers")));
    present(cache?.join(path), help)
}

/// A file that a package of this machine's own release brings; nothing where it is missing, which is
/// told.
pub fn installed(path: &str) -> Option<PathBuf> {
    present(PathBuf::from(path), "tests/peers/packages.sh installs it")
}

fn present(path: PathBuf, help: &str) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    let missing = format!("{} is missing; {help}", path.display());
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    println!("not run: {missing}");
    None
}

/// The lines in which Prometheus complains in its log about the scrape of `address`, or of anybody.
pub fn complaints<'a>(log: &'a str, address: &str) -> Vec<&'a str> {
    const WORDS: [&str; 6] = ["level=warn", "level=error", "fail", "error", "duplicate", "invalid"];
    let complains = |line: &str| {
        let line = line.to_ascii_lowercase();
        WORDS.iter().any(|word| line.contains(word))
    };
    let concerned = log.lines().filter(|line| line.contains("scrape") || line.contains(address));
    concerned.filter(|line| complains(line)).collect()
}
