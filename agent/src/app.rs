//! The agent's life: wiring, reload, end.
//!
//! ```text
//! load ─▶ listen ─▶ loops and server ─▶ ready ─▶ HUP: reload ─▶ TERM: not ready, loops end, server ends
//! ```
//!
//! Invariant: nothing runs before the configuration is right and the port is ours; a configuration
//! that is wrong changes nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use base::clock::Stopwatch;
use base::diagnostic::Diagnostics;
use base::http::server::{Limits, ListenError, listen, serve};
use base::http::web::Guard;
use base::memory;
use base::own_metrics::IntCounter;
use base::sample::Timestamp;
use base::signals::{Asked, Signals};
use base::supervisor::Supervisor;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{debug, error, info, warn};

use crate::config::{Config, Source, Terms};
use crate::host::HostNumbers;
use crate::keep::Keep;
use crate::nrpe::NrpeListener;
use crate::on_request::OnRequest;
use crate::results::{Results, Slot};
use crate::run::{self, ScriptSlots, WRAP_UP};
use crate::server::{Lifecycle, Reload, Shown, handle};
use crate::uplink::{self, Settings};

/// How long running checks have to end: their probes' own time, and a little.
const CHECKS_GRACE: Duration = Duration::from_millis(WRAP_UP.as_millis() as u64 + 1000);
/// How long the uplink has to put away what it has just collected.
const UPLINK_GRACE: Duration = Duration::from_secs(3);
/// How long answers that are being made have to end.
const SERVER_GRACE: Duration = Duration::from_secs(3);

/// Where the configuration is read from, and what the command line says beside it.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) source: Source,
    pub(crate) listen: Option<String>,
    pub(crate) insecure_listen: bool,
    pub(crate) web_file: Option<PathBuf>,
    pub(crate) blackbox: Option<PathBuf>,
    /// Nobody listens: the checks are run once.
    pub(crate) once: bool,
}

impl Origin {
    pub(crate) fn load(&self) -> Result<Config, Diagnostics> {
        self.source.load(Terms {
            listen: self.listen.as_deref(),
            insecure_listen: self.insecure_listen,
            web_file: self.web_file.as_deref(),
            blackbox: self.blackbox.as_deref(),
            once: self.once,
        })
    }
}

/// The running agent.
struct App {
    origin: Origin,
    /// Where we listen.
    address: SocketAddr,
    guard: Arc<Guard>,
    nrpe: NrpeListener,
    shown: Arc<Shown>,
    scripts: ScriptSlots,
    /// How many slots there are, taken or free.
    concurrency: AtomicUsize,
    keep: Arc<Keep>,
    /// The scope of all checks; each has one of its own inside.
    checks: Supervisor,
    scopes: Mutex<BTreeMap<Arc<str>, Supervisor>>,
    /// The scope around that of the uplink.
    everything: Supervisor,
    uplink: Mutex<Option<(Settings, Supervisor)>>,
}

/// Runs the agent with `config`, which was read from `origin`, until a signal ends it; `dropped` counts
/// what the log lost.
///
/// # Errors
///
/// The port cannot be had, or the system gives us no signals.
pub(crate) async fn run(
    origin: Origin,
    config: Config,
    dropped: &IntCounter,
) -> anyhow::Result<ExitCode> {
    // First of all: until then a signal ends us, also one that asks for something else.
    let mut signals = Signals::take().context("the system gives us no signals")?;
    let listener = listen(config.listen).await?;
    let address = listener.local_addr().context("the port that was opened has no address")?;

    let (checks, services) = (config.checks.len(), config.services.len());
    let (source, scheme) = (origin.source.name(), config.web.scheme());
    // Before any script runs: a group in which others are cannot be divided.
    match probes::script::use_cgroups() {
        Ok(place) => info!(place = %place.display(), "scripts run in control groups"),
        Err(why) => debug!(why, "scripts run without control groups"),
    }
    let (everything, app) = start(origin, config, listener, address).await?;
    app.shown.own().adopt(dropped);
    memory::give_back();
    info!(config = source, checks, services, "listening on {scheme}://{address}");
    if probes::script::run_as_root() {
        warn!("we run as root, and so do all scripts; a user of our own can do less harm");
    }
    // One request for a reload at a time; one more is refused.
    let (reload, mut reloads) = mpsc::channel(1);
    let _ = app.shown.lifecycle.set(Lifecycle { guard: Arc::clone(&app.guard), reload });
    loop {
        let answer: Option<oneshot::Sender<_>> = tokio::select! {
            asked = signals.next() => match asked {
                Asked::Reload => None,
                Asked::End => break,
            },
            Some(answer) = reloads.recv() => Some(answer),
        };
        let result = app.reload().await;
        if let Some(answer) = answer {
            // Whoever asked may be gone.
            let _ = answer.send(result);
        }
    }
    drop(reloads);

    info!("stopping");
    let watch = Stopwatch::start();
    app.shown.ready.store(false, Ordering::Release);
    let stop = async {
        app.checks.shutdown(CHECKS_GRACE).await;
        everything.shutdown(SERVER_GRACE).await;
    };
    tokio::select! {
        () = stop => info!(after = ?watch.elapsed(), "stopped"),
        () = signals.end() => return Ok(at_once()),
    }
    Ok(ExitCode::SUCCESS)
}

