//! Fetching the metrics of a target: one request, read as it arrives.
//!
//! Invariant: whatever the peer does, it takes no longer than the caller waits and no more memory
//! than the job's limits; the error says what went wrong in which phase.

use std::time::Duration;

use base::exposition::{
    Entry, Expecting, Format, OUTPUTS_HEADER, ParseError, Parser, ProtobufParser, is_protobuf,
};
use base::http::client::{Client, Connection, Origin, Phases};
use base::http::{
    Body, Full, Gunzip, HeaderMap, Method, Request, Response, StatusCode, Uri, header,
};
use base::period::Period;
use bytes::Bytes;

use super::config::Job;
use super::series::{Incoming, Refusal};
use super::target::Target;

/// Redirects within one host that are followed.
const MAX_REDIRECTS: usize = 5;

/// The connection to a target, kept from one scrape to the next.
#[derive(Debug, Default)]
pub(super) struct Fetcher {
    connection: Option<Connection>,
    /// How far the fetch has come that is going on, or was dropped.
    phases: Phases,
    speaks_tls: bool,
    /// How long the last body was once unpacked, in bytes.
    pub(super) size: usize,
}

impl Fetcher {
    /// Fetches the metrics of `target` and hands what they are to `incoming`.
    pub(super) async fn fetch(
        &mut self,
        job: &Job,
        target: &Target,
        incoming: &mut Incoming<'_>,
    ) -> Result<(), String> {
        let origin = Origin::of(&target.uri).map_err(|error| error.to_string())?;
        (self.phases, self.speaks_tls) = (Phases::default(), origin.tls);
        let mut uri = target.uri.clone();
        for _ in 0..=MAX_REDIRECTS {
            let (connection, answer) = self.ask(job, target.timeout, &origin, &uri).await?;
            if answer.status().is_redirection() && job.access.follows {
                uri = redirected(&origin, &uri, answer.headers())?;
                continue;
            }
            if answer.status() == StatusCode::UNAUTHORIZED {
                job.access.was_refused();
            }
            if answer.status() != StatusCode::OK {
                return Err(format!("server answered HTTP status {}", answer.status()));
            }
            let connection = self.connection.insert(connection);
            let result = read(connection, answer, job, incoming, &mut self.size).await;
            if result.is_err() {
                // The rest of the answer is still to come; nothing else can be asked on it.
                self.connection = None;
            }
            return result;
        }
        Err(format!("more than {MAX_REDIRECTS} redirects"))
    }

    /// When the certificate expires that the target has shown, in seconds since the Unix epoch;
    /// none without TLS, and none where the last fetch failed.
    pub(super) fn certificate_not_after(&self) -> Option<i64> {
        let session = self.connection.as_ref()?.tls.as_ref()?;
        base::http::web::not_after(session.certificates.first()?)
    }

    /// What a fetch was doing that was dropped.
    pub(super) fn doing(&self) -> &'static str {
        self.phases.doing(self.speaks_tls)
    }

    /// Lets the connection go: it is in the middle of something.
    pub(super) fn reset(&mut self) {
        self.connection = None;
    }

    /// Asks on the connection that is open, else on a new one. A kept connection may have been
    /// closed while nothing was asked, so its failure is no failure of the target.
    async fn ask(
        &mut self,
        job: &Job,
        timeout: Period,
        origin: &Origin,
        uri: &Uri,
    ) -> Result<(Connection, Response<Body>), String> {
        job.access.prepare().await?;
        if let Some(mut kept) = self.connection.take()
            && kept.is_open().await
        {
            let none = Some(Duration::ZERO);
            self.phases = Phases { resolve: none, connect: none, tls: none, ..Phases::default() };
            if let Ok(answer) = kept.send(request(job, timeout, uri)?, &mut self.phases).await {
                return Ok((kept, answer));
            }
        }
        let client: &Client = &job.access.client;
        self.phases = Phases::default();
        let mut opened =
            client.connect(origin, &mut self.phases).await.map_err(|error| error.to_string())?;
        let request = request(job, timeout, uri)?;
        let answer = opened.send(request, &mut self.phases).await.map_err(|e| e.to_string())?;
        Ok((opened, answer))
    }
}

