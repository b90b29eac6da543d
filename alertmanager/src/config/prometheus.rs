//! The sections of `prometheus.yml` that are about other programs, or about Prometheus itself: each is
//! read and checked, and it is told what becomes of it.
//!
//! Source: the configuration reference of Prometheus.
//!
//! Invariant: nothing of them is done in silence, and nothing is left out in silence.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::tls::TlsConfig;
use base::period::Period;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::relabel::{Relabel, RelabelConfig};
use crate::remote_store::RemoteStoreConfig;
use crate::remote_write::check_headers;

/// A list in which an entry may have been left empty.
pub(super) type List<T> = Vec<Spanned<Option<T>>>;

/// `alerting:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AlertingConfig {
    alert_relabel_configs: Vec<Spanned<RelabelConfig>>,
    alertmanagers: List<AlertmanagerConfig>,
}

discovering_settings! {
    /// An Alertmanager, as written.
    pub struct AlertmanagerConfig {
        /// `http` or `https`.
        #[serde(default)]
        pub scheme: Option<Spanned<String>>,
        /// Stands before every path.
        #[serde(default)]
        pub path_prefix: Option<String>,
        /// How long it may take.
        #[serde(default)]
        pub timeout: Option<Period>,
        /// `v2`.
        #[serde(default)]
        pub api_version: Option<Spanned<String>>,
        /// Rewrites its labels; can drop it.
        #[serde(default)]
        pub relabel_configs: Vec<Spanned<RelabelConfig>>,
        /// Rewrites the labels of what it is sent.
        #[serde(default)]
        pub alert_relabel_configs: Vec<Spanned<RelabelConfig>>,
        /// Signs what it is sent.
        #[serde(default)]
        pub sigv4: Option<IgnoredAny>,
    }
}

client_settings! {
    /// Where samples are read, as written.
    pub struct RemoteReadConfig {
        /// The address.
        #[serde(default)]
        pub url: Option<Spanned<String>>,
        /// Names it.
        #[serde(default)]
        pub name: Option<Spanned<String>>,
        /// How long it may take.
        #[serde(default)]
        pub remote_timeout: Option<Period>,
        /// Further headers.
        #[serde(default)]
        pub headers: BTreeMap<Spanned<String>, String>,
        /// What a query must ask for.
        #[serde(default)]
        pub required_matchers: BTreeMap<String, String>,
        /// Whether it is asked for what we have ourselves.
        #[serde(default)]
        pub read_recent: bool,
        /// Whether it is asked with our external labels.
        #[serde(default)]
        pub filter_external_labels: Option<bool>,
        /// The largest piece of an answer.
        #[serde(default)]
        pub chunked_read_limit: Option<u64>,
    }
}

/// `storage:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StorageConfig {
    /// Ours: the store that is asked in place of the samples here.
    pub(super) remote: Option<Spanned<RemoteStoreConfig>>,
    tsdb: TsdbConfig,
    exemplars: ExemplarsConfig,
}

/// What a configuration says of how samples are kept, as far as it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// How long.
    pub retention: Option<Duration>,
    /// The most bytes on disk.
    pub retention_bytes: Option<u64>,
    /// How much older than the newest of its series a sample may be.
    pub out_of_order: Option<Duration>,
    /// How many exemplars are kept.
    pub max_exemplars: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TsdbConfig {
    out_of_order_time_window: Option<Period>,
    stale_series_compaction_threshold: Option<Spanned<f64>>,
    retention: RetentionConfig,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionConfig {
    time: Option<Period>,
    size: Option<Spanned<String>>,
    percentage: Option<Spanned<f64>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ExemplarsConfig {
    max_exemplars: Option<i64>,
}

/// `tracing:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TracingConfig {
    client_type: Option<Spanned<String>>,
    endpoint: Option<String>,
    sampling_fraction: Option<f64>,
    insecure: bool,
    tls_config: Option<Spanned<TlsConfig>>,
    headers: BTreeMap<String, String>,
    compression: Option<Spanned<String>>,
    timeout: Option<Period>,
}

/// `runtime:`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RuntimeConfig {
    gogc: Option<i64>,
}

/// The entries of a list that are there; those that are not are reported as an empty `section`.
pub(super) fn entries<'a, T>(
    list: &'a List<T>,
    section: &str,
    diagnostics: &mut Diagnostics,
) -> Vec<(&'a T, Place)> {
    let mut found = Vec::new();
    for entry in list {
        match &entry.value {
            Some(value) => found.push((value, entry.place)),
            None => diagnostics.report(entry, format!("empty or null {section} section")),
        }
    }
    found
}

