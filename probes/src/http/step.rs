//! One request and what is expected of its answer: all of a simple probe, a step of a journey.
//!
//! ```text
//! prepare (variables, authorisation) ─▶ Fetch ─▶ expectations ─▶ JSON ─▶ extract ─▶ limits ─▶ Taken
//! ```
//!
//! Invariant: what we are known by goes only to origins that are written in the configuration.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use base::clock::Stopwatch;
use base::http::access::SecretSource;
use base::http::client::{Origin, Phases};
use base::http::header::{self, HeaderName, HeaderValue};
use base::http::{HeaderMap, Method, Uri};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::cookies::Cookies;
use super::expect::Expectations;
use super::fetch::{Fetch, Plan};
use super::json::JsonRule;
use super::oauth2::OAuth2;
use super::route::Route;
use super::variables::{Escape, Extract, Source, Template, Variables};
use crate::Reason;
use crate::chain::Seen;
use crate::network::Failed;
use crate::outcome::Status;
use crate::session::{DAYS_LEFT, SECONDS, days_left};
use crate::thresholds::{Limits, Value, Verdict};

/// The phases by the names that metrics and limits give them.
pub(super) const PHASES: [&str; 5] = ["resolve", "connect", "tls", "processing", "transfer"];

/// How pages are reached, and as whom.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) route: Route,
    pub(super) identity: Identity,
    /// The origins that are written.
    pub(super) origins: Vec<Origin>,
}

/// As whom we ask.
#[derive(Debug)]
pub(crate) enum Identity {
    Nobody,
    Fixed(HeaderValue),
    Token { scheme: String, token: SecretSource },
    OAuth2(Box<OAuth2>),
}

impl Identity {
    /// The header `Authorization`, where there is one to be.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, Failed> {
        match self {
            Self::Nobody => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::Token { scheme, token } => {
                let failed = |why: String| Failed::new(Reason::CannotRead, why);
                let token = token.read().map_err(failed)?;
                let value = HeaderValue::from_str(&format!("{scheme} {}", token.expose()));
                let why = "the token has characters that a header cannot have";
                let mut value = value.map_err(|_| failed(why.to_owned()))?;
                value.set_sensitive(true);
                Ok(Some(value))
            }
            Self::OAuth2(oauth2) => oauth2.authorization().await.map(Some),
        }
    }

    /// What it waits for while it finds out.
    pub(super) fn waiting(&self) -> String {
        match self {
            Self::OAuth2(oauth2) => oauth2.waiting(),
            _ => "it is not known who we are".to_owned(),
        }
    }
}

/// What goes from step to step.
#[derive(Debug, Default)]
pub(super) struct Journey {
    pub(super) variables: Variables,
    pub(super) cookies: Cookies,
    /// Whether there is more than one step.
    pub(super) has_steps: bool,
    /// Whether something from outside was asked.
    pub(super) from_outside: bool,
}

/// A step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) url: Template,
    pub(super) method: Method,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) body: Content,
    /// How variables stand in the body.
    pub(super) escape: Escape,
    pub(super) redirects: Option<u32>,
    pub(super) body_limit: u64,
    pub(super) expect: Expectations,
    pub(super) json: Vec<JsonRule>,
    pub(super) extract: Vec<Extract>,
    pub(super) limits: Limits,
}

/// What is sent.
pub(super) enum Content {
    Text(Template),
    /// What a file has, as it is.
    Bytes(Bytes),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Debug::fmt(text, f),
            // It may be secret.
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

/// What a step has seen of its page.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) times: Phases,
    pub(super) token: Option<Duration>,
    /// 0 where there was no answer.
    pub(super) status: u16,
    pub(super) redirects: u32,
    pub(super) content_length: Option<u64>,
    /// Without compression.
    pub(super) length: u64,
    pub(super) is_tls: bool,
    pub(super) version: Option<f64>,
    /// In seconds since 1970.
    pub(super) last_modified: Option<f64>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) seen: Seen,
}

