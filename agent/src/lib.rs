//! The agent: runs checks on a schedule and shows what they find, as metrics and as health pages.
//!
//! ```text
//! config ─▶ check (a probe with its schedule, or a job that reports) ─▶ run (one loop a check) ─▶ results ─▶ server
//!                                                  └ state: attempts, soft and hard  └▶ uplink
//!        └▶ nrpe (check_nrpe asks for commands)
//! ```
//!
//! Invariant: one slow check delays only itself, and no request changes anything but what a
//! job reports.

pub mod schedule;
pub mod heartbeat;
pub mod push;
pub mod check;
pub mod state;
pub mod results;
mod keep;
pub mod service;
pub mod host;
pub mod nrpe;
pub mod blackbox;
pub mod on_request;
pub mod uplink;
pub mod config;
pub mod schema;
mod describe;
mod run;
pub mod server;
mod app;
mod out;
mod once;
mod demo;
mod import;
pub mod cli;
