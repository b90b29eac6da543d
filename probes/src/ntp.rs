//! Asking a time server how far our clock is off.
//!
//! ```yaml
//! ntp:
//!   server: ntp.example
//!   thresholds: {offset: {warn: '-0.1:0.1', crit: '-1:1'}, stratum: {crit: '1:5'}}
//! ```
//!
//! ```text
//! ours  t1 ──────▶          ──▶ t4      offset = ((t2 - t1) + (t3 - t4)) / 2
//! theirs       t2 ──▶ t3                delay  = (t4 - t1) - (t3 - t2)
//! ```
//!
//! Invariant: an answer counts only if it repeats the time that our question bore.

use std::io;

use async_trait::async_trait;
use base::clock::since_epoch;
use base::diagnostic::{Diagnostics, Spanned};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::session::{Endpoint, SECONDS, Session, datagrams};
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::Failed;
use crate::{Outcome, Probe, Reason};

/// Seconds from 1900, where NTP begins to count, to 1970.
const EPOCH: f64 = 2_208_988_800.0;
/// After so many seconds NTP begins to count again, in 2036 the first time.
const ERA: f64 = 4_294_967_296.0;

/// An NTP probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NtpConfig {
    /// `host`, or `host:port` for another port than 123.
    server: Spanned<String>,
    /// Limits on `offset`, `delay` and `root_dispersion` in seconds, `stratum`, `seconds`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Asks a time server.
#[derive(Debug)]
pub struct NtpProbe {
    endpoint: Endpoint,
    limits: Limits,
}

impl NtpConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<NtpProbe> {
        let endpoint = Endpoint::build(&self.server, Some(123), diagnostics);
        let known = ["offset", "delay", "root_dispersion", "stratum", SECONDS];
        let limits = Limits::build(&self.thresholds, &known, diagnostics);
        Some(NtpProbe { endpoint: endpoint?, limits })
    }
}

#[async_trait]
impl Probe for NtpProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let mut session = Session::start("ntp", &["resolve", "request"]);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl NtpProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let socket = datagrams(session, &self.endpoint).await?;
        let waiting = format!("`{}` has not answered", self.endpoint);
        let work = async {
            let sent = since_epoch().as_secs_f64();
            let stamp = stamp(sent);
            let mut question = [0; 48];
            // Version 4, client.
            question[0] = 0x23;
            question[40..].copy_from_slice(&stamp);
            let broken = |error: io::Error| crate::session::unanswered(&error);
            socket.send(&question).await.map_err(broken)?;
            loop {
                let mut answer = [0; 1024];
                let length = socket.recv(&mut answer).await.map_err(broken)?;
                let received = since_epoch().as_secs_f64();
                let answer = Answer::decode(&answer[..length], sent, received)
                    .ok_or_else(|| Failed::protocol("NTP", &answer[..length]))?;
                // Anything else is an answer to an older question.
                if answer.origin == stamp {
                    return Ok(answer);
                }
            }
        };
        let answer = session.phase("request", waiting, work).await?;
        answer.judge(session)
    }
}

/// What a server says.
#[derive(Debug, PartialEq)]
struct Answer {
    leap: u8,
    stratum: u8,
    root_dispersion: f64,
    reference: [u8; 4],
    origin: [u8; 8],
    offset: f64,
    delay: f64,
}

impl Answer {
    fn decode(bytes: &[u8], sent: f64, received: f64) -> Option<Self> {
        let bytes: &[u8; 48] = bytes.first_chunk()?;
        let (version, mode) = (bytes[0] >> 3 & 7, bytes[0] & 7);
        if !(3..=4).contains(&version) || mode != 4 {
            return None;
        }
        let words: [u8; 4] = bytes[8..12].try_into().ok()?;
        let theirs = |at: usize| Some(seconds(bytes[at..at + 8].try_into().ok()?, sent));
        let (arrived, left) = (theirs(32)?, theirs(40)?);
        Some(Self {
            leap: bytes[0] >> 6,
            stratum: bytes[1],
            root_dispersion: f64::from(u32::from_be_bytes(words)) / 65_536.0,
            reference: bytes[12..16].try_into().ok()?,
            origin: bytes[24..32].try_into().ok()?,
            offset: ((arrived - sent) + (left - received)) / 2.0,
            delay: ((received - sent) - (left - arrived)).max(0.0),
        })
    }

