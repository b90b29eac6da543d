//! What a route says of those who are told when nobody answers.
//!
//! Invariant: the times of the steps rise, and no step tells the receiver of its own route.

use base::diagnostic::{Diagnostics, Spanned, nearest};
use base::period::Period;
use serde::Deserialize;

/// How long an acknowledgement holds where nothing is said.
const ACKNOWLEDGE_TIMEOUT: u64 = 2 * 3600;

/// A step, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepConfig {
    /// After which time without an answer, from the first message on.
    pub after: Spanned<Period>,
    /// Who is told then.
    pub receiver: Spanned<String>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// After which time without an answer, from the first message on.
    pub after: Period,
    /// Who is told then.
    pub receiver: String,
}

/// Who is told when nobody answers, and how long an answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// In the order of their times.
    pub steps: Vec<Step>,
    /// How long an acknowledgement holds; without an end where there is none.
    pub acknowledge_timeout: Option<Period>,
}

impl Default for Policy {
    fn default() -> Self {
        let acknowledge_timeout = Some(Period::from_secs(ACKNOWLEDGE_TIMEOUT));
        Self { steps: Vec::new(), acknowledge_timeout }
    }
}

impl Policy {
    /// The same, as far as a route below with this receiver and these settings does not say otherwise.
    /// A step to the receiver of that route, which is told anyway, is left out where it is inherited.
    pub fn below(
        &self,
        receiver: &str,
        steps: Option<&[Spanned<StepConfig>]>,
        timeout: Option<Period>,
        receivers: &[String],
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let acknowledge_timeout = match timeout {
            Some(timeout) => (!timeout.is_zero()).then_some(timeout),
            None => self.acknowledge_timeout,
        };
        let steps = match steps {
            Some(steps) => build(steps, receiver, receivers, diagnostics),
            None => self.steps.iter().filter(|step| step.receiver != receiver).cloned().collect(),
        };
        Self { steps, acknowledge_timeout }
    }

    /// The steps in one line: `phone after 10m, boss after 30m`; nothing where there are none.
    pub fn told(&self) -> Option<String> {
        let steps = self.steps.iter().map(|step| format!("{} after {}", step.receiver, step.after));
        (!self.steps.is_empty()).then(|| steps.collect::<Vec<_>>().join(", "))
    }

    /// How long an acknowledgement holds, for people.
    pub fn timeout_told(&self) -> String {
        self.acknowledge_timeout.map_or_else(|| "without end".to_owned(), |p| format!("for {p}"))
    }
}

fn build(
    written: &[Spanned<StepConfig>],
    receiver: &str,
    receivers: &[String],
    diagnostics: &mut Diagnostics,
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for Spanned { value: step, .. } in written {
        check_receiver(&step.receiver, receivers, diagnostics);
        let after = step.after.value;
        if step.receiver.value == receiver {
            let message = format!("`{receiver}` is the receiver of this route");
            let help = "it is told at once; name somebody else here";
            diagnostics.report_with_help(&step.receiver, message, help);
        }
        if after.is_zero() {
            let help = "name somebody who is told at once as `receiver`, or in a route of its own";
            diagnostics.report_with_help(&step.after, "`after` cannot be zero", help);
        } else if let Some(before) = steps.last().filter(|before| before.after >= after) {
            let message = format!("{after} is not later than the step before, {}", before.after);
            let help = "every `after` counts from the first message on; let them rise";
            diagnostics.report_with_help(&step.after, message, help);
        }
        steps.push(Step { after, receiver: step.receiver.value.clone() });
    }
    steps
}

/// Reports a receiver that is not there.
pub fn check_receiver(
    receiver: &Spanned<String>,
    receivers: &[String],
    diagnostics: &mut Diagnostics,
) {
    if receivers.contains(&receiver.value) || diagnostics.is_partial_in("receivers") {
        return;
    }
    let near = nearest(&receiver.value, receivers.iter().map(String::as_str));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add it under `receivers:`".to_owned(),
    };
    let message = format!("there is no receiver `{}`", receiver.value);
    diagnostics.report_with_help(receiver, message, help);
}
