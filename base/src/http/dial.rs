//! Opening TCP connections.
//!
//! A peer on this host has mostly taken the connection by the time it was asked for it, so that is
//! looked at before anybody is told to wait; and whoever only wants to know that there is a
//! connection has no use for somebody who watches it. Both together are a tenth of what it costs to
//! look whether a port is open.
//!
//! Invariant: nothing here blocks, and what is said of a connection that failed names its address.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream as Plain};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use tokio::net::TcpStream;

use super::failure::{ClientError, Failure};

/// A connection that was opened and is not used yet. Dropped, it is closed.
#[derive(Debug)]
pub struct Opened(State);

#[derive(Debug)]
enum State {
    /// Nobody watches it.
    Plain(Plain),
    /// The runtime does, since it had to be waited for.
    Watched(TcpStream),
}

impl Opened {
    /// The connection for whoever wants to talk; within a runtime.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch it: the system has no memory for that.
    pub fn into_stream(self) -> io::Result<TcpStream> {
        match self.0 {
            State::Plain(socket) => TcpStream::from_std(socket),
            State::Watched(socket) => Ok(socket),
        }
    }
}

/// Opens a connection to `address`, from `source` where that is said.
///
/// # Errors
///
/// [`ClientError`] of the connection; `source` is not ours.
pub async fn open(source: Option<IpAddr>, address: SocketAddr) -> Result<Opened, ClientError> {
    open_at(source, address).await.map_err(|error| failure(source, address, &error))
}

async fn open_at(source: Option<IpAddr>, address: SocketAddr) -> io::Result<Opened> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if let Some(source) = source {
        bind(&socket, &SocketAddr::new(source, 0))?;
    }
    let is_open = match connect(&socket, &address) {
        Ok(()) => true,
        Err(Errno::INPROGRESS) => {
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let mut waited = [PollFd::new(&socket, PollFlags::OUT)];
            // Where it cannot be looked at it is waited for.
            let is_over = poll(&mut waited, Some(&at_once)).is_ok_and(|ready| ready > 0);
            if waited[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                socket_error(&socket)??;
            }
            is_over
        }
        Err(error) => return Err(error.into()),
    };
    let socket = Plain::from(socket);
    if is_open {
        return Ok(Opened(State::Plain(socket)));
    }
    let socket = TcpStream::from_std(socket)?;
    socket.writable().await?;
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(Opened(State::Watched(socket))),
    }
}

/// Opens a connection to the first of `addresses` that takes one.
///
/// # Errors
///
/// The failure of the last address.
pub async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, ClientError> {
    let mut failure = ClientError::new(Failure::NoSuchName, "no address");
    for address in addresses {
        match dial_from(None, *address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// As [`dial`], to one address, from `source` where that is said.
///
/// # Errors
///
/// [`ClientError`] of the connection; `source` is not ours.
pub async fn dial_from(
    source: Option<IpAddr>,
    address: SocketAddr,
) -> Result<TcpStream, ClientError> {
    let opened = open(source, address).await?;
    opened.into_stream().map_err(|error| failure(source, address, &error))
}

fn failure(source: Option<IpAddr>, address: SocketAddr, error: &io::Error) -> ClientError {
    let doing = match source {
        Some(source) => format!("connect to {address} from {source}"),
        None => format!("connect to {address}"),
    };
    ClientError::from_io(&doing, error)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_port_of_this_host_is_open_without_waiting_and_can_be_talked_to() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let address = listener.local_addr().unwrap();
            // Not at the first try where the kernel is busy.
            let (opened, theirs) = loop {
                let opened = open(None, address).await.unwrap();
                let (theirs, _) = listener.accept().unwrap();
                if matches!(opened.0, State::Plain(_)) {
                    break (opened, theirs);
                }
            };
            let mut ours = opened.into_stream().unwrap();
            theirs.set_nonblocking(true).unwrap();
            let mut theirs = TcpStream::from_std(theirs).unwrap();
            theirs.write_all(b"hi").await.unwrap();
            let mut said = [0; 2];
            ours.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"hi");
        }
    }

    #[tokio::test]
    async fn from_where_it_is_said_or_not_at_all() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = dial_from(Some("127.0.0.7".parse().unwrap()), address).await.unwrap();
        assert_eq!(socket.local_addr().unwrap().ip().to_string(), "127.0.0.7");
        let foreign = open(Some("192.0.2.1".parse().unwrap()), address).await.unwrap_err();
        let expected = format!("connect to {address} from 192.0.2.1: ");
        assert!(foreign.to_string().starts_with(&expected), "{foreign}");
    }

    #[tokio::test]
    async fn a_port_that_is_closed_is_refused_and_the_next_address_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open_port = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed_port = closed.local_addr().unwrap();
        drop(closed);
        let refused = open(None, closed_port).await.unwrap_err();
        assert_eq!(refused.kind, Failure::Refused, "{refused}");
        assert!(
            refused.to_string().starts_with(&format!("connect to {closed_port}: ")),
            "{refused}"
        );
        assert_eq!(dial(&[closed_port, open_port]).await.unwrap().peer_addr().unwrap(), open_port);
    }

    /// A listener whose queue is full leaves whoever comes without an answer, until there is room.
    #[tokio::test]
    async fn one_that_does_not_answer_at_once_is_waited_for() {
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        let waiting = loop {
            let mut next = Box::pin(open(None, address));
            match timeout(Duration::from_millis(50), next.as_mut()).await {
                Ok(opened) => held.push(opened.unwrap()),
                Err(_) => break next,
            }
            assert!(held.len() < 16, "the queue of one takes all");
        };
        while listener.accept().is_ok() {}
        let opened = timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
        assert!(matches!(opened.0, State::Watched(_)));
        drop(held);
    }
}
