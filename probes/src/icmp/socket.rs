//! A socket for echo requests: one that needs no rights where the system has them, else a raw one.
//!
//! Invariant: what comes out is an echo reply to a request of this socket.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv4RecvTtl, Ipv4Ttl, Ipv6RecvHopLimit, Ipv6Ttl};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrStorage, bind, connect, recvmsg, setsockopt, socket,
};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::Reason;
use crate::wire::Failed;

/// The largest packet that is read.
const MAX_PACKET: usize = 65_536;

/// How packets are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EchoOptions {
    /// Bytes in a packet beside the headers.
    pub(crate) size: usize,
    /// How many hops a packet may go; the system's where nothing is said.
    pub(crate) hops: Option<u8>,
    /// From which of our addresses.
    pub(crate) source: Option<IpAddr>,
    /// Nobody on the way may cut a packet into pieces.
    pub(crate) whole: bool,
}

/// An open socket to one address.
pub(crate) struct EchoSocket {
    /// tokio's type for a socket that sends and receives packets; this one speaks ICMP.
    socket: UdpSocket,
    v4: bool,
    /// A raw socket of IPv4 sees the packets' own headers.
    with_header: bool,
    /// Tells our packets from those of others on a raw socket.
    id: u16,
    /// The same, for a socket whose number the kernel chooses.
    token: [u8; 8],
    size: usize,
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) sequence: u16,
    /// How many further hops it could have gone.
    pub(crate) hop_limit: Option<u8>,
}

impl EchoSocket {
    /// Opens a socket for packets to `address`.
    pub(crate) fn open(
        address: IpAddr,
        options: &EchoOptions,
        random: [u8; 10],
    ) -> Result<Self, Failed> {
        let EchoOptions { size, hops, source, whole } = *options;
        let v4 = address.is_ipv4();
        let (fd, raw) = match create(v4, SockType::Datagram) {
            Ok(fd) => (fd, false),
            Err(Errno::EACCES | Errno::EPERM) => {
                (create(v4, SockType::Raw).map_err(forbidden)?, true)
            }
            Err(error) => return Err(failed(error)),
        };
        let destination = SockaddrStorage::from(SocketAddr::new(address, 0));
        let hop_limit = hops.map(i32::from);
        if v4 {
            setsockopt(&fd, Ipv4RecvTtl, &true).map_err(failed)?;
            hop_limit.map_or(Ok(()), |ttl| setsockopt(&fd, Ipv4Ttl, &ttl)).map_err(failed)?;
        } else {
            setsockopt(&fd, Ipv6RecvHopLimit, &true).map_err(failed)?;
            hop_limit.map_or(Ok(()), |ttl| setsockopt(&fd, Ipv6Ttl, &ttl)).map_err(failed)?;
        }
        if whole {
            let whole = match v4 {
                true => set_ip_mtu_discover(&fd, Ipv4PathMtuDiscovery::DO),
                false => set_ipv6_mtu_discover(&fd, Ipv6PathMtuDiscovery::DO),
            };
            whole.map_err(|error| broken(&error.into()))?;
        }
        if let Some(source) = source {
            let source = SockaddrStorage::from(SocketAddr::new(source, 0));
            bind(fd.as_raw_fd(), &source).map_err(failed)?;
        }
        connect(fd.as_raw_fd(), &destination).map_err(failed)?;
        let socket = std::net::UdpSocket::from(fd);
        let socket = UdpSocket::from_std(socket).map_err(|error| broken(&error))?;
        let id = u16::from_be_bytes([random[0], random[1]]);
        let mut token = [0; 8];
        token.copy_from_slice(&random[2..]);
        Ok(Self { socket, v4, with_header: v4 && raw, id, token, size })
    }

    /// Sends a request.
    pub(crate) async fn send(&self, sequence: u16) -> Result<(), Failed> {
        let mut packet = vec![if self.v4 { 8 } else { 128 }, 0, 0, 0];
        packet.extend_from_slice(&self.id.to_be_bytes());
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&self.token);
        packet.resize(8 + self.size.max(self.token.len()), b'v');
        // Of ICMPv6 the kernel makes it.
        if self.v4 {
            let sum = checksum(&packet).to_be_bytes();
            packet[2..4].copy_from_slice(&sum);
        }
        self.socket.send(&packet).await.map_err(|error| broken(&error))?;
        Ok(())
    }

    /// Waits for a reply to a request of ours.
    pub(crate) async fn receive(&self) -> Result<Reply, Failed> {
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            let read = self.socket.async_io(Interest::READABLE, || self.read(&mut buffer)).await;
            let (length, hop_limit) = read.map_err(|error| broken(&error))?;
            if let Some(reply) = self.decode(&buffer[..length], hop_limit) {
                return Ok(reply);
            }
        }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<u8>)> {
        let mut control = nix::cmsg_space!(i32);
        let mut slices = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let message =
            recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), MsgFlags::empty())?;
        let hops = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                u8::try_from(hops).ok()
            }
            _ => None,
        });
        Ok((message.bytes, hops))
    }

    fn decode(&self, packet: &[u8], hop_limit: Option<u8>) -> Option<Reply> {
        let (packet, hop_limit) = if self.with_header {
            let length = usize::from(packet.first()? & 0xf) * 4;
            (packet.get(length..)?, packet.get(8).copied())
        } else {
            (packet, hop_limit)
        };
        let is_reply = *packet.first()? == if self.v4 { 0 } else { 129 };
        let ours = packet.get(8..16)? == self.token;
        let sequence = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]);
        (is_reply && ours).then_some(Reply { sequence, hop_limit })
    }
}

fn create(v4: bool, kind: SockType) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    match v4 {
        true => socket(AddressFamily::Inet, kind, flags, SockProtocol::Icmp),
        false => socket(AddressFamily::Inet6, kind, flags, SockProtocol::IcmpV6),
    }
}

fn forbidden(error: Errno) -> Failed {
    let summary = format!(
        "the system does not let us send echo requests: {error}; let our group do so by the sysctl \
         `net.ipv4.ping_group_range`, or give the agent CAP_NET_RAW"
    );
    Failed::new(Reason::PermissionDenied, summary)
}

fn failed(error: Errno) -> Failed {
    broken(&io::Error::from(error))
}

fn broken(error: &io::Error) -> Failed {
    let mut failed = crate::session::unanswered(error);
    if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) {
        failed = Failed::new(Reason::Unreachable, "the packet is too large for the way there");
    }
    failed
}

/// The sum of RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in packet.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_packet_with_its_sum_is_zero() {
        for length in [8, 9, 64, 1500] {
            let mut packet: Vec<u8> = (0..length).map(|n| n as u8).collect();
            packet[2..4].fill(0);
            let sum = checksum(&packet).to_be_bytes();
            packet[2..4].copy_from_slice(&sum);
            assert_eq!(checksum(&packet), 0, "{length}");
        }
    }
}
