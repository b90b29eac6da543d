//! What is served over HTTP: the query API of Prometheus, how we are, and a page for people.
//!
//! Invariant: nothing but `POST /-/reload`, pushed samples and alerts, drills, silences, acknowledgements,
//! windows of maintenance and, where it is allowed, deleting samples changes something, and a page of another site cannot make a browser ask for it (X30).

mod reply;
mod native;
mod query;
mod labels;
mod rules;
mod status;
mod server;
mod tree;
mod exemplars;
mod federate;
mod targets;
mod notifications;
mod write;
mod open_telemetry;
mod metadata;
mod admin;
mod read;
mod elsewhere;
mod promise;
mod v2;
mod silences;
mod maintenance;
mod intake;
mod drill;
mod explain;
mod health;
mod metrics;
mod page;
mod silence_page;
mod acknowledgements;
mod acknowledge_page;
mod routes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use base::clock::SteadyClock;
use base::http::server::{Limits, serve};
use base::http::web::Guard;
use base::labels::Labels;
use base::own_metrics::OwnMetrics;
use base::sample::Timestamp;
use base::supervisor::Supervisor;
use storage::Storage;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tower_service::Service;

use crate::agents::Agents;
use crate::alerts::Alerts;
use crate::config::ShownConfig;
use crate::disk::Disk;
use crate::dispatch::{self, AskDispatch};
use crate::escalation::Escalations;
use crate::hygiene::Hygiene;
use crate::ingest::Ingest;
use crate::intake::Intake;
use crate::mute::{InhibitRule, Mutes};
use crate::notify::LaneStates;
use crate::otlp;
use crate::outbox::Outbox;
use crate::pushed::Pushed;
use crate::remote_store::RemoteStore;
use crate::remote_write::RemoteStates;
use crate::rules::{QueryLimits, Rules};
use crate::safe_mode::SafeMode;
use crate::scrape::{Outputs, Targets};
// Times of requests are read as everywhere.
use crate::time;

pub use metrics::Gauges;
pub use query::answer_text;
pub use routes::{ROUTES, Route};

/// The most messages with samples that are taken in at a time; one more waits.
const WRITES: usize = 4;
/// How much longer than a query an answer to a request may take to make.
const BEYOND: Duration = Duration::from_secs(30);

