//! The evaluator's life: opening, wiring, reload, end. The one place that knows all stages.
//!
//! ```text
//! configuration ─▶ port ─▶ data folder ─▶ scrape ─▶ rules ─▶ dispatch ─▶ lanes ─▶ pages
//! HUP, POST /-/reload: all of it is read again, and taken over only if it is right
//! TERM, INT: the stages end in the order of the data, what waits stays in the outbox
//! after three crashes: no samples, scrapes and rules; then all of it again, in the same process
//! ```
//!
//! Invariant: nothing runs before the configuration is right, the port is ours and the data folder
//! is ours alone; a configuration that is wrong changes nothing.

mod folder;
mod flags;
mod first_round;
mod judging;
mod life;
mod origin;
mod upkeep;

pub use life::run;
pub use origin::Origin;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base::clock::{SteadyClock, Stopwatch};
use base::http::web::Guard;
use base::own_metrics::{IntCounter, OwnMetrics};
use base::sample::Timestamp;
use base::supervisor::Supervisor;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;
use tracing::{error, info};

use crate::agents::{AgentParts, Agents};
use crate::alerts::Alerts;
use crate::api::{ConfigState, Enabled, Parts, Routing, Shown};
use crate::config::Config;
use crate::config::prometheus::Keeping;
use crate::disk::Disk;
use crate::dispatch::AskDispatch;
use crate::escalation::Escalations;
use crate::ingest::Ingest;
use crate::intake::Intake;
use crate::mute::Mutes;
use crate::news::News;
use crate::notify::{LaneStates, NotifyMetrics};
use crate::pushed::Pushed;
use crate::remote_write::{RemoteStates, Writers};
use crate::rules::{OnMissing, QueryLimits, RuleMetrics, Rules};
use crate::safe_mode::{SafeMode, Wanted};
use crate::scrape::{Outputs, ScrapeMetrics, Scraper, Targets};
use first_round::Start;
use folder::DataFolder;
pub(crate) use folder::hold as hold_folder;
use judging::Judging;

/// From one evaluation to the next in a subquery that says nothing about it.
const SUBQUERY_STEP: Duration = Duration::from_secs(60);
/// How long scrapes, and answers that are being made, have to end: with what `judging` takes for its
/// stages less than ten seconds (F51).
const GRACE: Duration = Duration::from_millis(1500);
/// How far ahead of the system's clock the newest sample may be, for ours to go on from it.
const MOST_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a reload is tried while the state fails, a second apart.
const ATTEMPTS: u32 = 30;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to serve on.
    pub listen: SocketAddr,
    /// Whether others may reach it without TLS and without saying who they are.
    pub insecure_listen: bool,
    /// The data folder.
    pub data: PathBuf,
    /// How long samples are kept.
    pub retention: Duration,
    /// The most bytes that samples may take on disk.
    pub retention_bytes: Option<u64>,
    /// How much older than the newest of its series a sample may be.
    pub out_of_order: Duration,
    /// The most series in memory.
    pub max_series: usize,
    /// How many exemplars are kept, where it is said.
    pub max_exemplars: Option<usize>,
    /// How long attempts to deliver something are kept.
    pub history_retention: Duration,
    /// When to start without samples, and for how long.
    pub safe_mode: Wanted,
    /// How long that lasts the first time.
    pub safe_mode_for: Duration,
    /// The path under which everything is served, without a slash at its end.
    pub route_prefix: String,
    /// Where people reach us, if not at the address that we serve on.
    pub external_url: Option<String>,
    /// What becomes of alerts whose data are missing, where the configuration says nothing.
    pub on_missing: OnMissing,
    /// What may be asked of us that changes something.
    pub enabled: Enabled,
    /// Whether people may delete series and make copies over HTTP.
    pub admin_api: bool,
    /// How far back a sample counts.
    pub lookback: Duration,
    /// What expressions may take.
    pub limits: QueryLimits,
    /// What is done otherwise than by default where expressions are evaluated.
    pub features: promql::Features,
    /// Counts what the log lost.
    pub dropped: IntCounter,
}

/// A reload that somebody waits for.
type Asked = oneshot::Sender<Result<(), String>>;

