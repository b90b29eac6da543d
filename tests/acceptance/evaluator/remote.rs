//! Other stores: real ones that our samples go to, that send us theirs, and that read ours.
//!
//! Invariant: what is compared is every sample, with its time and its value.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{escaped, get, peers, wait_until};

use crate::rig::Evaluator;

/// A target whose metric is another one every time, with few decimals: VictoriaMetrics rounds others.
fn target() -> HttpServer {
    let asked = Arc::new(AtomicU64::new(0));
    HttpServer::start(move |_| {
        let heat = asked.fetch_add(1, Ordering::Relaxed) as f64 * 0.5 - 1.5;
        Reply::text(&format!("# TYPE heat gauge\nheat{{room=\"a\"}} {heat}\ncold 3\n"))
    })
}

/// A Prometheus or a VictoriaMetrics in a folder of its own, at the same port whenever it runs.
struct Store {
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    /// Further arguments of a Prometheus.
    further: Vec<String>,
    running: Option<Program>,
}

impl Store {
    /// One in the folder of `evaluator`; nothing where the program is missing.
    fn new(name: &str, evaluator: &Evaluator) -> Option<Self> {
        let (program, dir) = (peers::program(name)?, evaluator.path(name));
        fs::create_dir_all(&dir).unwrap();
        Some(Self { program, dir, port: free_port(), further: Vec::new(), running: None })
    }

    fn start(&mut self, arguments: &[&str]) {
        let arguments = arguments.iter().map(|argument| {
            let argument = argument.replace("DIR", self.dir.to_str().unwrap());
            argument.replace("ADDRESS", &format!("127.0.0.1:{}", self.port))
        });
        let program = self.program.to_str().unwrap();
        self.running = Some(Program::start(program, arguments.collect::<Vec<_>>()));
    }

    /// As a Prometheus that takes remote write, configured by `config`.
    fn start_prometheus(&mut self, config: &str) {
        fs::write(self.dir.join("prometheus.yml"), config).unwrap();
        let further = self.further.clone();
        let known = [
            "--config.file=DIR/prometheus.yml",
            "--storage.tsdb.path=DIR/data",
            "--web.listen-address=ADDRESS",
            "--web.enable-remote-write-receiver",
        ];
        let all = known.into_iter().chain(further.iter().map(String::as_str));
        self.start(&all.collect::<Vec<_>>());
    }

    fn start_victoria_metrics(&mut self) {
        self.start(&[
            "-storageDataPath=DIR/data",
            "-httpListenAddr=ADDRESS",
            "-retentionPeriod=1d",
            "-search.latencyOffset=1ms",
        ]);
    }