/// What came of a step.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) failed: Option<Failed>,
    pub(super) summary: String,
    pub(super) seconds: f64,
    pub(super) page: Page,
    pub(super) verdict: Verdict,
    /// Numbers found in JSON, by the names of their rules.
    pub(super) numbers: Vec<(String, f64)>,
}

impl Taken {
    fn new() -> Self {
        let verdict = Verdict { status: Status::Ok, text: String::new(), measurements: Vec::new() };
        Self {
            failed: None,
            summary: String::new(),
            seconds: 0.0,
            page: Page::default(),
            verdict,
            numbers: Vec::new(),
        }
    }
}

/// What phases took, in the order of [`PHASES`].
pub(super) fn phases(times: &Phases) -> [Option<Duration>; 5] {
    [times.resolve, times.connect, times.tls, times.first_byte, times.transfer]
}

/// What was measured; of the phases those that have limits, as all of them are metrics already.
pub(super) fn values(
    seconds: f64,
    expiry: Option<f64>,
    times: &Phases,
    limits: &Limits,
) -> Vec<Value> {
    let mut values = vec![Value { name: SECONDS, value: seconds, unit: "s" }];
    let days = expiry.map(days_left);
    values.extend(days.map(|value| Value { name: DAYS_LEFT, value, unit: "" }));
    for (name, time) in PHASES.into_iter().zip(phases(times)) {
        if let Some(time) = time.filter(|_| limits.has(name)) {
            values.push(Value { name, value: time.as_secs_f64(), unit: "s" });
        }
    }
    values
}

impl Step {
    /// Takes the step; the time is up when `stop` is cancelled.
    pub(super) async fn take(
        &self,
        access: &Access,
        journey: &mut Journey,
        stop: &CancellationToken,
    ) -> Taken {
        let (watch, mut taken) = (Stopwatch::start(), Taken::new());
        match self.prepare(access, journey, stop, &mut taken).await {
            Ok((url, plan)) => self.fetch(url, &plan, access, journey, stop, &mut taken).await,
            Err(failed) => taken.failed = Some(failed),
        }
        taken.seconds = watch.seconds();
        if journey.has_steps {
            let page = &taken.page;
            let values = values(taken.seconds, page.seen.expiry(), &page.times, &self.limits);
            let mut verdict = self.limits.judge(&values);
            let text = Some(taken.verdict.text.as_str()).filter(|text| !text.is_empty());
            verdict.add(taken.verdict.status, text);
            verdict.measurements.append(&mut taken.verdict.measurements);
            taken.verdict = verdict;
        }
        taken
    }

    /// What is asked, with the values that variables have.
    async fn prepare(
        &self,
        access: &Access,
        journey: &Journey,
        stop: &CancellationToken,
        taken: &mut Taken,
    ) -> Result<(Uri, Plan), Failed> {
        let variables = &journey.variables;
        // The values themselves are not shown.
        let bad_url = || {
            let summary = format!("`{}` with its values is no URL", self.url.source());
            Failed::new(Reason::BadRedirect, summary)
        };
        let url: Uri = self.url.render_url(variables).parse().map_err(|_| bad_url())?;
        let origin = Origin::of(&url).map_err(|_| bad_url())?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let value = HeaderValue::from_str(&value.render(variables, Escape::None));
            let mut value = value.map_err(|_| {
                let summary =
                    format!("a value for `{name}` has characters that no header can have");
                Failed::new(Reason::HeaderMismatch, summary)
            })?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let is_ours = access.origins.contains(&origin);
        if is_ours && !headers.contains_key(header::AUTHORIZATION) {
            let watch = Stopwatch::start();
            let work = access.identity.authorization();
            let authorization = stop.run_until_cancelled(work).await;
            if let Identity::OAuth2(oauth2) = &access.identity {
                taken.page.token = Some(watch.elapsed());
                if authorization.is_none() {
                    return Err(timed_out(&oauth2.waiting(), watch));
                }
            }
            let authorization = authorization.transpose()?.flatten();
            headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
        }
        let plan = Plan {
            method: self.method.clone(),
            headers,
            body: match &self.body {
                Content::Text(text) => Bytes::from(text.render(variables, self.escape)),
                Content::Bytes(bytes) => bytes.clone(),
            },
            redirects: self.redirects,
            body_limit: self.body_limit,
            keeps_body: true,
        };
        Ok((url, plan))
    }

