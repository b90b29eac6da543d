//! From a start to its end: all of us, or in safe mode what tells people.
//!
//! Invariant: a start that nobody has ended, and that did not last, is known to the next one.

use std::fs::File;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use base::clock::Stopwatch;
use base::http::server::listen;
use base::sample::Timestamp;
use base::signals::{self, Signals};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::folder::DataFolder;
use super::{App, Origin, Settings, hold_folder};
use crate::config::Config;
use crate::safe_mode::{GOOD_AFTER, Kind, SafeMode, Starts, Wanted};

/// Runs the evaluator with `config`, which was read from `origin`, until a signal ends it.
///
/// # Errors
///
/// The port or the data folder cannot be had, or the system gives us no signals.
pub async fn run(origin: Origin, config: Config, settings: Settings) -> anyhow::Result<ExitCode> {
    // First of all: until then a signal ends us, also one that asks for something else.
    let mut signals = Signals::take().context("the system gives us no signals")?;
    let listener = listen(settings.listen).await?;
    let address = listener.local_addr().context("the port that was opened has no address")?;
    let lock = Arc::new(hold_folder(&settings.data)?);
    let mut starts = Starts::read(&settings.data);
    let (mut config, mut listener) = (config, Some(listener));
    let mut wanted = settings.safe_mode;
    loop {
        let listener = match listener.take() {
            Some(listener) => listener,
            None => listen(address).await?,
        };
        let (now, lasts) = (Timestamp::now(), settings.safe_mode_for);
        let safe = SafeMode::begin(wanted, &starts, lasts, &settings.data, now);
        let life = Life { origin: &origin, settings: settings.keeping(config.keeping), safe };
        match life.live(&config, &lock, listener, &mut signals, &mut starts).await? {
            Some(status) => return Ok(status),
            None => match origin.load() {
                Ok(newest) => config = newest,
                Err(_) => warn!("the configuration is wrong; the one of the start is in use"),
            },
        }
        // Where that crashes, the next start is in safe mode again.
        wanted = Wanted::Off;
    }
}

/// All that is from a start to the end, or until safe mode is over.
struct Life<'a> {
    origin: &'a Origin,
    settings: Settings,
    safe: Option<SafeMode>,
}

impl Life<'_> {
    /// Runs until it is to end, and gives the status; nothing where safe mode has lasted.
    async fn live(
        self,
        config: &Config,
        lock: &Arc<File>,
        listener: TcpListener,
        signals: &mut Signals,
        starts: &mut Starts,
    ) -> anyhow::Result<Option<ExitCode>> {
        let Self { origin, settings, safe } = self;
        starts.begin(if safe.is_some() { Kind::Safe } else { Kind::Full }, Timestamp::now());
        if let Some(safe) = &safe {
            error!("{}. {}", safe.summary(), safe.advice());
        }
        let samples = safe.is_none().then(|| settings.samples());
        let data = DataFolder::open(&settings.data, Arc::clone(lock), samples).await?;
        let (reload, mut asked) = mpsc::channel(1);
        let until = safe.as_ref().map_or(Some(GOOD_AFTER), SafeMode::lasts);
        let origin = origin.clone();
        let mut app = App::start(origin, config, &settings, &data, safe, listener, reload).await?;
        let lasts = sleep(until.unwrap_or_default());
        tokio::pin!(lasts);
        let mut waits = until.is_some();
        let is_over = loop {
            tokio::select! {
                told = signals.next() => match told {
                    signals::Asked::Reload => drop(app.reload().await?),
                    signals::Asked::End => break false,
                },
                // Whoever asked may have gone.
                Some(answer) = asked.recv() => drop(answer.send(app.reload().await?)),
                () = &mut lasts, if waits => match app.judging.safe {
                    Some(_) => break true,
                    None => (waits, _) = (false, starts.forget()),
                },
            }
        };
        if is_over {
            info!("safe mode is over: samples, scrapes and rules are tried again");
        } else {
            // What somebody has ended did not crash.
            starts.forget();
            info!("stopping");
        }
        let watch = Stopwatch::start();
        let stopping = app.stop(&data);
        tokio::pin!(stopping);
        let mut ends = !is_over;
        loop {
            tokio::select! {
                () = &mut stopping => break,
                () = signals.end() => {
                    if std::mem::replace(&mut ends, true) {
                        return Ok(Some(at_once()));
                    }
                    // The first that asks for it, while safe mode ends by itself.
                    starts.forget();
                    info!("stopping");
                }
            }
        }
        info!(after = ?watch.elapsed(), "stopped");
        Ok(ends.then_some(ExitCode::SUCCESS))
    }
}

fn at_once() -> ExitCode {
    warn!("told again to stop: at once");
    ExitCode::FAILURE
}
