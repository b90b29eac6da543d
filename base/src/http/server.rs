//! Serving until told to stop, to those whom the guard lets in.
//!
//! Invariant: at most [`Limits::connections`] connections are open, and of one address at most
//! [`Limits::connections_of_address`]; for one over, whoever waits longest gives way, and where all
//! are being answered it is told so and closed at once. Stopping waits for the answers that are being
//! made.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::crowd::Crowd;
use super::io::{LimitedIo, Phase};
use super::web::{Guard, Secured, Web};
use crate::supervisor::Supervisor;

/// What a peer may take of our time and memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest that a TLS handshake may take.
    pub handshake: Duration,
    /// The longest that a request's head may take from its first byte.
    pub head: Duration,
    /// The longest that a connection may do nothing between two requests.
    pub idle: Duration,
    /// The longest that a peer may leave an answer unread.
    pub write: Duration,
    /// The most connections at a time.
    pub connections: usize,
    /// The most of them from one address; of IPv6, from one network of 64 bits.
    pub connections_of_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            // Longer than the usual scrape interval, so that its connection is kept.
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
            connections: 512,
            connections_of_address: 128,
        }
    }
}

/// The largest head of a request.
const MAX_HEAD: usize = 64 << 10;

/// Why there is nothing to serve on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct ListenError {
    address: SocketAddr,
    reason: String,
}

/// Opens the port.
///
/// # Errors
///
/// The port is in use or may not be opened.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "the port is in use; stop what uses it, or choose another with --listen".to_owned()
            }
            _ => error.to_string(),
        };
        ListenError { address, reason }
    })
}

/// Answers every request on `listener` that `guard` lets in by `handler` until the supervisor's
/// scope stops.
///
/// Each connection is a task of that scope; the scope's grace is how long answers that are being
/// made may still take.
pub async fn serve<H, F, B>(
    listener: TcpListener,
    limits: Limits,
    guard: Arc<Guard>,
    supervisor: Supervisor,
    handler: H,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let crowd = Crowd::new(limits.connections, limits.connections_of_address);
    let stop = supervisor.stop_token().clone();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: it passes when connections close.
                warn!(%error, "cannot accept a connection");
                crowd.relieve();
                stop.run_until_cancelled(sleep(Duration::from_millis(50))).await;
                continue;
            }
        };
        let (phase, leave) = (Phase::default(), stop.child_token());
        let Some(seat) = crowd.enter(peer.ip(), phase.clone(), leave.clone()) else {
            debug!(%peer, "too many connections");
            // To one that speaks TLS there is nothing to say before its handshake.
            if !guard.current().has_tls() {
                supervisor.spawn("refuse", refuse(socket));
            }
            continue;
        };
        let (handler, guard, stop) = (handler.clone(), Arc::clone(&guard), stop.clone());
        supervisor.spawn("connection", async move {
            // A small answer goes out at once.
            let _ = socket.set_nodelay(true);
            let web = guard.current();
            let handshake = guard.handshake(&web, socket, limits.handshake);
            let (guard, web) = (Arc::clone(&guard), Arc::clone(&web));
            let door =
                Door { guard, web: Arc::clone(&web), peer, phase, leave: leave.clone(), stop };
            match leave.run_until_cancelled(handshake).await {
                Some(Ok(Secured::Plain(socket))) => {
                    connection(socket, door, limits, handler).await;
                }
                Some(Ok(Secured::Tls(socket))) => {
                    connection(*socket, door, limits, handler).await;
                }
                Some(Err(error)) => debug!(%peer, %error, "handshake failed"),
                None => {}
            }
            drop(seat);
        });
    }
}

/// Says that there is no room, to a peer that gets a second to read it.
async fn refuse(mut socket: TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let send = async {
        socket.write_all(ANSWER).await?;
        socket.shutdown().await
    };
    // Whoever does not take it learns from the closed connection.
    let _ = timeout(Duration::from_secs(1), send).await;
}

/// Where a connection came in.
struct Door {
    guard: Arc<Guard>,
    /// The settings under which its handshake was.
    web: Arc<Web>,
    peer: SocketAddr,
    /// Whether it is being answered.
    phase: Phase,
    /// Cancelled when it is to give way, or when all stops.
    leave: CancellationToken,
    /// Cancelled when all stops.
    stop: CancellationToken,
}

