//! HTTP/3 against a server of its own and against servers that are none.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::http::{Request, Response};
use bytes::{Buf, Bytes};
use h3::server::RequestStream;
use h3_quinn::BidiStream;
use probes::{Outcome, Reason};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, ServerConfig, VarInt};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, CipherSuite};

use crate::modules::{look, look_for};
use crate::server::{check, has};

/// More than one stream may have under way.
const LARGE: usize = 3 << 20;

fn certificate(name: &str) -> String {
    format!("{}/tests/kinds/certificates/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What a server shows of itself.
struct Shows {
    certificate: &'static str,
    protocol: &'static [u8],
    cipher: CipherSuite,
}

const GOOD: Shows =
    Shows { certificate: "good", protocol: b"h3", cipher: CipherSuite::TLS13_AES_128_GCM_SHA256 };

/// A server on a free port, which speaks by `speak` on every connection.
fn serve<F: Future<Output = ()> + Send + 'static>(
    shows: &Shows,
    speak: impl Fn(Connection) -> F + Send + 'static,
) -> SocketAddr {
    let file = |end: &str| certificate(&format!("{}.{end}", shows.certificate));
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(Path::new(&file("pem"))).unwrap().collect();
    let key = PrivateKeyDer::from_pem_file(Path::new(&file("key"))).unwrap();
    let mut provider = ring::default_provider();
    // The first packets of QUIC are always in one of them, what follows in what the server prefers.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != shows.cipher);
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key)
        .unwrap();
    tls.alpn_protocols = vec![shows.protocol.to_vec()];
    tls.ignore_client_order = true;
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a peer of a test")]
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if let Ok(connection) = incoming.await {
                tokio::spawn(speak(connection));
            }
        }
    });
    address
}

/// Answers requests until the other side has had enough.
async fn pages(connection: Connection) {
    let mut connection =
        h3::server::Connection::new(h3_quinn::Connection::new(connection)).await.unwrap();
    while let Ok(Some(request)) = connection.accept().await {
        let (request, mut stream) = request.resolve_request().await.unwrap();
        let _ = page(request, &mut stream).await;
        let _ = stream.finish().await;
    }
}

async fn page(
    request: Request<()>,
    stream: &mut RequestStream<BidiStream<Bytes>, Bytes>,
) -> Result<(), h3::error::StreamError> {
    let (path, host) = (request.uri().path(), request.uri().authority().unwrap().as_str());
    let answer = |status: u16, location: &str| {
        let answer = Response::builder().status(status).header("x-test", "yes");
        let answer = if location.is_empty() { answer } else { answer.header("location", location) };
        answer.body(()).unwrap()
    };
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    match path {
        "/missing" => stream.send_response(answer(404, "")).await,
        "/once" => stream.send_response(answer(302, "/fine")).await,
        "/away" => {
            stream.send_response(answer(302, &format!("https://localhost:{port}/fine"))).await
        }
        "/plain" => stream.send_response(answer(302, &format!("http://127.0.0.1:{port}/"))).await,
        "/metadata" => stream.send_response(answer(302, "https://169.254.169.254/")).await,
        "/large" => {
            stream.send_response(answer(200, "")).await?;
            stream.send_data(vec![b'x'; LARGE].into()).await
        }
        "/broken" => {
            stream.send_response(answer(200, "")).await?;
            stream.send_data("half".into()).await?;
            stream.stop_stream(h3::error::Code::H3_INTERNAL_ERROR);
            Ok(())
        }
        "/hints" => {
            stream.send_response(answer(103, "")).await?;
            stream.send_response(answer(200, "")).await?;
            stream.send_data("fine\n".into()).await
        }
        // What was asked, and by which headers that count.
        _ => {
            let mut body = Vec::new();
            while let Some(mut piece) = stream.recv_data().await? {
                body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
            }
            let length =
                request.headers().get("content-length").map_or(&b"-"[..], |v| v.as_bytes());
            let connection = request.headers().contains_key("connection");
            let text = format!(
                "{} {host} {} {} connection:{connection}",
                request.method(),
                String::from_utf8_lossy(length),
                String::from_utf8_lossy(&body)
            );
            stream.send_response(answer(200, "")).await?;
            stream.send_data(text.into()).await
        }
    }
}

