//! The templates that come with the program: what they say.
//!
//! Invariant: nothing in the data can make them say something else.

use base::labels::Labels;
use base::sample::Timestamp;

use super::super::*;
use super::NOW;

/// Ten minutes before [`NOW`].
const START: Timestamp = Timestamp::from_millis(1_353_755_052_500);

fn alert(labels: &[(&str, &str)], annotations: &[(&str, &str)], resolved: bool) -> AlertData {
    AlertData {
        resolved,
        labels: Labels::from_pairs(labels.iter().copied()),
        annotations: Labels::from_pairs(annotations.iter().copied()),
        starts_at: START,
        ends_at: resolved.then_some(NOW),
        generator_url: "https://v/graph?g0.expr=up&g0.tab=1".to_owned(),
    }
}

fn notification(alerts: Vec<AlertData>, group: &[(&str, &str)]) -> Value {
    NotificationData {
        receiver: "team-a".to_owned(),
        reason: "first notification".to_owned(),
        alerts,
        group_labels: Labels::from_pairs(group.iter().copied()),
        external_url: "https://v".to_owned(),
        ..NotificationData::default()
    }
    .into_value()
}

fn disk(instance: &str) -> AlertData {
    alert(
        &[("alertname", "DiskFull"), ("instance", instance), ("severity", "page")],
        &[("summary", "93 % full"), ("description", "Disk /dev/sda1 is 93 % full.")],
        false,
    )
}

fn render(name: &str, data: &Value, escape: Escape) -> String {
    let options = Options { escape, external_url: "https://v", ..Options::at(NOW) };
    Templates::defaults().render_named(name, data, &options).unwrap()
}

#[track_caller]
fn check(name: &str, data: &Value, expected: &str) {
    assert_eq!(render(name, data, Escape::Text), expected, "{name}");
}

/// Where `DiskFull` on `web1:9100` can be silenced.
const SILENCE: &str = "https://v/silences/new?filter=%7Balertname%3D%22DiskFull%22%2Cinstance%3D\
    %22web1%3A9100%22%2Cseverity%3D%22page%22%7D";

#[test]
fn subjects_tell_state_group_and_what_all_have() {
    let name = [("alertname", "DiskFull")];
    check(
        "__subject",
        &notification(vec![disk("a"), disk("b")], &name),
        "[FIRING:2] DiskFull (page)",
    );
    check("__subject", &notification(vec![disk("a")], &name), "[FIRING:1] DiskFull (a page)");
    check(
        "__subject",
        &notification(vec![disk("a"), disk("b")], &[]),
        "[FIRING:2] DiskFull (page)",
    );
    let over = alert(&[("alertname", "X")], &[], true);
    check(
        "email.default.subject",
        &notification(vec![over], &[("alertname", "X")]),
        "[RESOLVED] X, since 2012-11-24 11:04 UTC",
    );
    check("__subject", &notification(vec![], &[]), "[RESOLVED]");
    // Titles say where and since when, too.
    let check_title = |alerts: Vec<AlertData>, expected: &str| {
        check("veilleur.default.title", &notification(alerts, &name), expected);
    };
    let mut older = disk("b");
    older.starts_at = Timestamp::from_millis(START.millis() - 3_600_000);
    check_title(vec![disk("a")], "[FIRING:1] DiskFull (a page), since 2012-11-24 11:04 UTC");
    let both = "[FIRING:2] DiskFull (page) on a and others, since 2012-11-24 10:04 UTC";
    check_title(vec![disk("a"), older], both);
    check_title(vec![], "[RESOLVED] DiskFull");
    let many = (0..20_000).map(|n| disk(&n.to_string())).collect();
    check_title(many, "[FIRING:20000] DiskFull (page) on 0 and others, since 2012-11-24 11:04 UTC");
}

