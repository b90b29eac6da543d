//! The loops of collecting: one that keeps the targets as configured and discovered, and one for
//! each target.
//!
//! Invariant: a loop owns its target's state; a slow target costs its own ticks, never a queue.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::clock::{SteadyClock, Stopwatch};
use base::labels::{Labels, METRIC_NAME};
use base::matcher::Matcher;
use base::own_metrics::{Histogram, IntCounter, IntCounterVec, OwnMetrics};
use base::sample::{Ended, Timestamp};
use base::supervisor::Supervisor;
use storage::{Point, SeriesRef, Storage};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::config::Job;
use super::fetch::Fetcher;
use super::outputs::Outputs;
use super::series::{Counts, Extras, Incoming, SeriesCache};
use super::sources::{Asking, SourceMetrics};
use super::target::{Target, TargetKey};
use super::targets::{Dropped, Health, TargetState, Targets};
use crate::news::News;

/// How often discovery looks for changes.
const REFRESH: Duration = Duration::from_secs(1);
/// What is said aloud of a clock that was set back.
const SET_BACK: Duration = Duration::from_secs(5);
/// A sample gets its planned time where it is no later than this.
const PUNCTUAL: Duration = Duration::from_millis(50);
/// Like `up`, for agents of ours only: a built-in rule watches it.
const AGENT_UP: &str = "veilleur_agent_up";
/// When the certificate of a target expires: a built-in rule watches it (F56).
const CERTIFICATE: &str = "veilleur_target_certificate_not_after_timestamp_seconds";

/// Counters of collecting.
#[derive(Clone, Debug)]
pub struct ScrapeMetrics {
    scrapes: IntCounterVec,
    duration: Histogram,
    appended: IntCounter,
    left_out: IntCounterVec,
    sources: SourceMetrics,
}

impl ScrapeMetrics {
    /// Adds them to `metrics`.
    pub fn new(metrics: &OwnMetrics) -> Self {
        Self {
            scrapes: metrics.counters(
                "veilleur_scrapes_total",
                "Scrapes, by job and whether they gave metrics.",
                &["job", "result"],
            ),
            duration: metrics.seconds("veilleur_scrape_duration_seconds", "How long scrapes took."),
            appended: metrics
                .counter("veilleur_storage_appended_samples_total", "Samples that were stored."),
            left_out: metrics.counters(
                "veilleur_scrape_samples_left_out_total",
                "Scraped samples that were not stored, by reason.",
                &["reason"],
            ),
            sources: SourceMetrics::new(metrics),
        }
    }

    /// For whoever stores samples beside the scrapes.
    pub fn appended(&self) -> &IntCounter {
        &self.appended
    }
}

/// What collecting writes to. Clones share it.
#[derive(Clone, Debug)]
pub struct Scraper {
    /// Where samples go.
    pub storage: Arc<Storage>,
    /// Where the texts of checks go.
    pub outputs: Outputs,
    /// How each target is.
    pub targets: Targets,
    /// Where it is told that something changed which people wait for.
    pub news: News,
    /// Counters.
    pub metrics: ScrapeMetrics,
    /// The times of samples: of a series they must rise.
    pub clock: SteadyClock,
}

/// A loop that runs.
struct Running {
    settings: Arc<ArcSwap<(Arc<Job>, Target)>>,
    stop: CancellationToken,
    removed: Arc<AtomicBool>,
}

impl Running {
    /// Ends the loop because its target is no longer wanted.
    fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }
}

impl Scraper {
    /// Scrapes the targets of the newest list of jobs until the scope of `supervisor` stops.
    pub async fn run(self, mut jobs: watch::Receiver<Vec<Arc<Job>>>, supervisor: Supervisor) {
        let stop = supervisor.stop_token().clone();
        let mut running: HashMap<TargetKey, Running> = HashMap::new();
        let mut current: Vec<Job> = Vec::new();
        let mut asking = Asking::default();
        let (mut changed, mut is_set_back, mut is_held) = (true, false, false);
        loop {
            is_set_back = self.look_at_clock(is_set_back);
            is_held = self.look_ahead(is_held);
            if changed || jobs.has_changed().unwrap_or(false) {
                current = take_over(current, &jobs.borrow_and_update());
                asking.adjust(&current, &self.clock, &supervisor);
                changed = true;
            }
            let now = self.clock.now();
            for job in &mut current {
                for sd in &mut job.file_sds {
                    changed |= sd.refresh(now);
                }
            }
            changed |= asking.has_changed();
            self.targets.set_sources(asking.show(&current, &self.metrics.sources));
            if changed {
                self.apply(&current, &asking, &mut running, &supervisor);
                changed = false;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = jobs.changed() => changed = true,
                () = asking.woken() => {}
                () = sleep(REFRESH) => {}
            }
        }
    }

