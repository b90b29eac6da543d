//! An HTTP probe as written.
//!
//! Invariant: the built probe's URL, headers and expressions are valid.

use base64::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Spanned};
use base::http::client::{Client, Origin};
use base::http::header::{self, HeaderName, HeaderValue};
use base::http::tls::TlsConfig;
use base::http::{HeaderMap, Method, Uri};
use base::secret::Secret;
use bytes::Bytes;

use super::HttpProbe;
use super::expect::{Expectations, Statuses};
use super::fetch::Plan;
use crate::network::regex;
use crate::script::ByteSize;
use crate::text::Texts;

/// How many redirects are followed where nothing is said, as with blackbox_exporter.
const MAX_REDIRECTS: u32 = 10;
/// How much of a body is read where nothing is said.
const BODY_LIMIT: ByteSize = ByteSize(1 << 20);

/// An HTTP probe, as written.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// The page: an absolute `http` or `https` URL.
    url: Spanned<String>,
    /// `GET` where nothing is said.
    #[serde(default)]
    method: Option<Spanned<String>>,
    /// Further headers of the request.
    #[serde(default)]
    headers: BTreeMap<String, Spanned<Secret>>,
    /// The body of the request.
    #[serde(default)]
    body: String,
    /// Who we are.
    #[serde(default)]
    basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// The statuses that are wanted: `200`, `300-399`, `2xx`; `2xx` where nothing is said.
    #[serde(default)]
    expect_status: Spanned<Texts>,
    /// Headers that must be there, with what their values must match.
    #[serde(default)]
    expect_headers: BTreeMap<String, Spanned<String>>,
    /// Headers that must not be there with a value that matches.
    #[serde(default)]
    reject_headers: BTreeMap<String, Spanned<String>>,
    /// Texts that the body must have.
    #[serde(default)]
    body_contains: Spanned<Texts>,
    /// Expressions that the body must match.
    #[serde(default)]
    body_matches: Spanned<Texts>,
    /// Expressions that the body must not match.
    #[serde(default)]
    body_not_matches: Spanned<Texts>,
    /// How much of a body is read; a larger one is a failure. `1MiB` by default.
    #[serde(default)]
    body_limit: Option<Spanned<ByteSize>>,
    /// Whether redirects are followed; else the redirect itself is judged. `true` by default.
    #[serde(default)]
    follow_redirects: Option<bool>,
    /// How many redirects are followed; `10` where nothing is said.
    #[serde(default)]
    max_redirects: Option<u32>,
    /// A connection without TLS is a failure.
    #[serde(default)]
    fail_if_not_ssl: bool,
    /// A connection with TLS is a failure.
    #[serde(default)]
    fail_if_ssl: bool,
    /// Whom to trust, and who we are.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
}

/// A user name and a password.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BasicAuthConfig {
    /// The name.
    username: String,
    /// The password.
    #[serde(default)]
    password: Option<Secret>,
    /// The file with the password; read when the configuration is.
    #[serde(default)]
    password_file: Option<Spanned<PathBuf>>,
}

