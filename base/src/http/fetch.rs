//! One request with its whole answer, for those who ask seldom and read little.
//!
//! Invariant: an answer is read up to a limit and within a time; what says who we are follows no
//! redirect to another host.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::access::HttpAccess;
use super::client::{Connection, Origin, Phases};
use super::{Body, Full, HeaderMap, Method, Request, Response, StatusCode, Uri, header};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Sends `request` as `access` says and reads at most `limit` bytes of its answer `within` a time.
///
/// # Errors
///
/// There was no whole answer, and why. A status that is no success is an answer.
pub async fn fetch(
    access: &HttpAccess,
    request: Request<Full<Bytes>>,
    limit: usize,
    within: Duration,
) -> Result<Answer, String> {
    let asking = async {
        let (mut connection, response) = open(access, request).await?;
        whole(&mut connection, response, limit).await
    };
    match timeout(within, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no complete answer within {within:?}")),
    }
}

/// Sends `request` as `access` says, following redirects of what is only asked for, and gives the
/// answer whose body is still to be read from the connection.
///
/// # Errors
///
/// There was no answer, and why.
pub async fn open(
    access: &HttpAccess,
    mut request: Request<Full<Bytes>>,
) -> Result<(Connection, Response<Body>), String> {
    access.prepare().await?;
    let first = origin(request.uri())?;
    for _ in 0..=MAX_REDIRECTS {
        let (to, mut sent) = (origin(request.uri())?, request.clone());
        if to == first {
            access.identify(sent.headers_mut())?;
        }
        let mut phases = Phases::default();
        let connection = access.client.connect(&to, &mut phases).await;
        let mut connection = connection.map_err(|error| error.to_string())?;
        let response = connection.send(sent, &mut phases).await.map_err(|e| e.to_string())?;
        if response.status() == StatusCode::UNAUTHORIZED {
            access.was_refused();
        }
        let follows = access.follows && *request.method() == Method::GET;
        match response.headers().get(header::LOCATION) {
            Some(location) if follows && response.status().is_redirection() => {
                let location = location.to_str().map_err(|_| "a redirect leads nowhere")?;
                *request.uri_mut() = resolved(request.uri(), location)?;
            }
            _ => return Ok((connection, response)),
        }
    }
    Err(format!("more than {MAX_REDIRECTS} redirects"))
}

/// Reads the whole of an answer, at most `limit` bytes of it.
///
/// # Errors
///
/// It broke off, or is longer.
pub async fn whole(
    connection: &mut Connection,
    response: Response<Body>,
    limit: usize,
) -> Result<Answer, String> {
    let (head, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(piece) = connection.next(&mut body).await.map_err(|e| e.to_string())? {
        if bytes.len() + piece.len() > limit {
            return Err(format!("the answer is longer than {limit} bytes"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Answer { status: head.status, headers: head.headers, body: bytes.freeze() })
}

fn origin(uri: &Uri) -> Result<Origin, String> {
    Origin::of(uri).map_err(|error| error.to_string())
}

/// Where `location` leads from `base`.
///
/// # Errors
///
/// Nowhere.
pub fn resolved(base: &Uri, location: &str) -> Result<Uri, String> {
    let scheme = base.scheme_str().unwrap_or("http");
    let host = base.authority().map_or("", |authority| authority.as_str());
    let absolute = match location {
        l if l.starts_with("//") => format!("{scheme}:{l}"),
        l if l.starts_with('/') => format!("{scheme}://{host}{l}"),
        l if l.contains("://") => l.to_owned(),
        l => {
            let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{host}{folder}/{l}")
        }
    };
    absolute.parse().map_err(|_| "a redirect leads to no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_against_where_they_come_from() {
        let check = |location: &str, expected: &str| {
            let base: Uri = "https://h:8443/a/b?c".parse().unwrap();
            assert_eq!(resolved(&base, location).unwrap().to_string(), expected, "{location}");
        };
        check("/x", "https://h:8443/x");
        check("x?y", "https://h:8443/a/x?y");
        check("//other/x", "https://other/x");
        check("http://other:1/x", "http://other:1/x");
        assert!(resolved(&"http://h/".parse().unwrap(), "/\u{7f} ").is_err());
    }
}
