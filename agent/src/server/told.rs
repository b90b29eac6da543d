//! What jobs tell us: the only requests that change something.
//!
//! ```text
//! GET, HEAD, POST  /ping/ID             it has ended well
//!                  /ping/ID/start       it begins; ?rid=NAME tells runs apart
//!                  /ping/ID/fail        it has failed
//!                  /ping/ID/CODE        it has ended with this exit code, 0 to 255
//!                  /ping/ID/log         only a text
//! ```
//!
//! Invariant: a request changes one check that the configuration names, and nothing else; its body is
//! text for people, of which a bounded part is kept.

use std::sync::Arc;
use std::time::Duration;

use base::http::{Full, Method, Response, StatusCode, answer, header, read_start};
use base::sample::Timestamp;
use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;

use super::{Shown, text};
use crate::heartbeat::{MAX_OUTPUT, Told};
use crate::results::Slot;

/// How much more than is kept of a body is read.
const MORE: usize = 1 << 20;
/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(10);

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
    let post_only = slot.check().heartbeat().is_some_and(|heartbeat| heartbeat.post_only);
    let allowed = if post_only { "POST" } else { "GET, HEAD, POST" };
    let is_allowed = match request.method {
        Method::POST => true,
        Method::GET | Method::HEAD => !post_only,
        _ => false,
    };
    if !is_allowed {
        let why = "this job reports by another method\n";
        let mut refused = answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", why);
        refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
        return refused;
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
