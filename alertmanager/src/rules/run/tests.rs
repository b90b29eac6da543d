//! What a group says that is started again after a failure.
//!
//! Invariant: nothing but the state says what fires; whatever else was said to fire has ended.

use std::collections::BTreeMap;

use base::diagnostic::Diagnostics;
use base::period::Period;
use storage::{Options, Storage};

use super::*;
use crate::rules::RuleFile;
use crate::state::{RuleAlertState, StoredAlert};

const RULES: &str = "groups: [{name: g, interval: 1h, rules: [{alert: a, expr: x > 1}]}]";

async fn runner(alerts: &Alerts) -> RuleRunner {
    let mut diagnostics = Diagnostics::new("r.yml");
    let file: RuleFile = base::yaml::read(RULES, &mut diagnostics).unwrap();
    let mut groups = file.build("r.yml", Period::from_secs(60), &mut diagnostics);
    let storage = Arc::new(Storage::in_memory(Options::default()));
    let appended = base::own_metrics::OwnMetrics::new().counter("appended_total", "For a test.");
    RuleRunner {
        group: Arc::new(groups.remove(0)),
        sources: Sources {
            storage,
            outputs: Default::default(),
            targets: Default::default(),
            external_labels: Labels::from_pairs([("site", "paris")]),
            external_url: "http://v".into(),
            lookback: Duration::from_secs(300),
            subquery_step: Duration::from_secs(60),
            features: promql::Features::default(),
            holds_missing: true,
            elsewhere: None,
            started: Timestamp::default(),
            appended,
        },
        state: State::in_memory().await.unwrap(),
        alerts: alerts.clone(),
        rules: Rules::default(),
        news: News::default(),
        metrics: RuleMetrics::new(&OwnMetrics::new()),
        clock: SteadyClock::starting_at(Timestamp::MIN),
        blind: Duration::ZERO,
        told: Arc::default(),
    }
}

fn labels(n: &str) -> Labels {
    Labels::from_pairs([("alertname", "a"), ("n", n)])
}

/// What is known of the alerts `n`: `1` fires, `!1` has ended.
fn known(alerts: &Alerts) -> String {
    let one = |alert: &Arc<Alert>| {
        let n = alert.labels.get("n").unwrap();
        if alert.is_firing() { n.to_owned() } else { format!("!{n}") }
    };
    alerts.all().iter().map(one).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn what_was_saved_and_not_said_is_said_when_it_is_started_again() {
    let alerts = Alerts::default();
    let runner = runner(&alerts).await;
    let at = Timestamp::from_millis;
    let stored = |n: &str, state| StoredAlert {
        rule: runner.group.alerting_ids().next().unwrap().to_owned(),
        labels: labels(n),
        state,
        active_at: at(1),
        fired_at: (state == RuleAlertState::Firing).then(|| at(1)),
        keep_since: None,
        stale_since: None,
        value: 2.0,
        annotations: BTreeMap::new(),
    };
    let go_on = |rows: &[StoredAlert]| {
        let state = runner.group.restore(rows, Duration::ZERO);
        runner.go_on(runner.group.firing(&state, &runner.sources), at(9));
    };
    let (firing, pending) = (RuleAlertState::Firing, RuleAlertState::Pending);
    go_on(&[stored("1", firing), stored("2", firing), stored("3", pending)]);
    assert_eq!(known(&alerts), "1 2");
    // Others have alerts, too.
    alerts.put([Alert { labels: labels("9"), ..Alert::clone(&alerts.all()[0]) }]);
    // One has ended, and one fires: both were saved, and then it failed.
    go_on(&[stored("2", firing), stored("3", firing)]);
    assert_eq!(known(&alerts), "!1 2 3 9");
    go_on(&[]);
    assert_eq!(known(&alerts), "!1 !2 !3 9");
}
