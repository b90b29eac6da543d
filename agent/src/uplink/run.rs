//! The loops of the uplink: one collects, one sends.
//!
//! Invariant: collecting never waits for the receiver, and sending never for the next collection.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use base::backoff::Backoff;
use base::exposition::OUTPUTS_HEADER;
use base::family::{LabelPairs, MetricFamily};
use base::remote_write::{Sender, Sent, Version};
use base::sample::Timestamp;
use hyper::body::Bytes;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::buffer::{Buffer, Place, Record};
use super::collect::Collector;
use super::config::Settings;
use super::join::{Batch, MOST, join};
use super::outputs::{self, Outputs};
use super::status::Status;

/// The delays after failures, to begin with and at most.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// What both loops share.
#[derive(Clone)]
struct Shared {
    buffer: Arc<Mutex<Buffer>>,
    /// Told when there is something to send.
    filled: Arc<Notify>,
    status: Status,
}

/// What is sent.
#[derive(Debug)]
pub struct Source<M, O> {
    /// Gives all metrics as of a time.
    pub families: M,
    /// Gives what each check said last, with the labels of everything that it measures.
    pub outputs: O,
}

/// Collects what `source` gives and sends it, until `stop`.
///
/// # Errors
///
/// The buffer cannot be opened; started again, it may be.
pub async fn run<F: Future<Output = Vec<MetricFamily>>>(
    settings: Settings,
    status: Status,
    source: Source<impl Fn(Timestamp) -> F, impl Fn() -> Vec<(LabelPairs, String)>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (dir, limit) = (settings.dir.clone(), settings.max_size);
    let opened = spawn_blocking(move || Buffer::open(&dir, limit)).await?;
    let opened = opened.with_context(|| format!("the buffer {}", settings.dir.display()));
    let buffer = opened.inspect_err(|error| {
        status.set_fault(Some(format!("the uplink does not run: {error:#}")));
    })?;
    let waiting = buffer.samples();
    info!(url = %settings.url, waiting, "the uplink runs");
    let buffer = Arc::new(Mutex::new(buffer));
    let shared = Shared { buffer, filled: Arc::default(), status };
    let Source { families, outputs } = source;
    tokio::join!(
        collect(&settings, &shared, families, &stop),
        send(&settings, &shared, outputs, &stop)
    );
    Ok(())
}

async fn collect<F: Future<Output = Vec<MetricFamily>>>(
    settings: &Settings,
    shared: &Shared,
    families: impl Fn(Timestamp) -> F,
    stop: &CancellationToken,
) {
    let mut ticks = interval(settings.interval);
    // What was missed would be told with the time of now.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut collector = Collector::default();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = Timestamp::now();
        let records = collector.records(&families(now).await, &settings.labels, now);
        let pushing = shared.clone();
        let pushed = spawn_blocking(move || {
            let mut buffer = pushing.buffer();
            records.into_iter().for_each(|record| buffer.push(record));
            pushing.show(&mut buffer);
        });
        if let Err(panic) = pushed.await {
            error!(%panic, "what was collected for the uplink is lost");
        }
        shared.filled.notify_one();
    }
}

async fn send(
    settings: &Settings,
    shared: &Shared,
    said: impl Fn() -> Vec<(LabelPairs, String)>,
    stop: &CancellationToken,
) {
    let mut outputs = Outputs::new(&settings.labels);
    let mut sender = Sender::new(Arc::new(settings.destination()), settings.spoken());
    let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
    // How many are sent one by one, because they were refused together.
    let mut alone = 0_usize;
    loop {
        let batch = match shared.oldest(if alone > 0 { 0 } else { MOST }).await {
            Some(batch) => batch,
            None => {
                if stop.run_until_cancelled(shared.filled.notified()).await.is_none() {
                    return;
                }
                continue;
            }
        };
        // Before the samples, so that whoever is told of them is told why.
        let telling = tell(settings, shared, &mut outputs, &mut sender, &said);
        if stop.run_until_cancelled(telling).await.is_none() {
            return;
        }
        // A request that is under way when we stop is sent again after the next start.
        let body = Bytes::copy_from_slice(&batch.body);
        let sending = sender.send(body, Version::V2);
        let Some((code, sent)) = stop.run_until_cancelled(sending).await else { return };
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        shared.status.requests.with_label_values(&[&code]).inc();
        let delay = match sent {
            Sent::Taken => {
                alone = alone.saturating_sub(1);
                shared.taken(settings, batch.parts, None).await;
                backoff.reset();
                // One that is new, or was away, has samples now that nothing explains.
                if outputs.receiver_is(sender.answered().get(OUTPUTS_HEADER)) {
                    let telling = tell(settings, shared, &mut outputs, &mut sender, &said);
                    if stop.run_until_cancelled(telling).await.is_none() {
                        return;
                    }
                }
                continue;
            }
            // What is wrong with one of them is no reason to lose the others.
            Sent::Refused(_) if batch.parts.len() > 1 => {
                alone = batch.parts.len();
                continue;
            }
            Sent::Refused(why) => {
                alone = alone.saturating_sub(1);
                shared.taken(settings, batch.parts, Some(why)).await;
                backoff.reset();
                continue;
            }
            Sent::Later { why, after } => {
                outputs.receiver_is_away();
                let why = format!("{} does not take our samples: {why}", settings.url);
                if shared.status.set_fault(Some(why.clone())) {
                    warn!("{why}; they wait on the disk");
                }
                after.unwrap_or(Duration::ZERO).max(backoff.next_delay())
            }
        };
        if stop.run_until_cancelled(sleep(delay)).await.is_none() {
            return;
        }
    }
}

