//! The program `veilleur`. Everything it does is in the library of the same crate.
//!
//! Invariant: nothing is decided here.

use std::process::ExitCode;

fn main() -> ExitCode {
    alertmanager::cli::main()
}
