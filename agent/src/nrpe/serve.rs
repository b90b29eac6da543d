//! Answering one query a connection, until told to stop.
//!
//! ```text
//! connection ─▶ allowed? ─▶ handshake ─▶ query ─▶ slot ─▶ command ─▶ answer, end
//! ```
//!
//! Invariant: a connection lasts no longer than its limits and its command's timeout; a client that
//! leaves ends its command; nobody keeps others out by connections that ask for nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::http::crowd::{Crowd, Phase};
use base::http::server::{ListenError, listen};
use base::http::web::{Guard, Secured};
use base::own_metrics::{IntCounterVec, OwnMetrics};
use base::supervisor::Supervisor;
use probes::Status;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Nrpe;
use super::packet::{self, Query};

/// The longest that a handshake, a query or the taking of an answer may take each.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most connections at a time. For one more, whoever has not asked for the longest time makes room;
/// where all have asked it is closed.
const CONNECTIONS: usize = 256;
/// The most of them from one address: as many commands as one Nagios may run at a time.
const CONNECTIONS_OF_ADDRESS: usize = 64;
/// How long a command that was told to stop has to end.
const GRACE: Duration = Duration::from_secs(5);
/// What a client asks for to hear that we are there.
const HELLO: &str = "_NRPE_CHECK";

/// The listener, which a reload may change, open or close.
pub(crate) struct NrpeListener {
    around: Supervisor,
    scripts: Arc<ArcSwap<Semaphore>>,
    metrics: OwnMetrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    server: Option<Arc<Server>>,
    running: Option<(SocketAddr, Supervisor)>,
}

/// What all connections share.
struct Server {
    nrpe: ArcSwap<Nrpe>,
    guard: Arc<Guard>,
    scripts: Arc<ArcSwap<Semaphore>>,
    requests: IntCounterVec,
}

/// Where a connection came in.
struct Door {
    peer: SocketAddr,
    /// Whether a query of it is being answered.
    phase: Phase,
    /// Cancelled when it is to give way, or when all stops.
    leave: CancellationToken,
}

impl NrpeListener {
    /// One that listens nowhere yet. Commands take their slots from `scripts`.
    pub(crate) fn new(
        around: &Supervisor,
        scripts: Arc<ArcSwap<Semaphore>>,
        metrics: &OwnMetrics,
    ) -> Self {
        Self { around: around.clone(), scripts, metrics: metrics.clone(), state: Mutex::default() }
    }

    /// From now on answers what `nrpe` says, or nothing.
    ///
    /// # Errors
    ///
    /// The port cannot be had; then nothing has changed.
    pub(crate) async fn take(&self, nrpe: Option<Nrpe>) -> Result<(), ListenError> {
        let mut state = self.state.lock().await;
        let Some(nrpe) = nrpe else {
            if let Some((_, scope)) = state.running.take() {
                scope.shutdown(GRACE).await;
            }
            return Ok(());
        };
        let address = nrpe.listen;
        let same = state.running.as_ref().is_some_and(|(before, _)| *before == address);
        let listener = if same { None } else { Some(listen(address).await?) };
        let server = match &state.server {
            Some(server) => {
                server.guard.replace(nrpe.web.clone());
                server.nrpe.store(Arc::new(nrpe));
                Arc::clone(server)
            }
            None => Arc::new(self.server(nrpe)),
        };
        state.server = Some(Arc::clone(&server));
        if let Some(listener) = listener {
            if let Some((_, scope)) = state.running.take() {
                scope.shutdown(GRACE).await;
            }
            let scope = self.around.child();
            let (watched, address_had) = (Arc::clone(&server.guard), listener.local_addr());
            scope.supervise("nrpe-files", move |stop| {
                let guard = Arc::clone(&watched);
                async move {
                    guard.watch(stop).await;
                    Ok(())
                }
            });
            scope.spawn("nrpe", server.serve(listener, scope.clone()));
            let shown = address_had.unwrap_or(address);
            info!("answering check_nrpe on {shown}");
            state.running = Some((address, scope));
        }
        Ok(())
    }

    fn server(&self, nrpe: Nrpe) -> Server {
        let help = "Queries of check_nrpe, by their result: the status of the command, or why none \
                    was run.";
        Server {
            guard: Arc::new(Guard::new(nrpe.web.clone(), "nrpe", &self.metrics)),
            nrpe: ArcSwap::from_pointee(nrpe),
            scripts: Arc::clone(&self.scripts),
            requests: self.metrics.counters("veilleur_nrpe_requests_total", help, &["result"]),
        }
    }
}

