//! How a stream of XMPP begins: its header, and STARTTLS.
//!
//! Invariant: before TLS nothing is said but that we want it.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::notifier::{DeliveryError, excerpt};
use super::xml::{Element, Event, Reader, escaped};

/// A connection before TLS.
pub(super) struct Plain<'a, R, W> {
    pub(super) reader: &'a mut R,
    pub(super) writer: &'a mut W,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Plain<'_, R, W> {
    /// Asks for TLS until the server agrees.
    pub(super) async fn start_tls(&mut self, domain: &str) -> Result<(), DeliveryError> {
        self.send(&header(domain)).await?;
        let mut reader = Reader::default();
        let features = self.element(&mut reader).await?;
        if features.child("starttls").is_none() {
            let reason = "the server offers no TLS, and no password is told without";
            return Err(DeliveryError::permanent(reason));
        }
        self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await?;
        match self.element(&mut reader).await?.name.as_str() {
            "proceed" => Ok(()),
            other => {
                let reason = format!("the server begins no TLS: `{}`", excerpt(other));
                Err(DeliveryError::transient(reason))
            }
        }
    }

    async fn send(&mut self, text: &str) -> Result<(), DeliveryError> {
        self.writer
            .write_all(text.as_bytes())
            .await
            .map_err(|error| DeliveryError::transient(format!("cannot write: {error}")))
    }

    /// The next element. Byte by byte: what follows the last of them is TLS.
    async fn element(&mut self, reader: &mut Reader) -> Result<Element, DeliveryError> {
        let mut bytes = Vec::new();
        loop {
            let more = complete(&mut bytes)?;
            match reader.next(&more).map_err(not_xmpp)? {
                Some(Event::Element(element)) => return Ok(element),
                Some(Event::Opened) => {}
                Some(Event::Closed) => {
                    return Err(DeliveryError::transient("the server closed the stream"));
                }
                None => match self.reader.read_u8().await {
                    Ok(byte) => bytes.push(byte),
                    Err(error) => {
                        let reason = format!("the connection broke: {error}");
                        return Err(DeliveryError::transient(reason));
                    }
                },
            }
        }
    }
}

pub(super) fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{}' version='1.0' xml:lang='en' \
         xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
        escaped(domain)
    )
}

/// Takes the whole characters out of `bytes`, and leaves the start of one that is not whole yet.
pub(super) fn complete(bytes: &mut Vec<u8>) -> Result<String, DeliveryError> {
    let whole = match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return Err(not_xmpp("it is not UTF-8".to_owned())),
    };
    let rest = bytes.split_off(whole);
    let text = std::mem::replace(bytes, rest);
    String::from_utf8(text).map_err(|_| not_xmpp("it is not UTF-8".to_owned()))
}

pub(super) fn not_xmpp(why: String) -> DeliveryError {
    DeliveryError::transient(format!("the answer is not that of XMPP: {}", excerpt(&why)))
}
