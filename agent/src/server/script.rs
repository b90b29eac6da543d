//! `/probe?script=NAME`: runs a script that may be asked for, as script_exporter does.
//!
//! The run is a task of its own: whoever asks may go away, and what the script has started is
//! ended all the same.
//!
//! Invariant: what is run is what the configuration declares, with values that it admits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Stopwatch;
use base::family::MetricFamily;
use base::http::HeaderMap;
use base::sample::Timestamp;
use probes::{Outcome, Status};
use tokio::sync::oneshot;

use super::Shown;
use super::probe::{Refusal, run, timeout};

/// Runs the script called `name` as asked for at `now`.
pub(super) async fn answer(
    shown: &Arc<Shown>,
    headers: &HeaderMap,
    name: &str,
    parameters: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<Vec<MetricFamily>, Refusal> {
    let on_request = shown.on_request.load_full();
    let found = on_request.scripts.get(name).zip(on_request.scope.as_ref());
    let Some((script, scope)) = found else {
        return Err(Refusal::bad(
            "there is no such script; `scripts.on_request` of the agent has them",
        ));
    };
    let timeout = timeout(headers, Some(script.timeout))?;
    let deadline = now.seconds() + timeout.as_secs_f64();
    let variables = vec![
        ("SCRIPT_TIMEOUT".to_owned(), format!("{:.3}", timeout.as_secs_f64())),
        ("SCRIPT_DEADLINE".to_owned(), format!("{deadline:.3}")),
    ];
    let probe = script.aim(parameters, variables).map_err(Refusal::bad)?;
    let turn = on_request.turn(script).ok_or_else(Refusal::too_many)?;
    let (sender, result) = oneshot::channel();
    // Where we stop, the script ends with us.
    let stop = scope.stop_token().child_token();
    scope.spawn("script", async move {
        let watch = Stopwatch::start();
        let outcome = run(&probe, timeout, stop).await;
        drop(turn);
        // Whoever asked may be gone.
        let _ = sender.send((outcome, watch.elapsed()));
    });
    match result.await {
        Ok((outcome, took)) => Ok(families(name, outcome, took)),
        Err(_) => Err(Refusal::stopping()),
    }
}

/// The script's own metrics, and how it went.
fn families(name: &str, outcome: Outcome, took: Duration) -> Vec<MetricFamily> {
    let gauge =
        |family, help, value| MetricFamily::gauge(family, help).with(&[("script", name)], value);
    let success = f64::from(u8::from(outcome.status == Status::Ok));
    let code = f64::from(outcome.exit_code.unwrap_or(-1));
    let reason = [("script", name), ("reason", outcome.reason.as_str())];
    let mut families = vec![
        gauge("script_success", "Whether the script ended well.", success),
        gauge("script_duration_seconds", "How long the script took.", took.as_secs_f64()),
        gauge("script_exit_code", "What the script ended with; -1 where it was ended.", code),
        gauge("script_cached", "Whether the result is an old one; it never is.", 0.0),
        MetricFamily::gauge("veilleur_probe_reason", "Why the probe ended as it did.")
            .with(&reason, 1.0),
    ];
    let taken: Vec<String> = families.iter().map(|family| family.name.clone()).collect();
    // A script that is declared with such a prefix does not get in the way of what we say of it.
    families.extend(outcome.families.into_iter().filter(|family| !taken.contains(&family.name)));
    families
}
