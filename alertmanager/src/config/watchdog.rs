//! `watchdog:` the alert that always fires, its rule, its route and its receiver.
//!
//! Invariant: it goes the way that every alert goes, so a stage that fails for others fails for it.

use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::period::Period;

use crate::alerts::WATCHDOG_ALERT;
use crate::dispatch::RouteConfig;
use crate::notify::{EVALUATED_AT, WatchdogConfig};
use crate::rules::{RuleFile, RuleGroup};

/// The receiver's name.
pub const WATCHDOG: &str = "veilleur-watchdog";

/// What the watchdog watches besides the way that it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// From one message to the next.
    pub interval: Duration,
    /// Receivers whose failure does not stop it.
    pub despite: Vec<String>,
}

impl Watchdog {
    /// As configured; reports receivers that there are not among `receivers`.
    pub(super) fn build(
        config: &WatchdogConfig,
        receivers: &[String],
        diagnostics: &mut Diagnostics,
    ) -> Self {
        for name in config.despite.iter().filter(|name| !receivers.contains(&name.value)) {
            diagnostics.report(name, format!("there is no receiver `{}`", name.value));
        }
        let despite = config.despite.iter().map(|name| name.value.clone()).collect();
        Self { interval: config.interval().duration(), despite }
    }
}

/// A rule that always fires, and says when it was evaluated.
pub(super) fn rule_group(config: &WatchdogConfig) -> Option<RuleGroup> {
    let text = format!(
        "groups:\n- name: {WATCHDOG}\n  rules:\n  - alert: {WATCHDOG_ALERT}\n    \
         expr: vector(time())\n    labels: {{severity: none}}\n    annotations:\n      \
         {EVALUATED_AT}: '{{{{ printf \"%.3f\" $value }}}}'\n"
    );
    let mut own = Diagnostics::new(WATCHDOG);
    let file: RuleFile = base::yaml::read(&text, &mut own)?;
    let interval = part(config.interval(), 2);
    file.build(WATCHDOG, interval, &mut own).pop()
}

/// The route that leads the alert, and nothing else, to the receiver.
pub(super) fn route(config: &WatchdogConfig) -> Spanned<RouteConfig> {
    let spanned = |value| Spanned { value, place: Place::default() };
    let matcher = format!("alertname = {WATCHDOG_ALERT}");
    // It is told again after three quarters, at the next quarter: so it does not wait for a tick
    // that its own delivery made it miss.
    let quarter = part(config.interval(), 4);
    let repeat = Period::from(quarter.duration() * 3);
    let value = RouteConfig {
        receiver: Some(Spanned { value: WATCHDOG.to_owned(), place: Place::default() }),
        matchers: vec![Spanned { value: matcher, place: Place::default() }],
        group_by: Some(Vec::new()),
        // It fires always, and is for nobody to answer.
        escalate: Some(Vec::new()),
        group_wait: Some(spanned(Period::from_secs(0))),
        group_interval: Some(spanned(quarter)),
        repeat_interval: Some(spanned(repeat)),
        ..RouteConfig::default()
    };
    Spanned { value, place: Place::default() }
}

fn part(period: Period, of: u32) -> Period {
    Period::from((period.duration() / of).max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base::labels::Labels;

    use super::*;
    use crate::config::parse;

    #[track_caller]
    fn receivers(yaml: &str, alert: &str) -> String {
        let config = parse("f.yml", yaml, Path::new("."), None);
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        let routes = config.route.matching(&Labels::from_pairs([("alertname", alert)]));
        let shown = routes.iter().map(|route| {
            let lanes = config.lanes[&route.receiver].iter().map(|lane| lane.id.as_str());
            let lanes = lanes.collect::<Vec<_>>().join(" ");
            format!("{} every {} {}", lanes, route.group_interval, route.repeat_interval)
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn its_alert_goes_to_its_address_and_no_other_alert_does() {
        let ping = "watchdog: {url: 'http://127.0.0.1:1/ping', interval: 1m}\n";
        let ops = "route: {receiver: ops}\nreceivers: [{name: ops, console_configs: [{}]}]\n";
        let own = "veilleur-watchdog/watchdog/0 every 15s 45s";
        assert_eq!(receivers(&format!("{ping}{ops}"), WATCHDOG_ALERT), own);
        assert_eq!(receivers(&format!("{ping}{ops}"), "Down"), "ops/console/0 every 5m 4h");
        // Nobody has to answer for it, whoever else is called.
        let steps = "route: {receiver: ops, escalate: [{after: 1m, receiver: boss}]}\nreceivers: \
                     [{name: ops, console_configs: [{}]}, {name: boss}]\n";
        let config = parse("f.yml", &format!("{ping}{steps}"), Path::new("."), None).unwrap();
        let steps = |alert: &str| {
            let labels = Labels::from_pairs([("alertname", alert)]);
            config.route.matching(&labels)[0].escalation.steps.len()
        };
        assert_eq!((steps(WATCHDOG_ALERT), steps("Down")), (0, 1));
        // Also where nobody else is configured.
        assert_eq!(receivers(ping, WATCHDOG_ALERT), own);
        assert_eq!(receivers(ping, "Down"), "console/console/0 every 5m 4h");
    }

    #[test]
    fn its_rule_is_evaluated_twice_as_often_as_it_is_told() {
        let config = WatchdogConfig::default();
        let group = rule_group(&config).unwrap();
        assert_eq!((group.len(), group.interval()), (1, Period::from_secs(30)));
    }

    #[test]
    fn a_receiver_that_there_is_not_is_a_fault() {
        let yaml = "watchdog: {url: 'http://h/', despite: [nobody]}\n";
        let faults = parse("f.yml", yaml, Path::new("."), None).unwrap_err().to_string();
        assert_eq!(faults, "f.yml:1:40: there is no receiver `nobody`");
    }
}
