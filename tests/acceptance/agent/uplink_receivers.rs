//! An agent that pushes, and receivers that count: everything once, over mutual TLS, into another
//! store.
//!
//! Invariant: what arrived is counted where it arrived.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base::labels::Labels;
use base::remote_write::{Version, decode};
use tests::certificates::{Authority, Purpose};
use tests::http_server::{Asked, HttpServer, Reply};
use tests::program::{Program, free_port};
use tests::{curl, get, peers, wait_until};

use crate::stage::Stage;
use crate::uplink::{configure, waiting};

/// Messages with samples, as they came.
type Messages = Arc<Mutex<Vec<Asked>>>;

/// How often each sample came, by series and time.
fn counted(messages: &Messages) -> BTreeMap<(Labels, i64), u32> {
    let mut counts = BTreeMap::new();
    for asked in messages.lock().unwrap().iter() {
        let received = decode(&asked.bytes, Version::V2, 64 << 20).unwrap();
        assert_eq!(received.refused, [""; 0]);
        for series in received.series {
            for sample in series.samples {
                let key = (series.labels.clone(), sample.timestamp.millis());
                *counts.entry(key).or_default() += 1;
            }
        }
    }
    counts
}

#[test]
fn everything_comes_once_over_an_outage_with_the_agent_killed_in_it() {
    let is_open = Arc::new(AtomicBool::new(true));
    let (taken, refused) = (Messages::default(), Messages::default());
    let (open, takes, refuses) = (Arc::clone(&is_open), taken.clone(), refused.clone());
    let receiver = HttpServer::start(move |asked| {
        if !open.load(Ordering::SeqCst) {
            refuses.lock().unwrap().push(asked.clone());
            return Reply::status(503);
        }
        takes.lock().unwrap().push(asked.clone());
        let written = "x-prometheus-remote-write-samples-written: 1\r\n";
        Reply::Answer(204, written.to_owned(), Vec::new())
    });
    let count = |messages: &Messages| messages.lock().unwrap().len();
    let stage = Stage::new();
    configure(&stage, &receiver.url("/write"), "");
    let agent = stage.start();
    wait_until("messages have come", || count(&taken) >= 3);
    wait_until("nothing is on its way", || waiting(&agent) == 0.0);
    is_open.store(false, Ordering::SeqCst);
    wait_until("samples wait", || waiting(&agent) > 200.0 && count(&refused) > 0);
    agent.program.kill();
    let agent = stage.start();
    let (before, offered) = (waiting(&agent), count(&refused));
    wait_until("more samples wait", || {
        waiting(&agent) > before + 200.0 && count(&refused) > offered
    });
    let taken_before = count(&taken);
    is_open.store(true, Ordering::SeqCst);
    wait_until("everything is sent, and the present, too", || {
        waiting(&agent) == 0.0 && count(&taken) > taken_before + 2
    });
    agent.program.terminate();

    let (counts, refused) = (counted(&taken), counted(&refused));
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(counts.len() > 400 && twice.is_empty(), "{} samples, twice: {twice:?}", counts.len());
    let missing: Vec<_> = refused.keys().filter(|key| !counts.contains_key(*key)).collect();
    assert!(!refused.is_empty() && missing.is_empty(), "{missing:?}");
    // One collection a second, but for the moment in which the agent was away.
    let ups = counts.keys().filter(|(labels, _)| labels.metric_name() == "up");
    let ups: Vec<_> = ups.map(|(_, time)| *time).collect();
    let longest = ups.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(ups.len() > 5 && longest < Some(20_000), "{ups:?}");
}

