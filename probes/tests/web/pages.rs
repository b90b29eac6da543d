//! Kinds of addresses, methods, limits, packed bodies.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use probes::Reason;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::server::{Server, check, has, look, ok, request, value};

#[tokio::test]
async fn the_kind_of_address_is_chosen() {
    let page = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let ask =
        |more: &str| format!("http: {{url: 'http://127.0.0.1:{}/'{more}}}", page.address.port());
    check(&look(&ask(", ip_version: 4")).await, Reason::None, "");
    check(&look(&ask(", ip_version: any")).await, Reason::None, "");
    check(&look(&ask(", ip_version: 6")).await, Reason::ResolveFailed, "there is no IPv6 address");
    check(&look(&ask(", ip_version: 6, ip_fallback: true")).await, Reason::None, "");
}

#[tokio::test]
async fn any_method_and_limits_on_phases() {
    let echo = Server::start(ok).await;
    check(&echo.ask(", method: propfind, body_contains: 'PROPFIND /page'").await, Reason::None, "");
    let o = echo.ask(", thresholds: {processing: {crit: '1:'}, seconds: {warn: 60}}").await;
    check(&o, Reason::Threshold, "`processing` is 0.");
    assert!(value(&o, "processing").is_some() && value(&o, "resolve").is_none());
}

#[tokio::test]
async fn a_packed_body_is_unpacked_within_the_limit() {
    let packed = async |bytes: Vec<u8>| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a peer of a test")]
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let asked = request(&mut socket).await;
            assert!(asked.contains("accept-encoding: gzip\r\n"), "{asked}");
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n").await;
            let _ = socket.write_all(&bytes).await;
        });
        let more = "compression: gzip, body_limit: 4KiB, body_contains: ready";
        look(&format!("http: {{url: 'http://{address}/', {more}}}")).await
    };
    let gzip = |text: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    };
    let o = packed(gzip(b"ready")).await;
    check(&o, Reason::None, "");
    has(&o, "probe_http_uncompressed_body_length 5");
    check(&packed(gzip(&vec![b'x'; 1 << 18])).await, Reason::BodyTooLarge, "when it is unpacked");
    check(&packed(b"ready".to_vec()).await, Reason::ProtocolError, "cannot be unpacked");
    let half = gzip(b"ready");
    check(
        &packed(half[..half.len() - 4].to_vec()).await,
        Reason::ProtocolError,
        "cannot be unpacked",
    );
}
