//! The `grpc` probe against servers that speak HTTP/2 and say the wrong things by it.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use base::http::{HeaderMap, Response};
use bytes::Bytes;
use common::{probe, run, run_for};
use h2::server::SendResponse;
use h2::{Reason as Code, server};
use probes::{Outcome, Reason, Status};
use tokio::net::TcpListener;

/// What a server answers.
#[derive(Clone, Copy)]
struct Says {
    content_type: &'static str,
    body: &'static [u8],
    /// How often the body is sent.
    times: usize,
    /// `grpc-status` and `grpc-message`, after the body; none where it just ends.
    trailers: Option<(&'static str, &'static [u8])>,
}

const WELL: Says = Says {
    content_type: "application/grpc+proto",
    body: b"\0\0\0\0\x02\x08\x01",
    times: 1,
    trailers: Some(("0", b"")),
};

/// A server that has one connection and answers each call by `answer`.
async fn serve(answer: impl Fn(SendResponse<Bytes>) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a peer of a test")]
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = server::handshake(socket).await.unwrap();
        while let Some(Ok((_, respond))) = connection.accept().await {
            answer(respond);
        }
    });
    address
}

async fn saying(says: Says) -> SocketAddr {
    serve(move |mut respond| {
        let head = Response::builder().header("content-type", says.content_type).body(()).unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        for _ in 0..says.times {
            let _ = body.send_data(Bytes::from_static(says.body), false);
        }
        let Some((status, message)) = says.trailers else {
            let _ = body.send_data(Bytes::new(), true);
            return;
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        trailers.insert("grpc-message", message.try_into().unwrap());
        let _ = body.send_trailers(trailers);
    })
    .await
}

async fn look(address: SocketAddr) -> Outcome {
    run(probe(&format!("grpc: {{address: '{address}'}}")).as_ref()).await
}

/// Without labels, as blackbox_exporter has it.
fn code(outcome: &Outcome) -> f64 {
    let family = outcome.families.iter().find(|one| one.name == "probe_grpc_status_code");
    family.unwrap().samples[0].value
}

#[track_caller]
fn check(outcome: &Outcome, reason: Reason, number: f64, part: &str) {
    assert_eq!((outcome.reason, code(outcome)), (reason, number), "{outcome:?}");
    assert_eq!(outcome.status == Status::Ok, reason == Reason::None, "{outcome:?}");
    assert!(outcome.summary.contains(part), "{}", outcome.summary);
    assert!(!outcome.summary.contains(char::is_control), "{}", outcome.summary);
}

#[tokio::test]
async fn what_is_said_wrongly_has_its_reason() {
    use Reason::{AnswerTooLarge, AuthenticationFailed, ErrorAnswer, NotServing, ProtocolError};
    let large: &'static [u8] = vec![0; 16_000].leak();
    for (says, reason, number, part) in [
        (WELL, Reason::None, 0.0, "the server is SERVING"),
        (Says { body: b"\0\0\0\0\x02\x08\x02", ..WELL }, NotServing, 0.0, "is NOT_SERVING"),
        (Says { times: 0, ..WELL }, ProtocolError, 13.0, "has no message"),
        (Says { times: 2, ..WELL }, ProtocolError, 13.0, "more than one message"),
        (Says { body: b"\0\0\0\0\x02\x08", ..WELL }, ProtocolError, 13.0, "breaks off"),
        (Says { body: b"\0\xff\xff\xff\xff", ..WELL }, AnswerTooLarge, 8.0, "over 65536 bytes"),
        (Says { body: large, times: 100, ..WELL }, AnswerTooLarge, 8.0, "over 65536 bytes"),
        (Says { body: b"\x01\0\0\0\x01x", ..WELL }, ProtocolError, 13.0, "compressed"),
        (
            Says { body: b"\0\0\0\0\x02\xff\xfe", ..WELL },
            ProtocolError,
            13.0,
            "no HealthCheckResponse",
        ),
        (Says { trailers: None, ..WELL }, ProtocolError, 13.0, "no `grpc-status`"),
        (Says { trailers: Some(("", b"")), ..WELL }, ProtocolError, 2.0, "no number"),
        (
            Says { trailers: Some(("16", b"\xff\xfe")), ..WELL },
            AuthenticationFailed,
            16.0,
            "UNAUTHENTICATED (16)",
        ),
        (
            Says { trailers: Some(("8", b"%1B%0A%ff")), ..WELL },
            ErrorAnswer,
            8.0,
            "RESOURCE_EXHAUSTED (8)",
        ),
        (Says { trailers: Some(("14", b"later")), ..WELL }, NotServing, 14.0, "`later`"),
        (Says { content_type: "text/html", ..WELL }, ProtocolError, 2.0, "is `text/html`"),
    ] {
        check(&look(saying(says).await).await, reason, number, part);
    }
}

#[tokio::test]
async fn a_server_may_end_the_call() {
    let reset = serve(|mut respond| respond.send_reset(Code::REFUSED_STREAM)).await;
    check(&look(reset).await, Reason::ErrorAnswer, 14.0, "the server ends the call");
    // A head beyond what is read.
    let large = serve(|mut respond| {
        let head = Response::builder().header("x", "y".repeat(40_000)).body(()).unwrap();
        let _ = respond.send_response(head, true);
    })
    .await;
    check(&look(large).await, Reason::ProtocolError, 14.0, "");
    let silent = serve(std::mem::forget).await;
    let yaml = format!("grpc: {{address: '{silent}'}}");
    let (o, took) = run_for(probe(&yaml).as_ref(), Duration::from_millis(150)).await;
    check(&o, Reason::Timeout, 4.0, "has not answered the call after");
    assert!(took < Duration::from_millis(250), "{took:?}");
}
