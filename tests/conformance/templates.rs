//! Templates of rules and of notifications: what they give, and what is said of those that fail.
//!
//! Besides the tables, Alertmanager's own default templates must load and render, and so must the
//! labels and annotations of the rule sets in public use.

use std::collections::BTreeMap;

use alertmanager::template::{
    AlertData, Dialect, Escape, Field, Limits, ListKind, MapKind, MissingKey, NotificationData,
    Options, QuerySample, RuleData, Template, Templates, Time, Value as Data,
};
use base::diagnostic::Diagnostics;
use base::labels::Labels;
use base::sample::Timestamp;
use base::yaml;
use serde::Deserialize;
use serde_json::Value;

use crate::report::Report;

const NOW: Timestamp = Timestamp::from_millis(1_353_755_652_000);
const EXTERNAL_URL: &str = "http://testhost:9090/path/prefix";

pub(crate) fn rules(report: &mut Report) {
    report.table("templates/prometheus.json", rule);
}

fn rule(case: &Value) -> Result<(), String> {
    let samples = case["query_result"].as_array().cloned().unwrap_or_default();
    let query = move |_: &str| {
        let sample = |sample: &Value| QuerySample {
            labels: labels(&sample["metric"]),
            value: sample["value"].as_f64().unwrap(),
        };
        Ok(samples.iter().map(sample).collect())
    };
    let missing_key = match case["options"].as_array().and_then(|options| options[0].as_str()) {
        None | Some("missingkey=zero") => MissingKey::Zero,
        Some("missingkey=error") => MissingKey::Error,
        Some(other) => return Err(format!("the option {other} is not known")),
    };
    let options = Options {
        query: Some(&query),
        external_url: EXTERNAL_URL,
        missing_key,
        escape: if case["html"] == true { Escape::Html } else { Escape::Text },
        ..Options::at(NOW)
    };
    let got = Template::parse(Dialect::Rule, "test", case["text"].as_str().unwrap())
        .and_then(|template| template.render(&data(&case["input"]), &options))
        .map_err(|error| error.as_prometheus());
    compare(case, got)
}

pub(crate) fn notifications(report: &mut Report) {
    report.table("alertmanager-tables/templates.json", notification);
}

fn notification(case: &Value) -> Result<(), String> {
    let options = Options {
        escape: if case["html"] == true { Escape::Html } else { Escape::Text },
        ..Options::at(NOW)
    };
    let got = Templates::defaults()
        .render_text(case["text"].as_str().unwrap(), &notification_data(&case["data"]), &options)
        .map_err(|error| error.to_string());
    compare(case, got)
}

fn compare(case: &Value, got: Result<String, String>) -> Result<(), String> {
    let fails = case["ok"] == false;
    match (got, case["error"].as_str()) {
        (Ok(got), _) if fails => Err(format!("gave {got:?}, and must fail")),
        (Ok(got), _) if got == case["output"].as_str().unwrap() => Ok(()),
        (Ok(got), _) => Err(format!("gave {got:?}, not {}", case["output"])),
        (Err(got), _) if !fails => Err(format!("failed: {got}")),
        (Err(got), Some(expected)) if got != expected => Err(format!("said {got}, not {expected}")),
        (Err(_), _) => Ok(()),
    }
}

/// JSON as templates see it; `{"$time": ..}` is a time.
fn data(value: &Value) -> Data {
    match value {
        Value::Null => Data::Nil,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(int) => int.into(),
            None => number.as_f64().unwrap().into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => {
            Data::strings(items.iter().map(|item| item.as_str().unwrap()))
        }
        Value::Array(items) => Data::list(items.iter().map(data)),
        Value::Object(entries) => match entries.get("$time") {
            Some(time) => {
                let millis = time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
                Data::Time(Time::at(Timestamp::from_millis(millis.as_millisecond())))
            }
            None => Data::map(entries.iter().map(|(name, value)| (name.as_str(), data(value)))),
        },
    }
}

