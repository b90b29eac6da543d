//! Has the program linked with what is seldom run apart from the rest, where it is built to be
//! installed.
//!
//! Invariant: it changes where code stands, and nothing else.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo tells a build script everything by its environment"
)]

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=seldom.ld");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|is| is == value);
    // Other systems have other linkers.
    let order = is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux");
    if let (true, Ok(folder)) = (order, env::var("CARGO_MANIFEST_DIR")) {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/seldom.ld");
    }
}
