//! The system's clock is set, and the machine sleeps, while the real program watches: F24 to F26.
//!
//! Invariant: only the wall clock is a pretended one (`faketime`), and only that of the program; the
//! clock that nobody sets goes on as it does.

use std::fs;
use std::process::Command;
use std::time::Duration;

use base::family::MetricKind;
use base::labels::Labels;
use base::remote_write::{Series, Version, encode};
use base::sample::{Sample, Timestamp};
use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, path_of};
use tests::{ask, get, peers, wait_until};

use crate::rig::Evaluator;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// An evaluator whose wall clock is as far from the system's as its file says.
struct Faked {
    evaluator: Evaluator,
    program: Program,
}

impl Faked {
    /// Nothing where there is no faketime, which is told.
    fn start(evaluator: Evaluator) -> Option<Self> {
        peers::installed(LIBRARY)?;
        let file = evaluator.path("clock");
        fs::write(&file, "+0").unwrap();
        let mut command = Command::new(path_of("veilleur"));
        command.args(evaluator.arguments());
        command.env("LD_PRELOAD", LIBRARY).env("FAKETIME_TIMESTAMP_FILE", file);
        command.env("FAKETIME_NO_CACHE", "1").env("DONT_FAKE_MONOTONIC", "1");
        let faked = Self { program: Program::spawn(command), evaluator };
        wait_until("the evaluator is ready", || {
            let url = format!("http://127.0.0.1:{}/-/ready", faked.evaluator.port);
            get(&url).is_some_and(|(status, _)| status == 200)
        });
        Some(faked)
    }

    /// Sets the clock: `-7200`, `+1800`, in seconds from the right time.
    fn set(&self, offset: &str) {
        // Renamed into its place: half of a number is none.
        let (file, new) = (self.evaluator.path("clock"), self.evaluator.path("clock.new"));
        fs::write(&new, offset).unwrap();
        fs::rename(new, file).unwrap();
    }

    fn own(&self, metric: &str) -> f64 {
        self.evaluator.own(metric)
    }

    /// Waits for so many more scrapes and evaluations.
    fn let_work(&self, more: f64) {
        let (scrapes, rules) =
            (self.own("veilleur_scrapes_total"), self.own("veilleur_rule_evaluations_total"));
        wait_until("targets are scraped and rules evaluated", || {
            self.own("veilleur_scrapes_total") >= scrapes + more
                && self.own("veilleur_rule_evaluations_total") >= rules + 4.0 * more
        });
    }
}

/// What fires, what does not, what waits, and what would fire where data were missing.
fn watching(target: &HttpServer, chat: &HttpServer) -> Evaluator {
    let evaluator = Evaluator::new();
    evaluator.write(
        "rules.yml",
        "groups:\n- name: g\n  rules:\n  - {alert: Fires, expr: broken == 1}\n  \
         - {alert: Quiet, expr: broken > 1}\n  - {alert: Waits, expr: broken == 1, for: 20m}\n  \
         - {alert: Absent, expr: absent(broken), for: 3s}\n",
    );
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nscrape_configs:\n\
             - {{job_name: t, static_configs: [{{targets: ['{}']}}]}}\n\
             rule_files: [rules.yml]\nbuiltin_rules: {{enabled: false}}\n\
             route: {{receiver: chat, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}\n\
             receivers: [{{name: chat, webhook_configs: [{{url: '{}'}}]}}]\n",
            target.address(),
            chat.url("/chat")
        ),
    );
    evaluator
}

/// The alerts that the chat was told of.
fn told(chat: &HttpServer) -> Vec<String> {
    let asked = chat.asked();
    let alerts = asked.iter().flat_map(|a| a.json()["alerts"].as_array().unwrap().clone());
    let say = |a: serde_json::Value| {
        format!("{} {}", a["labels"]["alertname"].as_str().unwrap(), a["status"].as_str().unwrap())
    };
    alerts.map(say).collect()
}

