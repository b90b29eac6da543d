//! One page, hop by hop.
//!
//! Each redirect is a connection of its own. It is followed only to `http` and `https` without a
//! user name, at most as often as configured, without our credentials where it leaves the origin,
//! and from the outside never to an address of this host or this link (X03): the address that was
//! really dialled is looked at before anything is sent. Where a stranger chose the page, a [`Guard`]
//! opens every connection instead, and it alone says where.
//!
//! Invariant: whatever was reached when the future is dropped can still be read from [`Fetch`].

mod found;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use base::clock::Stopwatch;
use base::http::client::{Client, ClientError, Failure, Origin, Phases, Proxy, TlsSession};
use base::http::{Full, HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use hyper::Version;

use super::coding::{Coding, Fault, Unpacked};
use super::cookies::Cookies;
use super::line::{Body, Line};
use super::location;
use super::route::{Proxies, Route};
use super::three::Three;
use crate::Reason;
use crate::chain::{Seen, Trust};
use crate::guard::Guard;
use crate::network::{Failed, reason_of};
use crate::target;
use crate::text::shown_line;

/// Headers that are meant for the origin they were configured for.
const PRIVATE: [header::HeaderName; 4] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION, header::HOST];

/// How to ask, whatever page it is.
pub(crate) struct Plan {
    pub(crate) method: Method,
    /// As configured; with authorisation, where there is one.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How many redirects are followed; none to judge the redirect itself.
    pub(crate) redirects: Option<u32>,
    /// A body over so many bytes is a failure.
    pub(crate) body_limit: u64,
    /// Whether somebody wants to read the body; else its bytes are counted only.
    pub(crate) keeps_body: bool,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and body may be secret.
        f.debug_struct("Plan").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Plan {
    /// The same with other headers.
    pub(crate) fn with_headers(&self, headers: HeaderMap) -> Self {
        Self { method: self.method.clone(), headers, body: self.body.clone(), ..*self }
    }
}

/// What was fetched so far.
#[derive(Debug)]
pub(crate) struct Fetch<'p> {
    plan: &'p Plan,
    road: Road<'p>,
    /// The page of this hop.
    url: Uri,
    /// The times of the hops before this one.
    before: Phases,
    /// The times of this hop.
    here: Phases,
    /// All times together.
    pub(crate) times: Phases,
    pub(crate) redirects: u32,
    /// The address of the last hop.
    pub(crate) peer: Option<SocketAddr>,
    /// What a guard has dialled first, and how long it looked for it.
    pub(crate) dialled: Option<(SocketAddr, Duration)>,
    /// What TLS has shown at the last hop, however that ended.
    pub(crate) seen: Seen,
    /// Of the last hop, where a guard has opened it.
    pub(crate) tls: Option<TlsSession>,
    /// What was set so far; given back where [`Fetch::gives_cookies`] says so.
    pub(crate) cookies: Cookies,
    /// As blackbox_exporter does; a check says what it sends, unless it is a journey.
    pub(crate) gives_cookies: bool,
    /// Whether something from outside has led here, which may not lead to this host or link.
    pub(crate) from_outside: bool,
    answer: Option<Answer>,
    pub(crate) body: Vec<u8>,
    wants_body: bool,
    /// How many bytes the body had.
    pub(crate) length: u64,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    version: f64,
    headers: HeaderMap,
}

/// Who opens the connections.
#[derive(Debug)]
enum Road<'p> {
    /// The configuration says where.
    Route(&'p Route),
    /// A stranger does.
    Guarded {
        guard: &'p Guard,
        /// The client for the origin that was asked for first.
        first: Option<Client>,
        /// The client for the others.
        client: &'p Client,
        proxies: &'p Proxies,
        /// Whom to trust where nothing but HTTP/3 is spoken.
        quic: Option<&'p Trust>,
    },
}

/// What to ask for at a hop.
struct Ask {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

impl<'p> Fetch<'p> {
    pub(crate) fn new(plan: &'p Plan, url: Uri, route: &'p Route) -> Self {
        Self::by(plan, url, Road::Route(route))
    }

