//! The programs under test, and those that they are tested with: started, watched, ended.
//!
//! Invariant: a program ends with its owner, by its pid.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Once;

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

    /// What it has written to standard output.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.output.path().join("stdout")).unwrap()
    }

    /// What it has written to standard error: its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.output.path().join("stderr")).unwrap()
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

/// A port that nobody uses now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where a program is: ours beside the tests, built if need be, others as they are called.
fn path_of(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    if !matches!(name, "veilleur" | "veilleur-agent") {
        return PathBuf::from(name);
    }
    BUILT.call_once(|| {
        // Cargo builds the binaries of a crate for its own tests only.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // The whole workspace, so that features are those that the tests themselves have.
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--workspace", "--bins"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status();
        assert!(status.unwrap().success(), "the programs cannot be built");
    });
    let test = std::env::current_exe().unwrap();
    // target/debug/deps/test-1234
    test.parent().and_then(|deps| deps.parent()).unwrap().join(name)
}
