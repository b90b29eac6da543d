//! Posting to a service over HTTP.
//!
//! Invariant: no redirect is followed, at most [`MAX_ANSWER`] of the answer is read, and the
//! address, which may hold a secret, is never part of an error.

use base::http::client::{Failure, Origin, Phases};
use base::http::{Full, HeaderMap, Method, Request, Uri, header};
use base::secret::Secret;
use bytes::Bytes;

use super::notifier::DeliveryError;
use base::http::access::HttpAccess;

/// What is read of an answer.
const MAX_ANSWER: usize = 64 << 10;

/// What a service answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// Sends `body` to `url`.
///
/// # Errors
///
/// There was no answer. An answer of whatever status is for the caller to judge.
pub(super) async fn post(
    access: &HttpAccess,
    url: &Secret,
    content_type: &'static str,
    body: Vec<u8>,
) -> Result<Answer, DeliveryError> {
    let uri: Uri = url
        .expose()
        .parse()
        .map_err(|_| DeliveryError::permanent("the configured address is no URL"))?;
    let origin = Origin::of(&uri)
        .map_err(|_| DeliveryError::permanent("the configured address is no http URL"))?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::USER_AGENT, concat!("veilleur/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| DeliveryError::permanent(error.to_string()))?;
    access.identify(request.headers_mut()).map_err(DeliveryError::transient)?;

    let mut phases = Phases::default();
    let failed = |error: base::http::client::ClientError| match error.kind {
        Failure::Address => DeliveryError::permanent("the configured address is no http URL"),
        _ => DeliveryError::transient(error.to_string()),
    };
    let mut connection = access.client.connect(&origin, &mut phases).await.map_err(failed)?;
    let answer = connection.send(request, &mut phases).await.map_err(failed)?;
    let (head, mut incoming) = answer.into_parts();
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ANSWER {
        match connection.next(&mut incoming).await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            // The status is known; that the rest of the text broke off changes nothing.
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(MAX_ANSWER);
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}
