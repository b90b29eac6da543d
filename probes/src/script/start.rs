//! From a run to its program that runs, by a starter; and on to its end where that comes soon.
//!
//! ```text
//! begin ─▶ queue ─▶ starter: walk, spawn, limits, group ─▶ the kernel: ended, or BRIEF is over ─▶ begin returns
//! ```
//!
//! The starter hands the process to the runtime's reactor itself, for whoever waits: to be told first
//! that the program was loaded, and then that it has ended, would cost us twice what it costs to be
//! told once.
//!
//! Invariant: a program whose run was given up before it was loaded is ended as soon as it is.

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use base::clock::Stopwatch;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::confine::{Identity, confine};
use super::limits::Limits;
use super::program::Program;
use super::runs::{self, Run};
use super::spawn::{self, Command, Started};
use super::starters::{HANGS, Pool, Work};
use super::{cgroup, owner, processes};
use crate::outcome::{Outcome, Reason};

/// Most scripts end within this, so that it is not worth to wait for their output before: a pipe
/// holds it.
const BRIEF: Duration = Duration::from_millis(20);

/// How long we wait for a program that is just being written, as when a new version is copied over
/// it: nobody is to be called for that.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// How often it is tried meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// Starters that can hand no privileges on.
static CONFINED: Pool = Pool::new(confine);
/// Starters for programs that are to keep ours.
static PRIVILEGED: Pool = Pool::new(|| Ok(()));

/// What it takes to start a program.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) command: Command,
    pub(super) limits: Limits,
    pub(super) user: Option<Identity>,
    pub(super) keeps_privileges: bool,
}

impl Start {
    /// Starts the program for `run`. Returns when it has ended or has run for [`BRIEF`], or soon
    /// after `stop` where it is not even loaded by then.
    pub(super) async fn begin(
        self: &Arc<Self>,
        run: &Run,
        stop: &CancellationToken,
    ) -> Result<Started, Outcome> {
        let starting = async {
            let since = Stopwatch::start();
            loop {
                match self.load(run).await {
                    Ok(started) => return Ok(started),
                    Err(Fault::Written(outcome)) => {
                        if stop.is_cancelled() || since.elapsed() >= WRITTEN_WITHIN {
                            return Err(outcome);
                        }
                    }
                    Err(Fault::Lasting(outcome)) => return Err(outcome),
                }
                sleep(TRY_EVERY).await;
            }
        };
        tokio::pin!(starting);
        if let Some(started) = stop.run_until_cancelled(starting.as_mut()).await {
            return started;
        }
        match timeout(BRIEF * 2, starting).await {
            Ok(started) => started,
            Err(_) => {
                let summary = "the program could not be loaded in time; its file system hangs";
                Err(Outcome::unknown(Reason::Timeout, summary))
            }
        }
    }

    /// Has a starter load the program, once.
    async fn load(self: &Arc<Self>, run: &Run) -> Result<Started, Fault> {
        let starting = Starting::submit(Arc::clone(self), run.id)?;
        loop {
            match timeout(HANGS, starting.over()).await {
                Ok(started) => return started,
                Err(_) => starting.pool.relieve(),
            }
        }
    }

    /// What a starter does; with the runtime entered that watches the process.
    fn start(&self, run: u64) -> Result<Started, Fault> {
        let owner = owner(self.user.as_ref());
        let program = Program::resolve(&self.program, owner).map_err(|fault| {
            let mut outcome = Outcome::unknown(fault.reason, fault.to_string());
            outcome.details = fault.help.unwrap_or_default();
            outcome
        })?;
        let limits = self.limits.all(processes::tasks_lately());
        let user = self.user.as_ref();
        let started = spawn::start(&program.path, &self.command, user, &limits, run);
        let mut started = started.map_err(|error| {
            let outcome = Outcome::unknown(self.reason_of(&error), self.message_of(&error));
            match error.kind() {
                io::ErrorKind::ExecutableFileBusy => Fault::Written(outcome),
                _ => Fault::Lasting(outcome),
            }
        })?;
        started.cgroup = cgroup::enter(run, started.leader.pid, &self.limits);
        runs::started(run, started.leader.pid);
        Ok(started)
    }

    fn reason_of(&self, error: &io::Error) -> Reason {
        match error.kind() {
            // It was there a moment ago: what is missing is its interpreter.
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Reason::NotExecutable,
            _ if error.raw_os_error() == Some(nix::errno::Errno::ENOEXEC as i32) => {
                Reason::NotExecutable
            }
            _ => Reason::StartFailed,
        }
    }

