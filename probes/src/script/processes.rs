//! Reading `/proc`: which processes there are, and to which run they belong.
//!
//! Invariant: nothing here signals, waits or remembers; a process that ends while it is looked at
//! is not there.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use base::clock::Stopwatch;

/// How old a number of tasks may be that need not be exact.
const LATELY: Duration = Duration::from_millis(100);

/// The variable by which what a script started is recognised.
pub(super) const MARKER: &str = "VEILLEUR_RUN";

/// Our own process id.
pub(super) static OURSELVES: LazyLock<i32> =
    LazyLock::new(|| rustix::process::getpid().as_raw_nonzero().get());

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) session: i32,
    pub(super) threads: u32,
    /// Whether it has ended and waits to be waited for.
    pub(super) is_zombie: bool,
    /// When it was started, in the kernel's ticks: tells it from a later one with the same id.
    pub(super) started: u64,
}

/// The process with the id `pid`.
pub(super) fn read(pid: i32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &stat)
}

fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    // The name stands in brackets and may have anything in it, brackets too.
    let after_name = stat.iter().rposition(|b| *b == b')')? + 1;
    let fields = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    let number = |n: usize| fields.get(n)?.parse().ok();
    Some(Process {
        pid,
        parent: number(1)?,
        session: number(3)?,
        threads: fields.get(17)?.parse().ok()?,
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
        started: fields.get(19)?.parse().ok()?,
    })
}

/// Every process.
fn all() -> HashMap<i32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .map(|process| (process.pid, process))
        .collect()
}

/// Every process below ourselves, each with the run that it belongs to, where that can be told:
/// by its session, by the marker in its environment, or else by its nearest ancestor's.
///
/// Whatever a script starts stays below us: those whose parent has ended are handed to us.
pub(super) fn of_runs(leaders: &HashMap<i32, u64>) -> Vec<(Process, Option<u64>)> {
    let mut all = all();
    let pids: Vec<i32> = all.keys().copied().collect();
    // Outer: whether it is below us. Inner: its run.
    let mut known: HashMap<i32, Option<Option<u64>>> = HashMap::from([(*OURSELVES, Some(None))]);
    for pid in pids {
        // Up to somebody who is known, then back down again: each process is looked at once.
        let (mut chain, mut at) = (Vec::new(), pid);
        let mut belongs = loop {
            if let Some(belongs) = known.get(&at) {
                break *belongs;
            }
            match all.get(&at) {
                Some(process) if chain.len() <= all.len() => {
                    chain.push(*process);
                    at = process.parent;
                }
                Some(_) => break None,
                // Its parent has ended since it was read: who has it now?
                None => match chain.last().and_then(|child| read(child.pid)) {
                    Some(child) if child.parent != at => {
                        all.insert(child.pid, child);
                        chain.pop();
                        at = child.pid;
                    }
                    _ => break None,
                },
            }
        };
        for process in chain.into_iter().rev() {
            belongs = belongs.map(|inherited| {
                let by_session = leaders.get(&process.session).copied();
                by_session.or_else(|| marker(process.pid)).or(inherited)
            });
            known.insert(process.pid, belongs);
        }
    }
    known.remove(&OURSELVES);
    let below = known.iter().filter_map(|(pid, belongs)| Some((*all.get(pid)?, (*belongs)?)));
    below.collect()
}

/// The run that the environment of `pid` names.
pub(super) fn marker(pid: i32) -> Option<u64> {
    /// The environment of a process is rarely over a few kilobytes.
    const MAX: u64 = 128 << 10;
    let mut environ = Vec::new();
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(MAX).read_to_end(&mut environ).ok()?;
    environ.split(|b| *b == 0).find_map(|variable| {
        let value = variable.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"=")?;
        let (ours, run) = std::str::from_utf8(value).ok()?.split_once('.')?;
        if ours.parse() == Ok(*OURSELVES) { run.parse().ok() } else { None }
    })
}

/// The marker's value for a run.
pub(super) fn marker_of(run: u64) -> String {
    format!("{MARKER}={}.{run}", *OURSELVES)
}

/// The children that were handed to us since their parents ended, and those of our own that the
/// main thread started.
///
/// The kernel hands them to the main thread and keeps its children apart from those of the other
/// threads, so that this reads a line that is nearly always empty. Where it was built without that
/// file, every process must be looked at.
pub(super) fn adopted() -> Vec<i32> {
    static CHILDREN: LazyLock<Option<File>> =
        LazyLock::new(|| File::open(format!("/proc/self/task/{}/children", *OURSELVES)).ok());
    let Some(children) = &*CHILDREN else {
        let all = all();
        return all.values().filter(|p| p.parent == *OURSELVES).map(|p| p.pid).collect();
    };
    let mut list = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = children.read_at(&mut chunk, list.len() as u64) {
        list.extend_from_slice(&chunk[..length]);
    }
    let list = String::from_utf8_lossy(&list);
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// As [`tasks`], at most a tenth of a second ago.
pub(super) fn tasks_lately() -> u32 {
    static KNOWN: Mutex<Option<(Stopwatch, u32)>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    match *known {
        Some((read, tasks)) if read.elapsed() < LATELY => tasks,
        _ => {
            let (read, tasks) = (Stopwatch::start(), tasks());
            *known = Some((read, tasks));
            tasks
        }
    }
}

/// How many processes and threads there are on the host.
pub(super) fn tasks() -> u32 {
    static LOADAVG: LazyLock<Option<File>> = LazyLock::new(|| File::open("/proc/loadavg").ok());
    let mut line = [0; 128];
    let Some(Ok(length)) = LOADAVG.as_ref().map(|file| file.read_at(&mut line, 0)) else {
        return 0;
    };
    // 0.30 0.17 0.17 1/96 26733
    let line = std::str::from_utf8(&line[..length]).unwrap_or_default();
    let tasks = line.split_ascii_whitespace().nth(3).and_then(|field| field.split_once('/'));
    tasks.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_process_whatever_its_name() {
        let stat = b"17 (a) b ((c) S 5 6 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 9 0 1234 5 6";
        let expected =
            Process { pid: 17, parent: 5, session: 7, threads: 9, is_zombie: false, started: 1234 };
        assert_eq!(parse(17, stat), Some(expected));
        assert_eq!(parse(17, b"17 (a"), None);
        assert_eq!(parse(17, b"17 (a) S 5"), None);
    }

    #[test]
    fn reads_the_host() {
        assert!(tasks() > 0);
        let ourselves = read(*OURSELVES).unwrap();
        assert!(!ourselves.is_zombie && ourselves.threads > 0);
        assert_eq!(marker(*OURSELVES), None);
    }
}
