//! Recipients from alerts, hostile ones among them.
//!
//! Invariant: a message that is refused was sent to nobody.

use std::sync::Arc;

use base::labels::Labels;

use super::super::sink::{Sink, shared, written};
use super::super::texts::tests::notification;
use super::super::{
    OpsgenieConfig, ServiceGlobals, Shared, SlackConfig, SlackGlobals, WebhookConfig,
};
use super::*;

/// Whose alerts route to `team="db"` or `"web"`.
fn allowed(patterns: &[&str], is_lenient: bool) -> Allowed {
    let of = |text: &&str| Spanned { value: (*text).to_owned(), ..Spanned::default() };
    let patterns: Vec<_> = patterns.iter().map(of).collect();
    let teams = ["db", "web"].map(str::to_owned).into();
    let named = Named([("team".to_owned(), teams)].into());
    Allowed::new(&patterns, Arc::new(named), is_lenient)
}

fn about(team: &str) -> Notification {
    let mut message = notification();
    for alert in &mut message.alerts {
        alert.labels = alert.labels.with("team", team);
        alert.annotations.insert("to".into(), "db".into());
    }
    message.group_labels = Labels::from_pairs([("team", team)]);
    message
}

fn slack(yaml: &str, allowed: &Allowed) -> (Option<Arc<dyn Notifier>>, Diagnostics) {
    let (config, mut diagnostics) = written::<SlackConfig>(yaml);
    let place = config.place;
    let built = shared(|held: Shared<'_>| {
        let (http, templates) = (held.http.clone(), Arc::clone(held.templates));
        let build = move |entry: &SlackConfig, diagnostics: &mut Diagnostics| {
            let shared = Shared { http: &http, templates: &templates };
            entry.build(place, SlackGlobals::default(), shared, diagnostics)
        };
        aimed((&config.value, place), allowed, held.templates, &mut diagnostics, build)
    });
    (built, diagnostics)
}

#[tokio::test]
async fn a_label_chooses_among_those_that_are_allowed_x18() {
    let sink = Sink::start().await;
    let check = async |template: &str, patterns: &[&str], team: &str, expected: Option<&str>| {
        let yaml = format!("{{api_url: '{}/x', channel: '{template}'}}", sink.url());
        let (notifier, faults) = slack(&yaml, &allowed(patterns, true));
        assert_eq!(faults.to_string(), "");
        let notifier = notifier.unwrap();
        let (asked, result) = sink.hand_over(&*notifier, &about(team), &[]).await;
        let channel = asked.first().map(|asked| asked.json()["channel"].clone());
        let expected = expected.map(|text| serde_json::json!(text));
        assert_eq!(channel, expected, "{template} {patterns:?} {team}: {result:?}");
        if expected.is_none() {
            let told = result.unwrap_err().to_string();
            assert!(told.contains("`channel`"), "{told}");
        }
    };
    let team = "#{{ .CommonLabels.team }}";
    check(team, &["#d*"], "db", Some("#db")).await;
    check(team, &["#d*"], "general", None).await;
    check(team, &["#d*"], "d,#general", None).await;
    check(team, &["#d*"], "d{{ .Status }}", None).await;
    // Without a list: what routes name, and nothing else.
    check(team, &[], "db", Some("#db")).await;
    check(team, &[], "web", Some("#web")).await;
    check(team, &[], "general", None).await;
    check(team, &[], "{{ .Status }}", None).await;
    check("#{{ .GroupLabels.team | toLower }}", &[], "DB", None).await;
    check("#{{ .CommonAnnotations.to }}", &[], "db", None).await;
    check("#{{ .CommonLabels.alertname }}", &[], "db", None).await;
    check("#{{ .Status }}", &[], "general", Some("#firing")).await;
    check("{{ if eq .CommonLabels.team \"x\" }}#x{{ else }}#y{{ end }}", &[], "db", Some("#y"))
        .await;
    check("{{ if eq .CommonLabels.team \"x\" }}#x{{ else }}#y{{ end }}", &[], "x", None).await;
    check("#{{ range .Alerts }}{{ .Nothing }}{{ end }}", &["*"], "db", None).await;
}

#[test]
fn a_template_without_a_list_is_a_fault_in_a_file_of_ours_and_a_note_in_one_of_alertmanagers() {
    let yaml = "{api_url: 'http://h/x', channel: '#{{ .CommonLabels.team }}'}";
    let (_, faults) = slack(yaml, &allowed(&[], false));
    assert!(faults.to_string().contains("1:34: `channel` cannot come from an alert"), "{faults}");
    let (notifier, faults) = slack(yaml, &allowed(&[], true));
    assert!(notifier.is_some() && faults.is_empty() && faults.notes().len() == 1, "{faults}");
    let (notifier, faults) = slack(yaml, &allowed(&["#a"], false));
    assert!(notifier.is_some() && faults.is_empty() && faults.notes().is_empty(), "{faults}");
    let (notifier, faults) =
        slack("{api_url: 'http://h/', channel: '{{'}", &allowed(&["#a"], false));
    assert!(notifier.is_none() && faults.to_string().contains("unclosed action"), "{faults}");
}

#[tokio::test]
async fn an_address_that_an_alert_chooses_is_on_a_host_that_is_listed_x18() {
    let sink = Sink::start().await;
    let check = async |patterns: &[&str], taken: bool| {
        let yaml = format!("{{url: '{}/{{{{ .CommonLabels.team }}}}'}}", sink.url());
        let (config, mut diagnostics) = written::<WebhookConfig>(&yaml);
        let (place, allowed) = (config.place, allowed(patterns, true));
        let notifier = shared(|held| {
            let (http, templates) = (held.http.clone(), Arc::clone(held.templates));
            let build = move |entry: &WebhookConfig, diagnostics: &mut Diagnostics| {
                entry.build(place, Shared { http: &http, templates: &templates }, diagnostics)
            };
            aimed((&config.value, place), &allowed, held.templates, &mut diagnostics, build)
        });
        let (asked, result) = sink.hand_over(&*notifier.unwrap(), &about("shop"), &[]).await;
        let paths: Vec<_> = asked.iter().map(|asked| asked.path.as_str()).collect();
        assert_eq!(paths, if taken { &["/shop"][..] } else { &[] }, "{patterns:?} {result:?}");
        // The address may be a secret.
        let told = format!("{result:?}");
        assert!(!told.contains("127.0.0.1"), "{told}");
    };
    check(&["127.0.0.1"], true).await;
    check(&["hooks.example"], false).await;
    check(&[], false).await;
}

#[test]
fn every_responder_is_looked_at_x18() {
    let yaml = "{api_key: k, responders: [{name: a, type: team}, {username: '{{ .CommonLabels.x }}', type: user}]}";
    let (config, mut diagnostics) = written::<OpsgenieConfig>(yaml);
    let place = config.place;
    shared(|held| {
        let (http, templates) = (held.http.clone(), Arc::clone(held.templates));
        let build = move |entry: &OpsgenieConfig, diagnostics: &mut Diagnostics| {
            let shared = Shared { http: &http, templates: &templates };
            entry.build(place, ServiceGlobals::default(), shared, diagnostics)
        };
        aimed((&config.value, place), &allowed(&[], false), held.templates, &mut diagnostics, build)
    });
    let told = diagnostics.to_string();
    assert!(told.contains("`username` cannot come from an alert"), "{told}");
}