    fn stop(&mut self) {
        self.running.take().unwrap().terminate();
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its samples of the one series that `selector` names.
    fn samples(&self, selector: &str) -> Vec<(i64, f64)> {
        let query = format!("/api/v1/query?query={}", escaped(&format!("{selector}[10m]")));
        matrix(get(&self.url(&query)))
    }

    /// The same of a VictoriaMetrics, from which the newest have to be exported.
    fn exported(&self, selector: &str) -> Vec<(i64, f64)> {
        let path = format!("/api/v1/export?match[]={}", escaped(selector));
        let body = get(&self.url(&path)).map_or_else(String::new, |(_, body)| body);
        let series: Value = body
            .lines()
            .next()
            .map_or(Value::Null, |line| serde_json::from_str(line).unwrap_or_default());
        let list = |name: &str| series[name].as_array().cloned().unwrap_or_default();
        let samples = list("timestamps").into_iter().zip(list("values"));
        // The end of a series is none.
        samples.filter_map(|(time, value)| Some((time.as_i64()?, value.as_f64()?))).collect()
    }
}

fn matrix(answer: Option<(u16, String)>) -> Vec<(i64, f64)> {
    let body = answer.map_or_else(String::new, |(_, body)| body);
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let values = body["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
    let sample = |pair: &Value| {
        let millis = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
        (millis, pair[1].as_str().unwrap().parse().unwrap())
    };
    values.iter().map(sample).collect()
}

fn own_samples(evaluator: &Evaluator, selector: &str) -> Vec<(i64, f64)> {
    let query = escaped(&format!("{selector}[10m]"));
    matrix(evaluator.get(&format!("/api/v1/query?query={query}")))
}

/// Waits until `theirs` is what we have, which changes no more.
#[track_caller]
fn is_equal(evaluator: &Evaluator, what: &str, theirs: impl Fn() -> Vec<(i64, f64)>) {
    let ours = own_samples(evaluator, "heat");
    assert!(ours.len() >= 6, "{ours:?}");
    wait_until(what, || theirs().len() >= ours.len());
    assert_eq!(theirs(), ours, "{what}");
}

#[test]
fn what_we_scrape_arrives_at_others_equal_over_restarts_of_both() {
    let (target, mut evaluator) = (target(), Evaluator::new());
    let prometheus = Store::new("prometheus", &evaluator);
    let Some((mut prometheus, mut victoria)) =
        prometheus.zip(Store::new("victoria-metrics", &evaluator))
    else {
        return;
    };
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, external_labels: {{site: lyon}}}}\nscrape_configs:\n\
             - job_name: rooms\n  static_configs: [{{targets: ['{}']}}]\nremote_write:\n\
             - url: {}\n  name: p\n  protobuf_message: io.prometheus.write.v2.Request\n  \
             queue_config: {{batch_send_deadline: 300ms, max_backoff: 500ms}}\n\
             - url: {}\n  name: v\n  queue_config: {{batch_send_deadline: 300ms, max_backoff: 500ms}}\n  \
             write_relabel_configs: [{{source_labels: [__name__], regex: heat, action: keep}}]\n",
            target.address(),
            prometheus.url("/api/v1/write"),
            victoria.url("/api/v1/write"),
        ),
    );
    evaluator.start();
    // Nobody is there yet: what is scraped waits, and it is said why.
    let told = |evaluator: &Evaluator| evaluator.get("/health").unwrap().1;
    wait_until("it is told that nobody takes samples", || {
        told(&evaluator).contains("\"remote-write:p\"")
            && told(&evaluator).contains("it does not take our samples")
            && evaluator.own("veilleur_remote_behind_bytes") > 0.0
    });
    prometheus.start_prometheus("global: {scrape_interval: 1h}\n");
    victoria.start_victoria_metrics();
    let selector = "heat{room=\"a\",job=\"rooms\",site=\"lyon\"}";
    wait_until("samples have arrived", || {
        prometheus.samples(selector).len() >= 2 && victoria.exported(selector).len() >= 2
    });
    // Both ends go away, and more is scraped meanwhile.
    prometheus.stop();
    victoria.stop();
    let before = own_samples(&evaluator, "heat").len();
    wait_until("more is scraped", || own_samples(&evaluator, "heat").len() >= before + 2);
    evaluator.kill();
    evaluator.start();
    prometheus.start_prometheus("global: {scrape_interval: 1h}\n");
    victoria.start_victoria_metrics();
    let before = own_samples(&evaluator, "heat").len();
    wait_until("it goes on", || own_samples(&evaluator, "heat").len() >= before + 2);
    // The series ends, there too.
    target.reply_with(|_| Reply::status(500));
    wait_until("the series has ended", || evaluator.value("heat").is_empty());
    is_equal(&evaluator, "Prometheus has every sample", || prometheus.samples(selector));
    is_equal(&evaluator, "VictoriaMetrics has every sample", || victoria.exported(selector));
    wait_until("the series has ended there", || {
        let heat = prometheus.url("/api/v1/query?query=heat");
        get(&heat).is_some_and(|(_, body)| body.contains("\"result\":[]"))
    });
    assert!(victoria.exported("cold").is_empty());
    assert_eq!(
        evaluator.own("veilleur_remote_samples_total{remote=\"v\",result=\"refused\"}"),
        0.0
    );
    wait_until("all is well again", || {
        told(&evaluator)
            .contains("\"remote-write:p\":[{\"componentType\":\"datastore\",\"status\":\"pass\"")
    });
    let log = prometheus.running.as_ref().unwrap().log();
    assert!(!log.contains("level=ERROR"), "{log}");
}

