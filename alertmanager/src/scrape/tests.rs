//! Scrapes of a server that answers as it is told, byte by byte.
//!
//! Invariant: the server is real and on the loopback; the clock is a number.

use std::path::Path;
use std::sync::Arc;

use base::clock::SteadyClock;
use base::diagnostic::Diagnostics;
use base::labels::Labels;
use base::matcher::Matcher;
use base::own_metrics::OwnMetrics;
use base::period::Period;
use base::sample::{Ended, Timestamp};
use base::supervisor::Supervisor;
use storage::{Options, Storage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::config::{Job, ScrapeConfig};
use super::run::{ScrapeMetrics, Scraper, TargetLoop};
use super::target::Target;
use super::{GlobalScrape, Outputs, Targets};
use crate::news::News;

struct World {
    job: Job,
    target: Target,
    scraper: Scraper,
    loop_: TargetLoop,
    now: i64,
    _server: Supervisor,
}

/// A server that gives the answers in turn, a connection each; nothing listens where there are
/// none.
async fn world(settings: &str, answers: Vec<Vec<u8>>) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Supervisor::new();
    if !answers.is_empty() {
        server.spawn("server", async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(&answer).await;
            }
            std::future::pending::<()>().await;
        });
    } else {
        drop(listener);
    }
    let yaml = format!("{{job_name: j, scrape_timeout: 500ms, {settings}}}");
    let mut diagnostics = Diagnostics::new("f.yml");
    let config: ScrapeConfig = base::yaml::read(&yaml, &mut diagnostics).unwrap();
    let global = GlobalScrape::new(Period::from_secs(60), Period::from_secs(10));
    let job = config.build(global, Path::new("/"), &mut diagnostics).unwrap();
    assert!(diagnostics.is_empty(), "{diagnostics}");
    let discovered =
        Labels::from_pairs([("__address__", address.to_string().as_str()), ("instance", "i")]);
    let target = Target::build(&job, &discovered).unwrap().unwrap();
    let scraper = Scraper {
        storage: Arc::new(Storage::in_memory(Options::default())),
        outputs: Outputs::default(),
        targets: Targets::default(),
        news: News::default(),
        metrics: ScrapeMetrics::new(&OwnMetrics::new()),
        clock: SteadyClock::starting_at(Timestamp::MIN),
    };
    let loop_ = TargetLoop::new(scraper.clone());
    World { job, target, scraper, loop_, now: 1_000_000, _server: server }
}

impl World {
    /// Scrapes once, a minute after the last time; returns the error that people see.
    async fn scrape(&mut self) -> String {
        self.now += 60_000;
        self.loop_.scrape(&self.job, &self.target, Timestamp::from_millis(self.now)).await;
        self.scraper.targets.all()[&self.target.key].last_error.clone()
    }

    /// The values of a series; markers by their names.
    fn values(&self, name: &str) -> String {
        let matchers = [Matcher::equal("__name__", name)];
        let found = self.scraper.storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap();
        let text = |value: &f64| match Ended::from_value(*value) {
            Some(end) => format!("{end:?}"),
            None => value.to_string(),
        };
        let series = found.iter().map(|s| s.values.iter().map(text).collect::<Vec<_>>().join(" "));
        series.collect::<Vec<_>>().join(" | ")
    }

    fn labels(&self, name: &str) -> String {
        let matchers = [Matcher::equal("__name__", name)];
        let found = self.scraper.storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap();
        found.iter().map(|series| series.labels.to_string()).collect::<Vec<_>>().join(" ")
    }
}

fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn stores_what_a_target_sends_and_marks_what_is_gone() {
    let mut world =
        world("", vec![ok("a 1\nb{x=\"y\"} 2\n"), ok("a 2\n"), ok("a 3\nb{x=\"y\"} 5\n")]).await;
    for _ in 0..3 {
        assert_eq!(world.scrape().await, "");
    }
    assert_eq!(world.values("a"), "1 2 3");
    assert_eq!(world.values("b"), "2 Gone 5");
    assert_eq!(world.labels("b"), r#"b{instance="i", job="j", x="y"}"#);
    assert_eq!(world.values("up"), "1 1 1");
    assert_eq!(world.values("scrape_samples_scraped"), "2 1 2");
    assert_eq!(world.values("scrape_series_added"), "2 0 1");
}

#[tokio::test]
async fn a_target_that_does_not_answer_is_down_and_its_series_are_lost() {
    let half =
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\na 2\nnew 1\n".to_vec();
    let html = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\nconnection: close\r\n\r\n<htm>".to_vec();
    let error = b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
    let answers = vec![
        ok("a 1\n"),
        half,
        ok("a 3\n"),
        html,
        error,
        ok("a 1\nb {\n"),
        b"nonsense\r\n\r\n".to_vec(),
    ];
    let mut world = world("", answers).await;
    assert_eq!(world.scrape().await, "");
    let faults = [
        "answer broke off",
        "",
        "`text/html` is no metrics",
        "server answered HTTP status 500",
        "line 2: ",
        "no answer",
        "no complete answer within 500ms",
    ];
    for expected in faults {
        let error = world.scrape().await;
        assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{error}");
    }
    assert_eq!(world.values("a"), "1 Lost 3 Lost");
    assert_eq!(world.values("new"), "");
    assert_eq!(world.values("up"), "1 0 1 0 0 0 0 0");
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_told_as_such() {
    let mut world = world("", Vec::new()).await;
    let error = world.scrape().await;
    assert!(error.contains("connect to 127.0.0.1") && error.contains("refused"), "{error}");
    assert_eq!(world.values("up"), "0");
}

#[tokio::test]
async fn what_is_removed_from_the_configuration_is_marked_so() {
    let mut world = world("", vec![ok("# OUTPUT {check=\"c\"} all fine\na 1\n")]).await;
    world.scrape().await;
    let check = world.target.key.labels.with("check", "c");
    assert_eq!(world.scraper.outputs.get(&check).as_deref(), Some("all fine"));
    world.loop_.remove(&world.target, Timestamp::from_millis(world.now + 1));
    assert_eq!(world.values("a"), "1 Removed");
    assert_eq!(world.values("up"), "1 Removed");
    assert_eq!(world.scraper.outputs.get(&check), None);
    assert!(world.scraper.targets.all().is_empty());
}

#[tokio::test]
async fn labels_of_the_target_win_unless_honoured() {
    let body = "a{job=\"theirs\",exported_job=\"odd\"} 1\n";
    let mut ours = world("", vec![ok(body)]).await;
    ours.scrape().await;
    let expected =
        r#"a{exported_exported_job="theirs", exported_job="odd", instance="i", job="j"}"#;
    assert_eq!(ours.labels("a"), expected);
    let mut theirs = world("honor_labels: true", vec![ok(body)]).await;
    theirs.scrape().await;
    assert_eq!(theirs.labels("a"), r#"a{exported_job="odd", instance="i", job="theirs"}"#);
}

#[tokio::test]
async fn limits_refuse_the_whole_scrape() {
    let check = async |settings: &str, body: &str, expected: &str| {
        let mut world = world(settings, vec![ok(body)]).await;
        assert_eq!(world.scrape().await, expected, "{settings}");
        assert_eq!(world.values("a"), "", "{settings}");
        assert_eq!(world.values("up"), "0");
    };
    check("sample_limit: 2", "a 1\nb 1\nc 1\n", "more than 2 samples").await;
    check("label_limit: 3", "a{x=\"1\"} 1\n", "a has 4 labels, more than 3").await;
    check(
        "label_name_length_limit: 8",
        "a{abcdefghi=\"1\"} 1\n",
        "the label name `abcdefghi` is longer than 8 bytes",
    )
    .await;
    check(
        "label_value_length_limit: 3",
        "a{x=\"1234\"} 1\n",
        "the value of `x` is longer than 3 bytes",
    )
    .await;
    let body = "a 1\n".repeat(1000);
    check("body_size_limit: 1KB", &body, "the body is over its limit of 1024 bytes").await;
}

#[tokio::test]
async fn metric_relabelling_drops_and_rewrites() {
    let settings = "metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}, \
                    {source_labels: [x], target_label: z}, {regex: x, action: labeldrop}]";
    let answers = vec![ok("a{x=\"1\"} 1\nb 1\n"), ok("a{x=\"1\"} 2\nb 2\n")];
    let mut world = world(settings, answers).await;
    world.scrape().await;
    world.scrape().await;
    assert_eq!(world.labels("a"), r#"a{instance="i", job="j", z="1"}"#);
    assert_eq!(world.values("a"), "1 2");
    assert_eq!(world.values("b"), "");
    assert_eq!(world.values("scrape_samples_post_metric_relabeling"), "1 1");
}

#[tokio::test]
async fn timestamps_of_the_target_count_within_bounds() {
    let body = "a 1 1000500\nb 1 1\nc 1 99999999999\nd NaN\na 7\n";
    let mut honoured = world("", vec![ok(body)]).await;
    honoured.scrape().await;
    let times = |world: &World, name: &str| {
        let matchers = [Matcher::equal("__name__", name)];
        let found =
            world.scraper.storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap();
        found.first().map_or(vec![], |series| series.times.clone())
    };
    assert_eq!(times(&honoured, "a"), [1_000_500]);
    assert_eq!((times(&honoured, "b"), times(&honoured, "c")), (vec![1], vec![]));
    let mut ours = world("honor_timestamps: false", vec![ok(body)]).await;
    ours.scrape().await;
    assert_eq!((times(&ours, "a"), times(&ours, "c")), (vec![1_060_000], vec![1_060_000]));
}

#[tokio::test]
async fn redirects_are_followed_within_the_host_only() {
    let to = |location: &str| {
        format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes()
    };
    let mut same = world("", vec![to("/other"), ok("a 1\n")]).await;
    assert_eq!(same.scrape().await, "");
    let mut other = world("", vec![to("http://169.254.169.254/x")]).await;
    let expected =
        "a redirect leads to another host, `http://169.254.169.254/x`, and is not followed";
    assert_eq!(other.scrape().await, expected);
    let mut circle = world("", vec![to("/metrics"); 9]).await;
    assert_eq!(circle.scrape().await, "more than 5 redirects");
    let mut file = world("", vec![to("file:///etc/passwd")]).await;
    assert!(file.scrape().await.starts_with("a redirect leads"));
}

#[tokio::test]
async fn an_endless_body_stops_at_its_limits() {
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"100000\r\n".to_vec(), vec![b'x'; 0x10_0000], b"\r\n".to_vec()].concat();
    let answer = [head, chunk.repeat(8)].concat();
    let mut world = world("", vec![answer]).await;
    assert_eq!(world.scrape().await, "line 1: the line is over 65536 bytes");
}

/// A message as the field `number` of another.
fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// An answer in protobuf: a native histogram `h` with `count` observations in one bucket.
fn protobuf(count: u8) -> Vec<u8> {
    let sum = [&[2 << 3 | 1][..], &1.5_f64.to_le_bytes()].concat();
    let span = message(12, &[1 << 3, 2, 2 << 3, 1]);
    let deltas = [13 << 3, count << 1];
    let histogram = [&[1 << 3, count][..], &sum, &span, &deltas].concat();
    let metric = message(4, &message(7, &histogram));
    let family = [&message(1, b"h")[..], &[3 << 3, 4], &metric].concat();
    let body = [&[family.len() as u8][..], &family].concat();
    let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                encoding=delimited";
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    [head.as_bytes(), &body].concat()
}

#[tokio::test]
async fn native_histograms_come_by_protobuf_where_it_is_asked_for_x23() {
    let mut text = world("", vec![protobuf(3)]).await;
    assert!(text.scrape().await.contains("is no metrics"));
    let answers = vec![protobuf(3), protobuf(5), ok("a 1\n")];
    let mut world = world("scrape_native_histograms: true", answers).await;
    for _ in 0..3 {
        assert_eq!(world.scrape().await, "");
    }
    let matchers = [Matcher::equal("__name__", "h")];
    let storage = &world.scraper.storage;
    let found = storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap();
    let counts: Vec<_> =
        found[0].values.iter().map(|v| found[0].histogram(*v).map(|h| h.count)).collect();
    assert_eq!(counts, [Some(3.0), Some(5.0), None]);
    assert_eq!(Ended::from_value(found[0].values[2]), Some(Ended::Gone));
    assert_eq!(world.values("scrape_samples_scraped"), "1 1 1");
}

#[tokio::test]
async fn classic_histograms_are_stored_as_native_ones_where_it_is_asked_for() {
    let body = "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\na 1\n";
    let check = async |settings: &str, natives: usize, buckets: &str| {
        let mut world = world(settings, vec![ok(body), ok(body), ok("a 1\n")]).await;
        for _ in 0..3 {
            assert_eq!(world.scrape().await, "");
        }
        let matchers = [Matcher::equal("__name__", "h")];
        let found =
            world.scraper.storage.select(&matchers, Timestamp::MIN, Timestamp::MAX).unwrap();
        let histograms = found.iter().flat_map(|s| s.values.iter().filter_map(|v| s.histogram(*v)));
        let counts: Vec<f64> = histograms.map(|histogram| histogram.count).collect();
        assert_eq!(counts, vec![3.0; natives], "{settings}");
        assert_eq!(world.values("h_count"), buckets, "{settings}");
        // What is gone has ended, in either form.
        let ends =
            found.iter().filter(|s| Ended::from_value(s.values[s.values.len() - 1]).is_some());
        assert_eq!(ends.count(), found.len(), "{settings}");
    };
    let converted = "convert_classic_histograms_to_nhcb: true";
    check("", 0, "3 3 Gone").await;
    check(converted, 2, "").await;
    let both = format!("{converted}, always_scrape_classic_histograms: true");
    check(&both, 2, "3 3 Gone").await;
}

#[tokio::test]
async fn what_a_target_says_of_its_metrics_is_kept_until_it_says_otherwise() {
    let said = "# HELP a A.\n# TYPE a counter\na 1\n";
    let mut world = world("", vec![ok(said), b"broken\r\n\r\n".to_vec(), ok("a 1\n")]).await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        world.scrape().await;
        let metadata = world.scraper.targets.metadata();
        kinds.push(metadata[0].1.get("a").map_or("none", |described| described.kind.as_str()));
    }
    assert_eq!(kinds, ["counter", "counter", "none"]);
    world.loop_.remove(&world.target, Timestamp::from_millis(world.now + 1));
    assert!(world.scraper.targets.metadata().is_empty());
}

#[tokio::test]
async fn names_that_are_not_classic_are_refused_where_only_those_are_valid() {
    let check = async |settings: &str, body: &str, expected: &str| {
        let mut world = world(settings, vec![ok(body)]).await;
        assert_eq!(world.scrape().await, expected, "{settings} {body}");
    };
    let legacy = "metric_name_validation_scheme: legacy";
    let why = "`a.b` is no classic name, and `metric_name_validation_scheme` is `legacy`";
    check("", "{\"a.b\"} 1\n", "").await;
    check(legacy, "{\"a.b\"} 1\n", why).await;
    check(legacy, "a{\"a.b\"=\"c\"} 1\n", why).await;
    check(legacy, "a:b{c=\"d\"} 1\n", "").await;
}

#[tokio::test]
async fn a_native_histogram_with_too_many_buckets_refuses_the_scrape() {
    let body = "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\na 1\n";
    for (limit, expected) in
        [(2, ""), (1, "a native histogram has more than 1 buckets (native_histogram_bucket_limit)")]
    {
        let settings = format!(
            "convert_classic_histograms_to_nhcb: true, native_histogram_bucket_limit: {limit}"
        );
        let mut world = world(&settings, vec![ok(body)]).await;
        assert_eq!(world.scrape().await, expected);
    }
}
