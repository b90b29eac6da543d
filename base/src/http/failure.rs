//! How a request can fail, told apart by what was being done.
//!
//! Invariant: the kind says what went wrong, the message where; neither holds a secret.

use std::fmt;
use std::io;

use tokio_rustls::rustls;

/// A failure by what was being done, and what of it went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// What kind of failure it is.
    pub kind: Failure,
    message: String,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The address is none.
    Address,
    /// The name does not exist.
    NoSuchName,
    /// The name could not be resolved.
    Resolve,
    /// Nothing listens there.
    Refused,
    /// There is no way there.
    Unreachable,
    /// The peer hung up, before or in the middle of its answer.
    Reset,
    /// The certificate is past its time, or before it.
    Expired,
    /// The certificate is for another name.
    WrongName,
    /// The certificate is from nobody that we trust.
    Untrusted,
    /// The TLS handshake failed otherwise.
    Tls,
    /// What came back is not HTTP.
    Protocol,
    /// The proxy does not open a connection.
    Proxy,
    /// Nothing is to be sent there.
    Barred,
}

impl ClientError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: Failure, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    pub(super) fn from_io(doing: &str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Failure::Unreachable
            }
            _ => Failure::Reset,
        };
        Self::new(kind, format!("{doing}: {error}"))
    }

    pub(super) fn from_hyper(doing: &str, error: &hyper::Error) -> Self {
        let kind = match std::error::Error::source(error).and_then(|inner| inner.downcast_ref()) {
            _ if error.is_parse() => Failure::Protocol,
            // A peer may refuse us after the handshake: it wants another certificate of ours.
            Some(inner) if rustls_error(inner).is_some() => Failure::Tls,
            _ => Failure::Reset,
        };
        // hyper's own text says where it failed, its source says why.
        match std::error::Error::source(error) {
            Some(source) => Self::new(kind, format!("{doing}: {error}: {source}")),
            None => Self::new(kind, format!("{doing}: {error}")),
        }
    }
}

pub(super) fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
