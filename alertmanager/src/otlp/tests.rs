//! What becomes of messages, in both forms.
//!
//! Invariant: each case is written as JSON, and read from protobuf and from JSON with the same result.

use base::diagnostic::Diagnostics;
use prost::Message;
use serde_json::{Value, json};

use super::*;

fn options(yaml: &str) -> Options {
    let mut diagnostics = Diagnostics::new("f.yml");
    let config: Option<OtlpConfig> = base::yaml::read(yaml, &mut diagnostics);
    let options = config.unwrap_or_default().build(&mut diagnostics);
    assert_eq!(diagnostics.to_string(), "");
    options
}

/// A message with one metric of one resource.
fn message(attributes: &Value, metric: &Value) -> String {
    let scope = json!({"name": "lib", "version": "1", "attributes": [attribute("a.b", "c")]});
    let of_scope = json!([{"scope": scope, "metrics": [metric], "schemaUrl": "u"}]);
    let resource = json!({"attributes": attributes});
    json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": of_scope}]}).to_string()
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// What a message gives, one line a sample: series, value, time in seconds; then the reasons.
fn lines(yaml: &str, text: &str) -> Vec<String> {
    let options = options(yaml);
    let request: message::Request = serde_json::from_str(text).unwrap();
    let binary = read(&request.encode_to_vec(), Form::Protobuf, &options).unwrap();
    let translated = read(text.as_bytes(), Form::Json, &options).unwrap();
    // As text, since the marker that ends a series equals nothing.
    assert_eq!(format!("{:?}", translated.received), format!("{:?}", binary.received));
    let received = &translated.received;
    let mut lines = Vec::new();
    for series in &received.series {
        for sample in &series.samples {
            let at = sample.timestamp.millis() as f64 / 1e3;
            lines.push(format!("{} {} @{at}", series.labels, sample.value));
        }
    }
    for series in &received.natives {
        for (_, histogram) in &series.histograms {
            let told = histogram.as_ref().map_or_else(
                || "ended".to_owned(),
                |h| format!("{} {:?} {:?} {:?}", h.schema, h.positive, h.negative, h.bounds),
            );
            lines.push(format!("{} {told}", series.labels));
        }
    }
    for exemplar in &received.exemplars {
        lines.push(format!("{} # {} {}", exemplar.series, exemplar.labels, exemplar.value));
    }
    let reasons = translated.reasons.iter().map(|why| format!("{}: {why}", translated.rejected));
    lines.extend(reasons);
    lines
}

#[track_caller]
fn check(yaml: &str, attributes: &Value, metric: &Value, expected: &[&str]) {
    assert_eq!(lines(yaml, &message(attributes, metric)), expected, "{metric}");
}

/// 10 s after the epoch.
const AT: &str = "10000000000";

#[test]
fn numbers_become_samples() {
    let point = json!({"timeUnixNano": AT, "asInt": "3", "attributes": [attribute("a.b", "c")]});
    let gauge = json!({"name": "g", "gauge": {"dataPoints": [point]}});
    check("{}", &json!([]), &gauge, &["g{a_b=\"c\"} 3 @10"]);
    check("translation_strategy: NoTranslation", &json!([]), &gauge, &["g{\"a.b\"=\"c\"} 3 @10"]);
    let point = json!({"timeUnixNano": AT, "asDouble": 1.5, "flags": 0});
    let sum = |temporality: i64, monotonic: bool| {
        json!({"name": "n", "unit": "By", "sum": {
            "dataPoints": [point], "aggregationTemporality": temporality, "isMonotonic": monotonic,
        }})
    };
    check("{}", &json!([]), &sum(2, true), &["n_bytes_total 1.5 @10"]);
    check("{}", &json!([]), &sum(2, false), &["n_bytes 1.5 @10"]);
    let why = "1: the values of the metric \"n\" are differences (delta): send cumulative ones";
    check("{}", &json!([]), &sum(1, true), &[why]);
    let why = "1: the values of the metric \"n\" have no temporality: send cumulative ones";
    check("{}", &json!([]), &sum(0, true), &[why]);
    let point = json!({"timeUnixNano": AT, "asInt": 1, "flags": 1});
    let ended = json!({"name": "g", "gauge": {"dataPoints": [point]}});
    check("{}", &json!([]), &ended, &["g NaN @10"]);
}

#[test]
fn resources_become_job_instance_and_target_info() {
    let point = |at: &str| json!({"timeUnixNano": at, "asInt": 1});
    let gauge = json!({"name": "g", "gauge": {"dataPoints": [point(AT), point("170000000000")]}});
    let attributes = json!([
        attribute("service.name", "shop"),
        attribute("service.namespace", "web"),
        attribute("service.instance.id", "i"),
        attribute("host.name", "h"),
    ]);
    let both =
        ["g{instance=\"i\", job=\"web/shop\"} 1 @10", "g{instance=\"i\", job=\"web/shop\"} 1 @170"];
    let info = "target_info{host_name=\"h\", instance=\"i\", job=\"web/shop\"} 1";
    let infos = ["10", "160", "170"].map(|at| format!("{info} @{at}"));
    let expected: Vec<&str> = both.into_iter().chain(infos.iter().map(String::as_str)).collect();
    check("{}", &attributes, &gauge, &expected);
    // What says nothing more than job and instance is not told.
    let known = json!([attribute("service.name", "shop")]);
    check("{}", &known, &gauge, &["g{job=\"shop\"} 1 @10", "g{job=\"shop\"} 1 @170"]);
    let unknown = json!([attribute("host.name", "h")]);
    check("{}", &unknown, &gauge, &["g 1 @10", "g 1 @170"]);
    let with_host = ["g{host_name=\"h\"} 1 @10", "g{host_name=\"h\"} 1 @170"];
    check("promote_resource_attributes: [host.name]", &unknown, &gauge, &with_host);
    check("promote_all_resource_attributes: true", &unknown, &gauge, &with_host);
    check(
        "promote_scope_metadata: true",
        &json!([]),
        &json!({"name": "g", "gauge": {"dataPoints": [point(AT)]}}),
        &["g{otel_scope_a_b=\"c\", otel_scope_name=\"lib\", otel_scope_schema_url=\"u\", \
           otel_scope_version=\"1\"} 1 @10"],
    );
}

#[test]
fn histograms_and_summaries_become_their_series() {
    let point = json!({
        "timeUnixNano": AT, "count": "3", "sum": 4.5, "bucketCounts": ["1", "0", "2"],
        "explicitBounds": [0.5, 1e3],
        "exemplars": [{"asDouble": 0.7, "traceId": "0a0b", "timeUnixNano": AT,
                       "filteredAttributes": [attribute("u", "v")]}],
    });
    let histogram = |point: &Value| {
        json!({"name": "h", "unit": "s", "histogram": {
            "dataPoints": [point], "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE",
        }})
    };
    check(
        "{}",
        &json!([]),
        &histogram(&point),
        &[
            "h_seconds_sum 4.5 @10",
            "h_seconds_count 3 @10",
            "h_seconds_bucket{le=\"0.5\"} 1 @10",
            "h_seconds_bucket{le=\"1000\"} 1 @10",
            "h_seconds_bucket{le=\"+Inf\"} 3 @10",
            "h_seconds_bucket{le=\"1000\"} # {trace_id=\"0a0b\", u=\"v\"} 0.7",
        ],
    );
    check(
        "convert_histograms_to_nhcb: true",
        &json!([]),
        &histogram(&point),
        &[
            "h_seconds -53 [(0, 1.0), (2, 2.0)] [] [0.5, 1000.0]",
            "h_seconds # {trace_id=\"0a0b\", u=\"v\"} 0.7",
        ],
    );
    let wrong = json!({"timeUnixNano": AT, "bucketCounts": [1], "explicitBounds": [1, 2]});
    let why = "1: h_seconds: a histogram has 2 bounds and 1 buckets, not one more";
    check("{}", &json!([]), &histogram(&wrong), &[why]);
    let quantile = json!({"quantile": 0.5, "value": 2});
    let point = json!({"timeUnixNano": AT, "count": 2, "sum": 3, "quantileValues": [quantile]});
    check(
        "{}",
        &json!([]),
        &json!({"name": "s", "summary": {"dataPoints": [point]}}),
        &["s_sum 3 @10", "s_count 2 @10", "s{quantile=\"0.5\"} 2 @10"],
    );
}

#[test]
fn exponential_histograms_become_native_ones() {
    let metric = |scale: i64, flags: i64| {
        json!({"name": "e", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": AT, "count": 6, "sum": 4, "scale": scale, "zeroCount": 1, "flags": flags,
            "positive": {"offset": -1, "bucketCounts": [1, 0, 2]},
            "negative": {"offset": 3, "bucketCounts": ["2"]},
        }]}})
    };
    let check =
        |scale, flags, expected: &str| check("{}", &json!([]), &metric(scale, flags), &[expected]);
    check(0, 0, "e 0 [(0, 1.0), (2, 2.0)] [(4, 2.0)] []");
    check(9, 0, "e 8 [(0, 1.0), (1, 2.0)] [(2, 2.0)] []");
    check(0, 1, "e ended");
    check(-5, 0, "1: e: the scale -5 is coarser than the coarsest, -4");
}

