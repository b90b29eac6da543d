//! The real programs, from outside: what people rely on when they are called at night.
//!
//! Invariant: every test stands on its own, on ports and in folders that no other uses.

mod rig;
mod alertmanager;
mod chain;
mod crashes;
mod documents;
mod explaining;
mod faults;
mod news;
mod pushed;
mod web;
