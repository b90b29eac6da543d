//! One page, hop by hop.
//!
//! Each redirect is a connection of its own. It is followed only to `http` and `https` without a
//! user name, at most as often as configured, without our credentials where it leaves the origin,
//! and from the outside never to an address of this host or this link (X03): the address that was
//! really dialled is looked at before anything is sent.
//!
//! Invariant: whatever was reached when the future is dropped can still be read from [`Fetch`].

use std::net::SocketAddr;
use std::time::Duration;

use base::clock::Stopwatch;
use base::http::client::{ClientError, Connection, Failure, Origin, Phases};
use base::http::{Full, HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use hyper::Version;
use hyper::body::Incoming;

use super::{Failed, HttpProbe, location};
use crate::Reason;
use crate::network::{earliest_expiry, is_local, reason_of};
use crate::text::shown_line;

/// Headers that are meant for the origin they were configured for.
const PRIVATE: [header::HeaderName; 4] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION, header::HOST];

/// What was fetched so far.
#[derive(Debug)]
pub(super) struct Fetch<'p> {
    probe: &'p HttpProbe,
    /// The page of this hop.
    url: Uri,
    /// The times of the hops before this one.
    before: Phases,
    /// The times of this hop.
    here: Phases,
    /// All times together.
    pub(super) times: Phases,
    pub(super) redirects: u32,
    pub(super) peer: Option<SocketAddr>,
    pub(super) certificate_expiry: Option<f64>,
    answer: Option<Answer>,
    pub(super) body: Vec<u8>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    version: f64,
    headers: HeaderMap,
}

/// What to ask for at a hop.
struct Ask {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl<'p> Fetch<'p> {
    pub(super) fn new(probe: &'p HttpProbe) -> Self {
        Self {
            probe,
            url: probe.url.clone(),
            before: Phases::default(),
            here: Phases::default(),
            times: Phases::default(),
            redirects: 0,
            peer: None,
            certificate_expiry: None,
            answer: None,
            body: Vec::new(),
        }
    }

    /// Fetches the page and where it leads to.
    pub(super) async fn run(&mut self) -> Result<(), Failed> {
        let probe = self.probe;
        let (method, headers) = (probe.method.clone(), probe.headers.clone());
        let mut ask = Ask { method, headers, body: probe.body.clone() };
        let mut origin = Origin::of(&self.url).map_err(failed)?;
        let mut from_outside = false;
        loop {
            let opened = probe.client.connect(&origin, &mut self.here).await;
            self.add_times();
            let mut connection = opened.map_err(failed)?;
            self.opened(&connection, &mut from_outside)?;
            let request = self.request(&ask)?;
            let answered = connection.send(request, &mut self.here).await;
            self.add_times();
            let answer = answered.map_err(failed)?;
            let next = self.answered(&answer)?;
            let Some(url) = next else { return self.transfer(connection, answer).await };
            self.redirects += 1;
            ask.after(answer.status());
            let next = Origin::of(&url).map_err(failed)?;
            if next != origin {
                PRIVATE.iter().for_each(|name| while ask.headers.remove(name).is_some() {});
            }
            (origin, self.url) = (next, url);
            (self.before, self.here) = (self.times, Phases::default());
        }
    }

