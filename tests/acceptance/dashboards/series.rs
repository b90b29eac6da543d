//! The series that our programs show, and six hours of samples for them.
//!
//! Invariant: names and labels are those that the programs gave; only the past is made up.

use std::collections::BTreeSet;
use std::time::Duration;

use base::labels::Labels;
use base::sample::Timestamp;
use serde_json::Value;
use storage::{Options, Point, Storage};
use tests::http_server::HttpServer;
use tests::program::{Program, free_port};
use tests::{escaped, get, wait_until, write_program};

/// A script that finds something of every unit and every status.
const PROBE: &str = "#!/bin/bash\n\
    echo 'something | time=0.5s;1;2 size=10B used=5%;80;90 orders=3 hits=7c'\nexit $1\n";

/// How far back samples go: as far as the longest range of a panel.
const PAST: Duration = Duration::from_secs(6 * 3600);
const STEP: Duration = Duration::from_secs(30);

/// All series of an evaluator that scrapes an agent and itself, with their values.
pub(crate) struct Seen {
    series: Vec<(Labels, f64)>,
    /// What node_exporter shows on one machine or another; nothing where nobody says.
    known: BTreeSet<String>,
}

impl Seen {
    /// Starts both programs and asks the evaluator for all that it has.
    pub(crate) fn gather() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (agent, evaluator, chat) = (free_port(), free_port(), HttpServer::sink());
        write_program(&path("probe.sh"), PROBE);
        let check = |status: u8| {
            format!(
                "- {{name: check{status}, interval: 1s, retries: 0, probe: {{script: \
                 {{command: [{}, '{status}']}}}}}}\n",
                path("probe.sh").display()
            )
        };
        let checks: String = (0..4).map(check).collect();
        let agent_config = format!(
            "listen: 127.0.0.1:{agent}\nchecks:\n{checks}services:\n  shop: {{needs: [check0, check2]}}\n"
        );
        std::fs::write(path("agent.yml"), agent_config).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             scrape_configs:\n- job_name: agents\n  static_configs: [{{targets: ['127.0.0.1:{agent}']}}]\n\
             - job_name: veilleur\n  static_configs: [{{targets: ['127.0.0.1:{evaluator}']}}]\n\
             - job_name: away\n  static_configs: [{{targets: ['127.0.0.1:1']}}]\n\
             route: {{receiver: ops, group_wait: 0s, group_interval: 1s}}\n\
             receivers:\n- name: ops\n  webhook_configs: [{{url: '{}'}}]\n",
            chat.url("/hook")
        );
        std::fs::write(path("veilleur.yml"), config).unwrap();
        let file = |name: &str| path(name).display().to_string();
        let agent = Program::start("veilleur-agent", ["--config", &file("agent.yml")]);
        let listen = format!("127.0.0.1:{evaluator}");
        let (config, data) = (file("veilleur.yml"), file("data"));
        let arguments = ["--config", &config, "--data", &data, "--listen", &listen];
        let program = Program::start("veilleur", arguments);
        let url = format!("http://{listen}/api/v1/query?query=");
        let ask = |query: &str| -> Vec<Value> {
            let body = get(&format!("{url}{}", escaped(query))).map_or(String::new(), |(_, b)| b);
            let answer: Value = serde_json::from_str(&body).unwrap_or_default();
            answer["data"]["result"].as_array().cloned().unwrap_or_default()
        };
        // What takes longest: checks that have all run, an alert of theirs, a message about it.
        for query in [
            "count(veilleur_check_status) == 4",
            "veilleur_service_up",
            "ALERTS{alertstate='firing'}",
            "veilleur_notifications_total{result='delivered'} > 0",
        ] {
            wait_until(&format!("the evaluator sees {query}"), || !ask(query).is_empty());
        }
        let series = ask("{__name__=~'.+'}").iter().map(read).collect();
        drop((program, agent));
        Self { series, known: known() }
    }

    /// Whether a metric need not be among them: of a host, and this machine has no such thing.
    pub(crate) fn may_lack(&self, name: &str) -> bool {
        name.starts_with("node_")
            && (self.known.is_empty() || self.known.contains(name))
            && self.series.iter().all(|(labels, _)| labels.metric_name() != name)
    }
}

fn read(result: &Value) -> (Labels, f64) {
    let labels = result["metric"].as_object().unwrap();
    let labels = labels.iter().map(|(name, value)| (name, value.as_str().unwrap()));
    (Labels::from_pairs(labels), result["value"][1].as_str().unwrap().parse().unwrap())
}

/// Names from the conformance data, where they are there.
fn known() -> BTreeSet<String> {
    let file = tests::peers::conformance("node/metrics.tsv");
    let text = file.map_or_else(String::new, |file| std::fs::read_to_string(file).unwrap());
    text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
}

/// A storage with the past of all series, and where it ends: gauges stay as they are, what counts
/// rises.
pub(crate) fn filled(seen: &Seen) -> (Storage, Timestamp) {
    let storage = Storage::in_memory(Options::default());
    let begin = Timestamp::from_millis(1_800_000_000_000);
    let steps = PAST.as_secs() / STEP.as_secs();
    let counts = |labels: &Labels| {
        let name = labels.metric_name();
        ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end))
    };
    let all: Vec<_> = seen
        .series
        .iter()
        .map(|(labels, value)| {
            // Of a histogram's buckets the larger ones rise faster, so that they stay the larger.
            let rise = if counts(labels) { (value + 1.0) / 100.0 } else { 0.0 };
            (storage.series(labels).unwrap(), *value, rise)
        })
        .collect();
    for n in 0..=steps {
        let timestamp = begin + Duration::from_secs(n * STEP.as_secs());
        let points: Vec<_> = all
            .iter()
            .map(|&(series, value, rise)| Point {
                series,
                timestamp,
                value: value + rise * n as f64,
            })
            .collect();
        assert_eq!(storage.append(&points).unwrap().stored, points.len());
    }
    (storage, begin + PAST)
}