#[test]
fn a_clock_that_is_set_back_two_hours_neither_fires_nor_ends_anything_f24() {
    let target = HttpServer::start(|_| Reply::text("broken 1\n"));
    let chat = HttpServer::sink();
    let Some(faked) = Faked::start(watching(&target, &chat)) else { return };
    wait_until("it fires", || told(&chat) == ["Fires firing"]);
    wait_until("there are samples", || {
        !faked.evaluator.value("count_over_time(broken[1m])").is_empty()
    });
    let wall = |faked: &Faked| faked.own("veilleur_clock_set_back_seconds");
    assert_eq!(wall(&faked), 0.0);
    faked.set("-7200");
    faked.let_work(10.0);
    // Samples go on without a hole: ten scrapes later there are ten more of the last ten seconds.
    let recent: f64 = faked.evaluator.value("count_over_time(broken[10s])").parse().unwrap();
    assert!(recent >= 8.0, "{recent} samples in ten seconds");
    let left_out = faked.own("veilleur_scrape_samples_left_out_total");
    assert_eq!(left_out, 0.0, "samples are left out");
    assert!((7150.0..=7200.0).contains(&wall(&faked)), "{}", wall(&faked));
    assert_eq!(faked.evaluator.alerts("firing"), ["Fires"]);
    assert_eq!(faked.evaluator.alerts("pending"), ["Waits"]);
    assert_eq!(told(&chat), ["Fires firing"]);
    let log = faked.program.log();
    assert!(log.contains("the system's clock was set back"), "{log}");
    // The right end is told although the clock is wrong.
    target.reply_with(|_| Reply::text("broken 0\n"));
    wait_until("its end is told", || told(&chat) == ["Fires firing", "Fires resolved"]);
    faked.set("+0");
    wait_until("it has caught up", || wall(&faked) == 0.0);
    faked.let_work(3.0);
    assert_eq!(faked.evaluator.alerts("firing"), Vec::<String>::new());
    assert_eq!(told(&chat).len(), 2);
}

/// What an agent is answered that sends a sample of so many seconds from now.
fn push(faked: &Faked, ahead: i64) -> Option<(u16, String)> {
    let url = format!("http://127.0.0.1:{}/api/v1/write", faked.evaluator.port);
    let now = base::clock::since_epoch().as_millis();
    let timestamp = Timestamp::from_millis(i64::try_from(now).unwrap() + ahead * 1000);
    let labels = Labels::from_pairs([("__name__", "pushed"), ("job", "agent")]);
    let (samples, kind) = (vec![Sample { timestamp, value: 1.0 }], MetricKind::Gauge);
    let series = Series { labels, samples, kind, help: String::new(), unit: String::new() };
    let headers = "content-type: application/x-protobuf\r\nuser-agent: veilleur-agent/1.0\r\n";
    ask("POST", &url, headers, &encode(&[series], Version::V1))
}