#[test]
fn attributes_of_every_kind_become_texts() {
    let values = [
        (json!({"boolValue": true}), "true"),
        (json!({"intValue": "-5"}), "-5"),
        (json!({"doubleValue": 2}), "2"),
        (json!({"doubleValue": 2.5}), "2.5"),
        (json!({"bytesValue": "YWI="}), "YWI="),
        (
            json!({"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "x"}]}}),
            "[1,\\\"x\\\"]",
        ),
        (
            json!({"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": false}}]}}),
            "{\\\"k\\\":false}",
        ),
    ];
    for (value, expected) in values {
        let point =
            json!({"timeUnixNano": AT, "asInt": 1, "attributes": [{"key": "x", "value": value}]});
        let gauge = json!({"name": "g", "gauge": {"dataPoints": [point]}});
        check("{}", &json!([]), &gauge, &[&format!("g{{x=\"{expected}\"}} 1 @10")]);
    }
    // Two that become one stand side by side.
    let attributes = [attribute("a_b", "2"), attribute("a.b", "1")];
    let point = json!({"timeUnixNano": AT, "asInt": 1, "attributes": attributes});
    let gauge = json!({"name": "g", "gauge": {"dataPoints": [point]}});
    check("{}", &json!([]), &gauge, &["g{a_b=\"1;2\"} 1 @10"]);
}