/// The running evaluator.
struct App {
    origin: Origin,
    /// Where we listen, and whether anybody may reach us there.
    address: SocketAddr,
    insecure_listen: bool,
    guard: Arc<Guard>,
    everything: Supervisor,
    collecting: Supervisor,
    jobs: watch::Sender<Vec<Arc<crate::scrape::Job>>>,
    judging: Judging,
    writers: Writers,
    config: Arc<ConfigState>,
    intake: Intake,
    agents: Agents,
}

/// The time, for commands that ask about it.
pub fn now() -> Timestamp {
    Timestamp::now()
}

impl Settings {
    /// How samples are kept; what the configuration says counts before the command line.
    fn samples(&self) -> storage::Options {
        let default = storage::Options::default();
        storage::Options {
            retention: self.retention,
            retention_bytes: self.retention_bytes,
            out_of_order: self.out_of_order,
            max_series: self.max_series,
            max_exemplars: self.max_exemplars.unwrap_or(default.max_exemplars),
            ..default
        }
    }

    fn keeping(&self, keeping: Keeping) -> Self {
        Self {
            retention: keeping.retention.unwrap_or(self.retention),
            retention_bytes: keeping.retention_bytes.or(self.retention_bytes),
            out_of_order: keeping.out_of_order.unwrap_or(self.out_of_order),
            max_exemplars: keeping.max_exemplars.or(self.max_exemplars),
            ..self.clone()
        }
    }
}

/// The name in a URL.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    rest.split(['/', ':']).next()
}