#[test]
fn a_clock_that_is_set_ahead_is_not_followed_and_nothing_is_left_of_it_f25() {
    let target = HttpServer::start(|_| Reply::text("broken 1\n"));
    let chat = HttpServer::sink();
    let Some(faked) = Faked::start(watching(&target, &chat)) else { return };
    wait_until("it fires", || told(&chat) == ["Fires firing"]);
    let ahead = || faked.own("veilleur_clock_set_ahead_seconds");
    assert_eq!(ahead(), 0.0);
    // A silence that ends in an hour, and what others push for ten minutes.
    let api = |path: &str| format!("http://127.0.0.1:{}/api/v2{path}", faked.evaluator.port);
    let post = |path: &str, body: &str| {
        let answer = ask("POST", &api(path), "content-type: application/json\r\n", body);
        assert_eq!(answer.map(|(status, _)| status), Some(200), "{path}");
    };
    let time = |seconds: u64| base::clock::since_epoch().as_secs() + seconds;
    let [now, later] = [0, 3600].map(|seconds| {
        alertmanager::time::print_time(Timestamp::from_millis(
            i64::try_from(time(seconds)).unwrap() * 1000,
        ))
    });
    post(
        "/silences",
        &format!(
            r#"{{"matchers": [{{"name": "alertname", "value": "Held", "isRegex": false}}],
                 "startsAt": "{now}", "endsAt": "{later}", "createdBy": "x", "comment": "x"}}"#
        ),
    );
    post("/alerts", r#"[{"labels": {"alertname": "Held"}}]"#);
    // Twenty minutes, and a year.
    for (offset, work) in [(1_200, 3.0), (31_536_000, 10.0)] {
        faked.set(&format!("+{offset}"));
        wait_until("it is seen", || ahead() > 0.0);
        assert!((ahead() - f64::from(offset)).abs() < 60.0, "{}", ahead());
        faked.let_work(work);
        let newest: f64 = faked.evaluator.value("timestamp(broken)").parse().unwrap();
        let right = base::clock::since_epoch().as_secs_f64();
        assert!((newest - right).abs() < 30.0, "{newest} is not {right}");
        assert_eq!(faked.evaluator.alerts("firing"), ["Fires"]);
        assert_eq!(faked.evaluator.alerts("pending"), ["Waits"]);
        let silences = get(&api("/silences")).unwrap().1;
        assert!(silences.contains(r#""state":"active""#), "{silences}");
        let held = get(&api("/alerts?filter=alertname%3DHeld")).unwrap().1;
        assert!(held.contains(r#""state":"suppressed""#), "{held}");
        assert_eq!(told(&chat), ["Fires firing"], "what is told because of the clock");
        // An agent that believes the same is asked to come again; one that is right is heard.
        assert_eq!(push(&faked, offset.into()).map(|(status, _)| status), Some(503));
        assert_eq!(push(&faked, 0).map(|(status, _)| status), Some(204));
        faked.set("+0");
        wait_until("it is right again", || ahead() == 0.0);
        faked.let_work(3.0);
    }
    // No sample is missing, none is left out, and nothing was told but what is true.
    let recent: f64 = faked.evaluator.value("count_over_time(broken[10s])").parse().unwrap();
    assert!(recent >= 8.0, "{recent} samples in ten seconds");
    assert_eq!(faked.own("veilleur_scrape_samples_left_out_total"), 0.0);
    assert_eq!(faked.own("veilleur_clock_set_back_seconds"), 0.0);
    target.reply_with(|_| Reply::text("broken 0\n"));
    wait_until("its end is told", || told(&chat).contains(&"Fires resolved".to_owned()));
    let others: Vec<_> = told(&chat).into_iter().filter(|one| !one.starts_with("Fires ")).collect();
    assert_eq!(others, [""; 0], "what fires because of the clock");
    let log = faked.program.log();
    assert!(log.contains("the system's clock was set ahead"), "{log}");
    assert!(log.contains("the system's clock is followed again"), "{log}");
}

#[test]
fn a_machine_that_slept_half_an_hour_goes_on_without_a_burst_or_a_false_word_f26() {
    let target = HttpServer::start(|_| Reply::text("broken 1\n"));
    let chat = HttpServer::sink();
    let Some(faked) = Faked::start(watching(&target, &chat)) else { return };
    // What others push would be over in the middle of it.
    let url = format!("http://127.0.0.1:{}/api/v2/alerts", faked.evaluator.port);
    let body = r#"[{"labels": {"alertname": "Pushed"}}]"#;
    assert_eq!(ask("POST", &url, "content-type: application/json\r\n", body).unwrap().0, 200);
    let mut before = Vec::new();
    wait_until("both are told", || {
        before = told(&chat);
        before.sort();
        before == ["Fires firing", "Pushed firing"]
    });
    faked.let_work(3.0);
    faked.program.signal("STOP");
    faked.set("+1800");
    let asked = target.asked().len();
    // Half an hour for it; the other clock does not go on while a machine sleeps either.
    std::thread::sleep(Duration::from_secs(2));
    faked.program.signal("CONT");
    let woken = std::time::Instant::now();
    wait_until("it works again", || target.asked().len() > asked + 3);
    let (more, seconds) = (target.asked().len() - asked, woken.elapsed().as_secs_f64());
    // One tick at once, and then one a second.
    assert!((more as f64) <= seconds + 2.0, "{more} scrapes in {seconds} s");
    faked.let_work(4.0);
    // Whether it slept, or its clock is wrong, is seen when that has lasted.
    wait_until("the clock is followed", || {
        faked.program.log().contains("this time does not count")
    });
    faked.let_work(4.0);
    assert_eq!(faked.evaluator.alerts("firing"), ["Fires"]);
    let kept = faked.evaluator.get("/api/v2/alerts?filter=alertname%3DPushed").unwrap().1;
    assert!(kept.contains("\"alertname\":\"Pushed\""), "{kept}");
    // Twenty minutes have not been watched.
    assert_eq!(faked.evaluator.alerts("pending"), ["Waits"]);
    assert_eq!(told(&chat).len(), 2, "{:?}", told(&chat));
    let log = faked.program.log();
    assert!(log.contains("this time does not count"), "{log}");
    assert!(log.contains("nobody could push"), "{log}");
}
