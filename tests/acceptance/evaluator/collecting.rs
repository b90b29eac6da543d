//! Targets that a service names, and a prometheus.yml as it is.
//!
//! Invariant: nothing is judged by time: conditions are waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::program::{End, Program, run};
use tests::wait_until;

use crate::rig::Evaluator;

/// F55: a service that fails keeps its list, and how old it is can be seen.
#[test]
fn targets_that_a_service_names_are_scraped_and_stay_while_it_fails() {
    let target = HttpServer::start(|_| Reply::text("x 1\n"));
    let (address, fails) = (target.address(), Arc::new(AtomicBool::new(false)));
    let failing = Arc::clone(&fails);
    let service = HttpServer::start(move |_| match failing.load(Ordering::Relaxed) {
        true => Reply::status(500),
        false => Reply::Answer(
            200,
            "content-type: application/json\r\n".to_owned(),
            format!(r#"[{{"targets": ["{address}", "dropped.example:1"]}}]"#).into_bytes(),
        ),
    });
    let evaluator = Evaluator::new();
    let yaml = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 900ms, external_labels: {{site: '${{HOME}}'}}}}\n\
         scrape_configs:\n- job_name: listed\n  extra_scrape_metrics: true\n\
         \x20 http_sd_configs: [{{url: '{}', refresh_interval: 1s}}]\n\
         \x20 relabel_configs: [{{source_labels: [__address__], regex: dropped.*, action: drop}}]\n\
         remote_read: [{{url: 'http://127.0.0.1:9/'}}]\nrule_files: [none.yml]\n",
        service.url("/sd")
    );
    evaluator.write("prometheus.yml", &yaml);
    let file = evaluator.path("prometheus.yml");
    let (end, said, _) =
        run("veilleur", ["check".as_ref(), "--prometheus".as_ref(), file.as_os_str()]);
    assert_eq!(end, End::Exit(0), "{said}");
    assert!(said.contains(":7:14: the section `remote_read` is not supported yet"), "{said}");
    assert!(said.contains("note: ") && said.contains("there is no file"), "{said}");
    let (end, _, said) = run("veilleur", ["check".as_ref(), file.as_os_str()]);
    assert_eq!(end, End::Exit(2), "{said}");

    let arguments = evaluator.arguments();
    let arguments = arguments.into_iter().map(|argument| match argument.to_str() {
        Some("--config") => "--config.prometheus".into(),
        Some(path) if path.ends_with("veilleur.yml") => file.clone().into_os_string(),
        _ => argument,
    });
    let _program = Program::start("veilleur", arguments.collect::<Vec<_>>());
    let targets = || evaluator.data("/api/v1/targets");
    let is_up = |targets: &Value| targets["activeTargets"][0]["health"] == "up";
    wait_until("the target is up", || is_up(&targets()));
    assert_eq!(targets()["droppedTargetCounts"]["listed"], 1);
    assert_eq!(evaluator.data("/api/v1/scrape_pools")["scrapePools"][0], "listed");
    wait_until("the extra series are there", || {
        evaluator.value("scrape_body_size_bytes") == "4"
            && evaluator.value("scrape_timeout_seconds") == "0.9"
    });

    fails.store(true, Ordering::Relaxed);
    wait_until("the failure is told", || {
        targets()["discovery"][0]["lastError"].as_str().is_some_and(|error| error.contains("500"))
    });
    let targets = targets();
    assert!(is_up(&targets), "{targets}");
    assert_eq!(targets["discovery"][0]["targets"], 2, "{targets}");
    assert_eq!(targets["discovery"][0]["kind"], "http", "{targets}");
    let metrics = evaluator.get("/metrics").unwrap().1;
    let name = "veilleur_discovery_last_success_timestamp_seconds";
    assert!(
        metrics.contains(&format!("{name}{{job=\"listed\",kind=\"http\",source=\"0\"}} 1")),
        "{metrics}"
    );
}
