//! Resolvers that are away, wrong or changing their mind: F53. The programs run in a mount namespace
//! with a resolver of the test.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tests::http_server::HttpServer;
use tests::{get, wait_until};

use crate::stage::{Kind, Running};

/// Where the resolver listens; others in the tests do so on addresses of their own.
const RESOLVER: &str = "127.0.77.53";

/// What is asked for, by the first label of the name.
struct Resolver {
    moved: Arc<AtomicBool>,
    silent: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Resolver {
    /// Nothing where we may not listen on the port, or have no namespaces.
    fn start() -> Option<Self> {
        let may = Command::new("unshare").args(["--mount", "true"]).status();
        let sockets = (UdpSocket::bind((RESOLVER, 53)), TcpListener::bind((RESOLVER, 53)));
        let (true, (Ok(udp), Ok(tcp))) = (may.is_ok_and(|s| s.success()), sockets) else {
            println!("not run: only root can listen on port 53 and mount a resolv.conf");
            return None;
        };
        let resolver =
            Self { moved: Arc::default(), silent: Arc::default(), asked: Arc::default() };
        let (moved, silent) = (Arc::clone(&resolver.moved), Arc::clone(&resolver.silent));
        let asked = Arc::clone(&resolver.asked);
        let answer = Arc::new(move |question: &[u8], limit: usize| {
            let name = name_of(question);
            asked.lock().unwrap().push(name.clone());
            let is_silent = silent.load(Ordering::SeqCst) || name == "silent";
            (!is_silent).then(|| answer(question, &name, moved.load(Ordering::SeqCst), limit))
        });
        let by_tcp = Arc::clone(&answer);
        thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut question) {
                if let Some(answer) = answer(&question[..length], 512) {
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming().map_while(Result::ok) {
                let answer = Arc::clone(&by_tcp);
                // Both kinds of addresses are asked for on one connection.
                thread::spawn(move || while let Some(()) = serve(&stream, &*answer) {});
            }
        });
        Some(resolver)
    }

    fn asked_for(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }
}

/// Answers the next question of a connection, if there is one.
fn serve(mut stream: &TcpStream, answer: impl Fn(&[u8], usize) -> Option<Vec<u8>>) -> Option<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut question = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut question).ok()?;
    let answer = answer(&question, 65_000)?;
    let mut message = (answer.len() as u16).to_be_bytes().to_vec();
    message.extend(answer);
    stream.write_all(&message).ok()
}

/// The first label of the name in a question.
fn name_of(question: &[u8]) -> String {
    let length = usize::from(question[12]);
    String::from_utf8_lossy(&question[13..13 + length]).into_owned()
}

/// An answer of at most `limit` bytes; one that would be longer says that it is cut off.
fn answer(question: &[u8], name: &str, moved: bool, limit: usize) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let is_a = question[end - 4..end - 2] == [0, 1];
    let (code, addresses): (u8, Vec<Ipv4Addr>) = match name {
        "missing" => (3, Vec::new()),
        "servfail" => (2, Vec::new()),
        "many" => {
            let others = (0..999_u32).map(|n| Ipv4Addr::from_bits(0x7f01_0000 + n));
            (0, others.chain([Ipv4Addr::LOCALHOST]).collect())
        }
        "moves" if moved => (0, vec![Ipv4Addr::new(127, 0, 0, 9)]),
        _ => (0, vec![Ipv4Addr::LOCALHOST]),
    };
    let addresses = if is_a { addresses } else { Vec::new() };
    let is_cut = end + addresses.len() * 16 > limit;
    let count = if is_cut { 0 } else { addresses.len() as u16 };
    let mut message = question[..2].to_vec();
    message.extend([0x81 | if is_cut { 2 } else { 0 }, 0x80 | code, 0, 1]);
    message.extend(count.to_be_bytes());
    message.extend([0; 4]);
    message.extend(&question[12..end]);
    for address in addresses.iter().take(count.into()) {
        // A pointer to the name, A, IN, and a time to live of nothing.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        message.extend(address.octets());
    }
    message
}

/// Serves a page with one sample at an address, and closes each connection.
fn target(address: impl Into<IpAddr>, port: u16, value: u8) -> u16 {
    let listener = TcpListener::bind((address.into(), port)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let body = format!("sample {value}\n");
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n";
            let _ = write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len());
        }
    });
    port
}

fn start(kind: Kind, config: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolv.conf");
    std::fs::write(&file, format!("nameserver {RESOLVER}\noptions timeout:2 attempts:2\n"))
        .unwrap();
    let shell = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", file.display());
    // The shell that mounts is the one that becomes the program.
    let shell = format!("exec unshare --mount bash -c '{shell}' bash \"$@\"");
    Running::inside(kind, config, &shell, &[], folder)
}

fn query(running: &Running, query: &str) -> Value {
    let url = running.url(&format!("/api/v1/query?query={}", tests::escaped(query)));
    let body = get(&url).map_or_else(String::new, |(_, body)| body);
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    body["data"]["result"][0]["value"][1].clone()
}

/// One test, since there is one port 53.
#[test]
fn names_that_cannot_be_resolved_harm_nobody_else_f53() {
    let Some(resolver) = Resolver::start() else { return };
    let port = target(Ipv4Addr::LOCALHOST, 0, 1);
    target(Ipv4Addr::new(127, 0, 0, 9), port, 9);
    scrapes(&resolver, port);
    checks(port);
    messages(&resolver);
}