#[test]
fn texts_tell_what_where_and_since_when() {
    let data = notification(vec![disk("web1:9100")], &[("alertname", "DiskFull")]);
    check(
        "email.default.text",
        &data,
        &format!(
            "Firing: DiskFull on web1:9100, since 2012-11-24 11:04 UTC (10m 0s)\n\
             \x20 93 % full\n\
             \x20 Disk /dev/sda1 is 93 % full.\n\
             \x20 Silence: {SILENCE}\n\
             \x20 Graph: https://v/graph?g0.expr=up&g0.tab=1\n\
             \x20 Labels: alertname=DiskFull, instance=web1:9100, severity=page\n\
             \n\
             All alerts, and silences: https://v/#/alerts?receiver=team-a\n"
        ),
    );
    let mut noted = disk("web1:9100");
    for (name, text) in [("value", "0.93"), ("runbook_url", "https://wiki/x"), ("ending", "none")] {
        noted.annotations = noted.annotations.with(name, text);
    }
    let list = Value::list_of(ListKind::Alerts, vec![noted.into_value()]);
    check(
        "__text_alert_list",
        &list,
        &format!(
            "Firing: DiskFull on web1:9100, since 2012-11-24 11:04 UTC (10m 0s)\n\
             \x20 Value: 0.93\n  93 % full\n  Disk /dev/sda1 is 93 % full.\n  ending: none\n\
             \x20 Silence: {SILENCE}\n  What to do: https://wiki/x\n\
             \x20 Graph: https://v/graph?g0.expr=up&g0.tab=1\n\
             \x20 Labels: alertname=DiskFull, instance=web1:9100, severity=page\n"
        ),
    );
    check(
        "slack.default.text",
        &data,
        &format!(
            "*DiskFull* on web1:9100, since 2012-11-24 11:04 UTC (10m 0s)\n93 % full\n\
             Disk /dev/sda1 is 93 % full.\n<{SILENCE}|Silence> · \
             <https://v/graph?g0.expr=up&g0.tab=1|Graph>\n"
        ),
    );
    check(
        "slack.default.fallback",
        &data,
        "[FIRING:1] DiskFull (web1:9100 page), since 2012-11-24 11:04 UTC | \
         https://v/#/alerts?receiver=team-a",
    );
    check("slack.default.color", &data, "danger");
    check("jira.default.priority", &data, "High");
    check("__description", &data, "Disk /dev/sda1 is 93 % full.");
    let over = notification(vec![alert(&[("job", "node")], &[], true)], &[]);
    check(
        "__text_message",
        &over,
        "Resolved: alert a3706118e550845a in node, since 2012-11-24 11:04 UTC, until 2012-11-24 11:14 UTC\n\
         \x20 Silence: https://v/silences/new?filter=%7Bjob%3D%22node%22%7D\n\
         \x20 Graph: https://v/graph?g0.expr=up&g0.tab=1\n  Labels: job=node\n",
    );
    check("__text_alert_list_markdown", &Value::list_of(ListKind::Alerts, vec![]), "");
    let markdown = render("jira.default.description", &data, Escape::Text);
    assert!(markdown.starts_with("\n**Firing: DiskFull** on web1:9100, since"), "{markdown}");
    assert!(
        markdown.contains("\n- 93 % full\n- Disk /dev/sda1 is 93 % full.\n[Silence](https"),
        "{markdown}"
    );
    let what = "Firing: DiskFull on web1:9100, since 2012-11-24 11:04 UTC (10m 0s)\n";
    for name in ["discord.default.message", "telegram.default.message"] {
        let text = render(name, &data, Escape::Text);
        assert!(text.starts_with(what), "{name}: {text}");
    }
    check(
        "msteamsv2.default.text",
        &data,
        "**Firing: DiskFull** on web1:9100, since 2012-11-24 11:04 UTC (10m 0s)\n\n\
         93 % full\nDisk /dev/sda1 is 93 % full.\n\n\
         [Silence](https://v/silences/new?filter=%7Balertname%3D%22DiskFull%22%2Cinstance%3D\
         %22web1%3A9100%22%2Cseverity%3D%22page%22%7D)  [Graph](https://v/graph?g0.expr=up&g0.tab=1)\n\n\
         [All alerts, and silences](https://v/#/alerts?receiver=team-a)",
    );
}

#[test]
fn the_mail_begins_with_what_where_and_since_when() {
    let mut first = disk("web1");
    first.annotations = first
        .annotations
        .with("value", "0.93")
        .with("runbook_url", "https://wiki/disk")
        .with("ending", "none yet");
    let data = notification(vec![first, disk("web2")], &[("alertname", "DiskFull")]);
    let mail = render("email.default.html", &data, Escape::Html);
    let body = mail.split_once("<body").unwrap().1;
    let text = body.split_once("<p").unwrap().1.split_once("</p>").unwrap().0;
    assert_eq!(
        text.split_once('>').unwrap().1,
        "<strong>Firing: DiskFull</strong> on web1, since 2012-11-24 11:04 UTC (10m 0s) (first of 2)"
    );
    for part in [
        "Value: <strong>0.93</strong>",
        "93 % full\nDisk /dev/sda1 is 93 % full.</p>",
        "<a href=\"https://v/graph?g0.expr=up&amp;g0.tab=1\">Source</a>",
        "<a href=\"https://wiki/disk\">What to do</a>",
        "<a href=\"https://v/silences/new?filter=%7Balertname%3D%22DiskFull%22%2Cinstance",
        "<a href=\"https://v/#/alerts?receiver=team-a\">All alerts, and silences, in Veilleur</a>",
        "<p style=\"margin:4px 0\">ending: none yet</p>",
        "severity=page<br>",
        "<title>[FIRING:2] DiskFull (page)</title>",
        "To team-a (first notification).",
    ] {
        assert!(mail.contains(part), "no {part} in {mail}");
    }
    assert!(!mail.contains("src=") && !mail.contains("<link") && !mail.contains("<script"));
    assert!(mail.len() < 4_000, "{} bytes", mail.len());
}

