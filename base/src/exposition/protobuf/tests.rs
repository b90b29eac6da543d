//! Bodies in protobuf, to entries.
//!
//! Invariant: a body comes in one piece and byte by byte, and both mean the same.

use super::message::{Bucket, Counter, Summary};
use super::*;
use crate::histogram::{BucketSpan, Histogram};

fn label(name: &str, value: &str) -> LabelPair {
    LabelPair { name: name.to_owned(), value: value.to_owned() }
}

/// A family as `MetricFamily` has it, with its length before it.
fn family(name: &str, kind: u64, metrics: &[Metric]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut field = |number: u8, bytes: &[u8]| {
        body.push(number << 3 | 2);
        prost::encoding::encode_varint(bytes.len() as u64, &mut body);
        body.extend_from_slice(bytes);
    };
    field(1, name.as_bytes());
    field(2, b"Helps.");
    metrics.iter().for_each(|metric| field(4, &metric.encode_to_vec()));
    body.extend_from_slice(&[3 << 3, kind as u8]);
    let mut all = Vec::new();
    prost::encoding::encode_varint(body.len() as u64, &mut all);
    all.extend_from_slice(&body);
    all
}

/// What is read, a line an entry.
fn read(body: &[u8], histograms: Histograms, piece: usize) -> Result<Vec<String>, ParseError> {
    let mut parser = ProtobufParser::new(histograms, 1 << 20);
    let mut lines = Vec::new();
    let mut entry = |entry: Entry<'_>| {
        match entry {
            Entry::Sample(sample) => {
                let start = sample.start.map_or(String::new(), |at| format!(" since {at}"));
                let at = sample.timestamp.map_or(String::new(), |at| format!(" at {at}"));
                let example = sample.exemplar.as_ref();
                let example = example.map_or(String::new(), |e| format!(" # {}", e.labels[0].1));
                let value = sample.value;
                lines.push(format!("{} {value}{at}{start}{example}", sample.labels()?));
            }
            Entry::Histogram(sample, histogram) => {
                let Histogram { count, positive, reset, .. } = histogram;
                lines.push(format!("{} {count} {positive:?} {reset:?}", sample.labels()?));
            }
            Entry::Type { name, kind } => lines.push(format!("{name} is {}", kind.as_str())),
            _ => {}
        }
        Ok::<_, ParseError>(())
    };
    for piece in body.chunks(piece) {
        parser.feed(piece, &mut entry)?;
    }
    parser.finish()?;
    Ok(lines)
}

#[track_caller]
fn check(body: &[u8], histograms: Histograms, expected: &[&str]) {
    assert_eq!(read(body, histograms, body.len().max(1)).unwrap(), expected);
    assert_eq!(read(body, histograms, 1).unwrap(), expected);
}

fn example(trace: &str) -> Example {
    Example { label: vec![label("trace_id", trace)], value: 1.0, timestamp: None }
}

fn both() -> Metric {
    let bucket = |upper: f64, count| Bucket { count, upper, ..Bucket::default() };
    let histogram = Both {
        count: 7,
        sum: 1.5,
        bucket: vec![bucket(1.0, 3), bucket(2.5, 7)],
        schema: 2,
        zero_threshold: 1e-128,
        positive_span: vec![BucketSpan { offset: 1, length: 2 }],
        positive_delta: vec![3, 1],
        ..Both::default()
    };
    Metric { histogram: Some(histogram), ..Metric::default() }
}

#[test]
fn every_type_is_read() {
    let counter = Counter {
        value: 4.0,
        exemplar: Some(example("abc")),
        created: Some(Time { seconds: 5, nanos: 500_000_000 }),
    };
    let counter = Metric {
        label: vec![label("path", "a\"b\\c\nd"), label("dotted.name", "x")],
        counter: Some(counter),
        timestamp_ms: 77,
        ..Metric::default()
    };
    check(
        &family("requests_total", 0, &[counter]),
        Histograms::Classic,
        &[
            "requests_total is counter",
            "requests_total{\"dotted.name\"=\"x\", path=\"a\\\"b\\\\c\\nd\"} 4 at 77 since 5500 # abc",
        ],
    );
    let gauge = Metric { gauge: Some(Plain { value: -1.5 }), ..Metric::default() };
    check(&family("a.b", 1, &[gauge]), Histograms::Classic, &["a.b is gauge", "{\"a.b\"} -1.5"]);
    let untyped = Metric { untyped: Some(Plain { value: 2.0 }), ..Metric::default() };
    check(&family("u", 3, &[untyped]), Histograms::Classic, &["u is unknown", "u 2"]);
    let quantile = vec![Quantile { quantile: 0.5, value: 3.0 }];
    let summary = Summary { count: 2, sum: 4.0, quantile, created: None };
    let summary = Metric { summary: Some(summary), ..Metric::default() };
    let expected = ["s is summary", "s{quantile=\"0.5\"} 3", "s_sum 4", "s_count 2"];
    check(&family("s", 2, &[summary]), Histograms::Classic, &expected);
}