    /// Says once that the system's clock was set back, and once that it is right again.
    fn look_at_clock(&self, was_set_back: bool) -> bool {
        let ahead = self.clock.ahead();
        let is_set_back = ahead > if was_set_back { Duration::ZERO } else { SET_BACK };
        if is_set_back && !was_set_back {
            error!(
                by = ?ahead,
                "the system's clock was set back; samples and rules go on from the time that it was"
            );
        } else if was_set_back && !is_set_back {
            info!("the system's clock has caught up with the samples");
        }
        is_set_back
    }

    /// Says once that the system's clock was set far ahead, and once what has become of that.
    fn look_ahead(&self, was_held: bool) -> bool {
        let by = self.clock.held_back();
        let is_held = by > Duration::ZERO;
        if is_held && !was_held {
            error!(
                ?by,
                "the system's clock was set ahead; it is not followed until that has lasted"
            );
        } else if was_held && !is_held {
            let now = self.clock.now();
            info!(%now, "the system's clock is followed again: it was set right, or has stayed");
        }
        is_held
    }

    /// Starts, changes and ends loops so that they are those of `jobs`.
    fn apply(
        &self,
        jobs: &[Job],
        asking: &Asking,
        running: &mut HashMap<TargetKey, Running>,
        supervisor: &Supervisor,
    ) {
        let mut wanted: BTreeMap<TargetKey, (Arc<Job>, Target)> = BTreeMap::new();
        let mut all_dropped = BTreeMap::new();
        for job in jobs {
            let job = Arc::new(job.clone());
            let mut dropped = Dropped::default();
            let mut count = 0;
            let lists: Vec<_> = asking.of(&job).map(|(_, state)| state.targets).collect();
            let in_files = job.file_sds.iter().flat_map(|sd| sd.targets());
            let asked = lists.iter().flat_map(|targets| targets.iter());
            for found in job.static_targets.iter().chain(in_files).chain(asked) {
                match Target::build(&job, found) {
                    Ok(Some(_)) if count >= job.limits.targets => {
                        count += 1;
                    }
                    Ok(Some(target)) => {
                        count += 1;
                        wanted.insert(target.key.clone(), (Arc::clone(&job), target));
                    }
                    Ok(None) => {
                        dropped.count += 1;
                        if dropped.shown.len() < job.limits.dropped {
                            dropped.shown.push(Target::before(&job, found));
                        }
                    }
                    Err(error) => warn!(job = job.name, %error, "a target cannot be scraped"),
                }
            }
            if count > job.limits.targets {
                let limit = job.limits.targets;
                error!(
                    job = job.name,
                    count, limit, "more targets than target_limit; the rest is not scraped"
                );
            }
            all_dropped.insert(job.name.clone(), dropped);
        }
        self.targets.set_dropped(all_dropped);
        // Until all are known nobody can say that all were seen.
        if jobs.iter().all(|job| asking.has_answered(job)) {
            self.targets.expect(wanted.keys());
        }
        // What a service names that has not answered since the settings changed is not gone.
        let unknown =
            |job: &str| jobs.iter().any(|known| known.name == job && !asking.has_answered(known));
        running.retain(|key, loop_| {
            let keep = wanted.contains_key(key) || unknown(&key.job);
            if !keep {
                loop_.remove();
            }
            keep
        });
        for (key, settings) in wanted {
            match running.get(&key) {
                Some(loop_) => loop_.settings.store(Arc::new(settings)),
                None => {
                    let loop_ = self.start(settings, supervisor);
                    running.insert(key, loop_);
                }
            }
        }
        info!(targets = running.len(), jobs = jobs.len(), "targets are as configured");
    }

    fn start(&self, settings: (Arc<Job>, Target), supervisor: &Supervisor) -> Running {
        let loop_ = Running {
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            stop: supervisor.stop_token().child_token(),
            removed: Arc::default(),
        };
        let (settings, stop) = (Arc::clone(&loop_.settings), loop_.stop.clone());
        let (removed, scraper) = (Arc::clone(&loop_.removed), self.clone());
        supervisor.spawn("scrape", async move {
            let mut target = TargetLoop::new(scraper);
            target.run(&settings, &stop).await;
            if removed.load(Ordering::Relaxed) {
                let now = target.scraper.clock.now();
                target.remove(&settings.load().1, now);
            }
        });
        loop_
    }
}

