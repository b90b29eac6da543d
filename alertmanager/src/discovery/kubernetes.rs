//! `kubernetes_sd_configs`: pods, services, endpoints, nodes and ingresses of a cluster.
//!
//! ```text
//! list ─▶ objects ◀── watch: one connection for each kind and namespace
//!            └─▶ targets, made anew of all objects after every change
//! ```
//!
//! Source: the API of Kubernetes, and Prometheus's list of labels.
//!
//! Invariant: a list is made of objects that were listed whole; a watch that ends goes on where it
//! was, or lists anew.

mod kubeconfig;
mod collection;
mod objects;
mod targets;
mod backends;

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{AuthorizationConfig, HttpAccess, HttpConfig};
use base::http::tls::TlsConfig;
use base::sample::Timestamp;
use serde::Deserialize;
use tokio::time::timeout;

use super::Discovered;
use super::http::check_url;
use super::source::{Discovery, Made};
use super::web::PATIENCE;
use collection::Collection;
use objects::Objects;
pub(super) use targets::Role;

/// Where a pod finds who it is.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// A watch that is quiet for so long is as good as an answer.
const QUIET: Duration = Duration::from_secs(30);
/// Events that are taken before targets are made of them.
const MAX_EVENTS: usize = 10_000;

client_settings! {
    /// A cluster, as written.
    pub struct KubernetesSdConfig {
        /// What becomes targets: `pod`, `service`, `endpoints`, `endpointslice`, `node`, `ingress`.
        pub role: Spanned<String>,
        /// Where the cluster is; where nothing is said, the one that we run in.
        #[serde(default)]
        pub api_server: Option<Spanned<String>>,
        /// A file that says where the cluster is and who we are.
        #[serde(default)]
        pub kubeconfig_file: Option<Spanned<PathBuf>>,
        /// The namespaces; all where nothing is said.
        #[serde(default)]
        pub namespaces: NamespacesConfig,
        /// Which objects; all where nothing is said.
        #[serde(default)]
        pub selectors: Vec<Spanned<SelectorConfig>>,
        /// What is added to targets.
        #[serde(default)]
        pub attach_metadata: AttachConfig,
    }
}

/// Namespaces, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespacesConfig {
    /// Whether the namespace that we run in is one of them.
    pub own_namespace: bool,
    /// Their names.
    pub names: Vec<String>,
}

/// Which objects of a kind, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectorConfig {
    /// The kind, as a role.
    pub role: String,
    /// By labels.
    pub label: Option<String>,
    /// By fields.
    pub field: Option<String>,
}

/// What is added to targets, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttachConfig {
    /// Labels and annotations of the node.
    pub node: bool,
    /// Labels and annotations of the namespace.
    pub namespace: bool,
}

