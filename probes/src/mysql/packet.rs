//! The packets of MySQL's protocol, and its proofs of a password.
//!
//! Invariant: packets come in order; one out of turn is not taken.

use std::borrow::BorrowMut;

use ring::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use crate::Reason;
use crate::text::shown_line;
use crate::wire::{Failed, Wire};

/// A connection that speaks in numbered packets.
pub(super) struct Packets<W = Wire> {
    pub(super) wire: W,
    next: u8,
}

impl<W: BorrowMut<Wire>> Packets<W> {
    pub(super) fn new(wire: W) -> Self {
        Self { wire, next: 0 }
    }

    /// Begins a new command.
    pub(super) fn begin(&mut self) {
        self.next = 0;
    }

    pub(super) async fn send(&mut self, body: &[u8]) -> Result<(), Failed> {
        let mut head = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        head[3] = self.next;
        self.next = self.next.wrapping_add(1);
        self.wire.borrow_mut().send(&[&head, body].concat()).await
    }

    pub(super) async fn receive(&mut self) -> Result<Vec<u8>, Failed> {
        let wire: &mut Wire = self.wire.borrow_mut();
        let head = wire.peek(4).await?;
        let (length, number) = ([head[0], head[1], head[2], 0], head[3]);
        if number != self.next {
            let said = wire.unread().to_vec();
            return Err(Failed::protocol("MySQL", &said));
        }
        self.next = self.next.wrapping_add(1);
        wire.exact(4).await?;
        wire.exact(u32::from_le_bytes(length) as usize).await.and_then(|body| {
            // No packet of the server is empty.
            if body.is_empty() { Err(Failed::protocol("MySQL", b"")) } else { Ok(body) }
        })
    }
}

/// What a server says first.
pub(super) struct Greeting {
    pub(super) version: Vec<u8>,
    pub(super) capabilities: u32,
    pub(super) salt: Vec<u8>,
    pub(super) method: Vec<u8>,
}

impl Greeting {
    pub(super) fn decode(packet: &[u8]) -> Option<Self> {
        let rest = packet.strip_prefix(&[10])?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let version = rest[..end].to_vec();
        // Thread, salt, a zero, capabilities, character set, status, capabilities, length.
        let rest = rest.get(end + 1 + 4..)?;
        let mut salt = rest.get(..8)?.to_vec();
        let low = rest.get(9..11)?;
        let high = rest.get(14..16)?;
        let capabilities = u32::from_le_bytes([low[0], low[1], high[0], high[1]]);
        let length = usize::from(*rest.get(16)?);
        let rest = rest.get(27..)?;
        let more = length.saturating_sub(8).max(13);
        let second = rest.get(..more)?;
        salt.extend_from_slice(second.strip_suffix(b"\0").unwrap_or(second));
        let method = rest[more..].split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        Some(Self { version, capabilities, salt, method })
    }
}

impl Packets {
    /// Whether the packet tells of an error, as the first may: too many connections, say.
    pub(super) fn checked(packet: Vec<u8>) -> Result<Vec<u8>, Failed> {
        if packet.first() == Some(&0xff) { Err(error(&packet)) } else { Ok(packet) }
    }
}

/// The failure that a packet tells of.
pub(super) fn error(packet: &[u8]) -> Failed {
    let Some(code) = packet.get(1..3) else { return Failed::protocol("MySQL", packet) };
    let code = u16::from_le_bytes([code[0], code[1]]);
    let text = &packet[3..];
    // "#28000Access denied ..."
    let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    let reason = match code {
        1044 | 1045 | 1130 | 1251 | 1698 => Reason::AuthenticationFailed,
        1040 | 1053 | 1129 | 1203 => Reason::NotServing,
        _ => Reason::ErrorAnswer,
    };
    Failed::new(reason, format!("the server answers {code}: {}", shown_line(text, 300)))
}

/// What proves that we know the password; nothing for a method that is not known.
pub(super) fn proof(method: &[u8], salt: &[u8], password: &str) -> Option<Vec<u8>> {
    let algorithm = match method {
        b"mysql_native_password" => &SHA1_FOR_LEGACY_USE_ONLY,
        b"caching_sha2_password" => &SHA256,
        _ => return None,
    };
    if password.is_empty() {
        return Some(Vec::new());
    }
    let hash = |parts: &[&[u8]]| digest::digest(algorithm, &parts.concat());
    let once = hash(&[password.as_bytes()]);
    let twice = hash(&[once.as_ref()]);
    let mask = match method {
        b"mysql_native_password" => hash(&[salt, twice.as_ref()]),
        _ => hash(&[twice.as_ref(), salt]),
    };
    Some(once.as_ref().iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect())
}

/// The first column of a row; nothing where it is NULL.
pub(super) fn first_column(packet: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = match packet.split_first()? {
        (0xfc, rest) => {
            (usize::from(u16::from_le_bytes(*rest.first_chunk::<2>()?)), rest.get(2..)?)
        }
        (length, rest) if *length < 0xfb => (usize::from(*length), rest),
        // What is so long is no number.
        _ => return None,
    };
    rest.get(..length).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_greeting() {
        let mut packet =
            b"\x0a10.11-MariaDB\0\x01\0\0\0abcdefgh\0\xfe\xf7\x21\x02\0\xff\x81\x15".to_vec();
        packet.extend_from_slice(&[0; 10]);
        packet.extend_from_slice(b"ijklmnopqrst\0mysql_native_password\0");
        let greeting = Greeting::decode(&packet).unwrap();
        assert_eq!(greeting.version, b"10.11-MariaDB");
        assert_eq!(greeting.capabilities, 0x81ff_f7fe);
        assert_eq!(greeting.salt, b"abcdefghijklmnopqrst");
        assert_eq!(greeting.method, b"mysql_native_password");
        for end in 0..50 {
            assert!(Greeting::decode(&packet[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn reads_the_first_column() {
        assert_eq!(first_column(b"\x0242\x01x").as_deref(), Some(&b"42"[..]));
        assert_eq!(first_column(b"\xfb"), None);
        assert_eq!(first_column(b"\xfc\x02\x0042").as_deref(), Some(&b"42"[..]));
        assert_eq!(first_column(b"\x0542"), None);
        assert_eq!(first_column(b""), None);
    }
}
