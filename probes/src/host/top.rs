//! The programs that take the most: the processes of one name together.
//!
//! Invariant: no more names are shown than were asked for by CPU time and by memory; which they are
//! changes from scrape to scrape, and so their series come and go.

use std::collections::{BTreeSet, HashMap};

use super::config::Settings;
use super::table::{Column, Table};
use super::{Collect, CollectError, text};
use crate::process_stat::{TICKS, parse};

const COUNT: usize = 0;
const MEMORY: usize = 1;
const CPU: usize = 2;
const THREADS: usize = 3;
const COLUMNS: [Column; 4] = [
    Column::gauge("veilleur_top_processes", "Processes of a name, of those that take the most."),
    Column::gauge("veilleur_top_memory_bytes", "Memory that they hold (RSS)."),
    Column::counter("veilleur_top_cpu_seconds_total", "CPU time that they used while watched."),
    Column::gauge("veilleur_top_threads", "Their threads."),
];

/// What the processes of one name take.
#[derive(Default)]
struct Taken {
    count: f64,
    pages: f64,
    threads: f64,
    /// Since the scrape before.
    recent: u64,
}

pub(super) fn collector(settings: &Settings) -> Collect {
    let procfs = settings.paths.procfs.clone();
    let most = settings.top_count;
    let page = rustix::param::page_size() as f64;
    let mut before: Option<HashMap<(i32, u64), u64>> = None;
    let mut totals: HashMap<String, f64> = HashMap::new();
    Box::new(move |reading| {
        let entries = std::fs::read_dir(&procfs)
            .map_err(|error| CollectError::Unreadable { path: procfs.clone(), error })?;
        let mut names: HashMap<String, Taken> = HashMap::new();
        let mut ticks = HashMap::new();
        for entry in entries.flatten() {
            let is_process = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
            let stat = is_process.then(|| std::fs::read(entry.path().join("stat")).ok()).flatten();
            let Some(process) = stat.and_then(|stat| parse(&stat)) else { continue };
            let key = (process.pid, process.started);
            let taken = names.entry(text::text(&process.name).into_owned()).or_default();
            taken.count += 1.0;
            taken.pages += process.pages as f64;
            taken.threads += process.threads as f64;
            taken.recent += match &before {
                Some(before) => process.ticks - before.get(&key).unwrap_or(&0).min(&process.ticks),
                None => 0,
            };
            ticks.insert(key, process.ticks);
        }
        before = Some(ticks);
        totals.retain(|name, _| names.contains_key(name));
        for (name, taken) in &names {
            *totals.entry(name.clone()).or_default() += taken.recent as f64 / TICKS;
        }
        let mut table = Table::new(&COLUMNS);
        for name in shown(&names, most) {
            let (label, taken) = ([("name", name)], &names[name]);
            table.add(COUNT, &label, taken.count);
            table.add(MEMORY, &label, taken.pages * page);
            table.add(CPU, &label, totals.get(name).copied().unwrap_or(0.0));
            table.add(THREADS, &label, taken.threads);
        }
        reading.families.extend(table.into_families());
        Ok(())
    })
}

/// The names that take the most memory, and those that take the most CPU time.
fn shown(names: &HashMap<String, Taken>, most: usize) -> BTreeSet<&str> {
    let first = |of: fn(&Taken) -> f64| {
        let mut all: Vec<_> =
            names.iter().map(|(name, taken)| (of(taken), name.as_str())).collect();
        all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        all.into_iter().filter(|(value, _)| *value > 0.0).take(most).map(|(_, name)| name)
    };
    first(|taken| taken.pages).chain(first(|taken| taken.recent as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_first_by_memory_and_by_cpu_time() {
        let taken = |pages, recent| Taken { pages, recent, ..Taken::default() };
        let names: HashMap<_, _> = [
            ("big", taken(100.0, 0)),
            ("busy", taken(1.0, 9)),
            ("both", taken(50.0, 5)),
            ("kernel", taken(0.0, 0)),
        ]
        .map(|(name, taken)| (name.to_owned(), taken))
        .into();
        assert_eq!(Vec::from_iter(shown(&names, 1)), ["big", "busy"]);
        assert_eq!(Vec::from_iter(shown(&names, 9)), ["big", "both", "busy"]);
    }
}
