//! What jobs and administrators tell us: the only requests that change something.
//!
//! ```text
//! POST             /ping/ID             it has ended well
//!                  /ping/ID/start       it begins; ?rid=NAME tells runs apart
//!                  /ping/ID/fail        it has failed
//!                  /ping/ID/CODE        it has ended with this exit code, 0 to 255
//!                  /ping/ID/log         only a text
//! GET, HEAD        the same, where the heartbeat says `get: true`
//! PUT, POST        /metrics/job/NAME{/LABEL/VALUE}   metrics, in place of the group's or of those names
//! DELETE                                             takes a group back
//! POST             /-/reload            reads the configuration again, as SIGHUP does
//! ```
//!
//! Invariant: a job's request changes one check that the configuration names, and nothing else; its
//! body is text for people, of which a bounded part is kept.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::exposition::{Format, is_protobuf};
use base::http::{
    BodyError, Full, Gunzip, Method, Response, StatusCode, answer, header, read_body, read_start,
};
use base::sample::Timestamp;
use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;
use tokio::sync::oneshot;

use super::{Shown, text};
use crate::heartbeat::{MAX_OUTPUT, Told};
use crate::push::{MAX_BODY, PushError, Pushed, group_of};
use crate::results::Slot;

/// How much more than is kept of a body is read, and dropped.
const MORE: usize = 64 << 20;
/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A job pushes its metrics; `rest` is what follows `/metrics/`.
pub(super) async fn push<B: Body<Data = Bytes, Error: Display>>(
    shown: &Shown,
    request: &Parts,
    rest: &str,
    body: B,
    now: Timestamp,
) -> Response<Full<Bytes>> {
    let replaces_all = request.method == Method::PUT;
    let labels = match group_of(rest) {
        Ok(labels) => labels,
        Err(why) => return said(StatusCode::BAD_REQUEST, why),
    };
    let job = labels.get("job").map_or("", String::as_str);
    let slots = shown.results.slots();
    let takes =
        |job: &str| slots.iter().find(|slot| slot.check().push().is_some_and(|p| p.job == job));
    let Some(slot) = takes(job).or_else(|| takes("*")) else {
        return text(StatusCode::NOT_FOUND, "no check takes what this job pushes\n");
    };
    let result = match request.method {
        Method::DELETE => {
            slot.push().delete(&labels);
            Ok(StatusCode::ACCEPTED)
        }
        _ => match read_push(request, body).await {
            Err(refused) => Err(refused),
            Ok((format, metrics)) => {
                let pushed = match format {
                    Some(format) => Pushed::Text(&metrics, format),
                    None => Pushed::Protobuf(&metrics),
                };
                let taken = slot.push().push(&labels, pushed, replaces_all, now);
                taken.map(|()| StatusCode::OK).map_err(|error| match error {
                    PushError::Malformed(why) => (StatusCode::BAD_REQUEST, why),
                    PushError::TooMuch(why) => (StatusCode::PAYLOAD_TOO_LARGE, why),
                })
            }
        },
    };
    slot.told.notify_one();
    shown.news.notify_one();
    match result {
        Ok(status) => text(status, ""),
        Err((status, why)) => said(status, why),
    }
}

/// A body, unpacked, with its format; nothing where that is protobuf.
async fn read_push<B: Body<Data = Bytes, Error: Display>>(
    request: &Parts,
    body: B,
) -> Result<(Option<Format>, Vec<u8>), (StatusCode, String)> {
    let header = |name: header::HeaderName| {
        request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    };
    let content_type = header(header::CONTENT_TYPE);
    // What curl sends where nobody says what it is.
    let form = content_type.starts_with("application/x-www-form-urlencoded");
    let format = if form { Some(Format::Text) } else { Format::from_content_type(content_type) };
    if format.is_none() && !is_protobuf(content_type) {
        let why = "only the text format, OpenMetrics and delimited protobuf are read".to_owned();
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let body = read_body(body, MAX_BODY, PATIENCE).await.map_err(|error| {
        let status = match error {
            BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        };
        (status, error.to_string())
    })?;
    match header(header::CONTENT_ENCODING) {
        "" | "identity" => return Ok((format, body.to_vec())),
        "gzip" => {}
        _ => {
            let why = "only gzip is unpacked".to_owned();
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
    }
    let mut unpacked = Vec::new();
    let mut gunzip = Gunzip::new(|piece| {
        if unpacked.len() + piece.len() > MAX_BODY {
            return Err(format!("the body is over {MAX_BODY} bytes"));
        }
        unpacked.extend_from_slice(piece);
        Ok(())
    });
    let whole = gunzip.feed(&body).and_then(|()| gunzip.finish());
    whole.map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    Ok((format, unpacked))
}

fn said(status: StatusCode, why: String) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", format!("{why}\n"))
}

/// Tells a job that looks like whatever fetches links that it must report by POST (X38).
fn by_post() -> Response<Full<Bytes>> {
    let mut refused = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "nothing was noted: this is reported by POST, as by `curl -X POST`; with `get: true` of the \
         heartbeat also by GET\n",
    );
    refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
    refused
}

