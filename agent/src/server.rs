//! What the agent shows to whoever asks: metrics for Prometheus and the evaluator, health pages for
//! people and load balancers.
//!
//! ```text
//! /                   where is what
//! /metrics            text format or OpenMetrics; ?collect[]= and ?exclude[]= choose what of it
//! /health             all checks and services: HTML, or application/health+json
//! /health/NAME        one service
//! /probe              looks where the request says, by a module or a script of the configuration
//! /discovery          what there is to scrape here, for Prometheus
//! /livez /readyz      for whoever starts and stops us; /-/healthy, /-/ready as exporters have them
//! /-/reload           reads the configuration again
//! /ping/ID            a job reports (design A10), as healthchecks.io has it
//! /metrics/job/NAME   a job pushes its metrics, as Prometheus's Pushgateway has it
//! ```
//!
//! Invariant: nothing here changes anything of ours but `told`, and what is not in the table of routes
//! is not answered.

mod routes;
mod check_metrics;
mod merge;
mod query;
mod choice;
mod shared;
mod metrics;
mod told;
mod html;
mod tree;
mod json;
mod page;
mod probe;
mod script;
mod discovery;

pub use routes::{Page, ROUTES, Route};

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use base::family::{LabelPairs, MetricFamily};
use base::http::web::Guard;
use base::http::{
    Full, HeaderMap, Method, Packed, Request, Response, StatusCode, answer, answer_compressed,
    header, is_foreign,
};
use base::own_metrics::{IntCounterVec, OwnMetrics};
use base::sample::Timestamp;
use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;
use tokio::sync::{Notify, mpsc, oneshot};

use self::metrics::Kind;
use self::shared::Shared;
use crate::blackbox::Blackbox;
use crate::host::HostNumbers;
use crate::on_request::OnRequest;
use crate::results::Results;
use crate::service::{Forest, Service};
use crate::uplink;

/// What the pages are made of.
pub struct Shown {
    /// The latest of every check.
    pub results: Arc<Results>,
    /// The services, each behind those that it needs.
    pub services: ArcSwap<Vec<Service>>,
    /// Labels of the whole agent.
    pub labels: ArcSwap<Vec<(String, String)>>,
    /// What may be looked at on request.
    pub blackbox: ArcSwap<Blackbox>,
    /// Scripts that are run when somebody asks.
    pub on_request: ArcSwap<OnRequest>,
    /// The host's own numbers.
    pub host: HostNumbers,
    /// Whether we take work: set once all loops run, and taken back when we stop.
    pub ready: AtomicBool,
    reload: Mutex<Reload>,
    pages: Shared<Kind, Packed>,
    /// What the last scrape had to go without, and why.
    missed: ArcSwap<Vec<String>>,
    /// Told when something came that is to outlive us.
    pub news: Notify,
    /// What our pages call us, so that we know them when others show them to us.
    identity: String,
    /// How pushing goes, where something was ever to be pushed.
    uplink: OnceLock<uplink::Status>,
    /// How a reload is asked for, once we can.
    pub lifecycle: OnceLock<Lifecycle>,
    own: OwnMetrics,
    requests: IntCounterVec,
}

/// How a reload is asked for.
#[derive(Debug)]
pub struct Lifecycle {
    /// Who may reach us.
    pub guard: Arc<Guard>,
    /// Takes one request at a time, and answers with what is wrong with the configuration.
    pub reload: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

/// How it went when the configuration was read last.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    /// What people are shown as the configuration's name.
    pub source: String,
    /// When it was read last and taken.
    pub taken: Timestamp,
    /// Everything that is wrong with the one that was not taken, where the last was not.
    pub faults: Option<String>,
}

impl Shown {
    /// Nothing to show yet but the checks themselves.
    pub fn new(results: Arc<Results>, host: HostNumbers, reload: Reload) -> Self {
        let own = OwnMetrics::new();
        let help = "Requests that were answered, by what was asked for and the status.";
        let requests = own.counters("veilleur_http_requests_total", help, &["page", "code"]);
        Self {
            results,
            services: ArcSwap::default(),
            labels: ArcSwap::default(),
            blackbox: ArcSwap::default(),
            on_request: ArcSwap::default(),
            host,
            ready: AtomicBool::new(false),
            reload: Mutex::new(reload),
            pages: Shared::default(),
            missed: ArcSwap::default(),
            news: Notify::new(),
            identity: probes::health::identity(),
            uplink: OnceLock::new(),
            lifecycle: OnceLock::new(),
            own,
            requests,
        }
    }