/// Tells the receiver what is news of what checks said, where it wants to know.
async fn tell(
    settings: &Settings,
    shared: &Shared,
    outputs: &mut Outputs,
    sender: &mut Sender,
    said: impl Fn() -> Vec<(LabelPairs, String)>,
) {
    if !outputs.may_be_told(Timestamp::now()) {
        return;
    }
    for post in outputs.news(said()) {
        let (_, sent) = sender.post_other(post.body.clone(), outputs::headers()).await;
        let result = match &sent {
            Sent::Taken => "sent",
            Sent::Refused(_) => "refused",
            Sent::Later { .. } => "",
        };
        if let Sent::Refused(why) | Sent::Later { why, .. } = &sent {
            warn!("{} does not take what checks said: {why}", settings.url);
        }
        if result.is_empty() {
            outputs.not_before(Timestamp::now());
            return;
        }
        shared.status.outputs.with_label_values(&[result]).inc_by(post.count());
        outputs.told(post);
    }
}

impl Shared {
    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is sent next, of up to so many samples where it is more than one record.
    async fn oldest(&self, most: u32) -> Option<Batch> {
        let shared = self.clone();
        let joined = spawn_blocking(move || {
            let waiting = shared.buffer().oldest(most);
            join(waiting, Timestamp::now())
        });
        joined.await.unwrap_or(None)
    }

    /// Takes `records` out: they were sent, or `refused`.
    async fn taken(
        &self,
        settings: &Settings,
        records: Vec<(Place, Record)>,
        refused: Option<String>,
    ) {
        let result = if refused.is_some() { "refused" } else { "sent" };
        let samples = records.iter().map(|(_, record)| u64::from(record.samples)).sum();
        self.status.samples.with_label_values(&[result]).inc_by(samples);
        if let Some(why) = refused {
            warn!(samples, "{} refuses samples for good: {why}", settings.url);
        } else {
            self.status.last_success.set(Timestamp::now().millis() / 1000);
        }
        let shared = self.clone();
        let popped = spawn_blocking(move || {
            let mut buffer = shared.buffer();
            let mut popped = Ok(());
            for (place, record) in &records {
                popped = popped.and(buffer.pop(*place, record));
            }
            shared.show(&mut buffer);
            (popped, buffer.fault().map(str::to_owned))
        });
        let fault = match popped.await {
            Ok((Ok(()), fault)) => fault,
            Ok((Err(error), _)) => Some(format!("cannot note what the uplink has sent: {error}")),
            Err(panic) => Some(format!("cannot note what the uplink has sent: {panic}")),
        };
        if self.status.set_fault(fault.clone()) {
            match fault {
                Some(fault) => warn!("{fault}"),
                None => info!(url = %settings.url, "the uplink is well again"),
            }
        }
    }

    /// Notes how full the buffer is.
    fn show(&self, buffer: &mut Buffer) {
        let dropped = buffer.take_dropped();
        if dropped > 0 {
            self.status.samples.with_label_values(&["dropped"]).inc_by(dropped);
            warn!(dropped, "the buffer of the uplink is full: the oldest samples go");
        }
        self.status.waiting.set(i64::try_from(buffer.samples()).unwrap_or(i64::MAX));
        self.status.bytes.set(i64::try_from(buffer.bytes()).unwrap_or(i64::MAX));
    }
}
