//! What ServiceNow is asked.
//!
//! Invariant: the fields are those of the table `incident`.

use super::super::paging::tests::flood;
use super::super::sink::build_entry;
use super::super::texts::tests::notification;
use super::*;

fn build(yaml: &str) -> (Option<ServicenowNotifier>, String) {
    build_entry(yaml, ServicenowConfig::build)
}

#[track_caller]
fn built(yaml: &str) -> ServicenowNotifier {
    let (notifier, faults) = build(&format!("{{api_url: 'https://x.service-now.com', {yaml}}}"));
    assert_eq!(faults, "", "{yaml}");
    notifier.unwrap()
}

const TEXTS: &str = "description: '{{ .Status }}', work_notes: '{{ .Status }}!', close_notes: over";

#[test]
fn creates_an_incident() {
    let yaml = format!(
        "{TEXTS}, urgency: '1', fields: {{assignment_group: Ops, u_count: '{{{{ len .Alerts }}}}'}}"
    );
    let notifier = built(&yaml);
    assert_eq!(notifier.table, "https://x.service-now.com/api/now/table/incident");
    assert_eq!(
        notifier.created(&notification()),
        json!({
            "short_description": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC", "description": "firing",
            "correlation_id": group_id(&notification()), "correlation_display": "Veilleur",
            "urgency": "1", "assignment_group": "Ops", "u_count": 2,
        })
    );
}

#[test]
fn changes_resolves_and_reopens_it() {
    let notifier = built(TEXTS);
    let mut ended = notification();
    ended.alerts.remove(0);
    let check = |notification: &Notification, resolved, expected: Value| {
        let mut got = notifier.changed(notification, resolved);
        let got = got.as_object_mut().unwrap();
        got.remove("short_description");
        assert_eq!(Value::Object(got.clone()), expected);
    };
    check(&notification(), false, json!({"description": "firing", "work_notes": "firing!"}));
    check(
        &notification(),
        true,
        json!({"description": "firing", "work_notes": "firing!", "state": "2"}),
    );
    check(
        &ended,
        false,
        json!({
            "description": "resolved", "work_notes": "resolved!", "state": "6",
            "close_code": "Solved (Permanently)", "close_notes": "over",
        }),
    );
    check(&ended, true, json!({"description": "resolved", "work_notes": "resolved!"}));
}

#[test]
fn alerts_bring_no_html_and_no_flood() {
    // X16, F16
    let mut hostile = notification();
    let text = "[code]<img src=x>[/code] [CODE]";
    hostile.alerts[0].annotations.insert("summary".into(), text.into());
    let changed = built("table: 'incident/../x'").changed(&hostile, false);
    let notes = changed["work_notes"].as_str().unwrap();
    assert!(
        notes.contains("[ code ]<img") && !notes.to_lowercase().contains("[code]"),
        "{notes:.300}"
    );
    let changed = built("").changed(&flood(100), false);
    assert_eq!(changed["work_notes"].as_str().unwrap().chars().count(), MAX_TEXT);
    assert!(built("table: 'incident/../x'").table.ends_with("/incident%2F..%2Fx"));
}

#[test]
fn knows_an_id_when_it_sees_one() {
    assert!(is_sys_id("46e18c0fa9fe19810066a0083f76bd56"));
    assert!(!is_sys_id("46e18c0fa9fe19810066a0083f76bd5^"));
    assert!(!is_sys_id(""));
}

#[test]
fn reports_every_fault() {
    let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
    check(
        "{work_notes: '{{ nope }}'}",
        "f.yml:1:1: `api_url` is missing\n  help: set it like `https://company.service-now.com`\n\
         f.yml:1:14: template: work_notes:1: function \"nope\" not defined",
    );
}
