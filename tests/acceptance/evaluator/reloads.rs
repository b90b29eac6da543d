//! Reloads while people were told, and while they are about to be: F08.
//!
//! Invariant: the configuration is read again as often as it says, by the real program.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::http_server::HttpServer;
use tests::{ask, wait_until};

use crate::delivery::push;
use crate::rig::Evaluator;

/// `more` stands among the routes.
fn config(chat: &HttpServer, wait: &str, more: &str) -> String {
    format!(
        "builtin_rules: {{enabled: false}}\n\
         route:\n  receiver: chat\n  group_by: [kind]\n  group_wait: {wait}\n  group_interval: 1s\n  \
         repeat_interval: 4h\n  routes: [{more}]\n\
         receivers:\n- {{name: chat, webhook_configs: [{{url: '{}'}}]}}\n- {{name: others}}\n",
        chat.url("/chat")
    )
}

fn reload(evaluator: &Evaluator) {
    let url = format!("http://127.0.0.1:{}/-/reload", evaluator.port);
    let (status, body) = ask("POST", &url, "", "").unwrap();
    assert_eq!(status, 200, "{body}");
}

/// The names of the alerts of each message.
fn told(chat: &HttpServer) -> Vec<Vec<String>> {
    let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap().to_owned();
    let names = |body: Value| -> Vec<String> {
        let mut names: Vec<_> = body["alerts"].as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    };
    chat.asked().iter().map(|asked| names(asked.json())).collect()
}

#[test]
fn a_hundred_reloads_tell_nobody_anything_and_lose_no_group_f08() {
    let chat = HttpServer::sink();
    let mut evaluator = Evaluator::new();
    evaluator.write("veilleur.yml", &config(&chat, "1s", ""));
    evaluator.start();
    let names: Vec<String> = (10..30).map(|n| format!("Alert{n}")).collect();
    names.iter().for_each(|name| push(&evaluator, name, true));
    let all_told = || told(&chat).last() == Some(&names);
    wait_until("all twenty are told", all_told);
    let before = chat.asked().len();
    for n in 0..100 {
        // Every second one has another route, for others, and in another order.
        let others = "{receiver: others, matchers: [a=b]}, {receiver: others, matchers: [c=d]}";
        let more = ["", others, "", "{receiver: others, matchers: [c=d]}"][n % 4];
        evaluator.write("veilleur.yml", &config(&chat, "1s", more));
        reload(&evaluator);
    }
    assert_eq!(chat.asked().len(), before, "somebody was told what they know");
    // What is new is told with the whole group.
    push(&evaluator, "Beyond", true);
    wait_until("what is new is told", || chat.asked().len() > before);
    let whole: Vec<String> = std::iter::once("Beyond".to_owned())
        .chain(names.iter().cloned())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    assert_eq!(told(&chat)[before..], [whole]);
}

#[test]
fn a_wait_goes_on_over_reloads_f08() {
    let chat = HttpServer::sink();
    let mut evaluator = Evaluator::new();
    evaluator.write("veilleur.yml", &config(&chat, "4s", ""));
    evaluator.start();
    push(&evaluator, "Waits", true);
    let pushed = Instant::now();
    // Reloads that come more often than the group waits never let it begin again.
    wait_until("it is told", || {
        reload(&evaluator);
        !chat.asked().is_empty()
    });
    let waited = pushed.elapsed();
    assert!(waited > Duration::from_secs(3), "{waited:?}");
    // Reloads take their time; a wait that began again at each would never have ended.
    assert!(waited < Duration::from_secs(7), "{waited:?}");
    for _ in 0..5 {
        reload(&evaluator);
    }
    assert_eq!(told(&chat), [["Waits"]]);
}
