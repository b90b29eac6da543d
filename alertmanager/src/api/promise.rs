//! What is answered where something is taken that the disk does not take (F35).
//!
//! Invariant: a 2xx says that it outlives us (F33); else it counts all the same, and the answer says how long.

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shown;
use super::reply::Failure;

/// The paths at which something is taken that an answer promises to keep.
fn is_kept(path: &str) -> bool {
    ["/api/v2/alerts", "/api/v1/acknowledgements", "/acknowledge"].contains(&path)
        || path.starts_with("/api/v1/in/")
}

/// Says of what was taken that it is not on the disk, where it is not (F35).
pub(super) async fn keep(State(shown): State<Shown>, request: Request, next: Next) -> Response {
    let asks_only = matches!(*request.method(), Method::GET | Method::HEAD);
    let promises = !asks_only && is_kept(request.uri().path());
    let response = next.run(request).await;
    if promises && response.status().is_success() && shown.outbox.is_adrift() {
        let text = "it is taken and in force, but the disk does not take it: a restart forgets it";
        return Failure::unavailable(text).into_response();
    }
    response
}