#[test]
fn many_alerts_are_cut_and_counted() {
    let data = notification((0..200).map(|n| disk(&format!("web{n}"))).collect(), &[]);
    let mail = render("email.default.html", &data, Escape::Html);
    assert!(mail.contains("Only the first 25 of 200 alerts are shown."));
    assert_eq!(mail.matches("Firing: DiskFull").count(), 25);
    for name in ["slack.default.text", "veilleur.default.text", "veilleur.default.markdown"] {
        assert!(render(name, &data, Escape::Text).contains("Only 10 of 200 alerts"), "{name}");
    }
}

/// What hostile data must not get into a mail: an element, an attribute, an address.
#[test]
fn nothing_in_the_data_becomes_markup() {
    let evil = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)",
        "javascript:alert(1)",
        "data:text/html;base64,PHNjcmlwdD4=",
        "</title><script>",
        "{{ .Receiver }}",
        "-->",
        "\u{0}<b>",
    ];
    for evil in evil {
        let mut alert = alert(
            &[("alertname", evil), ("instance", evil), ("job", evil)],
            &[("summary", evil), ("description", "d"), ("value", evil), ("runbook_url", evil)],
            false,
        );
        alert.generator_url = evil.to_owned();
        let mut data = NotificationData {
            receiver: evil.to_owned(),
            reason: evil.to_owned(),
            alerts: vec![alert],
            external_url: evil.to_owned(),
            ..NotificationData::default()
        };
        let mail = render("email.default.html", &data.clone().into_value(), Escape::Html);
        data.receiver = "r".to_owned();
        data.reason = "r".to_owned();
        data.external_url = "https://v".to_owned();
        data.alerts = vec![super::defaults::alert(
            &[("alertname", "a"), ("instance", "a"), ("job", "a")],
            &[("summary", "a"), ("description", "d"), ("value", "a"), ("runbook_url", "a")],
            false,
        )];
        let harmless = render("email.default.html", &data.into_value(), Escape::Html);
        assert_eq!(tags(&mail), tags(&harmless), "{evil}: {mail}");
        for link in mail.split("href=\"").skip(1) {
            let link = link.split('"').next().unwrap();
            let scheme = link.split_once(':').map_or("", |(scheme, _)| scheme);
            assert!(matches!(scheme, "" | "https") || scheme.contains('/'), "{evil}: {link}");
        }
    }
}

/// The names of all tags and of their attributes.
fn tags(html: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let mut name = String::new();
        let mut quoted = false;
        let mut end = after.len();
        for (at, c) in after.char_indices() {
            match c {
                '"' => quoted = !quoted,
                '>' if !quoted => {
                    end = at;
                    break;
                }
                _ if quoted => {}
                _ => name.push(c),
            }
        }
        tags.push(name);
        rest = &after[end..];
    }
    tags
}

#[test]
fn the_defaults_call_only_what_is_there_and_write_only_where_values_can_stand() {
    let templates = Templates::defaults();
    assert_eq!(templates.check(), []);
    let text = "{{ template \"email.default.html\" . }}";
    let mail = Template::parse(Dialect::Notification, "", text).unwrap();
    assert_eq!(templates.check_html(&mail), []);
    let asked = [
        "__alertmanager",
        "__alertmanagerURL",
        "__subject",
        "__description",
        "__text_alert_list",
        "__text_alert_list_markdown",
        "slack.default.title",
        "slack.default.username",
        "slack.default.fallback",
        "slack.default.callbackid",
        "slack.default.pretext",
        "slack.default.titlelink",
        "slack.default.iconemoji",
        "slack.default.iconurl",
        "slack.default.text",
        "slack.default.footer",
        "email.default.subject",
        "email.default.html",
        "email.default.text",
    ];
    let names: Vec<_> = templates.names().collect();
    for name in asked {
        assert!(names.contains(&name), "{name} is missing");
    }
    // Every template takes a notification, or a list of its alerts, or one of them.
    let data = notification(vec![disk("a")], &[]);
    let options = Options::at(NOW);
    for name in
        names.iter().filter(|name| name.contains(".default.") && !name.ends_with("instances"))
    {
        templates.render_named(name, &data, &options).unwrap();
    }
}
