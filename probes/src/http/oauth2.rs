//! A token by OAuth 2's client credentials (RFC 6749, section 4.4), kept until it runs out.
//!
//! Invariant: neither the secret nor the token is ever part of a text that somebody reads.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::clock::Stopwatch;
use base::http::access::SecretSource;
use base::http::header::{self, HeaderValue};
use base::http::{HeaderMap, Method, Uri, percent_encoded};
use base::secret::Secret;
use base64::prelude::*;
use bytes::Bytes;
use serde::Deserialize;

use super::fetch::{Fetch, Plan};
use super::route::Route;
use crate::Reason;
use crate::network::Failed;
use crate::text::shown_line;

/// The most that is read of the answer.
const MAX_ANSWER: u64 = 64 << 10;
/// A token that is about to run out may have done so when it arrives.
const MARGIN: Duration = Duration::from_secs(10);

/// Who gives tokens, and what for.
#[derive(Debug)]
pub(crate) struct OAuth2 {
    pub(super) url: Uri,
    pub(super) route: Route,
    pub(super) client_id: String,
    pub(super) client_secret: SecretSource,
    /// Whether the secret goes into the body of the request, in place of its header.
    pub(super) in_body: bool,
    /// Further fields of the request, `scope` among them.
    pub(super) fields: Vec<(String, Secret)>,
    pub(super) cached: Cache,
}

/// The last token.
#[derive(Default)]
pub(super) struct Cache(Mutex<Option<Token>>);

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

struct Token {
    authorization: HeaderValue,
    since: Stopwatch,
    /// Until it is refused where nothing was said.
    good_for: Option<Duration>,
}

impl Token {
    fn is_good(&self) -> bool {
        self.good_for.is_none_or(|good_for| self.since.elapsed() < good_for)
    }
}

/// What a token endpoint answers.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

/// What it answers where it refuses.
#[derive(Deserialize)]
struct Denied {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl OAuth2 {
    /// The value of the header `Authorization`; asks for a token where there is none that is good.
    pub(crate) async fn authorization(&self) -> Result<HeaderValue, Failed> {
        let kept = |token: &Option<Token>| {
            token.as_ref().filter(|token| token.is_good()).map(|token| token.authorization.clone())
        };
        if let Some(value) = kept(&self.cached.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(value);
        }
        let token = self.fetch().await.map_err(|failed| {
            let host = self.url.authority().map_or("", |authority| authority.as_str());
            let summary = format!("no token from `{host}`: {}", failed.summary);
            Failed::new(Reason::TokenFailed, summary)
        })?;
        let value = token.authorization.clone();
        *self.cached.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(value)
    }

    /// Forgets the token, which was refused.
    pub(crate) fn forget(&self) {
        *self.cached.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What it waits for.
    pub(crate) fn waiting(&self) -> String {
        let host = self.url.authority().map_or("", |authority| authority.as_str());
        format!("there is no token from `{host}`")
    }

    async fn fetch(&self) -> Result<Token, Failed> {
        let since = Stopwatch::start();
        let plan = self.plan()?;
        let mut fetch = Fetch::new(&plan, self.url.clone(), &self.route);
        fetch.run().await?;
        let status = fetch.status();
        if status != 200 {
            let why = match serde_json::from_slice::<Denied>(&fetch.body) {
                Ok(denied) => {
                    let said = format!("{} {}", denied.error, denied.error_description);
                    format!(", `{}`", shown_line(said.as_bytes(), 200))
                }
                Err(_) => String::new(),
            };
            return Err(Failed::new(Reason::TokenFailed, format!("HTTP status {status}{why}")));
        }
        let failed = |what: &str| Failed::new(Reason::TokenFailed, what);
        // serde's own words could repeat a part of the token.
        let granted: Granted = serde_json::from_slice(&fetch.body)
            .map_err(|_| failed("the answer is no JSON with an `access_token`"))?;
        let kind = granted.token_type.unwrap_or_else(|| "Bearer".to_owned());
        let kind = if kind.eq_ignore_ascii_case("bearer") { "Bearer" } else { kind.as_str() };
        let text = format!("{kind} {}", granted.access_token);
        let mut authorization = HeaderValue::from_str(&text)
            .map_err(|_| failed("the token has characters that a header cannot have"))?;
        authorization.set_sensitive(true);
        let good_for = granted.expires_in.map(|seconds| {
            let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            whole.saturating_sub(MARGIN.min(whole / 2))
        });
        Ok(Token { authorization, since, good_for })
    }

    fn plan(&self) -> Result<Plan, Failed> {
        let internal = |why: String| Failed::new(Reason::Internal, why);
        let secret = self.client_secret.read().map_err(internal)?;
        let (id, secret) = (percent_encoded(&self.client_id), percent_encoded(secret.expose()));
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        let agent = concat!("veilleur-agent/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // blackbox_exporter's own example has it among the further fields.
        let is_grant = |(name, _): &&(String, Secret)| name == "grant_type";
        let grant = self.fields.iter().find(is_grant);
        let grant = grant.map_or("client_credentials", |(_, grant)| grant.expose());
        let mut body = format!("grant_type={}", percent_encoded(grant));
        if self.in_body {
            body += &format!("&client_id={id}&client_secret={secret}");
        } else {
            let pair = BASE64_STANDARD.encode(format!("{id}:{secret}"));
            let value = HeaderValue::from_str(&format!("Basic {pair}"));
            let mut value = value.map_err(|error| internal(error.to_string()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        for (name, value) in self.fields.iter().filter(|field| !is_grant(field)) {
            body += &format!("&{}={}", percent_encoded(name), percent_encoded(value.expose()));
        }
        Ok(Plan {
            method: Method::POST,
            headers,
            body: Bytes::from(body),
            redirects: None,
            body_limit: MAX_ANSWER,
            keeps_body: true,
        })
    }
}
