//! Judging: expressions over samples become new samples and alerts.
//!
//! ```text
//! rule files, built-in rules ──▶ RuleGroup ── every interval ──▶ evaluate(now)
//!                                                                 │ samples ──▶ storage
//!                                                                 │ timers  ──▶ state (durable)
//!                                                                 └ alerts  ──▶ [alerts]
//! ```
//!
//! A [`RuleGroup`] is what was configured and never changes; what an evaluation must remember is a
//! [`GroupState`], which a restart finds again in the state.
//!
//! Invariant: an alert's timer is durable before anybody hears of the alert.

mod file;
mod template;
mod states;
mod missing;
mod measured;
mod turn;
mod identity;
mod alerting;
mod recording;
mod watch;
mod group;
mod builtin;
mod lint;
mod slo;
mod view;
mod flapping;
mod run;

pub use builtin::{BuiltinConfig, builtin_group};
pub use file::{RuleFile, Unknown, read_file};
pub use flapping::Flapping;
pub use group::{BUILTIN_FILE, Evaluation, GroupState, RuleGroup, Sources, taken_over};
pub use lint::{Findings, Selector};
pub use missing::OnMissing;
pub use run::{RuleMetrics, RuleRunner};
pub use slo::{SLO_FILE, SloConfig, slo_groups};
pub use turn::QueryLimits;
pub use view::{AlertView, GroupView, RuleKind, RuleView, Rules};
pub use watch::DeadSelector;
