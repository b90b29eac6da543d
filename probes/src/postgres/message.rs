//! The messages of PostgreSQL's protocol 3.
//!
//! Invariant: an error that the server sends is never taken for something else.

use crate::Reason;
use crate::text::shown_line;
use crate::wire::{Failed, Wire};

/// A message: what kind it is, and what is in it.
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

pub(super) async fn send(wire: &mut Wire, kind: u8, body: &[u8]) -> Result<(), Failed> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    wire.send(&[&[kind], &length.to_be_bytes()[..], body].concat()).await
}

/// The next message; one that tells of an error is a failure.
pub(super) async fn receive(wire: &mut Wire) -> Result<Message, Failed> {
    let kind = wire.peek(1).await?[0];
    if !b"RSZKNvEDTCI".contains(&kind) {
        let said = wire.unread().to_vec();
        return Err(Failed::protocol("PostgreSQL", &said));
    }
    let head = wire.exact(5).await?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let Some(length) = length.checked_sub(4) else {
        return Err(Failed::protocol("PostgreSQL", &head));
    };
    let body = wire.exact(length).await?;
    if kind == b'E' { Err(error(&body)) } else { Ok(Message { kind, body }) }
}

fn error(body: &[u8]) -> Failed {
    let (mut code, mut message) = (String::new(), String::new());
    for field in body.split(|byte| *byte == 0).filter(|field| !field.is_empty()) {
        match field[0] {
            b'C' => code = shown_line(&field[1..], 10),
            b'M' => message = shown_line(&field[1..], 300),
            _ => {}
        }
    }
    let reason = match code.as_str() {
        // Starting, stopping, too many connections.
        "57P01" | "57P02" | "57P03" | "53300" => Reason::NotServing,
        code if code.starts_with("28") => Reason::AuthenticationFailed,
        _ => Reason::ErrorAnswer,
    };
    Failed::new(reason, format!("the server answers {code}: {message}"))
}

/// What is in a message, from the start.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next text, up to its NUL.
    pub(super) fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        text
    }

    /// The first column of a row; nothing where it is NULL or there is none.
    pub(super) fn first_column(&self) -> Option<Vec<u8>> {
        let rest = self.0.get(2..)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        // -1 is NULL.
        let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
        rest.get(..length).map(<[u8]>::to_vec)
    }
}