impl HttpConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<HttpProbe> {
        let url = url(&self.url, diagnostics);
        let method = method(self.method.as_ref(), diagnostics);
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            add_header(&mut headers, name, value, diagnostics);
        }
        if !headers.contains_key(header::USER_AGENT) {
            let agent = concat!("veilleur-agent/", env!("CARGO_PKG_VERSION"));
            headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        }
        if let Some(auth) = &self.basic_auth {
            headers.extend(auth.value.build(auth, diagnostics).map(|v| (header::AUTHORIZATION, v)));
        }
        if self.fail_if_ssl && self.fail_if_not_ssl {
            let help = "remove `fail_if_ssl` or `fail_if_not_ssl`";
            diagnostics.report_with_help(&self.url, "no connection can pass both ways", help);
        }
        let (redirects, limit) =
            (self.redirects(), self.body_limit.as_ref().map_or(BODY_LIMIT, |l| l.value));
        let tls = self.tls.as_ref();
        let client = match Client::new(&tls.map(|tls| tls.value.clone()).unwrap_or_default()) {
            Ok(client) => Some(client),
            Err(error) => {
                diagnostics.report(tls.map_or(self.url.place, |tls| tls.place), error.to_string());
                None
            }
        };
        let body = Bytes::from(self.body.clone());
        let expect = self.expectations(diagnostics);
        let plan = Plan {
            client: client?,
            method: method?,
            headers,
            body,
            redirects,
            body_limit: limit.0,
            keeps_body: true,
        };
        Some(HttpProbe { url: url?, plan, expect })
    }

    fn redirects(&self) -> Option<u32> {
        match (self.follow_redirects, self.max_redirects) {
            (Some(false), _) => None,
            (_, most) => Some(most.unwrap_or(MAX_REDIRECTS)),
        }
    }

    fn expectations(self, diagnostics: &mut Diagnostics) -> Expectations {
        let mut status = Statuses(Vec::new());
        for text in &self.expect_status.value.0 {
            if !status.add(text) {
                let message = format!("`{text}` is not an HTTP status");
                let help = "write it like `200`, `300-399` or `2xx`";
                diagnostics.report_with_help(&self.expect_status, message, help);
            }
        }
        if self.expect_status.value.0.is_empty() {
            status.0.push(200..=299);
        }
        let mut conditions = |headers: &BTreeMap<String, Spanned<String>>| {
            let mut conditions = Vec::new();
            for (name, pattern) in headers {
                let name = header_name(name, pattern, diagnostics);
                conditions.extend(name.zip(regex(&pattern.value, pattern.place, diagnostics)));
            }
            conditions
        };
        let headers = conditions(&self.expect_headers);
        let reject_headers = conditions(&self.reject_headers);
        let mut regexes = |patterns: &Spanned<Texts>| {
            let place = patterns.place;
            let all = patterns.value.0.iter();
            all.filter_map(|pattern| regex(pattern, place, diagnostics)).collect()
        };
        let matches = regexes(&self.body_matches);
        let not_matches = regexes(&self.body_not_matches);
        let encrypted = match (self.fail_if_not_ssl, self.fail_if_ssl) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        let contains = self.body_contains.value.0;
        Expectations { status, headers, reject_headers, contains, matches, not_matches, encrypted }
    }
}

/// An absolute `http` or `https` URL.
pub(crate) fn url(text: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Uri> {
    let url: Uri = match text.value.parse() {
        Ok(url) => url,
        Err(_) => {
            let help = "write it like `https://shop.example/health`";
            diagnostics.report_with_help(text, format!("`{}` is not a URL", text.value), help);
            return None;
        }
    };
    match Origin::of(&url) {
        Ok(_) => Some(url),
        Err(error) => {
            diagnostics.report(text, error.to_string());
            None
        }
    }
}

pub(crate) fn method(
    text: Option<&Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> Option<Method> {
    let Some(text) = text else { return Some(Method::GET) };
    let upper = text.value.to_ascii_uppercase();
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    if known.contains(&upper.as_str()) {
        return upper.parse().ok();
    }
    diagnostics.report(text, format!("`{}` is not an HTTP method", text.value));
    None
}

pub(crate) fn header_name<T>(
    name: &str,
    at: &Spanned<T>,
    diagnostics: &mut Diagnostics,
) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    if parsed.is_none() {
        diagnostics.report(at, format!("`{name}` is not a name of a header"));
    }
    parsed
}

/// Sets a header of a request, which is never shown.
pub(crate) fn add_header(
    headers: &mut HeaderMap,
    name: &str,
    value: &Spanned<Secret>,
    diagnostics: &mut Diagnostics,
) {
    let Some(parsed) = header_name(name, value, diagnostics) else { return };
    match HeaderValue::from_str(value.value.expose()) {
        Ok(mut text) => {
            text.set_sensitive(true);
            headers.insert(parsed, text);
        }
        Err(_) => diagnostics.report(
            value,
            format!("the value of `{name}` has characters that a header cannot have"),
        ),
    }
}

impl BasicAuthConfig {
    /// The value of the header `Authorization`.
    pub(crate) fn build(
        &self,
        at: &Spanned<Self>,
        diagnostics: &mut Diagnostics,
    ) -> Option<HeaderValue> {
        let password = match (&self.password, &self.password_file) {
            (Some(password), None) => password.clone(),
            (None, Some(file)) => match std::fs::read_to_string(&file.value) {
                Ok(text) => Secret::new(text.trim_end_matches(['\r', '\n'])),
                Err(error) => {
                    let shown = file.value.display();
                    diagnostics.report(file, format!("`{shown}` cannot be read: {error}"));
                    return None;
                }
            },
            _ => {
                diagnostics.report(at, "either `password` or `password_file` is needed");
                return None;
            }
        };
        if self.username.contains(':') {
            diagnostics.report(at, "a user name cannot have a colon in it");
            return None;
        }
        let pair = format!("{}:{}", self.username, password.expose());
        let mut value =
            HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())))
                .ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}
