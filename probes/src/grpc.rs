//! Asking a gRPC server whether it serves (`grpc.health.v1.Health/Check`).
//!
//! ```yaml
//! grpc:
//!   address: shop.example:443
//!   tls: {}                        # h2c without
//!   service: shop.v1.Cart          # the server as a whole where nothing is said
//!   metadata: {x-tenant: eu}
//! ```
//!
//! ```text
//! connect ─▶ TLS (ALPN h2) ─▶ call::check ─▶ Answer { code, serving, message } ─▶ Outcome
//! ```
//!
//! Invariant: only a server that says `SERVING` with the status `OK` is held to be well.

mod message;
pub(crate) mod call;

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::family::MetricFamily;
use base::http::HeaderMap;
use base::http::header::{HeaderName, HeaderValue};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::call::{Answer, Call, UNAVAILABLE};
use crate::chain::Trust;
use crate::network::Metrics;
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session};
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::Failed;
use crate::{Outcome, Probe};

/// The code of a call whose time is up.
pub(crate) const DEADLINE_EXCEEDED: u32 = 4;

/// A gRPC probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpcConfig {
    /// `host:port`.
    address: Spanned<String>,
    /// TLS from the beginning, and whom to trust.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// Which service is asked after.
    #[serde(default)]
    service: String,
    /// What is sent with the call. Values of names that end in `-bin` are written in base64.
    #[serde(default)]
    metadata: BTreeMap<String, Spanned<Secret>>,
    /// Limits on `seconds`, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Asks a gRPC server whether it serves.
#[derive(Debug)]
pub struct GrpcProbe {
    endpoint: Endpoint,
    trust: Option<Trust>,
    call: Call,
    limits: Limits,
}

impl GrpcConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<GrpcProbe> {
        let endpoint = Endpoint::build(&self.address, None, diagnostics);
        let metadata = metadata(&self.metadata, diagnostics);
        let trust = match &self.tls {
            Some(tls) => Trust::build(tls, &[b"h2"], diagnostics).map(Some),
            None => Some(None),
        };
        let limits = Limits::build(&self.thresholds, &[SECONDS, DAYS_LEFT], diagnostics);
        let (endpoint, trust) = (endpoint?, trust?);
        let call = Call {
            authority: endpoint.to_string(),
            is_tls: trust.is_some(),
            service: self.service,
            metadata,
        };
        Some(GrpcProbe { endpoint, trust, call, limits })
    }
}

/// What is sent with a call, reporting names and values that cannot be.
pub(crate) fn metadata(
    written: &BTreeMap<String, Spanned<Secret>>,
    diagnostics: &mut Diagnostics,
) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in written {
        let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
        // What HTTP/2 forbids, or gRPC itself sets.
        let taken = ["te", "content-type", "connection", "host", "user-agent", "transfer-encoding"];
        let parsed = parsed.filter(|parsed| {
            !parsed.as_str().starts_with("grpc-") && !taken.contains(&parsed.as_str())
        });
        let Some(parsed) = parsed else {
            diagnostics.report(value, format!("`{name}` is not a name that metadata can have"));
            continue;
        };
        match HeaderValue::from_str(value.value.expose()) {
            Ok(mut text) => {
                text.set_sensitive(true);
                metadata.insert(parsed, text);
            }
            Err(_) => diagnostics.report(
                value,
                format!("the value of `{name}` has characters that metadata cannot have"),
            ),
        }
    }
    metadata
}

#[async_trait]
impl Probe for GrpcProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let phases = ["resolve", "connect", "tls", "check"];
        let mut session = Session::start("grpc", &phases);
        let mut answer = Answer::default();
        let look = self.look(&mut session, &mut answer);
        let result = stop.run_until_cancelled(look).await;
        if result.is_none() {
            answer.code = DEADLINE_EXCEEDED;
        }
        measure(&answer, self.trust.is_some(), &mut session.metrics);
        session.finish(result, &self.limits)
    }
}

impl GrpcProbe {
    async fn look(&self, session: &mut Session, answer: &mut Answer) -> Result<String, Failed> {
        let wire = session.open(&self.endpoint, self.trust.as_ref()).await?;
        let stream = wire.into_stream()?;
        let waiting = format!("`{}` has not answered the call", self.endpoint);
        session.phase("check", waiting, self.call.check(stream, answer)).await?;
        let what = match self.call.service.as_str() {
            "" => "the server".to_owned(),
            service => format!("`{service}`"),
        };
        Ok(format!("{what} is SERVING, answered after {:.3} s", session.seconds()))
    }
}

/// Adds the metrics by the names that blackbox_exporter gives them.
pub(crate) fn measure(answer: &Answer, is_tls: bool, metrics: &mut Metrics) {
    let help = "Response gRPC status code";
    metrics.gauge("probe_grpc_status_code", help, f64::from(answer.code));
    let help = "Indicates if SSL was used for the connection";
    metrics.gauge("probe_grpc_ssl", help, f64::from(u8::from(is_tls)));
    let help = "Response HealthCheck response";
    let mut family = MetricFamily::gauge("probe_grpc_healthcheck_response", help);
    for name in call::SERVING_STATUSES {
        let is_it = answer.serving.is_some_and(|serving| serving == name);
        family.add(&[("serving_status", name)], f64::from(u8::from(is_it)));
    }
    metrics.push(family);
}

impl Default for Answer {
    fn default() -> Self {
        // What a client of gRPC says of a server that it cannot reach.
        Self { code: UNAVAILABLE, serving: None }
    }
}
