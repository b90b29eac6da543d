//! `consul_sd_configs`: the instances of services in Consul's catalogue.
//!
//! The catalogue is asked with a blocking query, so that a change is seen at once; checks are looked
//! at each time, at the refresh interval at the latest.
//!
//! Source: Consul's HTTP API, and Prometheus's list of labels.
//!
//! Invariant: a list is that of all services at one time, or none.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpAccess;
use base::http::{HeaderMap, percent_encoded};
use base::labels::LabelsBuilder;
use base::period::Period;
use base::sample::Timestamp;
use base::secret::Secret;
use serde::Deserialize;

use super::Discovered;
use super::http::{check_url, refresh};
use super::source::{Discovery, Made};
use super::web::{self, PATIENCE, host_port, label_name};

client_settings! {
    /// Consul, as written.
    pub struct ConsulSdConfig {
        /// Where it is, by default `localhost:8500`.
        #[serde(default)]
        pub server: Option<Spanned<String>>,
        /// Stands before every path.
        #[serde(default)]
        pub path_prefix: Option<String>,
        /// A token.
        #[serde(default)]
        pub token: Option<Secret>,
        /// The data centre; by default that of the server.
        #[serde(default)]
        pub datacenter: Option<String>,
        /// The namespace.
        #[serde(default)]
        pub namespace: Option<String>,
        /// The partition.
        #[serde(default)]
        pub partition: Option<String>,
        /// What stands between and around tags in a label; by default a comma.
        #[serde(default)]
        pub tag_separator: Option<String>,
        /// `http` or `https`.
        #[serde(default)]
        pub scheme: Option<Spanned<String>>,
        /// The older form of `basic_auth`.
        #[serde(default)]
        pub username: Option<String>,
        /// The older form of `basic_auth`.
        #[serde(default)]
        pub password: Option<Secret>,
        /// Whether any server may answer; by default it may.
        #[serde(default)]
        pub allow_stale: Option<bool>,
        /// How often checks are looked at; by default every 30 s.
        #[serde(default)]
        pub refresh_interval: Option<Spanned<Period>>,
        /// The services; all where none is named.
        #[serde(default)]
        pub services: Vec<String>,
        /// The tags that a service must have.
        #[serde(default)]
        pub tags: Vec<String>,
        /// What the node must have.
        #[serde(default)]
        pub node_meta: BTreeMap<String, String>,
        /// An expression over the catalogue.
        #[serde(default)]
        pub filter: Option<String>,
        /// An expression over instances with their checks.
        #[serde(default)]
        pub health_filter: Option<String>,
    }
}

