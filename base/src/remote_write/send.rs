//! One request to a receiver, and what its answer means.
//!
//! Source: Prometheus's remote write specifications: 5xx and 429 are tried again, other 4xx never.
//!
//! A receiver that does not know 2.0 answers 415; one of 1.0 that does not look at the content type
//! finds nothing in the message and answers 2xx, but without the headers that 2.0 asks for. Both are
//! sent the same again in 1.0, and from then on only that.
//!
//! Invariant: what is tried again could succeed, what is given up could not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tracing::info;

use super::{Outgoing, VERSION_HEADER, Version, WRITTEN_HEADERS, decode, encode_all};
use crate::http::access::HttpAccess;
use crate::http::client::Origin;
use crate::http::header::{HeaderName, HeaderValue};
use crate::http::kept::{Answer, Kept};
use crate::http::{Full, HeaderMap, Method, Request, Uri, header};

/// What is read of an answer.
const MAX_ANSWER: usize = 4 << 10;
/// What a message of ours may be when decompressed: far more than we write.
const MAX_MESSAGE: usize = 64 << 20;
/// The longest that a receiver may tell us to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
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

/// A receiver, and how it is written to.
#[derive(Clone, Debug)]
pub struct Destination {
    /// What people know it by.
    pub name: String,
    /// The address.
    pub url: Uri,
    /// Whom it connects to.
    pub origin: Origin,
    /// How we say who we are.
    pub access: HttpAccess,
    /// Further headers.
    pub headers: HeaderMap,
    /// How long a request may take.
    pub timeout: Duration,
    /// Who we are.
    pub user_agent: &'static str,
    /// The statuses, beside 429 and 5xx, that pass: a password that somebody will mend.
    pub passing: &'static [u16],
}

/// In which version a receiver is written to. Clones share it.
#[derive(Clone, Debug)]
pub struct Spoken {
    version: Version,
    /// Whether 1.0 is tried where 2.0 is not known.
    may_fall_back: bool,
    has_fallen_back: Arc<AtomicBool>,
}

impl Spoken {
    /// This one and no other.
    pub fn only(version: Version) -> Self {
        Self { version, may_fall_back: false, has_fallen_back: Arc::default() }
    }

    /// `version`; where that is 2.0, then 1.0 if the receiver does not know it.
    pub fn at_best(version: Version) -> Self {
        Self { may_fall_back: version == Version::V2, ..Self::only(version) }
    }

    /// The version as far as it is known now.
    pub fn version(&self) -> Version {
        match self.has_fallen_back.load(Ordering::Relaxed) {
            true => Version::V1,
            false => self.version,
        }
    }
}

/// A way to a receiver: one connection as long as it lasts.
#[derive(Debug)]
pub struct Sender {
    to: Arc<Destination>,
    spoken: Spoken,
    kept: Kept,
    answered: HeaderMap,
}

impl Sender {
    /// A way to `to`; nothing is opened yet.
    pub fn new(to: Arc<Destination>, spoken: Spoken) -> Self {
        let kept = Kept::new(to.access.clone(), to.origin.clone());
        Self { to, spoken, kept, answered: HeaderMap::new() }
    }

    /// Sends `body`, a message of `version`: in 1.0 where the receiver knows no other. Returns the
    /// status of the last answer too, if there was one.
    pub async fn send(&mut self, body: Bytes, version: Version) -> (Option<u16>, Sent) {
        let first = if self.spoken.version() == Version::V1 { Version::V1 } else { version };
        let mut answer = self.post(&body, version, first).await;
        if let Ok(found) = &answer
            && first == Version::V2
            && self.spoken.may_fall_back
            && !knows_2_0(found)
        {
            if !self.spoken.has_fallen_back.swap(true, Ordering::Relaxed) {
                info!(
                    remote = self.to.name,
                    "it speaks remote write 1.0 only: it is written to in 1.0 from now on"
                );
            }
            answer = self.post(&body, version, Version::V1).await;
        }
        let judged = self.judged(answer.as_ref());
        self.answered = answer.map_or_else(|_| HeaderMap::new(), |answer| answer.headers);
        judged
    }

    /// The headers of the last answer to a message; none where there was no answer.
    pub fn answered(&self) -> &HeaderMap {
        &self.answered
    }

    /// Posts something that is no message of samples to the same address, with these headers.
    pub async fn post_other(&mut self, body: Bytes, headers: HeaderMap) -> (Option<u16>, Sent) {
        let answer = self.request(body, headers).await;
        self.judged(answer.as_ref())
    }

    fn judged(&self, answer: Result<&Answer, &Sent>) -> (Option<u16>, Sent) {
        match answer {
            Ok(answer) => (Some(answer.status), judge(answer, self.to.passing)),
            Err(sent) => (None, sent.clone()),
        }
    }

    /// Sends a message of `version` as one of version `to`, which is no newer.
    async fn post(&mut self, body: &Bytes, version: Version, to: Version) -> Result<Answer, Sent> {
        let body = match version == to {
            true => body.clone(),
            // What cannot be read now cannot be read later.
            false => in_1_0(body).map_err(Sent::Refused)?.into(),
        };
        let value = HeaderValue::from_static;
        let headers = [
            (header::CONTENT_TYPE, value(to.content_type())),
            (header::CONTENT_ENCODING, value("snappy")),
            (HeaderName::from_static(VERSION_HEADER), value(to.header())),
        ];
        self.request(body, headers.into_iter().collect()).await
    }

