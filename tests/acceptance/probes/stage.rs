//! A folder with a server in it, and probes that look at it.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base::diagnostic::Diagnostics;
use probes::manual::manual;
use probes::{Outcome, ProbeConfig, Reason, Status};
use tempfile::TempDir;
use tests::program::{Program, free_port};
use tests::wait_until;
use tokio_util::sync::CancellationToken;

/// A folder and a port of a server, with a certificate for `127.0.0.1` and `localhost`.
pub(crate) struct Stage {
    folder: TempDir,
    pub(crate) port: u16,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("veilleur-probes").tempdir().unwrap();
        // Servers that give up root must get in.
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).unwrap();
        Self { folder, port: free_port() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file in which `DIR` and `PORT` stand for the folder and the port.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let folder = self.folder.path().display().to_string();
        let text = text.replace("DIR", &folder).replace("PORT", &self.port.to_string());
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Makes `cert.pem` and `key.pem`, which everybody may read.
    pub(crate) fn certificate(&self) -> String {
        let name = "subjectAltName=DNS:localhost,IP:127.0.0.1";
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "20", "-subj", "/CN=localhost", "-addext", name])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", &self.text("key.pem"), "-out", &self.text("cert.pem")]));
        for file in ["key.pem", "cert.pem"] {
            let open = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(self.path(file), open).unwrap();
        }
        self.text("cert.pem")
    }

    /// Starts a server and waits until it takes connections.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Program {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path());
        self.spawn(command)
    }

    pub(crate) fn spawn(&self, command: Command) -> Program {
        let mut server = Program::spawn(command);
        wait_until("the server listens", || {
            assert!(server.is_running(), "the server ended: {}{}", server.stdout(), server.log());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        server
    }

    /// What the probe finds; `DIR` and `PORT` in its configuration stand for those of the server.
    #[track_caller]
    pub(crate) fn look(&self, yaml: &str) -> Outcome {
        self.look_for(yaml, Duration::from_secs(30))
    }

    /// As [`Self::look`], for so long at most.
    #[track_caller]
    pub(crate) fn look_for(&self, yaml: &str, time: Duration) -> Outcome {
        let folder = self.folder.path().display().to_string();
        look_for(&yaml.replace("DIR", &folder).replace("PORT", &self.port.to_string()), time)
    }

    /// Looks, and holds what is found against what should be; the summary has `part`.
    #[track_caller]
    pub(crate) fn check(&self, yaml: &str, reason: Reason, part: &str) -> Outcome {
        let outcome = self.look(yaml);
        assert_eq!(outcome.reason, reason, "{yaml}: {outcome:#?}");
        assert!(outcome.summary.contains(part), "{yaml}: {}", outcome.summary);
        assert_eq!(outcome.status == Status::Ok, reason == Reason::None, "{yaml}");
        outcome
    }

    /// As [`Self::check`], of a server that needs a while until it serves.
    #[track_caller]
    pub(crate) fn wait_for(&self, yaml: &str) {
        wait_until("the server serves", || self.look(yaml).reason == Reason::None);
    }
}

/// What the probe finds.
#[track_caller]
pub(crate) fn look(yaml: &str) -> Outcome {
    look_for(yaml, Duration::from_secs(30))
}

/// What the probe finds in so much time.
#[track_caller]
fn look_for(yaml: &str, time: Duration) -> Outcome {
    let mut diagnostics = Diagnostics::new("p.yml");
    let config: Option<ProbeConfig> = base::yaml::read(yaml, &mut diagnostics);
    let probe = config.and_then(|config| config.build(&mut diagnostics));
    assert!(diagnostics.is_empty(), "{diagnostics}\n{yaml}");
    let (probe, kind) = (probe.unwrap(), yaml.split(':').next().unwrap().trim());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let run = probe.run(&stop);
        tokio::pin!(run);
        tokio::select! {
            outcome = &mut run => return outcome,
            () = tokio::time::sleep(time) => stop.cancel(),
        }
        run.await
    });
    // Whatever it tells stands in its manual.
    let untold = manual(kind).unwrap().leaves_out(&outcome);
    assert!(untold.is_empty(), "the page of {kind} leaves out {untold:?}");
    outcome
}

/// The value of a metric without labels, or with those given as `name="value",...`.
#[track_caller]
pub(crate) fn metric(outcome: &Outcome, series: &str) -> f64 {
    use base::exposition::{Encoding, Escaping, Format, encode};
    let mut text = String::new();
    encode(
        &outcome.families,
        Encoding { format: Format::Text, names: Escaping::Underscores },
        &mut text,
    );
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

/// A measured value.
#[track_caller]
pub(crate) fn value(outcome: &Outcome, name: &str) -> f64 {
    let found = outcome.measurements.iter().find(|measurement| measurement.label == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", outcome.measurements)).value
}

/// Runs a program that has to succeed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
