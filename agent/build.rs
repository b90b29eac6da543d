//! Has the program linked with what is often run together, and what is seldom run apart from the rest,
//! where it is built to be installed.
//!
//! Invariant: it changes where code stands, and nothing else.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo tells a build script everything by its environment"
)]

use std::env;

fn main() {
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|is| is == value);
    // Other systems have other linkers.
    let order = is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux");
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    // What both name is where the first says.
    for script in ["often.ld", "seldom.ld"] {
        println!("cargo::rerun-if-changed={script}");
        if order {
            println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/{script}");
        }
    }
}
