//! One call of `grpc.health.v1.Health/Check` over an open connection, by HTTP/2.
//!
//! The connection is driven by whoever waits for its answer, so it needs no task of its own.
//!
//! Invariant: whatever was reached when the future is dropped stands in the [`Answer`]; of headers
//! and messages no more than the limits is kept.

use std::future::Future;
use std::io;
use std::pin::Pin;

use base::http::client::drive;
use base::http::{HeaderMap, Method, Request, Response, Uri};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};

use super::message::{self, MAX};
use crate::Reason;
use crate::text::shown_line;
use crate::wire::{Duplex, Failed};

/// The code for all that is well.
const OK: u32 = 0;
/// The code for what is not known, also of answers that have none.
const UNKNOWN: u32 = 2;
/// The code for a service that the server does not know.
const NOT_FOUND: u32 = 5;
/// The code for a caller who may not.
const PERMISSION_DENIED: u32 = 7;
/// The code for more than somebody wants to take.
const RESOURCE_EXHAUSTED: u32 = 8;
/// The code for a call that the server does not know.
const UNIMPLEMENTED: u32 = 12;
/// The code for our own or the server's fault.
const INTERNAL: u32 = 13;
/// The code for a server that does not serve now, or cannot be reached.
pub(crate) const UNAVAILABLE: u32 = 14;
/// The code for a caller who is not known.
const UNAUTHENTICATED: u32 = 16;

/// The codes by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What a server says of a service, by its numbers.
pub(crate) const SERVING_STATUSES: [&str; 4] =
    ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// What is asked, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The server as it is called: `host:port`.
    pub(crate) authority: String,
    /// Whether the connection is encrypted.
    pub(crate) is_tls: bool,
    /// The service; the server as a whole where empty.
    pub(crate) service: String,
    /// Sent with the call.
    pub(crate) metadata: HeaderMap,
}

/// What came back so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status of the call as gRPC numbers it; `UNAVAILABLE` (14) without an answer.
    pub(crate) code: u32,
    /// One of [`SERVING_STATUSES`], where the server has said one.
    pub(crate) serving: Option<&'static str>,
}

type Driver<'c> = Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send + 'c>>;

impl Call {
    /// Makes the call over `stream` and judges the answer: `Ok` if the service serves.
    pub(crate) async fn check(
        &self,
        stream: Box<dyn Duplex>,
        answer: &mut Answer,
    ) -> Result<(), Failed> {
        let request = self.request()?;
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .max_concurrent_streams(1)
            .max_header_list_size(16 << 10)
            .initial_window_size(MAX as u32)
            .initial_connection_window_size(MAX as u32);
        let (sender, connection) =
            builder.handshake(stream).await.map_err(|error| broken(&error, answer))?;
        let mut driver: Option<Driver<'_>> = Some(Box::pin(connection));
        let work = self.exchange(sender, request, answer);
        drive(&mut driver, work).await
    }

