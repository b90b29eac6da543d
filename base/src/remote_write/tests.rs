//! Remote write, both ways.
//!
//! Invariant: both versions are held to the same.

use std::collections::BTreeMap;

use super::encode::{v1_of, v2_of};
use super::message::v1;
use super::*;
use crate::histogram::{CUSTOM, Reset};

fn series(name: &str, values: &[f64]) -> Series {
    let labels = Labels::from_pairs([(METRIC_NAME, name), ("job", "a"), ("zone", "a")]);
    let sample = |(at, value): (usize, &f64)| Sample {
        timestamp: Timestamp::from_millis(1000 * at as i64),
        value: *value,
    };
    let samples = values.iter().enumerate().map(sample).collect();
    let (kind, help) = (MetricKind::Gauge, "How hot.".to_owned());
    Series { labels, samples, kind, help, unit: "celsius".to_owned() }
}

fn bits(received: &Received) -> Vec<u64> {
    let samples = received.series.iter().flat_map(|series| &series.samples);
    samples.map(|sample| sample.value.to_bits()).collect()
}

#[test]
fn what_is_encoded_is_decoded() {
    let stale = Ended::Gone.value();
    let sent = [series("a", &[1.0, -0.0, f64::INFINITY, stale]), series("b", &[f64::NAN])];
    for version in [Version::V1, Version::V2] {
        let body = encode(&sent, version);
        let got = decode(&body, version, 1 << 20).unwrap();
        assert_eq!(got.series.len(), 2);
        assert_eq!(got.series[0].labels, sent[0].labels);
        let expected = [1.0, -0.0, f64::INFINITY, stale, f64::NAN].map(f64::to_bits);
        assert_eq!(bits(&got), expected);
        let kinds = [MetricKind::Unknown, MetricKind::Gauge];
        assert_eq!(got.series[1].kind, kinds[usize::from(version == Version::V2)]);
        assert_eq!(Version::of_content_type(version.content_type()), Some(version));
    }
}

#[test]
fn texts_of_2_0_stand_once_and_the_first_is_empty() {
    let series = [series("a", &[1.0]), series("b", &[2.0])];
    let request = v2_of(Outgoing { series: &series, ..Outgoing::default() });
    let expected = ["", "__name__", "a", "job", "zone", "How hot.", "celsius", "b"];
    assert_eq!(request.symbols, expected);
}

#[test]
fn single_series_are_refused_and_the_rest_is_taken() {
    let label = |name: &str, value: &str| v1::Label { name: name.into(), value: value.into() };
    let one = |labels| v1::TimeSeries {
        labels,
        samples: vec![message::Sample { value: Some(1.0), timestamp: 1 }],
        ..v1::TimeSeries::default()
    };
    let message = v1::WriteRequest {
        timeseries: vec![
            one(vec![label("job", "x")]),
            one(vec![label(METRIC_NAME, "x"), label("a", "1"), label("a", "2")]),
            one(vec![label(METRIC_NAME, "x"), label("empty", "")]),
            one(vec![label(METRIC_NAME, "x"), label("", "nameless")]),
        ],
    };
    let got = plain::read(&message.encode_to_vec()).unwrap();
    assert_eq!((got.series.len(), got.refused.len()), (1, 3), "{got:?}");
}

#[test]
fn what_claims_to_be_large_is_not_unpacked_x21() {
    // The length that a snappy block claims stands before everything else.
    let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let error = decode(&bomb, Version::V1, 1 << 20).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge(u32::MAX as usize, 1 << 20));
    let zeros = snap::raw::Encoder::new().compress_vec(&vec![0; 2 << 20]).unwrap();
    assert!(matches!(decode(&zeros, Version::V1, 1 << 20), Err(DecodeError::TooLarge(..))));
}

#[test]
fn broken_bodies_are_refused_and_never_panic_x22() {
    for version in [Version::V1, Version::V2] {
        let sent = [series("a", &[1.0, 2.0]), series("b", &[3.0])];
        let natives = [natives()];
        let sent = Outgoing { series: &sent, natives: &natives, ..Outgoing::default() };
        let whole = v2_of(sent).encode_to_vec();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                let body = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
                let _ = decode(&body, version, 1 << 20);
                let _ = decode(&bytes, version, 1 << 20);
            }
        }
        let cut = encode(&[series("a", &[1.0])], version);
        assert!(decode(&cut[..cut.len() - 3], version, 1 << 20).is_err());
    }
}

#[test]
fn only_the_stale_marker_may_be_sent_f39() {
    let sent = series("a", &[Ended::Lost.value(), Ended::Removed.value(), -f64::NAN]);
    let got = decode(&encode(&[sent], Version::V2), Version::V2, 1 << 20).unwrap();
    assert!(bits(&got).iter().all(|bits| *bits == f64::NAN.to_bits()));
}

