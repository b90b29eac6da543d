//! A program in a process of its own, on a stack of ours.
//!
//! This is what `posix_spawn` does, which maps a stack for every start and takes it away again. For a
//! process with threads that means to interrupt every processor that one of them is on, which costs
//! as much as all the rest. Here the new process runs on a part of the stack of the thread that
//! starts it, which waits until it is not needed any more. So it can also put the limits on itself,
//! before there is a program that they could come too late for.
//!
//! Invariant: between its begin and the program the new process calls the kernel, and nothing else:
//! no memory is asked for, no lock taken, no handler of a signal run.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::{Pid, Resource, Rlimit, WaitId, WaitIdOptions, setrlimit, setsid, waitid};

/// More than the calls need by far; of the starter's own stack.
const STACK: usize = 16 << 10;

/// What is limited, and to how much.
pub(super) type Limit = (Resource, u64);

/// What is to be started, and what it gets.
#[derive(Clone, Copy)]
pub(super) struct Launch<'l> {
    pub(super) path: &'l CStr,
    pub(super) arguments: &'l [&'l CStr],
    pub(super) environment: &'l [&'l CStr],
    /// What will be its descriptors 0, 1 and 2; none of them is one of those here.
    pub(super) descriptors: [RawFd; 3],
    /// Descriptors that it would inherit and must not.
    pub(super) close: &'l [RawFd],
    /// Signals whose answer may not be the usual; it has that to all others.
    pub(super) signals: &'l [c_int],
    pub(super) limits: &'l [Limit],
}

/// What the new process works with; it shares our memory until it is the program.
struct Orders<'l> {
    launch: Launch<'l>,
    /// As `execve` wants them, with a null at the end.
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    no_signals: libc::sigset_t,
    default: libc::sigaction,
    /// Why there is no program; 0 where there is.
    error: AtomicI32,
}

/// Starts a program as the leader of a session of its own, with the usual answer to every signal.
/// Blocks until it is loaded.
///
/// # Errors
///
/// Why the system does not start it; then there is no process.
#[expect(unsafe_code, reason = "no crate offers it")]
pub(super) fn launch(launch: &Launch<'_>) -> io::Result<Pid> {
    let ended = |list: &[&CStr]| -> Vec<*const c_char> {
        list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let mut all_signals = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut no_signals = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both fill what they are given; a `sigaction` of zeros is the default action without
    // flags, and all its fields may be zero.
    let (no_signals, default) = unsafe {
        libc::sigfillset(all_signals.as_mut_ptr());
        libc::sigemptyset(no_signals.as_mut_ptr());
        (no_signals.assume_init(), MaybeUninit::<libc::sigaction>::zeroed().assume_init())
    };
    let orders = Orders {
        launch: *launch,
        arguments: ended(launch.arguments),
        environment: ended(launch.environment),
        no_signals,
        default,
        error: AtomicI32::new(0),
    };
    let mut stack = [MaybeUninit::<u128>::uninit(); STACK / size_of::<u128>()];
    // No handler of ours may run in the new process, which has our memory.
    // SAFETY: the set was filled above; the old one is written.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, all_signals.as_ptr(), before.as_mut_ptr());
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: `begin` gets a pointer to what it expects. With CLONE_VFORK we wait here until the new
    // process is the program or has ended, so that the stack and the orders outlive its use of them,
    // and nobody but it uses them meanwhile. The stack grows down from its end, which is aligned as
    // its elements are.
    let (pid, error) = unsafe {
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        let pid =
            libc::clone(begin, top, flags, ptr::from_ref(&orders).cast_mut().cast::<c_void>());
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
        (pid, error)
    };
    let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else { return Err(error) };
    match orders.error.load(Ordering::Relaxed) {
        0 => Ok(pid),
        error => {
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
            Err(io::Error::from_raw_os_error(error))
        }
    }
}

/// Where the new process begins.
#[expect(unsafe_code, reason = "see `launch`")]
extern "C" fn begin(orders: *mut c_void) -> c_int {
    // SAFETY: `launch` gives us its orders, which are there for as long as we are here.
    let orders = unsafe { &*orders.cast_const().cast::<Orders<'_>>() };
    // SAFETY: we are the new process.
    let error = unsafe { become_program(orders) };
    orders.error.store(error, Ordering::Relaxed);
    // SAFETY: it runs nothing of what an end of our own would.
    unsafe { libc::_exit(127) }
}

/// Becomes the program. Returns why not.
///
/// # Safety
///
/// Only for the new process: it changes the signals, descriptors and limits of the process.
#[expect(unsafe_code, reason = "see `launch`")]
unsafe fn become_program(orders: &Orders<'_>) -> c_int {
    let launch = &orders.launch;
    // SAFETY: every pointer is to something in `orders`; each of the calls is one of the kernel.
    unsafe {
        for signal in launch.signals {
            // Of some the action cannot be changed, and is the default.
            libc::sigaction(*signal, &raw const orders.default, ptr::null_mut());
        }
        if let Err(error) = setsid() {
            return error.raw_os_error();
        }
        for (target, source) in (0..).zip(launch.descriptors) {
            if libc::dup2(source, target) < 0 {
                return error();
            }
        }
        for descriptor in launch.close {
            libc::close(*descriptor);
        }
        for (resource, limit) in launch.limits {
            let both = Rlimit { current: Some(*limit), maximum: Some(*limit) };
            // It fails where our own limit is lower already, which is as good.
            let _ = setrlimit(*resource, both);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const orders.no_signals, ptr::null_mut());
        libc::execve(launch.path.as_ptr(), orders.arguments.as_ptr(), orders.environment.as_ptr());
        error()
    }
}

#[expect(unsafe_code, reason = "see `launch`")]
fn error() -> c_int {
    // SAFETY: it is always there.
    unsafe { *libc::__errno_location() }
}
