//! A receiver that notes what it hears, and kills whoever speaks to it at the point that is asked for.
//!
//! Invariant: what it notes is in the order in which it happened.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tests::wait_until;

use super::checker::Event;

/// Where somebody is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    /// A connection to the receiver is open, nothing was sent.
    Connected,
    /// The message was read, and not answered.
    Requested,
    /// The message was answered just now.
    Answered,
}

#[derive(Debug, Default)]
struct Shared {
    events: Mutex<Vec<Event>>,
    /// Whom to kill, and where.
    armed: Mutex<Option<(Point, u32)>>,
    /// How many of the next messages are refused for now.
    refusals: AtomicU64,
    stop: AtomicBool,
    /// Who connected last, and how many of those who did are still listened to.
    last: Mutex<Option<SocketAddr>>,
    open: AtomicU64,
}

/// The receiver; it ends with its owner.
pub(crate) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if theirs.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                shared.open.fetch_add(1, Ordering::SeqCst);
                *shared.last.lock().unwrap() = stream.peer_addr().ok();
                // Whoever was killed closes its end.
                thread::spawn(move || {
                    drop(shared.serve(stream));
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn note(&self, event: Event) {
        self.shared.events.lock().unwrap().push(event);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.shared.events.lock().unwrap().clone()
    }

    /// Waits until everything that was sent by somebody who is dead is noted.
    pub(crate) fn drain(&self) {
        // Whoever connected before us was accepted before us.
        let stream = TcpStream::connect(self.address).unwrap();
        let us = stream.local_addr().unwrap();
        wait_until("all are accepted", || *self.shared.last.lock().unwrap() == Some(us));
        drop(stream);
        wait_until("all are heard", || self.shared.open.load(Ordering::SeqCst) == 0);
    }

    /// From now on whoever comes to `point` is killed, once.
    pub(crate) fn arm(&self, point: Point, pid: u32) {
        *self.shared.armed.lock().unwrap() = Some((point, pid));
    }

    /// From now on so many messages are refused for now, and those after them taken.
    pub(crate) fn refuse(&self, messages: u64) {
        self.shared.refusals.store(messages, Ordering::SeqCst);
    }

    /// Whether nobody is to be killed any more; then nobody is.
    pub(crate) fn disarm(&self) -> bool {
        self.shared.armed.lock().unwrap().take().is_none()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

/// Ends a process by its pid, without a warning.
pub(crate) fn kill(pid: u32) {
    let status = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status();
    assert!(status.unwrap().success(), "kill {pid}");
}

impl Shared {
    /// Kills whoever is to be killed at `point`, while nobody else notes anything.
    fn strike(&self, point: Point) -> bool {
        let mut armed = self.armed.lock().unwrap();
        match *armed {
            Some((at, pid)) if at == point => {
                kill(pid);
                *armed = None;
                true
            }
            _ => false,
        }
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        if self.strike(Point::Connected) {
            return Ok(());
        }
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let line = line.trim_end().to_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let (id, alerts) = read(&body);
            if self.strike(Point::Requested) {
                self.events.lock().unwrap().push(Event::Heard { id, alerts, answered: false });
                return Ok(());
            }
            let less = |left: u64| left.checked_sub(1);
            if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
                self.events.lock().unwrap().push(Event::Heard { id, alerts, answered: false });
                stream.write_all(b"HTTP/1.1 503 Not now\r\ncontent-length: 0\r\n\r\n")?;
                continue;
            }
            // Noted before it is sent: what follows from the answer comes after it.
            self.events.lock().unwrap().push(Event::Heard { id, alerts, answered: true });
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            self.strike(Point::Answered);
        }
    }
}

/// The id of a message, and whether each of its alerts fires.
fn read(body: &[u8]) -> (String, BTreeMap<String, bool>) {
    let body: Value = serde_json::from_slice(body).unwrap();
    let alert = |alert: &Value| {
        let name = alert["labels"]["alertname"].as_str().unwrap().to_owned();
        (name, alert["status"] == "firing")
    };
    let alerts = body["alerts"].as_array().unwrap().iter().map(alert).collect();
    (body["notificationId"].as_str().unwrap().to_owned(), alerts)
}
