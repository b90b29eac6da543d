//! Pushing what this agent shows, for agents that nobody can reach: remote write through a buffer on
//! the disk.
//!
//! ```text
//! every interval: families ─▶ series ─▶ [buffer] ─▶ POST ─▶ the evaluator, or any store that
//!                             (original times)              speaks remote write 1.0 or 2.0
//! before each POST:  outputs ─▶ what is news ─▶ POST ─▶ the evaluator, if it says that it is one
//! ```
//!
//! Invariant: what has been collected is in the buffer before it is sent, and goes out of it only
//! when it was taken, can never be taken, or the buffer is full; what is lost is counted.

mod config;
mod buffer;
mod collect;
mod join;
mod outputs;
mod status;
mod run;

pub use config::{Settings, UplinkConfig};
pub use run::{Source, run};
pub use status::Status;
