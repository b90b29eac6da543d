//! Descriptors: none is lost by whatever fails, and few are enough. F48.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tests::http_server::{HttpServer, Reply};
use tests::wait_until;

use crate::stage::{BOTH, Kind, Running};

/// With 64 descriptors and 200 clients that hold connections, a program answers others and does not
/// turn in circles.
#[test]
fn without_descriptors_load_is_shed_and_nothing_spins_f48() {
    for kind in BOTH {
        let running = Running::under(kind, kind.idle(), "ulimit -n 64; exec \"$@\"", &[]);
        let held: Vec<_> =
            (0..200).map(|_| TcpStream::connect(("127.0.0.1", running.port)).unwrap()).collect();
        wait_until("nearly all are taken", || running.descriptors() > 50);
        let (begun, busy) = (Instant::now(), running.busy());
        wait_until("others are answered", || running.is_alive());
        wait_until("two seconds pass", || begun.elapsed() > Duration::from_secs(2));
        let spent = running.busy() - busy;
        assert!(spent < begun.elapsed() / 2, "{kind:?}: {spent:?} in {:?}", begun.elapsed());
        drop(held);
        wait_until("they are free again", || running.descriptors() < 50);
        assert!(running.is_alive());
        let log = running.program.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Some hundred runs of each kind of failure, and a hundred reloads, good and bad; the catalogue has
/// ten thousand, but what is lost each time shows in a hundred.
#[test]
fn the_agent_loses_none_whatever_fails_f48() {
    let hangs = HttpServer::start(|_| Reply::Hang);
    let closes = HttpServer::start(|_| Reply::Close);
    let half =
        HttpServer::start(|_| Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".into()));
    // Connections are made by the system, and never accepted.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let probes = [
        format!("http: {{url: '{}'}}", hangs.url("/")),
        format!("http: {{url: '{}'}}", closes.url("/")),
        format!("http: {{url: '{}'}}", half.url("/")),
        format!("http: {{url: 'https://{silent}/'}}"),
        "http: {url: 'http://127.0.0.1:1/'}".to_owned(),
        "http: {url: 'http://no-such-host.invalid/'}".to_owned(),
        format!("tcp: {{address: '{silent}', send: x, expect: y}}"),
        "tcp: {address: '127.0.0.1:1'}".to_owned(),
        format!("tls: {{address: '{}'}}", closes.address()),
        "script: {command: [/bin/false]}".to_owned(),
        "script: {command: [/bin/sleep, '9']}".to_owned(),
        "script: {command: [/bin/sh, -c, 'kill -KILL $$']}".to_owned(),
        "file: {path: /no/such/file}".to_owned(),
    ];
    let checks: String = (0..)
        .zip(&probes)
        .map(|(n, probe)| {
            format!("- {{name: c{n}, interval: 150ms, timeout: 100ms, retries: 0, probe: {{{probe}}}}}\n")
        })
        .collect();
    let config = format!("host: {{enabled: false}}\nchecks:\n{checks}");
    let running = Running::new(Kind::Agent, &config);
    let runs = || running.value("veilleur_check_runs_total");
    wait_until("all have run", || runs() >= 100.0);
    let before = running.descriptors();
    for n in 0..100 {
        let text = if n % 2 == 0 { "checks: [" } else { config.as_str() };
        std::fs::write(running.path("config.yml"), text).unwrap();
        running.program.signal("HUP");
        // A client that goes away in the middle.
        drop(TcpStream::connect(("127.0.0.1", running.port)).unwrap());
    }
    std::fs::write(running.path("config.yml"), &config).unwrap();
    running.program.signal("HUP");
    let begun = runs();
    wait_until("all have run often", || runs() >= begun + 600.0);
    // What is open at an instant differs by what runs at that instant.
    wait_until("no more are open than before", || running.descriptors() <= before + 2);
}

#[test]
fn the_evaluator_loses_none_whatever_fails_f48() {
    let servers = [
        HttpServer::start(|_| Reply::Hang),
        HttpServer::start(|_| Reply::Close),
        HttpServer::start(|_| Reply::text("not metrics\n")),
        HttpServer::start(|_| Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".into())),
        HttpServer::start(|_| Reply::status(500)),
    ];
    let targets: Vec<_> = servers.iter().map(|server| format!("'{}'", server.address())).collect();
    let config = format!(
        "global: {{scrape_interval: 100ms, scrape_timeout: 50ms}}\nscrape_configs:\n- job_name: t\n  \
         static_configs: [{{targets: [{}, '127.0.0.1:1', 'no-such-host.invalid:1']}}]\n",
        targets.join(", ")
    );
    let running = Running::new(Kind::Evaluator, &config);
    let scrapes = || running.value("veilleur_scrapes_total");
    wait_until("all were scraped", || scrapes() >= 100.0);
    let before = running.descriptors();
    for n in 0..100 {
        let text = if n % 2 == 0 { "scrape_configs: [" } else { config.as_str() };
        std::fs::write(running.path("config.yml"), text).unwrap();
        running.program.signal("HUP");
    }
    let begun = scrapes();
    wait_until("all were scraped often", || scrapes() >= begun + 300.0);
    wait_until("no more are open than before", || running.descriptors() <= before + 2);
}
