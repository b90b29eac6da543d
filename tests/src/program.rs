//! The programs under test, and those that they are tested with: started, watched, ended.
//!
//! Invariant: a program ends with its owner, by its pid.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::wait_until;

/// A program that runs. What it writes is kept.
pub struct Program {
    child: Child,
    output: TempDir,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

impl Program {
    /// Starts one of ours by its name, or another by its path.
    #[track_caller]
    pub fn start<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(path_of(name));
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts what `command` says.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let output = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(output.path().join(name)).unwrap();
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let program = command.get_program().to_owned();
        let child = command.spawn().unwrap_or_else(|error| panic!("{program:?}: {error}"));
        Self { child, output }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has ever held, in MiB.
    pub fn peak(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() >> 10
    }

    /// What it has written to standard output.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.output.path().join("stdout")).unwrap()
    }

    /// What it has written to standard error: its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.output.path().join("stderr")).unwrap()
    }

    /// Where it listens, as `http://ADDRESS` or `https://ADDRESS`: waits until its log says so.
    #[track_caller]
    pub fn url(&mut self) -> String {
        let said = |log: &str| {
            let rest = log.split("listening on http").nth(1)?;
            rest.split_once([' ', '\n']).map(|(rest, _)| format!("http{rest}"))
        };
        wait_until("a program listens", || said(&self.log()).is_some() || !self.is_running());
        said(&self.log()).unwrap_or_else(|| panic!("it ended before it listened: {}", self.log()))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal by name: `HUP`, `TERM`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success(), "kill -s {name} {pid}");
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait(&mut self) -> End {
        wait_until("a program ends", || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        status.code().map_or_else(|| End::Signal(status.signal().unwrap_or(0)), End::Exit)
    }

    /// Asks it to end, and waits for it.
    #[track_caller]
    pub fn terminate(mut self) -> End {
        self.signal("TERM");
        self.wait()
    }

    /// Ends it without a warning.
    #[track_caller]
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of pid {}\n{}", self.child.id(), self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end; returns how it ended and what it wrote to both.
#[track_caller]
pub fn run<A: AsRef<OsStr>>(
    name: &str,
    arguments: impl IntoIterator<Item = A>,
) -> (End, String, String) {
    let mut program = Program::start(name, arguments);
    let end = program.wait();
    (end, program.stdout(), program.log())
}

/// A port that nobody uses now, neither by TCP nor by UDP, and that the kernel gives nobody who takes
/// any port: it is free still when a program that was told of it comes to take it.
pub fn free_port() -> u16 {
    /// Below those that Linux gives away by itself, from 32768.
    const PORTS: std::ops::Range<u32> = 11_000..32_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Test programs that run beside this one begin elsewhere.
        let next =
            std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + next % PORTS.len() as u32) as u16;
        let at = ("127.0.0.1", port);
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return port;
        }
    }
}

/// Where a program is: ours beside the tests, built if need be, others as they are called.
pub fn path_of(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    if !matches!(name, "veilleur" | "veilleur-agent") {
        return PathBuf::from(name);
    }
    // TARGET/PROFILE/deps/test-1234, wherever cargo was told that TARGET is.
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    BUILT.call_once(|| build(folder));
    folder.join(name)
}

/// Builds our programs into `folder`: cargo builds those of a crate for its own tests only.
fn build(folder: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = match folder.file_name().and_then(OsStr::to_str).unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bins", "--profile", profile]);
    command.arg("--target-dir").arg(folder.parent().unwrap());
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    // What cargo tells the test about the test's own crate; build scripts that look at it would
    // run again, and everything behind them.
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if told {
            command.env_remove(name);
        }
    }
    let status = command.status().unwrap();
    assert!(status.success(), "the programs cannot be built");
}
