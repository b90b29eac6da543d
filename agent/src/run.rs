//! The loop of a check: waits until it is due, runs its probe, notes what it found.
//!
//! ```text
//! plan ─▶ wait until due ─▶ (scripts: wait for a slot) ─▶ look ─▶ record ─▶ plan ...
//! ```
//!
//! Invariant: each check has its own loop, so that one that is slow delays only itself; a tick that
//! passes while a run is not done is counted and left out, never made up for.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base::clock::Stopwatch;
use base::memory;
use base::sample::Timestamp;
use probes::{Outcome, Reason, Status};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::check::{Check, Source, TOLD_INTERVAL};
use crate::keep::Keep;
use crate::results::{CheckResult, Results, Slot};
use crate::schedule::Schedule;
use crate::state::State;

/// How long a probe that was told to stop may clean up behind itself.
pub(crate) const WRAP_UP: Duration = Duration::from_millis(3500);

/// How much later than it should a result may come before it is missed.
const GRACE: Duration = Duration::from_secs(10);

/// How often a check that is told is judged, if nothing comes.
const JUDGED_EVERY: Duration = Duration::from_secs(1);

/// The longest that a calendar is trusted not to be overtaken by a clock that was set.
const CLOCK_CHECK: Duration = Duration::from_secs(20);

/// The slots for scripts, which a reload may replace. Whoever finds none free waits, and its
/// lateness shows it.
pub(crate) type ScriptSlots = Arc<ArcSwap<Semaphore>>;

/// Runs the check in `slot` until `stop`.
pub(crate) async fn run(
    slot: Arc<Slot>,
    scripts: ScriptSlots,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        if slot.check().is_told() {
            if Box::pin(wait_to_be_told(&slot, &stop)).await.is_break() {
                return Ok(());
            }
            continue;
        }
        let mut rhythm = Rhythm::new(slot.check().schedule.clone(), Timestamp::now());
        let mut skipped = 0;
        loop {
            let check = slot.check();
            let Some(wait) = rhythm.plan(Timestamp::now()) else {
                warn!(check = %check.name, "the calendar of the check has no further day");
                stop.cancelled().await;
                return Ok(());
            };
            slot.plan(Timestamp::now() + wait + check.timeout + GRACE, skipped);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = slot.changed.notified() => break,
                () = rhythm.due() => {}
            }
            rhythm.started();
            // What a run needs is there while it runs; a check that waits is to be small.
            let run = Box::pin(run_once(&slot, &rhythm, &scripts, &stop));
            let Some(state) = run.await else {
                return Ok(());
            };
            let retry = slot.check().retry_interval;
            skipped = rhythm.ended(Timestamp::now(), state.is_soft().then_some(retry));
        }
    }
}

/// Keeps what jobs reported until `stop`: at once when there is `news`, and from time to time that we
/// are there.
pub(crate) async fn keep(keep: &Keep, results: &Results, news: &Notify, stop: CancellationToken) {
    loop {
        let go_on = tokio::select! {
            () = stop.cancelled() => false,
            () = news.notified() => true,
            () = sleep(TOLD_INTERVAL.duration()) => true,
        };
        keep.save(&results.slots()).await;
        if !go_on {
            return;
        }
    }
}

/// How often what scripts left behind is looked for where none runs.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);
/// After so many of these all that is not needed is given back.
const GIVE_BACK_EVERY: u32 = 60;

/// Ends what was left behind by scripts that were given up before they were loaded, and gives back
/// what a burst of work has needed, until `stop`. `pages` is how many pages of metrics were asked for
/// so far: to make one takes more of the heap than all else.
pub(crate) async fn tidy(pages: impl Fn() -> u64, stop: CancellationToken) {
    let mut made = 0;
    for round in (1..=GIVE_BACK_EVERY).cycle() {
        if stop.run_until_cancelled(sleep(TIDY_INTERVAL)).await.is_none() {
            return;
        }
        probes::script::tidy();
        let before = std::mem::replace(&mut made, pages());
        // To make the first page takes code that no other one does.
        if round == GIVE_BACK_EVERY || (before == 0 && made > 0) {
            memory::give_back();
        } else if before != made {
            memory::give_back_heap();
        }
    }
}

