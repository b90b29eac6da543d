//! The program `veilleur-agent`. Everything it does is in the library of the same crate.
//!
//! Invariant: nothing is decided here.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::cli::main()
}
