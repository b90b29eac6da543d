//! One page over HTTP, for probes that read what is on it.
//!
//! No redirect is followed: who reads a page knows where it is, and one that has moved is told.
//!
//! Invariant: no more of a body than the limit is kept, and whatever was reached when the future is
//! dropped can still be read from [`Visit`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base::clock::Stopwatch;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::client::{Client, ClientError, Origin, Phases};
use base::http::header::{self, HeaderValue};
use base::http::tls::TlsConfig;
use base::http::{Full, HeaderMap, Request, Uri};
use base::secret::Secret;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::http::{BasicAuthConfig, add_header, url};
use crate::network::{Metrics, earliest_expiry, reason_of};
use crate::script::ByteSize;
use crate::text::shown_line;
use crate::{Outcome, Reason};

/// Where the page is and how to ask for it, as written.
#[derive(Debug)]
pub(crate) struct PageConfig {
    /// An absolute `http` or `https` URL.
    pub(crate) url: Spanned<String>,
    /// Further headers of the request.
    pub(crate) headers: BTreeMap<String, Spanned<Secret>>,
    /// Who we are.
    pub(crate) basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// Whom to trust, and who we are.
    pub(crate) tls: Option<Spanned<TlsConfig>>,
    /// How much of the page is read; a larger one is a failure.
    pub(crate) body_limit: Option<Spanned<ByteSize>>,
}

/// Asks for one page.
#[derive(Debug)]
pub(crate) struct Page {
    client: Client,
    pub(crate) url: Uri,
    origin: Origin,
    headers: HeaderMap,
    limit: usize,
}

impl PageConfig {
    /// The page, reporting everything that is wrong with it. `accept` says which content is wanted,
    /// `limit` how much is read where nothing is said.
    pub(crate) fn build(
        self,
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
        if let Some(auth) = &self.basic_auth {
            headers.extend(auth.value.build(auth, diagnostics).map(|v| (header::AUTHORIZATION, v)));
        }
        let tls = self.tls.as_ref().map(|tls| tls.value.clone()).unwrap_or_default();
        let client = Client::new(&tls).map_err(|error| {
            let place = self.tls.as_ref().map_or(self.url.place, |tls| tls.place);
            diagnostics.report(place, error.to_string());
        });
        let url = url(&self.url, diagnostics)?;
        // The URL was checked to have one.
        let origin = Origin::of(&url).ok()?;
        let limit = self.body_limit.map_or(limit, |limit| limit.value);
        let limit = usize::try_from(limit.0).unwrap_or(usize::MAX);
        Some(Page { client: client.ok()?, url, origin, headers, limit })
    }
}

/// What was seen of a page so far.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    times: Phases,
    peer: Option<SocketAddr>,
    certificate_expiry: Option<f64>,
    /// The status, 0 where there was no answer.
    pub(crate) status: u16,
    /// The content type as sent; may be empty.
    pub(crate) content_type: String,
    /// The body: whole when it is judged.
    pub(crate) body: Vec<u8>,
}

impl Page {
    /// Asks for the page until `stop`; where it was whole, `judge` says what is to be made of it.
    pub(crate) async fn look(
        &self,
        stop: &CancellationToken,
        judge: impl FnOnce(&Visit) -> Outcome,
    ) -> Outcome {
        let (watch, mut visit) = (Stopwatch::start(), Visit::default());
        let outcome = match stop.run_until_cancelled(self.get(&mut visit)).await {
            Some(Ok(())) => judge(&visit),
            Some(Err((reason, summary))) => Outcome::critical(reason, summary),
            None => {
                let (phase, seconds) = (self.phase(&visit), watch.seconds());
                Outcome::critical(Reason::Timeout, format!("{phase} after {seconds:.1} s"))
            }
        };
        visit.measure(outcome, watch.seconds())
    }

    /// Asks for the page, whatever its status.
    async fn get(&self, visit: &mut Visit) -> Result<(), (Reason, String)> {
        let failed = |error: ClientError| {
            (reason_of(error.kind), shown_line(error.to_string().as_bytes(), 1 << 10))
        };
        let opened = self.client.connect(&self.origin, &mut visit.times).await;
        let mut connection = opened.map_err(failed)?;
        visit.peer = connection.peer;
        visit.certificate_expiry =
            connection.tls.as_ref().and_then(|session| earliest_expiry(&session.certificates));
        let mut request = Request::builder()
            .uri(self.url.clone())
            .body(Full::new(Bytes::new()))
            .map_err(|error| (Reason::Internal, format!("the request: {error}")))?;
        *request.headers_mut() = self.headers.clone();
        let answer = connection.send(request, &mut visit.times).await.map_err(failed)?;
        visit.status = answer.status().as_u16();
        let content_type = answer.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.map_or(&b""[..], |value| value.as_bytes());
        visit.content_type = shown_line(content_type, 200);
        let mut body = answer.into_body();
        while let Some(piece) = connection.next(&mut body).await.map_err(failed)? {
            if visit.body.len() + piece.len() > self.limit {
                return Err((
                    Reason::BodyTooLarge,
                    format!("the page is over {} bytes", self.limit),
                ));
            }
            visit.body.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// What it is waiting for.
    fn phase(&self, visit: &Visit) -> String {
        let (host, times) = (&self.origin.host, &visit.times);
        match (times.resolve, times.connect, times.tls, times.first_byte) {
            (None, ..) => format!("the name `{host}` is not resolved"),
            (_, None, ..) => format!("there is no connection to `{host}:{}`", self.origin.port),
            (_, _, None, _) if self.origin.tls => {
                format!("the TLS handshake with `{host}` is not done")
            }
            (.., None) => format!("there is no answer from `{host}`"),
            _ => format!("the page from `{host}` is not complete, with {} bytes", visit.body.len()),
        }
    }
}

impl Visit {
    /// Adds what every probe over the network tells, in front of the outcome's own families.
    fn measure(&self, mut outcome: Outcome, seconds: f64) -> Outcome {
        let own = std::mem::take(&mut outcome.families);
        let mut metrics = Metrics::default();
        let help = "Response HTTP status code";
        metrics.gauge("probe_http_status_code", help, f64::from(self.status));
        if let Some(expiry) = self.certificate_expiry {
            let help = "Returns last SSL chain expiry in unixtime";
            metrics.gauge("probe_ssl_earliest_cert_expiry", help, expiry);
        }
        let mut outcome = metrics.finish(outcome, seconds, self.times.resolve, self.peer);
        outcome.families.extend(own);
        outcome
    }
}