impl KubernetesSdConfig {
    pub(super) fn build(
        &self,
        place: Place,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Made> {
        let Some(role) = Role::read(&self.role.value) else {
            let message = format!("`{}` is no role that is known", self.role.value);
            let help = "known: `pod`, `service`, `endpoints`, `endpointslice`, `node`, `ingress`";
            diagnostics.report_with_help(&self.role, message, help);
            return None;
        };
        for selector in &self.selectors {
            let asked = Role::read(&selector.value.role).map(Role::kind);
            if !asked.is_some_and(|kind| role.kinds().contains(&kind)) {
                let message = format!(
                    "objects of `{}` are not asked for by the role `{}`",
                    selector.value.role, self.role.value
                );
                diagnostics.report(selector, message);
            }
        }
        let access = self.access(place, folder, diagnostics);
        let (base, access) = access?;
        let sd = Ready { config: Arc::new(self.clone()), role, base, access };
        let make = Arc::new(move || {
            Box::new(KubernetesSd { ready: sd.clone(), collections: Vec::new() })
                as Box<dyn Discovery>
        });
        Some(Made { pause: Duration::from_secs(1), patience: PATIENCE * 6, make })
    }

    /// Where the cluster is and who we are: as is written, as a file says, or as pods find it.
    fn access(
        &self,
        place: Place,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<(String, HttpAccess)> {
        let http = self.http(folder);
        if let (Some(server), Some(_)) = (&self.api_server, &self.kubeconfig_file) {
            let message = "only one of `api_server` and `kubeconfig_file` can be given";
            diagnostics.report(server, message);
        }
        if let Some(file) = &self.kubeconfig_file {
            let path = folder.join(&file.value);
            let (base, http) = kubeconfig::read(&path, file.place, diagnostics)?;
            return Some((base, http.build_following(file.place, diagnostics)?));
        }
        if let Some(server) = &self.api_server {
            check_url(server, diagnostics)?;
            let base = server.value.trim_end_matches('/').to_owned();
            return Some((base, http.build_following(place, diagnostics)?));
        }
        if http != HttpConfig::default() {
            let help = "write `api_server`, or leave out how it is spoken to";
            diagnostics.report_with_help(
                place,
                "how to speak is written, and to whom is not",
                help,
            );
            return None;
        }
        let at = |name: &str| base::yaml::variable(name);
        let (Some(host), Some(port)) =
            (at("KUBERNETES_SERVICE_HOST"), at("KUBERNETES_SERVICE_PORT"))
        else {
            let message = "there is no cluster around us: KUBERNETES_SERVICE_HOST is not set";
            diagnostics.report_with_help(place, message, "write `api_server` or `kubeconfig_file`");
            return None;
        };
        let tls =
            TlsConfig { ca_file: Some(Path::new(ACCOUNT).join("ca.crt")), ..Default::default() };
        let credentials_file = Some(Path::new(ACCOUNT).join("token"));
        let token = AuthorizationConfig { credentials_file, ..Default::default() };
        let http = HttpConfig {
            tls_config: Some(Spanned { value: tls, place }),
            authorization: Some(Spanned { value: token, place }),
            ..HttpConfig::default()
        };
        let base = format!("https://{}", super::web::host_port(&host, port));
        Some((base, http.build_following(place, diagnostics)?))
    }
}

/// What is asked, before it was.
#[derive(Clone)]
struct Ready {
    config: Arc<KubernetesSdConfig>,
    role: Role,
    base: String,
    access: HttpAccess,
}

struct KubernetesSd {
    ready: Ready,
    /// What is watched; nothing before the first look.
    collections: Vec<Collection>,
}

#[async_trait]
impl Discovery for KubernetesSd {
    async fn next(&mut self, _now: Timestamp) -> Result<Vec<Discovered>, String> {
        let Ready { access, .. } = &self.ready;
        if self.collections.is_empty() {
            let mut collections = self.ready.collections()?;
            for collection in &mut collections {
                collection.list(access).await?;
            }
            self.collections = collections;
        } else {
            if let Ok(event) = timeout(QUIET, any(&mut self.collections)).await {
                event?;
            }
            // What came at the same time belongs to the same list.
            for _ in 0..MAX_EVENTS {
                match timeout(Duration::ZERO, any(&mut self.collections)).await {
                    Ok(event) => event?,
                    Err(_) => break,
                }
            }
        }
        for collection in &mut self.collections {
            collection.watch(access).await?;
        }
        let objects = Objects::new(&self.collections);
        Ok(targets::all(self.ready.role, &objects, &self.ready.config.attach_metadata))
    }
}

impl Ready {
    fn collections(&self) -> Result<Vec<Collection>, String> {
        let mut namespaces: Vec<Option<String>> =
            self.config.namespaces.names.iter().cloned().map(Some).collect();
        if self.config.namespaces.own_namespace {
            let path = Path::new(ACCOUNT).join("namespace");
            let own = std::fs::read_to_string(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            namespaces.push(Some(own.trim().to_owned()));
        }
        if namespaces.is_empty() {
            namespaces.push(None);
        }
        let attach = &self.config.attach_metadata;
        let mut kinds = self.role.kinds().to_vec();
        for (wanted, kind) in [(attach.node, "nodes"), (attach.namespace, "namespaces")] {
            if wanted && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let mut collections = Vec::new();
        for kind in kinds {
            let selectors = self.config.selectors.iter().map(|selector| &selector.value);
            let selector = selectors
                .filter(|selector| Role::read(&selector.role).map(Role::kind) == Some(kind))
                .next_back();
            let of =
                |namespace: Option<&str>| Collection::new(&self.base, kind, namespace, selector);
            match kind {
                "nodes" | "namespaces" => collections.push(of(None)),
                _ => {
                    collections.extend(namespaces.iter().map(|namespace| of(namespace.as_deref())))
                }
            }
        }
        Ok(collections)
    }
}

/// Waits until something happens to one of `collections`.
async fn any(collections: &mut [Collection]) -> Result<(), String> {
    type Waiting<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;
    let mut waiting: Vec<Waiting<'_>> = Vec::new();
    for collection in collections {
        waiting.push(Box::pin(collection.event()));
    }
    poll_fn(|context| {
        for one in &mut waiting {
            if let Poll::Ready(event) = one.as_mut().poll(context) {
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    })
    .await
}
