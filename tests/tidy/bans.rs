//! Who may ask for the time, start tasks and threads, read the environment.
//!
//! Invariant: every exception is in a table here with its reason, and is really used.

use super::sources::{code, files, report, text};

/// A use of something that few may use, and who may.
struct Ban {
    /// What is looked for.
    words: &'static [&'static str],
    /// Parts of the paths that may have it, each with why.
    allowed: &'static [(&'static str, &'static str)],
}

const TIME: Ban = Ban {
    words: &["Timestamp::now()", "since_epoch()"],
    allowed: &[
        ("base/src/clock.rs", "the only reader of a clock"),
        ("probes/src/session.rs", "how long a certificate is still good for is what is measured"),
        ("probes/src/ntp.rs", "the clock is what is measured"),
        ("/run.rs", "loops own the time"),
        ("/src/app", "the life of a program: starts, reloads, ends"),
        ("agent/src/server.rs", "a request is answered as of now"),
        ("alertmanager/src/api/", "a request is answered as of now"),
        ("probes/src/local/blocking.rs", "ages of files and certificates are told as of now"),
    ],
};

const TASKS: Ban = Ban {
    words: &["tokio::spawn(", "task::spawn(", "spawn_local(", "JoinSet::", "spawn_on("],
    allowed: &[("base/src/supervisor.rs", "the one place that spawns")],
};

const THREADS: Ban = Ban {
    words: &["thread::spawn(", "thread::Builder", "thread::scope("],
    allowed: &[
        (
            "probes/src/host/ask.rs",
            "a mount or a sensor that hangs holds a thread for good, and no task may",
        ),
        ("probes/src/script/starters.rs", "so does the file system of a program"),
        ("promql/src/evaluate/pieces.rs", "they end before the query that they help with"),
        ("alertmanager/src/api/query/answer.rs", "they end before the answer that they help with"),
    ],
};

const ENVIRONMENT: Ban = Ban {
    words: &["env::var", "env::vars", "env::set_var"],
    allowed: &[
        ("base/src/yaml.rs", "variables that a configuration names, or asks for"),
        ("probes/src/http/config/proxy.rs", "`proxy_from_environment` of a module or a check"),
        ("alertmanager/src/crash.rs", "where a debug build is to die, for its tests"),
    ],
};

const CLOCK: Ban = Ban {
    words: &["SystemTime::now", "Instant::now"],
    allowed: &[("base/src/clock.rs", "the only reader of a clock")],
};

#[track_caller]
fn check(ban: &Ban) {
    let mut broken = Vec::new();
    let mut used = vec![false; ban.allowed.len()];
    for (path, number, line) in code() {
        for word in ban.words.iter().filter(|word| line.contains(**word)) {
            match ban.allowed.iter().position(|(part, _)| path.contains(part)) {
                Some(place) => used[place] = true,
                None => broken.push(format!("{path}:{number}: `{word}`")),
            }
        }
    }
    let unused = ban.allowed.iter().zip(used).filter(|(_, used)| !used);
    broken.extend(unused.map(|((part, _), _)| format!("`{part}` needs no exception any more")));
    report(broken);
}

#[test]
fn only_loops_and_servers_ask_for_the_time() {
    check(&TIME);
}

#[test]
fn only_the_supervisor_starts_tasks() {
    check(&TASKS);
}

#[test]
fn no_thread_is_started_but_by_who_may() {
    check(&THREADS);
}

#[test]
fn only_configuration_reads_the_environment() {
    check(&ENVIRONMENT);
}

#[test]
fn only_the_clock_reads_a_clock() {
    check(&CLOCK);
}

#[test]
fn clippy_knows_what_is_banned() {
    let config = text("clippy.toml");
    let banned = [
        "std::time::Instant::now",
        "std::time::SystemTime::now",
        "tokio::time::Instant::now",
        "jiff::Timestamp::now",
        "jiff::Zoned::now",
        "tokio::spawn",
        "tokio::task::spawn",
        "std::thread::spawn",
        "tokio::sync::mpsc::unbounded_channel",
        "std::sync::mpsc::channel",
        "std::env::var",
    ];
    let mut broken = Vec::new();
    for path in banned {
        let line = config.lines().find(|line| line.contains(&format!("\"{path}\"")));
        if line.is_none_or(|line| !line.contains("reason = \"")) {
            broken.push(format!("clippy.toml: `{path}` is not banned with a reason"));
        }
    }
    report(broken);
}

#[test]
fn every_crate_has_the_lints_of_the_house() {
    let crates = files(&["Cargo.toml"]).into_iter();
    let broken = crates.filter(|(path, text)| {
        // Tests unwrap, print, and read the environment and the clock.
        !["Cargo.toml", "tests/Cargo.toml"].contains(&path.as_str())
            && !text.contains("[lints]\nworkspace = true")
    });
    report(broken.map(|(path, _)| format!("{path}: does not take the lints of the workspace")));
}

#[test]
fn nothing_is_allowed_for_a_whole_crate() {
    let broken = code().filter(|(_, _, line)| line.starts_with("#![allow"));
    report(broken.map(|(path, number, line)| format!("{path}:{number}: {line}")));
}