/// An administrator asks for the configuration to be read again. Where nobody is asked who they are,
/// only this host may (X28).
pub(super) async fn reload(shown: &Shown, peer: SocketAddr) -> Response<Full<Bytes>> {
    let stopping = "starting or stopping\n";
    let Some(lifecycle) = shown.lifecycle.get() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, stopping);
    };
    if lifecycle.guard.asks_nobody() && !peer.ip().to_canonical().is_loopback() {
        let why = "without a password, token or certificate only this host may ask for that\n";
        return text(StatusCode::FORBIDDEN, why);
    }
    let (answer, answered) = oneshot::channel();
    if lifecycle.reload.try_send(answer).is_err() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "a reload is under way\n");
    }
    match answered.await {
        Ok(Ok(())) => text(StatusCode::OK, ""),
        Ok(Err(faults)) => {
            let why = format!("the configuration before stays in use:\n{faults}");
            said(StatusCode::INTERNAL_SERVER_ERROR, why)
        }
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, stopping),
    }
}

/// A job reports; `rest` is what follows `/ping/`.
pub(super) async fn ping<B: Body<Data = Bytes>>(
    shown: &Shown,
    request: &Parts,
    rest: &str,
    body: B,
    now: Timestamp,
) -> Response<Full<Bytes>> {
    let Some((slot, told)) = find(shown, rest) else {
        return text(StatusCode::NOT_FOUND, "not found\n");
    };
    let Some(told) = told else {
        return text(StatusCode::BAD_REQUEST, "invalid url format\n");
    };
    let by_get = slot.check().heartbeat().is_some_and(|heartbeat| heartbeat.get);
    if !by_get && request.method != Method::POST {
        return by_post();
    }
    let body = match request.method {
        Method::POST => read_start(body, MAX_OUTPUT, MORE, PATIENCE).await,
        _ => Bytes::new(),
    };
    let query = request.uri.query().unwrap_or("");
    let run = query.split('&').find_map(|pair| pair.strip_prefix("rid=")).unwrap_or("");
    slot.heartbeat().note(told, run, &body, now);
    slot.told.notify_one();
    shown.news.notify_one();
    text(StatusCode::OK, "OK\n")
}

/// The check that waits for the job, and what it is told, which is none where that means nothing.
fn find(shown: &Shown, rest: &str) -> Option<(Arc<Slot>, Option<Told>)> {
    let slots = shown.results.slots();
    let of = |id: &str| {
        let waits = |slot: &&Arc<Slot>| slot.check().heartbeat().is_some_and(|h| h.id == id);
        slots.iter().find(waits).cloned()
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if let Some(slot) = of(rest) {
        return Some((slot, Some(Told::Success)));
    }
    let (id, what) = rest.rsplit_once('/')?;
    Some((of(id)?, Told::from_path(what)))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use base::http::web::{Guard, Web};
    use tokio::sync::mpsc;

    use super::super::{Lifecycle, Reload};
    use super::*;
    use crate::host::HostNumbers;

    #[tokio::test]
    async fn whoever_is_asked_nothing_reloads_from_this_host_alone_x28() {
        let shown = Shown::new(Arc::default(), HostNumbers::new(None), Reload::default());
        let status = async |from: &str| {
            let peer = SocketAddr::new(from.parse::<IpAddr>().unwrap(), 1);
            reload(&shown, peer).await.status().as_u16()
        };
        assert_eq!(status("127.0.0.1").await, 503, "it is not listened to yet");
        let guard = Arc::new(Guard::new(Web::open().unwrap(), "http", shown.own()));
        let (reload, mut asked) = mpsc::channel(1);
        assert!(shown.lifecycle.set(Lifecycle { guard, reload }).is_ok());
        for stranger in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"] {
            assert_eq!(status(stranger).await, 403, "{stranger}");
        }
        assert!(asked.try_recv().is_err(), "nothing was done");
        for (result, expected) in [(Ok(()), 200), (Err("agent.yml:1:1: wrong".to_owned()), 500)] {
            let answer = async {
                let answer = asked.recv().await.unwrap();
                answer.send(result).unwrap();
            };
            let (got, ()) = tokio::join!(status("::1"), answer);
            assert_eq!(got, expected);
        }
    }
}
