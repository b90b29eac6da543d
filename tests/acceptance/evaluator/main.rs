//! The real programs, from outside: what people rely on when they are called at night.
//!
//! Invariant: every test stands on its own, on ports and in folders that no other uses.

mod rig;
mod alertmanager;
mod chain;
mod crashes;
mod delivery;
mod documents;
mod faults;
mod kills;
mod mail_faults;
mod news;
mod outside;
mod pushed;
mod web;
