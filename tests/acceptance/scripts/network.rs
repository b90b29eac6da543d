//! Scripts that ask servers, resolvers and databases.
//!
//! Invariant: nothing leaves this machine but questions for names that cannot exist.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::SystemTime;

use super::stage::Stage;

/// Answers every request in the way that its path asks for, until the test ends.
fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut lines = Vec::new();
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                lines.push(std::mem::take(&mut line));
            }
            let path = lines[0].split(' ').nth(1).unwrap();
            let (status, more, body) = match path {
                "/good" => ("200 OK", "", "<p>Veilleur watches</p>".to_owned()),
                "/json" => ("200 OK", "", r#"{"queues": [{"waiting": 12}]}"#.to_owned()),
                "/header" => ("200 OK", "", lines.concat()),
                "/long" => ("200 OK", "", "x".repeat(2 << 20) + "needle"),
                "/moved" => ("302 Found", "Location: /good\r\n", String::new()),
                "/file" => ("302 Found", "Location: file:///etc/passwd\r\n", String::new()),
                _ => ("500 Oh | no", "", "Veilleur".to_owned()),
            };
            let length = body.len();
            // A client that has read enough may have gone.
            let _ = write!(
                &stream,
                "HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    url
}

#[test]
fn http_word() {
    let (stage, url) = (Stage::new(), web_server());
    let at = |path: &str| format!("{url}{path}");
    let script = "http_word.py";
    let said = stage.check(script, &[&at("/good"), "Veilleur"], 0, "is as it should be");
    assert_eq!(said.measured("size"), (23.0, "B"));
    assert_eq!(said.measured("time").1, "s");
    stage.check(script, &[&at("/moved"), "Veilleur"], 0, "is as it should be");
    stage.check(script, &[&at("/header"), "X-Token: 17", "-H", "X-Token:17"], 0, "as it should");
    stage.check(script, &[&at("/header"), "X-Token: 17", "-H", "X-Token:18"], 2, "not contain");
    stage.check(script, &[&at("/good"), "veilleur"], 2, "does not contain \"veilleur\"");
    stage.check(script, &[&at("/good"), "Error", "--absent"], 0, "is as it should be");
    stage.check(script, &[&at("/good"), "watches", "--absent"], 2, "contains \"watches\"");
    stage.check(script, &[&at("/long"), "needle"], 2, "does not contain");
    stage.check(script, &[&at("/bad"), "Veilleur"], 2, "answers 500 Oh / no");
    stage.check(script, &[&at("/file"), "root"], 2, "answers 302");
    stage.check(script, &[&at("/good"), "Veilleur", "-w", "0", "-c", "60"], 1, "in 0.");
    stage.check(script, &["http://127.0.0.1:1/", "x"], 2, "Connection refused");
    stage.check(script, &["file:///etc/passwd", "root"], 3, "is no URL of a web page");
    stage.check(script, &[&url, "x", "-w", "20:10"], 3, "invalid Range value");
    stage.check(script, &[&url], 3, "WORD");
}

#[test]
fn json_value() {
    let (stage, url) = (Stage::new(), web_server());
    stage.write("d.json", r#"{"a/b": {"~": [1, -2.5]}, "ok": true, "s": "7", "n": null, "e": []}"#);
    stage.write("broken.json", "{");
    let script = "json_value.py";
    let said = stage.check(script, &["d.json", "/a~1b/~0/1", "-c", "-3:0"], 3, "expected one");
    assert!(said.perfdata.is_empty());
    let said = stage.check(script, &["d.json", "/a~1b/~0/1", "--critical=-3:0"], 0, "1 is -2.5");
    assert_eq!(said.measured("1"), (-2.5, ""));
    stage.check(script, &["d.json", "/a~1b/~0/0", "-w", "@1:2", "-c", "5"], 1, "0 is 1");
    stage.check(script, &["d.json", "/ok", "-c", "1:"], 0, "ok is 1");
    stage.check(script, &["d.json", "/e", "--count", "-c", "1:"], 2, "e is 0");
    let queue = format!("{url}/json");
    let arguments = [&queue, "/queues/0/waiting", "-l", "orders 'now'", "-w", "10", "-u", "s"];
    let said = stage.check(script, &arguments, 1, "orders 'now' is 12s");
    assert_eq!(said.measured("orders 'now'"), (12.0, "s"));
    stage.check(script, &["d.json", "/s"], 3, "is no number but \"7\"");
    stage.check(script, &["d.json", "/n"], 3, "is no number but null");
    stage.check(script, &["d.json", "/a~1b/~0/2"], 3, "nothing at 2");
    stage.check(script, &["d.json", "/a~1b/~0/-1"], 3, "nothing at -1");
    stage.check(script, &["d.json", "/ok/x"], 3, "nothing at x");
    stage.check(script, &["d.json", "ok"], 3, "is no JSON Pointer");
    stage.check(script, &["broken.json", "/a"], 3, "is no JSON");
    stage.check(script, &["none.json", "/a"], 3, "No such file");
    stage.check(script, &[&format!("{url}/bad"), "/a"], 3, "HTTP Error 500");
    stage.check(script, &["d.json"], 3, "POINTER");
}

#[test]
fn port_listening() {
    let stage = Stage::new();
    let script = "port_listening.py";
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp_port = tcp.local_addr().unwrap().port().to_string();
    let udp_port = format!("{}/udp", udp.local_addr().unwrap().port());
    let said = stage.check(script, &[&tcp_port, &udp_port], 0, "something listens on");
    assert_eq!(said.measured(&format!("{tcp_port}/tcp")), (1.0, ""));
    stage.check(script, &[&tcp_port, "-a", "127.0.0.1"], 0, "at 127.0.0.1");
    stage.check(script, &[&tcp_port, "-a", "127.0.0.2"], 2, "nothing listens on");
    if let Ok(six) = TcpListener::bind("[::1]:0") {
        let port = six.local_addr().unwrap().port().to_string();
        stage.check(script, &[&port, "-a", "::1"], 0, "at ::1");
        stage.check(script, &[&port, "-a", "127.0.0.1"], 2, "nothing listens");
    }
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = everywhere.local_addr().unwrap().port().to_string();
    stage.check(script, &[&port, "-a", "127.0.0.1"], 0, "something listens");
    drop(tcp);
    let missing = format!("nothing listens on {tcp_port}/tcp");
    stage.check(script, &[&udp_port, &tcp_port], 2, &missing);
    stage.check(script, &["0"], 3, "invalid port value");
    stage.check(script, &["22/icmp"], 3, "invalid port value");
    stage.check(script, &["22", "-a", "localhost"], 3, "invalid ip_address value");
    stage.check(script, &[], 3, "PORT");
}

#[test]
fn dns_answer() {
    let stage = Stage::new();
    let script = "dns_answer.py";
    let said = stage.check(script, &["localhost", "-4"], 0, "localhost is 127.0.0.1");
    assert_eq!(said.measured("addresses").0, 1.0);
    stage.check(script, &["localhost", "-4", "-e", "127.0.0.1", "--only"], 0, "localhost is");
    stage.check(script, &["127.0.0.1", "-e", "127.0.0.2"], 2, "is 127.0.0.1 and not 127.0.0.2");
    stage.check(script, &["127.0.0.1", "-e", "127.0.0.1", "-w", "0", "-c", "60"], 1, "is 127");
    stage.check(script, &["no-such-name.invalid"], 2, "cannot be resolved");
    stage.check(script, &["a..b"], 2, "cannot be resolved");
    stage.check(script, &["localhost", "-e", "x"], 3, "invalid ip_address value");
    stage.check(script, &[], 3, "NAME");
}

/// A time server whose clock is `ahead` of ours by so many seconds, and answers with this first byte
/// and stratum.
fn time_server(ahead: f64, first: u8, stratum: u8) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        let mut question = [0; 48];
        while let Ok((48, from)) = socket.recv_from(&mut question) {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let time = now.as_secs_f64() + ahead + 2_208_988_800.0;
            let time = ((time.trunc() as u64) << 32 | (time.fract() * 2_f64.powi(32)) as u64)
                .to_be_bytes();
            let mut answer = [0; 48];
            (answer[0], answer[1]) = (first, stratum);
            answer[24..32].copy_from_slice(&question[40..48]);
            answer[32..40].copy_from_slice(&time);
            answer[40..48].copy_from_slice(&time);
            // Somebody else's answer comes first and is not believed.
            socket.send_to(&[0x24; 48], from).unwrap();
            socket.send_to(&answer, from).unwrap();
        }
    });
    port
}