impl App {
    async fn start(
        origin: Origin,
        config: &Config,
        settings: &Settings,
        data: &DataFolder,
        safe: Option<SafeMode>,
        listener: TcpListener,
        reload: mpsc::Sender<Asked>,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("the port that was opened has no address")?;
        let scheme = config.web.scheme();
        let own_url = || format!("{scheme}://{address}{}", settings.route_prefix);
        let external_url: Arc<str> = settings.external_url.clone().unwrap_or_else(own_url).into();
        let since = Stopwatch::start();
        let newest = data.storage.max_time().unwrap_or(Timestamp::MIN);
        // Further ahead than this, it was the clock of then that was wrong.
        let is_sound = newest.since(Timestamp::now()) <= MOST_AHEAD;
        let clock = SteadyClock::starting_at(if is_sound { newest } else { Timestamp::MIN });
        let started = clock.now();
        // Samples come more often than signs of life.
        let watched = data.state.last_alive().await?.max(data.storage.max_time());
        let blind = watched.map_or(Duration::ZERO, |at| started.since(at));
        // Longer where there was safe mode: others could push meanwhile, and we did not judge.
        let judged = data.state.last_judging().await?.max(data.storage.max_time());
        let not_judged = judged.map_or(Duration::ZERO, |at| started.since(at));
        let everything = Supervisor::new();
        let metrics = OwnMetrics::new();
        metrics.adopt(&settings.dropped);
        let guard = Arc::new(
            Guard::new(config.web.clone(), "http", &metrics).at(address, host_of(&external_url)),
        );
        let scraper = Scraper {
            storage: Arc::clone(&data.storage),
            outputs: Outputs::default(),
            targets: Targets::default(),
            news: News::default(),
            metrics: ScrapeMetrics::new(&metrics),
            clock: clock.clone(),
        };
        let alerts = Alerts::default();
        let pushed = Pushed::open(data.state.clone(), alerts.clone(), blind).await?;
        let escalations = Escalations::open(&data.state, &metrics)?;
        let intake =
            Intake::open(data.state.clone(), alerts.clone(), pushed.clone(), &metrics).await?;
        let agents = AgentParts {
            storage: Arc::clone(&data.storage),
            state: data.state.clone(),
            targets: scraper.targets.clone(),
            outputs: scraper.outputs.clone(),
            news: scraper.news.clone(),
            appended: scraper.metrics.appended().clone(),
        };
        let agents = Agents::open(agents, started).await?;
        let disk = Disk::default();
        let parts = Parts {
            disk: disk.clone(),
            safe: safe.clone(),
            storage: Arc::clone(&data.storage),
            ingest: Ingest::new(
                Arc::clone(&data.storage),
                scraper.news.clone(),
                scraper.metrics.appended().clone(),
                &metrics,
            ),
            agents: agents.clone(),
            targets: scraper.targets.clone(),
            outputs: scraper.outputs.clone(),
            rules: Rules::default(),
            pushed,
            intake: intake.clone(),
            remotes: RemoteStates::new(&metrics),
            alerts,
            mutes: Mutes::new(data.silences.clone(), data.maintenance.clone()),
            outbox: data.outbox.clone(),
            escalations,
            questions: AskDispatch::default(),
            lanes: LaneStates::default(),
            metrics: metrics.clone(),
            config: Arc::default(),
            supervisor: everything.clone(),
            reload,
            clock: clock.clone(),
            started,
            flags: Arc::new(settings.flags(address, &external_url)),
            lookback: settings.lookback,
            limits: settings.limits,
            features: settings.features,
            enabled: settings.enabled,
            snapshots: settings.admin_api.then(|| settings.data.join("snapshots")),
        };
        let start = Start {
            round: parts.mutes.first_round.clone(),
            targets: parts.targets.clone(),
            rules: parts.rules.clone(),
            pushed: parts.pushed.clone(),
            clock: clock.clone(),
            had_pushed: parts.pushed.least_fresh().is_some(),
            at: started,
            since,
        };
        let judging = Judging {
            around: everything.clone(),
            scope: everything.child(),
            delivering: everything.child(),
            lanes: Default::default(),
            sources: crate::rules::Sources {
                storage: Arc::clone(&data.storage),
                outputs: scraper.outputs.clone(),
                targets: scraper.targets.clone(),
                external_labels: config.external_labels.clone(),
                external_url: Arc::clone(&external_url),
                lookback: settings.lookback,
                limits: settings.limits,
                stop: Default::default(),
                subquery_step: SUBQUERY_STEP,
                on_missing: settings.on_missing,
                features: settings.features,
                elsewhere: None,
                started,
                appended: scraper.metrics.appended().clone(),
            },
            on_missing: settings.on_missing,
            state: data.state.clone(),
            outbox: data.outbox.clone(),
            questions: parts.questions.clone(),
            dispatcher: Arc::default(),
            alerts: parts.alerts.clone(),
            mutes: parts.mutes.clone(),
            escalations: parts.escalations.clone(),
            pushed: parts.pushed.clone(),
            rules: parts.rules.clone(),
            news: scraper.news.clone(),
            lane_states: parts.lanes.clone(),
            rule_metrics: RuleMetrics::new(&metrics),
            notify_metrics: NotifyMetrics::new(&metrics),
            storm: Arc::default(),
            disk: disk.clone(),
            safe,
            start,
            clock: clock.clone(),
        };
        // Before anybody is told anything.
        judging.start.begin(&judging.wanted(config), watched.is_some());
        let (ticks, believed, upkept) = (clock.clone(), clock.clone(), clock);
        let (jobs, wanted) = watch::channel(Vec::new());
        let config_state = Arc::clone(&parts.config);
        let pushed = parts.pushed.clone();
        let (name, collecting) = (origin.name(), everything.child());
        let writers = Writers::new(
            (Arc::clone(&data.storage), parts.targets.clone()),
            settings.data.join("remote-write"),
            parts.remotes.clone(),
            everything.child(),
        );
        let mut app = Self {
            origin,
            address,
            insecure_listen: settings.insecure_listen,
            guard: Arc::clone(&guard),
            everything: everything.clone(),
            collecting,
            jobs,
            judging,
            writers,
            config: config_state,
            intake,
            agents: agents.clone(),
        };
        app.take_over(config, not_judged).await?;
        upkeep::start(&everything, data, settings.history_retention, &metrics, &upkept);
        let (folder, lock): (Arc<Path>, _) =
            (settings.data.as_path().into(), Arc::clone(&data.lock));
        everything.supervise("data folder", move |stop| {
            upkeep::watch(Arc::clone(&folder), Arc::clone(&lock), disk.clone(), stop)
        });
        // Without samples nobody can push, and nobody is late for that.
        if data.has_samples {
            everything.supervise("agents", move |stop| agents.clone().run(ticks.clone(), stop));
        }
        everything
            .supervise("pushed alerts", move |stop| pushed.clone().run(believed.clone(), stop));
        let scope = app.collecting.clone();
        app.collecting.spawn("targets", scraper.run(wanted, scope));
        let watching = Arc::clone(&guard);
        everything.supervise("web", move |stop| {
            let guard = Arc::clone(&watching);
            async move {
                guard.watch(stop).await;
                Ok(())
            }
        });
        let prefix: Arc<str> = settings.route_prefix.as_str().into();
        let shown = Shown::new(parts);
        everything.spawn("pages", shown.serve(listener, guard, prefix, everything.clone()));
        // What only the start has needed, most of it code.
        base::memory::give_back();
        info!(config = name, data = %settings.data.display(), "listening on {scheme}://{address}");
        Ok(app)
    }

