//! What Jira is asked, and what is made of its answers.
//!
//! Invariant: the shapes are those of the documentation of Jira's REST API.

use super::super::paging::ServiceGlobals;
use super::super::paging::tests::flood;
use super::super::sink::build_entry;
use super::super::texts::tests::notification;
use super::*;

fn build(yaml: &str) -> (Option<JiraNotifier>, String) {
    build_entry(yaml, |config: &JiraConfig, place, shared, diagnostics| {
        config.build(place, ServiceGlobals::default(), shared, diagnostics)
    })
}

const V2: &str = "api_url: 'https://x.atlassian.net/rest/api/2', project: OPS, issue_type: Bug";
const V3: &str = "api_url: 'https://jira.example/rest/api/3/', project: OPS, issue_type: Bug";

#[track_caller]
fn built(yaml: &str) -> JiraNotifier {
    let (notifier, faults) = build(&format!("{{{yaml}}}"));
    assert_eq!(faults, "", "{yaml}");
    notifier.unwrap()
}

#[test]
fn creates_an_issue() {
    let yaml = format!(
        "{V2}, description: '{{{{ .Status }}}}', labels: ['a b', '{{{{ .Receiver }}}}', ''], priority: High,\n\
         fields: {{customfield_10001: ['{{{{ len .Alerts }}}}'], components: [{{name: db}}]}}"
    );
    let label = format!("ALERT{{{}}}", group_id(&notification()));
    assert_eq!(
        built(&yaml).created(&notification()),
        json!({"fields": {
            "project": {"key": "OPS"}, "issuetype": {"name": "Bug"}, "summary": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC",
            "description": "firing", "labels": [label, "a_b", "ops"], "priority": {"name": "High"},
            "customfield_10001": [2], "components": [{"name": "db"}],
        }})
    );
}

#[test]
fn an_update_leaves_what_people_decide() {
    let label = format!("ALERT{{{}}}", group_id(&notification()));
    let yaml = format!(
        "{V2}, summary: {{enable_update: false}}, description: {{template: '{{{{ .Status }}}}'}}"
    );
    assert_eq!(
        built(&yaml).changed(&notification()),
        json!({"fields": {"description": "firing"}, "update": {"labels": [{"add": label}]}})
    );
    let yaml = format!(
        "{V2}, description: {{template: x, enable_update: false}}, comment: '{{{{ .Status }}}}!'"
    );
    let notifier = built(&yaml);
    assert_eq!(
        notifier.changed(&notification())["fields"],
        json!({"summary": "[FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC"})
    );
    assert_eq!(notifier.comment(&notification()), Some(json!({"body": "firing!"})));
    assert_eq!(built(V2).comment(&notification()), None);
}

#[test]
fn version_3_has_documents() {
    let paragraph =
        |text: &str| json!({"type": "paragraph", "content": [{"type": "text", "text": text}]});
    let description = |template: &str| {
        let yaml = format!("{V3}, description: {template}");
        built(&yaml).created(&notification())["fields"]["description"].clone()
    };
    let document = |content: Value| json!({"type": "doc", "version": 1, "content": content});
    let empty = json!({"type": "paragraph", "content": []});
    assert_eq!(
        description("\"[~x]\\n\\n{{ .Status }}\""),
        document(json!([paragraph("[~x]"), empty, paragraph("firing")]))
    );
    let own = r#"'{"type":"doc","version":1,"content":[]}'"#;
    assert_eq!(description(own), document(json!([])));
    assert_eq!(description("''"), Value::Null);
}

#[test]
fn labels_neither_call_people_nor_flood() {
    // X16, F16
    let mut hostile = notification();
    let text = "[~admin] {html}x{html} !http://evil/x.png!";
    hostile.alerts[0].annotations.insert("summary".into(), text.into());
    let created = built(V2).created(&hostile);
    let description = created["fields"]["description"].as_str().unwrap();
    assert!(description.contains(r"\[~admin] \{html}x\{html} \!http"), "{description}");
    let each = "'{{ range .Alerts }}{{ .Annotations.summary }}{{ end }}'";
    let created =
        built(&format!("{V2}, summary: {each}, description: {each}")).created(&flood(100));
    let length = |name: &str| created["fields"][name].as_str().unwrap().chars().count();
    assert_eq!((length("summary"), length("description")), (MAX_SUMMARY, MAX_DESCRIPTION));
}

#[test]
fn searches_what_can_go_on() {
    let label = format!("ALERT{{{}}}", group_id(&notification()));
    let end =
        format!("project=\"OPS\" and labels=\"{label}\" order by status ASC,resolutiondate DESC");
    let mut ended = notification();
    ended.alerts.remove(0);
    let check = |yaml: &str, notification: &Notification, expected: &str| {
        let notifier = built(&format!("{V2}{yaml}"));
        assert_eq!(notifier.query(notification), format!("{expected}{end}"), "{yaml}");
    };
    let open = "statusCategory != Done and ";
    let recent = "(resolutiondate is EMPTY OR resolutiondate >= -90m) and ";
    check("", &notification(), open);
    check(", reopen_transition: Reopen", &notification(), open);
    check(", reopen_transition: Reopen, reopen_duration: 90m", &notification(), recent);
    check(", reopen_transition: Reopen, reopen_duration: 90m", &ended, open);
    check(
        ", wont_fix_resolution: 'Won''t \"fix\"'",
        &notification(),
        &format!("(resolution is EMPTY or resolution != \"Won't \\\"fix\\\"\") and {open}"),
    );
}

#[test]
fn a_label_cannot_end_a_search() {
    let mut hostile = notification();
    hostile.group_labels = hostile.group_labels.with("team", "X\" or key=\"OPS-1");
    let yaml =
        "api_url: 'https://h/rest/api/2/', project: '{{ .GroupLabels.team }}', issue_type: Bug";
    let query = built(yaml).query(&hostile);
    assert!(query.contains(r#"project="X\" or key=\"OPS-1" and"#), "{query}");
}

#[test]
fn the_search_is_where_the_product_has_it() {
    let check = |yaml: &str, expected: &str| {
        let notifier = built(&format!("{yaml}, project: OPS, issue_type: Bug"));
        assert_eq!(notifier.search.expose(), expected, "{yaml}");
    };
    check(
        "api_url: 'https://x.atlassian.net/rest/api/2'",
        "https://x.atlassian.net/rest/api/3/search/jql",
    );
    check(
        "api_url: 'https://x.atlassian.net/rest/api/3/'",
        "https://x.atlassian.net/rest/api/3/search/jql",
    );
    check("api_url: 'https://h/jira/rest/api/2/'", "https://h/jira/rest/api/2/search");
    check("api_url: 'https://h/rest/api/2/', api_type: cloud", "https://h/rest/api/3/search/jql");
    check(
        "api_url: 'https://x.atlassian.net/rest/api/2/', api_type: datacenter",
        "https://x.atlassian.net/rest/api/2/search",
    );
}

#[test]
fn reports_every_fault() {
    let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
    check(
        "{api_type: mine, summary: '{{ nope }}'}",
        "f.yml:1:1: `api_url` is missing\n  help: set it here like \
         `https://company.atlassian.net/rest/api/2/`, or `jira_api_url` under `global:`\n\
         f.yml:1:1: `project` is missing\nf.yml:1:1: `issue_type` is missing\n\
         f.yml:1:12: there is no `api_type` `mine`\n  help: `auto`, `cloud` or `datacenter`\n\
         f.yml:1:27: template: summary:1: function \"nope\" not defined",
    );
}
