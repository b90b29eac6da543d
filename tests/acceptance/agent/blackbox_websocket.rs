//! The `websocket` prober against a server of WebSockets. No blackbox_exporter that was released has
//! it; names and meanings are those of `blackbox/metrics.tsv`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use tests::escaped;

use crate::stage::Stage;

const MODULES: &str = r#"
modules:
  open: {prober: websocket, timeout: 2s}
  talk:
    prober: websocket
    timeout: 2s
    websocket:
      http_config: {basic_auth: {username: user, password: pass}}
      headers: {X-Some-Header: my_header}
      query_response:
      - {expect: '^Hello, (.+)$', send: "I am not ${1}"}
      - {expect: '^You said: I am not client$'}
  mismatch: {prober: websocket, timeout: 2s, websocket: {query_response: [{expect: never}]}}
  silent: {prober: websocket, timeout: 300ms, websocket: {query_response: [{expect: Hello}, {expect: more}]}}
"#;

/// A server that greets and repeats what it is told, and refuses `/closed`; it wants a password at
/// `/private`.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(socket));
        }
    });
    port
}

fn serve(mut socket: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(socket.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|read| *read > 0)?;
    }
    let lower = head.to_ascii_lowercase();
    let may = lower.contains("authorization: basic") && lower.contains("x-some-header: my_header");
    if head.starts_with("GET /closed") || head.starts_with("GET /private") && !may {
        socket.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").ok()?;
        return None;
    }
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))?;
    let accept = accept_of(key.trim());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    socket.write_all(answer.as_bytes()).ok()?;
    let mut say = |text: &str| {
        let frame = [&[0x81, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        socket.write_all(&frame).ok()
    };
    say("Hello, client")?;
    loop {
        let mut start = [0; 6];
        reader.read_exact(&mut start).ok()?;
        let mut text = vec![0; usize::from(start[1] & 0x7f)];
        reader.read_exact(&mut text).ok()?;
        text.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= start[2 + at % 4]);
        if start[0] & 0xf == 8 {
            return None;
        }
        say(&format!("You said: {}", String::from_utf8_lossy(&text)))?;
    }
}

/// What proves that a server has read the key, by openssl.
fn accept_of(key: &str) -> String {
    let script = "openssl dgst -sha1 -binary | openssl base64";
    let mut shell = Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_websocket_is_opened_and_talked_over() {
    let port = server();
    let stage = Stage::new();
    std::fs::write(stage.path("blackbox.yml"), MODULES).unwrap();
    stage.configure(&format!(
        "host: {{enabled: false}}\nblackbox: {{config: {}, allow_targets: [127.0.0.1]}}\n",
        stage.text("blackbox.yml")
    ));
    let agent = stage.start();
    let check = |module: &str, path: &str, expected: &[&str]| {
        let target = escaped(&format!("ws://127.0.0.1:{port}{path}"));
        let (status, text) = agent.get(&format!("/probe?module={module}&target={target}"));
        assert_eq!(status, 200, "{module} {path}: {text}");
        for line in expected {
            assert!(text.lines().any(|l| l == *line), "{module} {path}: no {line} in\n{text}");
        }
    };
    let open = "probe_websocket_connection_upgraded 1";
    let no_regex = "probe_websocket_failed_due_to_regex 0";
    check("open", "/", &["probe_success 1", open, "probe_websocket_status_code 101"]);
    check("open", "/", &["probe_ip_protocol 4", "veilleur_probe_reason{reason=\"none\"} 1"]);
    check("talk", "/private", &["probe_success 1", open, no_regex]);
    check("open", "/private", &["probe_success 0", "probe_websocket_status_code 403"]);
    check("open", "/closed", &["probe_success 0", "probe_websocket_connection_upgraded 0"]);
    let by_regex = "probe_websocket_failed_due_to_regex 1";
    check("mismatch", "/", &["probe_success 0", open, by_regex]);
    check("silent", "/", &["probe_success 0", "veilleur_probe_reason{reason=\"timeout\"} 1"]);
    for bad in ["http://127.0.0.1/", "ws:127.0.0.1", "wsss://127.0.0.1/", "ws://u@127.0.0.1/"] {
        let (status, _) = agent.get(&format!("/probe?module=open&target={}", escaped(bad)));
        assert_eq!(status, 400, "{bad}");
    }
    let (status, _) = agent.get("/probe?module=open&target=ws%3A%2F%2F169.254.169.254%2F");
    assert_eq!(status, 403);
}
