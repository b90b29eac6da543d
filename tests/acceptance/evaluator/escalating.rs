//! Nobody answers: others are called. Somebody does: nobody is called any more.
//!
//! Invariant: what counts is the moment at which an answer was acknowledged with 2xx.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::http_server::{HttpServer, Reply};
use tests::program::{End, Program, free_port, run};
use tests::{ask, escaped, exchange, wait_until};

use crate::delivery::push;
use crate::rig::Evaluator;

const JSON: &str = "content-type: application/json\r\n";
const PATH: &str = "/api/v1/acknowledgements";

/// The services of three receivers.
struct Services {
    chat: HttpServer,
    phone: HttpServer,
    boss: HttpServer,
}

impl Services {
    /// Each says yes to everything, and nobody reads it.
    fn start() -> Self {
        Self { chat: HttpServer::sink(), phone: HttpServer::sink(), boss: HttpServer::sink() }
    }

    /// A configuration with these steps and more.
    fn config(&self, steps: &str, more: &str) -> String {
        let receiver = |name: &str, server: &HttpServer| {
            format!("- {{name: {name}, webhook_configs: [{{url: '{}'}}]}}\n", server.url("/hook"))
        };
        format!(
            "builtin_rules: {{enabled: false}}\nroute: {{receiver: chat, group_by: [alertname], \
             group_wait: 0s, group_interval: 200ms, repeat_interval: 1d, escalate: [{steps}]}}\n\
             receivers:\n{}{}{}{more}",
            receiver("chat", &self.chat),
            receiver("phone", &self.phone),
            receiver("boss", &self.boss)
        )
    }
}

/// The messages to a service about an alert.
fn told(server: &HttpServer, name: &str) -> Vec<Value> {
    let is_about = |body: &Value| {
        let mut alerts = body["alerts"].as_array().unwrap().iter();
        alerts.any(|alert| alert["labels"]["alertname"] == name)
    };
    server.asked().iter().map(|asked| asked.json()).filter(is_about).collect()
}

fn note(message: &Value) -> &str {
    message["note"].as_str().unwrap_or_default()
}

