//! Metrics of OpenTelemetry that are pushed. Debian's Prometheus takes none, so what becomes of them
//! stands here.
//!
//! Invariant: what is posted is compared as a whole with what is asked for then.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::curl;

use crate::rig::Evaluator;

/// A message with every kind of metric, of now.
fn message(nanos: u128) -> Value {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let at = nanos.to_string();
    let point = |more: Value| {
        let attributes = [text("http.method", "GET"), text("0x", "y"), text("_p", "q")];
        let mut point =
            json!({"timeUnixNano": at, "startTimeUnixNano": at, "attributes": attributes});
        point.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([point])
    };
    let sum = |points: Value, monotonic: bool, temporality: i64| json!({"dataPoints": points, "isMonotonic": monotonic, "aggregationTemporality": temporality});
    let histogram = json!({"count": "6", "sum": 9.5, "bucketCounts": ["1", "2", "3"],
                           "explicitBounds": [0.5, 10]});
    let native = json!({"count": "9", "sum": 12, "scale": 9, "zeroCount": "1",
        "positive": {"offset": -1, "bucketCounts": ["1", "0", "2", "1"]},
        "negative": {"offset": 2, "bucketCounts": ["4"]}});
    let summary = json!({"count": "2", "sum": 3, "quantileValues": [{"quantile": 0.5, "value": 1.5},
                                                                     {"quantile": 1, "value": 2}]});
    let metrics = json!([
        {"name": "ot.gauge", "unit": "1", "gauge": {"dataPoints": point(json!({"asDouble": 0.5}))}},
        {"name": "ot.requests", "unit": "{request}", "sum": sum(point(json!({"asInt": "7"})), true, 2)},
        {"name": "ot.total.bytes", "unit": "By", "sum": sum(point(json!({"asInt": 7})), true, 2)},
        {"name": "ot.io", "unit": "By/s", "sum": sum(point(json!({"asInt": "-7"})), false, 2)},
        {"name": "ot.delta", "sum": sum(point(json!({"asInt": "7"})), true, 1)},
        {"name": "ot.duration", "unit": "ms",
         "histogram": {"dataPoints": point(histogram), "aggregationTemporality": 2}},
        {"name": "ot.native", "exponentialHistogram":
            {"dataPoints": point(native), "aggregationTemporality": 2}},
        {"name": "ot.summary", "summary": {"dataPoints": point(summary)}},
        {"name": "ot.weird--name 9", "gauge": {"dataPoints": point(json!({"asInt": "1"}))}},
    ]);
    let resource = json!({"attributes": [
        text("service.name", "shop"), text("service.namespace", "web"),
        text("service.instance.id", "i-1"), text("host.name", "h"),
        {"key": "host.cpus", "value": {"intValue": "4"}},
        {"key": "host.load", "value": {"doubleValue": 1.25}},
        {"key": "host.ips", "value": {"arrayValue": {"values": [{"stringValue": "::1"}]}}},
    ]});
    json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]})
}

#[test]
fn pushed_metrics_become_series() {
    let evaluator = Evaluator::with(
        "otlp: {promote_resource_attributes: [host.name]}\nbuiltin_rules: {enabled: false}\n",
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let file = evaluator.path("message.json");
    std::fs::write(&file, message(now.as_nanos()).to_string()).unwrap();
    let url = format!("http://127.0.0.1:{}/api/v1/otlp/v1/metrics", evaluator.port);
    let post = |file: &Path, headers: &[&str]| {
        let body = format!("@{}", file.display());
        let mut arguments = vec!["--data-binary", body.as_str(), url.as_str()];
        for header in headers {
            arguments.extend(["-H", header]);
        }
        let (_, status, body) = curl(&arguments);
        (status, body)
    };
    let json = "Content-Type: application/json";
    let (status, body) = post(&file, &[json]);
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedDataPoints"], "1", "{body}");
    assert!(body.contains("differences (delta)"), "{body}");
    // The same again, packed, changes nothing.
    assert!(Command::new("gzip").arg(&file).status().unwrap().success());
    let packed = evaluator.path("message.json.gz");
    assert_eq!(post(&packed, &[json, "Content-Encoding: gzip"]).0, 200);
    // What is none is refused.
    assert_eq!(post(&packed, &[json]).0, 400);
    assert_eq!(post(&packed, &["Content-Type: text/plain"]).0, 415);
    assert_eq!(post(&packed, &[json, "Content-Encoding: br"]).0, 415);

    let query = tests::escaped("{__name__=~\"ot_.*|target_info\"}");
    let path = format!("/api/v1/query?query={query}&time={:.3}", now.as_secs_f64());
    let result = evaluator.data(&path)["result"].as_array().unwrap().clone();
    let line = |series: &Value| {
        let labels = series["metric"].as_object().unwrap();
        // Every point has these.
        let known = ["job", "instance", "http_method", "key_0x", "key_p", "host_name"];
        assert!(labels["job"] == "web/shop" && labels["instance"] == "i-1", "{labels:?}");
        assert_eq!(labels["host_name"], "h");
        let rest = labels.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        let rest: Vec<_> = rest.map(|(name, value)| format!("{name}={value}")).collect();
        match series.get("histogram") {
            Some(histogram) => format!("{} {}", rest.join(" "), histogram[1]),
            None => format!("{} {}", rest.join(" "), series["value"][1]),
        }
    };
    let mut lines: Vec<_> = result.iter().map(line).collect();
    lines.sort();
    let expected = [
        // The `total` of `ot.total.bytes` goes to the end.
        r#"__name__="ot_bytes_total" "7""#,
        r#"__name__="ot_duration_milliseconds_bucket" le="+Inf" "6""#,
        r#"__name__="ot_duration_milliseconds_bucket" le="0.5" "1""#,
        r#"__name__="ot_duration_milliseconds_bucket" le="10" "3""#,
        r#"__name__="ot_duration_milliseconds_count" "6""#,
        r#"__name__="ot_duration_milliseconds_sum" "9.5""#,
        r#"__name__="ot_gauge_ratio" "0.5""#,
        r#"__name__="ot_io_bytes_per_second" "-7""#,
        r#"__name__="ot_requests_total" "7""#,
        r#"__name__="ot_summary" quantile="0.5" "1.5""#,
        r#"__name__="ot_summary" quantile="1" "2""#,
        r#"__name__="ot_summary_count" "2""#,
        r#"__name__="ot_summary_sum" "3""#,
        r#"__name__="ot_weird_name_9" "1""#,
        r#"__name__="target_info" host_cpus="4" host_ips="[\"::1\"]" host_load="1.25" "1""#,
    ];
    let (native, plain): (Vec<_>, Vec<_>) =
        lines.into_iter().partition(|line| line.contains("ot_native"));
    assert_eq!(plain, expected);
    // Scale 9 is made 8: buckets 0, 1 and 2 of 9 are 0 and 1 of 8.
    assert_eq!(native.len(), 1);
    let told = ["\"count\":\"9\"", "\"sum\":\"12\"", "[3,"];
    assert!(told.iter().all(|part| native[0].contains(part)), "{native:?}");
}
