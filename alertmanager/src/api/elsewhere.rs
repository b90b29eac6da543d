//! Questions about samples, where another store holds them (`storage: {remote: ..}`).
//!
//! Invariant: with another store no answer about samples is from ours; without one all are.

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
        _ => next.run(request).await,
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
        }
    }
}
