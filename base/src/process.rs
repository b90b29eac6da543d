//! What a program of ours makes sure of before it does anything.
//!
//! Invariant: afterwards no crash leaves a memory image behind, which could hold secrets (X43), and
//! nobody has lent us more than he has himself (X45).

use rustix::process::{Resource, Rlimit, getegid, geteuid, getgid, getuid, setrlimit};

/// Refuses to go on where the program's file has a setuid or setgid bit, and switches memory images
/// off.
///
/// # Errors
///
/// Whoever started us is another than whom we run as; the text says what to do about it.
pub fn begin() -> Result<(), String> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // It can only be lowered, and lowering is always allowed.
    let _ = setrlimit(Resource::Core, none);
    if getuid() == geteuid() && getgid() == getegid() {
        return Ok(());
    }
    let program = std::env::current_exe().unwrap_or_default();
    Err(format!(
        "the user {} runs this as the user {}: our programs are not made for that; take the bit \
         away: `chmod ug-s {}`",
        getuid(),
        geteuid(),
        program.display()
    ))
}
