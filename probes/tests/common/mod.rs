//! What the tests of the scripts share: probes from YAML, and a look at the processes.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base::diagnostic::Diagnostics;
use probes::{Outcome, Probe, ProbeConfig};
use tokio_util::sync::CancellationToken;

/// The probe that `yaml` describes.
#[track_caller]
pub(crate) fn probe(yaml: &str) -> Arc<dyn Probe> {
    let mut diagnostics = Diagnostics::new("test.yml");
    let config: Option<ProbeConfig> = base::yaml::read(yaml, &mut diagnostics);
    let probe = config.and_then(|config| config.build(&mut diagnostics));
    assert!(diagnostics.is_empty(), "{diagnostics}\n{yaml}");
    probe.unwrap()
}

/// What is wrong with `yaml`.
pub(crate) fn faults(yaml: &str) -> String {
    let mut diagnostics = Diagnostics::new("test.yml");
    let config: Option<ProbeConfig> = base::yaml::read(yaml, &mut diagnostics);
    config.and_then(|config| config.build(&mut diagnostics));
    diagnostics.to_string()
}

/// A shell script as a probe; `more` are further settings, each after a comma.
#[track_caller]
pub(crate) fn shell(script: &str, more: &str) -> Arc<dyn Probe> {
    let script = serde_json::to_string(script).unwrap();
    probe(&format!("script: {{command: [/bin/bash, -c, {script}]{more}}}"))
}

/// Runs `probe`, cancelling it after `time`. Returns how long it took too.
#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
pub(crate) async fn run_for(probe: &dyn Probe, time: Duration) -> (Outcome, Duration) {
    let (stop, begun) = (CancellationToken::new(), Instant::now());
    let run = probe.run(&stop);
    tokio::pin!(run);
    tokio::select! {
        outcome = run.as_mut() => return (outcome, begun.elapsed()),
        () = tokio::time::sleep(time) => stop.cancel(),
    }
    (run.await, begun.elapsed())
}

/// Runs `probe` with more time than it needs.
pub(crate) async fn run(probe: &dyn Probe) -> Outcome {
    run_for(probe, Duration::from_secs(60)).await.0
}

/// A number that no other test uses, by which its processes are found.
pub(crate) fn tag() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let (ours, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{}.{next:04}", 100_000 + ours)
}

/// The command lines of the living processes that have `tag` in them.
pub(crate) fn alive(tag: &str) -> Vec<String> {
    processes()
        .filter(|(_, state, _)| *state != 'Z')
        .filter_map(|(pid, ..)| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(tag).then_some(line)
        })
        .collect()
}

/// How many of our children are zombies.
pub(crate) fn zombies() -> usize {
    let ours = std::process::id();
    processes().filter(|(_, state, parent)| *state == 'Z' && *parent == ours).count()
}

/// Id, state and parent of every process.
fn processes() -> impl Iterator<Item = (u32, char, u32)> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<_> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        Some((pid, fields[0].chars().next()?, fields[1].parse().ok()?))
    })
}

/// Waits until `condition` holds, for at most `time`.
#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
pub(crate) async fn eventually(time: Duration, condition: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begun.elapsed() > time {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
