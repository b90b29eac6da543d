//! The first line of every message, at the service that it goes to: what, where, since when.
//!
//! Invariant: every kind of receiver that shows people a text has a row here, with what its service
//! was sent, or for a protocol other than HTTP with what goes over the line.

use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use serde_json::{Value, json};

use super::notifier::{Notification, Notifier};
use super::paging::ServiceGlobals;
use super::sink::{Asked, Reply, Sink, shared, written};
use super::texts::tests::notification;
use super::*;
use crate::alerts::Ending;
use crate::outbox::Answer;

/// What a title says: when an alert fires, when there are two, when it is over.
const TITLE: [&str; 3] = [
    "[FIRING:1] DiskFull (web1 page), since 2023-11-14 22:13 UTC",
    "[FIRING:2] DiskFull (page) on web1 and others, since 2023-11-14 22:13 UTC",
    "[RESOLVED] DiskFull (web1 page), since 2023-11-14 22:13 UTC",
];
/// How a text begins.
const TEXT: [&str; 3] = [
    "Firing: DiskFull on web1, since 2023-11-14 22:13 UTC (1m 40s)",
    "Firing: DiskFull on web1, since 2023-11-14 22:13 UTC (1m 40s)",
    "Resolved: DiskFull on web1, since 2023-11-14 22:13 UTC, until 2023-11-14 22:14 UTC",
];
/// How a text begins below a title and a colour that say the state.
const SHORT: [&str; 3] = [
    "DiskFull on web1, since 2023-11-14 22:13 UTC (1m 40s)",
    "DiskFull on web1, since 2023-11-14 22:13 UTC (1m 40s)",
    "DiskFull on web1, since 2023-11-14 22:13 UTC, until 2023-11-14 22:14 UTC",
];
/// How a line for each alert begins.
const LINE: [&str; 3] = [
    "[FIRING] DiskFull on web1, since 2023-11-14 22:13 UTC (1m 40s): 93 % full",
    "[FIRING] DiskFull on web1, since 2023-11-14 22:13 UTC (1m 40s): 93 % full",
    "[RESOLVED] DiskFull on web1, since 2023-11-14 22:13 UTC, until 2023-11-14 22:14 UTC: 93 % full",
];

/// An alert, the same with a second one, and the end.
fn messages() -> [Notification; 3] {
    let mut first = notification();
    first.group_labels = Labels::from_pairs([("alertname", "DiskFull")]);
    first.alerts.truncate(1);
    let labels = [("alertname", "DiskFull"), ("instance", "web1"), ("severity", "page")];
    first.alerts[0].labels = Labels::from_pairs(labels);
    first.alerts[0].annotations.insert("summary".into(), "93 % full".into());
    let mut both = first.clone();
    let mut second = first.alerts[0].clone();
    second.labels = second.labels.with("instance", "web2");
    second.starts_at = second.starts_at + Duration::from_secs(60);
    both.alerts.push(second);
    let mut over = first.clone();
    over.alerts[0].ended = Some((Timestamp::from_millis(1_700_000_060_000), Ending::Resolved));
    [first, both, over]
}

/// Makes a notifier of its configuration; the rest of the arguments are its globals.
macro_rules! of {
    ($config:ty, $yaml:expr $(, $global:expr)*) => {{
        let (config, mut faults) = written::<$config>($yaml);
        let place = config.place;
        let built = shared(|shared| config.value.build(place, $($global,)* shared, &mut faults));
        assert_eq!(faults.to_string(), "", "{}", $yaml);
        Box::new(built.unwrap()) as Box<dyn Notifier>
    }};
}

/// With what a message begins for whoever is called because nobody has answered.
const NOTE: &str = "Nobody has answered since 2023-11-14 22:13 UTC; first told: chat.";

/// The first of the messages, for whoever is called late.
fn unanswered() -> Notification {
    let mut message = messages()[0].clone();
    message.answer =
        Answer { note: NOTE.trim_end_matches('.').to_owned(), is_missing: true, is_wanted: true };
    message
}

/// The text at a place of a request: a pointer into JSON, or the name of a field of a form.
fn text_at(asked: &Asked, place: &str) -> String {
    if place.starts_with('/') {
        return asked.json().pointer(place).and_then(Value::as_str).unwrap_or("").to_owned();
    }
    let fields = asked.body.split('&').filter_map(|field| field.split_once('='));
    let found = fields.filter(|(name, _)| *name == place).map(|(_, text)| text).next();
    decoded(found.unwrap_or(""))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The first line, as people see it: without the marks of bold type.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("").replace(['*', '\\'], "")
}

type Places<'a> = &'a [(&'a str, [&'a str; 3])];