/// The settings of a module that speaks HTTP/3, with `more`.
fn three(more: &str) -> String {
    let authority = certificate("authority.pem");
    format!(
        "{{enable_http3: true, enable_http2: false, preferred_ip_protocol: ip4, tls_config: {{ca_file: \
         {authority}}}{more}}}"
    )
}

async fn ask(address: SocketAddr, path: &str, more: &str) -> Outcome {
    look(&three(more), &format!("https://{address}{path}"), "127.0.0.0/8").await
}

#[tokio::test]
async fn pages_are_asked_for_by_http_3() {
    let address = serve(&GOOD, pages);
    let said = format!("GET {address} -  connection:false");
    let more = format!(
        ", valid_http_versions: [HTTP/3.0], headers: {{Connection: close}}, \
         fail_if_not_ssl: true, fail_if_header_not_matches: [{{header: x-test, regexp: yes}}], \
         fail_if_body_not_matches_regexp: ['^{said}$']"
    );
    // There is nothing but encryption, whatever the target says.
    for target in [format!("https://{address}/"), format!("HTTP://{address}/"), address.to_string()]
    {
        let outcome = look(&three(&more), &target, "127.0.0.0/8").await;
        check(&outcome, Reason::None, "HTTP status 200");
        for line in [
            "probe_success 1",
            "probe_http_version 3",
            "probe_http_ssl 1",
            "probe_http_redirects 0",
            "probe_http_content_length -1",
            "probe_tls_version_info{version=\"TLS 1.3\"} 1",
            "probe_tls_cipher_info{cipher=\"TLS_AES_128_GCM_SHA256\"} 1",
            &format!("probe_http_uncompressed_body_length {}", said.len()),
        ] {
            has(&outcome, line);
        }
        for name in ["probe_ssl_earliest_cert_expiry", "probe_ssl_last_chain_info"] {
            assert!(outcome.families.iter().any(|family| family.name == name), "{name}");
        }
    }
    let posted = format!(
        ", method: POST, body: {}, fail_if_body_not_matches_regexp: ['^POST shop.test 90000 xx']",
        "x".repeat(90_000)
    );
    let to = format!("https://{address}/");
    let named = posted.replace("method", "headers: {Host: shop.test}, method");
    let named = three(&named).replace("ca_file:", "server_name: localhost, ca_file:");
    check(&look(&named, &to, "127.0.0.0/8").await, Reason::None, "");
    check(&ask(address, "/missing", "").await, Reason::HttpStatus, "HTTP status 404");
    check(&ask(address, "/hints", "").await, Reason::None, "HTTP status 200, 5 bytes");
    let other = Shows { cipher: CipherSuite::TLS13_AES_256_GCM_SHA384, ..GOOD };
    let outcome = ask(serve(&other, pages), "/", "").await;
    has(&outcome, "probe_tls_cipher_info{cipher=\"TLS_AES_256_GCM_SHA384\"} 1");
}

#[tokio::test]
async fn redirects_lead_only_where_http_3_and_the_rules_allow_x03() {
    let address = serve(&GOOD, pages);
    let outcome = ask(address, "/once", "").await;
    check(&outcome, Reason::None, "1 redirect");
    has(&outcome, "probe_http_version 3");
    let away = format!("https://{address}/away");
    check(&look(&three(""), &away, "[127.0.0.0/8, localhost]").await, Reason::None, "1 redirect");
    check(&look(&three(""), &away, "127.0.0.0/8").await, Reason::BadRedirect, "not allowed");
    check(&ask(address, "/plain", "").await, Reason::BadRedirect, "is not https");
    check(&ask(address, "/metadata", "").await, Reason::BadRedirect, "link-local");
    check(&ask(address, "/once", ", follow_redirects: false").await, Reason::HttpStatus, "302");
}