fn scrapes(resolver: &Resolver, port: u16) {
    let names = ["missing", "servfail", "silent", "many", "moves", "plain"];
    let targets: Vec<_> = names.map(|name| format!("'{name}.test:{port}'")).to_vec();
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 900ms}}\nscrape_configs:\n- job_name: t\n  \
         static_configs: [{{targets: [{}, '127.0.0.1:{port}']}}]\n",
        targets.join(", ")
    );
    let running = start(Kind::Evaluator, &config);
    let of = |name: &str| query(&running, &format!("sample{{instance='{name}:{port}'}}"));
    for name in ["many.test", "moves.test", "plain.test", "127.0.0.1"] {
        wait_until(&format!("{name} is scraped"), || of(name) == "1");
    }
    let error = |name: &str| {
        let (_, body) = get(&running.url("/api/v1/targets")).unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        let targets = body["data"]["activeTargets"].as_array().unwrap();
        let instance = format!("{name}.test:{port}");
        let target = targets.iter().find(|t| t["labels"]["instance"] == instance.as_str()).unwrap();
        target["lastError"].as_str().unwrap().to_owned()
    };
    for (name, expected) in [
        ("missing", "resolve missing.test: Name or service not known"),
        ("servfail", "resolve servfail.test: "),
        ("silent", "it was still resolving the name"),
    ] {
        wait_until(&format!("{name} is told"), || error(name).contains(expected));
    }
    // The others are on time throughout.
    let count =
        || query(&running, &format!("count_over_time(up{{instance='127.0.0.1:{port}'}}[1m])"));
    let count = || count().as_str().map_or(0, |count| count.parse::<u32>().unwrap());
    let begun = count();
    wait_until("the good one is scraped again", || count() >= begun + 3);
    assert_eq!(
        query(&running, &format!("min_over_time(up{{instance='127.0.0.1:{port}'}}[1m])")),
        "1"
    );
    // With a time to live of nothing each scrape asks anew, and so follows.
    let asked = resolver.asked_for("moves");
    resolver.moved.store(true, Ordering::SeqCst);
    wait_until("the new address is scraped", || of("moves.test") == "9");
    assert!(resolver.asked_for("moves") > asked);
}

fn checks(port: u16) {
    let check = |name: &str| {
        format!(
            "- {{name: {name}, interval: 500ms, timeout: 400ms, retries: 0, probe: {{tcp: {{address: \
             '{name}.test:{port}'}}}}}}\n"
        )
    };
    let all = ["missing", "servfail", "silent", "many", "plain"].map(check).concat();
    let good = format!(
        "- {{name: good, interval: 500ms, timeout: 400ms, retries: 0, probe: {{tcp: {{address: \
         '127.0.0.1:{port}'}}}}}}\n"
    );
    let running = start(Kind::Agent, &format!("host: {{enabled: false}}\nchecks:\n{all}{good}"));
    let metrics = || get(&running.url("/metrics")).unwrap().1;
    for (name, reason) in [
        ("missing", "no-such-name"),
        ("servfail", "resolve-failed"),
        ("silent", "timeout"),
        ("many", "none"),
        ("plain", "none"),
        ("good", "none"),
    ] {
        let series = format!("veilleur_check_reason{{check=\"{name}\",reason=\"{reason}\"}} 1");
        wait_until(&format!("{name} is {reason}"), || metrics().contains(&series));
    }
    let runs = || {
        let text = metrics();
        let of_good = "veilleur_check_runs_total{check=\"good\",";
        let lines = text.lines().filter(|line| line.starts_with(of_good));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let begun = runs();
    wait_until("the good one goes on", || runs() >= begun + 4.0);
    let late = "veilleur_check_lateness_seconds{check=\"good\"}";
    let late =
        metrics().lines().find_map(|line| line.strip_prefix(late)?.trim().parse::<f64>().ok());
    assert!(late.is_none_or(|late| late < 1.0), "{late:?}");
}

/// A receiver whose name was resolved before is reached while nobody resolves names; another one is
/// not held up by one that never was.
fn messages(resolver: &Resolver) {
    resolver.moved.store(false, Ordering::SeqCst);
    let alerts = Arc::new(Mutex::new("first 1\n".to_owned()));
    let (page, hook, other) = (Arc::clone(&alerts), HttpServer::sink(), HttpServer::sink());
    let target = HttpServer::start(move |_| tests::http_server::Reply::text(&page.lock().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    std::fs::write(
        &rules,
        "groups:\n- name: g\n  rules:\n  - {alert: First, expr: first == 1}\n  \
         - {alert: Second, expr: second == 1}\n",
    )
    .unwrap();
    let port = |server: &HttpServer| server.address().rsplit_once(':').unwrap().1.to_owned();
    let config = format!(
        "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nscrape_configs:\n\
         - job_name: t\n  static_configs: [{{targets: ['{}']}}]\nrule_files: ['{}']\n\
         route: {{receiver: all, group_by: [alertname], group_wait: 0s}}\nreceivers:\n- name: all\n  \
         webhook_configs:\n  - {{url: 'http://silent.test:1/'}}\n  \
         - {{url: 'http://hook.test:{}/'}}\n  - {{url: 'http://127.0.0.1:{}/'}}\n",
        target.address(),
        rules.display(),
        port(&hook),
        port(&other),
    );
    let running = start(Kind::Evaluator, &config);
    let told = |server: &HttpServer, name: &str| {
        server.asked().iter().any(|asked| asked.body.contains(name))
    };
    wait_until("both are told", || told(&hook, "First") && told(&other, "First"));
    resolver.silent.store(true, Ordering::SeqCst);
    *alerts.lock().unwrap() = "first 1\nsecond 1\n".to_owned();
    let begun = std::time::Instant::now();
    wait_until("the one with a name is told, too", || told(&hook, "Second"));
    assert!(told(&other, "Second"));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    resolver.silent.store(false, Ordering::SeqCst);
    drop((running, TcpStream::connect(target.address())));
}
