//! What becomes of a group that nobody answers for: who is told next, and who has it in hand.
//!
//! ```text
//! dispatch ── begins, advances by the route's [Policy] ──▶ [Bout] ◀── acknowledges ── people
//! ```
//!
//! A [`Bout`] lasts from the moment when a group is first decided to be told until all of its alerts
//! have ended. Steps that were run and acknowledgements stand in the journal, so a restart goes on.
//!
//! Invariant: whether a step is due follows from the bout, the policy and the time alone, so a tick
//! that is late or comes twice runs each step once.

mod policy;
mod bout;
mod words;
mod record;
mod store;

pub use bout::{AGAIN, Acknowledgement, Bout, Progress, Reached, Released, Seen};
pub use policy::{Policy, Step, StepConfig, check_receiver};
pub use store::{AcknowledgeError, Asked, Escalations, Taken};