fn millis(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn acknowledge(evaluator: &Evaluator, body: &Value) -> (u16, Value) {
    let url = format!("http://127.0.0.1:{}{PATH}", evaluator.port);
    let (status, answer) = ask("POST", &url, JSON, &body.to_string()).unwrap();
    (status, serde_json::from_str(&answer).unwrap())
}

#[test]
fn a_sink_that_says_yes_and_drops_f15() {
    let services = Services::start();
    let steps = "{after: 2s, receiver: phone}, {after: 4s, receiver: boss}";
    let evaluator = Evaluator::with(&services.config(steps, ""));
    push(&evaluator, "Down", true);
    wait_until("step 2 is told", || told(&services.boss, "Down").len() == 1);
    // Each was decided at its time, which no clock of the test measures: not before it, and after the
    // step before.
    let group = &evaluator.data(PATH)[0];
    let since = millis(&group["since"]);
    let reached: Vec<(&str, i64)> = group["told"]
        .as_array()
        .unwrap()
        .iter()
        .map(|told| (told["receiver"].as_str().unwrap(), millis(&told["at"]) - since))
        .collect();
    let [("phone", first), ("boss", second)] = reached[..] else { panic!("{group}") };
    assert!(first >= 2000 && second >= 4000 && second > first, "{group}");
    assert_eq!(
        (&group["state"], &group["next"]["receiver"]),
        (&json!("exhausted"), &json!("boss"))
    );
    assert_eq!(evaluator.own("veilleur_escalations_total"), 2.0);
    assert_eq!(evaluator.own("veilleur_escalation_groups{state=\"exhausted\"}"), 1.0);
    // As everywhere, the first service counts as told.
    assert_eq!(told(&services.chat, "Down").len(), 1);
    let (chat, boss) = (&told(&services.chat, "Down")[0], &told(&services.boss, "Down")[0]);
    assert_eq!(note(chat), "");
    let note = note(boss);
    assert!(note.starts_with("Nobody has answered since ") && note.ends_with("first told: chat"));
    let link = boss["acknowledgeURL"].as_str().unwrap();
    assert!(link.contains("/acknowledge?group=") && chat["acknowledgeURL"] == link, "{link}");
    // Everybody hears of the end.
    push(&evaluator, "Down", false);
    for service in [&services.chat, &services.phone, &services.boss] {
        wait_until("the end is told", || {
            told(service, "Down").last().is_some_and(|last| last["status"] == "resolved")
        });
        assert_eq!(told(service, "Down").len(), 2);
    }
    assert_eq!(evaluator.data(PATH), json!([]));
}

/// The watchdog goes another way than the messages: its service says yes and drops, too, and then an
/// outside party rings.
///
/// A second stands for a minute: the watchdog calls every second (every minute by default), and the
/// outside, an agent's heartbeat, rings when nothing has come for a second and a grace of three. With
/// one more for the outside's own rules these are the five.
#[test]
fn a_watchdog_whose_service_says_yes_and_drops_is_missed_outside_f15_g5() {
    let services = Services::start();
    // What the outside tells, on a way of its own.
    let (outside, port) = (HttpServer::sink(), free_port());
    let mut other = Evaluator::new();
    other.write(
        "agent.yml",
        &format!(
            "listen: 127.0.0.1:{port}\nchecks: [{{name: watchdog, \
             heartbeat: {{period: 1s, grace: 3s}}}}]\n"
        ),
    );
    let config = other.path("agent.yml");
    let agent = Program::start("veilleur-agent", ["--config".as_ref(), config.as_os_str()]);
    other.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nscrape_configs:\n\
             - job_name: agent\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n\
             builtin_rules: {{interval: 500ms}}\nroute: {{receiver: hook, group_wait: 0s}}\n\
             receivers: [{{name: hook, webhook_configs: [{{url: '{}'}}]}}]\n",
            outside.url("/hook")
        ),
    );
    other.start();
    // The provider in between: it passes on what it takes, until it does not, and says yes always.
    let drops = Arc::new(AtomicBool::new(false));
    let provider = {
        let drops = Arc::clone(&drops);
        HttpServer::start(move |_| {
            if !drops.load(Ordering::SeqCst) {
                let url = format!("http://127.0.0.1:{port}/ping/watchdog");
                let _ = ask("POST", &url, "", "");
            }
            Reply::text("ok")
        })
    };
    let watchdog = format!("watchdog: {{url: '{}', interval: 1s}}\n", provider.url("/ping"));
    let steps = "{after: 1s, receiver: phone}, {after: 2s, receiver: boss}";
    let evaluator = Evaluator::with(&services.config(steps, &watchdog));
    let status = || other.value("veilleur_check_status{check=\"watchdog\"}");
    wait_until("the outside hears", || status() == "0");
    assert!(told(&outside, "CheckFailed").is_empty());

    drops.store(true, Ordering::SeqCst);
    push(&evaluator, "Down", true);
    wait_until("the outside rings", || !told(&outside, "CheckFailed").is_empty());
    // It was due four seconds after the last call that came through: for minutes, four.
    let at = |name: &str| {
        other.value(&format!("veilleur_heartbeat_{name}_timestamp_seconds")).parse::<f64>().unwrap()
    };
    let late = at("expected") - at("last_success") + 3.0;
    assert!((0.0..=5.0).contains(&late), "{late}");
    // Here nothing is wrong, as far as anybody can know: both services took everything.
    assert_eq!(evaluator.own("veilleur_receiver_failing"), 0.0);
    wait_until("and step 2 was told", || told(&services.boss, "Down").len() == 1);
    drop(agent);
}

