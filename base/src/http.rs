//! HTTP as both programs serve and speak it, 1.1 and as a client 2, with a limit on everything.
//!
//! Invariant: no peer, however slow, large or hostile, holds a connection longer or takes more
//! memory than the limits say.

pub mod tls;
mod failure;
mod foreign;
mod lookup;
mod names;
mod origin;
mod percent;
pub mod special;
mod except;
mod dial;
mod connection;
mod proxy;
pub mod client;
pub mod access;
pub mod fetch;
pub mod kept;
pub mod oauth2;
pub mod web;
mod framing;
mod io;
pub mod crowd;
pub mod server;

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
pub use foreign::is_foreign;
use http_body_util::BodyExt;
pub use http_body_util::Full;
use hyper::body::Body as _;
pub use hyper::body::{Frame, Incoming as Body};
pub use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
pub use percent::{percent_decoded, percent_encoded};
use tokio::time::timeout;

/// Why a body could not be had whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the limit.
    #[error("the body is over {0} bytes")]
    TooLarge(usize),
    /// It did not arrive in time.
    #[error("the body did not arrive within {0:?}")]
    TooSlow(Duration),
    /// The connection broke.
    #[error("the body broke off: {0}")]
    Broken(String),
}

/// Reads a request's body of at most `limit` bytes within `within`.
///
/// # Errors
///
/// [`BodyError`]; what was read until then is lost.
pub async fn read_body<B>(body: B, limit: usize, within: Duration) -> Result<Bytes, BodyError>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = pin!(body);
    // A length that is announced need not be read to be too large.
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge(limit));
    }
    let collect = async {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            if let Some(data) = frame.data_ref() {
                if whole.len() + data.len() > limit {
                    return Err(BodyError::TooLarge(limit));
                }
                whole.extend_from_slice(data);
            }
        }
        Ok(whole.freeze())
    };
    timeout(within, collect).await.unwrap_or(Err(BodyError::TooSlow(within)))
}

/// Reads the first `keep` bytes of a request's body, as far as they arrive `within`. Of what follows
/// `more` bytes are read and dropped, so that a peer that says more than we want still reads our
/// answer.
pub async fn read_start<B>(body: B, keep: usize, more: usize, within: Duration) -> Bytes
where
    B: hyper::body::Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let (mut start, mut read) = (BytesMut::new(), 0);
    let collect = async {
        // What breaks off has begun all the same.
        while let Some(Ok(frame)) = body.frame().await {
            let Some(piece) = frame.data_ref() else { continue };
            read += piece.len();
            start.extend_from_slice(&piece[..piece.len().min(keep - start.len())]);
            if read > keep + more {
                break;
            }
        }
    };
    let _ = timeout(within, collect).await;
    start.freeze()
}

/// A finished answer: `body` as `content_type`, never sniffed as anything else, never cached.
pub fn answer(
    status: StatusCode,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(value) = content_type.parse() {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

/// As [`answer`], compressed where the request accepts gzip and the body is worth it.
pub fn answer_compressed(
    request: &HeaderMap,
    status: StatusCode,
    content_type: &str,
    body: Vec<u8>,
) -> Response<Full<Bytes>> {
    answer_packed(status, content_type, Packed::new(body, accepts_gzip(request)))
}

/// As [`answer`], for a body that whoever asks accepts as it is.
pub fn answer_packed(
    status: StatusCode,
    content_type: &str,
    body: Packed,
) -> Response<Full<Bytes>> {
    let mut response = answer(status, content_type, body.bytes);
    let headers = response.headers_mut();
    headers.insert(header::VARY, header::HeaderValue::from_static("accept, accept-encoding"));
    if body.is_gzip {
        headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    response
}

/// A body as it is sent. Clones share it.
#[derive(Clone, Debug)]
pub struct Packed {
    bytes: Bytes,
    is_gzip: bool,
}

impl Packed {
    /// The body, compressed where gzip is accepted and worth it.
    pub fn new(body: Vec<u8>, accepts_gzip: bool) -> Self {
        /// Below this the header costs more than the compression saves.
        const WORTH: usize = 1024;
        let compressed = if accepts_gzip && body.len() >= WORTH { gzip(&body) } else { None };
        Self { is_gzip: compressed.is_some(), bytes: compressed.unwrap_or(body).into() }
    }
}

/// Whether an `Accept-Encoding` names gzip without forbidding it.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.unwrap_or("").split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = matches!(parts.next(), Some("gzip" | "x-gzip"));
        let forbidden = parts.any(|part| {
            part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q == 0.0))
        });
        named && !forbidden
    })
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// Unpacks a gzip body as it arrives, handing on what comes out; the receiver's limit on what it
/// takes is the limit on a bomb (F38).
#[derive(Debug)]
pub struct Gunzip<F: FnMut(&[u8]) -> Result<(), String>> {
    decoder: GzDecoder<Sink<F>>,
}

#[derive(Debug)]
struct Sink<F>(F);

impl<F: FnMut(&[u8]) -> Result<(), String>> Write for Sink<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.0)(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<F: FnMut(&[u8]) -> Result<(), String>> Gunzip<F> {
    /// Hands what is unpacked to `receive`.
    pub fn new(receive: F) -> Self {
        Self { decoder: GzDecoder::new(Sink(receive)) }
    }

    /// Unpacks a further piece.
    ///
    /// # Errors
    ///
    /// The text of the receiver's error, or what is wrong with the compression.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), String> {
        self.decoder.write_all(piece).map_err(|error| error.to_string())
    }

    /// Checks that the compressed body was whole.
    ///
    /// # Errors
    ///
    /// As [`Gunzip::feed`].
    pub fn finish(mut self) -> Result<(), String> {
        self.decoder.try_finish().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept_encoding: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, accept_encoding.parse().unwrap());
        headers
    }

    #[test]
    fn negotiates_gzip() {
        let check = |text, expected| assert_eq!(accepts_gzip(&headers(text)), expected, "{text}");
        check("gzip", true);
        check("deflate, gzip;q=0.5", true);
        check("gzip;q=0", false);
        check("identity", false);
        check("", false);
    }

    #[test]
    fn packs_and_unpacks_in_pieces() {
        let body = "up 1\n".repeat(10_000);
        let packed = gzip(body.as_bytes()).unwrap();
        let mut out = Vec::new();
        let mut gunzip = Gunzip::new(|bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        });
        packed.chunks(7).for_each(|piece| gunzip.feed(piece).unwrap());
        gunzip.finish().unwrap();
        assert_eq!(out, body.as_bytes());
    }

    #[test]
    fn a_bomb_stops_at_the_receivers_limit() {
        let packed = gzip(&vec![b'x'; 64 << 20]).unwrap();
        let mut taken = 0;
        let mut gunzip = Gunzip::new(|bytes| {
            taken += bytes.len();
            if taken > 1 << 20 { Err("too much".to_owned()) } else { Ok(()) }
        });
        assert_eq!(gunzip.feed(&packed).unwrap_err(), "too much");
        drop(gunzip);
        assert!(taken < 2 << 20);
    }

    #[test]
    fn a_truncated_body_is_an_error() {
        let packed = gzip(b"up 1\n").unwrap();
        let mut gunzip = Gunzip::new(|_| Ok(()));
        gunzip.feed(&packed[..packed.len() - 6]).unwrap();
        assert!(gunzip.finish().is_err());
    }
}
