//! Alerts about ourselves: where somebody may not hear of something because of us.
//!
//! ```text
//! lanes, outbox, rules, targets ──▶ what is wrong ──▶ pushed alerts ──▶ routes like any other
//! ```
//!
//! They go by the normal routes, but never by the lane that they are about (`dispatch::audience`).
//! They are pushed again while they hold and end when they do not, or when we do.
//!
//! Invariant: their labels are names of the configuration, so there is at most one of each kind for
//! each lane, group of rules, job and receiver; a failure to deliver them adds none.

mod faults;
mod lists;
mod run;
mod storm;

pub use faults::{Fault, why_not_well};
pub use run::{OwnAlerts, Told};
pub use storm::{Seen, Storm};
