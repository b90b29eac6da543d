//! Samples that a real Prometheus pushes to us, in both versions of remote write.
//!
//! Invariant: what is compared was counted by both sides.

use std::path::Path;

use base::remote_write::pack;
use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{ask, peers, wait_until};

use crate::rig::Evaluator;

/// A Prometheus that scrapes `target` every second and pushes to `evaluator`.
fn prometheus(program: &Path, target: &HttpServer, evaluator: &Evaluator, proto: &str) -> Program {
    let (data, port) = (evaluator.path("prometheus"), free_port());
    let config = format!(
        "global: {{scrape_interval: 1s, external_labels: {{site: here}}}}\nscrape_configs:\n\
         - job_name: pushed\n  static_configs: [{{targets: ['{}']}}]\nremote_write:\n\
         - url: http://127.0.0.1:{}/api/v1/write\n  protobuf_message: {proto}\n",
        target.address(),
        evaluator.port,
    );
    evaluator.write("prometheus.yml", &config);
    Program::start(
        program.to_str().unwrap(),
        [
            format!("--config.file={}", evaluator.path("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
    )
}

#[track_caller]
fn is_pushed(proto: &str) {
    let Some(program) = peers::program("prometheus") else { return };
    let target = HttpServer::start(|_| Reply::text("# TYPE heat gauge\nheat{room=\"a\"} 21.5\n"));
    let evaluator = Evaluator::with("{}");
    let prometheus = prometheus(&program, &target, &evaluator, proto);
    wait_until("samples arrive", || {
        let heat = "heat{room=\"a\", job=\"pushed\", site=\"here\"}";
        !evaluator.value(&format!("count_over_time({heat}[1m]) >= 3")).is_empty()
    });
    assert_eq!(evaluator.value("heat"), "21.5");
    assert_eq!(evaluator.value("up{job=\"pushed\"}"), "1");
    assert_eq!(evaluator.own("veilleur_remote_write_refused_total"), 0.0);
    // The target fails: its series end by the marker that Prometheus sends.
    target.reply_with(|_| Reply::status(500));
    wait_until("the series has ended", || evaluator.value("heat").is_empty());
    assert_eq!(evaluator.value("up{job=\"pushed\"}"), "0");
    let log = prometheus.log();
    assert!(!log.contains("level=ERROR") && !log.contains("non-recoverable"), "{log}");
}

#[test]
fn prometheus_pushes_to_us_by_remote_write_1_0() {
    is_pushed("prometheus.WriteRequest");
}

#[test]
fn prometheus_pushes_to_us_by_remote_write_2_0() {
    is_pushed("io.prometheus.write.v2.Request");
}

#[test]
fn what_is_no_message_is_refused_with_the_right_status() {
    let evaluator = Evaluator::with("{}");
    let url = format!("http://127.0.0.1:{}/api/v1/write", evaluator.port);
    let status = |headers: &str, body: &str| ask("POST", &url, headers, body).map(|got| got.0);
    let check = |headers: &str, body: &str, expected: u16| {
        assert_eq!(status(headers, body), Some(expected), "{headers}");
    };
    let v1 = "content-type: application/x-protobuf\r\n";
    check("content-type: application/json\r\n", "{}", 415);
    check("content-type: application/x-protobuf;proto=a.B\r\n", "", 415);
    check(&format!("{v1}content-encoding: zstd\r\n"), "", 415);
    check(&format!("{v1}content-encoding: snappy\r\n"), "no snappy", 400);
    // A browser that a page of another site has tricked.
    check(&format!("{v1}origin: http://evil.example\r\n"), "", 403);
    // An empty snappy block is an empty message.
    check(&format!("{v1}content-encoding: snappy\r\n"), "\0", 204);
    assert_eq!(tests::get(&url).map(|got| got.0), Some(405));
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field of a protobuf message: its number, and text or another message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], &varint(bytes.len() as u64)[..], bytes].concat()
}

/// Messages that would take gigabytes, or minutes, if they were read to their end.
#[test]
fn bombs_are_refused_and_cost_no_more_than_their_limit_x21_x22() {
    let mut evaluator = Evaluator::with("{}");
    let url = format!("http://127.0.0.1:{}/api/v1/write", evaluator.port);
    let [v1, v2] = ["", ";proto=io.prometheus.write.v2.Request"].map(|proto| {
        format!("content-type: application/x-protobuf{proto}\r\ncontent-encoding: snappy\r\n")
    });
    let label = |name: &[u8], value: &[u8]| field(1, &[field(1, name), field(2, value)].concat());
    let sample = |at: i64| {
        let value = [&[0x09][..], &1.0_f64.to_le_bytes()].concat();
        field(2, &[&value[..], &[0x10], &varint(at as u64)].concat())
    };
    let named = |more: &[u8]| field(1, &[&label(b"__name__", b"bomb"), more].concat());
    let long = |length: usize| field(4, "x".repeat(length).as_bytes());
    let symbols = |text: &[u8]| [&field(4, b""), &field(4, b"__name__"), text].concat();
    // Labels 1=2, and a sample of zeros.
    let series = field(5, &[10, 2, 1, 2, 18, 0]);
    let many = |piece: &[u8]| piece.repeat((60 << 20) / piece.len());
    let too_much = "more than 67108864";
    let four_gb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let backwards: Vec<u8> = (0..1_000_000)
        .rev()
        .flat_map(|n: u32| label(format!("n{n:07}").as_bytes(), b"x"))
        .collect();
    let backwards = named(&[backwards, sample(0)].concat());
    let cases: [(&str, &str, Vec<u8>, &str); 11] = [
        ("a header that claims 4 GB", &v1, four_gb.to_vec(), too_much),
        ("as much as may not be", &v1, pack(&vec![0; (64 << 20) + 1]), too_much),
        ("half a message", &v1, pack(&many(&[10, 0]))[..1000].to_vec(), "snappy"),
        ("series without a label", &v1, pack(&many(&field(1, b""))), too_much),
        ("empty samples", &v1, pack(&named(&many(&field(2, b"")))), too_much),
        ("empty exemplars", &v1, pack(&named(&many(&field(3, b"")))), too_much),
        ("empty histograms", &v1, pack(&named(&many(&field(4, b"")))), too_much),
        ("a million labels, the last first", &v1, pack(&backwards), "bytes of labels"),
        ("empty symbols", &v2, pack(&many(&field(4, b""))), too_much),
        (
            "a long text in many series",
            &v2,
            pack(&[symbols(&long(60_000)), series.repeat(1_000_000)].concat()),
            too_much,
        ),
        (
            "a longer one",
            &v2,
            pack(&[symbols(&long(1 << 20)), series.repeat(1_000_000)].concat()),
            too_much,
        ),
    ];
    for (what, headers, message, expected) in cases {
        let (status, said) = ask("POST", &url, headers, &message).expect(what);
        assert_eq!(status, 400, "{what}: {said:.300}");
        assert!(said.contains(expected), "{what}: {said:.300}");
    }
    // A message, what was read of it, and what those before it have left of the heap.
    let most = evaluator.program().peak();
    assert!(most < 400, "{most} MiB");
    let message = named(&sample(base::sample::Timestamp::now().millis()));
    assert_eq!(ask("POST", &url, &v1, &pack(&message)).map(|got| got.0), Some(204));
    assert_eq!(evaluator.value("bomb"), "1");
}