/// As [`data`]; what has the fields of a notification is one, with Go's nil for what is missing.
fn notification_data(value: &Value) -> Data {
    if let Some(labels_of_route) = value.get("RouteLabels") {
        return NotificationData {
            group_labels: labels(&value["GroupLabels"]),
            route_labels: labels(labels_of_route),
            ..NotificationData::default()
        }
        .into_value();
    }
    let Some(alerts) = value.get("Alerts").and_then(Value::as_array) else { return data(value) };
    let kv = |value: &Value| match value.as_object() {
        Some(_) => Data::kv(labels(value)),
        None => Data::Nil,
    };
    let text = |value: &Value| Data::from(value.as_str().unwrap_or(""));
    let alert = |alert: &Value| {
        let fields = vec![
            Field::new("Status", "status", text(&alert["Status"])),
            Field::new("Labels", "labels", kv(&alert["Labels"])),
            Field::new("Annotations", "annotations", kv(&alert["Annotations"])),
            Field::new("StartsAt", "startsAt", Data::Time(Time::zero())),
            Field::new("EndsAt", "endsAt", Data::Time(Time::zero())),
            Field::new("GeneratorURL", "generatorURL", text(&alert["GeneratorURL"])),
            Field::new("Fingerprint", "fingerprint", text(&alert["Fingerprint"])),
        ];
        Data::record("template.Alert", fields)
    };
    let alerts = Data::list_of(ListKind::Alerts, alerts.iter().map(alert).collect());
    Data::map_of(MapKind::Any, [("Alerts", alerts)])
}

fn labels(value: &Value) -> Labels {
    value.as_object().into_iter().flatten().map(|(n, v)| (n, v.as_str().unwrap())).collect()
}

/// The templates that Alertmanager brings along: they load, call nothing that is missing, and
/// render a notification.
pub(crate) fn defaults(report: &mut Report) {
    let mut templates = Templates::new(Dialect::Notification);
    let loads = ["default.tmpl", "email.tmpl"].map(|name| {
        let text = report.text(&format!("alertmanager-templates/{name}"));
        let loaded = templates.add(name, &text).map_err(|error| error.to_string());
        (format!("{name} loads"), loaded)
    });
    let missing = templates.check();
    let complete = match missing.first() {
        None => Ok(()),
        Some(error) => Err(error.to_string()),
    };
    let data = sample().into_value();
    let renders: Vec<_> = templates
        .names()
        .filter(|name| name.contains(".default.") && !name.ends_with(".instances"))
        .map(|name| (name.to_owned(), renders(&templates, name, &data)))
        .collect();
    let all = loads
        .into_iter()
        .chain([("calls".to_owned(), complete)])
        .chain(renders)
        .chain([("subject".to_owned(), subject(&templates, &data))])
        .chain([("ours".to_owned(), ours(&templates))]);
    let all: Vec<_> = all.collect();
    report.suite("alertmanager-templates", all);
}

fn sample() -> NotificationData {
    let alert = |instance: &str, resolved: bool| AlertData {
        resolved,
        labels: Labels::from_pairs([
            ("alertname", "DiskFull"),
            ("instance", instance),
            ("severity", "critical"),
        ]),
        annotations: Labels::from_pairs([("summary", "<b>93 % full</b>")]),
        starts_at: NOW,
        ends_at: resolved.then_some(NOW),
        generator_url: "javascript:alert(1)".to_owned(),
    };
    NotificationData {
        receiver: "team mail".to_owned(),
        alerts: vec![alert("a", false), alert("b", true)],
        group_labels: Labels::from_pairs([("alertname", "DiskFull")]),
        external_url: "http://am".to_owned(),
        ..NotificationData::default()
    }
}

