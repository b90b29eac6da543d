//! Asking one address again and again, over one connection as long as it lasts.
//!
//! Invariant: an answer is read up to a limit and within a time; what follows an answer that was not
//! read to its end is never taken for the next.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::access::HttpAccess;
use super::client::{ClientError, Connection, Origin, Phases};
use super::{Full, HeaderMap, Request, StatusCode};

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as much of it as was asked for.
    pub text: String,
}

/// A way to one origin.
#[derive(Debug)]
pub struct Kept {
    access: HttpAccess,
    origin: Origin,
    connection: Option<Connection>,
}

impl Kept {
    /// A way to `origin`, as `access` says; nothing is opened yet.
    pub fn new(access: HttpAccess, origin: Origin) -> Self {
        Self { access, origin, connection: None }
    }

    /// Sends `request` and reads at most `most` bytes of its answer `within` a time.
    ///
    /// # Errors
    ///
    /// There was no answer, and why. A status that is no success is an answer.
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        most: usize,
        within: Duration,
    ) -> Result<Answer, String> {
        let answer = timeout(within, self.exchange(request, most)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {within:?}")));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn exchange(
        &mut self,
        mut request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<Answer, String> {
        self.access.prepare().await?;
        self.access.identify(request.headers_mut())?;
        let failed = |error: ClientError| error.to_string();
        let mut phases = Phases::default();
        let mut open = self.connection.take();
        if let Some(connection) = &mut open
            && !connection.is_open().await
        {
            open = None;
        }
        let mut connection = match open {
            Some(connection) => connection,
            None => self.access.client.connect(&self.origin, &mut phases).await.map_err(failed)?,
        };
        let response = connection.send(request, &mut phases).await.map_err(failed)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.access.was_refused();
        }
        let (head, mut incoming) = response.into_parts();
        let (mut text, mut whole) = (Vec::new(), true);
        while let Some(piece) = connection.next(&mut incoming).await.map_err(failed)? {
            text.extend_from_slice(&piece);
            if text.len() > most {
                text.truncate(most);
                whole = false;
                break;
            }
        }
        // What is left of an answer would be in the way of the next.
        self.connection = whole.then_some(connection);
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, text })
    }
}
