//! Paging, swapping and out-of-memory kills, from `/proc/vmstat`.
//!
//! Invariant: the fields are those that node_exporter picks by default:
//! `^(oom_kill|pgpg|pswp|pg.*fault).*`.

use super::config::Settings;
use super::file::Source;
use super::{Collect, text};
use base::family::{MetricFamily, MetricKind};

pub(super) fn collector(settings: &Settings) -> Collect {
    let path = settings.paths.procfs.join("vmstat");
    let mut source = Source::records(path, &settings.descriptors);
    Box::new(move |reading| {
        let vmstat = source.read(&mut reading.buffer)?;
        let mut malformed = None;
        for line in text::lines(vmstat) {
            let Some((name, value)) = text::split(line, b' ') else { continue };
            if !is_wanted(name) {
                continue;
            }
            let Some(value) = text::value(value) else {
                malformed = Some(text::text(line).into_owned());
                continue;
            };
            let name = text::text(name);
            let mut family = MetricFamily::new(
                format!("node_vmstat_{name}"),
                format!("/proc/vmstat information field {name}."),
                MetricKind::Unknown,
            );
            family.add(&[], value);
            reading.families.push(family);
        }
        match malformed {
            Some(line) => Err(source.malformed(format!("`{line}`"))),
            None => Ok(()),
        }
    })
}

fn is_wanted(name: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let fault = || name.windows(5).skip(2).any(|part| part == b"fault");
    match name {
        [b'o', ..] => name.starts_with(b"oom_kill"),
        [b'p', b's', ..] => name.starts_with(b"pswp"),
        [b'p', b'g', ..] => (name.starts_with(b"pgpg") || fault()) && name.iter().all(is_name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_what_node_exporter_picks() {
        let picks = regex::bytes::Regex::new("^(oom_kill|pgpg|pswp|pg.*fault).*").unwrap();
        for name in [
            "oom_kill",
            "oom_kills",
            "oom",
            "pgpgin",
            "pgpgout",
            "pgfault",
            "pgmajfault",
            "pgfaul",
            "pswpin",
            "pswp",
            "psw",
            "pgsteal_kswapd",
            "pgsteal_default",
            "workingset_fault",
            "pg",
            "numa_pte_updates",
            "pgfault_x",
            "thp_fault_alloc",
            "",
        ] {
            assert_eq!(is_wanted(name.as_bytes()), picks.is_match(name.as_bytes()), "{name}");
        }
    }
}