#[test]
fn ntp_offset() {
    let stage = Stage::new();
    let script = "ntp_offset.py";
    // Ranges that hold on a machine that is busy with other tests.
    let at = |port: &str, code: i32, part: &str| {
        let ranges = ["-t", "5", "--warning=-2:2", "--critical=-9:9"];
        stage.check(script, &[&["127.0.0.1", "-p", port], &ranges[..]].concat(), code, part)
    };
    let said = at(&time_server(0.0, 0x24, 2), 0, "s off that of 127.0.0.1");
    assert_eq!(said.measured("stratum").0, 2.0);
    let said = at(&time_server(5.0, 0x24, 2), 1, "the clock is -");
    assert!((said.measured("offset").0 + 5.0).abs() < 2.0, "{}", said.text);
    assert_eq!(said.measured("offset").1, "s");
    at(&time_server(-20.0, 0x24, 2), 2, "the clock is +");
    at(&time_server(0.0, 0xe4, 2), 3, "has no time itself");
    at(&time_server(0.0, 0x24, 0), 3, "has no time itself");
    at(&time_server(0.0, 0x23, 2), 3, "does not answer as a time server");
    stage.check(script, &["127.0.0.1", "-p", "1", "-t", "0.2"], 3, "127.0.0.1 does not answer");
    stage.check(script, &["no-such-name.invalid"], 3, "does not answer");
    stage.check(script, &[], 3, "SERVER");
}