impl AlertingConfig {
    pub(super) fn check(&self, folder: &Path, diagnostics: &mut Diagnostics) {
        Relabel::build_all_of(&self.alert_relabel_configs, "alert", diagnostics);
        for (config, place) in entries(&self.alertmanagers, "Alertmanager config", diagnostics) {
            Relabel::build_all_of(&config.relabel_configs, "Alertmanager target", diagnostics);
            Relabel::build_all_of(&config.alert_relabel_configs, "alert", diagnostics);
            config.discovery(folder, diagnostics);
            config.http(folder).check(diagnostics);
            if let Some(version) = config.api_version.as_ref().filter(|v| v.value != "v2") {
                let message = format!("`api_version` `{}` is gone: only `v2`", version.value);
                diagnostics.report(version, message);
            }
            let scheme = config.scheme.as_ref();
            if let Some(scheme) = scheme.filter(|s| !matches!(s.value.as_str(), "http" | "https")) {
                diagnostics.report(scheme, format!("`{}` is not `http` or `https`", scheme.value));
            }
            if config.sigv4.is_some() && config.basic_auth.is_some() {
                diagnostics.report(place, "only one of `sigv4` and `basic_auth` can be given");
            }
        }
    }
}

/// Reports names that two remotes share.
fn check_names<'a>(
    names: impl Iterator<Item = &'a Spanned<String>>,
    what: &str,
    diagnostics: &mut Diagnostics,
) {
    let mut seen = HashSet::new();
    for name in names.filter(|name| !seen.insert(name.value.as_str())) {
        let message = format!("there are two of {what} with the name `{}`", name.value);
        diagnostics.report(name, message);
    }
}

pub(super) fn check_remote_read(
    list: &List<RemoteReadConfig>,
    folder: &Path,
    diagnostics: &mut Diagnostics,
) {
    let entries = entries(list, "remote read config", diagnostics);
    for (config, place) in &entries {
        if config.url.as_ref().is_none_or(|url| url.value.is_empty()) {
            diagnostics.report(*place, "url for remote_read is empty");
        }
        check_headers(&config.headers, diagnostics);
        config.http(folder).check(diagnostics);
    }
    let names = entries.iter().filter_map(|(config, _)| config.name.as_ref());
    check_names(names, "remote_read", diagnostics);
}

impl StorageConfig {
    /// What is said of how samples are kept, and where it says what is not done here.
    pub(super) fn build(
        &self,
        diagnostics: &mut Diagnostics,
    ) -> (Keeping, Vec<(Place, &'static str)>) {
        let retention = &self.tsdb.retention;
        let size = retention.size.as_ref().map(|size| crate::scrape::size_of(size, diagnostics));
        let percentage = retention.percentage.as_ref();
        if let Some(part) = percentage.filter(|part| !(0.0..=100.0).contains(&part.value)) {
            diagnostics.report(part, "`percentage` is not between 0 and 100");
        }
        let positive =
            |period: Option<Period>| period.filter(|p| !p.is_zero()).map(Period::duration);
        let keeping = Keeping {
            retention: positive(retention.time),
            retention_bytes: size.filter(|size| *size > 0).map(|size| size as u64),
            out_of_order: self.tsdb.out_of_order_time_window.map(Period::duration),
            // As many as before where nobody says how many; less than one are none.
            max_exemplars: self.exemplars.max_exemplars.map(|n| usize::try_from(n).unwrap_or(0)),
        };
        let threshold = &self.tsdb.stale_series_compaction_threshold;
        let left_out =
            [(percentage, "percentage"), (threshold.as_ref(), "stale_series_compaction_threshold")];
        let left_out = left_out.into_iter().filter_map(|(set, name)| Some((set?.into(), name)));
        (keeping, left_out.collect())
    }
}

impl TracingConfig {
    pub(super) fn check(&self, place: Place, diagnostics: &mut Diagnostics) {
        if self.endpoint.as_ref().is_none_or(String::is_empty) {
            diagnostics.report(place, "`endpoint` of `tracing` is missing");
        }
        for (name, written, known) in [
            ("client_type", &self.client_type, ["grpc", "http"]),
            ("compression", &self.compression, ["gzip", ""]),
        ] {
            let unknown = written.as_ref().filter(|text| !known.contains(&text.value.as_str()));
            if let Some(unknown) = unknown {
                let message = format!("`{}` is no `{name}`", unknown.value);
                diagnostics.report(unknown, message);
            }
        }
        if let Some(tls) = &self.tls_config
            && let Err(fault) = tls.value.check()
        {
            diagnostics.report(tls, fault);
        }
        if self.insecure && self.tls_config.is_some() {
            diagnostics.report(place, "`insecure` has no use beside `tls_config`");
        }
    }
}