    fn message_of(&self, error: &io::Error) -> String {
        let shown = self.program.display();
        match error.kind() {
            io::ErrorKind::NotFound => format!("the interpreter of `{shown}` does not exist"),
            io::ErrorKind::ExecutableFileBusy => {
                format!("`{shown}` cannot be started: somebody has it open to write it")
            }
            _ => format!("`{shown}` cannot be started: {error}"),
        }
    }
}

/// Why a program was not loaded.
enum Fault {
    /// Somebody has it open to write it, which passes.
    Written(Outcome),
    Lasting(Outcome),
}

impl From<Outcome> for Fault {
    fn from(outcome: Outcome) -> Self {
        Self::Lasting(outcome)
    }
}

/// A start that was submitted; given up when it is dropped.
struct Starting {
    pool: &'static Pool,
    task: Arc<Task>,
}

/// What a starter is to do, and what has become of it.
struct Task {
    start: Arc<Start>,
    run: u64,
    /// Whose reactor tells of the end.
    runtime: Handle,
    stage: Mutex<Stage>,
}

enum Stage {
    /// Not loaded yet; who waits for it.
    Waiting(Option<Waker>),
    /// Loaded; woken when it ends or the time is over.
    Loaded(Box<Loaded>),
    Failed(Fault),
    /// Taken, or given up.
    Over,
}

struct Loaded {
    started: Started,
    brief: Pin<Box<Sleep>>,
}

impl Loaded {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.started.end.poll_read_ready(context).is_ready() {
            self.started.has_ended = true;
            return Poll::Ready(());
        }
        self.brief.as_mut().poll(context)
    }
}

impl Starting {
    fn submit(start: Arc<Start>, run: u64) -> Result<Self, Outcome> {
        let pool = if start.keeps_privileges { &PRIVILEGED } else { &CONFINED };
        let stage = Mutex::new(Stage::Waiting(None));
        let task = Arc::new(Task { start, run, runtime: Handle::current(), stage });
        pool.submit(Arc::clone(&task) as Arc<dyn Work>).map_err(|error| {
            let summary = format!("there is no thread to start the program: {error}");
            Outcome::unknown(Reason::StartFailed, summary)
        })?;
        Ok(Self { pool, task })
    }

    /// Waits until the program was loaded and has ended, or has run for a moment.
    async fn over(&self) -> Result<Started, Fault> {
        poll_fn(|context| self.task.poll(context)).await
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut *self.task.stage(), Stage::Over);
        if matches!(stage, Stage::Waiting(_)) {
            self.pool.take_back(&(Arc::clone(&self.task) as Arc<dyn Work>));
        }
    }
}

impl Task {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<Started, Fault>> {
        let mut stage = self.stage();
        match &mut *stage {
            Stage::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Stage::Loaded(loaded) => ready!(loaded.poll(context)),
            Stage::Failed(_) | Stage::Over => {}
        }
        Poll::Ready(match std::mem::replace(&mut *stage, Stage::Over) {
            Stage::Loaded(loaded) => Ok(loaded.started),
            Stage::Failed(fault) => Err(fault),
            Stage::Waiting(_) | Stage::Over => Err(broke_off()),
        })
    }

    /// Notes what has become of the start, for whoever waits.
    fn done(&self, result: Result<Started, Fault>) {
        let mut stage = self.stage();
        let Stage::Waiting(waker) = std::mem::replace(&mut *stage, Stage::Over) else {
            // Given up. What was started ends when it is dropped.
            return;
        };
        let waker = waker.unwrap_or_else(|| Waker::noop().clone());
        let is_over = match result {
            Ok(started) => {
                let mut loaded = Loaded { started, brief: Box::pin(sleep(BRIEF)) };
                let is_over = loaded.poll(&mut Context::from_waker(&waker)).is_ready();
                *stage = Stage::Loaded(Box::new(loaded));
                is_over
            }
            Err(fault) => {
                *stage = Stage::Failed(fault);
                true
            }
        };
        drop(stage);
        if is_over {
            waker.wake();
        }
    }
}

impl Work for Task {
    fn run(&self, ready: &io::Result<()>) {
        if matches!(*self.stage(), Stage::Over) {
            return;
        }
        let _runtime = self.runtime.enter();
        self.done(match ready {
            Ok(()) => self.start.start(self.run),
            // It is not started with privileges that it should not have.
            Err(error) => {
                let summary = format!("our privileges cannot be kept from the program: {error}");
                Err(Outcome::unknown(Reason::StartFailed, summary).into())
            }
        });
    }

    fn broke_off(&self) {
        self.done(Err(broke_off()));
    }
}

fn broke_off() -> Fault {
    Outcome::unknown(Reason::Internal, "the start broke off").into()
}
