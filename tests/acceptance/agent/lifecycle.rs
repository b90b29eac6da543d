//! What exporters of Prometheus can be asked besides their metrics: whether they are well, to read
//! their configuration again, and a part of the metrics.
//!
//! Invariant: what is asked is what blackbox_exporter's and node_exporter's users ask, by curl.

use tests::{curl, peers, wait_until};

use crate::stage::Stage;
use tests::program::Program;

#[test]
fn the_paths_of_exporters_are_answered_and_a_reload_takes_or_tells() {
    let stage = Stage::with("host: {enabled: false}\nchecks: []\n");
    let agent = stage.start();
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(agent.get(path), (200, "ok\n".to_owned()), "{path}");
    }
    let reload = |method: &str, more: &[&str]| {
        let url = format!("{}/-/reload", agent.url);
        let (_, status, body) = curl(&[&["-X", method, &url][..], more].concat());
        (status, body)
    };
    let taken = "veilleur_config_last_reload_successful";
    stage.configure("host: {enabled: false}\nchecks:\n- {name: job, heartbeat: {period: 1d}}\n");
    assert_eq!(reload("GET", &[]).0, 405);
    assert_eq!(reload("POST", &["-H", "origin: http://evil.example"]).0, 403, "a page asks");
    assert!(!agent.metrics().contains("check=\"job\""), "nothing was read");
    assert_eq!(reload("POST", &[]), (200, String::new()));
    assert!(agent.metrics().contains("veilleur_check_status{check=\"job\"}"));
    stage.configure("host: {enabled: nothing}\n");
    let (status, why) = reload("POST", &[]);
    assert_eq!(status, 500, "{why}");
    assert!(why.contains("stays in use") && why.contains("agent.yml:1:17: "), "{why}");
    assert_eq!(agent.value(taken), Some(0.0));
    assert!(agent.metrics().contains("veilleur_check_status{check=\"job\"}"));
}

#[test]
fn a_job_of_prometheus_that_chooses_collectors_gets_these() {
    let Some(prometheus) = peers::program("prometheus") else { return };
    let stage = Stage::with("checks:\n- {name: job, heartbeat: {period: 1d}}\n");
    let agent = stage.start();
    for (query, status) in [
        ("collect[]=loadavg", 200),
        ("collect[]=nobody", 400),
        ("collect[]=loadavg&exclude[]=cpu", 400),
        ("exclude[]=nobody", 200),
    ] {
        assert_eq!(agent.get(&format!("/metrics?{query}")).0, status, "{query}");
    }
    let address = agent.url.strip_prefix("http://").unwrap();
    std::fs::write(
        stage.path("prometheus.yml"),
        format!(
            "scrape_configs:\n- job_name: some\n  scrape_interval: 1s\n  \
             params: {{'collect[]': [loadavg, uname]}}\n  \
             static_configs: [{{targets: ['{address}']}}]\n- job_name: rest\n  \
             scrape_interval: 1s\n  params: {{'exclude[]': [loadavg, uname]}}\n  \
             static_configs: [{{targets: ['{address}']}}]\n"
        ),
    )
    .unwrap();
    let port = tests::program::free_port();
    let _prometheus = Program::start(
        prometheus.to_str().unwrap(),
        [
            format!("--config.file={}", stage.text("prometheus.yml")),
            format!("--storage.tsdb.path={}", stage.text("tsdb")),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
    );
    let jobs = |selector: &str| {
        let result = crate::uplink::answer(port, selector);
        let jobs = result.as_array().cloned().unwrap_or_default();
        let mut jobs: Vec<_> =
            jobs.iter().map(|one| one["metric"]["job"].as_str().unwrap().to_owned()).collect();
        jobs.sort();
        jobs
    };
    wait_until("both jobs are scraped", || jobs("up == 1") == ["rest", "some"]);
    assert_eq!(jobs("node_load1"), ["some"]);
    assert_eq!(jobs("node_uname_info"), ["some"]);
    assert_eq!(jobs("node_memory_MemTotal_bytes"), ["rest"]);
    assert_eq!(jobs("veilleur_check_status"), ["rest"], "no check is there twice");
    assert_eq!(jobs("veilleur_agent_info"), ["rest", "some"]);
}