/// Sends the three messages, each after the answers to what comes before it, and reads the last
/// request. The end is left out where a service is only told that it is over.
async fn check(sink: &Sink, notifier: &dyn Notifier, lead: &[Value], ends: bool, at: Places<'_>) {
    let kind = notifier.integration();
    let lead: Vec<_> = lead.iter().map(|body| Reply::json(200, body.clone())).collect();
    let replies = [&lead[..], &[Reply::Close]].concat();
    let count = if ends { 3 } else { 2 };
    for (n, message) in messages().iter().take(count).enumerate() {
        let (asked, _) = sink.hand_over(notifier, message, &replies).await;
        assert_eq!(asked.len(), replies.len(), "{kind}: {asked:?}");
        let last = asked.last().unwrap();
        for (place, expected) in at {
            let got = first_line(&text_at(last, place));
            assert_eq!(got, expected[n], "{kind} {place}: {}", last.body);
        }
    }
    let (asked, _) = sink.hand_over(notifier, &unanswered(), &replies).await;
    for (place, _) in at {
        let got = first_line(&text_at(asked.last().unwrap(), place));
        assert!(got.starts_with(NOTE), "{kind} {place}: {got}");
    }
}

#[tokio::test]
async fn the_first_line_says_what_where_and_since_when() {
    let sink = Sink::start().await;
    let url = sink.url();
    let none = ServiceGlobals::default;
    let y = |text: &str| text.replace("URL", &url);
    let s = &sink;

    let chat = of!(SlackConfig, &y("{api_url: 'URL/x', channel: c}"), SlackGlobals::default());
    let at = [("/attachments/0/title", TITLE), ("/attachments/0/text", SHORT)];
    check(s, &*chat, &[], true, &at).await;
    let chat = of!(MattermostConfig, &y("{webhook_url: 'URL/x'}"), SecretSetting::default());
    let at = [("/attachments/0/title", TITLE), ("/attachments/0/text", TEXT)];
    check(s, &*chat, &[], true, &at).await;
    let chat = y("{api_url: 'URL/', token_id: u, token: t, channel: '#ops'}");
    let chat = of!(RocketchatConfig, &chat, RocketchatGlobals::default());
    let at = [("/attachments/0/title", TITLE), ("/attachments/0/text", SHORT)];
    check(s, &*chat, &[], true, &at).await;
    let chat = of!(DiscordConfig, &y("{webhook_url: 'URL/api/webhooks/1/t'}"));
    let at = [("/embeds/0/title", TITLE), ("/embeds/0/description", TEXT)];
    check(s, &*chat, &[], true, &at).await;
    let chat = y("{api_url: 'URL', bot_token: '1:t', chat_id: -100}");
    let chat = of!(TelegramConfig, &chat, TelegramGlobals::default());
    check(s, &*chat, &[], true, &[("/text", TEXT)]).await;
    let chat = of!(MsteamsConfig, &y("{webhook_url: 'URL/x'}"));
    let at = [("/title", TITLE), ("/summary", TITLE), ("/text", TEXT)];
    check(s, &*chat, &[], true, &at).await;
    let chat = of!(MsteamsV2Config, &y("{webhook_url: 'URL/x'}"));
    let (title, text) =
        ("/attachments/0/content/body/0/text", "/attachments/0/content/body/1/text");
    check(s, &*chat, &[], true, &[(title, TITLE), (text, TEXT)]).await;
    let chat = of!(MatrixConfig, &y("{homeserver_url: 'URL', access_token: t, room_id: '!a:x'}"));
    check(s, &*chat, &[], true, &[("/body", TITLE)]).await;
    let chat = of!(ZulipConfig, &y("{api_url: 'URL', bot_email: b@x, api_key: k, channel: ops}"));
    check(s, &*chat, &[], true, &[("content", TITLE)]).await;
    let chat = of!(GoogleChatConfig, &y("{webhook_url: 'URL/v1/spaces/A/messages?key=k'}"));
    check(s, &*chat, &[], true, &[("/text", TITLE)]).await;
    let chat = "{api_url: 'URL', room_id: R, http_config: {authorization: {credentials: t}}}";
    let chat = of!(WebexConfig, &y(chat), None);
    check(s, &*chat, &[], true, &[("/markdown", TEXT)]).await;

    let pager = of!(PagerdutyConfig, &y("{url: 'URL/enqueue', routing_key: k}"), none());
    check(s, &*pager, &[], false, &[("/payload/summary", TITLE)]).await;
    let pager = of!(OpsgenieConfig, &y("{api_url: 'URL', api_key: k}"), none());
    check(s, &*pager, &[], false, &[("/message", TITLE), ("/description", TEXT)]).await;
    let pager = y("{api_url: 'URL/alert', api_key: k, routing_key: r}");
    let pager = of!(VictoropsConfig, &pager, none());
    let at = [("/entity_display_name", TITLE), ("/state_message", TEXT)];
    check(s, &*pager, &[], true, &at).await;
    let phone = y("{api_url: 'URL/1/messages.json', token: t, user_key: u}");
    let phone = of!(PushoverConfig, &phone);
    check(s, &*phone, &[], true, &[("title", TITLE), ("message", TEXT)]).await;
    let phone = y("{url: 'URL', account_sid: AC0123456789abcdef0123456789abcdef, auth_token: t, \
                    from: '+15005550006', to: '+33612345678'}");
    check(s, &*of!(TwilioConfig, &phone), &[], true, &[("Body", LINE)]).await;
    let phone = of!(NtfyConfig, &y("{url: 'URL', topic: ops}"));
    check(s, &*phone, &[], true, &[("/title", TITLE), ("/message", TEXT)]).await;
    let phone = of!(GotifyConfig, &y("{url: 'URL', token: t}"));
    check(s, &*phone, &[], true, &[("/title", TITLE), ("/message", TEXT)]).await;
    let topic = of!(
        SnsConfig,
        &y("{api_url: 'URL/', topic_arn: 'arn:aws:sns:eu-west-1:1:t', \
            sigv4: {access_key: AK, secret_key: s}}")
    );
    check(s, &*topic, &[], true, &[("Subject", TITLE), ("Message", TEXT)]).await;
    let chat = y("{api_url: 'URL/cgi-bin', api_secret: s, corp_id: c}");
    let chat = of!(WechatConfig, &chat, none(), None);
    let token = [json!({"errcode": 0, "access_token": "t"})];
    check(s, &*chat, &token, true, &[("/text/content", TITLE)]).await;
    let http = "http_config: {basic_auth: {username: u, password: p}}";
    let desk = format!("{{api_url: 'URL/rest/api/2', project: OPS, issue_type: Bug, {http}}}");
    let desk = of!(JiraConfig, &y(&desk), none());
    let at = [("/fields/summary", TITLE), ("/fields/description", TEXT)];
    check(s, &*desk, &[json!({"issues": []})], false, &at).await;
    let desk = of!(ServicenowConfig, &y(&format!("{{api_url: 'URL', {http}}}")));
    let at = [("/short_description", TITLE), ("/description", TEXT)];
    check(s, &*desk, &[json!({"result": []})], false, &at).await;
}

