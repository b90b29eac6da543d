//! Packets of NRPE, versions 2, 3 and 4.
//!
//! ```text
//! all     version u16 │ type u16 │ checksum u32 │ result u16 │ ...
//! 2                                             ... │ 1024 bytes of text │ 2 of padding
//! 3 and 4                                       ... │ u16 unused │ length u32 │ text
//! ```
//!
//! All numbers are big-endian, a text ends at its first zero byte, and the checksum (CRC-32) is of the
//! whole packet with zeros in its own place. In version 3 it is taken of three zero bytes more, which
//! some clients send and some do not.
//!
//! Invariant: no packet, whatever it says of itself, takes more than 64 KiB.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

const QUERY: u16 = 1;
const RESPONSE: u16 = 2;
/// What all versions begin with.
const HEAD: usize = 10;
/// The text of version 2, and its padding.
const OLD_TEXT: usize = 1024;
const OLD_PADDING: usize = 2;
/// The most of a text.
const MAX_TEXT: usize = 64 << 10;

/// The version of a packet; the answer to it has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Two,
    Three,
    Four,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) version: Version,
    pub(super) text: String,
}

/// Why a packet is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum PacketFault {
    #[error("it broke off: {0}")]
    Broken(#[from] io::Error),
    #[error("packets of version {0} are not known")]
    Version(u16),
    #[error("it is not a query but of type {0}")]
    Kind(u16),
    #[error("it says that its text has {0} bytes")]
    TooLong(u32),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its text is not UTF-8 or has no end")]
    Text,
}

/// Reads a query. Takes as long as the peer does.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Query, PacketFault> {
    let mut packet = vec![0; HEAD];
    stream.read_exact(&mut packet).await?;
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (version, kind) = (number(0), number(2));
    let version = match version {
        2 => Version::Two,
        3 => Version::Three,
        4 => Version::Four,
        other => return Err(PacketFault::Version(other)),
    };
    if kind != QUERY {
        return Err(PacketFault::Kind(kind));
    }
    let checksum = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
    packet[4..8].fill(0);
    let text_at = if version == Version::Two {
        packet.resize(HEAD + OLD_TEXT + OLD_PADDING, 0);
        stream.read_exact(&mut packet[HEAD..]).await?;
        HEAD
    } else {
        let mut rest = [0; 6];
        stream.read_exact(&mut rest).await?;
        packet.extend_from_slice(&rest);
        let length = u32::from_be_bytes([rest[2], rest[3], rest[4], rest[5]]);
        let taken = usize::try_from(length).ok().filter(|length| *length <= MAX_TEXT);
        let taken = taken.ok_or(PacketFault::TooLong(length))?;
        let text_at = packet.len();
        packet.resize(text_at + taken, 0);
        stream.read_exact(&mut packet[text_at..]).await?;
        text_at
    };
    let end = packet.len();
    if version == Version::Three {
        packet.resize(end + 3, 0);
    }
    if crc32fast::hash(&packet) != checksum {
        return Err(PacketFault::Checksum);
    }
    let end = if version == Version::Two { text_at + OLD_TEXT } else { end };
    let text = packet[text_at..end].split_once_zero().ok_or(PacketFault::Text)?;
    let text = std::str::from_utf8(text).map_err(|_| PacketFault::Text)?.to_owned();
    Ok(Query { version, text })
}

trait SplitOnceZero {
    /// What stands before the first zero byte.
    fn split_once_zero(&self) -> Option<&[u8]>;
}

impl SplitOnceZero for [u8] {
    fn split_once_zero(&self) -> Option<&[u8]> {
        self.iter().position(|byte| *byte == 0).map(|end| &self[..end])
    }
}

