//! `/api/v1/query_exemplars`: exemplars of the series that an expression reads.
//!
//! Invariant: a question that is wrong is refused as Prometheus refuses it.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::matcher::Matcher;
use base::number::shortest;
use base::sample::Timestamp;
use promql::Query;
use serde_json::json;
use storage::Exemplar;

use super::query::Parameters;
use super::reply::{Failure, success};
use super::{Shown, object};

/// `/api/v1/query_exemplars`
pub(super) async fn query(
    State(shown): State<Shown>,
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
    let query = Query::new(text).map_err(|faults| Failure::bad_data(faults.to_string()))?;
    let selectors: Vec<Vec<Matcher>> =
        query.reads().iter().map(|reads| reads.matchers().to_vec()).collect();
    let found = shown.storage.exemplars(&selectors, start, end);
    let exemplar = |exemplar: &Exemplar| {
        json!({
            "labels": object(&exemplar.labels),
            "value": shortest(exemplar.value),
            "timestamp": exemplar.timestamp.seconds(),
        })
    };
    let series = found.iter().map(|(labels, exemplars)| {
        let exemplars: Vec<_> = exemplars.iter().map(exemplar).collect();
        json!({"seriesLabels": object(labels), "exemplars": exemplars})
    });
    Ok(success(&headers, &json!(series.collect::<Vec<_>>())))
}
