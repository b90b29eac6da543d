//! What a run of a script means.
//!
//! Invariant: whatever was printed reaches the outcome only as text that is fit to be shown.

use nix::sys::signal::Signal;

use super::output::Capture;
use super::spawn::Exit;
use super::wait::{End, Ended, MAX_OUTPUT};
use super::{Output, json, metrics, nagios};
use crate::outcome::{Outcome, Reason, Status};
use crate::series::SeriesList;
use crate::text::{shown, shown_line};
use crate::thresholds::Limits;

/// The longest summary.
const MAX_SUMMARY: usize = 1 << 10;
/// The longest details.
const MAX_DETAILS: usize = 16 << 10;
/// How much of what a script printed as errors is shown.
const MAX_ERRORS: usize = 4 << 10;

/// Judges a run that took `seconds`, by the form in which the script was declared to print, and by
/// the limits on what it measures.
pub(super) fn judge(ended: &Ended, output: &Output, limits: &Limits, seconds: f64) -> Outcome {
    let mut outcome = match ended.end {
        End::Exit(Exit::Code(code)) => match output {
            Output::Nagios => by_nagios(code, ended),
            Output::Metrics { prefix, series } => by_metrics(code, ended, prefix, series),
            Output::Json => by_json(code, ended),
        },
        end => by_force(end, ended, seconds),
    };
    if let End::Exit(Exit::Code(code)) = ended.end {
        outcome.exit_code = Some(code);
        hold(&mut outcome, limits);
    }
    if outcome.status != Status::Ok {
        let errors = shown(&ended.stderr.text, MAX_ERRORS);
        let errors = errors.trim();
        if !errors.is_empty() && errors != outcome.summary {
            add_detail(&mut outcome, &format!("printed as errors: {errors}"));
        }
    }
    match ended.left_behind {
        0 => {}
        1 => add_detail(&mut outcome, "1 process that it left behind was ended"),
        n => add_detail(&mut outcome, &format!("{n} processes that it left behind were ended")),
    }
    outcome
}

/// Makes an outcome as bad as limits say of what was measured; one that is ok otherwise is unknown
/// where a value is missing.
fn hold(outcome: &mut Outcome, limits: &Limits) {
    let (status, text, missing) = limits.hold(&mut outcome.measurements);
    outcome.worsen(status, Reason::Threshold, &text);
    if let Some(name) = missing.filter(|_| outcome.status == Status::Ok) {
        let why = format!("it has not printed the value `{name}`");
        outcome.worsen(Status::Unknown, Reason::OutputInvalid, &why);
    }
}

/// What a plugin said in a run that took `seconds`, for somebody else to take apart.
pub(super) fn answer(ended: &Ended, seconds: f64) -> (Status, String) {
    let End::Exit(Exit::Code(code)) = ended.end else {
        let outcome = by_force(ended.end, ended, seconds);
        return (outcome.status, outcome.summary);
    };
    let (status, _) = status_of(code);
    let printed = shown(&ended.stdout.text, MAX_OUTPUT);
    if !printed.trim().is_empty() {
        return (status, printed.trim_end().to_owned());
    }
    let errors = shown(&ended.stderr.text, MAX_ERRORS);
    match errors.trim() {
        "" => (status, format!("it printed nothing; exit code {code}")),
        errors => (status, errors.to_owned()),
    }
}

fn add_detail(outcome: &mut Outcome, line: &str) {
    if !outcome.details.is_empty() {
        outcome.details.push('\n');
    }
    outcome.details.push_str(line);
    if outcome.details.len() > MAX_DETAILS {
        let end = (0..=MAX_DETAILS).rev().find(|at| outcome.details.is_char_boundary(*at));
        outcome.details.truncate(end.unwrap_or(0));
    }
}

/// It did not come to its own end.
fn by_force(end: End, ended: &Ended, seconds: f64) -> Outcome {
    let (reason, summary) = match end {
        End::TimeUp => (Reason::Timeout, format!("did not end within {seconds:.1} s")),
        End::Undying => {
            let summary =
                format!("was killed after {seconds:.1} s and does not die: it hangs in the kernel");
            (Reason::Timeout, summary)
        }
        End::TooManyProcesses(count) => {
            (Reason::TooManyProcesses, format!("was stopped with {count} processes"))
        }
        End::Flood => {
            let read = ended.stdout.total + ended.stderr.total;
            (Reason::OutputTooLong, format!("was stopped after it had printed {read} bytes"))
        }
        End::Exit(Exit::Signal(number)) => {
            let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
            (Reason::Killed, format!("was killed by the signal {name} ({number})"))
        }
        End::Exit(Exit::Code(code)) => (Reason::ExitCode, format!("exit code {code}")),
    };
    let mut outcome = Outcome::unknown(reason, summary);
    let printed = shown(&ended.stdout.text, MAX_SUMMARY);
    if !printed.trim().is_empty() {
        outcome.details = format!("printed until then: {}", printed.trim());
    }
    outcome
}

/// The status and reason of an exit code.
fn status_of(code: i32) -> (Status, Reason) {
    match nagios::status_of(code) {
        Some(Status::Ok) => (Status::Ok, Reason::None),
        Some(status) => (status, Reason::Threshold),
        None => (Status::Unknown, Reason::ExitCode),
    }
}