#[test]
fn what_is_no_message_is_refused_with_a_reason() {
    let check = |body: &[u8], form, expected: &str| {
        let error = read(body, form, &Options::default()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check(b"{", Form::Json, "the body is no such JSON: EOF");
    check(b"7", Form::Json, "the body is no such JSON: invalid type");
    check(&[0xff; 9], Form::Protobuf, "the body is no such message");
    // X22, X24: as many empty points as fit, and nesting.
    let many = "the body has more than 500000";
    check("{".repeat(600_000).as_bytes(), Form::Json, many);
    let begins = "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"value\":";
    let deep = format!("{begins}{}", "{\"arrayValue\":{\"values\":[".repeat(100_000));
    check(deep.as_bytes(), Form::Json, "the body is no such JSON: recursion limit");
    check(&[0x0a, 0].repeat(600_000), Form::Protobuf, many);
    assert_eq!(Form::of_content_type("application/json; charset=utf-8"), Some(Form::Json));
    assert_eq!(Form::of_content_type("text/plain"), None);
}

#[test]
fn the_answer_says_what_was_left_out() {
    assert_eq!(answer(Form::Json, 0, ""), b"{}");
    assert!(answer(Form::Protobuf, 0, "").is_empty());
    let text = String::from_utf8(answer(Form::Json, 2, "x")).unwrap();
    assert_eq!(text, r#"{"partialSuccess":{"errorMessage":"x","rejectedDataPoints":"2"}}"#);
    let partial = message::Answer::decode(answer(Form::Protobuf, 2, "x").as_slice()).unwrap();
    assert_eq!(partial.partial_success.map(|part| part.rejected_data_points), Some(2));
}