async fn connection<S, H, F, B>(socket: S, door: Door, limits: Limits, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Door { guard, web, peer, phase, leave, stop } = door;
    let io = LimitedIo::new(socket, phase.clone(), limits.idle, limits.head, limits.write);
    let is_answered = phase.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        phase.busy();
        let (handler, phase) = (handler.clone(), phase.clone());
        let (guard, web) = (Arc::clone(&guard), Arc::clone(&web));
        // Where such a body ends is not judged by us as well; what follows it is not listened to.
        let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
        async move {
            let admitted = guard.admit(request.uri().path(), request.headers()).await;
            let mut answer = match admitted {
                Ok(()) => handler(request, peer).await.map(Either::Right),
                Err(refusal) => refusal.map(Either::<Full<Bytes>, B>::Left),
            };
            guard.finish(&web, answer.headers_mut());
            if is_last {
                let close = header::HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            phase.idle();
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // LimitedIo has the stricter limit; this one would close idle connections too.
        .header_read_timeout(limits.idle + limits.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = leave.cancelled() => {
            if !stop.is_cancelled() && !is_answered.is_busy() {
                debug!(%peer, "connection gave way to another");
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%peer, %error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::http::{StatusCode, answer};
    use crate::own_metrics::OwnMetrics;

    async fn start(limits: Limits) -> (SocketAddr, Supervisor) {
        let supervisor = Supervisor::new();
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = |request: Request<Incoming>, _| async move {
            if request.uri().path() == "/slow" {
                sleep(Duration::from_millis(300)).await;
            }
            let size = if request.uri().path() == "/big" { 64 << 20 } else { 2 };
            answer(StatusCode::OK, "text/plain", Bytes::from(vec![b'x'; size]))
        };
        let scope = supervisor.clone();
        let guard = Arc::new(Guard::new(Web::open().unwrap(), "http", &OwnMetrics::new()));
        supervisor.spawn("server", serve(listener, limits, guard, scope, handler));
        (address, supervisor)
    }

    fn short() -> Limits {
        let brief = Duration::from_millis(200);
        Limits { handshake: brief, head: brief, idle: brief, write: brief, ..Limits::default() }
    }

    /// Sends `bytes` and returns what comes back until the server closes.
    async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let reading = timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await;
        let _ = reading.expect("the server closes the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn answers_and_then_closes_an_idle_connection() {
        let (address, _supervisor) = start(short()).await;
        let answer = talk(address, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("xx"), "{answer}");
    }

    #[tokio::test]
    async fn closes_a_head_that_does_not_end() {
        let (address, _supervisor) = start(short()).await;
        assert_eq!(talk(address, b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await, "");
    }

    #[tokio::test]
    async fn closes_a_connection_that_does_not_read() {
        let (address, _supervisor) = start(short()).await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        sleep(Duration::from_millis(600)).await;
        let mut taken = Vec::new();
        let _ = timeout(Duration::from_secs(5), socket.read_to_end(&mut taken)).await.unwrap();
        assert!(taken.len() < 64 << 20, "the whole answer was kept for a reader that never read");
    }

    #[tokio::test]
    async fn refuses_one_connection_too_many() {
        let (address, _supervisor) = start(Limits { connections: 1, ..Limits::default() }).await;
        let held = talk(address, b"GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let late = async {
            sleep(Duration::from_millis(100)).await;
            talk(address, b"").await
        };
        let (held, late) = tokio::join!(held, late);
        assert!(late.starts_with("HTTP/1.1 503"), "{late}");
        assert!(held.ends_with("xx"), "{held}");
    }

    #[tokio::test]
    async fn one_that_waits_gives_way_f52() {
        let (address, _supervisor) = start(Limits { connections: 2, ..Limits::default() }).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        assert!(talk(address, request).await.ends_with("xx"));
        let gone = timeout(Duration::from_secs(5), first.read(&mut [0])).await.unwrap();
        assert!(matches!(gone, Ok(0) | Err(_)), "{gone:?}");
    }

    #[tokio::test]
    async fn nothing_follows_a_body_in_chunks_x35() {
        let (address, _supervisor) = start(Limits::default()).await;
        let request = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
                        0\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let answers = talk(address, request).await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    }

    #[tokio::test]
    async fn stopping_waits_for_an_answer_that_is_being_made() {
        let (address, supervisor) = start(Limits::default()).await;
        let request = talk(address, b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n");
        let stop = async {
            sleep(Duration::from_millis(100)).await;
            supervisor.shutdown(Duration::from_secs(5)).await;
        };
        let (answer, ()) = tokio::join!(request, stop);
        assert!(answer.ends_with("xx"), "{answer}");
    }

    #[tokio::test]
    async fn says_that_the_port_is_in_use() {
        let first = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = listen(first.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("the port is in use"), "{error}");
    }
}