#[test]
fn a_link_in_a_message_leads_to_a_page_on_which_one_answers_a1_2_x13_x30() {
    let services = Services::start();
    let evaluator = Evaluator::with(&services.config("{after: 1h, receiver: phone}", ""));
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", evaluator.port);
    let hostile = "<script>alert(1)</script>\" onx='";
    let alert = json!([{"labels": {"alertname": "Down", "host": hostile}}]);
    assert_eq!(ask("POST", &url("/api/v2/alerts"), JSON, &alert.to_string()).unwrap().0, 200);
    wait_until("it is told", || told(&services.chat, "Down").len() == 1);
    let link = told(&services.chat, "Down")[0]["acknowledgeURL"].as_str().unwrap().to_owned();
    let path = &link[link.find("/acknowledge?group=").unwrap()..];

    // To look, by whoever looks and however often, answers nothing.
    for _ in 0..3 {
        let (head, page) = exchange("GET", &url(path), "", "").unwrap();
        assert!(head.contains(" 200 ") && head.contains("form-action 'self'"), "{head}");
        assert!(page.contains("Alerts that fire: 1"), "{page}");
        assert!(!page.contains("<script") && !page.contains("\" onx"), "{page}");
    }
    let group = evaluator.data(PATH)[0].clone();
    assert_eq!(group["state"], "unanswered", "{group}");
    let key = group["group"].as_str().unwrap();
    let send = |headers: &str, body: &str| {
        let headers = format!("content-type: application/x-www-form-urlencoded\r\n{headers}");
        ask("POST", &url(path), &headers, body).unwrap()
    };
    let own = format!("origin: http://127.0.0.1:{}\r\n", evaluator.port);
    let form = |group: &str, author: &str| {
        format!("group={}&author={author}&comment=on+%3Cit%3E", escaped(group))
    };
    for (headers, body, status, said) in [
        ("origin: http://evil.example\r\n", form(key, "anna"), 403, "another site"),
        (&own, form(key, ""), 400, "by: who are you?"),
        (&own, form("{}:{alertname=\"Up\"}", "anna"), 404, "no group that is meant fires"),
        (&own, form("", "anna"), 400, "`group` is missing"),
    ] {
        let (got, page) = send(headers, &body);
        assert!(got == status && page.contains(said), "{body}: {got} {page}");
    }
    assert_eq!(evaluator.data(PATH)[0]["state"], "unanswered");

    let (status, page) = send(&own, &form(key, "anna"));
    assert!(status == 200 && page.contains("anna has it since"), "{status} {page}");
    assert!(!page.contains("<it>") && page.contains("Give it back"), "{page}");
    // The second is told who was first (A4.5), here and by the API.
    let (status, page) = send(&own, &form(key, "bob"));
    assert!(status == 200 && page.contains("already acknowledged: anna has it since"), "{page}");
    let (status, answer) = acknowledge(&evaluator, &json!({"alert": "Down", "by": "bob"}));
    let second = &answer["data"][0];
    assert_eq!((status, &second["already"], &second["by"]), (200, &json!(true), &json!("anna")));
    let group = evaluator.data(PATH)[0].clone();
    assert_eq!((&group["state"], &group["comment"]), (&json!("acknowledged"), &json!("on <it>")));
    assert_eq!(millis(&group["until"]) - millis(&group["at"]), 2 * 3600 * 1000);
    // Those who were told hear who has it, and everybody who asks does.
    wait_until("the chat hears of it", || told(&services.chat, "Down").len() == 2);
    let message = told(&services.chat, "Down")[1].clone();
    assert!(
        note(&message).starts_with("Acknowledged by anna since ")
            && message["acknowledgeURL"].is_null()
    );
    let explained = evaluator.data("/api/v1/explain?alert=Down")["text"].to_string();
    assert!(explained.contains("answer     anna has it since"), "{explained}");
    let (_, page) = evaluator.get("/").unwrap();
    assert!(
        page.contains("anna has it since") && page.contains("href=\"acknowledge?group="),
        "{page}"
    );
    let (_, page) = evaluator.get("/acknowledge").unwrap();
    assert!(page.contains("anna has it since") && !page.contains("<script"), "{page}");
    assert_eq!(evaluator.own("veilleur_escalation_groups{state=\"acknowledged\"}"), 1.0);

    // Given back.
    let back = format!("group={}&action=release", escaped(key));
    assert_eq!(send("origin: http://evil.example\r\n", &back).0, 403);
    let (status, page) = send(&own, &back);
    assert!(status == 200 && page.contains("nobody has it now"), "{page}");
    assert_eq!(send(&own, &back).0, 404);
    wait_until("the chat hears of that", || told(&services.chat, "Down").len() == 3);
    let message = told(&services.chat, "Down")[2].clone();
    assert_eq!(note(&message), "Nobody has it: anna has given it back");
    assert!(told(&services.phone, "Down").is_empty());
}

