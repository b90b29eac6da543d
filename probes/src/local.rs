//! Probes of what is on this host: processes, units, files, logs, ports.
//!
//! ```text
//! Probe::run ──▶ Blocking: a thread, with the time ──▶ a plain look at /proc or a file ──▶ Outcome
//! ```
//!
//! Invariant: no look at the host holds up the agent: it is made on a thread for waiting, one at a
//! time for each probe, and every read has a bound.

mod blocking;
mod patterns;
mod keep;
pub mod process;
pub mod port;
pub mod file;
pub mod certificate;
pub mod log;
pub mod systemd;
pub mod journal;

use base::diagnostic::{Diagnostics, Spanned};

use crate::outcome::{Outcome, Reason, Status};
use crate::thresholds::{Limits, Value};

/// An outcome by what limits say of `values`; `summary` says what was seen.
fn judged(limits: &Limits, values: &[Value], summary: &str) -> Outcome {
    let verdict = limits.judge(values);
    let mut outcome = match verdict.status {
        Status::Ok => Outcome::ok(summary),
        status => Outcome::new(status, Reason::Threshold, format!("{}; {summary}", verdict.text)),
    };
    outcome.measurements = verdict.measurements;
    outcome
}

/// Whether what was written is a path from the root, reporting where it is not.
fn absolute(path: &Spanned<String>, diagnostics: &mut Diagnostics) -> bool {
    let good = path.value.starts_with('/') && !path.value.contains('\0');
    if !good {
        let help = "write the whole path, such as `/var/log/app.log`";
        let message = format!("`{}` is not an absolute path", path.value);
        diagnostics.report_with_help(path, message, help);
    }
    good
}
