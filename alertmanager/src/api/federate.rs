//! `/federate`: the newest samples of chosen series as text, for another Prometheus to scrape.
//!
//! Invariant: a series whose last sample is older than a sample counts, or that has ended, is not
//! there.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base::histogram::is_tag;
use base::labels::{Labels, METRIC_NAME};
use base::number;
use base::sample::{Ended, Sample};

use super::Shown;
use super::labels::selectors;
use super::query::Parameters;
use super::reply::{Failure, compressed};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// `/federate`
pub(super) async fn federate(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &Bytes::new())?;
    let selectors = selectors(&parameters)?;
    let (now, external) = (shown.clock.now(), shown.config.routing().external_labels.clone());
    let work = tokio::task::spawn_blocking(move || {
        let mut found: BTreeMap<Labels, Sample> = BTreeMap::new();
        for matchers in &selectors {
            found.extend(shown.storage.last(matchers));
        }
        found.retain(|_, sample| {
            let ended = Ended::from_value(sample.value).is_some();
            // A histogram has no place in this format.
            !ended && !is_tag(sample.value) && now.since(sample.timestamp) < shown.lookback
        });
        text(&found, &external)
    });
    let text = work.await.map_err(|error| Failure::internal(error.to_string()))?;
    Ok(compressed(&headers, StatusCode::OK, CONTENT_TYPE, text))
}

fn text(series: &BTreeMap<Labels, Sample>, external: &Labels) -> String {
    let name = |labels: &Labels| labels.get(METRIC_NAME).unwrap_or("").to_owned();
    let mut sorted: Vec<_> = series.iter().map(|(labels, s)| (name(labels), labels, s)).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut out, mut before) = (String::new(), None);
    for (name, labels, sample) in sorted {
        if before.as_ref() != Some(&name) {
            out.push_str(&format!("# TYPE {name} untyped\n"));
        }
        out.push_str(&name);
        let own = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
        let added = external.iter().filter(|(label, _)| labels.get(label).is_none());
        let pairs: Vec<_> = own
            .chain(added)
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        out.push_str(&format!("{{{}}}", pairs.join(",")));
        let (value, at) = (number::shortest(sample.value), sample.timestamp.millis());
        out.push_str(&format!(" {value} {at}\n"));
        before = Some(name);
    }
    out
}

/// A label's value as the text format has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use base::sample::Timestamp;

    use super::*;

    #[test]
    fn external_labels_are_added_where_a_series_has_none() {
        let sample = |value| Sample { timestamp: Timestamp::from_millis(2000), value };
        let series = BTreeMap::from([
            (Labels::from_pairs([("__name__", "b"), ("x", "1\n\"")]), sample(1.5)),
            (Labels::from_pairs([("__name__", "a"), ("site", "own")]), sample(f64::NAN)),
            (Labels::from_pairs([("__name__", "b"), ("x", "2")]), sample(2.0)),
        ]);
        let external = Labels::from_pairs([("site", "s")]);
        assert_eq!(
            text(&series, &external),
            "# TYPE a untyped\na{site=\"own\"} NaN 2000\n# TYPE b untyped\n\
             b{x=\"1\\n\\\"\",site=\"s\"} 1.5 2000\nb{x=\"2\",site=\"s\"} 2 2000\n"
        );
    }
}
