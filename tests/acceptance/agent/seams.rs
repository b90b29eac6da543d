//! The seams at which people come in: a Prometheus that has scraped node_exporter and
//! blackbox_exporter until now, with the rules that everybody has, goes on with the agent unchanged.
//!
//! What differs from node_exporter on the same host is what `docs/agent.md` says, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::program::{End, Program, free_port, run};
use tests::{escaped, get, peers, wait_until};

use crate::stage::Stage;

/// What node_exporter leaves out by its own default; packagers change it.
const MOUNT_POINTS: &str =
    "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";

/// The rules of node-mixin, where they are.
fn rules() -> Option<[String; 2]> {
    let file = |name: &str| peers::conformance(&format!("rule-sets/mixins/{name}"));
    let files = [file("node-exporter-rules.yaml")?, file("node-exporter-alerts.yaml")?];
    Some(files.map(|file| file.canonicalize().unwrap().display().to_string()))
}

/// The first value of `query`.
fn value(url: &str, query: &str) -> Option<f64> {
    let (_, answer) = get(&format!("{url}/api/v1/query?query={}", escaped(query)))?;
    let answer: Value = serde_json::from_str(&answer).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn prometheus_goes_on_with_its_relabelling_and_the_rules_of_node_mixin() {
    let (Some(program), Some(rules)) = (peers::program("prometheus"), rules()) else { return };
    let web = HttpServer::start(|asked| match asked.path.as_str() {
        "/bad" => Reply::Answer(500, String::new(), Vec::new()),
        _ => Reply::text("fine"),
    });
    let stage = Stage::new();
    std::fs::create_dir(stage.path("textfile")).unwrap();
    std::fs::write(stage.path("textfile/broken.prom"), "no metric at all {\n").unwrap();
    let modules = "modules: {http_2xx: {prober: http, http: {preferred_ip_protocol: ip4}}, \
                   icmp: {prober: icmp, icmp: {preferred_ip_protocol: ip4}}}\n";
    std::fs::write(stage.path("blackbox.yml"), modules).unwrap();
    stage.configure(&format!(
        "host: {{textfile: {{directories: [{}]}}}}\n\
         blackbox: {{config: {}, allow_targets: [127.0.0.1]}}\nchecks: []\n",
        stage.text("textfile"),
        stage.text("blackbox.yml")
    ));
    let agent = stage.start();
    let address = agent.url.strip_prefix("http://").unwrap();
    let (good, bad) = (web.url("/"), web.url("/bad"));
    let job = |name: &str, module: &str, targets: &str| {
        format!(
            "- job_name: {name}\n  metrics_path: /probe\n  params: {{module: [{module}]}}\n  \
             static_configs: [{{targets: [{targets}]}}]\n  relabel_configs:\n  \
             - {{source_labels: [__address__], target_label: __param_target}}\n  \
             - {{source_labels: [__param_target], target_label: instance}}\n  \
             - {{target_label: __address__, replacement: '{address}'}}\n"
        )
    };
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}', '{}']\n\
         scrape_configs:\n- job_name: node\n  static_configs: [{{targets: ['{address}']}}]\n{}{}",
        rules[0],
        rules[1],
        job("web", "http_2xx", &format!("'{good}', '{bad}'")),
        job("ping", "icmp", "127.0.0.1"),
    );
    std::fs::write(stage.path("prometheus.yml"), config).unwrap();
    let port = free_port();
    let _prometheus = Program::start(
        program.to_str().unwrap(),
        [
            format!("--config.file={}", stage.text("prometheus.yml")),
            format!("--storage.tsdb.path={}", stage.text("data")),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
    );
    let url = format!("http://127.0.0.1:{port}");
    let becomes = |query: &str, expected: f64| {
        wait_until(&format!("{query} is {expected}"), || value(&url, query) == Some(expected));
    };
    becomes(&format!("probe_success{{job=\"web\",instance=\"{good}\"}}"), 1.0);
    becomes(&format!("probe_success{{job=\"web\",instance=\"{bad}\"}}"), 0.0);
    becomes(&format!("probe_http_status_code{{job=\"web\",instance=\"{bad}\"}}"), 500.0);
    becomes("probe_success{job=\"ping\",instance=\"127.0.0.1\"}", 1.0);
    becomes("sum(up)", 4.0);

    let groups = || {
        let (_, answer) = get(&format!("{url}/api/v1/rules")).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|g| g["rules"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    wait_until("every rule was evaluated and is well", || {
        let rules = groups();
        rules.len() == 41 && rules.iter().all(|rule| rule["health"] == "ok")
    });
    for rule in groups().iter().filter(|rule| rule["type"] == "recording") {
        let name = rule["name"].as_str().unwrap();
        // Two are of interfaces with a driver of their own, which not every machine has.
        if name.ends_with("_physical:rate5m") && value(&url, "node_network_info").is_none() {
            continue;
        }
        let text = rule["query"].as_str().unwrap();
        wait_until(&format!("{name} has what {text} gives"), || {
            value(&url, name).is_some() || value(&url, &format!("({text})")).is_none()
        });
    }
    for name in ["instance:node_num_cpu:sum", "instance:node_memory_utilisation:ratio"] {
        assert!(value(&url, name).is_some(), "{name} has no series");
    }
    for name in ["instance:node_cpu_utilisation:rate5m", "instance:node_load1_per_cpu:ratio"] {
        wait_until(&format!("{name} has a series"), || value(&url, name).is_some());
    }
    // Something is wrong with the textfile, and that alert waits for nothing.
    becomes("ALERTS{alertname=\"NodeTextFileCollectorScrapeError\",alertstate=\"firing\"}", 1.0);
}

#[test]
fn what_is_imported_from_blackbox_exporter_is_a_configuration_that_works() {
    let web = HttpServer::start(|_| Reply::text("fine"));
    let stage = Stage::new();
    let modules = "modules:\n  web: {prober: http, http: {preferred_ip_protocol: ip4}}\n";
    std::fs::write(stage.path("blackbox.yml"), modules).unwrap();
    let jobs = format!(
        "scrape_configs:\n- job_name: web\n  metrics_path: /probe\n  params: {{module: [web]}}\n  \
         static_configs: [{{targets: ['{}', 'no target'], labels: {{team: shop}}}}]\n",
        web.url("/")
    );
    std::fs::write(stage.path("prometheus.yml"), jobs).unwrap();
    let files = [stage.text("blackbox.yml"), stage.text("prometheus.yml")];
    let (end, section, told) = run("veilleur-agent", ["import", "blackbox", &files[0], &files[1]]);
    assert_eq!(end, End::Exit(0), "{told}");
    assert!(
        told.contains("prometheus.yml:5: `no target` of the job `web` is not converted"),
        "{told}"
    );
    stage.configure(&format!("host: {{enabled: false}}\n{section}"));
    let agent = stage.start();
    let probe = |target: &str| agent.get(&format!("/probe?module=web&target={}", escaped(target)));
    let (status, text) = probe(&web.url("/"));
    assert!(status == 200 && text.contains("\nprobe_success 1\n"), "{text}");
    assert_eq!(probe("http://127.0.0.1:1/").0, 403);
    assert!(agent.get("/discovery").1.contains("\"team\":\"shop\""));
}

/// What `docs/agent.md` says that differs: the names in the first column of its table.
fn documented() -> Vec<String> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agent.md")).unwrap();
    let rows = text.lines().skip_while(|line| *line != "| node_exporter | here |").skip(2);
    let cells = rows.map_while(|line| line.strip_prefix("| ")?.split(" |").next());
    let names =
        cells.flat_map(|cell| cell.split("`, `").map(|name| name.trim_matches('`').to_owned()));
    let names: Vec<_> = names.collect();
    assert!(names.len() > 5, "{names:?}");
    names
}

fn is_documented(documented: &[String], series: &str) -> bool {
    let name = series.split(['{', ' ']).next().unwrap();
    documented.iter().any(|known| match known.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => series == known || name == known,
    })
}

