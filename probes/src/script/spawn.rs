//! Starting a program: in a session of its own, with descriptors 0, 1 and 2 and no other, default
//! signals, and an environment of a few variables.
//!
//! The page tables of ours are not copied for it ([`launch`]): from a parent of 200 MiB that starts
//! eight times as many programs a second as `fork` does, which std uses as soon as a new session is
//! asked for.
//!
//! Invariant: whoever drops a [`Started`] before it was waited for ends the whole session's group.

use std::ffi::{CStr, CString, c_int};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::LazyLock;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open,
    waitid,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::cgroup::Cgroup;
use super::confine::Identity;
use super::launch::{self, Launch, Limit};
use super::processes;

/// Where scripts find programs that they name without a path.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every start needs and none changes.
struct Common {
    null: OwnedFd,
    /// Descriptors that we were ourselves started with and that would be handed on (F49).
    inherited: Vec<RawFd>,
    /// Signals that somebody may have set another answer to than the usual.
    signals: Vec<c_int>,
}

static COMMON: LazyLock<io::Result<Common>> = LazyLock::new(|| {
    let null = File::open("/dev/null")?.into();
    Ok(Common { null, inherited: inherited()?, signals: signals() })
});

/// The first signal that is for whoever wants it: until one sets an answer to it, it has the usual.
const FIRST_FREE: c_int = 32;

/// All that have a meaning of their own, and of the others those that have an answer by now: each is a
/// system call at every start, and nobody sets one to those later.
fn signals() -> Vec<c_int> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
    };
    let answered = match (set("SigCgt:"), set("SigIgn:")) {
        (Some(caught), Some(ignored)) => caught | ignored,
        _ => u64::MAX,
    };
    let unusual = |signal: &c_int| *signal < FIRST_FREE || answered >> (signal - 1) & 1 == 1;
    (1..=libc::SIGRTMAX()).filter(unusual).collect()
}

/// The descriptors over 2 that a program we start would get: our own never are among them.
fn inherited() -> io::Result<Vec<RawFd>> {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let mut inherited = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let name = entry?.file_name();
        let Some(descriptor) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // The one by which this directory is read is gone by now.
        let info = fs::read_to_string(Path::new("/proc/self/fdinfo").join(&name));
        let flags = info
            .unwrap_or_default()
            .lines()
            .find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
        if descriptor > 2 && flags.is_some_and(|flags| flags & CLOSE_ON_EXEC == 0) {
            inherited.push(descriptor);
        }
    }
    Ok(inherited)
}

/// What to start, ready for the system.
#[derive(Clone)]
pub(super) struct Command {
    /// The arguments, the name of the program first.
    pub(super) arguments: Vec<CString>,
    /// The environment, without the marker of the run.
    pub(super) environment: Vec<CString>,
}

/// Without the environment: it may have secrets in it.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

/// A program that was started. It leads its own session and group, and its id stays its own until
/// it has been waited for.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) leader: Leader,
    /// Readable when the leader has ended.
    pub(super) end: AsyncFd<OwnedFd>,
    /// Whether it is known to have ended.
    pub(super) has_ended: bool,
    /// The control group that it was put into, with all that it starts.
    pub(super) cgroup: Option<Cgroup>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// The process that was started.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) pid: Pid,
    waited_for: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
}

/// Starts `path`, as `user` where there is one, with `limits` on it; within a runtime, which tells of its end. Blocks until
/// the program is loaded, which a file system that hangs can make long.
pub(super) fn start(
    path: &Path,
    command: &Command,
    user: Option<&Identity>,
    limits: &[Limit],
    run: u64,
) -> io::Result<Started> {
    let common =
        COMMON.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (stdout, stdout_of_child) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_of_child) = pipe_with(PipeFlags::CLOEXEC)?;

    let marker = CString::new(processes::marker_of(run))?;
    let environment: Vec<&CStr> = std::iter::once(marker.as_c_str())
        .chain(command.environment.iter().map(CString::as_c_str))
        .collect();
    let arguments: Vec<&CStr> = command.arguments.iter().map(CString::as_c_str).collect();
    let path = CString::new(path.as_os_str().as_bytes())?;
    let launch = Launch {
        path: &path,
        arguments: &arguments,
        environment: &environment,
        descriptors: [&common.null, &stdout_of_child, &stderr_of_child].map(AsRawFd::as_raw_fd),
        close: &common.inherited,
        signals: &common.signals,
        limits,
    };
    let pid = match user {
        None => launch::launch(&launch),
        Some(user) => user.lend(|| launch::launch(&launch)),
    }?;
    let end = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(io::Error::from).and_then(watched);
    let end = match end {
        Ok(end) => end,
        Err(error) => {
            // Nobody will be told of its end, so it must come now.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
            return Err(error);
        }
    };
    let leader = Leader { pid, waited_for: false };
    Ok(Started { leader, end, has_ended: false, cgroup: None, stdout, stderr })
}

/// Registers the descriptor that is readable when the leader has ended.
#[expect(
    deprecated,
    reason = "its replacement is unsafe because a descriptor could be swapped \
    below it; an owned one never is"
)]
fn watched(end: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(end, Interest::READABLE)
}

impl Leader {
    /// Sends `signal` to the group, which exists for as long as the leader was not waited for.
    pub(super) fn signal_group(&self, signal: Signal) {
        if !self.waited_for {
            // It fails where there is nobody whom we may signal, such as a program of another user.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Waits for the leader, where it has ended.
    pub(super) fn wait(&mut self) -> Option<Exit> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status: WaitIdStatus = waitid(WaitId::Pid(self.pid), options).ok()??;
        self.waited_for = true;
        let code = status.exit_status().map(Exit::Code);
        code.or_else(|| status.terminating_signal().map(Exit::Signal))
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.waited_for {
            self.signal_group(Signal::KILL);
            super::runs::abandon(self.pid);
        }
    }
}
