//! The `http` prober.
//!
//! Invariant: what is wrong is judged in the order of blackbox_exporter: status, headers, body,
//! expressions over its JSON, version, encryption; only an expression that decides sets
//! `probe_failed_due_to_regex` or `probe_failed_due_to_cel`.

use std::borrow::Cow;

use base::clock::Stopwatch;
use base::http::Uri;
use base::http::client::Client;
use base::http::header::{self, HeaderName, HeaderValue};
use regex::bytes::Regex;
use tokio_util::sync::CancellationToken;

use super::cel::Expression;
use super::{Seen, chain, timed_out};
use crate::Reason;
use crate::chain::Trust;
use crate::guard::{Guard, Way};
use crate::http::coding::{Coding, Fault, Unpacked};
use crate::http::fetch::{Fetch, Plan};
use crate::http::oauth2::OAuth2;
use crate::http::route::Proxies;
use crate::network::{Failed, Metrics};
use crate::target::{BadTarget, HostPort, parse_url};
use crate::text::shown_line;

/// How a page without encryption begins.
const PLAIN: &str = "http://";

/// The `http` section of a module, as meant.
#[derive(Debug)]
pub(super) struct HttpModule {
    pub(super) plan: Plan,
    pub(super) client: Client,
    pub(super) way: Way,
    pub(super) proxies: Proxies,
    /// Who gives the tokens that we show.
    pub(super) oauth2: Option<Box<OAuth2>>,
    /// Whom to trust where nothing but HTTP/3 is spoken.
    pub(super) quic: Option<Box<Trust>>,
    /// The most that is kept of the body when it is unpacked, in bytes.
    pub(super) unpacked_limit: usize,
    /// How the body is packed, whatever the server says of it.
    pub(super) coding: Option<Coding>,
    /// Whether certificates are verified.
    pub(super) verifies: bool,
    pub(super) expect: Expect,
}

/// What an answer should be.
#[derive(Debug, Default)]
pub(super) struct Expect {
    /// 2xx where empty.
    pub(super) statuses: Vec<u16>,
    /// Any where empty.
    pub(super) versions: Vec<f64>,
    pub(super) headers: Vec<HeaderRule>,
    /// Each must match, or must not.
    pub(super) body: Vec<(Regex, bool)>,
    /// Each must hold for the body, or must not.
    pub(super) json: Vec<(Expression, bool)>,
    pub(super) fails_with_tls: bool,
    pub(super) fails_without_tls: bool,
}

/// What a header should be.
#[derive(Debug)]
pub(super) struct HeaderRule {
    pub(super) name: HeaderName,
    pub(super) regex: Regex,
    pub(super) allows_missing: bool,
    /// Whether it must match, or must not.
    pub(super) must: bool,
}

/// The module aimed at a page.
#[derive(Debug)]
pub(super) struct HttpShot {
    module: std::sync::Arc<HttpModule>,
    /// The plan with another `Host`, where one was asked for.
    plan: Option<Plan>,
    client: Client,
    url: Uri,
    guard: Guard,
}

impl HttpModule {
    /// The page that `target` names. For HTTP/3 it is encrypted, whatever the target says.
    pub(super) fn page(&self, target: &str) -> Result<(Uri, HostPort), BadTarget> {
        if self.quic.is_none() {
            return parse_url(target);
        }
        let plain = target.get(..PLAIN.len()).filter(|start| start.eq_ignore_ascii_case(PLAIN));
        match target.split_once("://") {
            Some((_, rest)) if plain.is_some() => parse_url(&format!("https://{rest}")),
            Some(_) => parse_url(target),
            None => parse_url(&format!("https://{target}")),
        }
    }