/// The jobs of a new configuration, with the state of discovery of those that stay.
fn take_over(mut before: Vec<Job>, jobs: &[Arc<Job>]) -> Vec<Job> {
    let mut taken: Vec<Job> = jobs.iter().map(|job| Job::clone(job)).collect();
    for job in &mut taken {
        let Some(old) = before.iter_mut().find(|old| old.name == job.name) else { continue };
        for sd in &mut job.file_sds {
            if let Some(place) = old.file_sds.iter().position(|other| other.same_files(sd)) {
                *sd = old.file_sds.swap_remove(place);
            }
        }
    }
    taken
}

/// The state of one target's loop.
pub(super) struct TargetLoop {
    scraper: Scraper,
    fetcher: Fetcher,
    cache: SeriesCache,
    /// The series about the scrape itself, by name.
    report: HashMap<&'static str, SeriesRef>,
    /// Whether the target is one of our agents, as it said when it last answered.
    is_agent: bool,
}

impl TargetLoop {
    pub(super) fn new(scraper: Scraper) -> Self {
        let (fetcher, cache) = (Fetcher::default(), SeriesCache::default());
        Self { scraper, fetcher, cache, report: HashMap::new(), is_agent: false }
    }

    async fn run(&mut self, settings: &ArcSwap<(Arc<Job>, Target)>, stop: &CancellationToken) {
        self.show(&settings.load().1, Health::Unknown, "", None, Duration::ZERO);
        self.is_agent = self.was_agent(&settings.load().1);
        loop {
            let now = self.scraper.clock.now();
            let tick = next_tick(&settings.load().1, now);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(tick.since(now)) => {}
            }
            let current = settings.load_full();
            let (job, target) = &*current;
            let started = self.scraper.clock.now();
            let punctual = started >= tick && started.since(tick) <= PUNCTUAL;
            let scrape = self.scrape(job, target, if punctual { tick } else { started });
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = scrape => {}
            }
        }
    }

    /// One scrape at `now`, with everything that is stored of it.
    pub(super) async fn scrape(&mut self, job: &Job, target: &Target, now: Timestamp) {
        let watch = Stopwatch::start();
        let mut incoming = Incoming::begin(job, &target.key.labels, &mut self.cache, now);
        let fetch = self.fetcher.fetch(job, target, &mut incoming);
        let fetched = match timeout(target.timeout.duration(), fetch).await {
            Ok(fetched) => fetched,
            Err(_) => {
                let (within, doing) = (target.timeout, self.fetcher.doing());
                Err(format!("no complete answer within {within}; it was still {doing}"))
            }
        };
        let says_agent = incoming.is_agent;
        let taken = match fetched {
            Ok(()) => incoming.finish(&self.scraper.storage).map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        let elapsed = watch.elapsed();
        let (mut points, mut extras, counts, error) = match taken {
            Ok((points, extras, outputs, counts)) => {
                self.is_agent = says_agent;
                if let Some(metadata) = self.cache.described() {
                    self.scraper.targets.describe(&target.key, metadata);
                }
                self.scraper.outputs.replace(&target.key.labels, outputs);
                (points, extras, counts, None)
            }
            Err(error) => {
                self.fetcher.reset();
                let ended = self.cache.end_all(Ended::Lost, now);
                (ended, Extras::default(), Counts::default(), Some(error))
            }
        };
        let up = f64::from(u8::from(error.is_none()));
        if self.is_agent {
            points.extend(self.report_point(AGENT_UP, &target.key.labels, now, up));
        }
        if let Some(expires) = self.fetcher.certificate_not_after() {
            points.extend(self.report_point(CERTIFICATE, &target.key.labels, now, expires as f64));
        }
        let about = [
            ("up", up),
            ("scrape_duration_seconds", elapsed.as_secs_f64()),
            ("scrape_samples_scraped", counts.samples as f64),
            ("scrape_samples_post_metric_relabeling", counts.kept as f64),
            ("scrape_series_added", counts.added as f64),
        ];
        let extra = [
            ("scrape_timeout_seconds", target.timeout.duration().as_secs_f64()),
            ("scrape_sample_limit", job.config.sample_limit as f64),
            ("scrape_body_size_bytes", self.fetcher.size as f64),
        ];
        let extra = extra.into_iter().filter(|_| job.extra);
        for (name, value) in about.into_iter().chain(extra) {
            points.extend(self.report_point(name, &target.key.labels, now, value));
        }
        self.append(&points, &extras);
        extras.keep_exemplars(&self.scraper.storage, now);

        let metrics = &self.scraper.metrics;
        let result = if error.is_none() { "ok" } else { "failed" };
        metrics.scrapes.with_label_values(&[&job.name, result]).inc();
        metrics.duration.observe(elapsed.as_secs_f64());
        for (reason, count) in
            [("duplicate", counts.duplicates), ("timestamp", counts.out_of_bounds)]
        {
            metrics.left_out.with_label_values(&[reason]).inc_by(count as u64);
        }
        let health = if error.is_none() { Health::Up } else { Health::Down };
        let error = error.unwrap_or_default();
        if health == Health::Down {
            debug!(url = target.key.url, error, "a target is down");
        }
        self.show(target, health, &error, Some(now), elapsed);
    }

    /// Whether the target was an agent of ours before we were started: it may not answer now, and
    /// then nobody else would say so.
    fn was_agent(&self, target: &Target) -> bool {
        let labels = target.key.labels.with(METRIC_NAME, AGENT_UP);
        let matchers: Vec<_> = labels.iter().map(|(name, v)| Matcher::equal(name, v)).collect();
        !self.scraper.storage.last(&matchers).is_empty()
    }

    fn report_point(
        &mut self,
        name: &'static str,
        labels: &Labels,
        timestamp: Timestamp,
        value: f64,
    ) -> Option<Point> {
        if let Some(&series) = self.report.get(name) {
            return Some(Point { series, timestamp, value });
        }
        match self.scraper.storage.own_series(&labels.with(METRIC_NAME, name)) {
            Ok(series) => {
                self.report.insert(name, series);
                Some(Point { series, timestamp, value })
            }
            Err(error) => {
                error!(%error, "the state of a target cannot be stored");
                None
            }
        }
    }

    fn append(&mut self, points: &[Point], extras: &Extras) {
        match self.scraper.storage.append_anyway(points, extras.beside()) {
            Ok(appended) => {
                let metrics = &self.scraper.metrics;
                metrics.appended.inc_by(appended.stored as u64);
                if appended.news {
                    self.scraper.news.tell();
                }
                for (reason, count) in [
                    ("duplicate", appended.duplicates),
                    ("out-of-order", appended.out_of_order),
                    ("dropped-series", appended.unknown.len()),
                ] {
                    metrics.left_out.with_label_values(&[reason]).inc_by(count as u64);
                }
                if !appended.unknown.is_empty() {
                    let gone: Vec<_> = appended.unknown.iter().map(|n| points[*n].series).collect();
                    self.cache.forget(&gone);
                    self.report.retain(|_, series| !gone.contains(series));
                }
            }
            Err(error) => error!(%error, "a scrape cannot be stored"),
        }
    }

    /// Ends the series of a target that is no longer wanted.
    pub(super) fn remove(&mut self, target: &Target, now: Timestamp) {
        let mut points = self.cache.end_all(Ended::Removed, now);
        points.extend(self.report.values().map(|&series| Point {
            series,
            timestamp: now,
            value: Ended::Removed.value(),
        }));
        self.append(&points, &Extras::default());
        self.scraper.outputs.forget(&target.key.labels);
        self.scraper.targets.remove(&target.key);
    }

    fn show(
        &self,
        target: &Target,
        health: Health,
        error: &str,
        last_scrape: Option<Timestamp>,
        last_duration: Duration,
    ) {
        let state = TargetState {
            discovered: target.discovered.clone(),
            interval: target.interval,
            timeout: target.timeout,
            health,
            last_error: error.to_owned(),
            last_scrape,
            last_duration,
        };
        self.scraper.targets.set(&target.key, state);
    }
}

/// When the target is due next, after `now`: at its phase of the interval, so that the times stay
/// the same over restarts, and a pause of ours is not caught up with.
fn next_tick(target: &Target, now: Timestamp) -> Timestamp {
    let interval = target.interval.millis().max(1) as i64;
    let since = (now.millis() - target.phase() as i64).rem_euclid(interval);
    Timestamp::from_millis(now.millis() - since + interval)
}
