//! What a fetch has found so far, for those who judge it.
//!
//! Invariant: it can be asked at any time, also of a fetch that was given up.

use base::http::header;

use super::Fetch;

impl Fetch<'_> {
    /// What it is waiting for.
    pub(crate) fn phase(&self) -> String {
        let (host, here) = (self.url.authority().map_or("", |a| a.as_str()), &self.here);
        let encrypted = self.url.scheme_str() == Some("https");
        match (here.resolve, here.connect, here.tls, here.first_byte) {
            (None, ..) => format!("the name in `{host}` is not resolved"),
            (_, None, ..) => format!("there is no connection to `{host}`"),
            (_, _, None, _) if encrypted => format!("the TLS handshake with `{host}` is not done"),
            (.., None) => format!("there is no answer from `{host}`"),
            _ => format!("the body from `{host}` is not complete, with {} bytes", self.length),
        }
    }

    pub(crate) fn summary(&self, seconds: f64) -> String {
        let (status, length) = (self.status(), self.length);
        let redirects = match self.redirects {
            0 => String::new(),
            1 => ", 1 redirect".to_owned(),
            n => format!(", {n} redirects"),
        };
        format!("HTTP status {status}, {length} bytes in {seconds:.3} s{redirects}")
    }

    /// The status, 0 where there was no answer.
    pub(crate) fn status(&self) -> u16 {
        self.answer.as_ref().map_or(0, |answer| answer.status.as_u16())
    }

    pub(crate) fn version(&self) -> Option<f64> {
        self.answer.as_ref().map(|answer| answer.version)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.answer.is_some() && self.url.scheme_str() == Some("https")
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        let headers = &self.answer.as_ref()?.headers;
        headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// When the page was changed, in seconds since 1970, where it says so.
    pub(crate) fn last_modified(&self) -> Option<f64> {
        let headers = &self.answer.as_ref()?.headers;
        let text = headers.get(header::LAST_MODIFIED)?.to_str().ok()?;
        let time = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(time.timestamp().as_second() as f64)
    }

    pub(crate) fn header_values(&self, name: &header::HeaderName) -> impl Iterator<Item = &[u8]> {
        let headers = self.answer.iter().map(|answer| &answer.headers);
        headers.flat_map(move |headers| headers.get_all(name)).map(|value| value.as_bytes())
    }
}