    async fn fetch(
        &self,
        url: Uri,
        plan: &Plan,
        access: &Access,
        journey: &mut Journey,
        stop: &CancellationToken,
        taken: &mut Taken,
    ) {
        let watch = Stopwatch::start();
        let mut fetch = Fetch::new(plan, url, &access.route);
        fetch.cookies = std::mem::take(&mut journey.cookies);
        fetch.gives_cookies = journey.has_steps;
        fetch.from_outside = journey.from_outside && self.url.host_varies();
        let mut length = None;
        taken.failed = match stop.run_until_cancelled(fetch.run()).await {
            None => Some(timed_out(&fetch.phase(), watch)),
            Some(Err(failed)) => Some(failed),
            Some(Ok(())) => match fetch.unpacked() {
                Err(failed) => Some(failed),
                Ok(body) => {
                    length = matches!(body, Cow::Owned(_)).then_some(body.len() as u64);
                    self.judge(&fetch, &body, journey, taken).err()
                }
            },
        };
        taken.summary = fetch.summary(watch.seconds());
        if let (401, Identity::OAuth2(oauth2)) = (fetch.status(), &access.identity) {
            oauth2.forget();
        }
        taken.page = Page {
            times: fetch.times,
            token: taken.page.token,
            status: fetch.status(),
            redirects: fetch.redirects,
            content_length: fetch.content_length(),
            length: length.unwrap_or(fetch.length),
            is_tls: fetch.is_tls(),
            version: fetch.version(),
            last_modified: fetch.last_modified(),
            peer: fetch.peer,
            seen: std::mem::take(&mut fetch.seen),
        };
        journey.from_outside |= fetch.from_outside;
        journey.cookies = std::mem::take(&mut fetch.cookies);
    }

    /// Holds the answer against what it should be, and keeps what later steps want of it.
    fn judge(
        &self,
        fetch: &Fetch<'_>,
        body: &[u8],
        journey: &mut Journey,
        taken: &mut Taken,
    ) -> Result<(), Failed> {
        self.expect.judge(fetch, body, &journey.variables)?;
        let wants_json = self.extract.iter().any(|one| matches!(one.from, Source::Json(_)));
        let json: Option<serde_json::Value> = if wants_json || !self.json.is_empty() {
            let json = serde_json::from_slice(body).map_err(|error| {
                let summary = format!("the body is not JSON: {error}");
                Failed::new(Reason::BodyMismatch, summary)
            });
            Some(json?)
        } else {
            None
        };
        for (rule, json) in self.json.iter().zip(json.iter().cycle()) {
            let judged = rule.judge(json, &journey.variables);
            if let Some(measurement) = judged.measurement {
                taken.numbers.push((rule.name.clone(), measurement.value));
                taken.verdict.measurements.push(measurement);
            }
            for (status, text) in judged.over {
                taken.verdict.add(status, Some(&text));
            }
            if let Some(mismatch) = judged.mismatch {
                return Err(Failed::new(Reason::BodyMismatch, mismatch));
            }
        }
        let variables = &mut journey.variables;
        self.extract.iter().try_for_each(|one| one.run(fetch, body, json.as_ref(), variables))
    }
}

pub(super) fn timed_out(phase: &str, watch: Stopwatch) -> Failed {
    Failed::new(Reason::Timeout, format!("{phase} after {:.1} s", watch.seconds()))
}
