//! The central evaluator: scrape, judge, route, notify.
//!
//! The modules stand in the order of dependency: each uses only modules above it, a test checks it.
//! So a stage knows where its input is, never who uses its output; `app` connects them.
//!
//! Invariant: only `app` knows all stages.

#[macro_use]
mod settings;
pub(crate) mod crash;
pub(crate) mod json;
pub mod time;
pub mod relabel;
pub mod matchers;
pub mod alerts;
pub mod drill;
pub mod news;
pub mod disk;
pub mod safe_mode;
pub mod state;
pub mod escalation;
pub mod outbox;
pub mod pushed;
pub mod mute;
pub(crate) mod aws;
pub mod discovery;
#[macro_use]
mod discovering;
pub mod scrape;
pub mod ingest;
pub mod agents;
pub mod otlp;
pub mod remote_write;
pub mod remote_read;
pub mod remote_store;
pub mod template;
pub mod intake;
pub mod rules;
pub mod dispatch;
pub mod hygiene;
pub mod notify;
pub mod own_alerts;
pub mod config;
pub mod unit_test;
pub mod backtest;
pub mod explain;
pub mod api;
pub mod app;
pub mod cli;
