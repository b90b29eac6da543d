//! Jobs, in the file and in files that it names; and what becomes of the sections of others.
//!
//! Invariant: a job's name is there once, in whatever file.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::labels::Labels;
use serde::Deserialize;

use super::prometheus::{Keeping, List, check_remote_read, entries};
use super::{FileConfig, Reading, files};
use crate::remote_store::RemoteStore;
use crate::remote_write;
use crate::scrape::{GlobalScrape, Job, ScrapeConfig};

/// A file with jobs, as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JobsFile {
    scrape_configs: List<ScrapeConfig>,
}

/// The jobs of the file and of those that patterns name.
pub(super) fn jobs(
    (own, patterns): (&List<ScrapeConfig>, &[Spanned<String>]),
    global: &GlobalScrape,
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Vec<Arc<Job>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let mut take = |list: &List<ScrapeConfig>, folder: &Path, diagnostics: &mut Diagnostics| {
        for (config, place) in entries(list, "scrape config", diagnostics) {
            let name = &config.job_name;
            if name.value.is_empty() {
                // What else is wrong with it is told all the same.
                diagnostics.report(place, "`job_name` is missing, or empty");
            } else if !seen.insert(name.value.clone()) {
                diagnostics.report(name, format!("there are two jobs `{}`", name.value));
            }
            found.extend(config.clone().build(global.clone(), folder, diagnostics).map(Arc::new));
        }
    };
    take(own, folder, diagnostics);
    for path in files(patterns, folder, diagnostics) {
        let mut of_file = Diagnostics::new(&path.display().to_string());
        let file: JobsFile = base::yaml::read_file(&path, &mut of_file).unwrap_or_default();
        // As Prometheus has it: what is named there is relative to the folder of that file.
        take(&file.scrape_configs, path.parent().unwrap_or(folder), &mut of_file);
        diagnostics.extend(of_file);
    }
    found
}

impl FileConfig {
    /// The store that is asked in place of ours.
    pub(super) fn store(
        &self,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Arc<RemoteStore>> {
        let remote = self.storage.as_ref()?.value.remote.as_ref()?;
        remote.value.build(remote.place, folder, diagnostics).map(Arc::new)
    }

    /// The stores that samples are sent to. What they ask for that is not done is reported in a file
    /// of ours; in one of Prometheus's it is added to `notes`.
    pub(super) fn remotes(
        &self,
        (reading, folder): (Reading, &Path),
        external_labels: &Labels,
        notes: &mut Vec<String>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<Arc<remote_write::Settings>> {
        let entries = entries(&self.remote_write, "remote write config", diagnostics);
        let mut undone = Vec::new();
        let built =
            remote_write::build_all(&entries, external_labels, folder, &mut undone, diagnostics);
        for (place, message) in undone {
            match reading {
                Reading::Own => diagnostics.report_with_help(place, message, "take it out"),
                _ => notes.push(format!("{}:{place}: {message}", diagnostics.file())),
            }
        }
        built
    }

    /// Checks the sections that are about others. What is not done here is reported in a file of
    /// ours; in one of Prometheus's it is given back as notes.
    pub(super) fn others(
        &self,
        reading: Reading,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Vec<String> {
        if reading == Reading::PrometheusAgent {
            let rules = self.rule_files.first().map(Place::from);
            let alerting = self.alerting.as_ref().map(Place::from);
            for (name, place) in [("rule_files", rules), ("alerting", alerting)] {
                if let Some(place) = place {
                    diagnostics.report(place, format!("field {name} is not allowed in agent mode"));
                }
            }
        }
        if let Some(alerting) = &self.alerting {
            alerting.value.check(folder, diagnostics);
        }
        if let Some(remote) = &self.remote_read {
            check_remote_read(&remote.value, folder, diagnostics);
        }
        if let Some(tracing) = &self.tracing {
            tracing.value.check(tracing.place, diagnostics);
        }
        let route = "alerts go to `route` without a detour";
        let sections = [
            ("alerting", self.alerting.as_ref().map(Place::from), Some(route)),
            ("remote_read", self.remote_read.as_ref().map(Place::from), None),
            ("tracing", self.tracing.as_ref().map(Place::from), None),
            ("runtime", self.runtime.as_ref().map(Place::from), Some("it is about Go")),
        ];
        let mut notes = Vec::new();
        let global = &self.global;
        let jobs = self.scrape_configs.iter().filter_map(|job| job.value.as_ref());
        let failures = jobs.filter_map(|job| job.scrape_failure_log_file.as_ref());
        let failures = failures.chain(&global.scrape_failure_log_file).map(Place::from);
        let failures = failures.map(|place| {
            (place, "scrape_failure_log_file", "`/api/v1/targets` says why one failed")
        });
        let queries = global.query_log_file.iter().map(Place::from);
        let queries = queries.map(|place| (place, "query_log_file", "queries are not logged"));
        for (place, name, instead) in queries.chain(failures) {
            let message = format!("`{name}` is not written");
            match reading {
                Reading::Own => {
                    let help = format!("take it out; {instead}");
                    diagnostics.report_with_help(place, message, help);
                }
                _ => notes.push(format!("{}:{place}: {message}; {instead}", diagnostics.file())),
            }
        }
        for (name, place, instead) in sections {
            let Some(place) = place else { continue };
            let what = if instead.is_some() { "has no use here" } else { "is not supported yet" };
            let message = format!("the section `{name}` {what}");
            // What Alertmanager has, too, is taken as it is in any file.
            if reading == Reading::Own && name != "tracing" {
                let help = match instead {
                    Some(route) if name == "alerting" => format!("take the section out: {route}"),
                    Some(instead) => format!("take the section out, and {instead}"),
                    None => "take the section out".to_owned(),
                };
                diagnostics.report_with_help(place, message, help);
            } else {
                let instead = instead.map(|instead| format!(": {instead}")).unwrap_or_default();
                notes.push(format!("{}:{place}: {message}{instead}", diagnostics.file()));
            }
        }
        notes
    }

    /// How samples are kept, as far as the file says it. What is not done here is reported in a file of
    /// ours; in one of Prometheus's it is added to the notes.
    pub(super) fn keeping(
        &self,
        reading: Reading,
        notes: &mut Vec<String>,
        diagnostics: &mut Diagnostics,
    ) -> Keeping {
        let Some(storage) = &self.storage else { return Keeping::default() };
        let (keeping, left_out) = storage.value.build(diagnostics);
        for (place, name) in left_out {
            let message = format!("`{name}` has no use here");
            match reading {
                Reading::Own => diagnostics.report_with_help(place, message, "take it out"),
                _ => notes.push(format!("{}:{place}: {message}", diagnostics.file())),
            }
        }
        keeping
    }
}