#[test]
fn what_is_no_acknowledgement_is_refused_and_says_why() {
    let services = Services::start();
    let evaluator = Evaluator::with(&services.config("{after: 1h, receiver: phone}", ""));
    let names: Vec<String> = (0..21).map(|n| format!("Many{n}")).collect();
    let alerts: Vec<Value> =
        names.iter().map(|n| json!({"labels": {"alertname": n, "x": "y"}})).collect();
    let url = format!("http://127.0.0.1:{}/api/v2/alerts", evaluator.port);
    assert_eq!(ask("POST", &url, JSON, &json!(alerts).to_string()).unwrap().0, 200);
    for (body, status, said) in [
        (json!({"by": "anna"}), 400, "one of `group` and `alert` is needed"),
        (json!({"by": "anna", "group": "g", "alert": "a"}), 400, "one of `group` and `alert`"),
        (json!({"by": "anna", "alert": {}}), 400, "one of `group` and `alert` is needed"),
        (json!({"by": "anna", "alert": "{a=~\"(\"}"}), 400, "alert: "),
        (json!({"by": "anna", "alert": "Nothing"}), 404, "no group that is meant fires"),
        (json!({"by": "anna", "group": "{}:{}"}), 404, "no group that is meant fires"),
        (json!({"by": "anna", "alert": {"x": "y"}}), 400, "it is about 21 groups"),
        (json!({"by": " ", "alert": "Many1"}), 400, "by: who are you?"),
        (json!({"by": "x".repeat(300), "alert": "Many1"}), 400, "by: at most 200 characters"),
        (json!({"alert": "Many1"}), 400, "by"),
        (json!({"by": "anna", "alert": "Many1", "until": 1}), 400, "until"),
    ] {
        let (got, answer) = acknowledge(&evaluator, &body);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(got == status && error.contains(said), "{body}: {got} {answer}");
    }
    let release = |query: &str| {
        let url = format!("http://127.0.0.1:{}{PATH}{query}", evaluator.port);
        ask("DELETE", &url, "", "").unwrap().0
    };
    assert_eq!((release(""), release("?alert=Many1"), release("?alert=None")), (400, 404, 404));
    assert_eq!(evaluator.own("veilleur_escalation_groups{state=\"acknowledged\"}"), 0.0);
}

#[test]
fn an_answer_outlives_a_kill_and_steps_go_on_after_one_f21_g3() {
    let services = Services::start();
    // The second long enough after the first for an answer in between.
    let steps = "{after: 1s, receiver: phone}, {after: 10s, receiver: boss}";
    let mut evaluator = Evaluator::with(&services.config(steps, ""));
    for name in ["Mine", "Ours"] {
        push(&evaluator, name, true);
    }
    wait_until("step 1 is told", || {
        told(&services.phone, "Mine").len() == 1 && told(&services.phone, "Ours").len() == 1
    });
    // What is on its way when we are killed may come twice (G2).
    wait_until("that is noted", || evaluator.own("veilleur_outbox_waiting") == 0.0);
    let (status, _) =
        acknowledge(&evaluator, &json!({"alert": {"alertname": "Mine"}, "by": "anna"}));
    evaluator.kill();
    assert_eq!(status, 200);
    evaluator.start();
    wait_until("step 2 of the other is told", || told(&services.boss, "Ours").len() == 1);
    let groups = evaluator.data(PATH);
    let state = |name: &str| {
        let mut groups = groups.as_array().unwrap().iter();
        groups.find(|group| group["labels"]["alertname"] == name).unwrap()["state"].clone()
    };
    assert_eq!((state("Mine"), state("Ours")), (json!("acknowledged"), json!("exhausted")));
    assert!(told(&services.boss, "Mine").is_empty());
    assert_eq!(told(&services.phone, "Ours").len(), 1);
}

