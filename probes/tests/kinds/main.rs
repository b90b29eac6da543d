//! Every kind of probe over the network against one server that does all that servers do wrong, and
//! against certificates that are not in order: each failure has its own reason, within its time.
//!
//! ```text
//! kinds     a row for each kind: how it is configured, what its server says first
//! server    a server that misbehaves
//! faults    every kind against every fault
//! manual    the pages of the manual beside what probes tell
//! written   what is wrong with a configuration is told with its place
//! ```

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod kinds;
mod manual;
mod server;
mod written;
