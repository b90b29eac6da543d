//! What the acceptance tests, stories and conformance runners share.
//!
//! Invariant: whoever waits here waits for a condition, and says for which.

pub mod certificates;
pub mod dns_server;
pub mod http_server;
pub mod mail_server;
pub mod peers;
pub mod program;
pub mod smtp_server;
pub mod tls_server;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest that anything may take; only a failure takes so long.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits until `condition` holds; `what` names it where it does not.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The target of a probe of such a module that leads to `host`, and to `port` where it has one.
pub fn target(module: &str, host: &str, port: u16) -> String {
    match module {
        "http_2xx" => format!("http://{host}:{port}/"),
        "websocket" => format!("ws://{host}:{port}/"),
        "icmp" => host.to_owned(),
        _ => format!("{host}:{port}"),
    }
}

/// The status and the body that `url` answers with, if it does.
pub fn get(url: &str) -> Option<(u16, String)> {
    ask("GET", url, "", "")
}

/// As [`get`], with a method, further header lines (`name: value\r\n`) and a body.
pub fn ask(
    method: &str,
    url: &str,
    headers: &str,
    body: &(impl AsRef<[u8]> + ?Sized),
) -> Option<(u16, String)> {
    let (head, body) = exchange(method, url, headers, body)?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body))
}

/// As [`ask`], with the whole head of the answer in place of its status.
pub fn exchange(
    method: &str,
    url: &str,
    headers: &str,
    body: &(impl AsRef<[u8]> + ?Sized),
) -> Option<(String, String)> {
    let (address, path) = url.strip_prefix("http://")?.split_once('/')?;
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    // HTTP/1.0, so that the answer comes in one piece and then the end.
    let (body, length) = (body.as_ref(), body.as_ref().len());
    let head = format!(
        "{method} /{path} HTTP/1.0\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n"
    );
    // A server that refuses may answer and close before it has read everything: what it said by then
    // counts, if it is whole.
    let is_sent = stream.write_all(&[head.as_bytes(), body].concat()).is_ok();
    let mut answer = Vec::new();
    let is_read = stream.read_to_end(&mut answer).is_ok();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let announced = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let is_whole = is_sent && is_read || announced == Some(body.len());
    is_whole.then(|| (head.to_owned(), body.to_owned()))
}

/// What `curl` says with these arguments: its exit status, the status of the answer (0 where there is
/// none) and the body.
pub fn curl(arguments: &[&str]) -> (i32, u16, String) {
    let mut command = std::process::Command::new("curl");
    command.args(["-sS", "--max-time", "30", "-w", "\n%{http_code}"]).args(arguments);
    let done = command.output().expect("the package curl is installed");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').unwrap_or(("", "0"));
    (done.status.code().unwrap_or(-1), code.parse().unwrap_or(0), body.to_owned())
}

/// `text` as a part of a query.
pub fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Writes a program that everybody may run.
pub fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
