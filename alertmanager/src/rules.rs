//! Judging.
mod states;
