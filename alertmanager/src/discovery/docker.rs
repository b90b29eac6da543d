//! `docker_sd_configs`: the containers of a Docker engine, over its socket or over TCP.
//!
//! Source: the API of the Docker engine, and Prometheus's list of labels.
//!
//! Invariant: containers and networks are of one look; a container without an address has no target.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpAccess;
use base::http::client::{Origin, Phases};
use base::http::fetch::{Answer, whole};
use base::http::{HeaderMap, Uri, percent_encoded};
use base::labels::LabelsBuilder;
use base::period::Period;
use base::sample::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Discovered;
use super::http::{check_url, refresh};
use super::source::{Discovery, Made};
use super::web::{self, MAX_ANSWER, PATIENCE, host_port, label_name};

client_settings! {
    /// A Docker engine, as written.
    pub struct DockerSdConfig {
        /// `unix:///var/run/docker.sock`, `tcp://host:2375`, `http://...` or `https://...`.
        pub host: Spanned<String>,
        /// The port of containers that show none; by default 80.
        #[serde(default)]
        pub port: Option<u16>,
        /// Which containers; all where nothing is said.
        #[serde(default)]
        pub filters: Vec<Filter>,
        /// The host of containers that share its network; by default `localhost`.
        #[serde(default)]
        pub host_networking_host: Option<String>,
        /// Whether a container has one target for its first network, which is what happens where
        /// nothing is said, or one for each.
        #[serde(default)]
        pub match_first_network: Option<bool>,
        /// How often the engine is asked; by default every minute.
        #[serde(default)]
        pub refresh_interval: Option<Spanned<Period>>,
    }
}

/// What is asked for, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// What it is about.
    pub name: String,
    /// The values, of which one must fit.
    pub values: Vec<String>,
}

/// Where the engine is.
#[derive(Clone)]
enum Way {
    Socket(PathBuf),
    Url(String),
}

impl DockerSdConfig {
    pub(super) fn build(
        &self,
        place: Place,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Made> {
        let access = self.http(folder).build_following(place, diagnostics);
        let way = match self.host.value.split_once("://") {
            Some(("unix", path)) => Way::Socket(PathBuf::from(path)),
            Some(("tcp", host)) => {
                let scheme = if self.tls_config.is_some() { "https" } else { "http" };
                Way::Url(format!("{scheme}://{}", host.trim_end_matches('/')))
            }
            _ => {
                check_url(&self.host, diagnostics)?;
                Way::Url(self.host.value.trim_end_matches('/').to_owned())
            }
        };
        let every = refresh(self.refresh_interval, Period::from_secs(60), diagnostics);
        let mut filters: BTreeMap<&str, &[String]> = BTreeMap::new();
        filters.extend(self.filters.iter().map(|f| (f.name.as_str(), f.values.as_slice())));
        let filters = serde_json::to_string(&filters).unwrap_or_default();
        let sd = DockerSd { way, access: access?, filters, config: self.clone() };
        let make = Arc::new(move || Box::new(sd.clone()) as Box<dyn Discovery>);
        Some(Made { pause: every.duration(), patience: PATIENCE * 2, make })
    }
}

#[derive(Clone)]
struct DockerSd {
    way: Way,
    access: HttpAccess,
    filters: String,
    config: DockerSdConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    ports: Vec<Port>,
    #[serde(default)]
    host_config: HostConfig,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Endpoint>>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "NetworkID")]
    id: String,
    #[serde(rename = "IPAddress")]
    address: String,
}

#[derive(Deserialize)]
struct Port {
    #[serde(rename = "IP", default)]
    address: String,
    #[serde(rename = "PrivatePort")]
    private: u16,
    #[serde(rename = "PublicPort", default)]
    public: u16,
    #[serde(rename = "Type", default)]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    name: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    ingress: bool,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[async_trait]
impl Discovery for DockerSd {
    async fn next(&mut self, _now: Timestamp) -> Result<Vec<Discovered>, String> {
        let networks: Vec<Network> = self.ask("/networks").await?;
        let networks: HashMap<_, _> = networks.into_iter().map(|n| (n.id.clone(), n)).collect();
        let path = format!("/containers/json?filters={}", percent_encoded(&self.filters));
        let containers: Vec<Container> = self.ask(&path).await?;
        let by_id: HashMap<&str, &Container> =
            containers.iter().map(|container| (container.id.as_str(), container)).collect();
        let mut found = Vec::new();
        for container in &containers {
            // One that shares the network of another has that one's addresses.
            let shared = container.host_config.network_mode.strip_prefix("container:");
            let owner = shared.and_then(|id| by_id.get(id)).map_or(container, |owner| owner);
            self.targets(container, owner, &networks, &mut found);
        }
        Ok(found)
    }
}

impl DockerSd {
    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let answer = match &self.way {
            Way::Url(url) => {
                web::get(&self.access, &format!("{url}{path}"), HeaderMap::new(), PATIENCE).await?
            }
            Way::Socket(socket) => match timeout(PATIENCE, self.over(socket, path)).await {
                Ok(answer) => answer?,
                Err(_) => return Err(format!("no complete answer within {PATIENCE:?}")),
            },
        };
        web::json(&answer).map_err(|error| format!("{path}: {error}"))
    }

