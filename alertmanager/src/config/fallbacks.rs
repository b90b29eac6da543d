//! `fallback:` who hears of a receiver's alerts where that one cannot be told.
//!
//! Invariant: from every receiver the way over fallbacks ends.

use std::collections::BTreeMap;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Spanned, nearest};
use base::period::Period;

use super::receivers::ReceiverConfig;
use crate::dispatch::{Fallback, Fallbacks};

/// How long a receiver may fail before its fallback is told, if nothing else is said.
const DEFAULT_AFTER: Duration = Duration::from_secs(300);

/// The fallbacks of all receivers; reports those that do not exist, and circles.
pub(super) fn build(
    configs: &[Spanned<ReceiverConfig>],
    diagnostics: &mut Diagnostics,
) -> Fallbacks {
    let names: Vec<&str> = configs.iter().map(|c| c.value.name.value.as_str()).collect();
    let mut fallbacks = Fallbacks::new();
    for config in configs {
        let config = &config.value;
        let Some(to) = &config.fallback else {
            if let Some(after) = &config.fallback_after {
                diagnostics.report(after, "`fallback_after` says nothing without a `fallback`");
            }
            continue;
        };
        if !names.contains(&to.value.as_str()) && !diagnostics.is_partial_in("receivers") {
            let help = match nearest(&to.value, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add it under `receivers:`".to_owned(),
            };
            let message = format!("there is no receiver `{}`", to.value);
            diagnostics.report_with_help(to, message, help);
        }
        let after = config.fallback_after.as_ref().map_or(DEFAULT_AFTER, |a| a.value.duration());
        fallbacks.insert(config.name.value.clone(), Fallback { to: to.value.clone(), after });
    }
    report_circles(configs, &fallbacks, diagnostics);
    fallbacks
}

/// Reports each circle once, at the fallback of the first of its receivers.
fn report_circles(
    configs: &[Spanned<ReceiverConfig>],
    fallbacks: &Fallbacks,
    diagnostics: &mut Diagnostics,
) {
    let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
    for config in configs {
        let name = config.value.name.value.as_str();
        let mut way = vec![name];
        while let Some(next) = way.last().and_then(|last| fallbacks.get(*last)) {
            let is_back = next.to == name;
            if is_back || way.contains(&next.to.as_str()) {
                if is_back
                    && !seen.contains_key(name)
                    && let Some(to) = &config.value.fallback
                {
                    way.push(name);
                    let message = format!("these fallbacks lead round: `{}`", way.join("` -> `"));
                    diagnostics.report_with_help(
                        to,
                        message,
                        "leave one of them without a fallback",
                    );
                    seen.extend(way.iter().map(|name| (*name, ())));
                }
                break;
            }
            way.push(&next.to);
        }
    }
}

/// The longest that handing over a message to a receiver may take, as written.
pub(super) fn timeout(
    written: Option<&Spanned<Period>>,
    default: Duration,
    diagnostics: &mut Diagnostics,
) -> Duration {
    let Some(timeout) = written else { return default };
    if timeout.value.is_zero() {
        diagnostics.report(timeout, "`timeout` cannot be zero");
    }
    timeout.value.duration()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(yaml: &str, expected: &str) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let configs: Vec<Spanned<ReceiverConfig>> =
            base::yaml::read(yaml, &mut diagnostics).unwrap_or_default();
        let fallbacks = build(&configs, &mut diagnostics);
        let shown = |(name, f): (&String, &Fallback)| format!("{name}>{} {:?}", f.to, f.after);
        let got = match diagnostics.is_empty() {
            true => fallbacks.iter().map(shown).collect::<Vec<_>>().join(", "),
            false => diagnostics.to_string(),
        };
        assert_eq!(got, expected, "{yaml}");
    }

    #[test]
    fn reads_fallbacks_and_reports_what_leads_nowhere_or_round() {
        check("[{name: a}]", "");
        check("[{name: a, fallback: b}, {name: b}]", "a>b 300s");
        check(
            "[{name: a, fallback: b, fallback_after: 2m}, {name: b, fallback: c}, {name: c}]",
            "a>b 120s, b>c 300s",
        );
        check(
            "[{name: ops, fallback: pos}, {name: opt}]",
            "f.yml:1:24: there is no receiver `pos`\n  help: did you mean `ops`?",
        );
        check(
            "[{name: a, fallback: a}]",
            "f.yml:1:22: these fallbacks lead round: `a` -> `a`\n  \
             help: leave one of them without a fallback",
        );
        // Whoever only leads into the circle is not at fault, and it is told once.
        check(
            "[{name: x, fallback: a}, {name: a, fallback: b}, {name: b, fallback: c}, \
             {name: c, fallback: a}]",
            "f.yml:1:46: these fallbacks lead round: `a` -> `b` -> `c` -> `a`\n  \
             help: leave one of them without a fallback",
        );
        check(
            "[{name: a, fallback_after: 2m}]",
            "f.yml:1:28: `fallback_after` says nothing without a `fallback`",
        );
    }
}
