//! `/api/v1/query_exemplars`: exemplars of the series that an expression reads.
//!
//! Invariant: a question that is wrong is refused as Prometheus refuses it.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::sample::Timestamp;
use promql::Query;
use serde_json::json;

use super::Shown;
use super::query::Parameters;
use super::reply::{Failure, success};

/// `/api/v1/query_exemplars`. None are kept, so none are found.
pub(super) async fn query(
    State(_): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &body)?;
    let start = parameters.time("start", Timestamp::MIN)?;
    let end = parameters.time("end", Timestamp::MAX)?;
    if end < start {
        return Err(Failure::bad_data("end timestamp must not be before start timestamp"));
    }
    let text = parameters.get("query").unwrap_or("");
    Query::new(text).map_err(|faults| Failure::bad_data(faults.to_string()))?;
    Ok(success(&headers, &json!([])))
}
