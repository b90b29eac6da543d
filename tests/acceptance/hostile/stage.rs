//! Either program in a folder of its own, started as a test wants it.
//!
//! Invariant: what a test measures of a program, it asks the kernel.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tests::program::{Program, free_port, path_of};
use tests::{get, wait_until};

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Agent,
    Evaluator,
}

pub(crate) const BOTH: [Kind; 2] = [Kind::Agent, Kind::Evaluator];

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Agent => "veilleur-agent",
            Self::Evaluator => "veilleur",
        }
    }

    /// The path at which it says that it lives.
    pub(crate) fn alive(self) -> &'static str {
        match self {
            Self::Agent => "/livez",
            Self::Evaluator => "/-/healthy",
        }
    }

    /// A configuration with nothing to do.
    pub(crate) fn idle(self) -> &'static str {
        match self {
            Self::Agent => "host: {enabled: false}\nchecks: []\n",
            Self::Evaluator => "scrape_configs: []\n",
        }
    }
}

/// A program that runs.
pub(crate) struct Running {
    pub(crate) kind: Kind,
    pub(crate) program: Program,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
}

impl Running {
    /// One with this configuration.
    #[track_caller]
    pub(crate) fn new(kind: Kind, config: &str) -> Self {
        Self::under(kind, config, "exec \"$@\"", &[])
    }

    /// As [`Running::new`], started by a shell that does this, which ends in `exec "$@"`; with further
    /// arguments.
    #[track_caller]
    pub(crate) fn under(kind: Kind, config: &str, shell: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::inside(kind, config, shell, more, folder)
    }

    /// As [`Running::under`], in a folder that is there.
    #[track_caller]
    pub(crate) fn inside(
        kind: Kind,
        config: &str,
        shell: &str,
        more: &[&str],
        folder: TempDir,
    ) -> Self {
        let port = free_port();
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("bash");
        command.arg("-c").arg(shell).arg("bash").arg(path_of(kind.name())).args(more);
        command.arg("--config").arg(file).arg("--listen").arg(format!("127.0.0.1:{port}"));
        if kind == Kind::Evaluator {
            command.arg("--data").arg(folder.path().join("data"));
        }
        let mut running = Self { kind, program: Program::spawn(command), port, folder };
        wait_until("the program answers", || {
            assert!(running.program.is_running(), "it ended: {}", running.program.log());
            // Not only the system, which takes connections before the program does.
            get(&running.url(kind.alive())).is_some()
        });
        running
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Whether it says that it lives.
    pub(crate) fn is_alive(&self) -> bool {
        get(&self.url(self.kind.alive())).is_some_and(|(status, _)| status == 200)
    }

    /// The sum of one of its metrics over all labels.
    pub(crate) fn value(&self, metric: &str) -> f64 {
        let text = get(&self.url("/metrics")).map_or_else(String::new, |(_, body)| body);
        let lines = text.lines().filter_map(|line| line.strip_prefix(metric));
        let values = lines.filter(|rest| rest.starts_with(['{', ' ']));
        values.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// How many descriptors it has.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.program.pid())).unwrap().count()
    }

    /// The processor time that it has taken.
    pub(crate) fn busy(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.program.pid())).unwrap();
        let fields: Vec<_> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
        let ticks: u64 = fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Sends `bytes`; returns what comes back until the program closes, within five seconds.
    pub(crate) fn talk(&self, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // It may have heard enough before all is said.
        let _ = socket.write_all(bytes);
        let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            match socket.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    answer.extend_from_slice(b"[still open]");
                    break;
                }
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}
