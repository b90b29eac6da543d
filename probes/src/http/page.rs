//! One page over HTTP, for probes that read what is on it.
//!
//! No redirect is followed: who reads a page knows where it is, and one that has moved is told.
//!
//! Invariant: whatever was seen on the way is measured, however the look ends.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base::clock::Stopwatch;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::client::HTTP2_OR_1;
use base::http::header::{self, HeaderValue};
use base::http::tls::TlsConfig;
use base::http::{HeaderMap, Method, Uri};
use base::secret::Secret;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::config::{
    AuthorizationConfig, BasicAuthConfig, IdentityConfig, OAuth2Config, add_header, url,
};
use super::fetch::{Fetch, Plan};
use super::route::Route;
use super::step::{Identity, PHASES, phases, timed_out, values};
use crate::chain::Trust;
use crate::network::{Failed, Metrics};
use crate::script::ByteSize;
use crate::session::{DAYS_LEFT, SECONDS};
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig};
use crate::{Outcome, Reason};

/// Where the page is and how to ask for it, as written.
#[derive(Debug)]
pub(crate) struct PageConfig {
    /// An absolute `http` or `https` URL.
    pub(crate) url: Spanned<String>,
    /// Further headers of the request.
    pub(crate) headers: BTreeMap<String, Spanned<Secret>>,
    /// Who we are, in one of three ways.
    pub(crate) basic_auth: Option<Spanned<BasicAuthConfig>>,
    pub(crate) authorization: Option<Spanned<AuthorizationConfig>>,
    pub(crate) oauth2: Option<Spanned<OAuth2Config>>,
    /// Whom to trust, and who we are.
    pub(crate) tls: Option<Spanned<TlsConfig>>,
    /// How much of the page is read; a larger one is a failure.
    pub(crate) body_limit: Option<Spanned<ByteSize>>,
    /// Limits on `seconds`, `days_left` and the phases.
    pub(crate) thresholds: LimitsConfig,
}

/// Asks for one page.
#[derive(Debug)]
pub(crate) struct Page {
    kind: &'static str,
    url: Uri,
    route: Route,
    identity: Identity,
    headers: HeaderMap,
    body_limit: u64,
    limits: Limits,
}

impl PageConfig {
    /// The page for a probe that is called `kind`, reporting everything that is wrong with it.
    /// `accept` says which content is wanted, `limit` how much is read where nothing is said.
    pub(crate) fn build(
        self,
        kind: &'static str,
        accept: &'static str,
        limit: ByteSize,
        diagnostics: &mut Diagnostics,
    ) -> Option<Page> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        let agent = concat!("veilleur-agent/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in &self.headers {
            add_header(&mut headers, name, value, diagnostics);
        }
        let plain = Spanned { value: TlsConfig::default(), place: self.url.place };
        let trust = Trust::build(self.tls.as_ref().unwrap_or(&plain), HTTP2_OR_1, diagnostics);
        let route = trust.map(Route::direct);
        let identity = IdentityConfig {
            basic_auth: self.basic_auth.as_ref(),
            authorization: self.authorization.as_ref(),
            oauth2: self.oauth2.as_ref(),
        };
        let identity = identity.build(route.as_ref(), diagnostics);
        let known = [&[SECONDS, DAYS_LEFT][..], &PHASES].concat();
        let limits = Limits::build(&self.thresholds, &known, diagnostics);
        let url = url(&self.url, diagnostics);
        let body_limit = self.body_limit.map_or(limit, |limit| limit.value).0;
        let (url, route, identity) = (url?, route?, identity?);
        Some(Page { kind, url, route, identity, headers, body_limit, limits })
    }
}

/// A page that has come whole.
#[derive(Debug)]
pub(crate) struct Visit<'f> {
    pub(crate) status: u16,
    /// The content type as sent; may be empty.
    pub(crate) content_type: String,
    pub(crate) body: Cow<'f, [u8]>,
}

impl Page {
    /// Asks for the page until `stop`; where it was whole, `judge` says what is to be made of it.
    pub(crate) async fn look(
        &self,
        stop: &CancellationToken,
        judge: impl FnOnce(&Visit<'_>) -> Outcome,
    ) -> Outcome {
        let watch = Stopwatch::start();
        let known = match stop.run_until_cancelled(self.headers()).await {
            Some(known) => known,
            None => Err(timed_out(&self.identity.waiting(), watch)),
        };
        let token = matches!(self.identity, Identity::OAuth2(_)).then(|| watch.elapsed());
        let (headers, unknown) = match known {
            Ok(headers) => (headers, None),
            Err(failed) => (HeaderMap::new(), Some(failed)),
        };
        let plan = Plan {
            method: Method::GET,
            headers,
            body: Bytes::new(),
            redirects: None,
            body_limit: self.body_limit,
            keeps_body: true,
        };
        let mut fetch = Fetch::new(&plan, self.url.clone(), &self.route);
        let fetched = match unknown {
            Some(failed) => Some(Err(failed)),
            None => stop.run_until_cancelled(fetch.run()).await,
        };
        if let (401, Identity::OAuth2(oauth2)) = (fetch.status(), &self.identity) {
            oauth2.forget();
        }
        let body = match fetched {
            Some(Ok(())) => fetch.unpacked(),
            Some(Err(failed)) => Err(failed),
            None => Err(timed_out(&fetch.phase(), watch)),
        };
        let outcome = match body {
            Ok(body) => {
                let content_type = fetch.header_values(&header::CONTENT_TYPE).next();
                let content_type = shown_line(content_type.unwrap_or_default(), 200);
                judge(&Visit { status: fetch.status(), content_type, body })
            }
            Err(Failed { reason, summary }) => Outcome::critical(reason, summary),
        };
        let mut told: Vec<_> = PHASES.into_iter().zip(phases(&fetch.times)).collect();
        if token.is_some() {
            told.push(("token", token));
        }
        let mut metrics = Metrics::default();
        let (kind, seconds) = (self.kind, watch.seconds());
        let (name, help) = (
            format!("probe_{kind}_duration_seconds"),
            format!("Duration of {kind} request by phase"),
        );
        metrics.phases(&name, &help, &told);
        let status = f64::from(fetch.status());
        metrics.gauge("probe_http_status_code", "Response HTTP status code", status);
        fetch.seen.measure(&mut metrics);
        self.tell(outcome, metrics, &fetch, seconds)
    }

    /// What is sent, with who we are.
    async fn headers(&self) -> Result<HeaderMap, Failed> {
        let mut headers = self.headers.clone();
        if !headers.contains_key(header::AUTHORIZATION) {
            let authorization = self.identity.authorization().await?;
            headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
        }
        Ok(headers)
    }

    /// The outcome by the limits, too, with what every probe over the network tells in front of its
    /// own families.
    fn tell(
        &self,
        mut outcome: Outcome,
        metrics: Metrics,
        fetch: &Fetch<'_>,
        seconds: f64,
    ) -> Outcome {
        let values = values(seconds, fetch.seen.expiry(), &fetch.times, &self.limits);
        let mut verdict = self.limits.judge(&values);
        outcome.measurements.append(&mut verdict.measurements);
        outcome.worsen(verdict.status, Reason::Threshold, &verdict.text);
        let own = std::mem::take(&mut outcome.families);
        let mut outcome = metrics.finish(outcome, seconds, fetch.times.resolve, fetch.peer);
        outcome.families.extend(own);
        outcome
    }
}
