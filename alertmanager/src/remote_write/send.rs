//! One request to a remote, and what its answer means.
//!
//! Source: Prometheus's remote write specifications: 5xx and 429 are tried again, other 4xx never.
//!
//! Invariant: what is tried again could succeed, what is given up could not.

use std::time::Duration;

use base::http::kept::{Answer, Kept};
use base::http::{Full, HeaderMap, Method, Request, header};
use base::remote_write::{VERSION_HEADER, Version, WRITTEN_HEADERS};
use bytes::Bytes;

use super::config::Settings;

/// What is read of an answer.
const MAX_ANSWER: usize = 4 << 10;
/// The longest that a remote may tell us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The remote has it.
    Taken,
    /// It will never take it, or parts of it, and says why.
    Refused(String),
    /// It is to be sent again, not before the remote said, where it did.
    Later {
        /// What went wrong.
        why: String,
        /// How long the remote asks us to wait.
        after: Option<Duration>,
    },
}

/// A way to the remote: one for each shard.
#[derive(Debug)]
pub(super) struct Sender {
    kept: Kept,
}

impl Sender {
    pub(super) fn to(settings: &Settings) -> Self {
        Self { kept: Kept::new(settings.access.clone(), settings.origin.clone()) }
    }

    /// Sends `body`. Returns the status of the answer too, if there was one.
    pub(super) async fn send(&mut self, settings: &Settings, body: Bytes) -> (Option<u16>, Sent) {
        let answer = match request(settings, body) {
            Ok(request) => self.kept.send(request, MAX_ANSWER, settings.timeout).await,
            Err(why) => Err(why),
        };
        match answer {
            Ok(answer) => (Some(answer.status), judge(&answer, settings.version)),
            Err(why) => (None, Sent::Later { why, after: None }),
        }
    }
}

fn request(settings: &Settings, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&settings.url)
        .header(header::CONTENT_TYPE, settings.version.content_type())
        .header(header::CONTENT_ENCODING, "snappy")
        .header(header::USER_AGENT, concat!("veilleur/", env!("CARGO_PKG_VERSION")))
        .header(VERSION_HEADER, settings.version.header())
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    request.headers_mut().extend(settings.headers.clone());
    Ok(request)
}

fn judge(answer: &Answer, version: Version) -> Sent {
    let why = || match answer.text.lines().next() {
        Some(line) => format!("status {}: {line}", answer.status),
        None => format!("status {}", answer.status),
    };
    let counted = || WRITTEN_HEADERS.iter().any(|name| answer.headers.contains_key(*name));
    match answer.status {
        // Of 1.0 and looking at no content type, it has found nothing in the message.
        200..=299 if version == Version::V2 && !counted() => Sent::Refused(format!(
            "status {}, but without the headers of remote write 2.0: it speaks 1.0 only; set \
             `protobuf_message: prometheus.WriteRequest`",
            answer.status
        )),
        200..=299 => Sent::Taken,
        429 | 500..=599 => Sent::Later { why: why(), after: retry_after(&answer.headers) },
        _ => Sent::Refused(why()),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_it_is_worth_another_try() {
        let check = |status, named: &[(&'static str, &'static str)], version, expected: Sent| {
            let headers = named.iter().map(|(name, value)| {
                let name = header::HeaderName::from_static(name);
                (name, header::HeaderValue::from_static(value))
            });
            let text = "because\nmore".to_owned();
            let answer = Answer { status, headers: headers.collect(), text };
            assert_eq!(judge(&answer, version), expected, "{status} {named:?}");
        };
        let refused = |status: u16| Sent::Refused(format!("status {status}: because"));
        let later = |status: u16, after: Option<u64>| Sent::Later {
            why: format!("status {status}: because"),
            after: after.map(Duration::from_secs),
        };
        let written = [("x-prometheus-remote-write-samples-written", "5")];
        check(200, &[], Version::V1, Sent::Taken);
        check(204, &written, Version::V2, Sent::Taken);
        check(400, &[], Version::V1, refused(400));
        check(401, &[], Version::V1, refused(401));
        check(415, &[], Version::V2, refused(415));
        check(429, &[("retry-after", "7")], Version::V1, later(429, Some(7)));
        check(503, &[("retry-after", "99999")], Version::V1, later(503, Some(300)));
        check(500, &[("retry-after", "soon")], Version::V2, later(500, None));
        let answer = Answer { status: 204, ..Answer::default() };
        let Sent::Refused(why) = judge(&answer, Version::V2) else { panic!() };
        assert!(why.contains("it speaks 1.0 only"), "{why}");
    }
}