/// What the API shows. Clones share it.
#[derive(Clone, Debug)]
pub struct Shown {
    parts: Arc<Parts>,
    /// Those of our own metrics that are looked up when asked for.
    pub gauges: Arc<Gauges>,
    queries: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

/// What there is to know of the configuration.
#[derive(Debug)]
pub struct ConfigState {
    /// When it was taken over.
    loaded: std::sync::Mutex<Option<Timestamp>>,
    fault: std::sync::Mutex<Option<String>>,
    routing: ArcSwap<Routing>,
    store: ArcSwapOption<RemoteStore>,
}

/// Who is told what, by the configuration.
#[derive(Clone, Debug)]
pub struct Routing {
    /// The tree.
    pub route: dispatch::Route,
    /// The names of the receivers.
    pub receivers: Vec<String>,
    /// The same in the order of the configuration, each with the labels that it has.
    pub receiver_labels: Vec<(String, Labels)>,
    /// The ways to each of them.
    pub lanes: dispatch::Lanes,
    /// Which alerts hold others back.
    pub inhibit_rules: Vec<InhibitRule>,
    /// Added to every alert of ours.
    pub external_labels: Labels,
    /// How long an alert lasts that is pushed without an end.
    pub resolve_timeout: Duration,
    /// The configuration, without secrets.
    pub shown: ShownConfig,
    /// How silences are kept in order.
    pub hygiene: Hygiene,
    /// How samples are made of what OpenTelemetry pushes.
    pub otlp: Arc<otlp::Options>,
}

impl Default for ConfigState {
    fn default() -> Self {
        let route = dispatch::Route::to("");
        let routing = Routing {
            route,
            receivers: Vec::new(),
            receiver_labels: Vec::new(),
            lanes: dispatch::Lanes::new(),
            inhibit_rules: Vec::new(),
            external_labels: Labels::empty(),
            resolve_timeout: Duration::from_secs(300),
            hygiene: Hygiene::default(),
            otlp: Arc::default(),
            shown: ShownConfig::default(),
        };
        Self {
            loaded: std::sync::Mutex::default(),
            fault: std::sync::Mutex::default(),
            routing: ArcSwap::from_pointee(routing),
            store: ArcSwapOption::empty(),
        }
    }
}

impl ConfigState {
    /// Why the last reload failed, if it did.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// When the configuration was taken over.
    pub fn loaded_at(&self) -> Option<Timestamp> {
        *self.loaded.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Who is told what.
    pub fn routing(&self) -> Arc<Routing> {
        self.routing.load_full()
    }

    /// How long an alert lasts that is pushed without an end.
    pub fn resolve_timeout(&self) -> Duration {
        self.routing.load().resolve_timeout
    }

    /// Notes who is told what from now on.
    pub fn set_routing(&self, routing: Routing) {
        self.routing.store(Arc::new(routing));
    }

    /// The store that is asked in place of ours.
    pub fn store(&self) -> Option<Arc<RemoteStore>> {
        self.store.load_full()
    }

    /// Notes which store is asked in place of ours from now on.
    pub fn set_store(&self, store: Option<Arc<RemoteStore>>) {
        self.store.store(store);
    }

    /// Notes when the configuration was taken over.
    pub fn set_loaded(&self, at: Timestamp) {
        *self.loaded.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(at);
    }

    /// Notes how a reload went.
    pub fn set_fault(&self, fault: Option<String>) {
        *self.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = fault;
    }
}

/// What may be asked of us, and is on unless somebody turns it off.
#[derive(Clone, Copy, Debug)]
pub struct Enabled {
    /// A reload.
    pub lifecycle: bool,
    /// Taking samples by remote write.
    pub remote_write: bool,
    /// Taking metrics of OpenTelemetry.
    pub otlp: bool,
}

/// What [`Shown`] is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// How the data folder is.
    pub disk: Disk,
    /// Whether there are no samples, and why.
    pub safe: Option<SafeMode>,
    /// The samples.
    pub storage: Arc<Storage>,
    /// Takes samples that are pushed.
    pub ingest: Ingest,
    /// Who pushes them.
    pub agents: Agents,
    /// What is scraped, and how it is.
    pub targets: Targets,
    /// What checks said.
    pub outputs: Outputs,
    /// The rules and their alerts.
    pub rules: Rules,
    /// What fires.
    pub alerts: Alerts,
    /// Alerts that others push.
    pub pushed: Pushed,
    /// Takes messages of sources.
    pub intake: Intake,
    /// How the stores are doing that samples are sent to.
    pub remotes: RemoteStates,
    /// What holds alerts back.
    pub mutes: Mutes,
    /// What waits to be told.
    pub outbox: Outbox,
    /// Of what nobody has answered, and who has what in hand.
    pub escalations: Escalations,
    /// Who knows when groups are looked at.
    pub questions: AskDispatch,
    /// How the ways to the receivers are doing.
    pub lanes: LaneStates,
    /// Our own metrics.
    pub metrics: OwnMetrics,
    /// The configuration.
    pub config: Arc<ConfigState>,
    /// Every task with how often it was started again.
    pub supervisor: Supervisor,
    /// Asks for a reload.
    pub reload: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
    /// The time that samples have.
    pub clock: SteadyClock,
    /// When we were started.
    pub started: Timestamp,
    /// What the program was started with, by the names of the settings.
    pub flags: Arc<BTreeMap<String, String>>,
    /// How far back a sample counts.
    pub lookback: Duration,
    /// What expressions may take.
    pub limits: QueryLimits,
    /// What is done otherwise than by default where expressions are evaluated.
    pub features: promql::Features,
    /// What may be asked of us that changes something.
    pub enabled: Enabled,
    /// Where copies of the samples are made, where people may ask for one and delete series.
    pub snapshots: Option<PathBuf>,
}

/// Whoever answers asks for the parts by their names.
impl Deref for Shown {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Shown {
    /// What the API shows of `parts`.
    pub fn new(parts: Parts) -> Self {
        let (gauges, queries) = (Gauges::new(&parts.metrics), parts.limits.at_a_time);
        Self {
            parts: Arc::new(parts),
            gauges: Arc::new(gauges),
            queries: Arc::new(Semaphore::new(queries)),
            writes: Arc::new(Semaphore::new(WRITES)),
        }
    }

