//! Starts a program of the operator's, with the message as JSON on its standard input.
//!
//! ```text
//! veilleur ── JSON, version 4 ──▶ program ── exit status ──▶ taken, again, never
//! ```
//!
//! The program is started as it is written, without a shell; its arguments are fixed, and its
//! environment is empty but for a few variables of ours. What it prints first is the name of the
//! message, which it gets again with the next one of the group.
//!
//! Invariant: nothing from an alert is an argument or a variable (X08, X09), and whatever the program
//! has started ends with its time.

mod file;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::period::Period;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::notifier::{DeliveryError, Notification, Notifier, Receipt, excerpt};
use super::texts::one_line;
use super::webhook;

/// The longest that a program may run: the lane waits for 20 seconds.
const LONGEST: Period = Period::from_secs(18);
/// What is kept of each of its outputs; the rest is read and dropped.
const MAX_OUTPUT: usize = 16 << 10;
/// Where programs that it starts are looked for.
const SEARCHED: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An entry of `exec_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The program by its absolute path, and its arguments.
    pub command: Option<Spanned<Vec<Spanned<String>>>>,
    /// The longest that it may take; 10s by default, 18s at most.
    pub timeout: Option<Spanned<Period>>,
    /// The most alerts in one message; 0 is any number.
    pub max_alerts: usize,
}

/// Starts one program.
#[derive(Clone, Debug)]
pub struct ExecNotifier {
    program: PathBuf,
    arguments: Vec<String>,
    limit: Duration,
    max_alerts: usize,
}

impl ExecConfig {
    /// The notifier.
    pub fn build(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<ExecNotifier> {
        let limit = self.timeout.as_ref().map_or(Period::from_secs(10), |limit| limit.value);
        if let Some(written) = self.timeout.as_ref().filter(|_| limit.is_zero() || limit > LONGEST)
        {
            diagnostics.report(written, format!("`timeout` is at least 1ms, at most {LONGEST}"));
        }
        let command = self.command.as_ref();
        let Some((program, arguments)) = command.and_then(|command| command.value.split_first())
        else {
            let help = "write a list: `[/usr/local/bin/tell, argument]`";
            let place = command.map_or(place, |command| command.place);
            diagnostics.report_with_help(place, "`command` is missing", help);
            return None;
        };
        let words = std::iter::once(program).chain(arguments);
        for word in words.filter(|word| word.value.contains("{{") || word.value.contains('\0')) {
            diagnostics.report_with_help(
                word,
                "the command cannot come from an alert",
                "the program finds the alerts on its standard input, as JSON",
            );
        }
        let path = PathBuf::from(&program.value);
        if let Err(fault) = file::check(&path) {
            diagnostics.report_with_help(program, fault.what, fault.help);
        }
        Some(ExecNotifier {
            program: path,
            arguments: arguments.iter().map(|word| word.value.clone()).collect(),
            limit: limit.duration(),
            max_alerts: self.max_alerts,
        })
    }
}

#[async_trait]
impl Notifier for ExecNotifier {
    fn integration(&self) -> &'static str {
        "exec"
    }

    fn preview(&self, notification: &Notification) -> String {
        webhook::body(notification, self.max_alerts).to_string()
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        // Again at each start: somebody may have changed it since.
        file::check(&self.program).map_err(|fault| DeliveryError::transient(fault.what))?;
        let body = webhook::body(notification, self.max_alerts).to_string();
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", SEARCHED)
            .env("LANG", "C.UTF-8")
            .env("VEILLEUR_ID", &notification.id)
            .env("VEILLEUR_THREAD", &notification.thread)
            .env("VEILLEUR_STATUS", notification.status())
            .env("VEILLEUR_REASON", notification.reason.as_str())
            .env("VEILLEUR_RECEIVER", &notification.receiver)
            .env("VEILLEUR_EXTERNAL_URL", &notification.external_url)
            .env("VEILLEUR_REFERENCE", notification.reference.as_deref().unwrap_or(""))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| {
            let program = self.program.display();
            DeliveryError::transient(format!("cannot start `{program}`: {error}"))
        })?;
        let mut running = Running(child);
        match timeout(self.limit, running.finish(body.as_bytes())).await {
            Ok(finished) => judge(finished),
            Err(_) => {
                running.end_all();
                let reason = format!("the program did not end within {:?}", self.limit);
                Err(DeliveryError::transient(reason))
            }
        }
    }
}

/// A program that runs, and all that it has started: they end with it.
struct Running(Child);

/// What came of it.
struct Finished {
    status: std::process::ExitStatus,
    stdout: String,
    stderr: String,
}

impl Running {
    /// Hands over `input`, and waits for the end of the program and of its outputs.
    async fn finish(&mut self, input: &[u8]) -> std::io::Result<Finished> {
        let (stdin, stdout, stderr) =
            (self.0.stdin.take(), self.0.stdout.take(), self.0.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A program that does not want to read it may close it.
                let _ = stdin.write_all(input).await;
            }
        };
        let ((), stdout, stderr) = tokio::join!(write, start_of(stdout), start_of(stderr));
        let status = self.0.wait().await?;
        Ok(Finished { status, stdout, stderr })
    }

    /// Kills the program and what it has started.
    fn end_all(&self) {
        let group = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// The start of an output, of which all is read, so that the program never waits for us.
async fn start_of(output: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut output) = output else { return String::new() };
    let (mut start, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = output.read(&mut piece).await {
        let room = MAX_OUTPUT - start.len();
        start.extend_from_slice(&piece[..length.min(room)]);
    }
    String::from_utf8_lossy(&start).into_owned()
}

/// 0 is taken; 64 to 68, 70, 72, 73, 76 to 78 would be the same again, by the names that
/// `sysexits.h` gives them; whatever else is worth another try, 75 by its very name.
fn judge(finished: std::io::Result<Finished>) -> Result<Receipt, DeliveryError> {
    let finished = finished.map_err(|error| DeliveryError::transient(error.to_string()))?;
    let said =
        [&finished.stderr, &finished.stdout].into_iter().find(|said| !said.trim().is_empty());
    let said = said.map_or(String::new(), |said| format!(": {}", excerpt(&one_line(said, 300))));
    match (finished.status.code(), finished.status.signal()) {
        (Some(0), _) => {
            let reference = one_line(finished.stdout.lines().next().unwrap_or(""), 500);
            Ok(Receipt { reference: (!reference.is_empty()).then_some(reference) })
        }
        (Some(status @ (64..=68 | 70 | 72 | 73 | 76..=78)), _) => {
            let reason = format!("the program ended with status {status}{said}");
            // EX_DATAERR: it is the message that it does not like.
            Err(match status {
                65 => DeliveryError::bad_message(reason),
                _ => DeliveryError::permanent(reason),
            })
        }
        (Some(status), _) => {
            let reason = format!("the program ended with status {status}{said}");
            Err(DeliveryError::transient(reason))
        }
        (None, signal) => {
            let signal = signal.unwrap_or(0);
            let reason = format!("the program was ended by signal {signal}{said}");
            Err(DeliveryError::transient(reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::super::texts::tests::notification;
    use super::*;

    /// A script in a folder that nobody else can write to, and what it is configured with.
    fn script(text: &str, extra: &str) -> (TempDir, ExecNotifier) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let path = folder.path().join("tell");
        std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{text}", folder.path().display()))
            .unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let (built, faults) = build(&format!("{{command: [{}]{extra}}}", path.display()));
        assert_eq!(faults, "");
        (folder, built.unwrap())
    }

    fn build(yaml: &str) -> (Option<ExecNotifier>, String) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Spanned<ExecConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let built = config.value.build(config.place, &mut diagnostics);
        (built, diagnostics.to_string())
    }

    #[tokio::test]
    async fn the_program_gets_the_message_and_nothing_else() {
        // X08, X09, F49
        let (folder, mut notifier) = script(
            "cat > body; env > env; ls -l /proc/$$/fd > fds; echo \"$0 $@\" > arguments; echo T-7; echo x",
            "",
        );
        notifier.arguments = vec!["a b".into(), "$(id)".into()];
        let mut message = notification();
        message.reference = Some("T-6".into());
        for alert in &mut message.alerts {
            alert.labels = alert.labels.with("LD_PRELOAD", "$(touch x); `id`\n");
        }
        let receipt = notifier.notify(&message).await.unwrap();
        assert_eq!(receipt, Receipt::named("T-7"));
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let body: serde_json::Value = serde_json::from_str(&read("body")).unwrap();
        assert_eq!((&body["version"], &body["status"]), (&"4".into(), &"firing".into()));
        assert!(read("arguments").trim_end().ends_with("/tell a b $(id)"), "{}", read("arguments"));
        let env = read("env");
        let mut names: Vec<_> = env.lines().filter_map(|line| line.split('=').next()).collect();
        // What a shell sets by itself.
        names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
        names.sort_unstable();
        let expected = [
            "LANG",
            "PATH",
            "VEILLEUR_EXTERNAL_URL",
            "VEILLEUR_ID",
            "VEILLEUR_REASON",
            "VEILLEUR_RECEIVER",
            "VEILLEUR_REFERENCE",
            "VEILLEUR_STATUS",
            "VEILLEUR_THREAD",
        ];
        assert_eq!(names, expected);
        assert!(env.contains("VEILLEUR_REFERENCE=T-6\n"), "{env}");
        assert!(!read("fds").contains("socket"), "{}", read("fds"));
    }

    #[tokio::test]
    async fn the_exit_status_says_what_came_of_it() {
        let check = async |text: &str, expected: &str| {
            let (_folder, notifier) = script(text, ", timeout: 5s");
            let got = match notifier.notify(&notification()).await {
                Ok(receipt) => format!("taken: {:?}", receipt.reference),
                Err(DeliveryError::Transient { reason, .. }) => format!("again: {reason}"),
                Err(DeliveryError::Permanent { reason }) => format!("never: {reason}"),
            };
            assert_eq!(got, expected, "{text}");
        };
        check("exit 0", "taken: None").await;
        check("cat >/dev/null; echo a; echo b", "taken: Some(\"a\")").await;
        check("echo busy >&2; exit 75", "again: the program ended with status 75: busy").await;
        check("echo gone; exit 1", "again: the program ended with status 1: gone").await;
        check("exit 77", "never: the program ended with status 77").await;
        check("kill -9 $$", "again: the program was ended by signal 9").await;
        // Floods on both sides: neither waits for the other.
        check("exec 0<&-; yes | head -c 300000; exit 0", "taken: Some(\"y\")").await;
    }

    #[tokio::test]
    async fn a_program_that_hangs_ends_with_all_that_it_started() {
        let (folder, notifier) =
            script("sleep 1000 & echo $! > child; echo $$ > parent; wait", ", timeout: 300ms");
        let error = notifier.notify(&notification()).await.unwrap_err();
        assert_eq!(error.to_string(), "the program did not end within 300ms");
        let alive = |name: &str| {
            let Ok(pid) = std::fs::read_to_string(folder.path().join(name)) else { return false };
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while alive("child") || alive("parent") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check("{command: [/bin/true]}", "");
        check(
            "{}",
            "f.yml:1:1: `command` is missing\n  help: write a list: `[/usr/local/bin/tell, argument]`",
        );
        check(
            "{command: [/bin/echo, '{{ .CommonLabels.x }}'], timeout: 1m}",
            "f.yml:1:23: the command cannot come from an alert\n  \
             help: the program finds the alerts on its standard input, as JSON\n\
             f.yml:1:58: `timeout` is at least 1ms, at most 18s",
        );
        check(
            "{command: [tell]}",
            "f.yml:1:12: `tell` is no absolute path\n  help: write the whole path: `/usr/local/bin/tell`",
        );
    }
}
