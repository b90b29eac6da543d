//! What is sent to Telegram, and what its answers mean.
//!
//! Invariant: the requests are those of Telegram's documentation.

use super::super::sink::{
    Judges, Reply, SECRET, Sink, build_entry, flood, hostile, misbehave, outcome,
};
use super::super::texts::tests::notification;
use super::*;

fn build(yaml: &str) -> (Option<TelegramNotifier>, String) {
    build_entry(yaml, |config: &TelegramConfig, place, shared, diagnostics| {
        config.build(place, TelegramGlobals::default(), shared, diagnostics)
    })
}

#[track_caller]
fn built(url: &str, more: &str) -> TelegramNotifier {
    let yaml = format!("{{api_url: '{url}', bot_token: '1:{SECRET}', chat_id: -100{more}}}");
    let (notifier, faults) = build(&yaml);
    assert_eq!(faults, "", "{yaml}");
    notifier.unwrap()
}

fn said(id: i64) -> Reply {
    Reply::json(200, json!({"ok": true, "result": {"message_id": id, "chat": {"id": -100}}}))
}

fn refused(status: u16, why: &str) -> Reply {
    Reply::json(status, json!({"ok": false, "error_code": status, "description": why}))
}

#[tokio::test]
async fn later_messages_answer_the_first() {
    let sink = Sink::start().await;
    let more = ", message: '<b>{{ .CommonAnnotations.summary }}</b>', message_thread_id: 5";
    let notifier = built(&sink.url(), more);
    let mut message = notification();
    let (asked, result) = sink.hand_over(&notifier, &message, &[said(7)]).await;
    assert_eq!(result, Ok(Receipt::named("-100:7")));
    assert_eq!(asked[0].line(), format!("POST /bot1:{SECRET}/sendMessage"));
    let mut expected = json!({
        "chat_id": -100,
        "message_thread_id": 5,
        "text": "<b>queue &lt;b&gt;full&lt;/b&gt; &amp; more</b>",
        "parse_mode": "HTML",
        "disable_notification": false,
        "link_preview_options": {"is_disabled": true},
    });
    assert_eq!(asked[0].json(), expected);

    message.reference = Some("-100:7".to_owned());
    let (asked, result) = sink.hand_over(&notifier, &message, &[said(8)]).await;
    assert_eq!(result, Ok(Receipt::default()));
    expected["reply_parameters"] = json!({"message_id": 7, "allow_sending_without_reply": true});
    assert_eq!(asked[0].json(), expected);

    // The configuration names another chat than it did.
    message.reference = Some("-200:7".to_owned());
    let (asked, result) = sink.hand_over(&notifier, &message, &[said(9)]).await;
    assert_eq!(asked[0].json()["reply_parameters"], Value::Null);
    assert_eq!(result, Ok(Receipt::named("-100:9")));
}

#[tokio::test]
async fn update_message_changes_the_first() {
    let sink = Sink::start().await;
    let notifier = built(&sink.url(), ", update_message: true, disable_notifications: true");
    let mut message = notification();
    message.reference = Some("-100:7".to_owned());
    let (asked, result) = sink.hand_over(&notifier, &message, &[said(7)]).await;
    assert_eq!(result, Ok(Receipt::default()));
    assert_eq!(asked[0].line(), format!("POST /bot1:{SECRET}/editMessageText"));
    assert_eq!(asked[0].json()["message_id"], 7);

    let same = refused(400, "Bad Request: message is not modified: ...");
    let (asked, result) = sink.hand_over(&notifier, &message, &[same]).await;
    assert_eq!((asked.len(), result), (1, Ok(Receipt::default())));

    let gone = refused(400, "Bad Request: message to edit not found");
    let (asked, result) = sink.hand_over(&notifier, &message, &[gone, said(8)]).await;
    assert_eq!(result, Ok(Receipt::named("-100:8")));
    assert_eq!(asked[1].json()["disable_notification"], true);
    assert_eq!(asked[1].json()["reply_parameters"], Value::Null);
}

#[tokio::test]
async fn what_cannot_be_read_as_markup_goes_out_plain() {
    // X16: no loop of refusals.
    let sink = Sink::start().await;
    let notifier = built(&sink.url(), ", parse_mode: MarkdownV2, message: 'a.b {{ .Status }}'");
    let unreadable = "Bad Request: can't parse entities: Character '.' is reserved";
    let replies = [refused(400, unreadable), said(1)];
    let (asked, result) = sink.hand_over(&notifier, &notification(), &replies).await;
    assert_eq!(result, Ok(Receipt::named("-100:1")));
    assert_eq!(asked[0].json()["parse_mode"], "MarkdownV2");
    assert_eq!(asked[1].json()["parse_mode"], Value::Null);
    let replies = [refused(400, unreadable), refused(400, unreadable)];
    let (asked, result) = sink.hand_over(&notifier, &notification(), &replies).await;
    assert_eq!((asked.len(), outcome(&result).as_str()), (2, "never"));
}

