//! `dns_sd_configs`: the records of names.
//!
//! Source: Prometheus's documentation of DNS-based service discovery.
//!
//! Invariant: a name that does not exist has no targets; one that nobody answers for keeps those that
//! it had.

mod resolver;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::labels::LabelsBuilder;
use base::period::Period;
use base::sample::Timestamp;
use serde::Deserialize;

use super::Discovered;
use super::http::refresh;
use super::source::{Discovery, Made};
use super::web::{PATIENCE, host_port};
use resolver::{Record, Resolver};

/// Names whose records are targets, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnsSdConfig {
    /// The names.
    pub names: Vec<Spanned<String>>,
    /// `SRV`, by default, or `A`, `AAAA`, `MX`, `NS`.
    #[serde(rename = "type")]
    pub kind: Option<Spanned<String>>,
    /// The port, for all but `SRV`.
    pub port: Option<u16>,
    /// How often the names are looked up; by default every 30 s.
    pub refresh_interval: Option<Spanned<Period>>,
}

/// Where the system says which servers are asked.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Types of records by name.
const KINDS: [(&str, u16); 5] = [("A", 1), ("NS", 2), ("MX", 15), ("AAAA", 28), ("SRV", 33)];

impl DnsSdConfig {
    pub(super) fn build(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<Made> {
        if self.names.is_empty() {
            diagnostics.report(place, "`names` of `dns_sd_configs` is empty");
        }
        let written = self.kind.as_ref().map_or("SRV", |kind| kind.value.as_str());
        let known = KINDS.iter().find(|(name, _)| written.eq_ignore_ascii_case(name));
        let Some(&(name, kind)) = known else {
            let at = self.kind.as_ref().map_or(place, Place::from);
            let message = format!("`{written}` is no type of records that targets are made of");
            diagnostics.report_with_help(at, message, "known: `SRV`, `A`, `AAAA`, `MX`, `NS`");
            return None;
        };
        if name != "SRV" && self.port.is_none() {
            diagnostics
                .report(place, format!("a port is required: `port` for records of type {name}"));
        }
        let every = refresh(self.refresh_interval, Period::from_secs(30), diagnostics);
        let names = self.names.iter().map(|name| name.value.clone()).collect();
        let sd = DnsSd { names, kind, port: self.port.unwrap_or(0), resolver: None };
        let make = Arc::new(move || Box::new(sd.clone()) as Box<dyn Discovery>);
        let patience = PATIENCE * u32::try_from(self.names.len().clamp(1, 10)).unwrap_or(1);
        Some(Made { pause: every.duration(), patience, make })
    }
}

#[derive(Clone)]
struct DnsSd {
    names: Vec<String>,
    kind: u16,
    port: u16,
    /// Who is asked, where it is not whom the system names.
    resolver: Option<Resolver>,
}

#[async_trait]
impl Discovery for DnsSd {
    async fn next(&mut self, _now: Timestamp) -> Result<Vec<Discovered>, String> {
        let resolver = match &self.resolver {
            Some(resolver) => resolver.clone(),
            None => Resolver::read(Path::new(RESOLV_CONF))?,
        };
        let mut found = Vec::new();
        for name in &self.names {
            let records = resolver.look_up(name, self.kind).await;
            let records = records.map_err(|error| format!("{name}: {error}"))?;
            found.extend(records.iter().map(|record| self.target(name, record)));
        }
        Ok(found)
    }
}

impl DnsSd {
    fn target(&self, name: &str, record: &Record) -> Discovered {
        let mut labels = LabelsBuilder::default();
        labels.set("__meta_dns_name", name);
        let (host, port) = match record {
            Record::Address(address) => (address.to_string(), self.port),
            Record::Server { target, port } => {
                labels.set("__meta_dns_srv_record_target", target);
                labels.set("__meta_dns_srv_record_port", &port.to_string());
                (target.trim_end_matches('.').to_owned(), *port)
            }
            Record::Mail(target) => {
                labels.set("__meta_dns_mx_record_target", target);
                (target.trim_end_matches('.').to_owned(), self.port)
            }
            Record::NameServer(target) => {
                labels.set("__meta_dns_ns_record_target", target);
                (target.trim_end_matches('.').to_owned(), self.port)
            }
        };
        labels.set("__address__", &host_port(&host, port)).build()
    }
}

#[cfg(test)]
mod tests;