    /// Serves on `listener`, below `prefix`, until the scope stops.
    pub async fn serve(
        self,
        listener: TcpListener,
        guard: Arc<Guard>,
        prefix: Arc<str>,
        supervisor: Supervisor,
    ) {
        let router = router(self);
        let handler = move |mut request: base::http::Request<base::http::Body>, _: SocketAddr| {
            let (mut router, prefix) = (router.clone(), Arc::clone(&prefix));
            async move {
                if !prefix.is_empty() {
                    match without_prefix(request.uri(), &prefix) {
                        Some(uri) => *request.uri_mut() = uri,
                        None => {
                            let message = format!("everything is below {prefix}/");
                            return reply::Failure::not_found(message).into_response();
                        }
                    }
                }
                match router.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        };
        serve(listener, Limits::default(), guard, supervisor, handler).await;
    }
}

/// A request's target as it would be without the prefix; `None` where it is not below it.
fn without_prefix(uri: &Uri, prefix: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    match rest.chars().next() {
        Some('/') => rest.parse().ok(),
        Some('?') => format!("/{rest}").parse().ok(),
        Some(_) => None,
        None => Some(Uri::from_static("/")),
    }
}

/// Every route there is, and what all have in common.
fn router(shown: Shown) -> Router {
    routes::router()
        .fallback(|| async { reply::Failure::not_found("there is nothing here").into_response() })
        .layer(middleware::from_fn_with_state(shown.clone(), elsewhere::pass_on))
        .layer(middleware::from_fn_with_state(shown.clone(), promise::keep))
        .layer(middleware::from_fn_with_state(shown.limits.timeout + BEYOND, guard))
        .with_state(shown)
}

/// Sets the headers that every answer has, and refuses what a browser was tricked into.
async fn guard(State(longest): State<Duration>, request: Request, next: Next) -> Response {
    let asks_only = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if !asks_only && base::http::is_foreign(request.headers()) {
        reply::Failure::forbidden("this request comes from another site").into_response()
    } else {
        match tokio::time::timeout(longest, next.run(request)).await {
            Ok(response) => response,
            Err(_) => reply::Failure::timeout("the answer took too long").into_response(),
        }
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        *response.body_mut() = axum::body::Body::from("Method Not Allowed\n");
        let text = header::HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, header::HeaderValue::from_static("DENY"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

/// We serve only after everything is read, so whoever gets an answer may ask.
async fn ready(State(shown): State<Shown>) -> Response {
    if shown.supervisor.stop_token().is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "Veilleur is stopping.\n").into_response();
    }
    (StatusCode::OK, "Veilleur is ready.\n").into_response()
}

async fn reload(State(shown): State<Shown>) -> Response {
    if !shown.enabled.lifecycle {
        return (StatusCode::FORBIDDEN, "Lifecycle API is not enabled.").into_response();
    }
    let (answer, answered) = oneshot::channel();
    if shown.reload.try_send(answer).is_err() {
        return reply::Failure::unavailable("a reload is under way").into_response();
    }
    match answered.await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(faults)) => {
            let text = format!("the configuration is not taken over:\n{faults}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
        Err(_) => reply::Failure::unavailable("Veilleur is stopping").into_response(),
    }
}

/// Labels as a JSON object.
fn object(labels: &Labels) -> serde_json::Value {
    labels.iter().map(|(name, value)| (name.to_owned(), serde_json::json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_whole_part_of_the_path() {
        let check = |target: &str, expected: Option<&str>| {
            let got = without_prefix(&target.parse().unwrap(), "/foo").map(|uri| uri.to_string());
            assert_eq!(got.as_deref(), expected, "{target}");
        };
        check("/foo", Some("/"));
        check("/foo/", Some("/"));
        check("/foo?a=b", Some("/?a=b"));
        check("/foo/api/v2/status?x", Some("/api/v2/status?x"));
        check("/food", None);
        check("/", None);
    }
}