/// 5xx is tried again, other 4xx never; what waits has a bound.
#[test]
fn what_a_store_refuses_is_counted_and_what_waits_has_a_bound() {
    let series: String = (0..20_000).map(|n| format!("many{{n=\"{n}\"}} 1\n")).collect();
    let target = HttpServer::start(move |_| Reply::text(&series));
    let store = HttpServer::start(|_| {
        Reply::Answer(503, "retry-after: 1\r\n".to_owned(), b"later".to_vec())
    });
    let evaluator = Evaluator::with(&format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: many\n  static_configs: \
         [{{targets: ['{}']}}]\nremote_write:\n- {{url: '{}', name: s, max_buffer_size: 1MB, \
         queue_config: {{batch_send_deadline: 300ms}}}}\n",
        target.address(),
        store.url("/write"),
    ));
    let samples = |result: &str| {
        let name = "veilleur_remote_samples_total{remote=\"s\",result=";
        let text = evaluator.get("/metrics").map_or_else(String::new, |(_, body)| body);
        let line = text.lines().find(|line| line.starts_with(&format!("{name}\"{result}\"")));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
    };
    wait_until("more waits than may", || samples("dropped") > 0.0);
    assert_eq!((samples("sent"), samples("refused")), (0.0, 0.0));
    let asked = store.asked();
    assert_eq!(asked[0].headers["x-prometheus-remote-write-version"], "0.1.0");
    assert_eq!(asked[0].headers["content-encoding"], "snappy");
    store.reply_with(|_| Reply::status(400));
    wait_until("samples are refused", || samples("refused") > 0.0);
    store.reply_with(|_| Reply::status(204));
    wait_until("samples are taken", || samples("sent") > 0.0);
}

/// A store that knows 1.0 only is found out, and loses nothing by it.
#[test]
fn a_store_that_knows_no_2_0_is_written_to_in_1_0() {
    for answer in [415, 204] {
        let (target, refused) = (target(), answer);
        let store = HttpServer::start(move |asked| {
            match asked.headers["content-type"].contains("write.v2") {
                true => Reply::status(refused),
                false => Reply::status(204),
            }
        });
        let mut evaluator = Evaluator::with(&format!(
            "global: {{scrape_interval: 300ms}}\nbuiltin_rules: {{enabled: false}}\nscrape_configs:\n\
             - job_name: rooms\n  static_configs: [{{targets: ['{}']}}]\nremote_write:\n\
             - {{url: '{}', name: s, protobuf_message: io.prometheus.write.v2.Request, \
             queue_config: {{batch_send_deadline: 300ms}}}}\n",
            target.address(),
            store.url("/write"),
        ));
        let sent = "veilleur_remote_samples_total";
        wait_until("samples are taken", || evaluator.own(sent) >= 6.0);
        let asked = store.asked();
        let versions = asked.iter().map(|a| &*a.headers["x-prometheus-remote-write-version"]);
        let versions: Vec<&str> = versions.collect();
        // Once, and never again.
        assert_eq!(versions[0], "2.0.0");
        assert!(versions.len() > 1 && versions[1..].iter().all(|v| *v == "0.1.0"), "{versions:?}");
        let metrics = evaluator.get("/metrics").unwrap().1;
        assert!(!metrics.contains("result=\"refused\""), "{metrics}");
        assert!(evaluator.program().log().contains("it speaks remote write 1.0 only"));
    }
}

/// A target whose counter has an exemplar, and a kind, a unit and a help text.
pub(crate) fn traced() -> HttpServer {
    let asked = Arc::new(AtomicU64::new(0));
    let begun = base::sample::Timestamp::now().seconds() - 60.0;
    HttpServer::start(move |_| {
        let count = asked.fetch_add(1, Ordering::Relaxed);
        let (trace, at) = (count / 3, begun + (count / 3) as f64);
        let body = format!(
            "# HELP calls_seconds Time in calls.\n# TYPE calls_seconds counter\n\
             # UNIT calls_seconds seconds\n\
             calls_seconds_total{{room=\"a\"}} {count} # {{trace_id=\"t{trace}\"}} 0.5 {at}\n# EOF\n"
        );
        let kind = "content-type: application/openmetrics-text; version=1.0.0\r\n";
        Reply::Answer(200, kind.to_owned(), body.into_bytes())
    })
}

