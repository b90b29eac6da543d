//! Debian's NATS over WebSocket, and a web server that knows none.

use probes::Reason;

use crate::stage::{Stage, metric, value};

fn nats(tls: &str) -> (Stage, tests::program::Program) {
    let stage = Stage::new();
    stage.certificate();
    let client = tests::program::free_port();
    let config = format!(
        "host: 127.0.0.1\nport: {client}\nwebsocket {{ host: 127.0.0.1, port: PORT, {tls} }}\n"
    );
    let config = stage.write("nats.conf", &config);
    let server = stage.start("/usr/sbin/nats-server", &["-c", &config]);
    (stage, server)
}

#[test]
fn messages_are_sent_and_compared() {
    let (stage, _server) = nats("no_tls: true");
    let o = stage.check(
        "websocket: {url: 'ws://127.0.0.1:PORT'}",
        Reason::None,
        "the WebSocket is open",
    );
    assert_eq!(metric(&o, "probe_websocket_connection_upgraded"), 1.0);
    assert_eq!(metric(&o, "probe_websocket_status_code"), 101.0);
    assert!(metric(&o, "probe_websocket_duration_seconds{phase=\"upgrade\"}") > 0.0);
    let ask = |steps: &str| {
        format!("websocket: {{url: 'ws://127.0.0.1:PORT/', query_response: [{steps}]}}")
    };
    let greet = "{expect: '^INFO ', send: \"CONNECT {}\\r\\nPING\\r\\n\"}";
    stage.check(&ask(&format!("{greet}, {{expect: PONG}}")), Reason::None, "OK");
    let bad = "{expect: '^INFO ', send: \"NONSENSE\\r\\n\"}, {expect: ^PONG}";
    let o = stage.check(&ask(bad), Reason::ConnectionReset, "");
    assert_eq!(metric(&o, "probe_success"), 0.0);
}

#[test]
fn a_websocket_over_tls() {
    let (stage, _server) = nats("tls { cert_file: \"DIR/cert.pem\", key_file: \"DIR/key.pem\" }");
    let ask = "websocket: {url: 'wss://127.0.0.1:PORT/', tls: {ca_file: DIR/cert.pem}}";
    let o = stage.check(ask, Reason::None, "the WebSocket is open");
    assert!(value(&o, "days_left") > 19.0);
    let ask = "websocket: {url: 'wss://127.0.0.1:PORT/'}";
    stage.check(ask, Reason::CertificateSelfSigned, "");
}

#[test]
fn a_web_server_without_websockets_is_told() {
    let stage = Stage::new();
    let config = stage.write(
        "nginx.conf",
        "daemon off; master_process off; pid DIR/pid; error_log stderr; events {}
        http { access_log off; client_body_temp_path DIR/a; proxy_temp_path DIR/b;
        fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
        server { listen 127.0.0.1:PORT; return 200 ready; } }",
    );
    let _server = stage.start("/usr/sbin/nginx", &["-c", &config]);
    let o = stage.check(
        "websocket: {url: 'ws://127.0.0.1:PORT/'}",
        Reason::HttpStatus,
        "HTTP status 200, wanted 101",
    );
    assert_eq!(metric(&o, "probe_websocket_connection_upgraded"), 0.0);
}
