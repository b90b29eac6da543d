//! Alertmanager's routing trees: which receivers an alert goes to, and how it is grouped.

use alertmanager::dispatch::{GroupBy, Route, RouteConfig, World};
use alertmanager::mute::TimeIntervals;
use base::diagnostic::{Diagnostics, Spanned};
use base::labels::Labels;
use base::period::Period;
use serde_json::{Value, json};

use crate::report::Report;

#[derive(Debug, serde::Deserialize)]
struct Whole {
    route: Spanned<RouteConfig>,
}

pub(crate) fn run(report: &mut Report) {
    let table: Value =
        serde_json::from_str(&report.text("alertmanager-tables/routing.json")).unwrap();
    let mut results = Vec::new();
    for tree in table["trees"].as_array().unwrap() {
        let route = build(tree["config"].as_str().unwrap());
        for case in tree["cases"].as_array().unwrap() {
            let result = route.as_ref().map_err(Clone::clone).and_then(|r| check(r, case));
            results.push((case["id"].as_str().unwrap().to_owned(), result));
        }
    }
    report.suite("alertmanager-tables/routing", results);
}

fn build(yaml: &str) -> Result<Route, String> {
    let mut diagnostics = Diagnostics::new("tree");
    let config = if yaml.contains("\nroute:") {
        base::yaml::read::<Whole>(yaml, &mut diagnostics).map(|whole| whole.route)
    } else {
        base::yaml::read::<Spanned<RouteConfig>>(yaml, &mut diagnostics)
    };
    let config = config.ok_or_else(|| diagnostics.to_string())?;
    let mut names = Vec::new();
    receivers(&config.value, &mut names);
    let world = World { receivers: &names, intervals: &TimeIntervals::new() };
    let route = config.value.build(config.place, world, &mut diagnostics);
    diagnostics.into_result(route).map_err(|faults| faults.to_string())
}

fn receivers(config: &RouteConfig, names: &mut Vec<String>) {
    names.extend(config.receiver.iter().map(|r| r.value.clone()));
    config.routes.iter().for_each(|route| receivers(&route.value, names));
}

fn check(root: &Route, case: &Value) -> Result<(), String> {
    let labels: Labels =
        case["labels"].as_object().unwrap().iter().map(|(n, v)| (n, v.as_str().unwrap())).collect();
    let found = root.matching(&labels);
    let compare = |what: &str, got: Vec<Value>| match case[what].as_array() {
        Some(expected) if *expected != got => Err(format!("{what}: {got:?}")),
        _ => Ok(()),
    };
    compare("receivers", found.iter().map(|r| json!(r.receiver)).collect())?;
    compare("route_keys", found.iter().map(|r| json!(r.key)).collect())?;
    let seconds = |period: Period| json!(period.millis() / 1000);
    let options = |r: &&Route| {
        let (by, all) = match &r.group_by {
            GroupBy::All => (json!([]), true),
            GroupBy::Labels(names) => (json!(names), false),
        };
        json!({
            "receiver": r.receiver, "group_by": by, "group_by_all": all,
            "group_wait_s": seconds(r.group_wait),
            "group_interval_s": seconds(r.group_interval),
            "repeat_interval_s": seconds(r.repeat_interval),
        })
    };
    let mut expected = case["routes"].clone();
    for route in expected.as_array_mut().into_iter().flatten() {
        for (name, default) in
            [("group_wait_s", 30), ("group_interval_s", 300), ("repeat_interval_s", 4 * 3600)]
        {
            if route[name] == "default" {
                route[name] = json!(default);
            }
        }
    }
    let got: Vec<_> = found.iter().map(options).collect();
    if expected.is_array() && expected != json!(got) {
        return Err(format!("routes: {got:?}"));
    }
    let object = |labels: &Labels| -> Value {
        labels.iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
    };
    match case["route_labels"].is_object() {
        true if object(&found[0].labels) != case["route_labels"] => {
            Err(format!("labels: {}", found[0].labels))
        }
        _ => Ok(()),
    }
}