#[test]
fn histograms_come_in_the_form_that_is_wanted() {
    let body = family("h", 4, &[both()]);
    let classic = [
        "h_bucket{le=\"1.0\"} 3",
        "h_bucket{le=\"2.5\"} 7",
        "h_bucket{le=\"+Inf\"} 7",
        "h_sum 1.5",
        "h_count 7",
    ];
    let native = "h 7 [(1, 3.0), (2, 4.0)] Unknown";
    check(&body, Histograms::Classic, &[&["h is histogram"], &classic[..]].concat());
    check(&body, Histograms::Native, &["h is histogram", native]);
    check(&body, Histograms::Both, &[&["h is histogram", native], &classic[..]].concat());
    let gauge = family("g", 5, &[both()]);
    let expected = ["g is gaugehistogram", "g 7 [(1, 3.0), (2, 4.0)] Gauge"];
    check(&gauge, Histograms::Native, &expected);
}

#[test]
fn a_body_that_is_none_is_refused_x22_x23() {
    let whole = family("h", 4, &[both()]);
    let fails = |body: &[u8], expected: &str| {
        let error = read(body, Histograms::Both, body.len()).unwrap_err();
        assert!(error.reason.contains(expected), "{error}");
    };
    fails(&whole[..whole.len() - 1], "in the midst");
    fails(&[0xff; 11], "the length of a family is none");
    fails(&[0xff, 0xff, 0xff, 0xff, 0x0f], "over the limit");
    fails(b"\x04\x0a\x7fab", "no such protobuf");
    fails(&family("", 4, &[]), "has no name");
    fails(b"# HELP up is text\n", "");
    let mut wrong = both();
    if let Some(histogram) = &mut wrong.histogram {
        histogram.positive_span[0].length = u32::MAX;
    }
    fails(&family("h", 4, &[wrong]), "fewer counts than buckets");
    let mut large = both();
    large.label.push(label("a", &"x".repeat(MAX_METRIC)));
    let body = family("h", 4, &[large]);
    let mut parser = ProtobufParser::new(Histograms::Both, 4 << 20);
    let error = parser.feed(&body, &mut |_| Ok::<_, ParseError>(())).unwrap_err();
    assert!(error.reason.contains("is over"), "{error}");
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let _ = read(&bytes, Histograms::Both, 7);
        }
    }
}

#[test]
fn what_would_be_huge_as_text_is_refused_x22() {
    let gauge = |n: usize| Metric {
        label: vec![label("n", &n.to_string())],
        gauge: Some(Plain { value: 1.0 }),
        ..Metric::default()
    };
    let refused = |body: &[u8]| {
        let mut seen = 0;
        let mut parser = ProtobufParser::new(Histograms::Classic, 4 << 20);
        let mut entry = |entry: Entry<'_>| {
            if let Entry::Sample(sample) = entry {
                seen += sample.series.len();
            }
            Ok::<_, ParseError>(())
        };
        let reason = parser.feed(body, &mut entry).unwrap_err().reason;
        assert!(seen <= 4 << 20, "{seen}");
        reason
    };
    // A name that is fine alone, and stands in the text of each of many series.
    let many: Vec<Metric> = (0..10_000).map(gauge).collect();
    let body = family(&"x".repeat(60_000), 1, &many);
    assert_eq!(refused(&body), "as text the body would be over its limit");
    let too_long = "name and labels of a series are over 65536 bytes";
    assert_eq!(refused(&family(&"x".repeat(3 << 20), 1, &many)), too_long);
    // A label that stands once, and in the text of each bucket.
    let bucket = |n: u64| Bucket { count: n, upper: n as f64, ..Bucket::default() };
    let histogram = |length: usize| {
        let buckets = (0..50_000).map(bucket).collect();
        let both = Both { count: 50_000, bucket: buckets, ..Both::default() };
        let label = vec![label("text", &"y".repeat(length))];
        family("h", 4, &[Metric { label, histogram: Some(both), ..Metric::default() }])
    };
    assert_eq!(refused(&histogram(60_000)), "as text the body would be over its limit");
    assert_eq!(refused(&histogram(70_000)), too_long);
}
