//! Decides who hears of an alert, together with which others, and when.
//!
//! ```text
//! alerts ──▶ Route: which receivers? ──▶ Group: with whom, and is it due? ──▶ decide: what is
//! news to whom? ──▶ Flush, as a durable intent in the receiver's lane
//! ```
//!
//! A [`Route`] is a node of the configured tree; an alert goes to the deepest node that it matches.
//! A [`Group`] holds the alerts of one route that agree on its `group_by` labels. It is due for the
//! first time after `group_wait`, and after that at every `group_interval` where something has
//! changed, or the repeat interval is over.
//!
//! Where a route says so, others are told when nobody answers: `escalation` says who and when, and the
//! loop does it.
//!
//! What is news is decided by comparing what a receiver was last told with what is true now, so
//! that a restart, a reload or a failed delivery neither loses a message nor repeats one.
//!
//! Invariant: routes, groups and decisions know no clock and no network. The loop in `run.rs` gives
//! them the time, so a late tick delays a flush and loses nothing.

mod route;
mod needs;
mod group;
mod groups;
mod decide;
mod ask;
mod held;
mod walk;
mod audience;
mod run;

pub use ask::{AskDispatch, GroupTimes, TimesByGroup};
pub use audience::{FAILED_LANE, FAILED_RECEIVER, Fallback, Fallbacks, NOTIFICATION_FAILED};
pub use decide::{Decision, Known, News, decide};
pub use group::{Group, GroupKey};
pub use held::HeldBy;
pub use route::{GroupBy, Route, RouteConfig, World};
pub use run::{Dispatcher, Lane, Lanes};
pub use walk::{Nodes, Verdict, Visit};
