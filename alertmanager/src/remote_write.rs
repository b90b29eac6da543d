//! Samples on their way to other stores: remote write.
//!
//! ```text
//! [log of samples] ─▶ round: relabelled, in shards ─▶ POST, again until it is taken ─▶ [position]
//! ```
//!
//! What waits is the log itself, kept until everybody has it: so a restart and a long outage cost
//! nothing, up to a number of bytes that each remote has of it. Exemplars, and what targets say of their
//! metrics, are in memory only, and go beside.
//!
//! Invariant: a remote's position moves on when everything before it was taken, was refused for
//! good, or had to go for want of room; what was not taken is counted.

mod config;
mod position;
mod about;
mod round;
mod status;
mod run;
mod writers;

pub use config::{RemoteWriteConfig, Settings, build_all, check_headers};
pub use status::{RemoteState, RemoteStates};
pub use writers::Writers;
