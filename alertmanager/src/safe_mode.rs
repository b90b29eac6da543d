//! Safe mode: after starts that crashed one after the other, alerts and messages only (F36).
//!
//! ```text
//! start ──▶ three before it crashed? ── no ──▶ full ── lasts two minutes, or is told to end ──▶ forgotten
//!                  └─ yes ──▶ safe ── ten minutes, twenty, .. an hour ──▶ full, once
//! ```
//!
//! What fires goes on to fire, what is to be told is told, who does not answer is followed by the next.
//! Nothing is scraped and no rule is judged: whatever it was that crashed us, memory, samples or a rule,
//! does not come near those who have to be told.
//!
//! Invariant: the samples of the data folder are not opened, and so neither changed nor removed.

mod starts;

pub use starts::{GOOD_AFTER, Kind, Starts};

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use base::period::Period;
use base::sample::Timestamp;

use crate::time::print_minute;

/// The longest until it is tried again whether all of us can run.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// When there is to be safe mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// After crashes.
    #[default]
    Auto,
    /// Now, whatever happened before.
    On,
    /// Never.
    Off,
}

impl Wanted {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Auto, Self::On, Self::Off];
        let found = all.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| "it is one of auto, on and off".to_owned())
    }
}

/// That we are in safe mode: why, since when, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeMode {
    /// Since when.
    pub since: Timestamp,
    /// After how many crashes; none where somebody wants it.
    crashes: usize,
    /// How long it lasts.
    lasts: Option<Duration>,
    /// Where the samples are.
    samples: PathBuf,
}

impl SafeMode {
    /// Whether a start at `now`, after those in `starts`, is to be in safe mode. The first time it lasts
    /// for `lasts`, and each time that it did not help twice as long, an hour at most.
    pub fn begin(
        wanted: Wanted,
        starts: &Starts,
        lasts: Duration,
        data: &Path,
        now: Timestamp,
    ) -> Option<Self> {
        let samples = data.join("samples");
        match wanted {
            Wanted::Off => None,
            Wanted::On => Some(Self { since: now, crashes: 0, lasts: None, samples }),
            Wanted::Auto if !starts.have_crashed(now) => None,
            Wanted::Auto => {
                let (crashes, tries) =
                    (starts.count(Kind::Full, now), starts.count(Kind::Safe, now));
                let doubled = lasts.saturating_mul(1 << tries.min(16));
                let lasts = Some(doubled.min(LONGEST.max(lasts)));
                Some(Self { since: now, crashes, lasts, samples })
            }
        }
    }

    /// How long it lasts, if it ends by itself.
    pub fn lasts(&self) -> Option<Duration> {
        self.lasts
    }

    /// What it means, in a line.
    pub fn summary(&self) -> String {
        "safe mode: nothing is scraped and no rule is judged; what fired stays as it was, and messages \
         still go out"
            .to_owned()
    }

    /// Why it is, and how it ends.
    pub fn advice(&self) -> String {
        let samples = self.samples.display();
        let kept = format!("The samples in {samples} are as they were, and not opened.");
        let Some(lasts) = self.lasts else {
            return format!("It is asked for by `--safe-mode on`: start without it. {kept}");
        };
        let again = print_minute(self.since + lasts);
        format!(
            "{} starts crashed one after the other, each within {} or not ended by anybody. {kept} \
             All of it is tried again at {again}; a restart tries at once. If that crashes, too: give it \
             more memory, or fewer series (`sample_limit` of a job, `--max-series`), or begin \
             without these samples: move that folder away, and restart",
            self.crashes,
            Period::from_secs(GOOD_AFTER.as_secs()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_longer_each_time_that_it_did_not_help_f36() {
        let dir = tempfile::tempdir().unwrap();
        let ten = Duration::from_secs(600);
        let mut now = Timestamp::from_millis(1_800_000_000_000);
        let mut starts = Starts::read(dir.path());
        let begin = |starts: &Starts, wanted, now| {
            SafeMode::begin(wanted, starts, ten, Path::new("data"), now)
        };
        for _ in 0..3 {
            assert_eq!(begin(&starts, Wanted::Auto, now), None);
            starts.begin(Kind::Full, now);
            now = now + Duration::from_secs(20);
        }
        for minutes in [10, 20, 40, 60, 60] {
            let safe = begin(&starts, Wanted::Auto, now).unwrap();
            assert_eq!(safe.lasts(), Some(Duration::from_secs(minutes * 60)));
            assert!(
                safe.advice().contains(" starts crashed") && safe.advice().contains("data/samples")
            );
            starts.begin(Kind::Safe, now);
            now = now + safe.lasts().unwrap();
            // Tried in full, it crashes again.
            starts.begin(Kind::Full, now);
            now = now + Duration::from_secs(20);
        }
        assert_eq!(begin(&starts, Wanted::Off, now), None);
        starts.forget();
        assert_eq!(begin(&starts, Wanted::Auto, now), None);
        let safe = begin(&starts, Wanted::On, now).unwrap();
        assert_eq!(safe.lasts(), None);
        assert!(safe.advice().contains("--safe-mode on"));
    }
}