#[test]
fn exemplars_and_what_metrics_mean_are_sent_on() {
    let (target, mut evaluator) = (traced(), Evaluator::new());
    let stores = [Store::new("prometheus", &evaluator), Store::new("prometheus", &evaluator)];
    let victoria = Store::new("victoria-metrics", &evaluator);
    let ([Some(mut by_1_0), Some(mut by_2_0)], Some(mut victoria)) = (stores, victoria) else {
        return;
    };
    for store in [&mut by_1_0, &mut by_2_0] {
        store.dir = evaluator.path(&format!("prometheus-{}", store.port));
        fs::create_dir_all(&store.dir).unwrap();
        store.further = vec!["--enable-feature=exemplar-storage,metadata-wal-records".to_owned()];
        store.start_prometheus("global: {scrape_interval: 1h}\n");
    }
    victoria.start_victoria_metrics();
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, external_labels: {{site: lyon}}}}\n\
             builtin_rules: {{enabled: false}}\nscrape_configs:\n\
             - job_name: rooms\n  static_configs: [{{targets: ['{}']}}]\nremote_write:\n\
             - {{url: '{}', name: p1, send_exemplars: true, queue_config: {{batch_send_deadline: 300ms}}}}\n\
             - {{url: '{}', name: p2, send_exemplars: true, queue_config: {{batch_send_deadline: 300ms}}, \
             protobuf_message: io.prometheus.write.v2.Request}}\n\
             - {{url: '{}', name: v, queue_config: {{batch_send_deadline: 300ms}}, \
             metadata_config: {{send_interval: 1s}}}}\n",
            target.address(),
            by_1_0.url("/api/v1/write"),
            by_2_0.url("/api/v1/write"),
            victoria.url("/api/v1/write"),
        ),
    );
    evaluator.start();
    let traces = |answer: Option<(u16, String)>| -> Vec<String> {
        let body = answer.map_or_else(String::new, |(_, body)| body);
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let found = body["data"][0]["exemplars"].as_array().cloned().unwrap_or_default();
        assert!(found.is_empty() || body["data"][0]["seriesLabels"]["room"] == "a", "{body}");
        found.iter().map(|one| one["labels"]["trace_id"].as_str().unwrap().to_owned()).collect()
    };
    let now = base::sample::Timestamp::now().seconds();
    let path = format!(
        "/api/v1/query_exemplars?query=calls_seconds_total&start={}&end={}",
        now - 600.0,
        now + 600.0
    );
    let ours = || traces(evaluator.get(&path));
    wait_until("we have some", || ours().len() >= 4);
    let before = ours();
    for store in [&by_1_0, &by_2_0] {
        wait_until("exemplars arrive", || traces(get(&store.url(&path))).len() >= before.len());
        // In order, and none twice.
        let theirs = traces(get(&store.url(&path)));
        assert_eq!(theirs[..before.len()], before);
        assert_eq!(distinct(&theirs), theirs.len(), "{theirs:?}");
        assert!(!store.samples("calls_seconds_total{site=\"lyon\"}").is_empty());
    }
    // Nobody asked for them there.
    assert_eq!(evaluator.own("veilleur_remote_exemplars_total{remote=\"v\",result=\"sent\"}"), 0.0);
    wait_until("VictoriaMetrics knows what the metric means", || {
        let told = get(&victoria.url("/api/v1/metadata?metric=calls_seconds"));
        told.is_some_and(|(_, body)| {
            body.contains("Time in calls.") && body.contains("\"counter\"")
        })
    });
}

fn distinct(all: &[String]) -> usize {
    all.iter().collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn prometheus_reads_samples_of_us() {
    let (target, evaluator) = (target(), Evaluator::new());
    let Some(mut prometheus) = Store::new("prometheus", &evaluator) else { return };
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 300ms, external_labels: {{site: lyon}}}}\nscrape_configs:\n\
             - job_name: rooms\n  static_configs: [{{targets: ['{}']}}]\n",
            target.address()
        ),
    );
    let mut evaluator = evaluator;
    evaluator.start();
    prometheus.start_prometheus(&format!(
        "remote_read: [{{url: 'http://127.0.0.1:{}/api/v1/read', read_recent: true}}]\n",
        evaluator.port
    ));
    wait_until("samples are there", || own_samples(&evaluator, "heat").len() >= 6);
    target.reply_with(|_| Reply::status(500));
    wait_until("the series has ended", || evaluator.value("heat").is_empty());
    let selector = "heat{room=~\"a|b\",site=\"lyon\",job!=\"x\"}";
    is_equal(&evaluator, "Prometheus reads every sample", || prometheus.samples(selector));
    assert!(prometheus.samples("heat{site=\"paris\"}").is_empty());
    // Its stale marker has come with them.
    let ended = get(&prometheus.url("/api/v1/query?query=heat")).unwrap().1;
    assert!(ended.contains("\"result\":[]"), "{ended}");
}