/// One line where the script gave none: what it printed as an error, or else its exit code.
fn line_of(code: i32, ended: &Ended) -> String {
    let errors = shown_line(ended.stderr.text.trim_ascii_start(), MAX_SUMMARY);
    match (errors.is_empty(), nagios::status_of(code)) {
        (false, Some(_)) => errors,
        (false, None) => format!("exit code {code}: {errors}"),
        (true, _) => format!("exit code {code} without a word"),
    }
}

fn by_nagios(code: i32, ended: &Ended) -> Outcome {
    let (status, reason) = status_of(code);
    let text = shown(&ended.stdout.text, MAX_OUTPUT);
    let printed = nagios::take_apart(&text);
    let summary = match (printed.text, nagios::status_of(code)) {
        ("", _) => line_of(code, ended),
        (text, Some(_)) => shown_line(text.as_bytes(), MAX_SUMMARY),
        (text, None) => shown_line(format!("exit code {code}: {text}").as_bytes(), MAX_SUMMARY),
    };
    let mut outcome = Outcome::new(status, reason, summary);
    outcome.details = shown(printed.long_text.as_bytes(), MAX_DETAILS);
    let (measurements, faults) = nagios::parse_perfdata(printed.perfdata);
    outcome.measurements = measurements;
    for fault in faults {
        add_detail(&mut outcome, &fault);
    }
    if ended.stdout.is_cut() {
        add_detail(&mut outcome, &cut(&ended.stdout));
    }
    outcome
}

fn cut(stdout: &Capture) -> String {
    format!("only the first {} of {} bytes of output were read", stdout.text.len(), stdout.total)
}

/// What is declared to be read by a machine and cannot be.
fn invalid(code: i32, what: &str, why: &str) -> Outcome {
    match nagios::status_of(code) {
        Some(_) => {
            Outcome::unknown(Reason::OutputInvalid, format!("the {what} cannot be read: {why}"))
        }
        None => {
            let summary = format!("exit code {code}, and the {what} cannot be read: {why}");
            Outcome::unknown(Reason::ExitCode, summary)
        }
    }
}

fn by_metrics(code: i32, ended: &Ended, prefix: &str, series: &SeriesList) -> Outcome {
    if ended.stdout.is_cut() {
        return Outcome::unknown(Reason::OutputTooLong, cut(&ended.stdout));
    }
    let accepted = match metrics::read(&ended.stdout.text, prefix) {
        Ok(accepted) => accepted,
        Err(error) => {
            return invalid(code, "metrics", &shown(error.to_string().as_bytes(), MAX_SUMMARY));
        }
    };
    let (status, reason) = status_of(code);
    let summary = match (status, accepted.samples) {
        (Status::Ok, 1) => "1 sample".to_owned(),
        (Status::Ok, samples) => format!("{samples} samples"),
        _ => line_of(code, ended),
    };
    let mut outcome = Outcome::new(status, reason, summary);
    outcome.details = accepted.left_out.join("\n");
    outcome.families = accepted.families;
    for family in &mut outcome.families {
        family.help = shown_line(family.help.as_bytes(), MAX_SUMMARY);
        for sample in &mut family.samples {
            for (_, value) in &mut sample.labels {
                *value = shown(value.as_bytes(), MAX_SUMMARY);
            }
        }
    }
    if !series.is_empty() {
        let held = series.judge(&outcome.families);
        outcome.worsen(held.status, held.reason, &held.summary);
        outcome.measurements = held.measurements;
        if !held.details.is_empty() {
            add_detail(&mut outcome, &held.details);
        }
    }
    outcome
}

fn by_json(code: i32, ended: &Ended) -> Outcome {
    if ended.stdout.is_cut() {
        return Outcome::unknown(Reason::OutputTooLong, cut(&ended.stdout));
    }
    let said = match json::read(&ended.stdout.text) {
        Ok(said) => said,
        Err(why) => return invalid(code, "JSON object", &shown(why.as_bytes(), MAX_SUMMARY)),
    };
    let (by_code, reason) = status_of(code);
    // What ended with an error has no right to say that all is well.
    let status = match said.status {
        Some(status) if code == 0 => status,
        Some(status) => status.worse(by_code),
        None => by_code,
    };
    let reason = match (status, reason) {
        (Status::Ok, _) => Reason::None,
        (_, Reason::None) => Reason::Threshold,
        (_, reason) => reason,
    };
    let summary = match shown_line(said.summary.as_bytes(), MAX_SUMMARY) {
        empty if empty.is_empty() && status == Status::Ok => {
            format!("{} metrics", said.measurements.len())
        }
        empty if empty.is_empty() => line_of(code, ended),
        summary => summary,
    };
    let mut outcome = Outcome::new(status, reason, summary);
    outcome.details = shown(said.details.as_bytes(), MAX_DETAILS);
    outcome.measurements = said.measurements;
    for measurement in &mut outcome.measurements {
        measurement.label = shown_line(measurement.label.as_bytes(), MAX_SUMMARY);
        measurement.unit = shown_line(measurement.unit.as_bytes(), MAX_SUMMARY);
    }
    outcome
}
