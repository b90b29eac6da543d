//! Stories: what happens over minutes and hours, told in simulated time.
//!
//! Every step of the evaluator takes the time as a parameter, so a week takes milliseconds. The
//! state is a real database in a temporary folder, so that a restart is a real one.

mod simulation;
mod lanes;
mod delivery;
mod dispatch;
mod first_round;
mod mutes;
mod clocks;
mod escalation;
mod on_its_way;
mod hygiene;