    /// Aims at `url` on `host`; nothing where `hostname` and the module contradict each other.
    pub(super) fn aim(
        self: &std::sync::Arc<Self>,
        url: Uri,
        host: &str,
        hostname: Option<String>,
        guard: Guard,
    ) -> Option<HttpShot> {
        let set = self.plan.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let plan = match (&hostname, set) {
            (Some(name), Some(set)) if name != set => return None,
            (Some(name), _) => {
                let mut headers = self.plan.headers.clone();
                headers.insert(header::HOST, HeaderValue::from_str(name).ok()?);
                Some(self.plan.with_headers(headers))
            }
            (None, _) => None,
        };
        let client = match hostname.as_deref().or(set) {
            Some(name) if !self.client.has_server_name() => {
                let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
                self.client.with_server_name(if name.is_empty() { host } else { name })
            }
            _ => self.client.clone(),
        };
        let module = std::sync::Arc::clone(self);
        Some(HttpShot { module, plan, client, url, guard })
    }
}

/// What is wrong, and who says so.
struct Verdict {
    failed: Failed,
    by: By,
}

/// What said that something is wrong.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Regex,
    Cel,
    Other,
}

impl Verdict {
    fn new(reason: Reason, summary: impl Into<String>) -> Self {
        let by = match reason {
            Reason::HeaderMismatch | Reason::BodyMismatch => By::Regex,
            _ => By::Other,
        };
        Self { failed: Failed::new(reason, summary), by }
    }
}

/// The plan with a token shown.
async fn shown(
    plan: &Plan,
    oauth2: &OAuth2,
    stop: &CancellationToken,
    watch: Stopwatch,
) -> Result<Plan, Failed> {
    let value = stop.run_until_cancelled(oauth2.authorization()).await;
    let value = value.unwrap_or_else(|| Err(timed_out(&oauth2.waiting(), watch)))?;
    let mut headers = plan.headers.clone();
    headers.insert(header::AUTHORIZATION, value);
    Ok(plan.with_headers(headers))
}

impl HttpShot {
    pub(super) async fn look(&self, stop: &CancellationToken, watch: Stopwatch) -> Seen {
        let plan = self.plan.as_ref().unwrap_or(&self.module.plan);
        // Apart, so that those who need no token need no room for it.
        let shown = match &self.module.oauth2 {
            Some(oauth2) => Some(Box::pin(shown(plan, oauth2, stop, watch)).await),
            None => None,
        };
        let (plan, failed) = match &shown {
            Some(Ok(plan)) => (plan, None),
            Some(Err(failed)) => (plan, Some(failed.clone())),
            None => (plan, None),
        };
        let (url, clients) = (self.url.clone(), (self.client.clone(), &self.module.client));
        let mut fetch = Fetch::guarded(plan, url, &self.guard, clients, &self.module.proxies)
            .over_quic(self.module.quic.as_deref());
        let fetched = match failed {
            Some(failed) => Some(Err(failed)),
            None => stop.run_until_cancelled(fetch.run()).await,
        };
        if let (401, Some(oauth2)) = (fetch.status(), &self.module.oauth2) {
            oauth2.forget();
        }
        let mut length = fetch.length;
        let verdict = match fetched {
            Some(Ok(())) => {
                let (body, fault) = self.unpack(&fetch);
                if self.module.coding.is_some() {
                    length = body.len() as u64;
                }
                let expect = &self.module.expect;
                match fault {
                    None => expect.judge(&fetch, body, stop, watch).await.err(),
                    Some(fault) => {
                        let has_begun = !matches!(fault, Fault::NotBegun(_));
                        Some(expect.judge_broken(&fetch, fault.into(), has_begun))
                    }
                }
            }
            Some(Err(failed)) if failed.reason == Reason::BodyTooLarge => {
                Some(self.module.expect.judge_broken(&fetch, failed, true))
            }
            Some(Err(failed)) => Some(Verdict { failed, by: By::Other }),
            None => Some(Verdict { failed: timed_out(&fetch.phase(), watch), by: By::Other }),
        };
        let by = verdict.as_ref().map_or(By::Other, |verdict| verdict.by);
        let metrics = self.measure(&fetch, length, by);
        let resolve = fetch.dialled.map(|(_, time)| time).or(fetch.times.resolve);
        Seen {
            failed: verdict.map(|verdict| verdict.failed),
            summary: fetch.summary(watch.seconds()),
            dialled: fetch.dialled,
            resolve,
            metrics,
            has_address: true,
        }
    }