#[test]
fn content_types_name_a_version_or_none() {
    let of = Version::of_content_type;
    assert_eq!(of("application/x-protobuf; proto=prometheus.WriteRequest"), Some(Version::V1));
    assert_eq!(of("application/x-protobuf;proto=x.Y"), None);
    assert_eq!(of("application/json"), None);
}

/// Histograms of whole numbers and of others, a gauge, one with bounds of its own, and a marker.
fn natives() -> NativeSeries {
    let whole = Histogram {
        schema: 3,
        zero_threshold: 1e-3,
        zero_count: 2.0,
        count: 9.0,
        sum: 17.5,
        positive: vec![(-3, 1.0), (0, 2.0), (1, 1.0)],
        negative: vec![(5, 3.0)],
        ..Histogram::default()
    };
    let gauge = Histogram { reset: Reset::Gauge, count: 9.25, zero_count: 2.25, ..whole.clone() };
    let own = Histogram {
        schema: CUSTOM,
        reset: Reset::Reset,
        count: 3.0,
        sum: 1.0,
        positive: vec![(0, 1.0), (2, 2.0)],
        bounds: [0.5, 1.0].into(),
        ..Histogram::default()
    };
    let at = |n: usize| Timestamp::from_millis(n as i64 * 1000);
    let all = [Some(whole), Some(gauge), Some(own), None];
    let histograms = all.into_iter().enumerate().map(|(n, h)| (at(n), h.map(Arc::new)));
    NativeSeries {
        labels: Labels::from_pairs([(METRIC_NAME, "h")]),
        histograms: histograms.collect(),
        start: 0,
    }
}

fn encode_with(series: &[Series], natives: &[NativeSeries], version: Version) -> Vec<u8> {
    encode_all(Outgoing { series, natives, ..Outgoing::default() }, version)
}

#[test]
fn native_histograms_are_decoded_as_they_were_encoded() {
    for version in [Version::V1, Version::V2] {
        let body = encode_with(&[series("a", &[1.0])], &[natives()], version);
        let got = decode(&body, version, 1 << 20).unwrap();
        assert_eq!((got.series.len(), &got.starts[..]), (1, &[0][..]));
        assert_eq!(got.natives, [natives()]);
    }
    let sent = NativeSeries { start: 7, ..natives() };
    let got = decode(&encode_with(&[], &[sent], Version::V2), Version::V2, 1 << 20).unwrap();
    assert_eq!(got.natives[0].start, 7);
}

#[test]
fn a_histogram_that_cannot_be_is_refused_and_the_rest_is_taken_x22() {
    let mut sent = natives();
    let wrong = Histogram { schema: 77, ..Histogram::default() };
    sent.histograms[1].1 = Some(Arc::new(wrong));
    let got = decode(&encode_with(&[], &[sent], Version::V1), Version::V1, 1 << 20).unwrap();
    assert_eq!(got.natives[0].histograms.len(), 3);
    assert_eq!(got.refused_histograms, ["native histogram: its schema is not known: h"]);
}

#[test]
fn starts_travel_with_2_0() {
    let sent = [series("a", &[1.0]), series("b", &[2.0])];
    for (version, starts) in [(Version::V2, [7, 0]), (Version::V1, [0, 0])] {
        let sent = Outgoing { series: &sent, starts: &[7], ..Outgoing::default() };
        let body = encode_all(sent, version);
        assert_eq!(decode(&body, version, 1 << 20).unwrap().starts, starts);
    }
}

#[test]
fn exemplars_are_decoded_as_they_were_encoded() {
    let (a, h) = (series("a", &[1.0]), natives());
    let exemplar = |series: &Labels, trace: &str, value| Exemplar {
        series: series.clone(),
        labels: Labels::from_pairs([("trace_id", trace)]),
        value,
        timestamp: Timestamp::from_millis(7),
    };
    let exemplars = [
        exemplar(&a.labels, "1", 0.5),
        exemplar(&a.labels, "2", -0.0),
        exemplar(&h.labels, "", 2.0),
    ];
    for version in [Version::V1, Version::V2] {
        let outgoing = Outgoing {
            series: std::slice::from_ref(&a),
            natives: std::slice::from_ref(&h),
            exemplars: &exemplars,
            ..Outgoing::default()
        };
        let got = decode(&encode_all(outgoing, version), version, 1 << 20).unwrap();
        assert_eq!((&got.exemplars[..], got.series.len()), (&exemplars[..], 1), "{version:?}");
        assert_eq!(got.natives, [natives()]);
    }
}