#[tokio::test]
async fn bodies_are_read_within_their_limit_x21() {
    let address = serve(&GOOD, pages);
    let outcome = ask(address, "/large", "").await;
    check(&outcome, Reason::None, &format!("{LARGE} bytes"));
    let outcome = ask(address, "/large", ", body_size_limit: 1MB").await;
    check(&outcome, Reason::BodyTooLarge, "over 1000000 bytes");
    check(&ask(address, "/broken", "").await, Reason::ConnectionReset, "Remote reset");
}

#[tokio::test]
async fn certificates_that_are_not_in_order_have_their_own_reasons() {
    for (certificate, reason) in [
        ("expired", Reason::CertificateExpired),
        ("wrong-name", Reason::CertificateName),
        ("untrusted", Reason::CertificateUntrusted),
        ("self-signed", Reason::CertificateSelfSigned),
    ] {
        let address = serve(&Shows { certificate, ..GOOD }, pages);
        let outcome = ask(address, "/", "").await;
        check(&outcome, reason, "TLS handshake");
        has(&outcome, "probe_http_status_code 0");
        let any = three("").replace("{ca_file: ", "{insecure_skip_verify: true, ca_file: ");
        let outcome = look(&any, &format!("https://{address}/"), "127.0.0.0/8").await;
        check(&outcome, Reason::None, "HTTP status 200");
    }
}

#[tokio::test]
async fn who_does_not_speak_http_3_is_told_apart() {
    let other = serve(&Shows { protocol: b"hq-interop", ..GOOD }, pages);
    check(&ask(other, "/", "").await, Reason::TlsFailed, "TLS handshake");
    let closes = serve(&GOOD, |connection| async move {
        connection.close(VarInt::from_u32(0x100), b"bye");
    });
    check(&ask(closes, "/", "").await, Reason::ConnectionReset, "");
    // Frames of data before any head.
    let confused = serve(&GOOD, |connection| async move {
        let (mut send, _receive) = connection.accept_bi().await.unwrap();
        let _ = send.write_all(&[0, 4, b'f', b'i', b'n', b'e']).await;
        connection.closed().await;
    });
    check(&ask(confused, "/", "").await, Reason::ProtocolError, "no answer");
    // Nobody is there, and the network says so.
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let nobody = socket.local_addr().unwrap();
    drop(socket);
    check(&ask(nobody, "/", "").await, Reason::ConnectionRefused, "no answer");
}

#[tokio::test]
async fn a_peer_that_is_silent_or_speaks_something_else_takes_the_time_it_is_given() {
    let socket = Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = socket.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a peer of a test")]
    tokio::spawn(async move {
        // The second and all further looks are answered with what is no QUIC.
        let (mut datagram, mut begun) = ([0; 2048], None);
        while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
            if begun.get_or_insert(from) != &from {
                let _ = socket.send_to(&datagram[..length / 2], from).await;
                let _ = socket.send_to(b"SSH-2.0-OpenSSH\r\n", from).await;
            }
        }
    });
    for _ in 0..2 {
        let to = format!("https://{address}/");
        let outcome = look_for(&three(""), &to, "127.0.0.0/8", Duration::from_millis(300)).await;
        check(&outcome, Reason::Timeout, &format!("there is no connection to `{address}`"));
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_kept_x21() {
    let address = serve(&GOOD, |connection| async move {
        let (mut send, _receive) = connection.accept_bi().await.unwrap();
        // A head of 2^32 bytes (RFC 9114, 7.2.2).
        let mut begin = vec![1];
        begin.extend_from_slice(&(0xc000_0001_0000_0000_u64).to_be_bytes());
        let _ = send.write_all(&begin).await;
        while send.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
    });
    check(&ask(address, "/", "").await, Reason::ProtocolError, "far more than an answer");
}