#[test]
fn replication_lag() {
    let stage = Stage::new();
    let script = "replication_lag.sh";
    let answers = |line: &str| stage.stand_in("psql", &format!("echo '{line}'"));
    answers("t t 0.0 0");
    let said = stage.check(script, &[], 0, "the standby is 0.0 s behind");
    assert_eq!((said.measured("lag"), said.measured("behind")), ((0.0, "s"), (0.0, "B")));
    answers("t t 31.5 4096");
    let said = stage.check(script, &[], 1, "31.5 s behind");
    assert_eq!(said.measured("behind").0, 4096.0);
    stage.check(script, &["-w", "32", "-c", "60"], 0, "31.5 s behind");
    answers("t f 86400.0 0");
    stage.check(script, &[], 2, "86400.0 s behind, and not connected to its primary");
    answers("f f  0");
    stage.check(script, &[], 3, "the server is no standby");
    answers("t t");
    stage.check(script, &[], 3, "has replayed nothing yet");
    answers("what?");
    stage.check(script, &[], 3, "psql said: what?");
    stage.stand_in("psql", "echo 'psql: error: connection | refused' >&2; exit 2");
    stage.check(script, &[], 2, "the server does not answer: psql: error: connection / refused");
    stage.stand_in(
        "psql",
        r#"for a; do [ "$a" = --dbname=host=x ] && echo 't t 1.0 0'; done; exit 0"#,
    );
    stage.check(script, &["-d", "host=x"], 0, "1.0 s behind");
    stage.check(script, &["-c", "-1"], 3, "SECONDS must be a whole number");
    stage.check(script, &["standby"], 3, "there is no option standby");
}

#[test]
fn sql_number() {
    let stage = Stage::new();
    let script = "sql_number.py";
    stage.stand_in(
        "psql",
        r#"[ "$PGOPTIONS" ] && for a; do echo "${a#--command=}"; done | tail -n 1"#,
    );
    let said = stage.check(script, &["17", "-l", "orders", "-w", "20"], 0, "orders is 17");
    assert_eq!(said.measured("orders"), (17.0, ""));
    stage.check(script, &["17", "-w", "10", "-c", "20"], 1, "value is 17");
    stage.check(script, &["17.25", "-w", "10", "-c", "15", "-u", "s"], 2, "value is 17.25s");
    stage.check(script, &["x"], 3, "returns no number but 'x'");
    stage.check(script, &[""], 3, "returns no number but ''");
    stage.check(script, &["nan"], 3, "returns nan");
    stage.stand_in("psql", "echo 'psql: error: connection refused' >&2; exit 2");
    stage.check(script, &["1"], 2, "the server does not answer: psql: error: connection refused");
    stage.stand_in("psql", "printf 'ERROR: |\\nLINE 1' >&2; exit 1");
    stage.check(script, &["1"], 3, "the query fails: ERROR: / LINE 1");
    stage.check(script, &[], 3, "QUERY");
}
