//! Finding targets: those in the configuration, those in files that others write, and those that a
//! service names when it is asked.
//!
//! ```text
//! SdConfig ──build──▶ Source ──run──▶ Found: the last good list, its age, what went wrong since
//! ```
//!
//! Invariant: a source that cannot be read keeps its last good list (F55); only a source that can
//! be read and no longer names a target removes it.

mod file;
mod foreign;
mod source;
mod web;
mod http;
mod dns;
mod consul;
mod docker;
mod xml;
mod ec2;
mod openstack;
mod kubernetes;
mod run;

pub use consul::ConsulSdConfig;
pub use dns::DnsSdConfig;
pub use docker::DockerSdConfig;
pub use ec2::Ec2SdConfig;
pub(crate) use file::matching;
pub use file::{FileSd, read as read_file};
pub use foreign::{ForeignSdConfig, is_foreign};
pub use http::{HttpSdConfig, read as read_http};
pub use kubernetes::KubernetesSdConfig;
pub use openstack::OpenstackSdConfig;
pub(crate) use run::run;
pub use source::{Discovery, Found, SdConfig, Source, Sources, State};

use std::collections::BTreeMap;
use std::path::Path;

use base::diagnostic::{Diagnostics, Spanned};
use base::labels::Labels;
use base::period::Period;
use serde::Deserialize;

/// How a target is written.
const HELP: &str = "write `host:port`, without a path";

/// Targets that share labels, as written under `static_configs` and in discovery files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetGroupConfig {
    /// Addresses.
    #[serde(default)]
    pub targets: Vec<Spanned<String>>,
    /// Labels for all of them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Files with targets, as written under `file_sd_configs`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSdConfig {
    /// Paths that end in `.json`, `.yml` or `.yaml`; the last part may have a `*`.
    pub files: Vec<Spanned<String>>,
    /// How often the files are read although nothing says that they changed; by default 5 min.
    #[serde(default)]
    pub refresh_interval: Option<Period>,
}

/// A target before relabelling: `__address__` and the labels of its group.
pub type Discovered = Labels;

impl TargetGroupConfig {
    /// The targets of the group; `source` becomes `__meta_filepath` where it is not empty. What a target
    /// is called need be no address: relabelling may make one of it.
    pub fn build(&self, source: &str, diagnostics: &mut Diagnostics) -> Vec<Discovered> {
        let mut found = Vec::new();
        for target in &self.targets {
            if target.value.is_empty() {
                diagnostics.report_with_help(target, "`` is no address", HELP);
                continue;
            }
            found.push(self.target(&target.value, source));
        }
        found
    }

    /// Reports the targets that `is_wrong` after relabelling.
    pub fn check(&self, is_wrong: impl Fn(&Discovered) -> bool, diagnostics: &mut Diagnostics) {
        for target in self.targets.iter().filter(|target| !target.value.is_empty()) {
            if is_wrong(&self.target(&target.value, "")) {
                let message = format!("`{}` is no address", target.value);
                diagnostics.report_with_help(target, message, HELP);
            }
        }
    }

    fn target(&self, address: &str, source: &str) -> Discovered {
        let mut labels = base::labels::LabelsBuilder::from(&Labels::from_pairs(&self.labels));
        labels.set("__address__", address);
        if !source.is_empty() {
            labels.set("__meta_filepath", source);
        }
        labels.build()
    }
}

/// `path` as the configuration means it: relative to the folder of the configuration file.
pub fn relative_to(folder: &Path, path: &str) -> std::path::PathBuf {
    folder.join(path)
}

#[cfg(test)]
mod tests;