    fn judge(&self, session: &mut Session) -> Result<String, Failed> {
        // A "kiss of death" has its reason where others have their reference.
        if self.stratum == 0 && self.reference.iter().all(u8::is_ascii_uppercase) {
            let kiss = shown_line(&self.reference, 8);
            let summary = format!("the server does not want to be asked: `{kiss}`");
            return Err(Failed::new(Reason::ErrorAnswer, summary));
        }
        let stratum = f64::from(self.stratum);
        let values = [
            (
                ("offset", "s", self.offset),
                ("probe_ntp_offset_seconds", "How far the server's clock is ahead of ours"),
            ),
            (
                ("delay", "s", self.delay),
                ("probe_ntp_delay_seconds", "How long the question and the answer were under way"),
            ),
            (
                ("root_dispersion", "s", self.root_dispersion),
                ("probe_ntp_root_dispersion_seconds", "How far off the server may be"),
            ),
            (
                ("stratum", "", stratum),
                ("probe_ntp_stratum", "How many servers are between the server and a clock"),
            ),
        ];
        for ((name, unit, value), (metric, help)) in values {
            session.metrics.gauge(metric, help, value);
            session.value(name, value, unit);
        }
        if self.leap == 3 || self.stratum == 0 || self.stratum >= 16 {
            let summary = "the server says that its own clock is not set";
            return Err(Failed::new(Reason::NotServing, summary));
        }
        Ok(format!("offset {:+.6} s, delay {:.6} s, stratum {stratum}", self.offset, self.delay))
    }
}

/// A time, in seconds since 1970, as NTP writes it.
fn stamp(time: f64) -> [u8; 8] {
    let whole = ((time + EPOCH) % ERA).floor();
    let fraction = (time + EPOCH).fract() * ERA;
    let mut stamp = [0; 8];
    stamp[..4].copy_from_slice(&(whole as u32).to_be_bytes());
    stamp[4..].copy_from_slice(&(fraction as u32).to_be_bytes());
    stamp
}

/// A time of NTP in seconds since 1970: the one that is nearest to `near`.
fn seconds(stamp: [u8; 8], near: f64) -> f64 {
    let stamp = u64::from_be_bytes(stamp);
    let time = (stamp >> 32) as f64 + (stamp & 0xffff_ffff) as f64 / ERA - EPOCH;
    time + ((near - time) / ERA).round() * ERA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_also_after_2036() {
        for time in [0.5, 1_700_000_000.25, 2_085_978_496.5, 4_000_000_000.75] {
            assert!((seconds(stamp(time), time + 1000.0) - time).abs() < 1e-5, "{time}");
        }
    }

    #[test]
    fn the_offset_is_halfway() {
        let mut bytes = [0; 48];
        (bytes[0], bytes[1]) = (0x24, 2);
        bytes[32..40].copy_from_slice(&stamp(1010.1));
        bytes[40..].copy_from_slice(&stamp(1010.2));
        let answer = Answer::decode(&bytes, 1000.0, 1000.3).unwrap();
        assert!((answer.offset - 10.0).abs() < 1e-5, "{answer:?}");
        assert!((answer.delay - 0.2).abs() < 1e-5, "{answer:?}");
        assert_eq!(Answer::decode(&bytes[..47], 0.0, 0.0), None);
        bytes[0] = 0x23;
        assert_eq!(Answer::decode(&bytes, 0.0, 0.0), None, "a question");
    }
}
