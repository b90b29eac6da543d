//! Programs of the system that a probe asks: `systemctl`, `journalctl`.
//!
//! They are started as scripts are, with nothing but their arguments and a bound on what they print.
//!
//! Invariant: an argument is one, whatever is in it; no shell ever sees it.

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Spanned};
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::runs::Run;
use super::spawn::{Command, Exit, PATH};
use super::start::Start;
use super::wait::{self, End};
use super::{check, report};
use crate::outcome::{Outcome, Reason};
use crate::text::shown;

/// How much of what it prints is kept.
const MOST_BYTES: usize = 4 << 20;
/// How much of what it prints as errors is shown.
const MOST_OF_ERRORS: usize = 1 << 10;

/// A program that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    program: String,
}

/// What it printed.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it printed, or the beginning of it.
    pub(crate) text: Vec<u8>,
    /// Whether there was more.
    pub(crate) is_cut: bool,
    /// What it printed as errors, fit to be shown.
    pub(crate) errors: String,
}

impl Tool {
    /// The program that was `written`, or `default`, which need not be there.
    pub(crate) fn new(
        written: Option<&Spanned<String>>,
        default: &str,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let Some(written) = written else { return Self { program: default.to_owned() } };
        if let Err(fault) = check(&PathBuf::from(&written.value), None) {
            report(&fault, written.place, diagnostics);
        }
        Self { program: written.value.clone() }
    }

    /// Runs it with `arguments`.
    ///
    /// # Errors
    ///
    /// What a probe says whose program did not come to its own end.
    pub(crate) async fn ask(
        &self,
        arguments: &[String],
        stop: &CancellationToken,
    ) -> Result<Answer, Outcome> {
        let shown_name = &self.program;
        let all = std::iter::once(&self.program).chain(arguments);
        let arguments: Result<Vec<_>, _> = all.map(|text| CString::new(text.as_bytes())).collect();
        let Ok(arguments) = arguments else {
            let summary = format!("an argument of `{shown_name}` has a zero byte in it");
            return Err(Outcome::unknown(Reason::StartFailed, summary));
        };
        let variables = [format!("PATH={PATH}"), "LANG=C.UTF-8".to_owned()];
        let environment =
            variables.into_iter().filter_map(|text| CString::new(text).ok()).collect();
        let start = Arc::new(Start {
            program: PathBuf::from(&self.program),
            command: Command { arguments, environment },
            limits: Limits::default(),
            user: None,
            keeps_privileges: false,
        });
        let run = Run::begin(start.limits.processes);
        let started = start.begin(&run, stop).await?;
        let ended = wait::see_through(started, run, MOST_BYTES, stop).await.map_err(|error| {
            let summary = format!("`{shown_name}` was started but cannot be watched: {error}");
            Outcome::unknown(Reason::StartFailed, summary)
        })?;
        let errors = shown(&ended.stderr.text, MOST_OF_ERRORS).trim().to_owned();
        let code = match ended.end {
            End::Exit(Exit::Code(code)) => code,
            // What came before the flood is as good as ever.
            End::Flood => 0,
            End::TimeUp => {
                let summary = format!("`{shown_name}` did not end in time");
                return Err(Outcome::unknown(Reason::Timeout, summary));
            }
            end => {
                let summary = format!("`{shown_name}` did not come to its own end: {end:?}");
                return Err(Outcome::unknown(Reason::Killed, summary));
            }
        };
        let is_cut = ended.stdout.is_cut();
        Ok(Answer { code, text: ended.stdout.text, is_cut, errors })
    }
}
