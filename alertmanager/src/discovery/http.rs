//! `http_sd_configs`: a service that answers with lists of targets.
//!
//! Source: Prometheus's documentation of HTTP service discovery.
//!
//! Invariant: an answer counts as a whole or not at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpAccess;
use base::http::{HeaderMap, StatusCode, Uri, header};
use base::labels::{Labels, LabelsBuilder};
use base::period::Period;
use base::sample::Timestamp;
use serde::Deserialize;

use super::Discovered;
use super::source::{Discovery, Made};
use super::web::{self, PATIENCE};

client_settings! {
    /// A service that answers with lists of targets, as written.
    pub struct HttpSdConfig {
        /// Its address.
        pub url: Spanned<String>,
        /// How often it is asked; by default every minute.
        #[serde(default)]
        pub refresh_interval: Option<Spanned<Period>>,
    }
}

/// A list in an answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl HttpSdConfig {
    pub(super) fn build(
        &self,
        place: Place,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Made> {
        let access = self.http(folder).build_following(place, diagnostics);
        check_url(&self.url, diagnostics)?;
        let (access, url) = (access?, self.url.value.clone());
        let every = refresh(self.refresh_interval, Period::from_secs(60), diagnostics);
        let sd = HttpSd { url, access, every };
        let make = Arc::new(move || Box::new(sd.clone()) as Box<dyn Discovery>);
        Some(Made { pause: every.duration(), patience: PATIENCE, make })
    }
}

/// How often a service is asked; never is no answer.
pub(super) fn refresh(
    written: Option<Spanned<Period>>,
    default: Period,
    diagnostics: &mut Diagnostics,
) -> Period {
    match written {
        Some(period) if period.value.is_zero() => {
            diagnostics.report(period.place, "`refresh_interval` cannot be zero");
            default
        }
        Some(period) => period.value,
        None => default,
    }
}

/// Reports what is no address of a service.
pub(super) fn check_url(url: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Uri> {
    let text = &url.value;
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if !matches!(scheme, "http" | "https") {
        let message = format!("`{text}`: URL scheme must be 'http' or 'https'");
        diagnostics.report_with_help(url, message, "write it like `http://host:port/path`");
        return None;
    }
    if rest.split(['/', '?']).next().unwrap_or("").is_empty() {
        let message = format!("`{text}`: host is missing in URL");
        diagnostics.report_with_help(url, message, "write it like `http://host:port/path`");
        return None;
    }
    let uri = text.parse().ok().filter(|uri| base::http::client::Origin::of(uri).is_ok());
    if uri.is_none() {
        diagnostics.report(url, format!("`{text}` is no URL"));
    }
    uri
}

#[derive(Clone)]
struct HttpSd {
    url: String,
    access: HttpAccess,
    every: Period,
}

#[async_trait]
impl Discovery for HttpSd {
    async fn next(&mut self, _now: Timestamp) -> Result<Vec<Discovered>, String> {
        let mut headers = HeaderMap::new();
        let seconds = self.every.duration().as_secs_f64().to_string();
        if let Ok(seconds) = seconds.parse() {
            headers.insert("x-prometheus-refresh-interval-seconds", seconds);
        }
        let answer = web::get(&self.access, &self.url, headers, PATIENCE).await?;
        if answer.status != StatusCode::OK {
            return Err(web::refused(&answer));
        }
        let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or("");
        if !kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json") {
            return Err(format!("the answer is `{kind}`, not application/json"));
        }
        read(&answer.body, &self.url)
    }
}

/// The targets in an answer of the service at `url`.
///
/// # Errors
///
/// It is no list of targets; the text says where.
pub fn read(answer: &[u8], url: &str) -> Result<Vec<Discovered>, String> {
    let groups: Vec<Group> = serde_json::from_slice(answer)
        .map_err(|error| format!("the answer is no list of targets: {error}"))?;
    let mut found = Vec::new();
    for group in groups {
        for target in &group.targets {
            let mut labels = LabelsBuilder::from(&Labels::from_pairs(&group.labels));
            labels.set("__address__", target);
            labels.set("__meta_url", url);
            found.push(labels.build());
        }
    }
    Ok(found)
}