fn at_once() -> ExitCode {
    warn!("told again to stop: at once");
    probes::script::kill_all();
    ExitCode::FAILURE
}

/// Starts the loops and the server; returns the scope of everything.
///
/// # Errors
///
/// The port for `check_nrpe` cannot be had.
async fn start(
    origin: Origin,
    config: Config,
    listener: TcpListener,
    address: SocketAddr,
) -> anyhow::Result<(Supervisor, App)> {
    let everything = Supervisor::new();
    let results = Arc::new(Results::new(config.checks));
    let reload = Reload { source: origin.source.name(), taken: Timestamp::now(), faults: None };
    let host = HostNumbers::new(config.host);
    let shown = Arc::new(Shown::new(Arc::clone(&results), host, reload));
    let guard = Arc::new(Guard::new(config.web, "http", shown.own()).at(address, None));
    let scripts = Arc::new(ArcSwap::from_pointee(Semaphore::new(config.concurrency)));
    let nrpe = NrpeListener::new(&everything, Arc::clone(&scripts), shown.own());
    nrpe.take(config.nrpe).await?;
    let app = App {
        origin,
        keep: Arc::new(Keep::new(config.state)),
        address,
        guard: Arc::clone(&guard),
        nrpe,
        shown,
        concurrency: AtomicUsize::new(config.concurrency),
        scripts,
        checks: everything.child(),
        scopes: Mutex::default(),
        everything: everything.clone(),
        uplink: Mutex::default(),
    };
    app.shown.services.store(Arc::new(config.services));
    app.shown.blackbox.store(Arc::new(config.blackbox));
    let on_request = OnRequest::new(config.on_request, app.checks.clone());
    app.shown.on_request.store(Arc::new(on_request));
    app.shown.labels.store(Arc::new(config.labels.into_iter().collect()));
    app.keep.load(&results.slots());
    results.slots().iter().for_each(|slot| app.start_check(slot));
    let (keep, shown) = (Arc::clone(&app.keep), Arc::clone(&app.shown));
    let tidied = Arc::clone(&shown);
    everything.supervise("tidy", move |stop| {
        let shown = Arc::clone(&tidied);
        async move {
            run::tidy(|| shown.pages_asked(), stop).await;
            Ok(())
        }
    });
    everything.supervise("keep", move |stop| {
        let (keep, shown) = (Arc::clone(&keep), Arc::clone(&shown));
        async move {
            run::keep(&keep, &shown.results, &shown.news, stop).await;
            Ok(())
        }
    });
    if let Some(settings) = config.uplink {
        app.start_uplink(settings);
    }
    let (shown, scope) = (Arc::clone(&app.shown), everything.clone());
    let answer = move |request, peer| handle(Arc::clone(&shown), request, peer);
    let watching = Arc::clone(&guard);
    everything.supervise("web", move |stop| {
        let guard = Arc::clone(&watching);
        async move {
            guard.watch(stop).await;
            Ok(())
        }
    });
    everything.spawn("server", serve(listener, Limits::default(), guard, scope, answer));
    app.shown.ready.store(true, Ordering::Release);
    Ok((everything, app))
}

