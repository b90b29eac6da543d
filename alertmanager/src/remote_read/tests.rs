//! Questions and answers of remote read.
//!
//! Invariant: every sample of an answer is compared.

use base::histogram::Histogram;
use base::remote_write::{Version, decode};
use storage::{Options, Point};

use super::*;

/// Two series, the second of which ends, and a third that is not asked for.
fn storage() -> Storage {
    let storage = Storage::in_memory(Options::default());
    for (name, room, count) in [("heat", "b", 3), ("heat", "a", 300), ("cold", "a", 2)] {
        let labels = Labels::from_pairs([("__name__", name), ("room", room)]);
        let series = storage.series(&labels).unwrap();
        for n in 0..count {
            let value = if (room, n) == ("b", 2) { Ended::Lost.value() } else { n as f64 };
            let timestamp = Timestamp::from_millis(1000 * n);
            storage.append(&[Point { series, timestamp, value }]).unwrap();
        }
    }
    storage
}

fn body(kind: i32, name: &str, value: &str, accepted: &[i32]) -> Vec<u8> {
    let matcher = |kind, name: &str, value: &str| LabelMatcher {
        kind,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let query = QueryMessage {
        start_timestamp_ms: 1000,
        end_timestamp_ms: 250_000,
        matchers: vec![matcher(0, "__name__", "heat"), matcher(kind, name, value)],
    };
    let accepted_response_types = accepted.to_vec();
    pack(&ReadRequest { queries: vec![query], accepted_response_types }.encode_to_vec())
}

fn labels() -> Labels {
    Labels::from_pairs([("site", "lyon"), ("room", "outside")])
}

fn ask(storage: &Storage, accepted: &[i32]) -> Answer {
    let question = Question::read(&body(0, "site", "lyon", accepted), &labels()).unwrap();
    question.answer(storage, &labels()).unwrap()
}

#[test]
fn samples_are_answered_in_one_message() {
    let answer = ask(&storage(), &[]);
    assert_eq!((answer.content_type, answer.encoding), ("application/x-protobuf", Some("snappy")));
    let response = ReadResponse::decode(&*unpack(&answer.body, 1 << 20).unwrap()).unwrap();
    let [result] = &response.results[..] else { panic!("{response:?}") };
    // A result is what a message of remote write is.
    let series = decode(&pack(result), Version::V1, 1 << 20).unwrap().series;
    let [a, b] = &series[..] else { panic!("{series:?}") };
    assert_eq!(a.labels.to_string(), "heat{room=\"a\", site=\"lyon\"}");
    assert_eq!((a.samples.len(), b.samples.len()), (250, 2));
    assert_eq!(Ended::from_value(b.samples[1].value), Some(Ended::Gone));
}

#[test]
fn chunks_are_answered_in_a_frame_for_each_series() {
    let answer = ask(&storage(), &[7, 1, 0]);
    assert!(answer.content_type.contains("ChunkedReadResponse") && answer.encoding.is_none());
    let (mut rest, mut found) = (&*answer.body, Vec::new());
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest).unwrap();
        let (sum, after) = rest.split_first_chunk::<4>().unwrap();
        let (message, after) = after.split_at(length);
        assert_eq!(u32::from_be_bytes(*sum), castagnoli(message));
        let message = ChunkedReadResponse::decode(message).unwrap();
        assert_eq!((message.query_index, message.chunked_series.len()), (0, 1));
        let series = &message.chunked_series[0];
        let chunks = series.chunks.iter().map(|chunk| {
            assert_eq!(chunk.kind, XOR);
            (chunk.min_time_ms, chunk.max_time_ms)
        });
        found.push((series.labels[1].value.clone(), chunks.collect::<Vec<_>>()));
        rest = after;
    }
    let a = vec![(1000, 120_000), (121_000, 240_000), (241_000, 250_000)];
    assert_eq!(found, [("a".to_owned(), a), ("b".to_owned(), vec![(1000, 2000)])]);
    assert_eq!(ask(&storage(), &[0, 1]).encoding, Some("snappy"));
}

#[test]
fn histograms_are_always_sampled() {
    let storage = storage();
    let labels = Labels::from_pairs([("__name__", "heat"), ("room", "h")]);
    let series = storage.series(&labels).unwrap();
    let histogram = Histogram { count: 3.0, zero_count: 3.0, ..Histogram::default() };
    storage.append_histogram(series, Timestamp::from_millis(5000), histogram).unwrap();
    let answer = ask(&storage, &[1]);
    let response = ReadResponse::decode(&*unpack(&answer.body, 1 << 20).unwrap()).unwrap();
    let got = decode(&pack(&response.results[0]), Version::V1, 1 << 20).unwrap();
    assert_eq!((got.series.len(), got.natives.len()), (2, 1));
    assert_eq!(got.natives[0].histograms[0].1.as_ref().unwrap().count, 3.0);
}

#[test]
fn what_is_no_question_is_refused_x22() {
    let check = |body: &[u8], expected: &str| {
        let why = Question::read(body, &Labels::empty()).unwrap_err();
        assert!(why.contains(expected), "{why}");
    };
    check(b"no snappy", "snappy");
    check(&pack(&[0xff; 9]), "no such message");
    check(&body(2, "room", "(", &[]), "(");
    check(&body(9, "room", "a", &[]), "kind of matcher 9");
    let queries = vec![QueryMessage::default(); MOST_QUERIES + 1];
    let many = ReadRequest { queries, accepted_response_types: Vec::new() };
    check(&pack(&many.encode_to_vec()), "more than 100 queries");
    check(&pack(&vec![0; MAX_QUESTION + 1]), "more than");
}
