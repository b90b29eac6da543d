//! Who we are among agents, so that we know our own pages when others show them to us.
//!
//! Invariant: no two processes that live at the same time have the same identity, and one process
//! has the same all its life.

/// Sixteen hexadecimal digits: of the start of the machine, of the space of process numbers that we
/// live in (each container has its own), and of our number there.
pub fn identity() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let text = format!("{} {} {}", boot.trim(), space.display(), std::process::id());
    // FNV-1a: this is no secret, and nobody gains by having the same.
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_the_same() {
        assert_eq!(identity(), identity());
        assert_eq!(identity().len(), 16);
    }
}