impl App {
    /// Starts the loop of a check, in a scope of its own.
    fn start_check(&self, slot: &Arc<Slot>) {
        let scope = self.checks.child();
        let (check, scripts) = (Arc::clone(slot), Arc::clone(&self.scripts));
        scope.supervise("check", move |stop| {
            run::run(Arc::clone(&check), Arc::clone(&scripts), stop)
        });
        let name = Arc::clone(&slot.check().name);
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner).insert(name, scope);
    }

    /// Starts to push, in a scope of its own.
    fn start_uplink(&self, settings: Settings) {
        let scope = self.everything.child();
        let (shown, own) = (Arc::clone(&self.shown), settings.clone());
        scope.supervise("uplink", move |stop| {
            let (shown, settings) = (Arc::clone(&shown), own.clone());
            async move {
                let families = |now| {
                    let shown = Arc::clone(&shown);
                    async move { shown.families(now).await }
                };
                let source = uplink::Source { families, outputs: || shown.outputs() };
                uplink::run(settings, shown.uplink().clone(), source, stop).await
            }
        });
        *self.uplink() = Some((settings, scope));
    }

    /// Puts an uplink in the place of the one before, which stays where it is the same.
    async fn replace_uplink(&self, wanted: Option<Settings>) {
        let before = {
            let mut uplink = self.uplink();
            if uplink.as_ref().map(|(settings, _)| settings) == wanted.as_ref() {
                return;
            }
            uplink.take()
        };
        if let Some((_, scope)) = before {
            scope.shutdown(UPLINK_GRACE).await;
            self.shown.uplink().clear();
        }
        if let Some(settings) = wanted {
            self.start_uplink(settings);
        }
    }

    fn uplink(&self) -> MutexGuard<'_, Option<(Settings, Supervisor)>> {
        self.uplink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the configuration again and, if it is right, takes it; returns what is wrong with it.
    async fn reload(&self) -> Result<(), String> {
        let origin = self.origin.clone();
        // It walks to every program; a file system that hangs must not hang us.
        let (address, insecure) = (self.address, origin.insecure_listen);
        let loaded = tokio::task::spawn_blocking(move || {
            let config = origin.load()?;
            // The port stays the one that we have, whatever the file says now.
            if let Some((message, help)) = config.web.refuses(address).filter(|_| !insecure) {
                let mut diagnostics = Diagnostics::new(&origin.source.name());
                diagnostics.report_file(format!("{message}; {help}"));
                return Err(diagnostics);
            }
            Ok(config)
        })
        .await;
        memory::give_back();
        let now = Timestamp::now();
        let source = self.origin.source.name();
        match loaded {
            Ok(Ok(config)) => {
                let checks = config.checks.len();
                if let Err(error) = self.take(config).await {
                    error!(config = source, %error, "the configuration before stays in use");
                    let fault = error.to_string();
                    self.shown.set_reload(|reload| reload.faults = Some(fault.clone()));
                    return Err(fault);
                }
                self.shown.set_reload(|reload| {
                    *reload = Reload { source: source.clone(), taken: now, faults: None }
                });
                info!(config = source, checks, "the configuration was read again");
                Ok(())
            }
            Ok(Err(diagnostics)) => {
                for fault in diagnostics.faults() {
                    error!("{fault}");
                }
                error!(config = source, "the configuration is wrong; the one before stays in use");
                let faults = diagnostics.to_string();
                self.shown.set_reload(|reload| reload.faults = Some(faults.clone()));
                Err(faults)
            }
            Err(panic) => {
                error!(%panic, "the configuration could not be read");
                Err("the configuration could not be read".to_owned())
            }
        }
    }

    /// Puts `config` in the place of the one before.
    ///
    /// # Errors
    ///
    /// The port for `check_nrpe` cannot be had; then nothing has changed.
    async fn take(&self, config: Config) -> Result<(), ListenError> {
        self.nrpe.take(config.nrpe).await?;
        if self.concurrency.swap(config.concurrency, Ordering::Relaxed) != config.concurrency {
            self.scripts.store(Arc::new(Semaphore::new(config.concurrency)));
        }
        self.guard.replace(config.web);
        self.shown.labels.store(Arc::new(config.labels.into_iter().collect()));
        self.shown.host.replace(config.host);
        self.shown.blackbox.store(Arc::new(config.blackbox));
        let on_request = OnRequest::new(config.on_request, self.checks.clone());
        self.shown.on_request.store(Arc::new(on_request));
        self.keep.replace(config.state);
        let (new, gone) = self.shown.results.replace(config.checks);
        self.shown.services.store(Arc::new(config.services));
        for slot in &gone {
            let name = slot.check();
            let scope =
                self.scopes.lock().unwrap_or_else(PoisonError::into_inner).remove(&name.name);
            if let Some(scope) = scope {
                let ending = scope.clone();
                self.checks.spawn("retire", async move { ending.shutdown(CHECKS_GRACE).await });
            }
        }
        new.iter().for_each(|slot| self.start_check(slot));
        self.replace_uplink(config.uplink).await;
        Ok(())
    }
}