    /// The body without its compression, which is what the module says and not the server; and what
    /// is wrong with it.
    fn unpack<'f>(&self, fetch: &'f Fetch<'_>) -> (Cow<'f, [u8]>, Option<Fault>) {
        let Some(coding) = self.module.coding else { return (Cow::Borrowed(&fetch.body), None) };
        let Unpacked { body, fault } = coding.unpack(&fetch.body, self.module.unpacked_limit);
        (Cow::Owned(body), fault)
    }

    fn measure(&self, fetch: &Fetch<'_>, length: u64, by: By) -> Metrics {
        let mut metrics = Metrics::default();
        let times = &fetch.times;
        let phases = [
            ("resolve", times.resolve),
            ("connect", times.connect),
            ("processing", times.first_byte),
            ("tls", times.tls),
            ("transfer", times.transfer),
        ];
        let help = "Duration of http request by phase, summed over all redirects";
        // Of a name that was not found there is nothing else to tell.
        let told = if fetch.dialled.is_some() { &phases[..] } else { &phases[..1] };
        metrics.phases("probe_http_duration_seconds", help, told);
        let mut gauge = |name, help, value| metrics.gauge(name, help, value);
        gauge("probe_http_status_code", "Response HTTP status code", f64::from(fetch.status()));
        gauge("probe_http_redirects", "The number of redirects", f64::from(fetch.redirects));
        let announced = match (fetch.version(), fetch.content_length()) {
            (None, _) => 0.0,
            (_, Some(length)) => length as f64,
            (_, None) => -1.0,
        };
        gauge("probe_http_content_length", "Length of http content response", announced);
        gauge(
            "probe_http_uncompressed_body_length",
            "Length of uncompressed response body",
            length as f64,
        );
        let help = "Indicates if SSL was used for the final redirect";
        gauge("probe_http_ssl", help, f64::from(u8::from(fetch.is_tls())));
        let help = "Returns the version of HTTP of the probe response";
        gauge("probe_http_version", help, fetch.version().unwrap_or(0.0));
        let help = "Indicates if probe failed due to regex";
        gauge("probe_failed_due_to_regex", help, f64::from(u8::from(by == By::Regex)));
        if !self.module.expect.json.is_empty() {
            let help = "Indicates if probe failed due to CEL expression not matching";
            gauge("probe_failed_due_to_cel", help, f64::from(u8::from(by == By::Cel)));
        }
        if let Some(modified) = fetch.last_modified() {
            let help = "Returns the Last-Modified HTTP response header in unixtime";
            gauge("probe_http_last_modified_timestamp_seconds", help, modified);
        }
        if let (Some(session), true) = (&fetch.tls, fetch.is_tls()) {
            chain::measure(session, self.module.verifies, &mut metrics);
            let help = "Returns the TLS cipher negotiated during handshake";
            let cipher = [("cipher", session.cipher.clone())];
            metrics.info("probe_tls_cipher_info", help, &cipher);
        }
        metrics
    }
}

impl Expect {
    async fn judge(
        &self,
        fetch: &Fetch<'_>,
        body: Cow<'_, [u8]>,
        stop: &CancellationToken,
        watch: Stopwatch,
    ) -> Result<(), Verdict> {
        self.judge_answer(fetch, &body)?;
        if !self.json.is_empty() {
            // Apart, so that those who have no expression need no room for it.
            Box::pin(self.judge_json(&body, stop, watch)).await?;
        }
        self.judge_connection(fetch)
    }

