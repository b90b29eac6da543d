//! Requests that somebody on the way returns: no host there, no way to it, no more hops.
//!
//! Invariant: only what ends a request is told; what advises the kernel (a better way, less haste) is
//! not.

use std::io::IoSliceMut;
use std::net::IpAddr;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::libc::sock_extended_err;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

/// Whose word an entry of the queue is: not the kernel's own.
const FROM_V4: u8 = 2;
const FROM_V6: u8 = 3;

/// A request that came back in place of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    /// Which request.
    pub(crate) sequence: u16,
    /// The number of who sent it.
    pub(super) id: u16,
    /// Who says so, and what, for people.
    pub(crate) says: String,
}

/// Takes one entry from the queue of errors of a socket, with what is repeated of the request; nothing
/// where it ends no request.
pub(super) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<(Option<Returned>, &[u8]), Errno> {
    let mut control = nix::cmsg_space!(sock_extended_err, SockaddrStorage, i32);
    let (length, said) = {
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_ERRQUEUE;
        let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), flags)?;
        let said = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4RecvErr(error, from) => {
                let from = from.map(|from| IpAddr::from(from.sin_addr.s_addr.to_ne_bytes()));
                Some((error, from))
            }
            ControlMessageOwned::Ipv6RecvErr(error, from) => {
                Some((error, from.map(|from| IpAddr::from(from.sin6_addr.s6_addr))))
            }
            _ => None,
        });
        (message.bytes, said)
    };
    let quoted = buffer.get(..length).unwrap_or_default();
    let returned = said.zip(quoted.first_chunk::<8>()).and_then(|((error, from), head)| {
        let meaning = meaning(&error)?;
        let who = from.map_or_else(|| "somebody on the way".to_owned(), |from| from.to_string());
        Some(Returned {
            sequence: u16::from_be_bytes([head[6], head[7]]),
            id: u16::from_be_bytes([head[4], head[5]]),
            says: format!("{who} says: {meaning}"),
        })
    });
    Ok((returned, quoted))
}

/// The address in one of the system's.
pub(super) fn address(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = || storage.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    v4().or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
}

/// What a type and a code of ICMP say of a request; nothing of those that do not end it.
fn meaning(error: &sock_extended_err) -> Option<String> {
    let (kind, code) = (error.ee_type, error.ee_code);
    let text = match (error.ee_origin, kind, code) {
        (FROM_V4, 3, 0 | 6 | 11) => "the network is unreachable",
        (FROM_V4, 3, 1 | 7 | 8 | 12) | (FROM_V6, 1, 3) => "the host is unreachable",
        (FROM_V4, 3, 2) => "the protocol is unreachable",
        (FROM_V4, 3, 3) | (FROM_V6, 1, 4) => "the port is unreachable",
        (FROM_V4, 3, 4) | (FROM_V6, 2, _) => {
            return Some(format!("the packet is too large, {} bytes may pass", error.ee_info));
        }
        (FROM_V4, 3, 9 | 10 | 13) | (FROM_V6, 1, 1 | 5 | 6) => "it is prohibited",
        (FROM_V6, 1, 0) => "there is no route",
        (FROM_V4, 3, _) | (FROM_V6, 1, _) => return Some(format!("unreachable, by code {code}")),
        (FROM_V4, 11, 0) | (FROM_V6, 3, 0) => "the packet may go no further hop",
        (FROM_V4, 11, _) | (FROM_V6, 3, _) => "the pieces of the packet did not come in time",
        (FROM_V4, 12, _) | (FROM_V6, 4, _) => "the packet is malformed",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_request_is_told_and_advice_is_not() {
        let check = |ee_origin, ee_type, ee_code, expected: Option<&str>| {
            let (ee_errno, ee_pad, ee_info, ee_data) = (113, 0, 1280, 0);
            let error = sock_extended_err {
                ee_errno,
                ee_origin,
                ee_type,
                ee_code,
                ee_pad,
                ee_info,
                ee_data,
            };
            assert_eq!(meaning(&error).as_deref(), expected, "{ee_origin} {ee_type} {ee_code}");
        };
        check(FROM_V4, 3, 1, Some("the host is unreachable"));
        check(FROM_V4, 3, 13, Some("it is prohibited"));
        check(FROM_V4, 3, 77, Some("unreachable, by code 77"));
        check(FROM_V4, 3, 4, Some("the packet is too large, 1280 bytes may pass"));
        check(FROM_V4, 11, 0, Some("the packet may go no further hop"));
        check(FROM_V6, 3, 0, Some("the packet may go no further hop"));
        check(FROM_V6, 1, 0, Some("there is no route"));
        check(FROM_V6, 2, 0, Some("the packet is too large, 1280 bytes may pass"));
        // A redirect, a wish for less haste, something of today's kernel, of the kernel itself.
        check(FROM_V4, 5, 1, None);
        check(FROM_V4, 4, 0, None);
        check(FROM_V6, 137, 0, None);
        check(1, 3, 1, None);
    }
}
