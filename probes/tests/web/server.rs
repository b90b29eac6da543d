//! A server that answers as a test tells it, and what is looked at of an outcome.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base::exposition::{Encoding, Escaping, Format, encode};
use probes::manual::manual;
use probes::{Outcome, Reason, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{probe, run};

/// A server that answers each request with what `answer` makes of its head and body, and notes it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        #[expect(clippy::disallowed_methods, reason = "a peer of a test")]
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let request = request(&mut socket).await;
                noted.lock().unwrap().push(request.clone());
                let _ = socket.write_all(answer(&request).as_bytes()).await;
                let _ = socket.shutdown().await;
            }
        });
        Self { address, asked }
    }

    /// One that always answers so.
    pub(crate) async fn saying(answer: &'static str) -> Self {
        Self::start(move |_| answer.to_owned()).await
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Asks for `/page`; `more` are further settings, each after a comma.
    pub(crate) async fn ask(&self, more: &str) -> Outcome {
        look(&format!("http: {{url: 'http://{}/page'{more}}}", self.address)).await
    }

    /// Takes steps, in which `HOST` stands for the server.
    pub(crate) async fn walk(&self, steps: &str) -> Outcome {
        let steps = steps.replace("HOST", &self.address.to_string());
        look(&format!("http:\n  steps:\n{steps}")).await
    }
}

pub(crate) async fn look(yaml: &str) -> Outcome {
    let outcome = run(probe(yaml).as_ref()).await;
    let untold = manual("http").unwrap().leaves_out(&outcome);
    assert!(untold.is_empty(), "the page of http leaves out {untold:?}");
    outcome
}

/// Reads a request with its body.
pub(crate) async fn request(socket: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return String::from_utf8_lossy(&read).into_owned();
        }
    }
}

pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[track_caller]
pub(crate) fn check(outcome: &Outcome, reason: Reason, part: &str) {
    assert_eq!(outcome.reason, reason, "{outcome:?}");
    assert_eq!(outcome.status == Status::Ok, reason == Reason::None, "{outcome:?}");
    assert!(outcome.summary.contains(part), "{}", outcome.summary);
}

#[track_caller]
pub(crate) fn has(outcome: &Outcome, line: &str) {
    let mut text = String::new();
    encode(
        &outcome.families,
        Encoding { format: Format::Text, names: Escaping::Underscores },
        &mut text,
    );
    assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
}

pub(crate) fn value(outcome: &Outcome, name: &str) -> Option<f64> {
    outcome.measurements.iter().find(|one| one.label == name).map(|one| one.value)
}
