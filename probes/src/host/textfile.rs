//! Metrics that other programs leave in files: `*.prom` in folders that are configured.
//!
//! Invariant: a file is shown as a whole or not at all, but for families that contradict an earlier
//! file; whatever is left out is told by `node_textfile_scrape_error` and named by
//! `veilleur_textfile_error`.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::time::UNIX_EPOCH;

use base::exposition::{Format, parse_families};
use base::family::{FamilySample, MetricFamily};

use super::config::Settings;
use super::table::Column;
use super::{Collect, attributes};
use crate::glob;

const MTIME: Column =
    Column::gauge("node_textfile_mtime_seconds", "Unixtime mtime of textfiles successfully read.");
const ERROR: Column = Column::gauge(
    "node_textfile_scrape_error",
    "1 if there was an error opening or reading a file, 0 otherwise",
);
const BAD: Column = Column::gauge(
    "veilleur_textfile_error",
    "A file of metrics, or a part of it, that is left out, and why.",
);
/// The longest file.
const MOST_BYTES: u64 = 16 << 20;
/// How many files there may be.
const MOST_FILES: usize = 1000;
/// Names that are ours to give, on this page.
const RESERVED: [&str; 5] =
    ["veilleur_", "process_", "probe_", "node_textfile_", "node_scrape_collector_"];

/// What was found so far.
#[derive(Default)]
struct Gathered {
    families: BTreeMap<String, Gathering>,
    mtimes: Vec<(String, f64)>,
    /// Who is at fault, and why.
    faults: Vec<(String, String)>,
}

/// A family, with the files that it comes from.
struct Gathering {
    family: MetricFamily,
    files: Vec<String>,
    series: HashSet<String>,
}

pub(super) fn collector(settings: &Settings) -> Collect {
    let directories = settings.textfile_directories.clone();
    Box::new(move |reading| {
        let mut gathered = Gathered::default();
        for directory in &directories {
            gathered.add_directory(directory);
        }
        let mut error = ERROR.family();
        error.add(&[], f64::from(u8::from(!gathered.faults.is_empty())));
        reading.families.push(error);
        if !gathered.mtimes.is_empty() {
            let mut mtimes = MTIME.family();
            for (file, mtime) in &gathered.mtimes {
                mtimes.add(&[("file", file)], *mtime);
            }
            reading.families.push(mtimes);
        }
        if !gathered.faults.is_empty() {
            let mut bad = BAD.family();
            for (file, why) in &gathered.faults {
                bad.add(&[("error", why), ("file", file)], 1.0);
            }
            reading.families.push(bad);
        }
        reading.foreign.extend(gathered.families.into_values().map(Gathering::finish));
        Ok(())
    })
}

impl Gathered {
    fn add_directory(&mut self, directory: &str) {
        let found = glob::find(directory, MOST_FILES);
        if found.paths.is_empty() {
            self.fault(directory, "there is no such folder");
        }
        for folder in found.paths {
            let shown = folder.to_string_lossy().into_owned();
            let names = match attributes::names(&folder) {
                Ok(names) => names,
                Err(error) => {
                    self.fault(&shown, &error.to_string());
                    continue;
                }
            };
            let mut files: Vec<_> = names.into_iter().filter(|n| n.ends_with(".prom")).collect();
            if files.len() > MOST_FILES {
                self.fault(&shown, &format!("there are more than {MOST_FILES} files"));
                files.truncate(MOST_FILES);
            }
            for file in files.iter().map(|name| folder.join(name)) {
                let name = file.to_string_lossy().into_owned();
                match read(&file) {
                    Err(why) => self.fault(&name, &why),
                    Ok((mtime, families)) => {
                        self.mtimes.push((name.clone(), mtime));
                        families.into_iter().for_each(|family| self.add(&name, family));
                    }
                }
            }
        }
    }

    fn fault(&mut self, file: &str, why: &str) {
        // A label's value is shown on pages, and twice the same would be twice the same series.
        let fault = (file.to_owned(), crate::text::shown_line(why.as_bytes(), 200));
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn add(&mut self, file: &str, family: MetricFamily) {
        let name = family.name.clone();
        if RESERVED.iter().any(|reserved| name.starts_with(reserved)) {
            return self.fault(file, &format!("`{name}` is a name of the agent"));
        }
        if let Some(known) = self.families.get(&name) {
            let first = known.files.first().map_or("", String::as_str).to_owned();
            if known.family.kind != family.kind {
                return self.fault(file, &format!("`{name}` has another type in `{first}`"));
            }
            if known.family.help != family.help {
                return self.fault(file, &format!("`{name}` has another help in `{first}`"));
            }
        }
        let (help, kind) = (family.help, family.kind);
        let known = self.families.entry(name.clone()).or_insert_with(|| Gathering {
            family: MetricFamily::new(name.clone(), help, kind),
            files: Vec::new(),
            series: HashSet::new(),
        });
        known.files.push(file.to_owned());
        let mut twice = false;
        for sample in family.samples {
            if known.series.insert(series(&sample)) {
                known.family.samples.push(sample);
            } else {
                twice = true;
            }
        }
        if twice {
            self.fault(file, &format!("a series of `{name}` comes twice"));
        }
    }
}

impl Gathering {
    fn finish(mut self) -> MetricFamily {
        if self.family.help.is_empty() {
            self.files.dedup();
            self.family.help = format!("Metric read from {}", self.files.join(", "));
        }
        self.family
    }
}

/// When the file was written, in seconds, and what is in it.
fn read(path: &Path) -> Result<(f64, Vec<MetricFamily>), String> {
    let said = |error: std::io::Error| error.to_string();
    // To open a pipe is to wait for somebody who writes to it.
    let metadata = std::fs::metadata(path).map_err(said)?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(said)?;
    let mut text = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut text).map_err(said)?;
    let families = parse_families(&text, Format::Text, MOST_BYTES as usize);
    let mut families = families.map_err(|error| error.to_string())?;
    families.retain(|family| !family.samples.is_empty());
    if families.iter().flat_map(|family| &family.samples).any(|s| s.timestamp.is_some()) {
        return Err("has a sample with a time of its own, which is not allowed".to_owned());
    }
    let mtime = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok((mtime.map_or(0.0, |since| since.as_secs_f64()), families))
}

/// What tells a sample from the others of its family.
fn series(sample: &FamilySample) -> String {
    let labels = sample.labels.iter().filter(|(_, value)| !value.is_empty());
    let mut labels: Vec<_> = labels.map(|(name, value)| (name.as_ref(), value.as_str())).collect();
    labels.sort_unstable();
    format!("{} {labels:?}", sample.suffix)
}
