//! Questions about samples, where another store holds them (`storage: {remote: ..}`), or where ours are
//! not opened (safe mode).
//!
//! Invariant: with another store no answer about samples is from ours; without one all are, and in safe
//! mode none is: that nothing is found would be wrong, and what is pushed would be lost.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shown;
use super::reply::{Failure, PATIENCE, whole};

/// The most bytes of a question.
const MAX_BODY: usize = 1 << 20;

/// The paths at which samples, or what they are called, are asked for.
fn is_about_samples(path: &str) -> bool {
    let known = ["query", "query_range", "query_exemplars", "series", "labels", "metadata"];
    path.strip_prefix("/api/v1/").is_some_and(|rest| {
        known.contains(&rest) || rest.starts_with("label/") && rest.ends_with("/values")
    })
}

/// The paths at which something of our own samples is done or shown, besides.
fn needs_samples(path: &str) -> bool {
    let known = ["write", "read", "otlp/v1/metrics", "status/tsdb"];
    is_about_samples(path)
        || path == "/federate"
        || path
            .strip_prefix("/api/v1/")
            .is_some_and(|rest| known.contains(&rest) || rest.starts_with("admin/tsdb/"))
}

/// Passes on what the other store is to answer.
pub(super) async fn pass_on(State(shown): State<Shown>, request: Request, next: Next) -> Response {
    match shown.config.store() {
        Some(store) if is_about_samples(request.uri().path()) => {
            let (head, body) = request.into_parts();
            let Ok(body) = whole(body, MAX_BODY, PATIENCE).await else {
                return Failure::bad_data("the question did not come whole").into_response();
            };
            let form = "application/x-www-form-urlencoded";
            let kind = head.headers.get(header::CONTENT_TYPE);
            let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or(form).to_owned();
            let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
            match store.ask(head.method, target, (&kind, body)).await {
                Err(why) => Failure::unavailable(why).into_response(),
                Ok(answer) => {
                    let mut response = Response::new(Body::from(answer.body));
                    *response.status_mut() = answer.status;
                    let json = HeaderValue::from_static("application/json");
                    let kind = answer.headers.get(header::CONTENT_TYPE).cloned().unwrap_or(json);
                    response.headers_mut().insert(header::CONTENT_TYPE, kind);
                    response
                }
            }
        }
        _ => match &shown.safe {
            // Whoever pushes keeps it, and pushes it again.
            Some(safe) if needs_samples(request.uri().path()) => {
                Failure::unavailable(safe.summary()).into_response()
            }
            _ => next.run(request).await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_about_samples_are_known_by_their_path() {
        for (path, expected) in [
            ("/api/v1/query", true),
            ("/api/v1/query_range", true),
            ("/api/v1/label/job/values", true),
            ("/api/v1/series", true),
            ("/api/v1/rules", false),
            ("/api/v1/query/x", false),
            ("/api/v2/alerts", false),
            ("/", false),
        ] {
            assert_eq!(is_about_samples(path), expected, "{path}");
            assert_eq!(needs_samples(path), expected, "{path}");
        }
        for path in ["/api/v1/write", "/federate", "/api/v1/admin/tsdb/snapshot"] {
            assert!(!is_about_samples(path) && needs_samples(path), "{path}");
        }
    }
}
