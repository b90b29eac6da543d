//! Which labels and series there are: what a query builder and Grafana's variables ask.
//!
//! Invariant: an answer lists at most `limit` entries, where the request names one.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base::labels::Labels;
use base::matcher::Matcher;
use base::sample::Timestamp;
use promql::Query;
use serde_json::json;
use storage::Storage;

use super::query::Parameters;
use super::reply::{Failure, success};
use super::{Shown, object};

/// `/api/v1/labels`
pub(super) async fn names(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let asked = Asked::read(query, &headers, &body)?;
    let limit = asked.limit;
    let names = asked
        .find(Arc::clone(&shown.storage), |storage, sets| match sets {
            None => storage.label_names().map_err(|error| error.to_string()),
            Some(sets) => {
                Ok(sets.iter().flat_map(Labels::iter).map(|(name, _)| name.to_owned()).collect())
            }
        })
        .await?;
    Ok(success(&headers, &json!(names.into_iter().take(limit).collect::<Vec<String>>())))
}

/// `/api/v1/label/NAME/values`
pub(super) async fn values(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let asked = Asked::read(query, &headers, &body)?;
    let limit = asked.limit;
    let values = asked
        .find(Arc::clone(&shown.storage), move |storage, sets| match sets {
            None => storage.label_values(&name).map_err(|error| error.to_string()),
            Some(sets) => {
                Ok(sets.iter().filter_map(|set| set.get(&name)).map(str::to_owned).collect())
            }
        })
        .await?;
    Ok(success(&headers, &json!(values.into_iter().take(limit).collect::<Vec<String>>())))
}

/// `/api/v1/series`
pub(super) async fn series(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let asked = Asked::read(query, &headers, &body)?;
    if asked.selectors.is_empty() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let limit = asked.limit;
    let sets =
        asked.find(Arc::clone(&shown.storage), |_, sets| Ok(sets.unwrap_or_default())).await?;
    let sets: Vec<_> = sets.iter().take(limit).map(object).collect();
    Ok(success(&headers, &json!(sets)))
}

/// What was asked for.
struct Asked {
    selectors: Vec<Vec<Matcher>>,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
}

impl Asked {
    fn read(query: Option<String>, headers: &HeaderMap, body: &Bytes) -> Result<Self, Failure> {
        let parameters = Parameters::read(query, headers, body)?;
        let mut selectors = Vec::new();
        for text in parameters.all("match[]") {
            let query = Query::new(text).map_err(|faults| Failure::parameter("match[]", faults))?;
            match query.reads().as_slice() {
                [one] => selectors.push(one.matchers().to_vec()),
                _ => return Err(Failure::parameter("match[]", "it is not one selector")),
            }
        }
        let limit = match parameters.get("limit") {
            None => usize::MAX,
            Some(text) => {
                text.parse().map_err(|_| Failure::parameter("limit", "it is no number"))?
            }
        };
        Ok(Self {
            selectors,
            from: parameters.time("start", Timestamp::MIN)?,
            to: parameters.time("end", Timestamp::MAX)?,
            limit: if limit == 0 { usize::MAX } else { limit },
        })
    }

    /// Calls `answer` with the label sets that fit the selectors, where there are any, off the
    /// runtime's threads.
    async fn find<T: Send + 'static>(
        self,
        storage: Arc<Storage>,
        answer: impl FnOnce(&Storage, Option<BTreeSet<Labels>>) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Failure> {
        let work = move || {
            let mut sets: Option<BTreeSet<Labels>> = None;
            for matchers in &self.selectors {
                let found = storage
                    .select(matchers, self.from, self.to)
                    .map_err(|error| error.to_string())?;
                sets.get_or_insert_default().extend(found.into_iter().map(|series| series.labels));
            }
            answer(&storage, sets)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| Failure::internal(error.to_string()))?.map_err(Failure::internal)
    }
}
