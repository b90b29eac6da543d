//! Asking a service over HTTP.
//!
//! Invariant: an answer is bounded in size and time, and what is no success is an error that says so.

use std::time::Duration;

use base::http::access::HttpAccess;
use base::http::fetch::{Answer, fetch};
use base::http::{Full, HeaderMap, Request, StatusCode, Uri, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;

/// The most of an answer that is read.
pub(super) const MAX_ANSWER: usize = 64 << 20;
/// The longest that one answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The answer to a request for `url`, of whatever status.
pub(super) async fn get(
    access: &HttpAccess,
    url: &str,
    headers: HeaderMap,
    within: Duration,
) -> Result<Answer, String> {
    fetch(access, request(url, headers)?, MAX_ANSWER, within).await
}

/// A request for `url` with further headers.
pub(super) fn request(url: &str, headers: HeaderMap) -> Result<Request<Full<Bytes>>, String> {
    let uri: Uri = url.parse().map_err(|error| format!("`{url}`: {error}"))?;
    let request = Request::builder()
        .uri(uri)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("veilleur/", env!("CARGO_PKG_VERSION")));
    let mut request = request.body(Full::new(Bytes::new())).map_err(|error| error.to_string())?;
    request.headers_mut().extend(headers);
    Ok(request)
}

/// The JSON of a successful answer.
pub(super) fn json<T: DeserializeOwned>(answer: &Answer) -> Result<T, String> {
    if answer.status != StatusCode::OK {
        return Err(refused(answer));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("the answer is no such JSON: {error}"))
}

/// What an answer says that is no success, on one line.
pub(super) fn refused(answer: &Answer) -> String {
    let said: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
    let said = said.trim().replace(char::is_control, " ");
    format!("HTTP status {}: `{said}`", answer.status.as_u16())
}

/// As a label name: everything but letters, digits and `_` becomes `_`.
pub(super) fn label_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn host_port(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