#[test]
fn values_read_as_they_are_in_every_mode() {
    // X16
    let check = |mode: &str, expected: &str| {
        let more =
            format!(", parse_mode: '{mode}', message: '*{{{{ .CommonLabels.alertname }}}}* x'");
        let notifier = built("http://h", &more);
        let mut message = notification();
        for alert in &mut message.alerts {
            alert.labels = base::labels::Labels::from_pairs([("alertname", "a_b*[c](d) <i>&.")]);
        }
        assert_eq!(notifier.text(notifier.mode, &message), expected, "{mode}");
    };
    check("HTML", "*a_b*[c](d) &lt;i&gt;&amp;.* x");
    check("MarkdownV2", r"*a\_b\*\[c\]\(d\) <i\>&\.* x");
    check("Markdown", r"*a\_b\*\[c](d) <i>&.* x");
    check("", "*a_b*[c](d) <i>&.* x");
}

#[test]
fn floods_and_empty_texts_become_messages() {
    // F16
    for mode in MODES {
        let more = format!(", parse_mode: '{}'", mode.name);
        let notifier = built("http://h", &more);
        for message in [flood(), hostile()] {
            let text = notifier.text(notifier.mode, &message);
            let shown = text.chars().count();
            assert!((100..=MAX_TEXT + 200).contains(&shown), "{}: {shown}", mode.name);
            assert!(!text.contains("<script>") || mode.name != "HTML", "{text}");
        }
    }
    let text = built("http://h", ", message: ' '").text(MODES[0], &notification());
    assert_eq!(
        text,
        "[FIRING] CheckFailed on web:1, CheckFailed on db:1, since 2023-11-14 22:13 UTC"
    );
}

#[tokio::test]
async fn takes_the_service_at_its_word() {
    // F12, F14
    let sink = Sink::start().await;
    let notifier = built(&sink.url(), "");
    let wait = json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 35",
                      "parameters": {"retry_after": 35}});
    let moved = json!({"ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded",
                       "parameters": {"migrate_to_chat_id": -1009}});
    let cases = [
        (Reply::json(429, wait), "again after 35s", "retry after 35"),
        (Reply::json(400, moved), "never", "write `chat_id: -1009`"),
        (refused(403, "Forbidden: bot was blocked by the user"), "never", "blocked"),
        (refused(404, "Not Found"), "never", "Not Found"),
        (refused(200, "odd"), "never", "odd"),
    ];
    for (reply, expected, said) in cases {
        let (_, result) = sink.hand_over(&notifier, &notification(), &[reply]).await;
        assert_eq!(outcome(&result), expected, "{result:?}");
        assert!(result.unwrap_err().to_string().contains(said), "{said}");
    }
    misbehave(Judges::Body, &[], |url| built(url, "")).await;
}

#[test]
fn the_chat_can_stand_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    let yaml = format!("{{bot_token: x, chat_id_file: '{path}'}}");
    let notifier = build(&yaml).0.unwrap();
    assert_eq!(outcome(&notifier.chat.number().map(|_| Receipt::default())), "again");
    std::fs::write(file.path(), "-42\n").unwrap();
    assert_eq!(notifier.chat.number(), Ok(-42));
}

#[test]
fn reports_every_fault() {
    let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
    check(
        "{parse_mode: Html}",
        "f.yml:1:1: `bot_token` is missing\n  help: set it or `bot_token_file` here, or \
         `telegram_bot_token` under `global:`\n\
         f.yml:1:1: `chat_id` is missing\n  help: set it or `chat_id_file`; those of groups are negative\n\
         f.yml:1:14: there is no `parse_mode` `Html`\n  \
         help: write `HTML`, `MarkdownV2`, `Markdown` or nothing between the quotes",
    );
    check(
        "{bot_token: x, bot_token_file: y, chat_id: 1, chat_id_file: z}",
        "f.yml:1:1: only one of `bot_token` and `bot_token_file` can be given\n\
         f.yml:1:44: only one of `chat_id` and `chat_id_file` can be given",
    );
}
