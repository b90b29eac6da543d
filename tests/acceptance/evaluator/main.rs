//! The real programs, from outside: what people rely on when they are called at night.
//!
//! Invariant: every test stands on its own, on ports and in folders that no other uses.

mod rig;
mod agents;
mod amtool;
mod beside_prometheus;
mod beside_rules;
mod alertmanager;
mod chain;
mod chat;
mod clocks;
mod collecting;
mod crashes;
mod delivery;
mod disk;
mod documents;
mod escalating;
mod explaining;
mod failing_disk;
mod faults;
mod first_round;
mod hygiene;
mod keeping;
mod kills;
mod limits;
mod mail_faults;
mod metrics_lint;
mod news;
mod open_telemetry;
mod outside;
mod pagers;
mod pushed;
mod queries;
mod reaching;
mod recipients;
mod reloads;
mod remote;
mod rules_as_code;
mod safe_mode;
mod samples;
mod servers;
mod silence_page;
mod silenced;
mod sources;
mod test_files;
mod web;
