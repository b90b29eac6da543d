//! Remote write, both ways.
//!
//! Invariant: both versions are held to the same.

use std::collections::BTreeMap;

use super::encode::{v1_of, v2_of};
use prost::Message;

use super::message::{v1, v2};
use super::read::{One, Reader};
use super::wire::Wrong;
use super::*;
use crate::histogram::{CUSTOM, Reset};
use crate::labels::METRIC_NAME;

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
    let got = read::v1::<Vec<Series>>(&message.encode_to_vec(), 1 << 20).unwrap();
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
fn from_v1(request: &v1::WriteRequest) -> Result<Received, Wrong> {
    let mut reader = Reader::new(1 << 20);
    let texts = |label: &v1::Label| (label.name.clone(), label.value.clone());
    for series in &request.timeseries {
        let pairs: Vec<_> = series.labels.iter().map(texts).collect();
        let exemplars = series.exemplars.iter().map(|exemplar| {
            (exemplar.labels.iter().map(texts).collect(), exemplar.value, exemplar.timestamp)
        });
        give(&mut reader, (&pairs, exemplars), (&series.samples, &series.histograms), |_| {})?;
    }
    Ok(reader.received)
}

/// What a generated reader of the message of 2.0 makes of it.
fn from_v2(request: &v2::Request) -> Result<Received, Wrong> {
    let mut reader = Reader::new(1 << 20);
    let text = |place: u32| {
        let text = request.symbols.get(place as usize).cloned();
        text.ok_or(Wrong::Message(String::new()))
    };
    for series in &request.timeseries {
        let pairs = |refs: &[u32]| -> Result<Vec<(String, String)>, Wrong> {
            let pairs = refs.chunks(2).map(|pair| match pair {
                [name, value] => Ok((text(*name)?, text(*value)?)),
                _ => Err(Wrong::Message(String::new())),
            });
            pairs.collect()
        };
        let about = series.metadata.unwrap_or_default();
        let (help, unit) = (text(about.help_ref)?, text(about.unit_ref)?);
        let exemplars = series.exemplars.iter();
        let exemplars = exemplars
            .map(|exemplar| Ok((pairs(&exemplar.labels_refs)?, exemplar.value, exemplar.timestamp)))
            .collect::<Result<Vec<_>, Wrong>>()?;
        let labels = pairs(&series.labels_refs)?;
        let values = (&series.samples[..], &series.histograms[..]);
        give(&mut reader, (&labels, exemplars.into_iter()), values, |one| {
            one.start = series.created_timestamp;
            one.about = (message::kind_named(about.kind), &help, &unit);
        })?;
    }
    Ok(reader.received)
}

type Pairs = Vec<(String, String)>;

fn give<'a>(
    reader: &mut Reader<Vec<Series>>,
    (pairs, exemplars): (&'a Pairs, impl Iterator<Item = (Pairs, f64, i64)>),
    (samples, histograms): (&[message::Sample], &[message::Histogram]),
    complete: impl FnOnce(&mut One<'a>),
) -> Result<(), Wrong> {
    let sample = |at: i64, value| Sample { timestamp: Timestamp::from_millis(at), value };
    let mut one = One {
        pairs: pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect(),
        samples: samples
            .iter()
            .map(|read| sample(read.timestamp, taken(read.value.unwrap_or(0.0))))
            .collect(),
        histograms: histograms.iter().map(message::Histogram::read).collect(),
        exemplars: exemplars
            .map(|(pairs, value, at)| (Labels::from_pairs(pairs), sample(at, value)))
            .collect(),
        ..One::default()
    };
    complete(&mut one);
    reader.give(&mut one)
}

/// All that a message may have.
fn everything() -> Outgoing<'static> {
    let mut series: Vec<_> = (0..5).map(|n| series(&format!("s{n}"), &[1.0, -0.0, 2.5])).collect();
    series.push(self::series("a", &[]));
    series.push(self::series("é", &[2.0]));
    let exemplars = vec![Exemplar {
        series: series[1].labels.clone(),
        labels: Labels::from_pairs([("trace", "x")]),
        value: 3.0,
        timestamp: Timestamp::from_millis(7),
    }];
    Outgoing {
        series: series.leak(),
        starts: &[1, 2],
        natives: vec![natives()].leak(),
        exemplars: exemplars.leak(),
        about: None,
    }
}

