//! What `/proc/PID/stat` tells of a process.
//!
//! Invariant: a name may have any byte, brackets and blanks too, and is taken as it is.

/// What the kernel counts CPU time in, for programs, on every architecture of Linux.
pub(crate) const TICKS: f64 = 100.0;

/// What the kernel tells of a process.
#[derive(Debug, PartialEq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: i32,
    pub(crate) name: Vec<u8>,
    pub(crate) zombie: bool,
    pub(crate) ticks: u64,
    pub(crate) threads: u64,
    pub(crate) started: u64,
    pub(crate) pages: u64,
}

/// Reads `/proc/PID/stat`; the name in it may have any byte.
pub(crate) fn parse(stat: &[u8]) -> Option<Process> {
    let open = memchr::memchr(b'(', stat)?;
    let close = memchr::memrchr(b')', stat)?;
    let name = stat.get(open + 1..close)?.to_vec();
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let pid = text(&stat[..open])?.trim().parse().ok()?;
    let fields: Vec<_> = text(stat.get(close + 1..)?)?.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        pid,
        name,
        zombie: matches!(fields.first(), Some(&"Z" | &"X")),
        ticks: number(11)?.saturating_add(number(12)?),
        threads: number(17)?,
        started: number(19)?,
        pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_makes_no_sense_is_none() {
        for text in ["", "1", "1 (a", "1 (a)", "x (a) S", "1 (a) S 1 1", ")("] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