    /// As [`Fetch::new`], for a page that a stranger chose: every connection is opened by `guard`.
    /// The origin of `url` is spoken to by `first`, every other by `client`; through `proxies`, where
    /// there are some.
    pub(crate) fn guarded(
        plan: &'p Plan,
        url: Uri,
        guard: &'p Guard,
        (first, client): (Client, &'p Client),
        proxies: &'p Proxies,
    ) -> Self {
        Self::by(
            plan,
            url,
            Road::Guarded { guard, first: Some(first), client, proxies, quic: None },
        )
    }

    /// The same by HTTP/3 alone, where there is somebody to trust, and past all proxies.
    pub(crate) fn over_quic(mut self, trust: Option<&'p Trust>) -> Self {
        if let Road::Guarded { quic, .. } = &mut self.road {
            *quic = trust;
        }
        self
    }

    fn by(plan: &'p Plan, url: Uri, road: Road<'p>) -> Self {
        let gives_cookies = matches!(road, Road::Guarded { .. });
        Self {
            plan,
            road,
            url,
            before: Phases::default(),
            here: Phases::default(),
            times: Phases::default(),
            redirects: 0,
            peer: None,
            dialled: None,
            seen: Seen::default(),
            tls: None,
            cookies: Cookies::default(),
            gives_cookies,
            from_outside: false,
            answer: None,
            body: Vec::new(),
            wants_body: true,
            length: 0,
        }
    }

    /// Fetches the page and where it leads to.
    pub(crate) async fn run(&mut self) -> Result<(), Failed> {
        let plan = self.plan;
        let (method, headers) = (plan.method.clone(), plan.headers.clone());
        let mut ask = Ask { method, headers, body: plan.body.clone() };
        let mut origin = Origin::of(&self.url).map_err(failed)?;
        loop {
            let opened = self.open(&origin).await;
            self.add_times();
            let mut connection = opened?;
            self.opened(&connection, &origin)?;
            let mut request = self.request(&ask, &origin)?;
            if self.gives_cookies {
                self.cookies.give(&origin, request.headers_mut());
            }
            let answered = connection.send(request, &mut self.here).await;
            self.add_times();
            let answer = answered?;
            self.cookies.keep(&origin, answer.headers());
            self.passed(answer.status(), &origin)?;
            let next = self.answered(&answer)?;
            let Some(url) = next else { return self.transfer(connection, answer).await };
            connection.close().await;
            self.redirects += 1;
            ask.after(answer.status());
            let next = Origin::of(&url).map_err(failed)?;
            if next != origin {
                if let Road::Guarded { first, .. } = &mut self.road {
                    *first = None;
                }
                PRIVATE.iter().for_each(|name| while ask.headers.remove(name).is_some() {});
            }
            // blackbox_exporter knows nothing of an answer that has led to none.
            if self.is_guarded() {
                self.answer = None;
            }
            (origin, self.url) = (next, url);
            (self.before, self.here) = (self.times, Phases::default());
        }
    }

    /// The proxy that passes on what goes to `origin`, where there is one.
    fn proxy_to(&self, origin: &Origin) -> Option<&Proxy> {
        match &self.road {
            Road::Route(route) => route.proxy_to(origin),
            Road::Guarded { proxies, .. } => proxies.to(origin),
        }
    }

    fn is_guarded(&self) -> bool {
        matches!(self.road, Road::Guarded { .. })
    }

    async fn open(&mut self, origin: &Origin) -> Result<Line, Failed> {
        let here = &mut self.here;
        let (guard, client, proxies, quic) = match &self.road {
            Road::Route(route) => {
                self.seen = Seen::default();
                return route.open(origin, here, &mut self.seen).await.map(Line::Stream);
            }
            Road::Guarded { guard, first, client, proxies, quic } => {
                (guard, first.as_ref().unwrap_or(client), proxies, *quic)
            }
        };
        let proxy = proxies.to(origin);
        let at = target::of_url(&self.url)
            .map_err(|bad| Failed::new(Reason::BadRedirect, bad.to_string()))?;
        let watch = Stopwatch::start();
        let address = match proxy {
            Some(_) if proxies.skips_resolve => guard.admit_name(&at).map(|()| None),
            _ => guard.choose(&at).await.map(Some),
        };
        here.resolve = Some(watch.elapsed());
        let address = address.map_err(|refused| match (refused.reason, self.redirects) {
            (Reason::TargetNotAllowed, 1..) => {
                let summary = format!("a redirect: {}", refused.summary);
                Failed::new(Reason::BadRedirect, summary)
            }
            _ => refused,
        })?;
        if let Some(address) = address {
            self.dialled.get_or_insert((address, here.resolve.unwrap_or_default()));
        }
        let (Some(address), None) = (address, proxy) else {
            // Apart, so that those who dial need no room for it.
            return Box::pin(proxies.open(client, origin, here)).await.map(Line::Stream);
        };
        if let Some(trust) = quic {
            if !origin.tls {
                let summary = format!("`{}` is not https, and HTTP/3 is nothing else", self.url);
                return Err(Failed::new(Reason::BadRedirect, summary));
            }
            let socket = guard.datagrams(address).await?;
            let name = client.server_name().unwrap_or(&origin.host);
            let opened = Three::open((socket, address), origin, trust, name, here);
            // Apart, so that those who speak over TCP need no room for it.
            return Ok(Line::Three(Box::new(Box::pin(opened).await?)));
        }
        let watch = Stopwatch::start();
        let socket = guard.dial(address).await;
        here.connect = Some(watch.elapsed());
        let socket = socket?;
        // What is written in pieces is not to wait for the answer to the first.
        if origin.tls || !self.plan.body.is_empty() {
            let _ = socket.set_nodelay(true);
        }
        let spoken = client.speak_over(socket, Some(address), origin, here).await;
        spoken.map(Line::Stream).map_err(failed)
    }

    fn opened(&mut self, connection: &Line, origin: &Origin) -> Result<(), Failed> {
        self.peer = connection.peer();
        self.tls = connection.tls().cloned();
        let Road::Route(route) = self.road else { return Ok(()) };
        let local = route.is_local(origin, self.peer);
        if self.from_outside && local {
            let what = if self.redirects > 0 { "a redirect" } else { "what was found outside" };
            let summary = format!("{what} leads to `{}`, which is this host or link", self.url);
            return Err(Failed::new(Reason::BadRedirect, summary));
        }
        self.from_outside |= !local;
        Ok(())
    }

    fn request(&self, ask: &Ask, origin: &Origin) -> Result<Request<Full<Bytes>>, Failed> {
        let request = Request::builder().method(ask.method.clone()).uri(self.url.clone());
        let mut request = request
            .body(Full::new(ask.body.clone()))
            .map_err(|error| Failed::new(Reason::Internal, format!("the request: {error}")))?;
        *request.headers_mut() = ask.headers.clone();
        // Over TLS the proxy was told when it was asked to connect.
        if let (Some(proxy), false) = (self.proxy_to(origin), origin.tls)
            && let Some(value) = proxy.authorization().cloned()
        {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Whether a proxy has let the request pass; over TLS it was asked before.
    fn passed(&self, status: StatusCode, origin: &Origin) -> Result<(), Failed> {
        if status != StatusCode::PROXY_AUTHENTICATION_REQUIRED || origin.tls {
            return Ok(());
        }
        match self.proxy_to(origin) {
            Some(_) => {
                let summary = "the proxy does not take who we say we are: HTTP status 407";
                Err(Failed::new(Reason::ProxyFailed, summary))
            }
            None => Ok(()),
        }
    }

    /// Keeps the head of an answer. Returns where it leads, where it is a redirect to be followed.
    fn answered<B>(&mut self, answer: &Response<B>) -> Result<Option<Uri>, Failed> {
        let version = match answer.version() {
            Version::HTTP_10 => 1.0,
            Version::HTTP_2 => 2.0,
            Version::HTTP_3 => 3.0,
            _ => 1.1,
        };
        let (status, headers) = (answer.status(), answer.headers().clone());
        self.answer = Some(Answer { status, version, headers });
        let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let target = answer.headers().get(header::LOCATION);
        let Some(most) = self.plan.redirects.filter(|_| is_redirect) else {
            // blackbox_exporter counts the redirect that it does not follow, and reads no body.
            if is_redirect && target.is_some() && self.is_guarded() {
                self.redirects += 1;
                self.wants_body = false;
            }
            return Ok(None);
        };
        if target.is_none() && self.is_guarded() {
            return Ok(None);
        }
        let bad = |summary: String| Failed::new(Reason::BadRedirect, summary);
        if self.redirects >= most {
            self.redirects += 1;
            return Err(bad(format!("there are more than {most} redirects")));
        }
        let Some(target) = target else {
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
        mut connection: Line,
        answer: Response<Body>,
    ) -> Result<(), Failed> {
        if !self.wants_body {
            connection.close().await;
            return Ok(());
        }
        let limit = self.plan.body_limit;
        let mut body = answer.into_body();
        let watch = Stopwatch::start();
        let result = loop {
            match connection.next(&mut body).await {
                Ok(None) => break Ok(()),
                Ok(Some(piece)) if self.length + piece.len() as u64 > limit => {
                    self.length = limit;
                    let summary = format!("the body is over {limit} bytes");
                    break Err(Failed::new(Reason::BodyTooLarge, summary));
                }
                Ok(Some(piece)) => {
                    self.length += piece.len() as u64;
                    if self.plan.keeps_body {
                        self.body.extend_from_slice(&piece);
                    }
                }
                Err(why) => break Err(why),
            }
        };
        self.here.transfer = Some(watch.elapsed());
        self.add_times();
        connection.close().await;
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

    /// The body without its compression, where the server says that there is one.
    pub(crate) fn unpacked(&self) -> Result<Cow<'_, [u8]>, Failed> {
        let mut names = self.header_values(&header::CONTENT_ENCODING);
        let coding =
            names.find_map(|name| Coding::parse(std::str::from_utf8(name.trim_ascii()).ok()?));
        let Some(coding) = coding.filter(|_| !self.body.is_empty()) else {
            return Ok(Cow::Borrowed(&self.body));
        };
        let limit = usize::try_from(self.plan.body_limit).unwrap_or(usize::MAX);
        let Unpacked { body, fault } = coding.unpack(&self.body, limit);
        match fault {
            None => Ok(Cow::Owned(body)),
            Some(fault) => Err(fault.into()),
        }
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

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        let reason = match fault {
            Fault::TooLarge(_) => Reason::BodyTooLarge,
            Fault::NotBegun(_) | Fault::Broken(_) => Reason::ProtocolError,
        };
        Self::new(reason, fault.to_string())
    }
}

pub(super) fn failed(error: ClientError) -> Failed {
    let reason = match error.kind {
        // The configured URL was checked, so it is one that a redirect leads to.
        Failure::Address => Reason::BadRedirect,
        kind => reason_of(kind),
    };
    Failed::new(reason, shown_line(error.to_string().as_bytes(), 1 << 10))
}
