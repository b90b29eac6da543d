//! A `blackbox.yml`, and the jobs of a `prometheus.yml` that ask by it, as our section `blackbox:`.
//!
//! The modules stay where they are: we read the same file. What is new is that every target must be
//! allowed, and those that Prometheus has written down are.
//!
//! Invariant: a target is listed only with a module that is there and can look at it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Fault, Spanned};
use probes::blackbox::Modules;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Imported, Note, quoted};

/// The module where a job names none, as with blackbox_exporter.
const DEFAULT_MODULE: &str = "http_2xx";

/// A file of either kind, as far as it concerns us.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    modules: Option<IgnoredAny>,
    #[serde(default)]
    scrape_configs: Vec<Spanned<Job>>,
}

/// A job of Prometheus.
#[derive(Debug, Deserialize)]
struct Job {
    #[serde(default)]
    job_name: String,
    #[serde(default)]
    metrics_path: String,
    #[serde(default)]
    params: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    static_configs: Vec<Group>,
    #[serde(default)]
    file_sd_configs: Option<Spanned<IgnoredAny>>,
    #[serde(default)]
    http_sd_configs: Option<Spanned<IgnoredAny>>,
    #[serde(default)]
    dns_sd_configs: Option<Spanned<IgnoredAny>>,
    #[serde(default)]
    consul_sd_configs: Option<Spanned<IgnoredAny>>,
    #[serde(default)]
    kubernetes_sd_configs: Option<Spanned<IgnoredAny>>,
}