    fn request(&self) -> Result<Request<()>, Failed> {
        let scheme = if self.is_tls { "https" } else { "http" };
        let internal = |why: String| Failed::new(Reason::Internal, format!("the call: {why}"));
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(self.authority.as_str())
            .path_and_query("/grpc.health.v1.Health/Check")
            .build()
            .map_err(|error| internal(error.to_string()))?;
        let agent = concat!("veilleur-agent/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .header("user-agent", agent)
            .body(())
            .map_err(|error| internal(error.to_string()))?;
        request.headers_mut().extend(self.metadata.clone());
        Ok(request)
    }

    async fn exchange(
        &self,
        sender: SendRequest<Bytes>,
        request: Request<()>,
        answer: &mut Answer,
    ) -> Result<(), Failed> {
        let mut sender = sender.ready().await.map_err(|error| broken(&error, answer))?;
        let sent = sender.send_request(request, false);
        let (response, mut body) = sent.map_err(|error| broken(&error, answer))?;
        let message = Bytes::from(message::framed(&self.service));
        body.send_data(message, true).map_err(|error| broken(&error, answer))?;
        let response = response.await.map_err(|error| broken(&error, answer))?;
        let (head, mut body) = response.into_parts();
        let head = Response::from_parts(head, ());
        if let Some(failed) = no_grpc(&head, answer) {
            return Err(failed);
        }
        // A call that failed at once has its status in the head, and nothing follows.
        if head.headers().contains_key("grpc-status") {
            return self.judge(head.headers(), &[], answer);
        }
        let read = read(&mut body, answer).await?;
        let trailers = body.trailers().await.map_err(|error| broken(&error, answer))?;
        let Some(trailers) = trailers.filter(|trailers| trailers.contains_key("grpc-status"))
        else {
            answer.code = INTERNAL;
            let summary = "the answer has no `grpc-status`";
            return Err(Failed::new(Reason::ProtocolError, summary));
        };
        self.judge(&trailers, &read, answer)
    }

    /// Judges the status of the call, then what the server says of the service.
    fn judge(&self, head: &HeaderMap, body: &[u8], answer: &mut Answer) -> Result<(), Failed> {
        let status = head.get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
        let Some(code) = status else {
            answer.code = UNKNOWN;
            let summary = "the answer has a `grpc-status` that is no number";
            return Err(Failed::new(Reason::ProtocolError, summary));
        };
        answer.code = code;
        let what = match self.service.as_str() {
            "" => "the server".to_owned(),
            service => format!("`{service}`"),
        };
        if code != OK {
            let said = head.get("grpc-message").map_or(&b""[..], |value| value.as_bytes());
            let said = shown_line(&unescaped(said), 200);
            let name = usize::try_from(code).ok().and_then(|code| CODES.get(code));
            let name = name.map_or_else(|| code.to_string(), |name| format!("{name} ({code})"));
            let said = if said.is_empty() { said } else { format!(": `{said}`") };
            let (reason, of) = match code {
                NOT_FOUND => (Reason::NotServing, format!("; the server does not know {what}")),
                UNAVAILABLE => (Reason::NotServing, String::new()),
                UNIMPLEMENTED => {
                    (Reason::ErrorAnswer, "; it has no grpc.health.v1.Health".to_owned())
                }
                PERMISSION_DENIED | UNAUTHENTICATED => {
                    (Reason::AuthenticationFailed, String::new())
                }
                _ => (Reason::ErrorAnswer, String::new()),
            };
            return Err(Failed::new(reason, format!("the server answers {name}{said}{of}")));
        }
        let number = message::read(body).map_err(|bad| {
            answer.code = INTERNAL;
            Failed::new(Reason::ProtocolError, bad.to_string())
        })?;
        // A number that we do not know is not serving in any way that we know.
        let serving = usize::try_from(number).ok().and_then(|n| SERVING_STATUSES.get(n)).copied();
        answer.serving = Some(serving.unwrap_or(SERVING_STATUSES[0]));
        match answer.serving {
            Some("SERVING") => Ok(()),
            Some(other) => Err(Failed::new(Reason::NotServing, format!("{what} is {other}"))),
            None => Ok(()),
        }
    }
}

/// What is wrong with an answer that gRPC does not give.
fn no_grpc(head: &Response<()>, answer: &mut Answer) -> Option<Failed> {
    let status = head.status().as_u16();
    let content_type = head.headers().get("content-type").map_or(&b""[..], |v| v.as_bytes());
    let is_grpc = content_type.starts_with(b"application/grpc");
    if status == 200 && is_grpc {
        return None;
    }
    if status != 200 {
        answer.code = code_of_http(status);
        let summary = format!("HTTP status {status}, wanted 200");
        return Some(Failed::new(Reason::HttpStatus, summary));
    }
    answer.code = UNKNOWN;
    let shown = shown_line(content_type, 100);
    let summary = format!("the answer is not gRPC: its content type is `{shown}`");
    Some(Failed::new(Reason::ProtocolError, summary))
}

/// The code that gRPC gives an answer that only HTTP has given.
fn code_of_http(status: u16) -> u32 {
    match status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// Reads the body, which is one message.
async fn read(body: &mut RecvStream, answer: &mut Answer) -> Result<Vec<u8>, Failed> {
    let mut read = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|error| broken(&error, answer))?;
        read.extend_from_slice(&piece);
        if read.len() > MAX || message::announces_too_much(&read) {
            answer.code = RESOURCE_EXHAUSTED;
            let summary = format!("the answer is over {MAX} bytes");
            return Err(Failed::new(Reason::AnswerTooLarge, summary));
        }
        let freed = body.flow_control().release_capacity(piece.len());
        freed.map_err(|error| broken(&error, answer))?;
    }
    Ok(read)
}

