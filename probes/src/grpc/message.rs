//! The messages of `grpc.health.v1`, and how gRPC frames a message.
//!
//! Invariant: a message is decoded only when it is whole, and none is longer than [`MAX`].

use prost::Message;

/// The longest message that is read; a right one has two bytes.
pub(super) const MAX: usize = 64 << 10;
/// A flag, and the length in four bytes.
const HEAD: usize = 5;

/// What is asked.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

/// What is answered.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// Why the bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadMessage {
    #[error("the answer has no message")]
    Missing,
    #[error("the answer breaks off within a message")]
    Short,
    #[error("the answer has more than one message")]
    Long,
    #[error("the message is compressed, which was not asked for")]
    Compressed,
    #[error("the message is no HealthCheckResponse")]
    Undecodable,
}

/// The request in its frame.
pub(super) fn framed(service: &str) -> Vec<u8> {
    let message = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend(message);
    framed
}

/// Whether the frame that `bytes` begin announces a message longer than any that is read.
pub(super) fn announces_too_much(bytes: &[u8]) -> bool {
    length(bytes).is_some_and(|length| length > MAX)
}

fn length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(1..HEAD)?.first_chunk::<4>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

/// The number of the status in the one message that `bytes` are.
pub(super) fn read(bytes: &[u8]) -> Result<i32, BadMessage> {
    if bytes.is_empty() {
        return Err(BadMessage::Missing);
    }
    let length = length(bytes).ok_or(BadMessage::Short)?;
    let message = &bytes[HEAD..];
    match message.len() {
        got if got < length => return Err(BadMessage::Short),
        got if got > length => return Err(BadMessage::Long),
        _ => {}
    }
    if bytes[0] != 0 {
        return Err(BadMessage::Compressed);
    }
    let response = HealthCheckResponse::decode(message).map_err(|_| BadMessage::Undecodable)?;
    Ok(response.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<i32, BadMessage>) {
        assert_eq!(read(bytes), expected, "{bytes:?}");
    }

    #[test]
    fn reads_one_whole_message() {
        check(b"\0\0\0\0\x02\x08\x01", Ok(1));
        check(b"\0\0\0\0\0", Ok(0));
        check(b"\0\0\0\0\x03\x08\xff\x01", Ok(255));
        check(b"", Err(BadMessage::Missing));
        check(b"\0\0\0", Err(BadMessage::Short));
        check(b"\0\0\0\0\x02\x08", Err(BadMessage::Short));
        check(b"\0\0\0\0\x02\x08\x01\0", Err(BadMessage::Long));
        check(b"\x01\0\0\0\x02\x08\x01", Err(BadMessage::Compressed));
        check(b"\0\0\0\0\x01\xff", Err(BadMessage::Undecodable));
        check(b"\0\xff\xff\xff\xff\x08", Err(BadMessage::Short));
    }

    #[test]
    fn a_request_names_the_service() {
        assert_eq!(framed(""), b"\0\0\0\0\0");
        assert_eq!(framed("ab"), b"\0\0\0\0\x04\x0a\x02ab");
        assert!(announces_too_much(b"\0\0\x02\0\0"));
        assert!(!announces_too_much(b"\0\0\0\0\x02"));
    }
}
