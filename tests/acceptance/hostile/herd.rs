//! Two thousand targets and two thousand checks after a restart: no herd. F44.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tests::wait_until;

use crate::stage::{Kind, Running};

const COUNT: usize = 2000;
/// Each is asked once in this time.
const INTERVAL: Duration = Duration::from_secs(10);
/// What is counted together.
const SLOT: Duration = Duration::from_millis(500);

/// Counts requests, which it answers at once, by when they came.
struct Counter {
    port: u16,
    came: Arc<Mutex<Vec<Instant>>>,
}

impl Counter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, came) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<_>>>::default());
        let listener = Arc::new(listener);
        for _ in 0..4 {
            let (listener, came) = (Arc::clone(&listener), Arc::clone(&came));
            thread::spawn(move || {
                while let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                    if stream.read(&mut [0; 2048]).is_ok_and(|length| length > 0) {
                        came.lock().unwrap().push(Instant::now());
                        let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
                                      connection: close\r\ncontent-length: 4\r\n\r\nx 1\n";
                        let _ = stream.write_all(answer.as_bytes());
                    }
                }
            });
        }
        Self { port, came }
    }

    fn clear(&self) {
        self.came.lock().unwrap().clear();
    }

    /// The most requests in a slot between two instants.
    fn peak(&self, from: Instant, to: Instant) -> usize {
        let came = self.came.lock().unwrap();
        let mut slots = vec![0; ((to - from).as_millis() / SLOT.as_millis()) as usize + 1];
        for at in came.iter().filter(|at| **at >= from && **at < to) {
            slots[((*at - from).as_millis() / SLOT.as_millis()) as usize] += 1;
        }
        slots.into_iter().max().unwrap_or(0)
    }

    fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }
}

/// The peak of the first interval after a restart is that of any other, and near the mean.
fn check(kind: Kind, config: impl Fn(u16) -> String) {
    let counter = Counter::start();
    let config = config(counter.port);
    drop(Running::new(kind, &config));
    counter.clear();
    let _running = Running::new(kind, &config);
    let begun = Instant::now();
    let wait = |what: &str, until: Duration| wait_until(what, || begun.elapsed() >= until);
    wait("the first interval passes", INTERVAL);
    let first = counter.peak(begun, begun + INTERVAL);
    assert!(counter.count() >= COUNT * 9 / 10, "{kind:?}: {}", counter.count());
    wait("the second interval passes", INTERVAL * 2);
    let steady = counter.peak(begun + INTERVAL, begun + INTERVAL * 2);
    assert!(first * 2 <= steady * 3, "{kind:?}: {first} after the start, {steady} later");
    // 2,000 in 20 slots are 100 a slot; by chance alone one of them can be half as full again.
    assert!(first <= 160, "{kind:?}: {first} after the start, {steady} later");
}

#[test]
fn checks_2000_are_spread_after_a_restart_f44() {
    check(Kind::Agent, |port| {
        let line = |n| {
            format!(
                "- {{name: c{n}, interval: 10s, timeout: 5s, probe: {{http: {{url: \
                 'http://127.0.0.1:{port}/{n}'}}}}}}\n"
            )
        };
        let checks: String = (0..COUNT).map(line).collect();
        format!("host: {{enabled: false}}\nchecks:\n{checks}")
    });
}

#[test]
fn targets_2000_are_spread_after_a_restart_f44() {
    check(Kind::Evaluator, |port| {
        let line = |n| {
            format!(
                "  - {{targets: ['127.0.0.1:{port}'], labels: {{__metrics_path__: /{n}, n: '{n}'}}}}\n"
            )
        };
        let targets: String = (0..COUNT).map(line).collect();
        format!(
            "global: {{scrape_interval: 10s, scrape_timeout: 5s}}\nscrape_configs:\n- job_name: t\n  \
             static_configs:\n{targets}"
        )
    });
}
