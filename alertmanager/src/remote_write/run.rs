//! The loop of one remote.
//!
//! ```text
//! every `batch_send_deadline`: rounds, one after the other, until nothing is left
//! ```
//!
//! Invariant: a round is over, and its end noted, before the next one begins; so at most one round is
//! sent twice, after a kill.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context;
use base::backoff::Backoff;
use base::remote_write::{Sender, Sent, Spoken, Version};
use base::sample::Timestamp;
use storage::{LogPosition, Storage};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::about::Telling;
use super::config::Settings;
use super::position::Note;
use super::round::{Body, Reader, Round, Writing};
use super::status::RemoteStates;
use super::writers::Needed;
use crate::scrape::Targets;

/// Sends to one remote.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) settings: Arc<Settings>,
    pub(super) storage: Arc<Storage>,
    pub(super) targets: Targets,
    pub(super) spoken: Spoken,
    pub(super) states: RemoteStates,
    pub(super) note: Note,
    pub(super) needed: Needed,
    /// Where it begins if nothing is noted.
    pub(super) begin: LogPosition,
}

/// How a shard, or a round, came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Over {
    /// Everything was taken, or refused.
    Done,
    /// Too much waits: what was left of it is dropped.
    GivenUp,
    /// We are to stop.
    Stopped,
}

