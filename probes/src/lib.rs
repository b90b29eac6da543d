//! Looking at one thing once: the [`Probe`] trait and every kind of probe.
//!
//! ```text
//! agent ── run(stop) ──▶ Probe ──▶ Outcome { status, reason, summary, details, measurements, families }
//! ```
//!
//! Invariant: a probe knows no schedule, label, timeout or log. It is told to stop when its time is
//! up, and whatever goes wrong, that too, is its [`Outcome`], with a [`Reason`] from a closed set.

#![warn(missing_docs)]

pub mod text;
mod glob;
mod process_stat;
mod outcome;
pub mod range;
pub mod thresholds;
pub mod series;
pub mod host;
mod network;
pub mod target;
mod wire;
mod chain;
mod session;
mod guard;
mod starttls;
mod scram;
pub mod script;
pub mod http;
pub mod tcp;
pub mod dns;
pub mod icmp;
pub mod mail;
pub mod ssh;
pub mod ntp;
pub mod redis;
pub mod postgres;
pub mod mysql;
pub mod mongodb;
pub mod broker;
mod ber;
pub mod ldap;
pub mod tls;
pub mod snmp;
pub mod websocket;
pub mod grpc;
pub mod health;
pub mod prometheus;
pub mod local;
pub mod blackbox;
mod config;
pub mod manual;

pub use config::ProbeConfig;
pub use outcome::{Component, Measurement, Outcome, Reason, Status, Tree};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

/// Something that can be looked at.
#[async_trait]
pub trait Probe: Send + Sync + std::fmt::Debug {
    /// Looks once.
    ///
    /// When `stop` is cancelled the time is up: the probe cleans up behind itself, which takes a
    /// script up to three seconds and everything else none, and says how far it came
    /// ([`Reason::Timeout`]). It must be run to its end: dropping the future would leave a script's
    /// processes behind until the next one runs.
    async fn run(&self, stop: &CancellationToken) -> Outcome;
}