#[test]
fn what_is_said_of_a_metric_is_said_of_its_series() {
    use MetricKind::{Counter, Gauge, Histogram, Unknown};
    let about = |kind, help: &str| About { kind, unit: "s".to_owned(), help: help.to_owned() };
    let all = BTreeMap::from([
        ("h".to_owned(), about(Histogram, "H.")),
        ("c".to_owned(), about(Counter, "C.")),
        ("c_total".to_owned(), about(Counter, "Itself.")),
        ("g".to_owned(), about(Gauge, "G.")),
    ]);
    let expected = [
        ("h", Histogram, "H."),
        ("h_bucket", Histogram, "H."),
        ("h_count", Histogram, "H."),
        ("h_total", Unknown, ""),
        ("c_total", Counter, "Itself."),
        ("c_created", Counter, "C."),
        ("g_sum", Unknown, ""),
        ("other", Unknown, ""),
    ];
    let bare = |name| Series {
        kind: Unknown,
        help: String::new(),
        unit: String::new(),
        ..series(name, &[1.0])
    };
    let series: Vec<Series> = expected.iter().map(|(name, ..)| bare(*name)).collect();
    let outgoing = Outgoing { series: &series, about: Some(&all), ..Outgoing::default() };
    let got = decode(&encode_all(outgoing, Version::V2), Version::V2, 1 << 20).unwrap();
    for (got, (name, kind, help)) in got.series.iter().zip(expected) {
        assert_eq!((got.kind, got.help.as_str()), (kind, help), "{name}");
    }
    let got = decode(&encode_all(outgoing, Version::V1), Version::V1, 1 << 20).unwrap();
    assert!(got.series.iter().all(|series| series.help.is_empty()));
    // What says it of itself is believed.
    let own = [self::series("g", &[1.0])];
    let outgoing = Outgoing { series: &own, about: Some(&all), ..Outgoing::default() };
    let got = decode(&encode_all(outgoing, Version::V2), Version::V2, 1 << 20).unwrap();
    assert_eq!(got.series[0].help, "How hot.");
}

#[test]
fn metrics_are_told_in_messages_of_1_0() {
    let about = About { kind: MetricKind::Counter, unit: "s".into(), help: "C.".into() };
    let (name, none) = ("c".to_owned(), About::default());
    let body = encode_about([(&name, &about), (&name, &none)].into_iter());
    let message = v1::AboutRequest::decode(&*unpack(&body, 1 << 20).unwrap()).unwrap();
    let told = message.metadata.iter().map(|m| (m.kind, &*m.name, &*m.help, &*m.unit));
    assert_eq!(told.collect::<Vec<_>>(), [(1, "c", "C.", "s"), (0, "c", "", "")]);
    // A receiver that looks for samples finds none.
    assert_eq!(decode(&body, Version::V1, 1 << 20).unwrap(), Received::default());
}

/// What a generated reader of the message makes of it.
fn from_v1(request: v1::WriteRequest) -> Received {
    let mut received = Received::default();
    for series in request.timeseries {
        let pairs = |labels: &[v1::Label]| -> Vec<(String, String)> {
            labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect()
        };
        let exemplars = series.exemplars.iter().map(|exemplar| Example {
            labels: Labels::from_pairs(pairs(&exemplar.labels)),
            value: exemplar.value,
            timestamp: exemplar.timestamp,
        });
        let exemplars = exemplars.collect();
        let pairs = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        let Some(labels) = received.labels(pairs) else { continue };
        received.add(&labels, &series.samples, 0, |_| {});
        received.add_more(&labels, &series.histograms, exemplars, 0);
    }
    received
}

#[test]
fn messages_of_1_0_are_read_as_by_a_generated_reader_x22() {
    let mut series: Vec<_> = (0..5).map(|n| series(&format!("s{n}"), &[1.0, -0.0, 2.5])).collect();
    series.push(self::series("a", &[]));
    let natives = [natives()];
    let mut message = v1_of(Outgoing { series: &series, natives: &natives, ..Outgoing::default() });
    message.timeseries[1].exemplars.push(v1::Exemplar {
        labels: vec![v1::Label { name: "trace".into(), value: "x".into() }],
        value: 3.0,
        timestamp: 7,
    });
    message.timeseries[2].labels.reverse();
    let bytes = message.encode_to_vec();
    let compare = |bytes: &[u8]| {
        let read = plain::read(bytes);
        // A group, which is as old as it is unused, is let through by one and refused by the other.
        match v1::WriteRequest::decode(bytes) {
            Ok(message) if read.is_ok() => {
                assert_eq!(format!("{:?}", read.unwrap()), format!("{:?}", from_v1(message)));
                true
            }
            Ok(_) => false,
            Err(_) => {
                assert!(read.is_err(), "{bytes:?}");
                false
            }
        }
    };
    assert!(compare(&bytes));
    (0..bytes.len()).for_each(|end| {
        compare(&bytes[..end]);
    });
    // Every byte changed in every bit.
    let sound = (0..bytes.len() * 8).filter(|bit| {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        compare(&changed)
    });
    assert!(sound.count() > bytes.len());
}
