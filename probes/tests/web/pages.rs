//! Kinds of addresses, methods, versions, bodies of files, limits, packed bodies.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use probes::Reason;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::common::faults;
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

#[tokio::test]
async fn a_version_of_http_is_wanted() {
    let old =
        Server::saying("HTTP/1.0 200 OK\r\nlast-modified: Tue, 01 Sep 2026 10:00:00 GMT\r\n\r\n");
    let old = old.await;
    let o = old.ask(", expect_versions: [HTTP/1.1, HTTP/2.0]").await;
    check(&o, Reason::ProtocolError, "HTTP version 1.0, wanted 1.1, 2.0");
    let o = old.ask(", expect_versions: HTTP/1.0").await;
    check(&o, Reason::None, "");
    has(&o, "probe_http_last_modified_timestamp_seconds 1.7882568e+09");
    // FNV-1a of 127.0.0.1, as blackbox_exporter has it.
    has(&o, "probe_ip_addr_hash 3.668918509e+09");
    assert_eq!(
        faults("http: {url: 'http://x/', expect_versions: [HTTP/3.0]}"),
        "test.yml:1:43: `HTTP/3.0` is not a version of HTTP that is spoken here\n  \
         help: write `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`"
    );
}

#[tokio::test]
async fn a_body_comes_from_a_file_as_it_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "${name} of $$ \n").unwrap();
    let path = file.path().display();
    let server = Server::start(|_| ok("fine")).await;
    let o = server.ask(&format!(", method: POST, body_file: {path}")).await;
    check(&o, Reason::None, "");
    let asked = server.asked().pop().unwrap();
    assert!(asked.ends_with("\r\n\r\n${name} of $$ \n"), "{asked}");
    let step = format!("  - {{url: 'http://HOST/', method: POST, body_file: {path}}}");
    check(&server.walk(&step).await, Reason::None, "");
    let asked = server.asked().pop().unwrap();
    assert!(asked.ends_with("\r\n\r\n${name} of $$ \n"), "{asked}");
    assert_eq!(
        faults(&format!("http: {{url: 'http://x/', body: a, body_file: {path}}}")),
        "test.yml:1:46: only one of `body` and `body_file` can be given"
    );
    let missing = faults("http: {url: 'http://x/', body_file: /nowhere}");
    assert!(missing.starts_with("test.yml:1:37: `/nowhere` cannot be read: "), "{missing}");
}
