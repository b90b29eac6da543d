//! The `grpc` prober: the health that a server tells of one of its services.
//!
//! Invariant: what is measured of the call is told only where a call was tried.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Stopwatch;
use base::http::HeaderMap;
use base::http::client::{Client, TlsSession};
use tokio_util::sync::CancellationToken;

use super::{Seen, chain, timed_out};
use crate::grpc::call::{Answer, Call};
use crate::grpc::{DEADLINE_EXCEEDED, measure};
use crate::guard::{Guard, Way};
use crate::network::{Failed, Metrics, reason_of};
use crate::target::HostPort;
use crate::wire::Duplex;

/// The `grpc` section of a module, as meant.
#[derive(Debug)]
pub(super) struct GrpcModule {
    pub(super) way: Way,
    pub(super) service: String,
    /// With whom the connection is encrypted, where it is.
    pub(super) tls: Option<Client>,
    pub(super) metadata: HeaderMap,
}

/// The module aimed at a server.
#[derive(Debug)]
pub(super) struct GrpcShot {
    module: Arc<GrpcModule>,
    at: HostPort,
    guard: Guard,
}

impl GrpcModule {
    /// The port where a target names none.
    pub(super) fn port(&self) -> u16 {
        if self.tls.is_some() { 443 } else { 80 }
    }

    pub(super) fn aim(self: &Arc<Self>, at: HostPort, guard: Guard) -> GrpcShot {
        GrpcShot { module: Arc::clone(self), at, guard }
    }
}

/// How far a look has come.
#[derive(Default)]
struct Progress {
    dialled: Option<(SocketAddr, Duration)>,
    resolve: Option<Duration>,
    session: Option<TlsSession>,
    answer: Answer,
    waits_for: &'static str,
}

impl GrpcShot {
    pub(super) async fn look(&self, stop: &CancellationToken, watch: Stopwatch) -> Seen {
        let mut progress = Progress::default();
        let failed = match stop.run_until_cancelled(self.ask(&mut progress)).await {
            Some(result) => result.err(),
            None => {
                progress.answer.code = DEADLINE_EXCEEDED;
                Some(timed_out(progress.waits_for, watch))
            }
        };
        let metrics = self.measure(&progress, watch);
        let summary = format!("the service is SERVING, answered after {:.3} s", watch.seconds());
        let Progress { dialled, resolve, .. } = progress;
        Seen { failed, summary, dialled, resolve, metrics, has_address: true }
    }

    async fn ask(&self, progress: &mut Progress) -> Result<(), Failed> {
        progress.waits_for = "the name is not resolved";
        let watch = Stopwatch::start();
        let address = self.guard.choose(&self.at).await;
        progress.resolve = Some(watch.elapsed());
        let address = address?;
        progress.dialled = Some((address, watch.elapsed()));
        progress.waits_for = "there is no connection";
        let socket = self.guard.dial(address).await?;
        let stream: Box<dyn Duplex> = match &self.module.tls {
            None => Box::new(socket),
            Some(client) => {
                progress.waits_for = "the TLS handshake is not done";
                let socket = client.handshake(socket, &self.at.host).await;
                let socket = socket
                    .map_err(|error| Failed::new(reason_of(error.kind), error.to_string()))?;
                progress.session = Some(TlsSession::of(socket.get_ref().1));
                Box::new(socket)
            }
        };
        progress.waits_for = "the server has not answered";
        let HostPort { host, port } = &self.at;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let call = Call {
            authority: format!("{host}:{port}"),
            is_tls: self.module.tls.is_some(),
            service: self.module.service.clone(),
            metadata: self.module.metadata.clone(),
        };
        call.check(stream, &mut progress.answer).await
    }

    fn measure(&self, progress: &Progress, watch: Stopwatch) -> Metrics {
        let mut metrics = Metrics::default();
        let help = "Duration of gRPC request by phase";
        let name = "probe_grpc_duration_seconds";
        let Some((_, resolve)) = progress.dialled else {
            metrics.phases(name, help, &[("resolve", None)]);
            let help = "Response gRPC status code";
            metrics.gauge("probe_grpc_status_code", help, 0.0);
            let help = "Indicates if SSL was used for the connection";
            metrics.gauge("probe_grpc_ssl", help, 0.0);
            return metrics;
        };
        let check = watch.elapsed().checked_sub(resolve);
        metrics.phases(name, help, &[("resolve", Some(resolve)), ("check", check)]);
        // As blackbox_exporter has it, which knows the peer only of a call that was answered.
        let session = progress.session.as_ref().filter(|_| progress.answer.serving.is_some());
        measure(&progress.answer, session.is_some(), &mut metrics);
        if let Some(session) = session {
            chain::measure_leaf(session, &mut metrics);
        }
        metrics
    }
}
