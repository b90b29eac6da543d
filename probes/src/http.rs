//! Asking for a page and judging the answer.
//!
//! ```yaml
//! http:
//!   url: https://shop.example/health
//!   expect_status: [200, 300-399]         # or 2xx; the default
//!   body_contains: ready
//!   body_matches: 'version: 4\.[0-9]+'
//!   body_not_matches: [error, exception]
//!   expect_headers: {content-type: ^text/html}
//!   max_redirects: 3
//! ```
//!
//! ```text
//! config ─▶ fetch (hop by hop) ─▶ expect (status, headers, body) ─▶ Outcome
//! ```
//!
//! Invariant: no more of a body than the limit is kept, and no hop goes where the configuration or
//! [`fetch`] forbids.

pub(crate) mod config;
mod location;
mod cookies;
mod expect;
pub(crate) mod fetch;

pub use config::HttpConfig;
pub(crate) use config::{BasicAuthConfig, add_header, url};

use std::time::Duration;

use async_trait::async_trait;
use base::clock::Stopwatch;
use base::http::Uri;
use tokio_util::sync::CancellationToken;

use self::expect::Expectations;
use self::fetch::{Fetch, Plan};
use crate::network::{Failed, Metrics};
use crate::{Outcome, Probe, Reason, Status};

/// Asks for a page.
#[derive(Debug)]
pub struct HttpProbe {
    url: Uri,
    plan: Plan,
    expect: Expectations,
}

#[async_trait]
impl Probe for HttpProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let watch = Stopwatch::start();
        let mut fetch = Fetch::new(&self.plan, self.url.clone());
        let failed = match stop.run_until_cancelled(fetch.run()).await {
            Some(Ok(())) => self.expect.judge(&fetch).err(),
            Some(Err(failed)) => Some(failed),
            None => {
                let (phase, seconds) = (fetch.phase(), watch.seconds());
                Some(Failed::new(Reason::Timeout, format!("{phase} after {seconds:.1} s")))
            }
        };
        let outcome = match failed {
            None => Outcome::ok(fetch.summary(watch.seconds())),
            Some(failed) => Outcome::new(Status::Critical, failed.reason, failed.summary),
        };
        self.measure(&fetch, outcome, watch.seconds())
    }
}

impl HttpProbe {
    /// Adds the metrics by the names that blackbox_exporter gives them.
    fn measure(&self, fetch: &Fetch<'_>, outcome: Outcome, seconds: f64) -> Outcome {
        let mut metrics = Metrics::default();
        let times = &fetch.times;
        let phases: [(&str, Option<Duration>); 5] = [
            ("resolve", times.resolve),
            ("connect", times.connect),
            ("tls", times.tls),
            ("processing", times.first_byte),
            ("transfer", times.transfer),
        ];
        let help = "Duration of http request by phase, summed over all redirects";
        metrics.phases("probe_http_duration_seconds", help, &phases);
        let mut gauge = |name, help, value| metrics.gauge(name, help, value);
        gauge("probe_http_status_code", "Response HTTP status code", f64::from(fetch.status()));
        gauge("probe_http_redirects", "The number of redirects", f64::from(fetch.redirects));
        let length = fetch.content_length().map_or(-1.0, |length| length as f64);
        gauge("probe_http_content_length", "Length of http content response", length);
        let length = fetch.length as f64;
        gauge(
            "probe_http_uncompressed_body_length",
            "Length of uncompressed response body",
            length,
        );
        let tls = f64::from(u8::from(fetch.is_tls()));
        gauge("probe_http_ssl", "Indicates if SSL was used for the final redirect", tls);
        if let Some(version) = fetch.version() {
            gauge(
                "probe_http_version",
                "Returns the version of HTTP of the probe response",
                version,
            );
        }
        if self.expect.has_regex() {
            let by_regex = matches!(outcome.reason, Reason::BodyMismatch | Reason::HeaderMismatch);
            let by_regex = f64::from(u8::from(by_regex));
            gauge("probe_failed_due_to_regex", "Indicates if probe failed due to regex", by_regex);
        }
        if let Some(expiry) = fetch.certificate_expiry {
            let help = "Returns last SSL chain expiry in unixtime";
            gauge("probe_ssl_earliest_cert_expiry", help, expiry);
        }
        metrics.finish(outcome, seconds, times.resolve, fetch.peer)
    }
}
