//! Silences and windows of maintenance with the real program: looked at before, told of, kept over
//! `kill -9`.
//!
//! Invariant: what is expected is what somebody who reads the chat and the page sees.

use serde_json::{Value, json};
use tests::http_server::HttpServer;
use tests::program::{End, run};
use tests::{ask, peers, wait_until};

use crate::rig::Evaluator;

const JSON: &str = "content-type: application/json\r\n";

fn config(sink: &HttpServer, more: &str) -> String {
    format!(
        "route: {{receiver: ops, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: ops, slack_configs: [{{api_url: '{}', channel: '#ops'}}]}}]\n{more}",
        sink.url("/chat")
    )
}

impl Evaluator {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Alerts with these names fire.
    #[track_caller]
    fn push(&self, names: &[&str]) {
        let alert = |name: &&str| json!({"labels": {"alertname": name, "host": "db1"}});
        let body: Value = names.iter().map(alert).collect();
        let answer = ask("POST", &self.url("/api/v2/alerts"), JSON, &body.to_string());
        assert_eq!(answer.map(|(status, _)| status), Some(200));
    }

    fn post(&self, path: &str, headers: &str, body: &Value) -> (u16, Value) {
        let headers = format!("{JSON}{headers}");
        let (status, body) = ask("POST", &self.url(path), &headers, &body.to_string()).unwrap();
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Runs `veilleur` with these words against it; how it ended and what it said.
    fn command(&self, words: &[&str]) -> (End, String) {
        let url = self.url("");
        let words = words.iter().copied().chain(["--url", url.as_str()]);
        let (end, out, err) = run("veilleur", words);
        (end, format!("{out}{err}"))
    }
}

/// The titles of what the chat was told.
fn titles(sink: &HttpServer) -> Vec<String> {
    let title = |said: Value| said["attachments"][0]["title"].as_str().unwrap().to_owned();
    sink.asked().iter().map(|asked| title(asked.json())).collect()
}

#[track_caller]
fn wait_for(sink: &HttpServer, what: &str) {
    wait_until(what, || titles(sink).iter().any(|title| title.contains(what)));
}

#[test]
fn the_command_line_shows_before_it_does_and_asks_where_it_is_broad_x50() {
    let sink = HttpServer::sink();
    let mut evaluator = Evaluator::with(&config(&sink, ""));
    evaluator.push(&["DiskFull", "A", "B", "C", "D"]);
    wait_for(&sink, "DiskFull");
    let narrow = ["alertname=DiskFull", "host=~\"db.*\""];
    let (end, said) = evaluator.command(&["silence", "preview", narrow[0], narrow[1]]);
    assert_eq!(end, End::Exit(0), "{said}");
    assert!(said.starts_with("now: 1 of 5 alerts that fire\n  DiskFull host=db1 since "), "{said}");
    assert!(said.contains("of: ops\n") && !said.contains("confirmation"), "{said}");
    // What was pushed is remembered for a week from the first minute on.
    wait_until("the week knows it", || {
        let (_, said) = evaluator.command(&["silence", "preview", narrow[0], narrow[1]]);
        said.contains("in the last week: 1 alert\n  1 DiskFull\n")
    });
    let add = ["silence", "add", "--for", "2h", "--comment", "new disks", "--by", "jo"];
    let with = |more: &[&'static str]| [&add[..], more].concat();
    let (end, said) = evaluator.command(&with(&["host=db1"]));
    assert_eq!(end, End::Exit(1), "{said}");
    assert!(said.contains("it holds more than half of what fires"), "{said}");
    assert!(said.contains("nothing was done: say --confirm"), "{said}");
    assert_eq!(evaluator.data("/api/v1/silences"), json!([]));
    let (end, id) = evaluator.command(&with(&["host=db1", "--confirm"]));
    assert_eq!(end, End::Exit(0), "{id}");
    // F03.
    evaluator.kill();
    evaluator.start();
    let (_, said) = evaluator.command(&["silence", "list"]);
    assert!(
        said.starts_with(id.trim()) && said.contains("holds 5\n  host=\"db1\"\n  jo: new disks"),
        "{said}"
    );
    wait_for(&sink, "Silence jo");
    let page = evaluator.get("/").unwrap().1;
    for part in ["Silences", "host=&#34;db1&#34;", "jo: new disks", "ends in ", "DiskFull "] {
        assert!(
            page.contains(part) || page.contains(&part.replace("&#34;", "&quot;")),
            "{part}: {page}"
        );
    }
    assert_eq!(evaluator.command(&["silence", "expire", id.trim()]).0, End::Exit(0));
    wait_until("its end is told", || {
        titles(&sink).iter().any(|t| t.starts_with("[RESOLVED] Silence"))
    });
    // Asked for once more it has ended already, and nobody hears of it again.
    assert_eq!(evaluator.command(&["silence", "expire", id.trim()]).0, End::Exit(0));
    let told: Vec<_> =
        titles(&sink).into_iter().filter(|title| title.contains("Silence")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn alertmanagers_api_asks_nothing_unless_it_is_told_to_and_keeps_the_limit() {
    let sink = HttpServer::sink();
    let mut evaluator = Evaluator::with(&config(&sink, ""));
    let silence = |end: &str| {
        json!({"matchers": [{"name": "alertname", "value": ".+", "isRegex": true}], "createdBy": "me",
               "startsAt": "2020-01-01T00:00:00Z", "endsAt": end, "comment": "c"})
    };
    let path = "/api/v2/silences";
    let broad = silence("2099-01-01T00:00:00Z");
    assert_eq!(evaluator.post(path, "", &broad).0, 200);
    if let Some(amtool) = peers::program("amtool") {
        let url = format!("--alertmanager.url={}", evaluator.url(""));
        let words = ["silence", "add", "alertname=~.+", "--comment=c", "--author=a"];
        let done = std::process::Command::new(amtool).arg(url).args(words).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    // Ours asks, in the body or in a header.
    let ours = json!({"matchers": ["alertname=~\".+\""], "createdBy": "me", "duration": "1h", "comment": "c"});
    let (status, asked) = evaluator.post("/api/v1/silences", "", &ours);
    assert_eq!(
        (status, asked["errorType"].as_str()),
        (409, Some("confirmation_needed")),
        "{asked}"
    );
    assert_eq!(asked["data"]["confirmationNeeded"], true);
    let confirm = "x-veilleur-confirm: yes\r\n";
    assert_eq!(evaluator.post("/api/v1/silences", confirm, &ours).0, 200);
    for (wrong, why) in [
        (json!({"matchers": []}), "at least one"),
        (
            json!({"matchers": ["a="], "createdBy": "", "comment": "c", "duration": "1h"}),
            "who, and why",
        ),
        (json!({"matchers": ["a=b"], "createdBy": "x", "comment": "c"}), "endsAt and duration"),
        (
            json!({"matchers": ["a=~("], "createdBy": "x", "comment": "c", "duration": "1h"}),
            "regular expression",
        ),
        (json!({"matchers": ["a=b"], "surprise": 1}), "surprise"),
        (json!(5), "the body"),
    ] {
        let (status, said) = evaluator.post("/api/v1/silences", "", &wrong);
        assert_eq!(status, 400, "{wrong}: {said}");
        let error = said["error"].as_str().unwrap();
        assert!(error.contains(why) || error.contains("missing field"), "{wrong}: {error}");
    }
    evaluator.kill();
    evaluator
        .write("veilleur.yml", &config(&sink, "silences: {confirm: everywhere, longest: 1d}\n"));
    evaluator.start();
    let (status, said) = evaluator.post(path, "", &broad);
    assert_eq!(status, 400);
    assert!(said.as_str().unwrap().contains("`silences.longest`"), "{said}");
    let end = evaluator.get("/api/v2/status").unwrap().1;
    assert!(end.contains("uptime"));
    let soon = json!({"matchers": ["alertname=~\".+\""], "createdBy": "me", "duration": "2d", "comment": "c", "confirm": true});
    assert_eq!(evaluator.post("/api/v1/silences", "", &soon).0, 400);
}

#[test]
fn a_window_of_maintenance_is_asked_for_holds_and_is_looked_at_again() {
    let sink = HttpServer::sink();
    let mut evaluator = Evaluator::with(&config(&sink, ""));
    let add = [
        "maintenance",
        "add",
        "host=db1",
        "--name",
        "new disks",
        "--for",
        "1h",
        "--comment",
        "disks fail",
        "--by",
        "jo",
    ];
    let (end, id) = evaluator.command(&add);
    assert_eq!(end, End::Exit(0), "{id}");
    wait_for(&sink, "[FIRING:1] Maintenance new disks");
    evaluator.kill();
    evaluator.start();
    evaluator.push(&["DiskFull"]);
    wait_until("it is recorded", || {
        evaluator.value("veilleur_maintenance{name=\"new disks\", host=\"db1\"}") == "1"
    });
    // The query of the document.
    let document = include_str!("../../../docs/maintenance.md");
    let query = document.split("```promql\n").nth(1).unwrap().split("```").next().unwrap();
    let query = format!("/api/v1/query?query={}", tests::escaped(query));
    assert_eq!(evaluator.get(&query).map(|(status, _)| status), Some(200));
    let alerts = evaluator.get("/api/v2/alerts").unwrap().1;
    let alerts: Value = serde_json::from_str(&alerts).unwrap();
    assert_eq!(alerts[0]["status"]["state"], "suppressed");
    assert_eq!(alerts[0]["status"]["mutedBy"], json!(["maintenance: new disks"]));
    let (_, said) = evaluator.command(&["maintenance", "list"]);
    assert!(said.starts_with(&format!("{} new disks running from ", id.trim())), "{said}");
    assert!(said.contains("holds 1\n  host=\"db1\"\n  jo: disks fail"), "{said}");
    let page = evaluator.get("/").unwrap().1;
    assert!(page.contains("Maintenance") && page.contains("jo<br>disks fail"), "{page}");
    assert_eq!(evaluator.command(&["maintenance", "end", id.trim()]).0, End::Exit(0));
    wait_for(&sink, "[RESOLVED] Maintenance new disks");
    // It settles for two minutes: nobody is told yet.
    let list = evaluator.data("/api/v1/maintenance");
    assert_eq!(list["windows"][0]["state"], "settling", "{list}");
    assert!(!titles(&sink).iter().any(|title| title.contains("DiskFull")));
    let (end, said) = evaluator.command(&["maintenance", "end", id.trim()]);
    assert!(end == End::Exit(1) && said.contains("there is no window"), "{said}");
}

#[test]
fn windows_come_from_a_calendar_that_changes_and_a_wrong_one_changes_nothing() {
    let sink = HttpServer::sink();
    let calendar = |start: &str| {
        format!(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART:{start}\r\nDURATION:PT1H\r\n\
             RRULE:FREQ=DAILY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        )
    };
    let web = HttpServer::sink();
    let (first, second) = (calendar("20200101T010000Z"), calendar("20200101T020000Z"));
    web.reply_with(move |_| tests::http_server::Reply::text(&first));
    let mut evaluator = Evaluator::new();
    evaluator.write("windows.ics", &second);
    let windows = format!(
        "maintenance:\n- {{name: fetched, matchers: [host=db1], ical: {{url: '{}'}}}}\n\
         - {{name: read, matchers: [host=db1], ical: {{file: windows.ics}}, settle: 0s}}\n",
        web.url("/calendar.ics")
    );
    evaluator.write("veilleur.yml", &config(&sink, &windows));
    evaluator.start();
    let starts = |evaluator: &Evaluator, name: &str| {
        let windows = evaluator.data("/api/v1/maintenance")["windows"].clone();
        let windows = windows.as_array().cloned().unwrap_or_default();
        let of = windows.iter().filter(|window| window["name"] == name);
        let of: Vec<_> =
            of.map(|window| window["startsAt"].as_str().unwrap()[11..16].to_owned()).collect();
        (of.len(), of.first().cloned().unwrap_or_default())
    };
    wait_until("it is fetched", || starts(&evaluator, "fetched").1 == "01:00");
    assert!(starts(&evaluator, "fetched").0 >= 7);
    assert_eq!(starts(&evaluator, "read").1, "02:00");
    evaluator.write("windows.ics", &calendar("20200101T030000Z"));
    wait_until("the file is read again", || starts(&evaluator, "read").1 == "03:00");
    evaluator
        .write("windows.ics", "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n");
    wait_until("the fault is shown", || {
        let faults = evaluator.data("/api/v1/maintenance")["calendarFaults"].clone();
        faults[0]["name"] == "read"
            && faults[0]["fault"].as_str().unwrap().contains("DTSTART is missing")
    });
    assert_eq!(starts(&evaluator, "read").1, "03:00");
    assert!(evaluator.get("/health").unwrap().1.contains("\"maintenance:read\""));
    // The one of the net is kept over a restart without the net.
    evaluator.write("windows.ics", &second);
    evaluator.kill();
    web.reply_with(|_| tests::http_server::Reply::status(500));
    evaluator.start();
    assert_eq!(starts(&evaluator, "fetched").1, "01:00");
}
