//! Every kind against every fault. That a probe keeps its time is not measured: it must be done the
//! moment that it is told to stop, without another turn.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use probes::manual::manual;
use probes::{Outcome, Probe, Reason, Status};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::common::probe;
use crate::kinds::{BY_DATAGRAM, KINDS, Kind};
use crate::server::{Fault, certificate, listen, misbehave, mumble, show_certificate};

/// Runs a probe beside its server. Where the server does nothing more and the probe waits, the
/// time is up: the probe must be done at once.
async fn beside<T>(
    probe: &dyn Probe,
    server: impl Future<Output = T>,
    hangs: bool,
) -> Result<Outcome, String> {
    let stop = CancellationToken::new();
    let mut run = pin!(probe.run(&stop));
    let mut server = pin!(server);
    let kept = tokio::select! {
        outcome = &mut run => return Ok(outcome),
        kept = &mut server => kept,
    };
    if !hangs {
        let end = tokio::time::timeout(Duration::from_secs(20), run).await;
        drop(kept);
        return end.map_err(|_| "it did not end by itself".to_owned());
    }
    // What was said may still be on its way.
    let turn = tokio::time::timeout(Duration::from_millis(20), &mut run).await;
    if let Ok(outcome) = turn {
        return Ok(outcome);
    }
    stop.cancel();
    poll_fn(|context| match run.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Ok(outcome)),
        Poll::Pending => Poll::Ready(Err("it did not stop when it was told to".to_owned())),
    })
    .await
}

/// The reasons that are right for a fault.
fn expected(fault: Fault, kind: &Kind) -> &'static [Reason] {
    // TLS takes what is no TLS as a handshake that fails.
    let tls = kind.name == "tls" && kind.before_tls == Some(b"");
    match fault {
        Fault::Refused => &[Reason::ConnectionRefused],
        Fault::Reset => &[Reason::ConnectionReset],
        Fault::Silent | Fault::Slow => &[Reason::Timeout],
        Fault::Truncated if tls => &[Reason::TlsFailed],
        Fault::Truncated if kind.name == "tcp" => &[Reason::BodyMismatch],
        Fault::Truncated => &[Reason::ConnectionReset],
        Fault::Oversized if tls => &[Reason::TlsFailed],
        Fault::Oversized => &[Reason::AnswerTooLarge, Reason::ProtocolError],
        Fault::WrongProtocol | Fault::InvalidUtf8 if tls => &[Reason::TlsFailed],
        Fault::WrongProtocol | Fault::InvalidUtf8 if kind.name == "tcp" => &[Reason::BodyMismatch],
        // A web server is what a WebSocket begins with.
        Fault::WrongProtocol
            if matches!(kind.name, "http" | "websocket" | "health" | "prometheus") =>
        {
            &[Reason::HttpStatus]
        }
        Fault::WrongProtocol | Fault::InvalidUtf8 => &[Reason::ProtocolError],
    }
}

fn judge(kind: &Kind, result: Result<Outcome, String>, reasons: &[Reason]) -> Result<(), String> {
    let outcome = result?;
    let untold = manual(kind.name).unwrap().leaves_out(&outcome);
    if !untold.is_empty() {
        return Err(format!("its page leaves out {}", untold.join(", ")));
    }
    let shown = format!("{:?} {}", outcome.reason, outcome.summary);
    let fits = outcome.status == Status::Critical && reasons.contains(&outcome.reason);
    let success = outcome.families.iter().find(|family| family.name == "probe_success");
    let told = success.is_some_and(|family| family.samples[0].value == 0.0);
    let harmless = !outcome.summary.chars().any(char::is_control) && outcome.summary.len() < 2000;
    if fits && told && harmless && !outcome.summary.is_empty() {
        return Ok(());
    }
    Err(format!("{shown}, wanted {reasons:?}"))
}

#[tokio::test]
async fn every_fault_of_a_connection_has_its_reason() {
    let mut broken = Vec::new();
    for kind in KINDS.iter().filter(|kind| !kind.begins.is_empty()) {
        for fault in Fault::ALL {
            let (listener, address) = listen().await;
            let yaml = kind.yaml.replace("ADDRESS", &address.to_string());
            let yaml = if kind.name == "tls" { yaml } else { yaml.replace("tls: {}, ", "") };
            let yaml = yaml.replace(", tls: {}", "");
            let probe = probe(&yaml);
            if fault == Fault::Refused {
                drop(listener);
                let outcome = probe.run(&CancellationToken::new()).await;
                let result = judge(kind, Ok(outcome), expected(fault, kind));
                broken.extend(result.err().map(|why| format!("{yaml} {fault:?}: {why}")));
                continue;
            }
            let hangs = matches!(fault, Fault::Silent | Fault::Slow);
            let result = beside(probe.as_ref(), misbehave(listener, kind, fault), hangs).await;
            let result = judge(kind, result, expected(fault, kind));
            broken.extend(result.err().map(|why| format!("{yaml} {fault:?}: {why}")));
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[tokio::test]
async fn every_fault_of_a_datagram_has_its_reason() {
    let mut broken = Vec::new();
    for kind in BY_DATAGRAM {
        for fault in Fault::ALL {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap().to_string();
            let yaml = kind.yaml.replace("ADDRESS", &address);
            let reasons: &[_] = match fault {
                Fault::Refused => &[Reason::ConnectionRefused],
                Fault::Reset | Fault::Silent | Fault::Slow => &[Reason::Timeout],
                _ => &[Reason::ProtocolError],
            };
            let socket = if fault == Fault::Refused {
                drop(socket);
                UdpSocket::bind("127.0.0.1:0").await.unwrap()
            } else {
                socket
            };
            let hangs = reasons == [Reason::Timeout];
            let result = beside(probe(&yaml).as_ref(), mumble(socket, kind, fault), hangs).await;
            let result = judge(kind, result, reasons);
            broken.extend(result.err().map(|why| format!("{yaml} {fault:?}: {why}")));
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[tokio::test]
async fn every_fault_of_a_certificate_has_its_reason() {
    let cases = [
        ("expired", Reason::CertificateExpired),
        ("self-signed", Reason::CertificateSelfSigned),
        ("wrong-name", Reason::CertificateName),
        ("untrusted", Reason::CertificateUntrusted),
    ];
    let authority = certificate("authority.pem");
    let mut broken = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.before_tls.is_some()) {
        for (name, reason) in cases {
            let (listener, address) = listen().await;
            let yaml = kind.yaml.replace("ADDRESS", &address.to_string());
            let yaml = yaml.replace("tls: {}", &format!("tls: {{ca_file: {authority}}}"));
            let server = show_certificate(listener, kind, name);
            let result = beside(probe(&yaml).as_ref(), server, false).await;
            let seen = result.as_ref().is_ok_and(|outcome| {
                let names: Vec<_> = outcome.families.iter().map(|f| f.name.as_str()).collect();
                names.contains(&"probe_ssl_earliest_cert_expiry")
                    && names.contains(&"probe_ssl_last_chain_info")
            });
            let result = judge(kind, result, &[reason]);
            broken.extend(result.err().map(|why| format!("{yaml} {name}: {why}")));
            broken.extend((!seen).then(|| format!("{yaml} {name}: the chain is not measured")));
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}