/// One run. Returns the state after it, or nothing where it was stopped.
async fn run_once(
    slot: &Slot,
    rhythm: &Rhythm,
    scripts: &ScriptSlots,
    stop: &CancellationToken,
) -> Option<State> {
    let check = slot.check();
    let permit = if check.takes_slot {
        let waiting = scripts.load_full().acquire_owned();
        Some(stop.run_until_cancelled(waiting).await?)
    } else {
        None
    };
    let (generation, started, lateness) = (slot.begin(), Timestamp::now(), rhythm.lateness());
    let (outcome, duration) = look(&check, stop).await;
    drop(permit);
    if stop.is_cancelled() {
        return None;
    }
    debug!(check = %check.name, status = %outcome.status, ?duration, "run");
    let (status, summary) = (outcome.status, outcome.summary.clone());
    let result = CheckResult { outcome, started, duration, lateness };
    let Some((before, after)) = slot.record(generation, result) else {
        return Some(State::default());
    };
    if before.hard() != after.hard() {
        log_change(&check.name, status, &summary);
    }
    Some(after)
}

/// Judges a check that is told, when something comes and as time passes, until it is replaced or
/// stopped.
async fn wait_to_be_told(slot: &Slot, stop: &CancellationToken) -> ControlFlow<()> {
    let mut shown: Option<(Status, Stopwatch)> = None;
    let mut is_news = true;
    loop {
        let now = Timestamp::now();
        let judged = slot.judge(now);
        if judged.is_none() && is_news {
            // Everything that was pushed was taken back: it is as new.
            slot.forget();
            shown = None;
        }
        if let Some(outcome) = judged {
            let is_old = shown.as_ref().is_none_or(|(status, since)| {
                *status != outcome.status || since.elapsed() >= TOLD_INTERVAL.duration()
            });
            if is_news || is_old {
                shown = Some((outcome.status, Stopwatch::start()));
                slot.plan(now + TOLD_INTERVAL.duration() * 2 + GRACE, 0);
                let (status, summary) = (outcome.status, outcome.summary.clone());
                let (duration, lateness) = (Duration::ZERO, Duration::ZERO);
                let result = CheckResult { outcome, started: now, duration, lateness };
                if let Some((before, after)) = slot.record(slot.begin(), result)
                    && before.hard() != after.hard()
                {
                    log_change(&slot.check().name, status, &summary);
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return ControlFlow::Break(()),
            () = slot.changed.notified() => return ControlFlow::Continue(()),
            () = slot.told.notified() => is_news = true,
            () = sleep(JUDGED_EVERY) => is_news = false,
        }
    }
}

fn log_change(check: &str, status: Status, summary: &str) {
    match status {
        Status::Ok => info!(check, %status, summary, "all is well"),
        _ => warn!(check, %status, summary, "something is wrong"),
    }
}

/// Runs the check's probe under its timeout. Returns how long that took too.
pub(crate) async fn look(check: &Check, stop: &CancellationToken) -> (Outcome, Duration) {
    let (watch, time_up) = (Stopwatch::start(), stop.child_token());
    let Source::Probe(probe) = &check.source else {
        let summary = "nobody looks: it waits to be told";
        return (Outcome::unknown(Reason::NeverRun, summary), watch.elapsed());
    };
    let run = probe.run(&time_up);
    tokio::pin!(run);
    tokio::select! {
        outcome = run.as_mut() => return (outcome, watch.elapsed()),
        () = sleep(check.timeout) => time_up.cancel(),
        () = stop.cancelled() => {}
    }
    let outcome = timeout(WRAP_UP, run).await.unwrap_or_else(|_| {
        let summary = format!("the probe did not stop within {WRAP_UP:?} of its deadline");
        Outcome::unknown(Reason::Internal, summary)
    });
    (outcome, watch.elapsed())
}

/// When a check is due. Intervals are counted by the monotonic clock from the first due time, which
/// the wall clock sets; a calendar is read off the wall clock every time.
#[derive(Debug)]
struct Rhythm {
    schedule: Schedule,
    watch: Stopwatch,
    /// When the watch was started.
    origin: Timestamp,
    /// The next regular start, since the watch was started.
    regular: Option<Next>,
    /// The next attempt, where the last one failed.
    retry: Option<Duration>,
    /// When the run was due that is going on.
    due: Duration,
}

/// A start to come.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// By the watch.
    At(Duration),
    /// By the wall clock.
    On(Timestamp),
}

impl Rhythm {
    fn new(schedule: Schedule, now: Timestamp) -> Self {
        let watch = Stopwatch::start();
        let next = schedule.next_after(now);
        let regular = next.map(|next| match schedule {
            Schedule::Every { .. } => Next::At(next.since(now)),
            Schedule::Calendar { .. } => Next::On(next),
        });
        Self { schedule, watch, origin: now, regular, retry: None, due: Duration::ZERO }
    }

    /// How long it is until the next start; none where there is no more.
    fn plan(&self, now: Timestamp) -> Option<Duration> {
        let until = |at: Duration| at.saturating_sub(self.watch.elapsed());
        match (self.retry, self.regular?) {
            (Some(at), _) | (None, Next::At(at)) => Some(until(at)),
            (None, Next::On(day)) => Some(day.since(now)),
        }
    }

    /// Waits until the next start.
    async fn due(&self) {
        match (self.retry, self.regular) {
            (Some(at), _) | (None, Some(Next::At(at))) => {
                sleep_until(self.watch.instant(at)).await;
            }
            (None, Some(Next::On(day))) => loop {
                let left = day.since(Timestamp::now());
                if left.is_zero() {
                    return;
                }
                sleep(left.min(CLOCK_CHECK)).await;
            },
            (None, None) => std::future::pending().await,
        }
    }

    /// Notes that the start that was planned has come.
    fn started(&mut self) {
        let now = self.watch.elapsed();
        match (self.retry.take(), self.regular) {
            (Some(at), _) => {
                self.due = at;
                // The attempt stands for the regular starts before it.
                self.advance(at, self.wall(at));
            }
            (None, Some(Next::At(at))) => {
                self.due = at;
                self.advance(at, self.wall(at));
            }
            (None, Some(Next::On(day))) => {
                self.due = now;
                self.advance(now, day);
            }
            (None, None) => self.due = now,
        }
    }

    /// Notes that the run is done; `retry` is the distance to the next attempt, where there is to
    /// be one. Returns how many starts passed meanwhile.
    fn ended(&mut self, now: Timestamp, retry: Option<Duration>) -> u64 {
        self.retry = retry.map(|retry| (self.due + retry).max(self.watch.elapsed()));
        self.advance(self.watch.elapsed(), now)
    }

    /// Moves the regular start to the first one after `elapsed`, or `now` by the wall clock.
    /// Returns how many it passed over.
    fn advance(&mut self, elapsed: Duration, now: Timestamp) -> u64 {
        match (&self.schedule, self.regular) {
            (Schedule::Every { interval, .. }, Some(Next::At(at))) if at <= elapsed => {
                let passed = (elapsed - at).as_millis() / interval.as_millis().max(1) + 1;
                let passed = u32::try_from(passed).unwrap_or(u32::MAX);
                self.regular = Some(Next::At(at + *interval * passed));
                u64::from(passed)
            }
            (Schedule::Calendar { .. }, Some(Next::On(day))) if day <= now => {
                self.regular = self.schedule.next_after(now).map(Next::On);
                1
            }
            _ => 0,
        }
    }

    /// How much later than planned it is.
    fn lateness(&self) -> Duration {
        self.watch.elapsed().saturating_sub(self.due)
    }

    fn wall(&self, at: Duration) -> Timestamp {
        self.origin + at
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use probes::Probe;
    use tokio::time::advance;

    use super::*;

    /// Takes as long as it is told, and fails where it is told.
    #[derive(Debug)]
    struct Told {
        times: Vec<(u64, Status)>,
        starts: Arc<Mutex<Vec<u64>>>,
        watch: Stopwatch,
    }

    #[async_trait]
    impl Probe for Told {
        async fn run(&self, stop: &CancellationToken) -> Outcome {
            let n = {
                let mut starts = self.starts.lock().unwrap();
                starts.push(self.watch.elapsed().as_secs());
                starts.len() - 1
            };
            let (seconds, status) = self.times.get(n).copied().unwrap_or((0, Status::Ok));
            match stop.run_until_cancelled(sleep(Duration::from_secs(seconds))).await {
                Some(()) => Outcome::new(status, Reason::Threshold, "as told"),
                None => Outcome::unknown(Reason::Timeout, "stopped"),
            }
        }
    }

    /// Runs a check every ten seconds for `seconds`, up to ten of which pass before the first start;
    /// returns its starts, counted from the first, and its slot.
    async fn starts(times: &[(u64, Status)], seconds: u64) -> (Vec<u64>, Arc<Slot>) {
        let starts = Arc::new(Mutex::new(Vec::new()));
        let probe =
            Told { times: times.to_vec(), starts: Arc::clone(&starts), watch: Stopwatch::start() };
        let slot = Arc::new(Slot::new(Check {
            name: "told".into(),
            schedule: Schedule::every(Duration::from_secs(10), "told"),
            timeout: Duration::from_secs(25),
            max_attempts: 3,
            retry_interval: Duration::from_secs(3),
            labels: Default::default(),
            source: Source::Probe(Arc::new(probe)),
            takes_slot: false,
        }));
        let stop = CancellationToken::new();
        let scripts = Arc::new(ArcSwap::from_pointee(Semaphore::new(1)));
        let running = run(Arc::clone(&slot), scripts, stop.clone());
        tokio::pin!(running);
        tokio::select! {
            _ = running.as_mut() => {}
            () = sleep(Duration::from_secs(seconds)) => {}
        }
        let starts = starts.lock().unwrap().clone();
        let first = starts.first().copied().unwrap_or(0);
        (starts.into_iter().map(|start| start - first).collect(), slot)
    }

    use Status::{Critical, Ok};

    #[tokio::test(start_paused = true)]
    async fn runs_at_its_interval() {
        let (starts, slot) = starts(&[], 45).await;
        assert_eq!(starts[..4], [0, 10, 20, 30]);
        let latest = slot.latest();
        assert_eq!((latest.runs[0] as usize, latest.skipped), (starts.len(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_passes_during_a_run_is_left_out_and_counted() {
        let (starts, slot) = starts(&[(0, Ok), (23, Ok)], 65).await;
        assert_eq!(starts[..4], [0, 10, 40, 50]);
        assert_eq!(slot.latest().skipped, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_tried_again_sooner_until_it_is_hard() {
        let fails = [(0, Ok), (0, Critical), (0, Critical), (0, Critical), (0, Critical)];
        let (starts, slot) = starts(&fails, 45).await;
        assert_eq!(starts[..6], [0, 10, 13, 16, 20, 30]);
        assert_eq!(slot.latest().skipped, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_is_stopped_at_its_deadline() {
        let (starts, slot) = starts(&[(1000, Ok), (1000, Ok)], 36).await;
        assert_eq!(starts[0], 0);
        let latest = slot.latest();
        let result = latest.result.unwrap();
        assert_eq!((result.outcome.reason, result.duration.as_secs()), (Reason::Timeout, 25));
        assert_eq!(latest.skipped, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_missed_in_a_pause_is_not_made_up_for_f26() {
        let schedule = Schedule::every(Duration::from_secs(10), "told");
        let now = Timestamp::from_millis(1_700_000_000_000);
        let mut rhythm = Rhythm::new(schedule, now);
        advance(Duration::from_secs(1800)).await;
        rhythm.due().await;
        rhythm.started();
        let skipped = rhythm.ended(now + Duration::from_secs(1800), None);
        assert!((178..=180).contains(&skipped), "{skipped}");
        let wait = rhythm.plan(now).unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(10), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_calendar_waits_for_its_day() {
        let schedule = Schedule::calendar("0 6 * * *", "UTC").unwrap();
        let midnight = Timestamp::from_millis(1_700_006_400_000);
        let mut rhythm = Rhythm::new(schedule, midnight);
        let hours = |rhythm: &Rhythm, now| rhythm.plan(now).unwrap().as_secs() / 3600;
        assert_eq!(hours(&rhythm, midnight), 6);
        rhythm.started();
        // The clock was set back meanwhile: the day that was is not repeated.
        assert_eq!(rhythm.ended(midnight, None), 0);
        assert_eq!(hours(&rhythm, midnight), 30);
        let wall = midnight + Duration::from_secs(40 * 3600);
        assert_eq!(rhythm.ended(wall, None), 1);
        assert_eq!(hours(&rhythm, wall), 14);
    }
}