#[test]
fn nothing_differs_from_node_exporter_but_what_is_documented() {
    let Some(program) = peers::program("prometheus-node-exporter") else { return };
    let stage = Stage::with("checks: []");
    let agent = stage.start();
    let port = free_port();
    let _exporter = Program::start(
        program.to_str().unwrap(),
        [
            format!("--web.listen-address=127.0.0.1:{port}"),
            format!("--collector.filesystem.mount-points-exclude={MOUNT_POINTS}"),
        ],
    );
    let url = format!("http://127.0.0.1:{port}/metrics");
    wait_until("node_exporter answers", || get(&url).is_some());
    // Both know then what counts from the first scrape on.
    let (_, _) = (agent.metrics(), get(&url));
    let documented = documented();
    let lines = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.is_empty());
        let lines = lines.map(|line| match line.strip_prefix("# ") {
            Some(_) => line.to_owned(),
            None => line.rsplit_once(' ').unwrap().0.to_owned(),
        });
        lines
            .filter(|line| {
                let about = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
                let series = about.unwrap_or(line);
                !series.starts_with("veilleur_") && !is_documented(&documented, series)
            })
            .collect()
    };
    // What comes and goes on a busy machine, such as a mount of somebody else's, is there in one of
    // several looks; a difference is there in all of them.
    let mut last = String::new();
    let same = (0..5).any(|_| {
        let (ours, theirs) = (lines(&agent.metrics()), lines(&get(&url).unwrap().1));
        let missing: Vec<_> = theirs.difference(&ours).collect();
        let more: Vec<_> = ours.difference(&theirs).collect();
        last = format!("missing: {missing:#?}\nmore: {more:#?}");
        assert!(ours.len() > 500, "{ours:#?}");
        missing.is_empty() && more.is_empty()
    });
    assert!(same, "{last}");
}
