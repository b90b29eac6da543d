//! What others tell us in their own words: failed builds, foreign monitors, log pipelines.
//!
//! ```text
//! POST /api/v1/in/NAME ─▶ Proof: is it they? ─▶ Kind or mapping: what do they say? ─▶ Event
//!                                                              limits, key, source ─▶ [pushed]
//! ```
//!
//! A [`Source`] is one who may tell us something, by a token or a signature of its own. What it says
//! becomes alerts like any other, with the label `source`: they take the same routes, and only their
//! source can end them (X50).
//!
//! Invariant: of a message all is taken or nothing, and no part of it decides about anything but the
//! labels, texts and times of alerts of its own source.

mod proof;
mod event;
mod json;
mod kinds;
mod mapping;
mod sns;
mod config;
mod take;

pub use config::{Source, SourceConfig, build_sources};
pub use take::{Intake, IntakeError, Taken};