impl ConsulSdConfig {
    pub(super) fn build(
        &self,
        place: Place,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Made> {
        let mut http = self.http(folder);
        if let Some(username) = &self.username {
            if http.basic_auth.is_some() {
                diagnostics.report(place, "only one of `username` and `basic_auth` can be given");
            }
            let value = base::http::access::BasicAuthConfig {
                username: username.clone(),
                password: self.password.clone(),
                ..Default::default()
            };
            http.basic_auth = Some(Spanned { value, place });
        }
        if let (Some(_), Some(authorization)) = (&self.token, &http.authorization) {
            let message = "only one of `token` and `authorization` can be given";
            diagnostics.report(authorization, message);
        }
        let access = http.build_following(place, diagnostics);
        let server = self.server.clone();
        let server = server.unwrap_or(Spanned { value: "localhost:8500".to_owned(), place });
        let scheme = self.scheme.as_ref().map_or("http", |scheme| scheme.value.as_str());
        let url = server.map(|server| match server.contains("://") {
            true => server,
            false => format!("{scheme}://{server}"),
        });
        check_url(&url, diagnostics)?;
        let prefix = self.path_prefix.as_deref().unwrap_or("").trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        let base = format!("{}{slash}{prefix}", url.value.trim_end_matches('/'));
        let every = refresh(self.refresh_interval, Period::from_secs(30), diagnostics);
        let sd = ConsulSd {
            base,
            access: access?,
            config: self.clone(),
            every: every.duration(),
            datacenter: self.datacenter.clone(),
            index: None,
        };
        let make = Arc::new(move || Box::new(sd.clone()) as Box<dyn Discovery>);
        // A blocking query waits for the interval, and then every service is asked.
        let patience = every.duration() * 2 + PATIENCE * 2;
        Some(Made { pause: Duration::from_secs(1), patience, make })
    }
}

#[derive(Clone)]
struct ConsulSd {
    base: String,
    access: HttpAccess,
    config: ConsulSdConfig,
    every: Duration,
    datacenter: Option<String>,
    /// The state of the catalogue that is known.
    index: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Agent {
    config: AgentConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentConfig {
    datacenter: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    address: String,
    #[serde(default)]
    datacenter: String,
    #[serde(default)]
    tagged_addresses: Option<BTreeMap<String, String>>,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    service: String,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    address: String,
    port: u32,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    partition: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID", default)]
    id: String,
    status: String,
}

#[async_trait]
impl Discovery for ConsulSd {
    async fn next(&mut self, _now: Timestamp) -> Result<Vec<Discovered>, String> {
        if self.datacenter.is_none() {
            let (agent, _): (Agent, _) = self.ask("/v1/agent/self", &[], PATIENCE).await?;
            self.datacenter = Some(agent.config.datacenter);
        }
        let mut further = self.parameters();
        if let Some(index) = self.index {
            further.push(("index", index.to_string()));
            further.push(("wait", format!("{}ms", self.every.as_millis())));
        }
        further.extend(self.config.filter.iter().map(|filter| ("filter", filter.clone())));
        // Consul adds up to a sixteenth to what it was told to wait.
        let within = self.every + self.every / 8 + PATIENCE;
        let (services, index): (BTreeMap<String, Vec<String>>, u64) =
            self.ask("/v1/catalog/services", &further, within).await?;
        let mut found = Vec::new();
        for (service, tags) in services {
            let is_named =
                self.config.services.is_empty() || self.config.services.contains(&service);
            if is_named && self.config.tags.iter().all(|tag| tags.contains(tag)) {
                let mut further = self.parameters();
                further.extend(self.config.tags.iter().map(|tag| ("tag", tag.clone())));
                let filter = self.config.health_filter.iter();
                further.extend(filter.map(|filter| ("filter", filter.clone())));
                let path = format!("/v1/health/service/{}", percent_encoded(&service));
                let (instances, _): (Vec<Instance>, _) =
                    self.ask(&path, &further, PATIENCE).await?;
                found.extend(instances.iter().map(|instance| self.target(instance)));
            }
        }
        // One that went back is that of another server: begin anew.
        self.index = Some(index).filter(|index| self.index.is_none_or(|before| *index >= before));
        Ok(found)
    }
}

impl ConsulSd {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = Vec::new();
        if self.config.allow_stale != Some(false) {
            parameters.push(("stale", String::new()));
        }
        for (name, value) in [
            ("dc", &self.datacenter),
            ("ns", &self.config.namespace),
            ("partition", &self.config.partition),
        ] {
            parameters.extend(value.iter().map(|value| (name, value.clone())));
        }
        let meta = self.config.node_meta.iter();
        parameters.extend(meta.map(|(name, value)| ("node-meta", format!("{name}:{value}"))));
        parameters
    }

    /// The answer at `path`, and the state of what was asked for.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&'static str, String)],
        within: Duration,
    ) -> Result<(T, u64), String> {
        let mut url = format!("{}{path}", self.base);
        for (n, (name, value)) in parameters.iter().enumerate() {
            url.push(if n == 0 { '?' } else { '&' });
            url.push_str(&format!("{name}={}", percent_encoded(value)));
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.config.token {
            let value = token.expose().parse();
            let mut value: base::http::header::HeaderValue =
                value.map_err(|_| "`token` cannot stand in a header".to_owned())?;
            value.set_sensitive(true);
            headers.insert("x-consul-token", value);
        }
        let answer = web::get(&self.access, &url, headers, within).await?;
        let index = answer.headers.get("x-consul-index").and_then(|index| index.to_str().ok());
        let index = index.and_then(|index| index.parse().ok()).unwrap_or(0);
        Ok((web::json(&answer).map_err(|error| format!("{path}: {error}"))?, index))
    }

    fn target(&self, instance: &Instance) -> Discovered {
        let Instance { node, service, checks } = instance;
        let separator = self.config.tag_separator.as_deref().unwrap_or(",");
        let tags = service.tags.iter().flatten().fold(String::new(), |tags, tag| {
            let start = if tags.is_empty() { separator } else { "" };
            format!("{tags}{start}{tag}{separator}")
        });
        let host = if service.address.is_empty() { &node.address } else { &service.address };
        let mut labels = LabelsBuilder::default();
        labels
            .set("__address__", &host_port(host, service.port))
            .set("__meta_consul_address", &node.address)
            .set("__meta_consul_node", &node.node)
            .set("__meta_consul_dc", &node.datacenter)
            .set("__meta_consul_health", health(checks))
            .set("__meta_consul_namespace", &service.namespace)
            .set("__meta_consul_partition", &service.partition)
            .set("__meta_consul_tags", &tags)
            .set("__meta_consul_service", &service.service)
            .set("__meta_consul_service_address", &service.address)
            .set("__meta_consul_service_port", &service.port.to_string())
            .set("__meta_consul_service_id", &service.id);
        for (prefix, pairs) in [
            ("__meta_consul_metadata_", &node.meta),
            ("__meta_consul_service_metadata_", &service.meta),
            ("__meta_consul_tagged_address_", &node.tagged_addresses),
        ] {
            for (name, value) in pairs.iter().flatten() {
                labels.set(&format!("{prefix}{}", label_name(name)), value);
            }
        }
        labels.build()
    }
}

/// The worst of an instance's checks; one under maintenance is just that.
fn health(checks: &[Check]) -> &'static str {
    let maintained = |check: &&Check| {
        check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:")
    };
    if checks.iter().any(|check| maintained(&check)) {
        return "maintenance";
    }
    let known = ["critical", "warning", "passing"];
    let is = |status: &&str| checks.iter().any(|check| check.status == *status);
    known.into_iter().find(|status| is(status)).unwrap_or("passing")
}
