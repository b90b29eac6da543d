//! QUIC without tasks: a connection works only while somebody waits for it.
//!
//! ```text
//! quinn's tasks ─▶ Work ◀─ polled beside whatever is waited for
//!                   └─▶ Socket ─▶ the one address that was chosen
//! ```
//!
//! Invariant: datagrams go to the address that the socket is connected to and to no other, whatever
//! the peer proposes; and what a peer sends beyond what is asked of it is bounded.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::{Sleep, sleep_until};

use crate::Reason;
use crate::network::Failed;
use crate::session::unanswered;

/// What a peer may send beside the bodies that are read: heads, the frames of QUIC and of HTTP. HTTP/3
/// keeps a head until it is whole, however long it is.
const BESIDE: u64 = 4 << 20;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a connection has to do in the background.
pub(super) struct Work {
    begun: Arc<Begun>,
    running: Vec<Task>,
    socket: Arc<Socket>,
    delivered: u64,
}

impl Work {
    /// Nothing yet, over a socket that is connected to `peer`.
    pub(super) fn new(socket: UdpSocket, peer: SocketAddr) -> Self {
        let (failed, received) = (Mutex::default(), AtomicU64::new(0));
        let socket = Arc::new(Socket { socket, peer, failed, received });
        Self { begun: Arc::default(), running: Vec::new(), socket, delivered: 0 }
    }

    /// The end from which a connection is begun.
    pub(super) fn endpoint(&self) -> io::Result<quinn::Endpoint> {
        let socket = Arc::<Socket>::clone(&self.socket);
        let config = quinn::EndpointConfig::default();
        let begun = Arc::<Begun>::clone(&self.begun);
        quinn::Endpoint::new_with_abstract_socket(config, None, socket, begun)
    }

    /// Has `task` done as well.
    pub(super) fn begin(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.push(Box::pin(task));
    }

    /// Notes that `bytes` of a body were handed on.
    pub(super) fn delivered(&mut self, bytes: usize) {
        self.delivered += bytes as u64;
    }

    /// Waits for `wanted` while the connection does its work. Fails where the network says that
    /// nobody is there, or the peer sends more than anybody has asked for.
    pub(super) async fn beside<T>(&mut self, wanted: impl Future<Output = T>) -> Result<T, Failed> {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            self.poll(context);
            let result = wanted.as_mut().poll(context);
            // What was begun by that goes out at once.
            self.poll(context);
            match (result, self.fault()) {
                (Poll::Ready(result), _) => Poll::Ready(Ok(result)),
                (Poll::Pending, Some(failed)) => Poll::Ready(Err(failed)),
                (Poll::Pending, None) => Poll::Pending,
            }
        })
        .await
    }

    /// Sends what is still to be sent, and waits for nothing.
    pub(super) async fn flush(&mut self) {
        poll_fn(|context| {
            self.poll(context);
            Poll::Ready(())
        })
        .await;
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        loop {
            self.running.retain_mut(|task| task.as_mut().poll(context).is_pending());
            // What these have begun has not been asked yet.
            let mut begun = self.begun.0.lock().unwrap_or_else(PoisonError::into_inner);
            if begun.is_empty() {
                return;
            }
            self.running.append(&mut begun);
        }
    }

    fn fault(&self) -> Option<Failed> {
        let failed = self.socket.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = failed {
            return Some(unanswered(&error));
        }
        // What frames and packets are wrapped in is less than what they carry.
        let most = self.delivered.saturating_mul(2).saturating_add(BESIDE);
        if self.socket.received.load(Ordering::Relaxed) > most {
            let summary = "the peer sends far more than an answer";
            return Some(Failed::new(Reason::ProtocolError, summary));
        }
        None
    }
}

/// Tasks that were begun and not yet taken up; what QUIC knows of a runtime.
#[derive(Default)]
struct Begun(Mutex<Vec<Task>>);

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

impl Runtime for Begun {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer(Box::pin(sleep_until(at.into()))))
    }

    fn spawn(&self, task: Task) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        // Only our own sockets are used.
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[derive(Debug)]
struct Timer(Pin<Box<Sleep>>);

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.as_mut().reset(at.into());
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Future::poll(self.0.as_mut(), context)
    }
}

/// A socket that is connected, so that it hears one address only, and hears when nobody is there.
#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    peer: SocketAddr,
    /// What the network said, which is for whoever waits and not for QUIC.
    failed: Mutex<Option<io::Error>>,
    /// Bytes.
    received: AtomicU64,
}

impl Socket {
    /// Keeps an error that says that nobody is there; any other is a datagram that is lost.
    fn note(&self, error: io::Error) {
        let is_news = matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::PermissionDenied
        );
        if is_news {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.socket.try_send(transmit.contents) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) => {
                self.note(error);
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else {
            return Poll::Ready(Ok(0));
        };
        loop {
            let mut buffer = ReadBuf::new(buffer);
            match ready!(self.socket.poll_recv(context, &mut buffer)) {
                Ok(()) => {
                    let len = buffer.filled().len();
                    self.received.fetch_add(len as u64, Ordering::Relaxed);
                    *meta = RecvMeta { addr: self.peer, len, stride: len, ecn: None, dst_ip: None };
                    return Poll::Ready(Ok(1));
                }
                Err(error) => self.note(error),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

#[derive(Debug)]
struct Writable(Arc<Socket>);

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.socket.poll_send_ready(context)
    }
}
