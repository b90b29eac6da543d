//! A connection that pages are asked for on, whatever it runs over.
//!
//! Invariant: what differs between the versions of HTTP is known here and below, not to who asks.

use std::net::SocketAddr;

use base::http::client::{Connection, Phases, TlsSession};
use base::http::{Full, Request, Response};
use bytes::Bytes;
use hyper::body::Incoming;

use super::fetch::failed;
use super::three::Three;
use crate::network::Failed;

/// A connection.
pub(super) enum Line {
    /// HTTP/1.1 or HTTP/2 over TCP.
    Stream(Connection),
    /// HTTP/3 over QUIC.
    Three(Box<Three>),
}

/// The body of an answer.
pub(super) enum Body {
    Stream(Incoming),
    /// The connection has it.
    Three,
}

impl Line {
    /// The address that was really dialled.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Stream(connection) => connection.peer,
            Self::Three(three) => Some(three.peer),
        }
    }

    /// What was agreed on, where it is encrypted.
    pub(super) fn tls(&self) -> Option<&TlsSession> {
        match self {
            Self::Stream(connection) => connection.tls.as_ref(),
            Self::Three(three) => Some(&three.tls),
        }
    }

    /// Sends `request` and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        phases: &mut Phases,
    ) -> Result<Response<Body>, Failed> {
        match self {
            Self::Stream(connection) => {
                let answer = connection.send(request, phases).await.map_err(failed)?;
                Ok(answer.map(Body::Stream))
            }
            // Apart, so that those who speak over TCP need no room for it.
            Self::Three(three) => {
                let answer = Box::pin(three.send(request, phases)).await?;
                Ok(answer.map(|()| Body::Three))
            }
        }
    }

    /// The next piece of an answer's body, nothing at its end.
    pub(super) async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, Failed> {
        match (self, body) {
            (Self::Stream(connection), Body::Stream(body)) => {
                connection.next(body).await.map_err(failed)
            }
            (Self::Three(three), _) => Box::pin(three.next()).await,
            (Self::Stream(_), Body::Three) => Ok(None),
        }
    }

    /// Ends it; over TCP it ends by itself.
    pub(super) async fn close(self) {
        if let Self::Three(three) = self {
            Box::pin(three.close()).await;
        }
    }
}
