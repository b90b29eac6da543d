//! A socket for echo requests: one that needs no rights where the system has them, else a raw one.
//!
//! ```text
//! request ──▶ the host        ──▶ reply                             Arrival::Reply
//!         ──▶ somebody before ──▶ unreachable, no more hops, ...    Arrival::Returned, by the error queue
//! ```
//!
//! Invariant: what comes out is about a request of this socket: a reply of the host that repeats all of
//! it, or what somebody on the way says has become of it.

mod returned;

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{
    Ipv4RecvErr, Ipv4RecvTtl, Ipv4Ttl, Ipv6RecvErr, Ipv6RecvHopLimit, Ipv6Ttl,
};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrStorage, bind, connect, recvmsg, setsockopt, socket,
};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

pub(crate) use self::returned::Returned;
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
    /// Who has to reply: others may, on a socket that needs no rights.
    peer: IpAddr,
    /// The kernel chooses the number of packets on a socket that needs no rights, and hands over
    /// nobody else's.
    raw: bool,
    /// Tells our packets from those of others on a raw socket.
    id: u16,
    /// The same, for a socket whose number the kernel chooses.
    token: [u8; 8],
    size: usize,
}

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Reply(Reply),
    Returned(Returned),
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
            setsockopt(&fd, Ipv4RecvErr, &true).map_err(failed)?;
            hop_limit.map_or(Ok(()), |ttl| setsockopt(&fd, Ipv4Ttl, &ttl)).map_err(failed)?;
        } else {
            setsockopt(&fd, Ipv6RecvHopLimit, &true).map_err(failed)?;
            setsockopt(&fd, Ipv6RecvErr, &true).map_err(failed)?;
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
        // To nowhere in particular is to ourselves.
        let peer = match address {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        Ok(Self { socket, peer, raw, id, token, size })
    }

    /// What stands behind the header of a request.
    fn payload(&self) -> Vec<u8> {
        let mut payload = self.token.to_vec();
        payload.resize(self.size.max(self.token.len()), b'v');
        payload
    }

    /// Sends a request.
    pub(crate) async fn send(&self, sequence: u16) -> Result<(), Failed> {
        let v4 = self.peer.is_ipv4();
        let mut packet = vec![if v4 { 8 } else { 128 }, 0, 0, 0];
        packet.extend_from_slice(&self.id.to_be_bytes());
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend(self.payload());
        // Of ICMPv6 the kernel makes it.
        if v4 {
            let sum = checksum(&packet).to_be_bytes();
            packet[2..4].copy_from_slice(&sum);
        }
        // The first call may fail by what was returned of a request before, which is still to be read.
        let mut sent = self.socket.send(&packet).await;
        if sent.is_err() {
            sent = self.socket.send(&packet).await;
        }
        sent.map(drop).map_err(|error| broken(&error))
    }

    /// Waits for what becomes of a request of ours.
    pub(crate) async fn receive(&self) -> Result<Arrival, Failed> {
        let mut buffer = vec![0; MAX_PACKET];
        // What was returned is no news to whoever waits for something to read only.
        let interest = Interest::READABLE | Interest::ERROR;
        loop {
            let read = self.socket.async_io(interest, || self.read(&mut buffer)).await;
            if let Some(arrival) = read.map_err(|error| broken(&error))? {
                return Ok(arrival);
            }
        }
    }

    /// Takes one packet from the system; nothing if it is not about us.
    fn read(&self, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
        let fd = self.socket.as_raw_fd();
        // First, since it fails calls otherwise.
        match returned::read(fd, buffer) {
            Ok((returned, quoted)) => {
                let ours = |returned: &Returned| self.is_ours(quoted, returned);
                return Ok(returned.filter(ours).map(Arrival::Returned));
            }
            Err(Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        let mut control = nix::cmsg_space!(i32);
        let mut slices = [IoSliceMut::new(buffer)];
        let message =
            recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), MsgFlags::empty())?;
        let hops = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                u8::try_from(hops).ok()
            }
            _ => None,
        });
        let from = message.address.as_ref().and_then(returned::address);
        let length = message.bytes;
        if from != Some(self.peer) {
            return Ok(None);
        }
        Ok(self.decode(&buffer[..length], hops).map(Arrival::Reply))
    }

    fn decode(&self, packet: &[u8], hop_limit: Option<u8>) -> Option<Reply> {
        let v4 = self.peer.is_ipv4();
        // A raw socket of IPv4 sees the packets' own headers, and nobody has added up what follows.
        let (packet, hop_limit) = if self.raw && v4 {
            let length = usize::from(packet.first()? & 0xf) * 4;
            let hop_limit = packet.get(8).copied();
            (packet.get(length..).filter(|packet| checksum(packet) == 0)?, hop_limit)
        } else {
            (packet, hop_limit)
        };
        let (head, payload) = packet.split_first_chunk::<8>()?;
        let is_reply = head[0] == if v4 { 0 } else { 129 } && head[1] == 0;
        let is_ours = !self.raw || head[4..6] == self.id.to_be_bytes();
        let sequence = u16::from_be_bytes([head[6], head[7]]);
        let whole = is_reply && is_ours && payload == self.payload();
        whole.then_some(Reply { sequence, hop_limit })
    }

    /// Whether a request that was returned, of which the beginning was repeated, is ours.
    fn is_ours(&self, quoted: &[u8], returned: &Returned) -> bool {
        let known = quoted.len().saturating_sub(8).min(self.token.len());
        let payload = quoted.get(8..8 + known).unwrap_or_default();
        (!self.raw || returned.id == self.id) && payload == &self.token[..known]
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
