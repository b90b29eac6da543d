//! How little of the machine's memory our programs hold.
//!
//! Most of what an idle program would hold otherwise is what only its start has needed: the code that
//! reads the configuration, and the heap that it worked in. The kernel keeps such pages for as long as
//! nothing else wants them, which on a host with room is for ever.
//!
//! Invariant: nothing that is given back can be missed. It is heap that is free, and pages that are as
//! they are in their files, from where the kernel takes them again when they are needed.

use std::fs;

/// The largest piece of memory that comes out of the heap. A larger one, such as a page of metrics, is the
/// kernel's again as soon as it is free, where the heap would keep it below whatever came after it.
#[cfg(target_env = "gnu")]
const LARGEST_IN_HEAP: i32 = 32 << 10;

/// So much at the end of the heap may be free before it is given back.
#[cfg(target_env = "gnu")]
const FREE_AT_END: i32 = 128 << 10;

/// Lets threads share at most so many heaps. To be called before there are threads: each could have a
/// heap of its own by then, and what is free in one of them is of no use to the others.
pub fn share_heaps(most: u8) {
    #[cfg(target_env = "gnu")]
    set(libc::M_ARENA_MAX, most.into());
    #[cfg(not(target_env = "gnu"))]
    let _ = most;
}

/// Makes the heap one for all threads, and keeps it from growing for a single large piece. To be
/// called before there are threads.
///
/// For a program whose threads are few and share little; what they would win by heaps of their own is
/// not to be measured, and what they would keep is.
pub fn hold_little() {
    share_heaps(1);
    #[cfg(target_env = "gnu")]
    {
        set(libc::M_MMAP_THRESHOLD, LARGEST_IN_HEAP);
        set(libc::M_TRIM_THRESHOLD, FREE_AT_END);
    }
}

#[cfg(target_env = "gnu")]
#[expect(
    unsafe_code,
    reason = "no crate offers it; it takes two numbers and touches no memory of ours"
)]
fn set(name: i32, value: i32) {
    // SAFETY: a call with two integers. A setting that it does not know it leaves alone.
    unsafe { libc::mallopt(name, value) };
}

/// Gives back what is not needed now. Takes about a millisecond, and what is needed again after all
/// is mapped again, by some microseconds for every 16 pages.
pub fn give_back() {
    give_back_heap();
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else { return };
    unchanged(&maps).into_iter().for_each(forget);
}

/// Gives back what is free of the heap: after a burst of work its pieces lie between others, and the
/// heap's end does not come down by itself. Takes about a millisecond where much is free.
pub fn give_back_heap() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no crate offers it")]
    // SAFETY: it gives back pages of the heap that are in no piece that was handed out.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A part of our address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    address: usize,
    length: usize,
}

/// The mappings of files that can be read and not written to, and of which no page was changed before
/// they became so.
fn unchanged(smaps: &str) -> Vec<Mapping> {
    let (mut found, mut candidate) = (Vec::new(), None);
    for line in smaps.lines() {
        // 55d0c8a00000-55d0c8a4c000 r-xp 0002c000 fe:01 262 /usr/bin/veilleur-agent
        let mut words = line.split_ascii_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
        if first == "Anonymous:" {
            // Pages that are no longer those of the file.
            found.extend(candidate.take().filter(|_| second == "0"));
        } else if !first.ends_with(':') {
            let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
            let is_constant = matches!(second, "r-xp" | "r--p");
            candidate = if is_file && is_constant { mapping(first) } else { None };
        }
    }
    found
}

fn mapping(range: &str) -> Option<Mapping> {
    let (start, end) = range.split_once('-')?;
    let address = usize::from_str_radix(start, 16).ok()?;
    let length = usize::from_str_radix(end, 16).ok()?.checked_sub(address)?;
    Some(Mapping { address, length })
}

/// Lets the kernel take the pages away from us; who touches them next gets them again.
#[expect(unsafe_code, reason = "madvise is unsafe in every crate: it could lose what was written")]
fn forget(mapping: Mapping) {
    let address = std::ptr::with_exposed_provenance_mut(mapping.address);
    // SAFETY: the mapping is private, of a file, cannot be written to and has no page that ever was:
    // what is read from it afterwards is what was read before. Where it is gone meanwhile, another one
    // can be in its place only if somebody has unloaded a library, which we never do.
    unsafe { libc::madvise(address, mapping.length, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchanged_pages_of_files_are_given_back() {
        let check = |header: &str, anonymous: &str, expected: bool| {
            let smaps = format!("{header}\nRss: 4 kB\nAnonymous: {anonymous} kB\nVmFlags: rd mr\n");
            assert_eq!(!unchanged(&smaps).is_empty(), expected, "{header}");
        };
        check("1000-3000 r-xp 0002c000 fe:01 262    /usr/bin/veilleur-agent", "0", true);
        check("1000-3000 r--p 00000000 fe:01 262    /usr/bin/veilleur-agent", "0", true);
        check("1000-3000 r-xp 0002c000 fe:01 262    /usr/bin/veilleur-agent (deleted)", "0", true);
        check("1000-3000 r--p 00000000 fe:01 262    /usr/bin/veilleur-agent", "4", false);
        check("1000-3000 rw-p 00000000 fe:01 262    /usr/bin/veilleur-agent", "0", false);
        check("1000-3000 r--s 00000000 fe:01 262    /etc/shared", "0", false);
        check("1000-3000 r-xp 00000000 00:00 0      [vdso]", "0", false);
        check("1000-3000 r--p 00000000 00:00 0", "0", false);
        check("3000-1000 r--p 00000000 fe:01 262    /backwards", "0", false);
        let two = "1000-3000 r-xp 0 fe:01 2 /a\nAnonymous: 0 kB\n3000-4000 rw-p 0 fe:01 2 /a\nAnonymous: 0 kB\n";
        assert_eq!(unchanged(two), [Mapping { address: 0x1000, length: 0x2000 }]);
    }

    /// What stays lies behind what was freed, so that the heap's end does not come down.
    #[test]
    #[cfg(target_env = "gnu")]
    fn what_is_free_between_others_is_given_back() {
        let anonymous = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
        };
        let pieces: Vec<Vec<u8>> = (0..8192).map(|_| vec![1; 4096]).collect();
        let last = vec![1_u8; 4096];
        drop(pieces);
        let before = anonymous();
        give_back_heap();
        assert!(anonymous() + (16 << 10) < before, "{before} kB, now {} kB", anonymous());
        assert!(last.iter().all(|byte| *byte == 1));
    }

    #[test]
    fn what_was_given_back_is_there_again() {
        let some = || !unchanged(&fs::read_to_string("/proc/self/smaps").unwrap()).is_empty();
        assert!(some());
        give_back();
        assert!(some());
    }
}
