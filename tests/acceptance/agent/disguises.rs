//! Every prober against targets that lead to this host or its link in disguise: whatever is spelled,
//! nothing is dialled. S2; X01, X02, X04, X05.

use std::net::TcpListener;

use tests::{escaped, target};

use crate::stage::{Agent, Stage};

const MODULES: &str = "modules:\n  http_2xx: {prober: http}\n  tcp: {prober: tcp}\n  \
                       dns: {prober: dns, dns: {query_name: a.test, transport_protocol: tcp}}\n  \
                       icmp: {prober: icmp}\n  grpc: {prober: grpc}\n  unix: {prober: unix}\n  \
                       websocket: {prober: websocket}\n";

/// An agent to which everything is allowed that an address need not be listed for.
fn agent(stage: &Stage) -> Agent {
    std::fs::write(stage.path("blackbox.yml"), MODULES).unwrap();
    stage.configure(&format!(
        "host: {{enabled: false}}\nblackbox: {{config: {}, allow_targets: ['*', 0.0.0.0/0, '::/0']}}\n",
        stage.text("blackbox.yml")
    ));
    stage.start()
}

#[test]
fn no_spelling_of_this_host_is_dialled_x01_x02_x04() {
    let stage = Stage::new();
    let agent = agent(&stage);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    // Names that the system itself reads as numbers, and names that lead here.
    let hosts = [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "0x7f.0.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "0",
        "[::]",
        "localhost",
        "LOCALHOST",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "100.100.100.200",
    ];
    for module in ["http_2xx", "tcp", "dns", "icmp", "grpc", "websocket"] {
        for host in hosts {
            let target = target(module, host, port);
            let path = format!("/probe?module={module}&target={}", escaped(&target));
            let (status, text) = agent.get(&path);
            assert_eq!(status, 403, "{module} {target}: {text}");
            assert!(text.starts_with("the target leads to "), "{module} {target}: {text}");
            assert!(!text.contains("127.") && !text.contains("169."), "{module} {target}: {text}");
        }
    }
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock, "somebody was dialled");
    // Sockets of this host are none of what `*` means.
    for path in ["/run/docker.sock", "/var/run/../run/docker.sock", "//run/docker.sock"] {
        let (status, text) = agent.get(&format!("/probe?module=unix&target={}", escaped(path)));
        assert!(matches!(status, 400 | 403), "{path}: {status} {text}");
    }
}

#[test]
fn no_prober_takes_what_could_be_read_in_two_ways_x05() {
    let stage = Stage::new();
    let agent = agent(&stage);
    for module in ["http_2xx", "tcp", "dns", "icmp", "grpc", "unix", "websocket"] {
        for host in
            ["user@shop.example", "shop.example.", "a b", "shop\u{3002}example", "-x", "h\\a"]
        {
            let target = target(module, host, 53);
            let path = format!("/probe?module={module}&target={}", escaped(&target));
            let (status, text) = agent.get(&path);
            assert_eq!(status, 400, "{module} {target}: {text}");
            assert!(!text.contains("shop"), "{module} {target}: it repeats what was asked: {text}");
        }
    }
    for (module, target) in [
        ("icmp", "192.0.2.1:80"),
        ("dns", "192.0.2.1:0"),
        ("dns", "192.0.2.1:65536"),
        ("tcp", "192.0.2.1"),
        ("unix", "run/x.sock"),
        ("unix", "unix:/run/x.sock"),
        ("websocket", "http://shop.example/"),
        ("grpc", "ftp://shop.example/"),
    ] {
        let path = format!("/probe?module={module}&target={}", escaped(target));
        assert_eq!(agent.get(&path).0, 400, "{module} {target}");
    }
}
