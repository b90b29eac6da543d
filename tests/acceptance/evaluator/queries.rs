//! Queries that are far too expensive: F58, X26.
//!
//! Invariant: whatever is asked, rules are evaluated on time, and what cannot be answered is refused
//! with its reason.

use std::io::Write;
use std::net::TcpStream;

use tests::http_server::{HttpServer, Reply};
use tests::program::{End, run};
use tests::{ask, escaped, wait_until};

use crate::rig::Evaluator;

/// Stands for a million labels.
const SERIES: usize = 20_000;
/// At the same time.
const QUERIES: usize = 200;
/// Reads and sorts all of them at each of some hundred steps, for some seconds: all that are asked
/// would take a quarter of an hour on two processors.
const HEAVY: &str =
    "max_over_time(sum(sort(quantile by (n) (0.5, x{n=~\".*[0-9]|none\"})))[5m:500ms])";

/// A value of each of many series, now and a minute ago.
fn samples() -> String {
    let now = base::clock::since_epoch().as_secs();
    let line = |n: usize, at: u64| format!("x{{n=\"{n}\"}} {n} {at}\n");
    let lines = (0..SERIES).map(|n| line(n, now - 60) + &line(n, now));
    lines.chain(["# EOF\n".to_owned()]).collect()
}

/// An evaluator that has many series, and rules that are evaluated every other second.
fn with_many_series(target: &HttpServer) -> Evaluator {
    let mut evaluator = Evaluator::new();
    evaluator.write("samples.om", &samples());
    let (file, data) = (evaluator.path("samples.om"), evaluator.path("data"));
    let arguments = ["storage".as_ref(), "import".as_ref(), "--data".as_ref(), data.as_os_str()];
    let (end, _, said) = run("veilleur", arguments.into_iter().chain([file.as_os_str()]));
    assert_eq!(end, End::Exit(0), "{said}");
    evaluator.write(
        "rules.yml",
        "groups:\n- name: g\n  rules:\n  - {alert: Fires, expr: broken == 1}\n  \
         - {record: doubled, expr: broken * 2}\n",
    );
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 2s, evaluation_interval: 2s}}\nscrape_configs:\n\
             - {{job_name: t, static_configs: [{{targets: ['{}']}}]}}\n\
             rule_files: [rules.yml]\nbuiltin_rules: {{enabled: false}}\n",
            target.address()
        ),
    );
    evaluator.start();
    evaluator
}

/// Asks and does not wait for the answer.
fn ask_only(evaluator: &Evaluator, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", evaluator.port)).unwrap();
    let request = format!(
        "GET /api/v1/query?query={} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\r\n",
        escaped(query),
        evaluator.port
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn heavy_queries_delay_no_rule_and_end_with_those_who_ask_f58() {
    let target = HttpServer::start(|_| Reply::text("broken 1\n"));
    let evaluator = with_many_series(&target);
    wait_until("rules are evaluated", || evaluator.alerts("firing") == ["Fires"]);
    assert_eq!(evaluator.value("count(x)"), SERIES.to_string());
    let late = |evaluator: &Evaluator| evaluator.own("veilleur_rule_group_late_total");
    let before = late(&evaluator);
    let asking: Vec<TcpStream> = (0..QUERIES).map(|_| ask_only(&evaluator, HEAVY)).collect();
    let scrapes = evaluator.own("veilleur_scrapes_total");
    evaluator.let_evaluate(5);
    // An evaluation that is an interval late is counted as left out.
    assert_eq!(late(&evaluator), before, "queries delay rules");
    assert!(evaluator.own("veilleur_scrapes_total") > scrapes);
    // Nobody waits any more: what is asked now is answered long before all of those were.
    drop(asking);
    assert_eq!(evaluator.value("min_over_time(up[5m])"), "1");
    assert_eq!(evaluator.alerts("firing"), ["Fires"]);
}

/// `around` around itself, `times` deep, the innermost around `series`.
fn nested(around: &str, times: usize, series: &str) -> String {
    (0..times).fold(series.to_owned(), |inner, _| around.replace("INNER", &inner))
}

#[test]
fn bombs_are_refused_with_their_reason_x26() {
    let target = HttpServer::start(|_| Reply::text("broken 1\n"));
    let mut evaluator = with_many_series(&target);
    let doubling = "label_replace(INNER, \"n\", \"$1$1\", \"n\", \"(.*)\")";
    let joining = "label_join(INNER, \"n\", \"\", \"n\", \"n\")";
    let many = "$1".repeat(100_000);
    // The expression, and what is said of it.
    let cases = [
        ("(".repeat(100_000) + "1" + &")".repeat(100_000), "nested"),
        ("-".repeat(100_000) + "1", "nested"),
        ("1".to_owned() + &"+1".repeat(100_000), "chained"),
        ("x offset 1e300".to_owned(), "duration out of range"),
        ("x @ 1e300".to_owned(), "out of bounds"),
        (format!("\"{}\"", "a".repeat(1_000_000)), "expression is longer than"),
        ("sum(max_over_time(x[10y:1ms]))".to_owned(), "more than 50000000 samples"),
        ("topk(NaN, x)".to_owned(), "NaN"),
        ("x{n=~\"(((a{1,1000}){1,1000}){1,1000})\"}".to_owned(), "regular expression"),
        // Each doubles the label, of one series or of all.
        (nested(doubling, 40, "x{n='1'}"), "more than 65536"),
        (nested(joining, 40, "x{n='1'}"), "more than 65536"),
        (nested(doubling, 40, "x"), "more than 50000000 samples"),
        (format!("label_replace(x, \"n\", \"{many}\", \"n\", \"(.*)\")"), "more than 65536"),
    ];
    let url = |path: &str| format!("http://127.0.0.1:{}/api/v1/{path}", evaluator.port);
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for (query, expected) in &cases {
        let shown = &query[..query.len().min(80)];
        let body = format!("query={}", escaped(query));
        let (status, said) = ask("POST", &url("query"), form, &body).unwrap();
        assert!(matches!(status, 400 | 422), "{shown}: {status} {said:.200}");
        assert!(said.contains(expected), "{shown}: {said:.300}");
    }
    // A step of a millisecond over ten years.
    let body = "query=x&start=1000000000&end=1315360000&step=0.001";
    let (status, said) = ask("POST", &url("query_range"), form, body).unwrap();
    assert!(status == 400 && said.contains("maximum resolution"), "{status} {said}");
    assert_eq!(evaluator.value("count(x)"), SERIES.to_string());
    let most = evaluator.program().peak();
    assert!(most < 2500, "{most} MiB");
}