    /// How it went when the configuration was read last.
    pub fn reload(&self) -> Reload {
        self.reload.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how it went.
    pub fn set_reload(&self, change: impl FnOnce(&mut Reload)) {
        change(&mut self.reload.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The health trees as of `now`.
    pub fn forest(&self, now: Timestamp) -> Forest {
        Forest::new(&self.services.load(), &self.results.slots(), now)
    }

    /// How many pages of metrics were asked for so far.
    pub fn pages_asked(&self) -> u64 {
        self.pages.asked()
    }

    /// How pushing goes; counted from the first call on.
    pub fn uplink(&self) -> &uplink::Status {
        self.uplink.get_or_init(|| uplink::Status::new(&self.own))
    }

    /// Every family that there is as of `now`.
    pub async fn families(self: &Arc<Self>, now: Timestamp) -> Vec<MetricFamily> {
        metrics::families(self, now).await
    }

    /// What each check said last, with the labels of everything that it measures.
    pub fn outputs(&self) -> Vec<(LabelPairs, String)> {
        metrics::outputs(self)
    }

    /// Counters about our own process.
    pub fn own(&self) -> &OwnMetrics {
        &self.own
    }
}

/// Answers `request`.
pub async fn handle<B: Body<Data = Bytes, Error: Display>>(
    shown: Arc<Shown>,
    request: Request<B>,
    peer: SocketAddr,
) -> Response<Full<Bytes>> {
    let (request, body) = request.into_parts();
    let path = request.uri.path();
    let (page, response) = match Route::of(path) {
        None => ("other", text(StatusCode::NOT_FOUND, "there is nothing here\n")),
        Some(route) if path.len() > route.longest => {
            ("other", text(StatusCode::URI_TOO_LONG, "the path is too long\n"))
        }
        Some(route) if !route.takes(request.method.as_str()) => (route.name(), refuse(route)),
        // Heartbeats and metrics are pushed by programs, never by a page (X30).
        Some(route) if changes(&request) && is_foreign(&request.headers) => {
            (route.name(), text(StatusCode::FORBIDDEN, "this request comes from another site\n"))
        }
        Some(route) => (route.name(), respond(&shown, route, &request, body, peer).await),
    };
    let code = response.status();
    shown.requests.with_label_values(&[page, code.as_str()]).inc();
    response
}

/// Whether a request is not for looking only.
fn changes(request: &Parts) -> bool {
    !matches!(request.method, Method::GET | Method::HEAD)
}

fn refuse(route: &Route) -> Response<Full<Bytes>> {
    let allowed = route.methods.join(", ");
    let why = format!("only {allowed} are answered here\n");
    let mut refused = answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", why);
    if let Ok(allowed) = allowed.parse() {
        refused.headers_mut().insert(header::ALLOW, allowed);
    }
    refused
}

async fn respond<B: Body<Data = Bytes, Error: Display>>(
    shown: &Arc<Shown>,
    route: &Route,
    request: &Parts,
    body: B,
    peer: SocketAddr,
) -> Response<Full<Bytes>> {
    let now = Timestamp::now();
    let (query, headers) = (request.uri.query().unwrap_or(""), &request.headers);
    let rest = |start| request.uri.path().strip_prefix(start).unwrap_or("");
    match route.page {
        Page::Index => page(StatusCode::OK, page::index(shown)),
        Page::Metrics => metrics::answer(shown, headers, query, Timestamp::now).await,
        Page::Health => health(shown, headers, query, now),
        Page::Service => service(shown, rest("/health/"), headers, query, now),
        // Apart, so that connections that ask for none of these need no room for them.
        Page::Probe => Box::pin(probe::respond(shown, headers, query, (peer, now))).await,
        Page::Discovery => discovery::respond(shown, headers),
        Page::Livez => text(StatusCode::OK, "ok\n"),
        Page::Readyz => ready(shown),
        Page::Reload => Box::pin(told::reload(shown, peer)).await,
        Page::Style => answer(StatusCode::OK, "text/css; charset=utf-8", html::STYLE),
        Page::Ping => Box::pin(told::ping(shown, request, rest("/ping/"), body, now)).await,
        Page::Push => Box::pin(told::push(shown, request, rest("/metrics/"), body, now)).await,
    }
}

fn ready(shown: &Shown) -> Response<Full<Bytes>> {
    if shown.ready.load(Ordering::Acquire) {
        text(StatusCode::OK, "ok\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n")
    }
}

fn health(
    shown: &Shown,
    headers: &HeaderMap,
    query: &str,
    now: Timestamp,
) -> Response<Full<Bytes>> {
    let report = json::Report::of_all(shown, now);
    if wants_json(headers, query) {
        answer_compressed(headers, report.code(), json::CONTENT_TYPE, report.to_json(now).into())
    } else {
        page(report.code(), page::health(shown, &report, now))
    }
}

fn service(
    shown: &Shown,
    name: &str,
    headers: &HeaderMap,
    query: &str,
    now: Timestamp,
) -> Response<Full<Bytes>> {
    let services = shown.services.load();
    let Some(service) = services.iter().find(|service| service.name == name) else {
        return text(StatusCode::NOT_FOUND, "there is no such service\n");
    };
    let Some(report) = json::Report::of_service(shown, service, now) else {
        return text(StatusCode::NOT_FOUND, "there is no such service\n");
    };
    if wants_json(headers, query) {
        answer_compressed(headers, report.code(), json::CONTENT_TYPE, report.to_json(now).into())
    } else {
        page(report.code(), page::service(service, &report, now))
    }
}

/// Whether JSON was asked for: by `?format=json`, or by an `Accept` that does not prefer HTML.
fn wants_json(headers: &HeaderMap, query: &str) -> bool {
    let format = query.split('&').find_map(|pair| pair.strip_prefix("format="));
    if let Some(format) = format {
        return format != "html";
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let weight = |kinds: &[&str]| {
        let ranges = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("");
            let q = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse().ok());
            kinds.contains(&kind).then_some(q.unwrap_or(1.0_f32))
        });
        ranges.fold(0.0, f32::max)
    };
    let json = weight(&["application/health+json", "application/json"]);
    json > weight(&["text/html", "application/xhtml+xml"])
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", text)
}

/// A page for people: nothing in it may run, and it loads nothing but our style.
fn page(status: StatusCode, html: String) -> Response<Full<Bytes>> {
    let mut response = answer(status, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, header::HeaderValue::from_static(policy));
    headers.insert(header::REFERRER_POLICY, header::HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, header::HeaderValue::from_static("accept"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &'static str, query: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, header::HeaderValue::from_static(accept));
        assert_eq!(wants_json(&headers, query), expected, "{accept} {query}");
    }

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        check("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", false);
        check("*/*", "", false);
        check("application/json", "", true);
        check("application/health+json", "", true);
        check("text/html;q=0.5, application/json", "", true);
        check("text/html", "a=b&format=json", true);
        check("application/json", "format=html", false);
    }
}