fn request(job: &Job, timeout: Period, uri: &Uri) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(uri)
        .header(header::ACCEPT, job.protocols.accept())
        .header(header::USER_AGENT, concat!("veilleur/", env!("CARGO_PKG_VERSION")))
        .header("x-prometheus-scrape-timeout-seconds", timeout.duration().as_secs_f64().to_string())
        // Since only the text format carries outputs, an agent of ours answers in that.
        .header(OUTPUTS_HEADER, "1")
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    if job.compressed {
        let gzip = header::HeaderValue::from_static("gzip");
        request.headers_mut().insert(header::ACCEPT_ENCODING, gzip);
    }
    job.access.identify(request.headers_mut())?;
    Ok(request)
}

/// What a body is read by.
enum Reader {
    Text(Parser),
    Protobuf(ProtobufParser),
}

impl Reader {
    /// What reads a body of this type, which may not be said, or be none of metrics.
    fn of(content_type: &str, job: &Job) -> Option<Self> {
        let protocols = &job.protocols;
        if protocols.asks_for_protobuf() && is_protobuf(content_type) {
            let parser = ProtobufParser::new(protocols.histograms, job.limits.body);
            return Some(Self::Protobuf(parser));
        }
        let format = Format::from_content_type(content_type)
            .filter(|_| !content_type.is_empty())
            .or(protocols.fallback())
            .or(Format::from_content_type(content_type))?;
        Some(Self::Text(Parser::new(format, job.limits.body)))
    }

    fn feed(&mut self, piece: &[u8], incoming: &mut Incoming<'_>) -> Result<(), Refusal> {
        let entry = |incoming: &mut Incoming<'_>, entry: Entry<'_>| incoming.entry(entry);
        match self {
            Self::Text(parser) => {
                let expecting = Expecting { series: Incoming::expected, value: Incoming::value };
                parser.feed_expecting(piece, incoming, expecting, entry)
            }
            Self::Protobuf(parser) => parser.feed(piece, &mut |found| entry(incoming, found)),
        }
    }

    fn finish(&mut self, incoming: &mut Incoming<'_>) -> Result<(), Refusal> {
        match self {
            Self::Text(parser) => parser.finish(&mut |entry| incoming.entry(entry)),
            Self::Protobuf(parser) => parser.finish().map_err(|e: ParseError| e.into()),
        }
    }
}

/// Where a redirect leads, which must be the same host and port: another host was not configured.
fn redirected(origin: &Origin, from: &Uri, headers: &HeaderMap) -> Result<Uri, String> {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or("a redirect leads nowhere")?;
    let to = base::http::fetch::resolved(from, location)?;
    match Origin::of(&to) {
        Ok(found) if found == *origin => Ok(to),
        _ => Err(format!("a redirect leads to another host, `{to}`, and is not followed")),
    }
}

/// Reads an answer's body into `incoming`.
async fn read(
    connection: &mut Connection,
    answer: Response<Body>,
    job: &Job,
    incoming: &mut Incoming<'_>,
    size: &mut usize,
) -> Result<(), String> {
    *size = 0;
    let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let content_type = text(header::CONTENT_TYPE).unwrap_or("");
    let mut reader =
        Reader::of(content_type, job).ok_or_else(|| format!("`{content_type}` is no metrics"))?;
    let gzip = match text(header::CONTENT_ENCODING) {
        None | Some("identity" | "") => false,
        Some("gzip" | "x-gzip") => true,
        Some(other) => return Err(format!("the encoding `{other}` was not asked for")),
    };
    let mut body = answer.into_body();
    let mut bytes = 0;
    if gzip {
        let mut gunzip = Gunzip::new(|piece: &[u8]| {
            bytes += piece.len();
            reader.feed(piece, incoming).map_err(|e| e.to_string())
        });
        while let Some(piece) = connection.next(&mut body).await.map_err(|e| e.to_string())? {
            gunzip.feed(&piece)?;
        }
        gunzip.finish()?;
    } else {
        while let Some(piece) = connection.next(&mut body).await.map_err(|e| e.to_string())? {
            bytes += piece.len();
            reader.feed(&piece, incoming).map_err(|e| e.to_string())?;
        }
    }
    *size = bytes;
    if bytes == 0 {
        // No byte at all is a target without metrics, in either format.
        return Ok(());
    }
    reader.finish(incoming).map_err(|e| e.to_string())
}
