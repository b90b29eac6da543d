//! What the agent and the evaluator must agree on, and nothing that only one of them needs.
//!
//! Rule of admission: two of our crates use it today, and it knows nothing of probes or alerts.

#![warn(missing_docs)]

pub mod labels;
pub mod matcher;
pub mod sample;
pub mod histogram;
pub mod clock;
pub mod period;
pub mod backoff;
pub mod secret;
pub mod diagnostic;
pub mod yaml;
pub mod number;
pub mod family;
pub mod exposition;
pub mod own_metrics;
pub mod log;
pub mod process;
pub mod memory;
pub mod signals;
pub mod supervisor;
pub mod http;
pub mod remote_write;