    async fn request(&mut self, body: Bytes, headers: HeaderMap) -> Result<Answer, Sent> {
        let later = |why| Sent::Later { why, after: None };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.to.url)
            .header(header::USER_AGENT, self.to.user_agent)
            .body(Full::new(body))
            .map_err(|error| later(error.to_string()))?;
        request.headers_mut().extend(headers);
        request.headers_mut().extend(self.to.headers.clone());
        self.kept.send(request, MAX_ANSWER, self.to.timeout).await.map_err(later)
    }
}

/// A message of 2.0 as one of 1.0, as far as that can say it.
fn in_1_0(body: &[u8]) -> Result<Vec<u8>, String> {
    let message = decode(body, Version::V2, MAX_MESSAGE);
    let message = message.map_err(|error| format!("cannot be written in 1.0: {error}"))?;
    let outgoing = Outgoing {
        series: &message.series,
        natives: &message.natives,
        exemplars: &message.exemplars,
        ..Outgoing::default()
    };
    Ok(encode_all(outgoing, Version::V1))
}

/// Whether an answer to 2.0 is that of a receiver that knows it.
fn knows_2_0(answer: &Answer) -> bool {
    match answer.status {
        415 => false,
        200..=299 => WRITTEN_HEADERS.iter().any(|name| answer.headers.contains_key(*name)),
        _ => true,
    }
}

fn judge(answer: &Answer, passing: &[u16]) -> Sent {
    let why = || match answer.text.lines().next() {
        Some(line) => format!("status {}: {line}", answer.status),
        None => format!("status {}", answer.status),
    };
    match answer.status {
        200..=299 => Sent::Taken,
        429 | 500..=599 => Sent::Later { why: why(), after: retry_after(&answer.headers) },
        status if passing.contains(&status) => Sent::Later { why: why(), after: None },
        _ => Sent::Refused(why()),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::super::{Exemplar, NativeSeries, Series};
    use super::*;
    use crate::family::MetricKind;
    use crate::histogram::Histogram;
    use crate::labels::Labels;
    use crate::sample::{Sample, Timestamp};

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| {
            let name = header::HeaderName::from_static(name);
            (name, header::HeaderValue::from_static(value))
        });
        Answer { status, headers: headers.collect(), text: "because\nmore".to_owned() }
    }

    #[test]
    fn an_answer_says_whether_it_is_worth_another_try() {
        let refused = |status: u16| Sent::Refused(format!("status {status}: because"));
        let later = |status: u16, after: Option<u64>| Sent::Later {
            why: format!("status {status}: because"),
            after: after.map(Duration::from_secs),
        };
        let check = |status, headers: &[_], passing: &[u16], expected| {
            assert_eq!(judge(&answer(status, headers), passing), expected, "{status} {passing:?}");
        };
        check(200, &[], &[], Sent::Taken);
        check(204, &[], &[], Sent::Taken);
        check(400, &[], &[401], refused(400));
        check(401, &[], &[], refused(401));
        check(401, &[], &[401, 404], later(401, None));
        check(404, &[("retry-after", "7")], &[401, 404], later(404, None));
        check(413, &[], &[], refused(413));
        check(415, &[], &[], refused(415));
        check(429, &[("retry-after", "7")], &[], later(429, Some(7)));
        check(503, &[("retry-after", "99999")], &[], later(503, Some(300)));
        check(500, &[("retry-after", "soon")], &[], later(500, None));
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

    #[test]
    fn a_message_of_2_0_says_the_same_in_1_0() {
        let labels = |name: &str| Labels::from_pairs([("__name__", name)]);
        let at = Timestamp::from_millis(7);
        let series = Series {
            labels: labels("a"),
            samples: vec![Sample { timestamp: at, value: 2.5 }],
            kind: MetricKind::Unknown,
            help: String::new(),
            unit: String::new(),
        };
        let histogram = Histogram { count: 3.0, zero_count: 3.0, ..Histogram::default() };
        let histograms = vec![(at, Some(Arc::new(histogram)))];
        let native = NativeSeries { labels: labels("h"), histograms, start: 0 };
        let exemplar = Exemplar {
            series: labels("a"),
            labels: Labels::from_pairs([("trace_id", "t")]),
            value: 2.5,
            timestamp: at,
        };
        let outgoing = Outgoing {
            series: &[series],
            natives: &[native],
            exemplars: &[exemplar],
            ..Outgoing::default()
        };
        let new = in_1_0(&encode_all(outgoing, Version::V2)).unwrap();
        let (expected, limit) = (encode_all(outgoing, Version::V1), 1 << 20);
        assert_eq!(decode(&new, Version::V1, limit), decode(&expected, Version::V1, limit));
        assert_eq!(decode(&new, Version::V1, limit).unwrap().exemplars.len(), 1);
        let why = in_1_0(b"nothing").unwrap_err();
        assert!(why.starts_with("cannot be written in 1.0: "), "{why}");
    }
}
