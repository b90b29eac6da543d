//! A random tree of routes, with receivers, inhibition and times in which one of them is told nothing.
//!
//! Invariant: the same plan gives the same configuration.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::http_server::HttpServer;

use crate::random::Random;

const RECEIVERS: usize = 4;
pub(crate) const NAMES: [&str; 6] = ["Down", "Slow", "Full", "Cause", "Effect", "Late"];
pub(crate) const TEAMS: [&str; 4] = ["web", "db", "net", "ops"];
pub(crate) const HOSTS: [&str; 5] = ["a", "b", "c", "d", "e"];
pub(crate) const SEVERITIES: [&str; 3] = ["page", "warn", "info"];

/// The receiver that is not told of ends.
pub(crate) const UNRESOLVED: &str = "r3";
/// The receiver that is told the same again every few seconds.
pub(crate) const AGAIN: &str = "again";
/// The receiver that is told nothing at times.
pub(crate) const QUIET: &str = "quiet";

/// A matcher of one of the labels that alerts have.
fn matcher(random: &mut Random) -> String {
    let (label, values): (&str, &[&str]) = match random.below(4) {
        0 => ("alertname", &NAMES),
        1 => ("team", &TEAMS),
        2 => ("host", &HOSTS),
        _ => ("severity", &SEVERITIES),
    };
    let (one, other) = (random.pick(values), random.pick(values));
    match random.below(6) {
        0 => format!("{label}!=\"{one}\""),
        1 => format!("{label}=~\"{one}|{other}\""),
        2 => format!("{label}!~\"{one}.*\""),
        _ => format!("{label}=\"{one}\""),
    }
}

fn matchers(random: &mut Random, most: usize) -> Vec<String> {
    let count = 1 + random.below(most);
    (0..count).map(|_| matcher(random)).collect::<BTreeSet<_>>().into_iter().collect()
}

fn group_by(random: &mut Random) -> Vec<&'static str> {
    if random.chance(10) {
        return vec!["..."];
    }
    let all = ["alertname", "team", "host", "severity", "missing"];
    all.into_iter().filter(|_| random.chance(35)).collect()
}

fn routes(random: &mut Random, depth: usize) -> Vec<Value> {
    let mut known = BTreeSet::new();
    let mut routes = Vec::new();
    for _ in 0..2 + random.below(4) {
        let matchers = matchers(random, 2);
        // Two routes with the same matchers have groups with the same keys.
        if !known.insert(matchers.clone()) {
            continue;
        }
        let mut route = json!({"matchers": matchers, "continue": random.chance(30)});
        if random.chance(80) {
            route["receiver"] = json!(format!("r{}", random.below(RECEIVERS)));
        }
        if random.chance(50) {
            route["group_by"] = json!(group_by(random));
        }
        if depth < 2 && random.chance(40) {
            route["routes"] = json!(self::routes(random, depth + 1));
        }
        routes.push(route);
    }
    routes
}

/// Rules by which one alert holds back others.
fn inhibit_rules(random: &mut Random) -> Vec<Value> {
    let rule = |random: &mut Random| {
        let equal: Vec<_> = ["team", "host"].into_iter().filter(|_| random.chance(50)).collect();
        json!({
            "source_matchers": ["alertname=\"Cause\"", matcher(random)],
            "target_matchers": [matcher(random), "alertname!=\"Cause\""],
            "equal": equal,
        })
    };
    (0..2).map(|_| rule(random)).collect()
}

/// What of a configuration a reload changes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// From which the tree of routes follows.
    pub(crate) seed: u64,
    /// From which the rules of inhibition follow.
    pub(crate) inhibition: u64,
    /// When the receiver [`QUIET`] is told nothing: settings of its route.
    pub(crate) quiet: Value,
    /// The interval `soon`.
    pub(crate) soon: Value,
}

impl Plan {
    /// The configuration, as JSON, which is YAML.
    pub(crate) fn config(&self, sink: &HttpServer) -> String {
        let random = &mut Random::new(self.seed);
        let names = (0..RECEIVERS).map(|n| format!("r{n}"));
        let names = names.chain([AGAIN, QUIET].map(str::to_owned));
        let receivers: Vec<_> = names
            .map(|name| {
                let hook = json!({"url": sink.url("/"), "send_resolved": name != UNRESOLVED});
                json!({"name": name, "webhook_configs": [hook]})
            })
            .collect();
        let group_by = group_by(random);
        let again = json!({
            "receiver": AGAIN, "matchers": ["severity=\"page\""], "continue": true,
            "group_by": ["alertname"], "repeat_interval": "3s",
        });
        let mut quiet = json!({
            "receiver": QUIET, "matchers": ["host=~\"a|b|c\""], "continue": true,
            "group_by": ["team"],
        });
        let settings = self.quiet.as_object().unwrap().clone();
        quiet.as_object_mut().unwrap().extend(settings);
        // Whatever the tree is like, this receiver hears something.
        let unresolved = json!({
            "receiver": UNRESOLVED, "matchers": ["team=~\"web|db|net\""], "continue": true,
            "group_by": ["host"],
        });
        let routes: Vec<_> =
            [again, quiet, unresolved].into_iter().chain(routes(random, 0)).collect();
        json!({
            "route": {
                "receiver": "r0", "group_by": group_by, "group_wait": "600ms",
                "group_interval": "1s", "repeat_interval": "1h", "routes": routes,
            },
            "receivers": receivers,
            "inhibit_rules": inhibit_rules(&mut Random::new(self.inhibition)),
            "time_intervals": [
                {"name": "soon", "time_intervals": [self.soon]},
                {"name": "never", "time_intervals": [{"years": ["1990"]}]},
            ],
        })
        .to_string()
    }
}

/// The minutes of this day before `at`, which is the first moment of one: an interval.
pub(crate) fn until(at: jiff::Timestamp) -> Value {
    let end = at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%H:%M").to_string();
    match end.as_str() {
        "00:00" => json!({"times": [{"start_time": "12:00", "end_time": "24:00"}]}),
        _ => json!({"times": [{"start_time": "00:00", "end_time": end}]}),
    }
}