/// `storage: remote`: nothing that is judged or answered is from the samples here.
#[test]
fn rules_and_queries_are_evaluated_on_another_store() {
    let (target, mut evaluator) = (target(), Evaluator::new());
    let Some(mut victoria) = Store::new("victoria-metrics", &evaluator) else { return };
    victoria.start_victoria_metrics();
    evaluator.write(
        "rules.yml",
        // Series here have no site: it is added on the way.
        "groups:\n- name: g\n  interval: 500ms\n  rules:\n  \
         - {alert: Warm, expr: 'cold{site=\"lyon\"} > 2', annotations: {now: '{{ $value }}'}}\n  \
         - {record: twice, expr: 'cold{site=\"lyon\"} * 2'}\n",
    );
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, external_labels: {{site: lyon}}}}\nscrape_configs:\n\
             - job_name: rooms\n  static_configs: [{{targets: ['{}']}}]\nrule_files: [rules.yml]\n\
             remote_write: [{{url: '{}', queue_config: {{batch_send_deadline: 300ms}}}}]\n\
             storage: {{remote: {{url: '{}', timeout: 5s}}}}\n",
            target.address(),
            victoria.url("/api/v1/write"),
            victoria.url(""),
        ),
    );
    evaluator.start();
    wait_until("the alert fires", || evaluator.alerts("firing") == ["Warm"]);
    let alerts = evaluator.data("/api/v1/alerts");
    assert_eq!(alerts["alerts"][0]["annotations"]["now"], "3", "{alerts}");
    // What a rule records goes there, too, and is asked for there.
    wait_until("it is recorded", || evaluator.value("twice{site=\"lyon\"}") == "6");
    let jobs = evaluator.data("/api/v1/label/site/values");
    assert_eq!(jobs, serde_json::json!(["lyon"]));
    // Whoever does not answer ends no alert.
    victoria.stop();
    wait_until("it is told that rules fail", || {
        evaluator.get("/health").is_some_and(|(_, body)| body.contains("rules fail"))
    });
    assert_eq!(evaluator.alerts("firing"), ["Warm"]);
    assert_eq!(evaluator.get("/api/v1/query?query=up").map(|got| got.0), Some(503));
    victoria.start_victoria_metrics();
    wait_until("rules are evaluated again", || {
        evaluator.get("/health").is_some_and(|(_, body)| !body.contains("rules fail"))
    });
    assert_eq!(evaluator.alerts("firing"), ["Warm"]);
}

#[test]
fn the_agent_of_victoria_metrics_pushes_to_us() {
    let (target, evaluator) = (target(), Evaluator::with("{}"));
    let Some(mut agent) = Store::new("vmagent", &evaluator) else { return };
    let config = format!(
        "scrape_configs:\n- job_name: pushed\n  scrape_interval: 1s\n  static_configs: [{{targets: ['{}']}}]\n",
        target.address()
    );
    fs::write(agent.dir.join("scrape.yml"), config).unwrap();
    let write = format!("-remoteWrite.url=http://127.0.0.1:{}/api/v1/write", evaluator.port);
    agent.start(&[
        "-promscrape.config=DIR/scrape.yml",
        "-remoteWrite.tmpDataPath=DIR/data",
        "-remoteWrite.flushInterval=500ms",
        "-httpListenAddr=ADDRESS",
        &write,
    ]);
    let heat = "count_over_time(heat{room=\"a\",job=\"pushed\"}[1m]) >= 3";
    wait_until("samples arrive", || !evaluator.value(heat).is_empty());
    assert_eq!(evaluator.value("cold{job=\"pushed\"}"), "3");
    assert_eq!(evaluator.own("veilleur_remote_write_refused_total"), 0.0);
}