fn renders(templates: &Templates, name: &str, data: &Data) -> Result<(), String> {
    let html = name.ends_with("html");
    let escape = if html { Escape::Html } else { Escape::Text };
    let limits = Limits { output: 1 << 20, ..Limits::default() };
    let options = Options { escape, limits, ..Options::at(NOW) };
    let got = templates.render_named(name, data, &options).map_err(|error| error.to_string())?;
    let wanted = |parts: &[&str]| match parts.iter().find(|part| !got.contains(**part)) {
        Some(part) => Err(format!("{part:?} is not in {got:?}")),
        None => Ok(()),
    };
    if got.contains("<no value>") {
        return Err(format!("something is missing in {got:?}"));
    }
    match name {
        "email.default.html" if got.contains("<b>") || got.contains("javascript:") => {
            Err("the data became markup".to_owned())
        }
        "email.default.html" => wanted(&[
            "2 alerts for",
            "alertname=DiskFull",
            "summary = &lt;b&gt;93 % full&lt;/b&gt;",
            "href=\"http://am/#/alerts?receiver=team&#43;mail\"",
        ]),
        "telegram.default.message" => wanted(&[
            "Alerts Firing:\nLabels:\n - alertname = DiskFull\n - instance = a\n - severity = critical\nAnnotations:\n - summary = <b>93 % full</b>\nSource: javascript:alert(1)\n",
            "Alerts Resolved:\nLabels:\n - alertname = DiskFull\n - instance = b\n",
        ]),
        "jira.default.priority" => wanted(&["High"]),
        "slack.default.titlelink" => wanted(&["http://am/#/alerts?receiver=team+mail"]),
        _ => Ok(()),
    }
}

fn subject(templates: &Templates, data: &Data) -> Result<(), String> {
    let got = templates
        .render_text("{{ template \"__subject\" . }}", data, &Options::at(NOW))
        .map_err(|error| error.to_string())?;
    let ours = Templates::defaults().render_named("__subject", data, &Options::at(NOW)).unwrap();
    match got == "[FIRING:1] DiskFull (critical)" && ours == got {
        true => Ok(()),
        false => Err(format!("{got:?}, ours {ours:?}")),
    }
}

/// Whether ours has every name that Alertmanager's has.
fn ours(theirs: &Templates) -> Result<(), String> {
    let ours = Templates::defaults();
    let missing: Vec<_> = theirs
        .names()
        .filter(|name| *name != "email.tmpl" && !ours.names().any(|n| n == *name))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("ours lacks {missing:?}")) }
}

/// The labels and annotations of the rule sets in public use: all parse, as `promtool` says, and
/// render for an alert.
pub(crate) fn rule_sets(report: &mut Report) {
    let manifest = report.text("rule-sets/manifest.tsv");
    let files = manifest.lines().filter(|line| !line.starts_with('#')).skip(1);
    let cases: Vec<_> = files
        .filter_map(|line| line.split('\t').next())
        .map(|path| (path.to_owned(), rule_set(&report.text(&format!("rule-sets/{path}")))))
        .collect();
    report.suite("rule-sets templates", cases);
}

#[derive(Deserialize)]
struct RuleSet {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn rule_set(text: &str) -> Result<(), String> {
    let mut diagnostics = Diagnostics::new("rules");
    let set = yaml::read::<RuleSet>(text, &mut diagnostics);
    let set = diagnostics.into_result(set).map_err(|faults| faults.to_string())?;
    let data = RuleData {
        labels: Labels::from_pairs([("instance", "a:1"), ("job", "b")]),
        external_url: EXTERNAL_URL,
        value: Data::Float(0.5),
        ..RuleData::default()
    }
    .into_value();
    let query = |_: &str| Ok(vec![QuerySample { labels: Labels::empty(), value: 1.0 }]);
    let options = Options { query: Some(&query), external_url: EXTERNAL_URL, ..Options::at(NOW) };
    let rules = set.into_iter().flat_map(|set| set.groups).flat_map(|group| group.rules);
    for text in
        rules.flat_map(|rule| rule.labels.into_values().chain(rule.annotations.into_values()))
    {
        let template = Template::parse(Dialect::Rule, "t", &text).map_err(|e| e.to_string())?;
        match template.render(&data, &options) {
            // One set says `{{value}}` for `{{ $value }}`, which parses and never renders.
            Err(e) if e.fault().message.starts_with("wrong number of args for value") => {}
            Err(error) => return Err(error.to_string()),
            Ok(text) if text.contains("<no value>") || text.contains("%!") => return Err(text),
            Ok(_) => {}
        }
    }
    Ok(())
}
