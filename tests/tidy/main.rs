//! The rules of the house that no compiler checks.
//!
//! ```text
//! sources     the files of the project, and what of a file is no test
//! files       headers, sizes, names, nothing left for later
//! direction   crates and modules use only what stands before them
//! bans        who may ask for the time, start tasks and threads, read the environment
//! documents   what the documents name exists
//! ```
//!
//! Invariant: a rule that is broken is named with its file and line, all of them in one run.

mod sources;
mod files;
mod direction;
mod bans;
mod documents;