    /// The answer that comes over a socket of this host.
    async fn over(&self, socket: &Path, path: &str) -> Result<Answer, String> {
        let shown = socket.display();
        let stream = UnixStream::connect(socket).await;
        let stream = stream.map_err(|error| format!("cannot connect to {shown}: {error}"))?;
        let mut request = web::request(&format!("http://docker{path}"), HeaderMap::new())?;
        self.access.identify(request.headers_mut())?;
        let uri: Uri = request.uri().clone();
        let origin = Origin::of(&uri).map_err(|error| error.to_string())?;
        let mut phases = Phases::default();
        let connection = self.access.client.speak_over(stream, None, &origin, &mut phases).await;
        let mut connection = connection.map_err(|error| error.to_string())?;
        let answer = connection.send(request, &mut phases).await.map_err(|e| e.to_string())?;
        whole(&mut connection, answer, MAX_ANSWER).await
    }

    fn targets(
        &self,
        container: &Container,
        owner: &Container,
        networks: &HashMap<String, Network>,
        found: &mut Vec<Discovered>,
    ) {
        let mode = owner.host_config.network_mode.as_str();
        let mut common = LabelsBuilder::default();
        common.set("__meta_docker_container_id", &container.id);
        let name = container.names.first().map_or("", String::as_str);
        common.set("__meta_docker_container_name", name);
        common.set("__meta_docker_container_network_mode", &container.host_config.network_mode);
        for (name, value) in &container.labels {
            common.set(&format!("__meta_docker_container_label_{}", label_name(name)), value);
        }
        let attached: Vec<(&String, &Endpoint)> =
            owner.network_settings.networks.iter().flatten().collect();
        let first = attached.iter().find(|(name, _)| *name == mode).or(attached.first()).copied();
        let chosen = match self.config.match_first_network {
            Some(false) => attached,
            _ => first.into_iter().collect(),
        };
        for (_, endpoint) in chosen {
            let mut labels = common.clone();
            labels.set("__meta_docker_network_ip", &endpoint.address);
            if let Some(network) = networks.get(&endpoint.id) {
                labels.set("__meta_docker_network_id", &network.id);
                labels.set("__meta_docker_network_name", &network.name);
                labels.set("__meta_docker_network_internal", &network.internal.to_string());
                labels.set("__meta_docker_network_ingress", &network.ingress.to_string());
                labels.set("__meta_docker_network_scope", &network.scope);
                for (name, value) in network.labels.iter().flatten() {
                    labels.set(&format!("__meta_docker_network_label_{}", label_name(name)), value);
                }
            }
            let mut shown = owner.ports.iter().filter(|port| port.kind == "tcp").peekable();
            if shown.peek().is_none() {
                let address = match mode {
                    "host" => {
                        let host = self.config.host_networking_host.as_deref();
                        host.unwrap_or("localhost").to_owned()
                    }
                    _ if endpoint.address.is_empty() => continue,
                    _ => host_port(&endpoint.address, self.config.port.unwrap_or(80)),
                };
                found.push(labels.set("__address__", &address).build());
                continue;
            }
            for port in shown {
                let mut labels = labels.clone();
                labels.set("__meta_docker_port_private", &port.private.to_string());
                if port.public > 0 {
                    labels.set("__meta_docker_port_public", &port.public.to_string());
                    labels.set("__meta_docker_port_public_ip", &port.address);
                }
                let address = host_port(&endpoint.address, port.private);
                found.push(labels.set("__address__", &address).build());
            }
        }
    }
}
