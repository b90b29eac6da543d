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
use promql::ast::ExprKind;
use serde_json::{Value, json};
use storage::Storage;

use super::query::{Parameters, TRUNCATED};
use super::reply::{Failure, Remarks, raw_success};
use super::{Shown, object};

/// `/api/v1/labels`
pub(super) async fn names(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let asked = Asked::read(&Parameters::read(query, &headers, &body)?)?;
    let (limit, from, to) = (asked.limit, asked.from, asked.to);
    let names = asked
        .find(Arc::clone(&shown.storage), move |storage, sets| match sets {
            None => storage.label_names_between(from, to).map_err(|error| error.to_string()),
            Some(sets) => {
                Ok(sets.iter().flat_map(Labels::iter).map(|(name, _)| name.to_owned()).collect())
            }
        })
        .await?;
    Ok(listed(&headers, names.into_iter().map(Value::from), limit))
}

/// `/api/v1/label/NAME/values`
pub(super) async fn values(
    State(shown): State<Shown>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let asked = Asked::read(&Parameters::read(query, &headers, &body)?)?;
    let name = unescaped(&name).unwrap_or(name);
    if name.is_empty() {
        return Err(Failure::bad_data("invalid label name: \"\""));
    }
    let (limit, from, to) = (asked.limit, asked.from, asked.to);
    let values = asked
        .find(Arc::clone(&shown.storage), move |storage, sets| match sets {
            None => storage.label_values_between(&name, from, to).map_err(|e| e.to_string()),
            Some(sets) => {
                Ok(sets.iter().filter_map(|set| set.get(&name)).map(str::to_owned).collect())
            }
        })
        .await?;
    Ok(listed(&headers, values.into_iter().map(Value::from), limit))
}

/// `/api/v1/series`
pub(super) async fn series(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &body)?;
    if parameters.get("match[]").is_none() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let asked = Asked::read(&parameters).map_err(|failure| failure.of_parameter("match[]"))?;
    let limit = asked.limit;
    let sets =
        asked.find(Arc::clone(&shown.storage), |_, sets| Ok(sets.unwrap_or_default())).await?;
    Ok(listed(&headers, sets.iter().map(object), limit))
}

/// An answer that lists at most `limit` entries, and says where it leaves some out.
fn listed(
    headers: &HeaderMap,
    all: impl ExactSizeIterator<Item = Value>,
    limit: Option<usize>,
) -> Response {
    let most = limit.unwrap_or(usize::MAX);
    let mut remarks = Remarks::default();
    if all.len() > most {
        remarks.warnings.push(TRUNCATED.to_owned());
    }
    let list: Vec<Value> = all.take(most).collect();
    raw_success(headers, &json!(list).to_string(), &remarks)
}

/// The label that a name in Prometheus's escaping stands for: `U__a_2e_b` for `a.b`.
fn unescaped(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut out = String::new();
    while let Some(place) = rest.find('_') {
        out.push_str(&rest[..place]);
        rest = &rest[place + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let (code, after) = rest.split_once('_')?;
        out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// The selectors under `match[]`, each with a condition that not every series meets.
///
/// # Errors
///
/// One of them is none.
pub(super) fn selectors(parameters: &Parameters) -> Result<Vec<Vec<Matcher>>, Failure> {
    let mut selectors = Vec::new();
    for text in parameters.all("match[]") {
        let expr = promql::parse(text).map_err(|faults| Failure::bad_data(faults.to_string()))?;
        let ExprKind::Vector(selector) = expr.kind else {
            return Err(Failure::bad_data(format!("match[]: `{text}` is not a selector")));
        };
        if selector.matchers.iter().all(|matcher| matcher.matches("")) {
            let why = "match[] must contain at least one non-empty matcher";
            return Err(Failure::bad_data(why));
        }
        selectors.push(selector.matchers);
    }
    Ok(selectors)
}

/// What was asked for.
struct Asked {
    selectors: Vec<Vec<Matcher>>,
    from: Timestamp,
    to: Timestamp,
    limit: Option<usize>,
}

impl Asked {
    fn read(parameters: &Parameters) -> Result<Self, Failure> {
        Ok(Self {
            selectors: selectors(parameters)?,
            from: parameters.time("start", Timestamp::MIN)?,
            to: parameters.time("end", Timestamp::MAX)?,
            limit: parameters.limit()?,
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
                let found = storage.labels_between(matchers, self.from, self.to);
                sets.get_or_insert_default().extend(found.map_err(|error| error.to_string())?);
            }
            answer(&storage, sets)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| Failure::internal(error.to_string()))?.map_err(Failure::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_stand_for_what_they_were() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(unescaped(name).as_deref(), expected, "{name}");
        };
        check("U__a_2e_b", Some("a.b"));
        check("U__a__b", Some("a_b"));
        check("U___1f600_", Some("\u{1f600}"));
        check("job", None);
        check("U__a_zz_b", None);
        check("U__a_2e", None);
        check("U__a_d800_", None);
    }
}
