//! gRPC's own server and health service, with and without TLS, with a login; and servers that are none.

use std::process::Command;

use probes::Reason;
use tests::peers;
use tests::program::Program;

use crate::stage::{Stage, metric, value};

/// A server with three services; with a third argument it takes only those who show that token, with
/// certificates in its folder it speaks TLS.
const SERVER: &str = r#"
import os, sys
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

port, mode, token = sys.argv[1:]

class Gate(grpc.ServerInterceptor):
    def intercept_service(self, go_on, call):
        if token and dict(call.invocation_metadata).get("x-token") != token:
            def refuse(request, context):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you, ü?")
            return grpc.unary_unary_rpc_method_handler(refuse)
        return go_on(call)

server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=[Gate()])
if mode != "empty":
    servicer = health.HealthServicer()
    states = health_pb2.HealthCheckResponse
    servicer.set("shop.Cart", states.SERVING)
    servicer.set("shop.Pay", states.NOT_SERVING)
    servicer.set("shop.New", states.UNKNOWN)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
if mode in ("tls", "mtls"):
    read = lambda name: open(name, "rb").read()
    pair = [(read("key.pem"), read("cert.pem"))]
    trusted = read("cert.pem") if mode == "mtls" else None
    server.add_secure_port("127.0.0.1:" + port,
        grpc.ssl_server_credentials(pair, trusted, mode == "mtls"))
else:
    server.add_insecure_port("127.0.0.1:" + port)
server.start()
server.wait_for_termination()
"#;

fn serve(mode: &str, token: &str) -> Option<(Stage, Program)> {
    let python = peers::python()?;
    let stage = Stage::new();
    stage.certificate();
    let script = stage.write("server.py", SERVER);
    let mut command = Command::new(python);
    command.args([&script, &stage.port.to_string(), mode, token]).current_dir(stage.text(""));
    let server = stage.spawn(command);
    Some((stage, server))
}

#[test]
fn a_service_is_asked_by_its_name() {
    let Some((stage, _server)) = serve("plain", "") else { return };
    let o = stage.check("grpc: {address: '127.0.0.1:PORT'}", Reason::None, "the server is SERVING");
    assert_eq!(metric(&o, "probe_success"), 1.0);
    assert_eq!(metric(&o, "probe_grpc_status_code"), 0.0);
    assert_eq!(metric(&o, "probe_grpc_ssl"), 0.0);
    assert_eq!(metric(&o, "probe_grpc_healthcheck_response{serving_status=\"SERVING\"}"), 1.0);
    assert!(metric(&o, "probe_grpc_duration_seconds{phase=\"check\"}") > 0.0);
    let ask = |service: &str| format!("grpc: {{address: 'localhost:PORT', service: {service}}}");
    stage.check(&ask("shop.Cart"), Reason::None, "`shop.Cart` is SERVING");
    let o = stage.check(&ask("shop.Pay"), Reason::NotServing, "`shop.Pay` is NOT_SERVING");
    assert_eq!(metric(&o, "probe_success"), 0.0);
    assert_eq!(metric(&o, "probe_grpc_healthcheck_response{serving_status=\"SERVING\"}"), 0.0);
    assert_eq!(metric(&o, "probe_grpc_healthcheck_response{serving_status=\"NOT_SERVING\"}"), 1.0);
    stage.check(&ask("shop.New"), Reason::NotServing, "`shop.New` is UNKNOWN");
    let o = stage.check(&ask("shop.None"), Reason::NotServing, "does not know `shop.None`");
    assert_eq!(metric(&o, "probe_grpc_status_code"), 5.0);
    let slow = "grpc: {address: '127.0.0.1:PORT', thresholds: {seconds: {crit: '10:'}}}";
    stage.check(slow, Reason::Threshold, "critical by `10:`");
}

#[test]
fn a_service_over_tls() {
    let Some((stage, _server)) = serve("tls", "") else { return };
    let o = stage.check(
        "grpc: {address: '127.0.0.1:PORT', tls: {ca_file: DIR/cert.pem}, service: shop.Cart}",
        Reason::None,
        "`shop.Cart` is SERVING",
    );
    assert_eq!(metric(&o, "probe_grpc_ssl"), 1.0);
    assert!(value(&o, "days_left") > 19.0);
    let o = stage.check(
        "grpc: {address: '127.0.0.1:PORT', tls: {}}",
        Reason::CertificateSelfSigned,
        "nobody but its owner vouches for it",
    );
    assert_eq!(metric(&o, "probe_grpc_status_code"), 14.0);
    let name =
        "grpc: {address: '127.0.0.1:PORT', tls: {ca_file: DIR/cert.pem, server_name: other}}";
    stage.check(name, Reason::CertificateName, "it is for localhost, 127.0.0.1");
    // Who speaks without TLS to a server that wants it is hung up on.
    stage.check("grpc: {address: '127.0.0.1:PORT'}", Reason::ConnectionReset, "");
}

#[test]
fn a_server_may_want_to_know_who_asks() {
    let Some((stage, _server)) = serve("plain", "s3cret") else { return };
    let ask = |token: &str| {
        format!("grpc: {{address: '127.0.0.1:PORT', metadata: {{x-token: {token}}}}}")
    };
    stage.check(&ask("s3cret"), Reason::None, "SERVING");
    let o = stage.check(&ask("guess"), Reason::AuthenticationFailed, "`who are you, ü?`");
    assert_eq!(metric(&o, "probe_grpc_status_code"), 16.0);
    assert!(!o.summary.contains("guess"), "{}", o.summary);

    let Some((stage, _server)) = serve("mtls", "") else { return };
    let own = "ca_file: DIR/cert.pem, cert_file: DIR/cert.pem, key_file: DIR/key.pem";
    let ask = |tls: &str| format!("grpc: {{address: '127.0.0.1:PORT', tls: {{{tls}}}}}");
    stage.check(&ask(own), Reason::None, "SERVING");
    let o = stage.look(&ask("ca_file: DIR/cert.pem"));
    let refused = [Reason::TlsFailed, Reason::ConnectionReset];
    assert!(refused.contains(&o.reason), "{o:?}");
}

#[test]
fn what_is_no_health_service_is_told() {
    let Some((stage, _server)) = serve("empty", "") else { return };
    let o = stage.check(
        "grpc: {address: '127.0.0.1:PORT'}",
        Reason::ErrorAnswer,
        "it has no grpc.health.v1.Health",
    );
    assert_eq!(metric(&o, "probe_grpc_status_code"), 12.0);

    // A web server that speaks HTTP/2, and one that does not.
    let stage = Stage::new();
    let config = stage.write(
        "nginx.conf",
        "daemon off; master_process off; pid DIR/pid; error_log stderr; events {}
        http { access_log off; client_body_temp_path DIR/a; proxy_temp_path DIR/b;
        fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
        server { listen 127.0.0.1:PORT http2; location / { return 503; } } }",
    );
    let server = stage.start("/usr/sbin/nginx", &["-c", &config]);
    let ask = "grpc: {address: '127.0.0.1:PORT'}";
    let o = stage.check(ask, Reason::HttpStatus, "HTTP status 503, wanted 200");
    assert_eq!(metric(&o, "probe_grpc_status_code"), 14.0);
    drop(server);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(" http2", "")).unwrap();
    let _server = stage.start("/usr/sbin/nginx", &["-c", &config]);
    stage.check(ask, Reason::ProtocolError, "the answer is not HTTP/2");
}