    async fn judge_json(
        &self,
        body: &[u8],
        stop: &CancellationToken,
        watch: Stopwatch,
    ) -> Result<(), Verdict> {
        for (expression, must) in &self.json {
            let Some(holds) = expression.holds(body.to_vec(), stop).await else {
                let failed = timed_out("judging the body", watch);
                return Err(Verdict { failed, by: By::Cel });
            };
            let source = expression.source();
            let summary = match holds {
                Ok(true) if !must => format!("the body is as it must not be: `{source}`"),
                Ok(false) if *must => format!("the body is not as it must be: `{source}`"),
                Ok(_) => continue,
                Err(why) => format!("`{source}` has no answer: {why}"),
            };
            let failed = Failed::new(Reason::BodyMismatch, summary);
            return Err(Verdict { failed, by: By::Cel });
        }
        Ok(())
    }

    /// Judges an answer whose body could not be read to its end, though it `has_begun`. What was to be judged by its body counts as failed by
    /// that, as with blackbox_exporter, which finds the fault while it reads.
    fn judge_broken(&self, fetch: &Fetch<'_>, failed: Failed, has_begun: bool) -> Verdict {
        if let Err(verdict) = self.judge_head(fetch) {
            return verdict;
        }
        let by = match (self.body.is_empty(), self.json.is_empty()) {
            _ if !has_begun => By::Other,
            (false, _) => By::Regex,
            (true, false) => By::Cel,
            (true, true) => By::Other,
        };
        Verdict { failed, by }
    }

    fn judge_answer(&self, fetch: &Fetch<'_>, body: &[u8]) -> Result<(), Verdict> {
        self.judge_head(fetch)?;
        for (regex, must) in &self.body {
            let summary = match (regex.is_match(body), must) {
                (false, true) => format!("the body does not match `{regex}`"),
                (true, false) => format!("the body matches `{regex}`"),
                _ => continue,
            };
            return Err(Verdict::new(Reason::BodyMismatch, summary));
        }
        Ok(())
    }

    fn judge_head(&self, fetch: &Fetch<'_>) -> Result<(), Verdict> {
        let status = fetch.status();
        if self.statuses.is_empty() && !(200..300).contains(&status) {
            let summary = format!("HTTP status {status}, wanted 2xx");
            return Err(Verdict::new(Reason::HttpStatus, summary));
        }
        if !self.statuses.is_empty() && !self.statuses.contains(&status) {
            let summary = format!("HTTP status {status}, wanted one of {:?}", self.statuses);
            return Err(Verdict::new(Reason::HttpStatus, summary));
        }
        self.headers.iter().try_for_each(|rule| rule.judge(fetch))
    }

    fn judge_connection(&self, fetch: &Fetch<'_>) -> Result<(), Verdict> {
        let version = fetch.version().unwrap_or(0.0);
        if !self.versions.is_empty() && !self.versions.contains(&version) {
            let summary = format!("HTTP version {version:.1}, wanted one of {:?}", self.versions);
            return Err(Verdict::new(Reason::ProtocolError, summary));
        }
        match fetch.is_tls() {
            true if self.fails_with_tls => {
                Err(Verdict::new(Reason::TlsPolicy, "the connection is encrypted"))
            }
            false if self.fails_without_tls => {
                Err(Verdict::new(Reason::TlsPolicy, "the connection is not encrypted"))
            }
            _ => Ok(()),
        }
    }
}

impl HeaderRule {
    fn judge(&self, fetch: &Fetch<'_>) -> Result<(), Verdict> {
        let (name, regex) = (&self.name, &self.regex);
        let mut values = fetch.header_values(name).peekable();
        let Some(first) = values.peek().map(|value| shown_line(value, 100)) else {
            if self.allows_missing {
                return Ok(());
            }
            let summary = format!("the header `{name}` is missing");
            return Err(Verdict::new(Reason::HeaderMismatch, summary));
        };
        let summary = match (values.any(|value| regex.is_match(value)), self.must) {
            (false, true) => {
                format!("the header `{name}` is `{first}`, does not match `{regex}`")
            }
            (true, false) => format!("the header `{name}` matches `{regex}`"),
            _ => return Ok(()),
        };
        Err(Verdict::new(Reason::HeaderMismatch, summary))
    }
}