    fn opened(&mut self, connection: &Connection, from_outside: &mut bool) -> Result<(), Failed> {
        self.peer = connection.peer;
        self.certificate_expiry = earliest_expiry(&connection.certificates);
        let local = connection.peer.is_some_and(|peer| is_local(peer.ip()));
        if *from_outside && local {
            let summary = format!("a redirect leads to `{}`, which is this host or link", self.url);
            return Err(Failed::new(Reason::BadRedirect, summary));
        }
        *from_outside |= !local;
        Ok(())
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, Failed> {
        let request = Request::builder().method(ask.method.clone()).uri(self.url.clone());
        let mut request = request
            .body(Full::new(ask.body.clone()))
            .map_err(|error| Failed::new(Reason::Internal, format!("the request: {error}")))?;
        *request.headers_mut() = ask.headers.clone();
        Ok(request)
    }

    /// Keeps the head of an answer. Returns where it leads, where it is a redirect to be followed.
    fn answered<B>(&mut self, answer: &Response<B>) -> Result<Option<Uri>, Failed> {
        let version = match answer.version() {
            Version::HTTP_10 => 1.0,
            _ => 1.1,
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        self.answer = Some(Answer { status, version, headers });
        let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let Some(most) = self.probe.redirects.filter(|_| is_redirect) else { return Ok(None) };
        let bad = |summary: String| Failed::new(Reason::BadRedirect, summary);
        if self.redirects >= most {
            return Err(bad(format!("there are more than {most} redirects")));
        }
        let Some(target) = answer.headers().get(header::LOCATION) else {
            return Err(bad(format!(
                "HTTP status {} leads nowhere: there is no `Location`",
                status.as_u16()
            )));
        };
        let shown = shown_line(target.as_bytes(), 200);
        let url = target.to_str().map_err(|_| "is not plain text".to_owned());
        let url = url.and_then(|target| location::join(&self.url, target));
        url.map(Some).map_err(|why| bad(format!("a redirect to `{shown}`, which {why}")))
    }

    /// Reads the body.
    async fn transfer(
        &mut self,
        mut connection: Connection,
        answer: Response<Incoming>,
    ) -> Result<(), Failed> {
        let limit = self.probe.body_limit;
        let mut body = answer.into_body();
        let watch = Stopwatch::start();
        let result = loop {
            match connection.next(&mut body).await {
                Ok(None) => break Ok(()),
                Ok(Some(piece)) if self.body.len() + piece.len() > limit => {
                    let summary = format!("the body is over {limit} bytes");
                    break Err(Failed::new(Reason::BodyTooLarge, summary));
                }
                Ok(Some(piece)) => self.body.extend_from_slice(&piece),
                Err(error) => break Err(failed(error)),
            }
        };
        self.here.transfer = Some(watch.elapsed());
        self.add_times();
        result
    }

    /// Adds up the times of this hop and those before.
    fn add_times(&mut self) {
        let sum = |a: Option<Duration>, b: Option<Duration>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_default() + b.unwrap_or_default()),
        };
        self.times = Phases {
            resolve: sum(self.before.resolve, self.here.resolve),
            connect: sum(self.before.connect, self.here.connect),
            tls: sum(self.before.tls, self.here.tls),
            first_byte: sum(self.before.first_byte, self.here.first_byte),
            transfer: sum(self.before.transfer, self.here.transfer),
        };
    }

    /// What it is waiting for.
    pub(super) fn phase(&self) -> String {
        let (host, here) = (self.url.authority().map_or("", |a| a.as_str()), &self.here);
        let encrypted = self.url.scheme_str() == Some("https");
        match (here.resolve, here.connect, here.tls, here.first_byte) {
            (None, ..) => format!("the name in `{host}` is not resolved"),
            (_, None, ..) => format!("there is no connection to `{host}`"),
            (_, _, None, _) if encrypted => format!("the TLS handshake with `{host}` is not done"),
            (.., None) => format!("there is no answer from `{host}`"),
            _ => format!("the body from `{host}` is not complete, with {} bytes", self.body.len()),
        }
    }

    pub(super) fn summary(&self, seconds: f64) -> String {
        let (status, length) = (self.status(), self.body.len());
        let redirects = match self.redirects {
            0 => String::new(),
            1 => ", 1 redirect".to_owned(),
            n => format!(", {n} redirects"),
        };
        format!("HTTP status {status}, {length} bytes in {seconds:.3} s{redirects}")
    }

    /// The status, 0 where there was no answer.
    pub(super) fn status(&self) -> u16 {
        self.answer.as_ref().map_or(0, |answer| answer.status.as_u16())
    }

    pub(super) fn version(&self) -> Option<f64> {
        self.answer.as_ref().map(|answer| answer.version)
    }

    pub(super) fn is_tls(&self) -> bool {
        self.answer.is_some() && self.url.scheme_str() == Some("https")
    }

    pub(super) fn content_length(&self) -> Option<u64> {
        let headers = &self.answer.as_ref()?.headers;
        headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    pub(super) fn header_values(&self, name: &header::HeaderName) -> impl Iterator<Item = &[u8]> {
        let headers = self.answer.iter().map(|answer| &answer.headers);
        headers.flat_map(move |headers| headers.get_all(name)).map(|value| value.as_bytes())
    }
}

impl Ask {
    /// What to ask for after a redirect: only 307 and 308 repeat the method and the body.
    fn after(&mut self, status: StatusCode) {
        let repeats = matches!(status.as_u16(), 307 | 308);
        if !repeats && !matches!(self.method, Method::GET | Method::HEAD) {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.headers.remove(header::CONTENT_TYPE);
        }
    }
}

fn failed(error: ClientError) -> Failed {
    let reason = match error.kind {
        // The configured URL was checked, so it is one that a redirect leads to.
        Failure::Address => Reason::BadRedirect,
        kind => reason_of(kind),
    };
    Failed::new(reason, shown_line(error.to_string().as_bytes(), 1 << 10))
}
