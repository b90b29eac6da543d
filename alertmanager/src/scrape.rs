//! Collecting: every target's metrics, at its interval, into the storage.
//!
//! ```text
//! job ──discovery, relabelling──▶ Target ──fetch──▶ text ──SeriesCache──▶ points ──▶ storage
//!                                    │                  └─▶ Outputs: what checks said
//!                                    └─▶ Targets: how each is, for people
//! ```
//!
//! A scrape is stored as a whole or not at all. What ends is marked in the samples with why
//! ([`base::sample::Ended`]): gone from a target that answered, lost with a target that did not,
//! removed with a target that is no longer configured.
//!
//! Invariant: a target that fails is data, `up 0`, and no target delays another.

mod global;
mod resolution;
mod config;
mod protocol;
mod target;
mod fetch;
mod known;
mod series;
mod outputs;
mod metadata;
mod classic;
mod targets;
mod sources;
mod lint;
mod run;
#[cfg(test)]
mod tests;

pub use config::{Job, ScrapeConfig};
pub use global::{GlobalScrape, size_of};
pub use lint::{Problem, lint};
pub use metadata::{Described, Metadata};
pub use outputs::Outputs;
pub use run::{ScrapeMetrics, Scraper};
pub use target::{Target, TargetKey};
pub use targets::{Dropped, Health, PUSHED, SourceState, TargetState, Targets};
