//! `/federate`: the newest samples of chosen series as text, for another Prometheus to scrape.
//!
//! Invariant: a series whose last sample is older than a sample counts, or that has ended, is not
//! there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use base::exposition::{Encoding, Escaping, Format, encode};
use base::family::{MetricFamily, MetricKind};
use base::histogram::is_tag;
use base::labels::{Labels, METRIC_NAME};
use base::sample::{Ended, Sample};

use super::Shown;
use super::labels::selectors;
use super::query::Parameters;
use super::reply::{Failure, compressed};

/// `/federate`
pub(super) async fn federate(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let parameters = Parameters::read(query, &headers, &Bytes::new())?;
    let selectors = selectors(&parameters)?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    // Its types are unknown here, so there is no OpenMetrics of it.
    let encoding = Encoding { format: Format::Text, ..Encoding::negotiate(accept) };
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
        text(found, &external, encoding.names)
    });
    let text: String = work.await.map_err(|error| Failure::internal(error.to_string()))?;
    Ok(compressed(&headers, StatusCode::OK, &encoding.content_type(), text))
}

fn text(series: BTreeMap<Labels, Sample>, external: &Labels, names: Escaping) -> String {
    // So that whoever scrapes this does not take it for a series of ours.
    let added = BTreeMap::from_iter(iter::once(("instance", "")).chain(external));
    let added: Vec<(&str, &str)> = added.into_iter().collect();
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for (labels, sample) in series {
        let name = labels.metric_name();
        let own = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
        let added = added.iter().filter(|(label, _)| labels.get(label).is_none()).copied();
        let pair = |(label, value): (&str, &str)| (Cow::Owned(label.to_owned()), value.to_owned());
        let family = families
            .entry(name.to_owned())
            .or_insert_with(|| MetricFamily::new(name, "", MetricKind::Unknown));
        family.add_pairs("", own.chain(added).map(pair).collect(), sample.value);
        if let Some(last) = family.samples.last_mut() {
            last.timestamp = Some(sample.timestamp);
        }
    }
    let mut out = String::new();
    encode(families.values(), Encoding { format: Format::Text, names }, &mut out);
    out
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
            (Labels::from_pairs([("__name__", "b"), ("x", "2"), ("instance", "i")]), sample(2.0)),
        ]);
        let external = Labels::from_pairs([("site", "s")]);
        assert_eq!(
            text(series, &external, Escaping::default()),
            "# TYPE a untyped\na{site=\"own\",instance=\"\"} NaN 2000\n# TYPE b untyped\n\
             b{instance=\"i\",x=\"2\",site=\"s\"} 2 2000\n\
             b{x=\"1\\n\\\"\",instance=\"\",site=\"s\"} 1.5 2000\n"
        );
    }

    #[test]
    fn names_are_written_as_was_asked() {
        let check = |names: Escaping, expected: &str| {
            let sample = Sample { timestamp: Timestamp::from_millis(1), value: 1.0 };
            let labels = Labels::from_pairs([("__name__", "a.b"), ("c.d", "")]).with("c.d", "x");
            let text = text(BTreeMap::from([(labels, sample)]), &Labels::empty(), names);
            assert_eq!(text, expected);
        };
        check(
            Escaping::AllowUtf8,
            "# TYPE \"a.b\" untyped\n{\"a.b\",\"c.d\"=\"x\",instance=\"\"} 1 1\n",
        );
        check(Escaping::Dots, "# TYPE a_dot_b untyped\na_dot_b{c_dot_d=\"x\",instance=\"\"} 1 1\n");
    }
}
