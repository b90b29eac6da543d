//! One request to the receiver, and what its answer means.
//!
//! 2.0 is tried first. A receiver that does not know it answers 415; one of 1.0 that does not look
//! at the content type finds nothing in the message and answers 2xx, but without the headers that
//! 2.0 asks for. Both are sent the same again in 1.0, and from then on only that.
//!
//! Invariant: what is tried again could succeed, what is given up could not.

use std::time::Duration;

use base::http::kept::{Answer, Kept};
use base::http::{Full, HeaderMap, Method, Request, header};
use base::remote_write::{VERSION_HEADER, Version, WRITTEN_HEADERS, decode, encode};
use hyper::body::Bytes;

use super::config::Settings;

/// What is read of an answer.
const MAX_ANSWER: usize = 4 << 10;
/// What a record may be when decompressed: far more than we write.
pub(super) const MAX_RECORD: usize = 64 << 20;
/// The longest that a receiver may tell us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The receiver has it.
    Taken,
    /// It will never take it, or parts of it, and says why.
    Refused(String),
    /// It is to be sent again, not before the receiver said, where it did.
    Later {
        /// What went wrong.
        why: String,
        /// How long the receiver asks us to wait.
        after: Option<Duration>,
    },
}

/// Sends records, over one connection as long as it lasts.
#[derive(Debug)]
pub(super) struct Sender {
    settings: Settings,
    version: Version,
    kept: Kept,
}

impl Sender {
    pub(super) fn new(settings: Settings) -> Self {
        let version = settings.version.unwrap_or(Version::V2);
        let kept = Kept::new(settings.access.clone(), settings.origin.clone());
        Self { settings, version, kept }
    }

    /// Sends `body`, a message of 2.0. Returns the status of the last answer too, if there was one.
    pub(super) async fn send(&mut self, body: &[u8]) -> (Option<u16>, Sent) {
        let answer = match self.post(body).await {
            Ok(answer) => answer,
            Err(why) => return (None, Sent::Later { why, after: None }),
        };
        let undecided = self.settings.version.is_none() && self.version == Version::V2;
        if undecided && !knows_2_0(&answer) {
            self.version = Version::V1;
            return match self.post(body).await {
                Ok(answer) => (Some(answer.status), judge(&answer)),
                Err(why) => (None, Sent::Later { why, after: None }),
            };
        }
        (Some(answer.status), judge(&answer))
    }

    async fn post(&mut self, body: &[u8]) -> Result<Answer, String> {
        let body = match self.version {
            Version::V2 => Bytes::copy_from_slice(body),
            Version::V1 => {
                let message = decode(body, Version::V2, MAX_RECORD).map_err(|e| e.to_string())?;
                encode(&message.series, Version::V1).into()
            }
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.settings.url)
            .header(header::CONTENT_TYPE, self.version.content_type())
            .header(header::CONTENT_ENCODING, "snappy")
            .header(header::USER_AGENT, concat!("veilleur-agent/", env!("CARGO_PKG_VERSION")))
            .header(VERSION_HEADER, self.version.header())
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        self.kept.send(request, MAX_ANSWER, self.settings.timeout).await
    }
}

/// Whether an answer to 2.0 is that of a receiver that knows it.
fn knows_2_0(answer: &Answer) -> bool {
    match answer.status {
        415 => false,
        200..=299 => WRITTEN_HEADERS.iter().any(|name| answer.headers.contains_key(*name)),
        _ => true,
    }
}

fn judge(answer: &Answer) -> Sent {
    let why = || match answer.text.lines().next() {
        Some(line) => format!("status {}: {line}", answer.status),
        None => format!("status {}", answer.status),
    };
    match answer.status {
        200..=299 => Sent::Taken,
        429 | 500..=599 => Sent::Later { why: why(), after: retry_after(&answer.headers) },
        // A proxy's answers, or a password that somebody will mend: the samples are good.
        401 | 403 | 404 | 407 | 408 => Sent::Later { why: why(), after: None },
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

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| {
            let name = header::HeaderName::from_static(name);
            (name, header::HeaderValue::from_static(value))
        });
        Answer { status, headers: headers.collect(), text: "because\nmore".to_owned() }
    }

    #[test]
    fn an_answer_says_whether_it_is_worth_another_try() {
        let later = |status: u16, after: Option<u64>| Sent::Later {
            why: format!("status {status}: because"),
            after: after.map(Duration::from_secs),
        };
        let check = |status, headers: &[_], expected| {
            assert_eq!(judge(&answer(status, headers)), expected, "{status}");
        };
        check(200, &[], Sent::Taken);
        check(204, &[], Sent::Taken);
        check(400, &[], Sent::Refused("status 400: because".to_owned()));
        check(413, &[], Sent::Refused("status 413: because".to_owned()));
        check(401, &[], later(401, None));
        check(404, &[], later(404, None));
        check(429, &[("retry-after", "7")], later(429, Some(7)));
        check(503, &[("retry-after", "99999")], later(503, Some(300)));
        check(500, &[("retry-after", "soon")], later(500, None));
    }

    #[test]
    fn a_receiver_of_1_0_is_found_out() {
        let written = ("x-prometheus-remote-write-samples-written", "5");
        let check = |status, headers: &[_], expected| {
            assert_eq!(knows_2_0(&answer(status, headers)), expected, "{status}");
        };
        check(204, &[written], true);
        check(204, &[], false);
        check(415, &[], false);
        check(400, &[], true);
        check(503, &[], true);
    }
}
