//! `/api/v1/write`: samples that an agent or another Prometheus pushes (remote write 1.0 and 2.0).
//!
//! An agent of ours learns by a header of each answer that we take what its checks said, too: it
//! posts that to the same address, with that header, in the text format. What stands in the header
//! is another after a start of ours, because those texts are in memory only.
//!
//! Invariant: 2xx means stored; 4xx that the same would never be stored; 5xx that it may be sent again.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::exposition::{Entry, Format, OUTPUTS_HEADER, ParseError, Parser};
use base::remote_write::{DecodeError, Rows, Version, WRITTEN_HEADERS, decode_as};
use base::sample::Timestamp;

use super::Shown;
use super::reply::{Failure, PATIENCE, whole};

/// The most that a body may have, as it comes and when decompressed.
const MAX_BODY: usize = 16 << 20;
const MAX_MESSAGE: usize = 64 << 20;
/// The most that texts of checks may have in one request.
const MAX_OUTPUTS: usize = 4 << 20;

/// How an agent of ours begins to say who it is. What others pass on of agents is theirs to miss.
const AGENT: &str = "veilleur-agent/";

/// Takes a message.
pub(super) async fn write(State(shown): State<Shown>, headers: HeaderMap, body: Body) -> Response {
    if !shown.enabled.remote_write {
        let why = "remote write receiver needs to be enabled with \
                   --web.enable-remote-write-receiver\n";
        return (StatusCode::NOT_FOUND, why).into_response();
    }
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    if headers.contains_key(OUTPUTS_HEADER) {
        return outputs(&shown, body).await;
    }
    let Some(version) = text(header::CONTENT_TYPE).and_then(Version::of_content_type) else {
        return unsupported("the content type is not one of remote write 1.0 or 2.0");
    };
    if !text(header::CONTENT_ENCODING).unwrap_or("snappy").eq_ignore_ascii_case("snappy") {
        return unsupported("the content encoding is not snappy");
    }
    // Taken before the body, so that those who wait cost no memory.
    let Ok(turn) = Arc::clone(&shown.writes).acquire_owned().await else {
        return Failure::unavailable("Veilleur is stopping").into_response();
    };
    let body = match whole(body, MAX_BODY, PATIENCE).await {
        Ok(body) => body,
        Err(why) => return Failure::from(why).into_response(),
    };
    let is_agent = text(header::USER_AGENT).is_some_and(|who| who.starts_with(AGENT));
    let (ingest, agents) = (shown.ingest.clone(), is_agent.then(|| shown.agents.clone()));
    let (clock, now) = (shown.clock.clone(), Timestamp::now());
    let written = tokio::task::spawn_blocking(move || {
        // Until this ends, also where nobody waits for it any more.
        let _turn = turn;
        let received = decode_as::<Rows>(&body, version, MAX_MESSAGE)?;
        Ok(match agents {
            Some(agents) if agents.puts_off(&received, clock.now(), clock.held_back()) => None,
            Some(agents) => Some(agents.write(&ingest, received, clock.now())),
            None => Some(ingest.write(&received, now)),
        })
    });
    let written = match written.await {
        Ok(Ok(Some(Ok(written)))) => written,
        Ok(Ok(None)) => {
            let why =
                "the system's clock was set far ahead, and that is not believed yet: send it again";
            return Failure::unavailable(why).into_response();
        }
        Ok(Ok(Some(Err(error)))) => return Failure::internal(error.to_string()).into_response(),
        Ok(Err::<_, DecodeError>(error)) => {
            return Failure::bad_data(error.to_string()).into_response();
        }
        Err(panic) => return Failure::internal(panic.to_string()).into_response(),
    };
    let counts =
        WRITTEN_HEADERS.into_iter().zip([written.samples, written.histograms, written.exemplars]);
    let counts = counts.map(|(name, count)| (name, count.to_string()));
    let counts: Vec<_> = if version == Version::V2 { counts.collect() } else { Vec::new() };
    let mut response = match written.refused.is_empty() {
        true => StatusCode::NO_CONTENT.into_response(),
        false => Failure::bad_data(written.refused.join("; ")).into_response(),
    };
    if let Ok(name) = shown.started.millis().to_string().parse() {
        response.headers_mut().insert(OUTPUTS_HEADER, name);
    }
    for (name, count) in counts {
        if let Ok(count) = count.parse() {
            response.headers_mut().insert(name, count);
        }
    }
    response
}

/// Takes what checks said.
async fn outputs(shown: &Shown, body: Body) -> Response {
    let Ok(turn) = Arc::clone(&shown.writes).acquire_owned().await else {
        return Failure::unavailable("Veilleur is stopping").into_response();
    };
    let body = match whole(body, MAX_OUTPUTS, PATIENCE).await {
        Ok(body) => body,
        Err(why) => return Failure::from(why).into_response(),
    };
    let outputs = shown.outputs.clone();
    let taken = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let mut parser = Parser::new(Format::Text, MAX_OUTPUTS);
        let mut entry = |entry: Entry<'_>| match entry {
            Entry::Output { labels, text } if outputs.push(&labels, &text) => Ok(()),
            _ => {
                let reason = "this is no output of a check with `job`, `instance` and `check`";
                Err(ParseError { line: 0, reason: reason.to_owned() })
            }
        };
        parser.feed(&body, &mut entry).and_then(|()| parser.finish(&mut entry))
    });
    match taken.await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(error)) => Failure::bad_data(error.to_string()).into_response(),
        Err(panic) => Failure::internal(panic.to_string()).into_response(),
    }
}

fn unsupported(why: &str) -> Response {
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{why}\n")).into_response()
}