impl Server {
    async fn serve(self: Arc<Self>, listener: TcpListener, supervisor: Supervisor) {
        let crowd = Crowd::new(CONNECTIONS, CONNECTIONS_OF_ADDRESS);
        let stop = supervisor.stop_token().clone();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept a connection of check_nrpe");
                    crowd.relieve();
                    stop.run_until_cancelled(sleep(Duration::from_millis(200))).await;
                    continue;
                }
            };
            let nrpe = self.nrpe.load_full();
            if !nrpe.allows(peer.ip()) {
                self.count("not-allowed");
                // Every minute or so in the log of whoever has forgotten an address.
                debug!(%peer, "it may not ask; `allowed` does not name it");
                continue;
            }
            let door = Door { peer, phase: Phase::default(), leave: stop.child_token() };
            let seat = crowd.enter(peer.ip(), door.phase.clone(), door.leave.clone());
            let Some(seat) = seat else {
                self.count("busy");
                continue;
            };
            let (server, stop) = (Arc::clone(&self), stop.clone());
            supervisor.spawn("nrpe-connection", async move {
                server.connection(socket, &door, &nrpe, &stop).await;
                drop(seat);
            });
        }
    }

    fn count(&self, result: &str) {
        self.requests.with_label_values(&[result]).inc();
    }

    /// Counts a connection that was asked to leave for another, where it was not for our own end.
    fn gave_way(&self, stop: &CancellationToken) {
        if !stop.is_cancelled() {
            self.count("gave-way");
        }
    }

    async fn connection(
        &self,
        socket: TcpStream,
        door: &Door,
        nrpe: &Nrpe,
        stop: &CancellationToken,
    ) {
        let _ = socket.set_nodelay(true);
        let (web, peer) = (self.guard.current(), door.peer);
        let shaken = self.guard.handshake(&web, socket, PATIENCE);
        match door.leave.run_until_cancelled(shaken).await {
            Some(Ok(Secured::Plain(socket))) => self.talk(socket, door, nrpe, stop).await,
            Some(Ok(Secured::Tls(socket))) => self.talk(*socket, door, nrpe, stop).await,
            Some(Err(error)) => debug!(%peer, %error, "handshake with check_nrpe failed"),
            None => self.gave_way(stop),
        }
    }

    /// Reads a query and answers it. What is no query is not answered.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        door: &Door,
        nrpe: &Nrpe,
        stop: &CancellationToken,
    ) {
        let (read, peer) = (timeout(PATIENCE, packet::read(&mut stream)), door.peer);
        let query = match door.leave.run_until_cancelled(read).await {
            Some(Ok(Ok(query))) => query,
            Some(Ok(Err(fault))) => {
                self.count("malformed");
                debug!(%peer, %fault, "a packet of check_nrpe is not answered");
                return;
            }
            Some(Err(_)) => return self.count("too-slow"),
            None => return self.gave_way(stop),
        };
        door.phase.busy();
        let Some((status, text)) = self.answer(&mut stream, &query, nrpe, stop).await else {
            return self.count("left");
        };
        let packet = packet::answer(query.version, status.code(), &text);
        let send = async {
            stream.write_all(&packet).await?;
            stream.shutdown().await
        };
        // Whoever does not take it asks again.
        let _ = timeout(PATIENCE, send).await;
    }

    /// The answer; none where the client has left.
    async fn answer<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        query: &Query,
        nrpe: &Nrpe,
        stop: &CancellationToken,
    ) -> Option<(Status, String)> {
        let unknown = |result: &str, text: String| {
            self.count(result);
            Some((Status::Unknown, text))
        };
        if query.text == HELLO {
            self.count("hello");
            let text = concat!("NRPE v4.1.0 (veilleur-agent ", env!("CARGO_PKG_VERSION"), ")");
            return Some((Status::Ok, text.to_owned()));
        }
        if query.text.contains('!') {
            let text = "arguments are refused; declare a command that has them".to_owned();
            return unknown("arguments", text);
        }
        let Some(command) = nrpe.commands.get(&query.text) else {
            // Whatever was sent is not sent back: it may be read as something else.
            return unknown("no-such-command", "there is no such command".to_owned());
        };
        let waiting = timeout(nrpe.timeout, self.scripts.load_full().acquire_owned());
        let slot = tokio::select! {
            slot = waiting => slot,
            () = left(stream) => return None,
            () = stop.cancelled() => return None,
        };
        let Ok(Ok(_slot)) = slot else {
            let text = format!("no slot for a script was free within {:?}", nrpe.timeout);
            return unknown("busy", text);
        };
        let time_up = stop.child_token();
        let run = command.answer(&time_up);
        tokio::pin!(run);
        let mut here = true;
        tokio::select! {
            (status, text) = run.as_mut() => {
                self.count(status.as_str());
                return Some((status, text));
            }
            () = sleep(nrpe.timeout) => {}
            () = left(stream) => here = false,
        }
        time_up.cancel();
        let (status, text) = run.await;
        self.count(status.as_str());
        here.then_some((status, text))
    }
}

impl Nrpe {
    fn allows(&self, address: IpAddr) -> bool {
        let named = |allowed: &Vec<super::Network>| allowed.iter().any(|one| one.has(address));
        self.allowed.as_ref().is_none_or(named)
    }
}

/// Waits until the client has hung up. What it still sends is padding.
async fn left(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 64];
    while stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
}
