//! Named points at which a debug build dies, so that a test sees what a crash there leaves behind.
//!
//! `VEILLEUR_CRASH_AT=journal.appended:3` ends the process as `kill -9` does, when it passes the
//! point `journal.appended` for the third time. In a release build a point is nothing.
//!
//! Invariant: a release build never ends here, whatever its environment says.

#[cfg(debug_assertions)]
use std::sync::OnceLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a debug build is to die, and how often it is still to pass there before.
///
/// Global, because a point is in the midst of code that is to know nothing of it.
#[cfg(debug_assertions)]
static ARMED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();

#[cfg(debug_assertions)]
fn armed() -> Option<&'static (String, AtomicU64)> {
    #[expect(clippy::disallowed_methods, reason = "of a debug build, for its tests")]
    let read = || {
        let text = std::env::var("VEILLEUR_CRASH_AT").ok()?;
        let (name, passes) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU64::new(passes.parse().unwrap_or(1))))
    };
    ARMED.get_or_init(read).as_ref()
}

/// The point `name`.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    let Some((at, left)) = armed() else { return };
    if at == name && left.fetch_sub(1, Ordering::SeqCst) == 1 {
        use rustix::process::{Signal, getpid, kill_process};
        while kill_process(getpid(), Signal::KILL).is_ok() {
            std::thread::park();
        }
    }
}

/// The point `name`.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}

/// `limit`, beyond which something is done; `soon` in its place where somebody waits for a point,
/// which may be in what is done then.
#[cfg(debug_assertions)]
pub(crate) fn sooner(limit: u64, soon: u64) -> u64 {
    if armed().is_some() { soon } else { limit }
}

/// `limit`, beyond which something is done.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn sooner(limit: u64, _soon: u64) -> u64 {
    limit
}