/// What is wrong where HTTP/2 itself failed.
fn broken(error: &h2::Error, answer: &mut Answer) -> Failed {
    answer.code = UNAVAILABLE;
    if let Some(inner) = error.get_io() {
        // A peer may refuse us after the handshake: it wants another certificate of ours. Of what
        // TLS said h2 keeps this kind, which a socket never has.
        let reason = match inner.kind() {
            io::ErrorKind::InvalidData => Reason::TlsFailed,
            _ => Reason::ConnectionReset,
        };
        let summary = format!("the connection broke: {error}");
        return Failed::new(reason, shown_line(summary.as_bytes(), 300));
    }
    // Told by the peer, it may not want us; found by us, the peer does not speak HTTP/2.
    if error.is_remote() {
        let summary = format!("the server ends the call: {error}");
        return Failed::new(Reason::ErrorAnswer, shown_line(summary.as_bytes(), 300));
    }
    let summary = format!("the answer is not HTTP/2: {error}");
    Failed::new(Reason::ProtocolError, shown_line(summary.as_bytes(), 300))
}

/// A message of a status without its escapes, as gRPC writes what is not plain ASCII.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| (*byte? as char).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let pair = digit(text.get(at + 1)).zip(digit(text.get(at + 2)));
        match pair {
            Some((high, low)) if *byte == b'%' => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a status and a body are held to be.
    #[track_caller]
    fn check(status: &str, message: &str, body: &[u8], expected: (u32, Reason, &str)) {
        let mut head = HeaderMap::new();
        head.insert("grpc-status", status.parse().unwrap());
        head.insert("grpc-message", message.parse().unwrap());
        let call = Call {
            authority: "a:1".to_owned(),
            is_tls: false,
            service: "cart".to_owned(),
            metadata: HeaderMap::new(),
        };
        let mut answer = Answer::default();
        let result = call.judge(&head, body, &mut answer);
        let (reason, summary) =
            result.err().map_or((Reason::None, String::new()), |f| (f.reason, f.summary));
        assert_eq!((answer.code, reason, summary.as_str()), expected, "{status} {message}");
    }

    #[test]
    fn only_serving_is_well() {
        let unknown =
            "the server answers NOT_FOUND (5): `no such`; the server does not know `cart`";
        let missing = "the server answers UNIMPLEMENTED (12); it has no grpc.health.v1.Health";
        check("0", "", b"\0\0\0\0\x02\x08\x01", (0, Reason::None, ""));
        check("0", "", b"\0\0\0\0\x02\x08\x02", (0, Reason::NotServing, "`cart` is NOT_SERVING"));
        check("0", "", b"\0\0\0\0\x02\x08\x09", (0, Reason::NotServing, "`cart` is UNKNOWN"));
        check("0", "", b"\0\0\0\0\0", (0, Reason::NotServing, "`cart` is UNKNOWN"));
        check("0", "", b"", (13, Reason::ProtocolError, "the answer has no message"));
        check("5", "no%20such", b"", (5, Reason::NotServing, unknown));
        check("12", "", b"", (12, Reason::ErrorAnswer, missing));
        check("14", "", b"", (14, Reason::NotServing, "the server answers UNAVAILABLE (14)"));
        let who = "the server answers UNAUTHENTICATED (16): `who?`";
        check("16", "who?", b"", (16, Reason::AuthenticationFailed, who));
        check(
            "99",
            "%1b[31m%f",
            b"",
            (99, Reason::ErrorAnswer, "the server answers 99: `\\u{1b}[31m%f`"),
        );
        let no_number = "the answer has a `grpc-status` that is no number";
        check("x", "", b"", (2, Reason::ProtocolError, no_number));
    }

    #[test]
    fn the_status_of_http_has_a_code_too() {
        let codes = [400, 401, 403, 404, 429, 500, 503].map(code_of_http);
        assert_eq!(codes, [13, 16, 7, 12, 14, 2, 14]);
    }
}
