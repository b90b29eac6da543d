//! What is told of each kind of probe, and of what stands in place of one, beside its settings: what
//! it measures, what its outcomes can have as a reason, and an example.
//!
//! A kind's page is a file of its own in `manual/`; the settings are told by the structs that read
//! them.
//!
//! Invariant: every kind has a page, and an example in it that is right; a test of the agent tries
//! them all. What a probe tells in a test is on its page ([`Manual::leaves_out`]).

use std::collections::BTreeMap;

use base::diagnostic::Diagnostics;
use base::yaml;
use serde::Deserialize;

use crate::{Outcome, Reason};

/// The pages, by the name of the kind.
const PAGES: &[(&str, &str)] = &[
    ("amqp", include_str!("manual/amqp.yml")),
    ("certificate", include_str!("manual/certificate.yml")),
    ("dns", include_str!("manual/dns.yml")),
    ("file", include_str!("manual/file.yml")),
    ("grpc", include_str!("manual/grpc.yml")),
    ("health", include_str!("manual/health.yml")),
    ("heartbeat", include_str!("manual/heartbeat.yml")),
    ("http", include_str!("manual/http.yml")),
    ("icmp", include_str!("manual/icmp.yml")),
    ("imap", include_str!("manual/imap.yml")),
    ("journal", include_str!("manual/journal.yml")),
    ("ldap", include_str!("manual/ldap.yml")),
    ("log", include_str!("manual/log.yml")),
    ("mongodb", include_str!("manual/mongodb.yml")),
    ("mqtt", include_str!("manual/mqtt.yml")),
    ("mysql", include_str!("manual/mysql.yml")),
    ("nats", include_str!("manual/nats.yml")),
    ("ntp", include_str!("manual/ntp.yml")),
    ("pop3", include_str!("manual/pop3.yml")),
    ("port", include_str!("manual/port.yml")),
    ("postgres", include_str!("manual/postgres.yml")),
    ("process", include_str!("manual/process.yml")),
    ("prometheus", include_str!("manual/prometheus.yml")),
    ("push", include_str!("manual/push.yml")),
    ("redis", include_str!("manual/redis.yml")),
    ("script", include_str!("manual/script.yml")),
    ("smtp", include_str!("manual/smtp.yml")),
    ("snmp", include_str!("manual/snmp.yml")),
    ("ssh", include_str!("manual/ssh.yml")),
    ("systemd", include_str!("manual/systemd.yml")),
    ("tcp", include_str!("manual/tcp.yml")),
    ("tls", include_str!("manual/tls.yml")),
    ("websocket", include_str!("manual/websocket.yml")),
];

/// What is told of a kind.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manual {
    /// What can have thresholds, by name, with its unit.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// The parts of a run whose time is told.
    #[serde(default)]
    pub phases: Vec<String>,
    /// The metrics, by name, beside those of every check.
    #[serde(default)]
    pub metrics: BTreeMap<String, String>,
    /// What an outcome that is not ok can have as its reason, as labels.
    pub reasons: Vec<String>,
    /// An entry under `checks:`, as it stands behind `---`.
    #[serde(skip)]
    pub example: String,
}

impl Manual {
    /// What an outcome has that is not told: names of metrics, its reason.
    pub fn leaves_out(&self, outcome: &Outcome) -> Vec<String> {
        let names = outcome.families.iter().map(|family| family.name.clone());
        let mut left: Vec<_> = names.filter(|name| !self.metrics.contains_key(name)).collect();
        let reason = outcome.reason.as_str();
        if outcome.reason != Reason::None && !self.reasons.iter().any(|told| told == reason) {
            left.push(reason.to_owned());
        }
        left
    }
}

/// The page of a kind.
///
/// # Errors
///
/// What is wrong with the page, or that there is none: a fault of ours.
pub fn manual(kind: &str) -> Result<Manual, Diagnostics> {
    let mut diagnostics = Diagnostics::new(&format!("probes/src/manual/{kind}.yml"));
    let Some((_, text)) = PAGES.iter().find(|(name, _)| *name == kind) else {
        diagnostics.report_file("is missing; write it, and name it in `PAGES`");
        return Err(diagnostics);
    };
    // Apart, because what is written there is not ours to expand.
    let (told, example) = text.split_once("\n---\n").unwrap_or((text, ""));
    match yaml::read::<Manual>(told, &mut diagnostics) {
        Some(manual) => diagnostics.into_result(Manual { example: example.to_owned(), ..manual }),
        None => Err(diagnostics),
    }
}