impl Runner {
    /// Sends until `stop`.
    ///
    /// # Errors
    ///
    /// The log cannot be read, or a position not noted; started again, it may be.
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let name = self.settings.name.as_str();
        let from = self.note.read().unwrap_or(self.begin);
        let mut reader = Reader::at(from);
        let (mut senders, mut telling) = (Vec::new(), Telling::default());
        info!(remote = name, segment = from.segment, offset = from.offset, "samples are sent on");
        let mut ticks = interval(self.settings.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            loop {
                let before = reader.position();
                let (back, round) = self.next(reader, &mut telling, Timestamp::now()).await?;
                reader = back;
                let more = round.more;
                let newest = round.shards.iter().flatten().map(|body| body.newest).max();
                if reader.position() == before {
                    self.states.set_behind(name, 0, 0);
                    break;
                }
                if self.deliver(round, before, &mut senders, &stop).await == Over::Stopped {
                    return Ok(());
                }
                reader = self.settle(reader, newest, Timestamp::now()).await?;
                if !more {
                    break;
                }
            }
            if self.tell(&mut telling, &mut senders, &stop).await == Over::Stopped {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads the next round, off the runtime's threads.
    async fn next(
        &self,
        mut reader: Reader,
        telling: &mut Telling,
        now: Timestamp,
    ) -> anyhow::Result<(Reader, Round)> {
        let (storage, settings) = (Arc::clone(&self.storage), Arc::clone(&self.settings));
        let version = self.spoken.version();
        let said = match version {
            Version::V2 => telling.said(&self.targets),
            Version::V1 => Arc::default(),
        };
        let read = spawn_blocking(move || {
            let writing = Writing { version, said };
            let round = reader.next(&storage, (&settings, &writing), now);
            round.map(|round| (reader, round))
        });
        let (reader, round) = read.await?.context("cannot read the log of samples")?;
        let name = &self.settings.name;
        self.states.count(name, "too old", round.too_old);
        self.states.count(name, "histogram", round.histograms);
        Ok((reader, round))
    }

    /// Notes where we are, after leaving out what is more than may wait; `newest` is the last sample
    /// that was sent.
    async fn settle(
        &self,
        mut reader: Reader,
        newest: Option<Timestamp>,
        now: Timestamp,
    ) -> anyhow::Result<Reader> {
        let runner = self.clone();
        let settled = spawn_blocking(move || {
            let Self { settings, storage, .. } = &runner;
            let mut behind = storage.log_bytes_from(reader.position())?;
            while behind > settings.max_buffer {
                let skipped = reader.skip(storage)?;
                runner.states.count(&settings.name, "dropped", skipped as u64);
                warn!(
                    remote = settings.name,
                    samples = skipped,
                    "more waits than may: the oldest samples go"
                );
                behind = storage.log_bytes_from(reader.position())?;
            }
            let position = reader.position();
            runner.note.write(position)?;
            runner.needed.set(storage, &settings.name, position)?;
            let age = newest.filter(|_| behind > 0).map(|newest| now.since(newest).as_millis());
            let millis = u64::try_from(age.unwrap_or_default()).unwrap_or(u64::MAX);
            runner.states.set_behind(&settings.name, behind, millis);
            Ok::<_, std::io::Error>(reader)
        });
        settled.await?.context("cannot note what has been sent on")
    }

    /// Sends a round that begins at `before`: all shards at the same time.
    async fn deliver(
        &self,
        round: Round,
        before: LogPosition,
        senders: &mut Vec<Sender>,
        stop: &CancellationToken,
    ) -> Over {
        while senders.len() < round.shards.len() {
            senders.push(self.sender());
        }
        let shards = senders.iter_mut().zip(round.shards);
        let sending =
            shards.map(|(sender, bodies)| self.send_all(sender, bodies, before, stop)).collect();
        together(sending).await.into_iter().max().unwrap_or(Over::Done)
    }

    fn sender(&self) -> Sender {
        Sender::new(Arc::clone(&self.settings.to), self.spoken.clone())
    }

    /// Says what metrics mean, where it is time: in 1.0, since 2.0 says it with each series. It is not
    /// worth a wait: what is not taken is said again with the next ticks.
    async fn tell(
        &self,
        telling: &mut Telling,
        senders: &mut Vec<Sender>,
        stop: &CancellationToken,
    ) -> Over {
        let (name, now) = (self.settings.name.as_str(), Timestamp::now());
        if self.spoken.version() == Version::V2 {
            return Over::Done;
        }
        let bodies = telling.due(&self.settings, &self.targets, now);
        if bodies.is_empty() {
            return Over::Done;
        }
        for body in bodies {
            if senders.is_empty() {
                senders.push(self.sender());
            }
            let Some(sender) = senders.first_mut() else { return Over::Done };
            let sending = sender.send(body, Version::V1);
            let Some((code, sent)) = stop.run_until_cancelled(sending).await else {
                return Over::Stopped;
            };
            self.states.count_request(name, code);
            match sent {
                Sent::Taken => telling.was_refused = false,
                Sent::Refused(why) => {
                    if !std::mem::replace(&mut telling.was_refused, true) {
                        warn!(remote = name, "it does not want to know what metrics mean: {why}");
                    }
                }
                Sent::Later { .. } => return Over::Done,
            }
        }
        telling.is_told(now);
        Over::Done
    }

    async fn send_all(
        &self,
        sender: &mut Sender,
        bodies: Vec<Body>,
        before: LogPosition,
        stop: &CancellationToken,
    ) -> Over {
        let mut over = Over::Done;
        for body in bodies {
            if over == Over::GivenUp {
                self.count(&body, "dropped");
                continue;
            }
            over = self.send(sender, &body, before, stop).await;
            if over == Over::Stopped {
                return over;
            }
        }
        over
    }

    /// Sends one request, again and again until something becomes of it.
    async fn send(
        &self,
        sender: &mut Sender,
        body: &Body,
        before: LogPosition,
        stop: &CancellationToken,
    ) -> Over {
        let Self { settings, states, .. } = self;
        let name = settings.name.as_str();
        let mut backoff = Backoff::new(settings.backoff.0, settings.backoff.1);
        loop {
            let sending = sender.send(body.bytes.clone(), body.version);
            let Some((code, sent)) = stop.run_until_cancelled(sending).await else {
                return Over::Stopped;
            };
            let now = Timestamp::now();
            states.count_request(name, code);
            let delay = match sent {
                Sent::Taken => {
                    self.count(body, "sent");
                    states.set_success(name, now);
                    if states.set_fault(name, None, now) {
                        info!(remote = name, "it takes our samples again");
                    }
                    return Over::Done;
                }
                Sent::Refused(why) => {
                    self.count(body, "refused");
                    let fault = format!("it refuses samples for good: {why}");
                    if states.set_fault(name, Some(&fault), now) {
                        warn!(remote = name, samples = body.samples, "{fault}");
                    }
                    return Over::Done;
                }
                Sent::Later { why, after } => {
                    let fault = format!("it does not take our samples: {why}");
                    if states.set_fault(name, Some(&fault), now) {
                        warn!(remote = name, "{fault}; they wait in the log");
                    }
                    after.unwrap_or(Duration::ZERO).max(backoff.next_delay())
                }
            };
            if settings.age_limit.is_some_and(|limit| body.newest + limit < now) {
                self.count(body, "too old");
                return Over::Done;
            }
            if self.is_full(before, body, now).await {
                self.count(body, "dropped");
                return Over::GivenUp;
            }
            if stop.run_until_cancelled(sleep(delay)).await.is_none() {
                return Over::Stopped;
            }
        }
    }

    /// Counts what became of a request.
    fn count(&self, body: &Body, result: &str) {
        self.states.count(&self.settings.name, result, body.samples);
        self.states.count_exemplars(&self.settings.name, result, body.exemplars);
    }

    /// Whether more waits behind `before` than may; notes how much it is.
    async fn is_full(&self, before: LogPosition, body: &Body, now: Timestamp) -> bool {
        let storage = Arc::clone(&self.storage);
        let behind = match spawn_blocking(move || storage.log_bytes_from(before)).await {
            Ok(Ok(behind)) => behind,
            // Whoever cannot look drops nothing.
            _ => return false,
        };
        let age = u64::try_from(now.since(body.newest).as_millis()).unwrap_or(u64::MAX);
        self.states.set_behind(&self.settings.name, behind, age);
        behind > self.settings.max_buffer
    }
}

/// Waits for all of `futures` at the same time.
async fn together<T, F: Future<Output = T>>(futures: Vec<F>) -> Vec<T> {
    let mut waiting: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut done = Vec::with_capacity(waiting.len());
    poll_fn(|context| {
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(result) => {
                done.push(result);
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done
}
