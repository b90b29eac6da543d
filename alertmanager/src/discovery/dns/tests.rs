//! Records over real sockets, from a server that answers as it is told.
//!
//! Invariant: nothing leaves the host.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

/// Answers one question by UDP, cut, and then the same by TCP, whole; `records` are each of the
/// asked type.
async fn serve(udp: UdpSocket, tcp: TcpListener, code: u8, records: Vec<Vec<u8>>) {
    let whole = |question: &[u8], cut: bool| {
        let mut answer = question.to_vec();
        (answer[2], answer[3]) = (0x80 | if cut { 2 } else { 0 }, code);
        answer[7] = if cut { 0 } else { u8::try_from(records.len()).unwrap() };
        let kind = &question[question.len() - 4..question.len() - 2];
        for record in records.iter().filter(|_| !cut) {
            let length = u16::try_from(record.len()).unwrap().to_be_bytes();
            answer.extend([&[192, 12], kind, &[0, 1, 0, 0, 0, 9], &length[..], record].concat());
        }
        answer
    };
    let mut question = vec![0; 512];
    let (length, from) = udp.recv_from(&mut question).await.unwrap();
    // One that nobody asked for comes first.
    udp.send_to(&[0; 40], from).await.unwrap();
    udp.send_to(&whole(&question[..length], code == 0), from).await.unwrap();
    if code == 0 {
        let (mut stream, _) = tcp.accept().await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.unwrap();
        let answer = whole(&question, false);
        stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    }
}

#[track_caller]
fn sd(yaml: &str, server: SocketAddr) -> DnsSd {
    let mut diagnostics = Diagnostics::new("f.yml");
    let config: DnsSdConfig = base::yaml::read(yaml, &mut diagnostics).unwrap();
    assert!(config.build(Place::default(), &mut diagnostics).is_some(), "{diagnostics}");
    assert!(diagnostics.is_empty(), "{diagnostics}");
    let written = config.kind.map_or("SRV".to_owned(), |kind| kind.value);
    let kind = KINDS.iter().find(|(name, _)| *name == written).unwrap().1;
    let resolver = Resolver { servers: vec![server], ..Resolver::default() };
    let names = config.names.into_iter().map(|name| name.value).collect();
    DnsSd { names, kind, port: config.port.unwrap_or(0), resolver: Some(resolver) }
}

async fn found(yaml: &str, code: u8, records: &[&[u8]]) -> Result<Vec<String>, String> {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // The same port may be taken by somebody else.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let mut sd = sd(yaml, udp.local_addr().unwrap());
    let records = records.iter().map(|record| record.to_vec()).collect();
    let (found, ()) = tokio::join!(sd.next(Timestamp::default()), serve(udp, tcp, code, records));
    found.map(|found| found.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn records_of_every_type_become_targets() {
    let srv: &[u8] = &[0, 1, 0, 2, 0x23, 0x8c, 2, b'd', b'b', 192, 12];
    assert_eq!(
        found("names: [_db._tcp.example]", 0, &[srv]).await.unwrap(),
        [
            r#"{__address__="db._db._tcp.example:9100", __meta_dns_name="_db._tcp.example", __meta_dns_srv_record_port="9100", __meta_dns_srv_record_target="db._db._tcp.example."}"#
        ]
    );
    assert_eq!(
        found("{names: [a.example], type: A, port: 80}", 0, &[&[10, 0, 0, 1], &[10, 0, 0, 2]])
            .await,
        Ok(vec![
            r#"{__address__="10.0.0.1:80", __meta_dns_name="a.example"}"#.to_owned(),
            r#"{__address__="10.0.0.2:80", __meta_dns_name="a.example"}"#.to_owned(),
        ])
    );
    let six: [u8; 16] = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets();
    assert_eq!(
        found("{names: [a.example], type: AAAA, port: 80}", 0, &[&six]).await.unwrap(),
        [r#"{__address__="[2001:db8::7]:80", __meta_dns_name="a.example"}"#]
    );
    assert_eq!(
        found("{names: [a.example], type: MX, port: 25}", 0, &[&[0, 9, 1, b'm', 192, 12]])
            .await
            .unwrap(),
        [
            r#"{__address__="m.a.example:25", __meta_dns_mx_record_target="m.a.example.", __meta_dns_name="a.example"}"#
        ]
    );
    assert_eq!(
        found("{names: [a.example], type: NS, port: 53}", 0, &[&[1, b'n', 0]]).await.unwrap(),
        [r#"{__address__="n:53", __meta_dns_name="a.example", __meta_dns_ns_record_target="n."}"#]
    );
}

#[tokio::test]
async fn a_name_that_is_not_there_has_no_targets_and_a_server_that_fails_is_an_error() {
    assert_eq!(found("names: [a.example]", 3, &[]).await, Ok(Vec::new()));
    let mut sd = sd("names: [a.example]", "127.0.0.1:9".parse().unwrap());
    let told = sd.next(Timestamp::default()).await.unwrap_err();
    assert!(told.starts_with("a.example: 127.0.0.1:9: "), "{told}");
}

#[test]
fn settings_that_are_wrong_are_told() {
    let check = |yaml: &str, expected: &str| {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Spanned<DnsSdConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
        config.value.build(config.place, &mut diagnostics);
        assert_eq!(diagnostics.to_string(), expected);
    };
    check("{type: A, port: 1}", "f.yml:1:1: `names` of `dns_sd_configs` is empty");
    check("{names: [a], type: A}", "f.yml:1:1: a port is required: `port` for records of type A");
    check(
        "{names: [a], type: TXT}",
        "f.yml:1:20: `TXT` is no type of records that targets are made of\n  \
         help: known: `SRV`, `A`, `AAAA`, `MX`, `NS`",
    );
}