    /// Reads the configuration again and, if it is right, takes it over; says what is wrong with it
    /// if not.
    ///
    /// # Errors
    ///
    /// It is right, but the state failed for so long that only another start can help.
    async fn reload(&mut self) -> anyhow::Result<Result<(), String>> {
        let origin = self.origin.clone();
        // A file system that hangs must hang nobody else.
        let (address, insecure) = (self.address, self.insecure_listen);
        let read = match tokio::task::spawn_blocking(move || origin.load()).await {
            Ok(Ok(config)) => match config.web.refuses(address).filter(|_| !insecure) {
                Some((message, help)) => Err(format!("{message}; {help}")),
                None => Ok(config),
            },
            Ok(Err(faults)) => Err(faults.to_string()),
            Err(panic) => Err(format!("reading it failed: {panic}")),
        };
        let name = self.origin.name();
        let result = match read {
            Ok(config) => {
                self.insist(&config).await?;
                info!(config = name, "the configuration was read again");
                Ok(())
            }
            Err(faults) => {
                faults.lines().for_each(|fault| error!("{fault}"));
                error!(config = name, "the configuration is wrong; the one before stays in use");
                Err(faults)
            }
        };
        self.config.set_fault(result.clone().err());
        Ok(result)
    }

    /// Takes `config` over, again and again while the state fails: until it is done nobody judges.
    async fn insist(&mut self, config: &Config) -> anyhow::Result<()> {
        let mut attempt = 1;
        while let Err(error) = self.take_over(config, Duration::ZERO).await {
            if attempt == ATTEMPTS {
                return Err(error.context("the configuration could not be taken over"));
            }
            error!(
                error = format!("{error:#}"),
                attempt, "the configuration is not taken over yet"
            );
            attempt += 1;
            sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// Puts `config` in the place of the one before; nobody evaluated for `blind`.
    async fn take_over(&mut self, config: &Config, blind: Duration) -> anyhow::Result<()> {
        self.guard.replace(config.web.clone());
        self.intake.set_sources(config.sources.clone());
        self.agents.set_forget_after(config.forget_agents_after);
        self.config.set_loaded(Timestamp::now());
        self.config.set_store(config.store.clone());
        self.config.set_routing(Routing {
            route: config.route.clone(),
            receivers: config.lanes.keys().cloned().collect(),
            receiver_labels: config.receivers.labels(),
            lanes: config.lanes.clone(),
            inhibit_rules: config.inhibit_rules.clone(),
            external_labels: config.external_labels.clone(),
            resolve_timeout: config.resolve_timeout,
            shown: config.shown.clone(),
            hygiene: config.hygiene.clone(),
            otlp: Arc::clone(&config.otlp),
        });
        self.judging.take_over(config, blind).await?;
        if self.judging.safe.is_none() {
            self.writers.take_over(&config.remotes).await;
            self.jobs.send_replace(config.jobs.clone());
        }
        Ok(())
    }

    /// Ends every stage, in the order of the data, and leaves everything durable.
    async fn stop(&mut self, data: &DataFolder) {
        self.collecting.shutdown(GRACE).await;
        self.judging.stop().await;
        self.everything.shutdown(GRACE).await;
        data.close().await;
    }
}