#[test]
fn an_uplink_shows_its_certificate_and_nobody_without_one_is_taken_from() {
    let (stage, port) = (Stage::new(), free_port());
    let authority = Authority::new(&stage.path(""), "pki");
    authority.sign("server", Purpose::Server);
    let (certificate, key) = authority.sign("far-away", Purpose::Client);
    let stranger = Authority::new(&stage.path(""), "strangers");
    let (other_certificate, other_key) = stranger.sign("stranger", Purpose::Client);
    fs::write(
        stage.path("veilleur.yml"),
        "web:\n  tls_server_config:\n    cert_file: pki/server.crt\n    key_file: pki/server.key\n    \
         client_ca_file: pki/ca.crt\n    client_auth_type: RequireAndVerifyClientCert\n    \
         client_allowed_sans: [far-away]\n",
    )
    .unwrap();
    let (config, data) = (stage.text("veilleur.yml"), stage.text("data"));
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["--config", &config, "--data", &data, "--listen", &listen];
    let mut evaluator = Program::start("veilleur", arguments);
    let url = evaluator.url();
    let ca = authority.certificate();
    let tls = |certificate: &str, key: &str| {
        format!("  tls_config: {{ca_file: {ca}, cert_file: {certificate}, key_file: {key}}}\n")
    };
    // A certificate of another authority first: the samples wait.
    configure(&stage, &format!("{url}/api/v1/write"), &tls(&other_certificate, &other_key));
    let agent = stage.start();
    wait_until("the health page says it", || {
        agent.health().1["notes"].to_string().contains("does not take our samples")
    });
    assert_eq!(agent.value("veilleur_uplink_samples_total{result=\"sent\"}"), None);
    // The right one: what has waited arrives.
    configure(&stage, &format!("{url}/api/v1/write"), &tls(&certificate, &key));
    agent.program.signal("HUP");
    wait_until("the samples arrive", || {
        let query = format!("{url}/api/v1/query?query=veilleur_check_status");
        let (_, status, body) =
            curl(&["--cacert", &ca, "--cert", &certificate, "--key", &key, &query]);
        status == 200 && body.contains("far-away")
    });
    wait_until("nothing waits", || waiting(&agent) == 0.0);
    assert_eq!(agent.value("veilleur_uplink_samples_total{result=\"refused\"}"), None);
    let (exit, _, _) = curl(&["--cacert", &ca, &format!("{url}/metrics")]);
    assert_ne!(exit, 0, "without a certificate nobody is answered");
}

#[test]
fn victoria_metrics_takes_what_the_agent_pushes() {
    let Some(program) = peers::program("victoria-metrics") else { return };
    let (stage, port) = (Stage::new(), free_port());
    let _victoria = Program::start(
        program.to_str().unwrap(),
        [
            format!("-storageDataPath={}", stage.text("store")),
            format!("-httpListenAddr=127.0.0.1:{port}"),
            "-retentionPeriod=1d".to_owned(),
            "-search.latencyOffset=1ms".to_owned(),
        ],
    );
    configure(&stage, &format!("http://127.0.0.1:{port}/api/v1/write"), "");
    let agent = stage.start();
    let selector = "veilleur_check_perfdata%7Bcheck%3D%22orders%22%7D";
    let exported = || {
        let url = format!("http://127.0.0.1:{port}/api/v1/export?match[]={selector}");
        let body = get(&url).map_or_else(String::new, |(_, body)| body);
        body.lines().next().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok())
    };
    wait_until("three samples have arrived", || {
        exported().is_some_and(|series| series["timestamps"].as_array().unwrap().len() >= 3)
    });
    let series = exported().unwrap();
    let labels = &series["metric"];
    assert_eq!((&labels["instance"], &labels["site"]), (&"far-away".into(), &"lyon".into()));
    assert!(series["values"].as_array().unwrap().iter().all(|value| *value == 3), "{series}");
    let times: Vec<_> =
        series["timestamps"].as_array().unwrap().iter().map(|t| t.as_i64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert_eq!(agent.value("veilleur_uplink_samples_total{result=\"refused\"}"), None);
    assert_eq!(agent.value("veilleur_uplink_samples_total{result=\"dropped\"}"), None);
    assert_eq!(agent.value("veilleur_uplink_outputs_total{result=\"sent\"}"), None);
}
