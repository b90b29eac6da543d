//! The objects of one kind in one namespace: listed once, then kept by a watch.
//!
//! Source: the API concepts of Kubernetes: resource versions, chunks, watches, bookmarks.
//!
//! Invariant: an object is as the newest event says; a line of a watch is bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use base::clock::Stopwatch;
use base::http::access::HttpAccess;
use base::http::client::Connection;
use base::http::fetch::open;
use base::http::{Body, HeaderMap, StatusCode, percent_encoded};
use serde_json::Value;
use tokio::time::timeout;

use super::super::web::{self, PATIENCE};
use super::SelectorConfig;

/// Objects of one page of a list.
const PAGE: usize = 500;
/// Objects of one kind.
const MAX_OBJECTS: usize = 1_000_000;
/// The longest event, in bytes.
const MAX_EVENT: usize = 16 << 20;
/// How long a watch is asked to last, in seconds; one that lasts much longer has lost its server.
const WATCH_SECONDS: u64 = 300;

/// Objects of a kind.
pub(super) struct Collection {
    pub(super) kind: &'static str,
    url: String,
    selector: String,
    /// By namespace and name.
    pub(super) objects: BTreeMap<(String, String), Value>,
    /// Up to where the objects are known.
    version: String,
    stream: Option<Stream>,
}

/// A watch that goes on.
struct Stream {
    connection: Connection,
    body: Body,
    /// What is no whole line yet.
    rest: Vec<u8>,
    since: Stopwatch,
}

impl Collection {
    pub(super) fn new(
        base: &str,
        kind: &'static str,
        namespace: Option<&str>,
        selector: Option<&SelectorConfig>,
    ) -> Self {
        let api = match kind {
            "ingresses" => "apis/networking.k8s.io/v1",
            "endpointslices" => "apis/discovery.k8s.io/v1",
            _ => "api/v1",
        };
        let within = namespace.map(|n| format!("namespaces/{}/", percent_encoded(n)));
        let url = format!("{base}/{api}/{}{kind}", within.unwrap_or_default());
        let mut query = String::new();
        if let Some(selector) = selector {
            for (name, text) in
                [("labelSelector", &selector.label), ("fieldSelector", &selector.field)]
            {
                if let Some(text) = text {
                    query.push_str(&format!("&{name}={}", percent_encoded(text)));
                }
            }
        }
        let (objects, version) = (BTreeMap::new(), String::new());
        Self { kind, url, selector: query, objects, version, stream: None }
    }

    /// Lists all objects anew.
    pub(super) async fn list(&mut self, access: &HttpAccess) -> Result<(), String> {
        self.stream = None;
        let (mut objects, mut next) = (BTreeMap::new(), String::new());
        loop {
            let from = match next.as_str() {
                "" => String::new(),
                next => format!("&continue={}", percent_encoded(next)),
            };
            let url = format!("{}?limit={PAGE}{}{from}", self.url, self.selector);
            let answer = web::get(access, &url, HeaderMap::new(), PATIENCE).await?;
            let told = |error: String| format!("{}: {error}", self.kind);
            let mut page: Value = web::json(&answer).map_err(told)?;
            let Value::Array(items) = page["items"].take() else {
                return Err(format!("{}: the answer is no list", self.kind));
            };
            objects.extend(items.into_iter().map(|object| (key(&object), object)));
            if objects.len() > MAX_OBJECTS {
                return Err(format!("there are more than {MAX_OBJECTS} {}", self.kind));
            }
            let metadata = &page["metadata"];
            next = metadata["continue"].as_str().unwrap_or("").to_owned();
            if next.is_empty() {
                self.version = metadata["resourceVersion"].as_str().unwrap_or("").to_owned();
                self.objects = objects;
                return Ok(());
            }
        }
    }

    /// Sees to it that the objects are watched; where it is too late for that they are listed anew.
    pub(super) async fn watch(&mut self, access: &HttpAccess) -> Result<(), String> {
        let longest = Duration::from_secs(WATCH_SECONDS + 60);
        if self.stream.as_ref().is_some_and(|stream| stream.since.elapsed() < longest) {
            return Ok(());
        }
        if self.version.is_empty() {
            self.list(access).await?;
        }
        let url = format!(
            "{}?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}{}",
            self.url,
            percent_encoded(&self.version),
            self.selector
        );
        let request = web::request(&url, HeaderMap::new())?;
        let opening = timeout(PATIENCE, open(access, request)).await;
        let opening =
            opening.map_err(|_| format!("{}: no watch within {PATIENCE:?}", self.kind))?;
        let (connection, answer) = opening?;
        if answer.status() != StatusCode::OK {
            self.version.clear();
            return Err(format!(
                "{}: a watch is answered with HTTP status {}",
                self.kind,
                answer.status()
            ));
        }
        let (body, since) = (answer.into_body(), Stopwatch::start());
        self.stream = Some(Stream { connection, body, rest: Vec::new(), since });
        Ok(())
    }

    /// Waits for an event, or for the end of the watch; may be dropped while it waits.
    pub(super) async fn event(&mut self) -> Result<(), String> {
        let Some(stream) = &mut self.stream else { return std::future::pending().await };
        loop {
            if let Some(end) = stream.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = stream.rest.drain(..=end).collect();
                return self.take(&line);
            }
            if stream.rest.len() > MAX_EVENT {
                return Err(format!("{}: an event is longer than {MAX_EVENT} bytes", self.kind));
            }
            match stream.connection.next(&mut stream.body).await {
                Ok(Some(piece)) => stream.rest.extend_from_slice(&piece),
                // It lasted as long as it was asked to, or its server is gone: the next shows.
                Ok(None) | Err(_) => {
                    self.stream = None;
                    return Ok(());
                }
            }
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let mut event: Value = serde_json::from_slice(line)
            .map_err(|error| format!("{}: an event is no JSON: {error}", self.kind))?;
        let object = event["object"].take();
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => {
                self.note(&object);
                self.objects.insert(key(&object), object);
                if self.objects.len() > MAX_OBJECTS {
                    return Err(format!("there are more than {MAX_OBJECTS} {}", self.kind));
                }
            }
            Some("DELETED") => {
                self.note(&object);
                self.objects.remove(&key(&object));
            }
            Some("BOOKMARK") => self.note(&object),
            // Mostly that what we know is too old to go on from.
            _ => {
                self.version.clear();
                self.stream = None;
            }
        }
        Ok(())
    }

    fn note(&mut self, object: &Value) {
        if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
            version.clone_into(&mut self.version);
        }
    }
}

/// Namespace and name of an object.
fn key(object: &Value) -> (String, String) {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or("").to_owned();
    (text("namespace"), text("name"))
}