#[test]
fn so_it_does_over_other_lines_than_http() {
    let (mail, mut faults) =
        written::<EmailConfig>("{to: ops@example.org, from: v@example.net, smarthost: 'mail:587'}");
    let place = mail.place;
    let mail = shared(|shared| {
        mail.value.build(place, &EmailGlobals::default(), shared.templates, &mut faults)
    });
    assert_eq!(faults.to_string(), "");
    let mail: Box<dyn Notifier> = Box::new(mail.unwrap());
    let people = of!(XmppConfig, "{jid: v@x.org, password: p, to: ops@x.org}");
    let channel = of!(IrcConfig, "{server: h, channel: '#ops'}");
    let log = of!(SyslogConfig, "{address: h}");
    for (n, message) in messages().iter().enumerate() {
        let said = mail.preview(message);
        let (subject, text) = said.split_once("\n\n").unwrap();
        assert_eq!((subject, first_line(text).as_str()), (TITLE[n], TEXT[n]));
        assert_eq!(first_line(&people.preview(message)), TEXT[n]);
        let line = format!("{} http://v/#a", LINE[n]);
        assert_eq!(first_line(&channel.preview(message)), line);
        let told = log.preview(message);
        let told = told.lines().next().unwrap();
        assert!(told.contains(LINE[n]), "{told}");
        let printed = ConsoleNotifier.preview(message);
        let printed = printed.lines().next().unwrap();
        let place = "DiskFull {instance=\"web1\", severity=\"page\"} since 2023-11-14 22:13:20 UTC";
        assert!(printed.starts_with('[') && printed.contains(place), "{printed}");
    }
    let called = unanswered();
    let said = mail.preview(&called);
    let (subject, text) = said.split_once("\n\n").unwrap();
    let others =
        [people.preview(&called), channel.preview(&called), ConsoleNotifier.preview(&called)];
    for said in [subject, text].into_iter().chain(others.iter().map(String::as_str)) {
        assert!(first_line(said).starts_with(NOTE), "{said}");
    }
    assert!(log.preview(&called).lines().next().unwrap().contains(NOTE));
    assert!(text.contains("Acknowledge: http://v/acknowledge?group="), "{text}");
}