/// Compares two readers over a message, its beginnings, and the message with every bit changed.
fn compare<M: Message + Default>(
    bytes: &[u8],
    ours: impl Fn(&[u8]) -> Result<Received, Wrong>,
    generated: impl Fn(&M) -> Result<Received, Wrong>,
) {
    let compare = |bytes: &[u8]| {
        let read = ours(bytes);
        // A group, which is as old as it is unused, is let through by one and refused by the other.
        match M::decode(bytes).map(|message| generated(&message)) {
            Ok(Ok(expected)) if read.is_ok() => {
                assert_eq!(format!("{:?}", read.unwrap()), format!("{expected:?}"));
                true
            }
            Ok(Ok(_)) => false,
            Ok(Err(_)) | Err(_) => {
                assert!(read.is_err(), "{bytes:?}");
                false
            }
        }
    };
    assert!(compare(bytes));
    (0..bytes.len()).for_each(|end| {
        compare(&bytes[..end]);
    });
    let sound = (0..bytes.len() * 8).filter(|bit| {
        let mut changed = bytes.to_owned();
        changed[bit / 8] ^= 1 << (bit % 8);
        compare(&changed)
    });
    assert!(sound.count() > bytes.len());
}

#[test]
fn messages_of_1_0_are_read_as_by_a_generated_reader_x22() {
    let mut message = v1_of(everything());
    message.timeseries[2].labels.reverse();
    compare(&message.encode_to_vec(), |bytes| read::v1(bytes, 1 << 20), from_v1);
}

#[test]
fn messages_of_2_0_are_read_as_by_a_generated_reader_x22() {
    let mut message = v2_of(everything());
    message.timeseries[2].labels_refs.rotate_left(2);
    compare(&message.encode_to_vec(), |bytes| read::v2(bytes, 1 << 20), from_v2);
}

/// Messages of a few bytes a piece, of which each piece would take far more.
#[test]
fn what_would_take_far_more_than_it_says_is_refused_x21() {
    let limit = 64 << 10;
    let field = |number: u8, bytes: &[u8]| {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut field);
        field.extend_from_slice(bytes);
        field
    };
    let label = [field(1, b"__name__"), field(2, b"x")].concat();
    let many = |piece: &[u8]| piece.repeat(limit / 2 / piece.len());
    let named = |more: &[u8]| field(1, &[&field(1, &label)[..], more].concat());
    let symbols = |series: &[u8]| {
        let texts = ["", "__name__", &"x".repeat(limit / 4)].map(|text| field(4, text.as_bytes()));
        [texts.concat(), field(5, series).repeat(2000)].concat()
    };
    let messages = [
        (Version::V1, "series without a name", many(&field(1, b""))),
        (Version::V1, "empty labels", field(1, &many(&field(1, b"")))),
        (Version::V1, "empty samples", named(&many(&field(2, b"")))),
        (Version::V1, "empty exemplars", named(&many(&field(3, b"")))),
        (Version::V1, "empty histograms", named(&many(&field(4, b"")))),
        (Version::V2, "empty symbols", many(&field(4, b""))),
        (Version::V2, "a long symbol in many series", symbols(&[10, 2, 1, 2, 18, 0])),
        (Version::V2, "and without a sample", symbols(&[10, 2, 1, 2])),
        (Version::V2, "and in exemplars", symbols(&[10, 2, 1, 1, 34, 4, 10, 2, 1, 2])),
        (Version::V2, "places", [field(4, b""), field(5, &many(&[8, 0]))].concat()),
    ];
    for (version, what, message) in messages {
        let refused = decode(&pack(&message), version, limit).map(|_| what);
        assert_eq!(refused, Err(DecodeError::TooMuch(limit)), "{what}");
        let refused = decode_as::<Rows>(&pack(&message), version, limit).map(|_| what);
        assert_eq!(refused, Err(DecodeError::TooMuch(limit)), "{what}");
    }
    // One histogram, one exemplar, one set of labels: the rest is taken.
    for number in [3, 4] {
        let more = [field(number, &[0x1a, 0].repeat(1 << 20)), field(2, b"")].concat();
        let got = decode(&pack(&named(&more)), Version::V1, 64 << 20).unwrap();
        assert_eq!((got.series.len(), got.natives.len(), got.exemplars.len()), (1, 0, 0));
        assert_eq!(got.refused_histograms.len(), usize::from(number == 4));
    }
    let long = series(&"x".repeat(100_000), &[1.0]);
    let got = decode(&encode(&[long, series("a", &[1.0])], Version::V1), Version::V1, 1 << 20);
    let got = got.unwrap();
    assert_eq!(got.refused, ["a series has 100017 bytes of labels, more than 65536"]);
    assert_eq!(got.series.len(), 1);
}

/// Names in the worst order take no longer than in any other.
#[test]
fn labels_in_any_order_are_read() {
    let names: Vec<String> = (0..200_000).rev().map(|n| format!("n{n:06}")).collect();
    let labels = Labels::from_pairs(names.iter().map(|name| (name, "x")));
    assert_eq!((labels.len(), labels.iter().next()), (200_000, Some(("n000000", "x"))));
}