#[derive(Debug, Deserialize)]
struct Group {
    #[serde(default)]
    targets: Vec<Spanned<String>>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Our section for what `files` say: one with modules, and any number with jobs of Prometheus.
///
/// # Errors
///
/// One of `files` cannot be read, or none has modules.
pub(crate) fn blackbox(files: &[PathBuf]) -> io::Result<Imported> {
    let (mut named, mut jobs, mut notes) = (None, Vec::new(), Vec::new());
    for path in files {
        let shown = path.display().to_string();
        let about = |error: io::Error| io::Error::new(error.kind(), format!("{shown}: {error}"));
        let text = std::fs::read_to_string(path).map_err(about)?;
        let mut diagnostics = Diagnostics::new(&shown);
        let file: Option<File> = base::yaml::read(&text, &mut diagnostics);
        notes.extend(diagnostics.faults().into_iter().map(Note::of));
        let Some(file) = file else { continue };
        if file.modules.is_some() {
            let mut diagnostics = Diagnostics::new(&shown);
            let modules = Modules::read(&text, &mut diagnostics);
            let told = diagnostics.faults().into_iter().map(Note::of);
            notes.extend(told.map(|note| Note {
                text: format!("{}; the file is refused as it is", note.text),
                ..note
            }));
            named = Some((path.canonicalize().map_err(about)?, modules));
        }
        jobs.extend(file.scrape_configs.into_iter().map(|job| (shown.clone(), job)));
    }
    let Some((path, modules)) = named else {
        return Err(io::Error::other(
            "none of the files has `modules`: name the blackbox.yml, too",
        ));
    };
    let mut lines = String::new();
    for (file, job) in jobs.iter().filter(|(_, job)| job.value.metrics_path == "/probe") {
        targets(file, job, &modules, &mut lines, &mut notes);
    }
    let mut yaml = format!("blackbox:\n  config: {}\n", quoted(&path.display().to_string()));
    match lines.as_str() {
        "" => {
            yaml.push_str("  allow_targets: []   # nothing is looked at that is not listed here\n")
        }
        lines => {
            let _ = write!(yaml, "  targets:\n{lines}");
        }
    }
    Ok(Imported { yaml, notes })
}

/// Adds the targets of a job.
fn targets(
    file: &str,
    job: &Spanned<Job>,
    modules: &Modules,
    lines: &mut String,
    notes: &mut Vec<Note>,
) {
    let note = |line: u32, text: String| Note { file: file.to_owned(), line: line as usize, text };
    let name = &job.value.job_name;
    let module = job.value.params.get("module").and_then(|all| all.first());
    let module = module.map_or(DEFAULT_MODULE, String::as_str);
    let Some(built) = modules.get(module) else {
        let text = format!("the job `{name}` is not converted: there is no module `{module}`");
        notes.push(note(job.place.line, text));
        return;
    };
    let found = [
        ("file_sd_configs", &job.value.file_sd_configs),
        ("http_sd_configs", &job.value.http_sd_configs),
        ("dns_sd_configs", &job.value.dns_sd_configs),
        ("consul_sd_configs", &job.value.consul_sd_configs),
        ("kubernetes_sd_configs", &job.value.kubernetes_sd_configs),
    ];
    for (kind, found) in found {
        if let Some(found) = found {
            let text = format!(
                "what the job `{name}` finds by `{kind}` is not known here: allow it by `allow_targets`"
            );
            notes.push(note(found.place.line, text));
        }
    }
    for group in &job.value.static_configs {
        for target in &group.targets {
            if let Err(why) = built.place_of(&target.value) {
                let text =
                    format!("`{}` of the job `{name}` is not converted: {why}", target.value);
                notes.push(note(target.place.line, text));
                continue;
            }
            let (target, module) = (quoted(&target.value), quoted(module));
            let _ = write!(lines, "  - {{target: {target}, module: {module}");
            if !group.labels.is_empty() {
                let labels = group.labels.iter();
                let labels: Vec<_> =
                    labels.map(|(name, value)| format!("{name}: {}", quoted(value))).collect();
                let _ = write!(lines, ", labels: {{{}}}", labels.join(", "));
            }
            lines.push_str("}\n");
        }
    }
}

impl Note {
    /// What is wrong with a file, as a note.
    fn of(fault: &Fault) -> Self {
        let text = match fault.help() {
            Some(help) => format!("{} ({help})", fault.message()),
            None => fault.message().to_owned(),
        };
        let line = fault.place().map_or(1, |place| place.line as usize);
        Self { file: fault.file().to_owned(), line, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(files: &[(&str, &str)]) -> Result<(String, String), String> {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = files.iter().map(|(name, _)| folder.path().join(name)).collect();
        for (path, (_, text)) in paths.iter().zip(files) {
            std::fs::write(path, text).unwrap();
        }
        let imported = blackbox(&paths).map_err(|error| error.to_string())?;
        let notes: Vec<_> = imported.notes.iter().map(Note::to_string).collect();
        let short = |text: String| text.replace(&format!("{}/", folder.path().display()), "");
        Ok((short(imported.yaml), short(notes.join("\n"))))
    }

    const MODULES: &str = "modules:\n  http_2xx: {prober: http}\n  ping: {prober: icmp}\n";

    #[test]
    fn targets_of_prometheus_are_listed_with_their_modules() {
        let jobs = "global: {scrape_interval: 15s}\nscrape_configs:\n- job_name: node\n  \
                    static_configs: [{targets: ['a:9100']}]\n- job_name: web\n  \
                    metrics_path: /probe\n  params: {module: [http_2xx]}\n  static_configs:\n  \
                    - {targets: ['https://shop.example/', shop.example], labels: {team: shop}}\n  \
                    relabel_configs: [{target_label: __address__, replacement: 'b:9115'}]\n\
                    - job_name: ping\n  metrics_path: /probe\n  params: {module: [ping]}\n  \
                    static_configs: [{targets: [gateway.example, 'gateway.example:80']}]\n  \
                    file_sd_configs: [{files: [x.json]}]\n- job_name: dns\n  \
                    metrics_path: /probe\n  params: {module: [dns]}\n";
        let (yaml, notes) = import(&[("blackbox.yml", MODULES), ("prometheus.yml", jobs)]).unwrap();
        assert_eq!(
            yaml,
            "blackbox:\n  config: \"blackbox.yml\"\n  targets:\n  \
             - {target: \"https://shop.example/\", module: \"http_2xx\", labels: {team: \"shop\"}}\n  \
             - {target: \"shop.example\", module: \"http_2xx\", labels: {team: \"shop\"}}\n  \
             - {target: \"gateway.example\", module: \"ping\"}\n"
        );
        assert_eq!(
            notes,
            "prometheus.yml:15: what the job `ping` finds by `file_sd_configs` is not known here: \
             allow it by `allow_targets`\n\
             prometheus.yml:14: `gateway.example:80` of the job `ping` is not converted: the target \
             has no proper host name or address\n\
             prometheus.yml:16: the job `dns` is not converted: there is no module `dns`"
        );
    }

    #[test]
    fn modules_that_we_do_not_have_are_told() {
        let text =
            format!("{MODULES}  quic:\n    prober: http\n    http: {{enable_http3: true}}\n");
        let (yaml, notes) = import(&[("blackbox.yml", &text)]).unwrap();
        let none = "  allow_targets: []   # nothing is looked at that is not listed here\n";
        assert_eq!(yaml, format!("blackbox:\n  config: \"blackbox.yml\"\n{none}"));
        let expected = "blackbox.yml:6: HTTP/3 is spoken alone, without HTTP/2 (write `enable_http2: false` \
             beside it); the file is refused as it is";
        assert_eq!(notes, expected);
        let error = import(&[("prometheus.yml", "scrape_configs: []\n")]).unwrap_err();
        assert!(error.contains("none of the files has `modules`"), "{error}");
    }
}
