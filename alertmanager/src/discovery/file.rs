//! `file_sd_configs`: targets in files that a program or a person writes.
//!
//! Invariant: a file is read when its size or time of change differs from what was read, and at
//! the refresh interval; a file with a fault counts as it last was good.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base::diagnostic::{Diagnostics, Spanned};
use base::period::Period;
use base::sample::Timestamp;
use tracing::warn;

use super::{Discovered, FileSdConfig, TargetGroupConfig, relative_to};

/// The files of one `file_sd_configs` entry.
#[derive(Clone, Debug)]
pub struct FileSd {
    patterns: Vec<PathBuf>,
    refresh: Period,
    files: BTreeMap<PathBuf, Known>,
    read_at: Option<Timestamp>,
}

/// What is known of a file.
#[derive(Clone, Debug)]
struct Known {
    stamp: Option<(u64, SystemTime)>,
    targets: Vec<Discovered>,
}

impl FileSd {
    /// Checks the patterns; relative ones are relative to `folder`.
    pub fn build(config: &FileSdConfig, folder: &Path, diagnostics: &mut Diagnostics) -> Self {
        let mut patterns = Vec::new();
        for file in &config.files {
            let path = relative_to(folder, &file.value);
            let known = path.extension().and_then(|e| e.to_str());
            let in_folder = path.parent().and_then(Path::to_str).is_some_and(|p| p.contains('*'));
            if !matches!(known, Some("json" | "yml" | "yaml")) || in_folder {
                diagnostics.report_with_help(
                    file,
                    format!("`{}` names no file with targets", file.value),
                    "end it in .json, .yml or .yaml, with `*` in the last part only",
                );
            }
            patterns.push(path);
        }
        let refresh = config.refresh_interval.unwrap_or(Period::from_secs(300));
        Self { patterns, refresh, files: BTreeMap::new(), read_at: None }
    }

    /// Whether two entries mean the same files.
    pub fn same_files(&self, other: &Self) -> bool {
        self.patterns == other.patterns && self.refresh == other.refresh
    }

    /// Reads what has changed; true where the targets may be others now.
    pub fn refresh(&mut self, now: Timestamp) -> bool {
        let due = self.read_at.is_none_or(|at| now.since(at) >= self.refresh.duration());
        if due {
            self.read_at = Some(now);
        }
        let paths: Vec<_> = self.patterns.iter().flat_map(|pattern| matching(pattern)).collect();
        let before = self.files.len();
        self.files.retain(|path, _| paths.contains(path));
        let mut changed = self.files.len() != before;
        for path in paths {
            let stamp = std::fs::metadata(&path)
                .ok()
                .and_then(|metadata| Some((metadata.len(), metadata.modified().ok()?)));
            let known = self.files.get(&path);
            if !due && known.is_some_and(|known| known.stamp == stamp) {
                continue;
            }
            match read(&path) {
                Ok(targets) => {
                    changed |= known.is_none_or(|known| known.targets != targets);
                    self.files.insert(path, Known { stamp, targets });
                }
                Err(faults) => {
                    warn!(%faults, "targets cannot be read; the last good list stays");
                    let targets = known.map_or_else(Vec::new, |known| known.targets.clone());
                    self.files.insert(path, Known { stamp, targets });
                }
            }
        }
        changed
    }

    /// The targets of all files.
    pub fn targets(&self) -> impl Iterator<Item = &Discovered> {
        self.files.values().flat_map(|known| &known.targets)
    }
}

/// Reads a file with targets.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn read(path: &Path) -> Result<Vec<Discovered>, Diagnostics> {
    let name = path.display().to_string();
    let mut diagnostics = Diagnostics::new(&name);
    let groups: Vec<Spanned<Option<TargetGroupConfig>>> =
        base::yaml::read_file(path, &mut diagnostics).unwrap_or_default();
    let mut targets = Vec::new();
    for group in groups {
        match &group.value {
            Some(group) => targets.extend(group.build(&name, &mut diagnostics)),
            None => diagnostics.report(&group, "a group of targets is empty"),
        }
    }
    diagnostics.into_result(targets)
}

/// The files that `pattern` names, sorted; `*` in its last part stands for anything.
pub(crate) fn matching(pattern: &Path) -> Vec<PathBuf> {
    let Some(last) = pattern.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    if !last.contains('*') {
        return vec![pattern.to_owned()];
    }
    let folder = pattern.parent().unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| fits(last, name))
        })
        .collect();
    found.sort();
    found
}

/// Whether `name` fits `pattern`, in which `*` stands for any text.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let check =
            |pattern, name, expected| assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        check("*.yml", "a.yml", true);
        check("*.yml", ".yml", true);
        check("*.yml", "a.yaml", false);
        check("a*b*.json", "axxbyy.json", true);
        check("a*b*.json", "axx.json", false);
        check("a.json", "a.json", true);
        check("a.json", "aa.json", false);
        check("a*a", "a", false);
    }

    #[test]
    fn a_bad_file_keeps_the_last_good_list() {
        let dir = tempfile::tempdir().unwrap();
        let config = FileSdConfig {
            files: vec![Spanned { value: "*.yml".to_owned(), ..Spanned::default() }],
            refresh_interval: None,
        };
        let mut diagnostics = Diagnostics::new("f.yml");
        let mut sd = FileSd::build(&config, dir.path(), &mut diagnostics);
        assert!(diagnostics.is_empty());
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let at = Timestamp::from_millis;
        let names = |sd: &FileSd| -> Vec<String> {
            sd.targets().map(|t| t.get("__address__").unwrap().to_owned()).collect()
        };
        assert!(!sd.refresh(at(0)));
        write("a.yml", "- targets: [a:1, b:2]\n  labels: {x: y}\n");
        assert!(sd.refresh(at(1000)));
        assert_eq!(names(&sd), ["a:1", "b:2"]);
        write("a.yml", "- targets: [half");
        assert!(!sd.refresh(at(2000)));
        assert_eq!(names(&sd), ["a:1", "b:2"]);
        write("a.yml", "- targets: [c:3]\n");
        assert!(sd.refresh(at(3000)));
        assert_eq!(names(&sd), ["c:3"]);
        std::fs::remove_file(dir.path().join("a.yml")).unwrap();
        assert!(sd.refresh(at(4000)));
        assert!(names(&sd).is_empty());
    }

    #[test]
    fn reads_json_too_and_reports_every_fault() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.json");
        std::fs::write(&path, r#"[{"targets": ["a:1"], "labels": {"k": "v"}}]"#).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found[0].get("k"), Some("v"));
        // Relabelling may make an address of it.
        std::fs::write(&path, r#"[{"targets": ["http://a/b"]}]"#).unwrap();
        assert_eq!(read(&path).unwrap()[0].get("__address__"), Some("http://a/b"));
        std::fs::write(&path, r#"[{"targets": ["a:1", ""]}, null, {"target": []}]"#).unwrap();
        assert_eq!(read(&path).unwrap_err().faults().len(), 3);
    }
}