#[test]
fn nobody_is_called_after_an_answer_was_acknowledged_at_whatever_moment_f20() {
    let services = Services::start();
    let steps = "{after: 50ms, receiver: phone}, {after: 60ms, receiver: boss}";
    let evaluator = Evaluator::with(&services.config(steps, ""));
    for n in 0..30 {
        let name = format!("Race{n}");
        push(&evaluator, &name, true);
        wait_until("it fires", || {
            // Before its steps, while they are queued and sent, and after them.
            std::thread::sleep(Duration::from_millis(3 * n));
            acknowledge(&evaluator, &json!({"alert": name, "by": "anna"})).0 == 200
        });
        let answered = jiff::Timestamp::now();
        let fence = format!("Fence{n}");
        push(&evaluator, &fence, true);
        wait_until("the next is called for", || told(&services.boss, &fence).len() == 1);
        let data = evaluator.data(&format!("/api/v1/notifications?alert={name}&limit=100"));
        for attempt in data["attempts"].as_array().unwrap() {
            let is_call = attempt["receiver"] != "chat" && attempt["reason"] != "acknowledged";
            let at: jiff::Timestamp = attempt["time"].as_str().unwrap().parse().unwrap();
            assert!(!is_call || at <= answered, "{name}, answered by {answered}: {attempt}");
        }
    }
}

#[test]
fn the_command_line_answers_lists_and_gives_back() {
    let services = Services::start();
    let evaluator = Evaluator::with(&services.config("{after: 1h, receiver: phone}", ""));
    let url = format!("http://127.0.0.1:{}", evaluator.port);
    let ack = |words: &[&str]| {
        let (end, out, err) = run("veilleur", [&["ack"][..], words, &["--url", &url]].concat());
        (end, format!("{out}{err}"))
    };
    assert_eq!(ack(&["list"]).1, "nothing waits for an answer\n");
    push(&evaluator, "Down", true);
    wait_until("it is told", || told(&services.chat, "Down").len() == 1);
    let key = "{}:{alertname=\"Down\"}";
    let (_, listed) = ack(&["list"]);
    assert!(
        listed.starts_with(&format!("{key} (1 firing)\n  nobody has answered since ")),
        "{listed}"
    );
    assert!(listed.contains("; next: phone at "), "{listed}");
    let (end, said) = ack(&["add", "Down", "--by", "anna", "--comment", "on it"]);
    assert!(end == End::Exit(0) && said.contains("anna has it since"), "{end:?} {said}");
    let (end, said) = ack(&["add", "--group", key, "--by", "bob"]);
    assert!(end == End::Exit(0) && said.contains("already acknowledged: anna has it"), "{said}");
    assert!(ack(&["list", "--json"]).1.contains("\"acknowledged\""));
    assert_eq!(ack(&["end", "Down"]), (End::Exit(0), String::new()));
    let (end, said) = ack(&["end", "--group", key]);
    assert!(end == End::Exit(1) && said.contains("nobody has it in hand"), "{end:?} {said}");
    let (end, said) = ack(&["add", "Up"]);
    assert!(end == End::Exit(1) && said.contains("no group that is meant fires"), "{end:?} {said}");
    assert_eq!(ack(&["add"]).0, End::Exit(2));

    // The configuration says the same without a running evaluator.
    let file = evaluator.path("veilleur.yml");
    let file = file.to_str().unwrap();
    let (_, shown, _) = run("veilleur", ["routes", "show", "--config", file]);
    assert!(shown.contains("unanswered: phone after 1h; an answer holds for 2h"), "{shown}");
    let (_, tested, _) = run("veilleur", ["routes", "test", "--config", file, "alertname=Down"]);
    assert!(tested.contains("unanswered: phone after 1h; an answer holds for 2h"), "{tested}");
}
