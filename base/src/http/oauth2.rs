//! A token by OAuth 2's client credentials (RFC 6749, section 4.4), kept until it runs out.
//!
//! Invariant: neither the secret nor the token is ever part of a text that somebody reads.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::access::{HttpAccess, SecretSource, basic};
use super::fetch::fetch;
use super::header::{self, HeaderValue};
use super::{Full, HeaderMap, Method, Request, Uri, percent_encoded};
use crate::clock::Stopwatch;
use crate::secret::Secret;

/// The most that is read of the answer.
pub const MAX_ANSWER: usize = 64 << 10;
/// How long who gives tokens may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A token that is about to run out may have done so when it arrives.
const MARGIN: Duration = Duration::from_secs(10);

/// What a token is asked for with.
#[derive(Debug)]
pub struct Grant {
    /// Our name.
    pub client_id: String,
    /// Our secret.
    pub client_secret: SecretSource,
    /// Whether the secret goes into the body of the request, in place of its header.
    pub in_body: bool,
    /// Further fields of the request, `scope` among them.
    pub fields: Vec<(String, Secret)>,
}

/// A token.
pub struct Token {
    authorization: HeaderValue,
    since: Stopwatch,
    /// Until it is refused where nothing was said.
    good_for: Option<Duration>,
}

/// The last token.
#[derive(Default)]
pub struct Cache(Mutex<Option<Token>>);

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
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

impl Grant {
    /// The headers and the body of the request, which is a POST.
    ///
    /// # Errors
    ///
    /// The secret cannot be read, or cannot stand in a header.
    pub fn request(&self) -> Result<(HeaderMap, String), String> {
        let secret = self.client_secret.read()?;
        let (id, secret) = (percent_encoded(&self.client_id), percent_encoded(secret.expose()));
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // blackbox_exporter's own example has it among the further fields.
        let is_grant = |(name, _): &&(String, Secret)| name == "grant_type";
        let grant = self.fields.iter().find(is_grant);
        let grant = grant.map_or("client_credentials", |(_, grant)| grant.expose());
        let mut body = format!("grant_type={}", percent_encoded(grant));
        if self.in_body {
            body += &format!("&client_id={id}&client_secret={secret}");
        } else {
            let value = HeaderValue::from_str(&basic(format!("{id}:{secret}")));
            let mut value = value.map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        for (name, value) in self.fields.iter().filter(|field| !is_grant(field)) {
            body += &format!("&{}={}", percent_encoded(name), percent_encoded(value.expose()));
        }
        Ok((headers, body))
    }
}

impl Token {
    /// The token in an answer to a request that was sent at `since`.
    ///
    /// # Errors
    ///
    /// It holds none; the text repeats no part of one.
    pub fn read(status: u16, body: &[u8], since: Stopwatch) -> Result<Self, String> {
        if status != 200 {
            let why = match serde_json::from_slice::<Denied>(body) {
                Ok(denied) => {
                    let said = format!("{} {}", denied.error, denied.error_description);
                    let said: String = said.trim().chars().take(200).collect();
                    format!(", `{}`", said.replace(char::is_control, " "))
                }
                Err(_) => String::new(),
            };
            return Err(format!("HTTP status {status}{why}"));
        }
        // serde's own words could repeat a part of the token.
        let granted: Granted = serde_json::from_slice(body)
            .map_err(|_| "the answer is no JSON with an `access_token`")?;
        let kind = granted.token_type.unwrap_or_else(|| "Bearer".to_owned());
        let kind = if kind.eq_ignore_ascii_case("bearer") { "Bearer" } else { kind.as_str() };
        let text = format!("{kind} {}", granted.access_token);
        let mut authorization = HeaderValue::from_str(&text)
            .map_err(|_| "the token has characters that a header cannot have")?;
        authorization.set_sensitive(true);
        let good_for = granted.expires_in.map(|seconds| {
            let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            whole.saturating_sub(MARGIN.min(whole / 2))
        });
        Ok(Self { authorization, since, good_for })
    }

    /// The value of the header `Authorization`.
    pub fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    fn is_good(&self) -> bool {
        self.good_for.is_none_or(|good_for| self.since.elapsed() < good_for)
    }
}

impl Cache {
    /// The value of the header `Authorization`, where there is a token that is good.
    pub fn get(&self) -> Option<HeaderValue> {
        let token = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().filter(|token| token.is_good()).map(Token::authorization)
    }

    /// Keeps `token`, or forgets the one that there is.
    pub fn set(&self, token: Option<Token>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

/// Who gives tokens, and what for.
#[derive(Debug)]
pub(super) struct OAuth2 {
    url: Uri,
    access: HttpAccess,
    grant: Grant,
    cached: Cache,
}

impl OAuth2 {
    pub(super) fn new(url: Uri, access: HttpAccess, grant: Grant) -> Self {
        Self { url, access, grant, cached: Cache::default() }
    }

    /// Asks for a token where there is none that is good.
    pub(super) async fn prepare(&self) -> Result<(), String> {
        if self.cached.get().is_some() {
            return Ok(());
        }
        let host = self.url.authority().map_or("", |authority| authority.as_str());
        let token = self.ask().await.map_err(|why| format!("no token from `{host}`: {why}"))?;
        self.cached.set(Some(token));
        Ok(())
    }

    pub(super) fn forget(&self) {
        self.cached.set(None);
    }

    pub(super) fn kept(&self) -> Result<HeaderValue, String> {
        self.cached.get().ok_or_else(|| "there is no token, or it has run out".to_owned())
    }

    /// Boxed, because who gives tokens is asked as everybody else is.
    fn ask(&self) -> Pin<Box<dyn Future<Output = Result<Token, String>> + Send + '_>> {
        Box::pin(async move {
            let since = Stopwatch::start();
            let (headers, body) = self.grant.request()?;
            let request = Request::builder().method(Method::POST).uri(self.url.clone());
            let request = request.body(Full::new(Bytes::from(body)));
            let mut request = request.map_err(|error| error.to_string())?;
            *request.headers_mut() = headers;
            let answer = fetch(&self.access, request, MAX_ANSWER, PATIENCE).await?;
            Token::read(answer.status.as_u16(), &answer.body, since)
        })
    }
}