/// The answer to a packet of `version`: the exit code of a plugin, and what it printed, of which
/// version 2 holds 1,023 bytes.
pub(super) fn answer(version: Version, code: u8, text: &str) -> Vec<u8> {
    let most = if version == Version::Two { OLD_TEXT - 1 } else { MAX_TEXT - 1 };
    let end = (0..=text.len().min(most)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    // A zero byte would end it there, for whoever reads it.
    let text = text[..end].replace('\0', " ");
    let number: u16 = match version {
        Version::Two => 2,
        Version::Three => 3,
        Version::Four => 4,
    };
    let mut packet = Vec::with_capacity(HEAD + 6 + text.len() + 4);
    packet.extend_from_slice(&number.to_be_bytes());
    packet.extend_from_slice(&RESPONSE.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&u16::from(code).to_be_bytes());
    if version == Version::Two {
        packet.extend_from_slice(text.as_bytes());
        packet.resize(HEAD + OLD_TEXT + OLD_PADDING, 0);
    } else {
        let length = u32::try_from(text.len() + 1).unwrap_or(u32::MAX);
        packet.extend_from_slice(&[0; 2]);
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(text.as_bytes());
        packet.push(0);
        if version == Version::Three {
            packet.extend_from_slice(&[0; 3]);
        }
    }
    let checksum = crc32fast::hash(&packet);
    packet[4..8].copy_from_slice(&checksum.to_be_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query as `check_nrpe` would send it.
    fn query(version: Version, text: &[u8]) -> Vec<u8> {
        let mut packet = answer(version, 0, &"x".repeat(1_019));
        packet[4..8].fill(0);
        packet[3] = 1;
        let at = if version == Version::Two { HEAD } else { HEAD + 6 };
        packet[at..at + 1_020].fill(0);
        packet[at..at + text.len()].copy_from_slice(text);
        let checksum = crc32fast::hash(&packet);
        packet[4..8].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    async fn read_all(packet: &[u8]) -> Result<Query, PacketFault> {
        read(&mut &packet[..]).await
    }

    #[tokio::test]
    async fn reads_what_is_asked_in_every_version() {
        for version in [Version::Two, Version::Three, Version::Four] {
            let packet = query(version, b"check_load");
            let expected = Query { version, text: "check_load".to_owned() };
            assert_eq!(read_all(&packet).await.unwrap(), expected);
            for at in [0, 2, 4, 7, 9, 20, packet.len() - 4] {
                let mut broken = packet.clone();
                broken[at] ^= 0x41;
                assert!(read_all(&broken).await.is_err(), "{version:?} {at}");
            }
            for end in [0, 1, 9, 10, 15, 16, 100, packet.len() - 4] {
                let broken = read_all(&packet[..end]).await;
                assert!(matches!(broken, Err(PacketFault::Broken(_))), "{version:?} {end}");
            }
        }
        // Without the bytes that some clients leave out.
        let packet = query(Version::Three, b"x");
        assert!(read_all(&packet[..packet.len() - 3]).await.is_ok());
    }

    #[tokio::test]
    async fn a_packet_does_not_get_more_memory_than_there_is_for_it() {
        for length in [MAX_TEXT as u32 + 1, u32::MAX] {
            let mut packet = query(Version::Four, b"x");
            packet[12..16].copy_from_slice(&length.to_be_bytes());
            let told = read_all(&packet).await;
            assert!(matches!(told, Err(PacketFault::TooLong(l)) if l == length), "{told:?}");
        }
        let mut packet = query(Version::Four, b"\xff\xfe");
        assert!(matches!(read_all(&packet).await, Err(PacketFault::Text)));
        packet = query(Version::Four, &[b'x'; 1_020]);
        assert!(matches!(read_all(&packet).await, Err(PacketFault::Text)));
    }

    #[test]
    fn answers_have_the_size_that_their_version_has() {
        let check = |version, text: &str, size: usize| {
            let packet = answer(version, 2, text);
            assert_eq!(packet.len(), size, "{version:?} {}", text.len());
            let mut zeroed = packet.clone();
            zeroed[4..8].fill(0);
            assert_eq!(packet[4..8], crc32fast::hash(&zeroed).to_be_bytes());
            assert_eq!(packet[8..10], [0, 2]);
        };
        check(Version::Two, "ok", 1_036);
        check(Version::Two, &"é".repeat(5_000), 1_036);
        check(Version::Three, "ok", 16 + 3 + 3);
        check(Version::Four, "ok", 16 + 3);
        check(Version::Four, &"x".repeat(100_000), 16 + MAX_TEXT);
        check(Version::Four, "", 17);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_bad_to_be_refused(bytes: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            assert!(runtime.block_on(read(&mut &bytes[..])).is_err());
        }
    }
}
