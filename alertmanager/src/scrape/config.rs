//! One entry of `scrape_configs`, under the names of `prometheus.yml`.
//!
//! Invariant: what a [`Job`] holds is complete: globals and defaults are filled in.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::exposition::Histograms;
use base::http::tls::TlsConfig;
use base::number::parse_size;
use base::period::Period;
use serde::Deserialize;

use crate::discovery::{Discovered, FileSd, FileSdConfig, TargetGroupConfig};
use crate::relabel::{Relabel, RelabelConfig};
use base::http::access::{AuthorizationConfig, BasicAuthConfig, HttpAccess, HttpConfig};

/// What a scrape may be where nobody says: far above what exporters send, far below what hurts.
const DEFAULT_BODY: usize = 128 << 20;
const DEFAULT_SAMPLES: usize = 500_000;
const DEFAULT_LABELS: usize = 256;

/// A job, as written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeConfig {
    /// Names the job; becomes the label `job`.
    pub job_name: Spanned<String>,
    /// From one scrape to the next.
    #[serde(default)]
    pub scrape_interval: Option<Spanned<Period>>,
    /// The longest a scrape may take.
    #[serde(default)]
    pub scrape_timeout: Option<Spanned<Period>>,
    /// The path, by default `/metrics`.
    #[serde(default)]
    pub metrics_path: Option<String>,
    /// `http` or `https`.
    #[serde(default)]
    pub scheme: Option<Spanned<String>>,
    /// Parameters of the URL.
    #[serde(default)]
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether the target's own labels win over ours.
    #[serde(default)]
    pub honor_labels: bool,
    /// Whether the target's own timestamps count; by default they do.
    #[serde(default)]
    pub honor_timestamps: Option<bool>,
    /// Whether gzip is asked for; by default it is.
    #[serde(default)]
    pub enable_compression: Option<bool>,
    /// Targets.
    #[serde(default)]
    pub static_configs: Vec<TargetGroupConfig>,
    /// Files with targets.
    #[serde(default)]
    pub file_sd_configs: Vec<FileSdConfig>,
    /// Rewrites a target's labels; can drop it.
    #[serde(default)]
    pub relabel_configs: Vec<Spanned<RelabelConfig>>,
    /// Rewrites a sample's labels; can drop it.
    #[serde(default)]
    pub metric_relabel_configs: Vec<Spanned<RelabelConfig>>,
    /// The most samples after relabelling; 0 is the default limit.
    #[serde(default)]
    pub sample_limit: usize,
    /// The most labels of a sample; 0 is the default limit.
    #[serde(default)]
    pub label_limit: usize,
    /// The longest label name in bytes; 0 is any.
    #[serde(default)]
    pub label_name_length_limit: usize,
    /// The longest label value in bytes; 0 is any.
    #[serde(default)]
    pub label_value_length_limit: usize,
    /// The most targets; 0 is any.
    #[serde(default)]
    pub target_limit: usize,
    /// The largest body once unpacked: `10MB`; 0 is the default limit.
    #[serde(default)]
    pub body_size_limit: Option<Spanned<String>>,
    /// User name and password.
    #[serde(default)]
    pub basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// A token.
    #[serde(default)]
    pub authorization: Option<Spanned<AuthorizationConfig>>,
    /// TLS.
    #[serde(default)]
    pub tls_config: Option<Spanned<TlsConfig>>,
    /// Redirects are followed within the target's own host and port, unless this is `false`.
    #[serde(default)]
    pub follow_redirects: Option<bool>,
    /// HTTP/2 is not spoken; the setting is taken because it changes nothing that one sees.
    #[serde(default)]
    pub enable_http2: Option<bool>,
}

/// What `global:` says of scraping.
#[derive(Clone, Copy, Debug)]
pub struct GlobalScrape {
    /// From one scrape to the next.
    pub interval: Period,
    /// The longest a scrape may take.
    pub timeout: Period,
}

/// What a target may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) body: usize,
    pub(super) samples: usize,
    pub(super) labels: usize,
    pub(super) name_length: usize,
    pub(super) value_length: usize,
    pub(super) targets: usize,
}

/// In which forms metrics are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Formats {
    /// Whether protobuf is asked for, before any text.
    pub(super) protobuf: bool,
    /// Which histograms are taken from it.
    pub(super) histograms: Histograms,
}

/// A job, ready to run.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) config: ScrapeConfig,
    pub(super) name: String,
    pub(super) interval: Period,
    pub(super) timeout: Period,
    pub(super) path: String,
    pub(super) scheme: String,
    pub(super) honor_timestamps: bool,
    pub(super) compressed: bool,
    pub(super) static_targets: Vec<Discovered>,
    pub(super) file_sds: Vec<FileSd>,
    pub(super) relabel: Vec<Relabel>,
    pub(super) metric_relabel: Vec<Relabel>,
    pub(super) limits: Limits,
    pub(super) access: HttpAccess,
    pub(super) formats: Formats,
}

impl ScrapeConfig {
    /// The job; relative paths are relative to `folder`.
    pub fn build(
        self,
        global: GlobalScrape,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Job> {
        let place = self.job_name.place;
        if self.job_name.value.is_empty() {
            diagnostics.report(place, "`job_name` is empty");
        }
        let interval = self.scrape_interval.map_or(global.interval, |interval| interval.value);
        let inherited = Period::min(global.timeout, interval);
        let timeout = self.scrape_timeout.map_or(inherited, |timeout| timeout.value);
        let at = self.scrape_timeout.map_or(place, |timeout| timeout.place);
        if interval.is_zero() || timeout.is_zero() {
            diagnostics.report(at, "`scrape_interval` and `scrape_timeout` cannot be zero");
        }
        if timeout > interval {
            let message =
                format!("the timeout, {timeout}, is longer than the interval, {interval}");
            diagnostics.report(at, message);
        }
        let scheme = self.scheme.clone().unwrap_or(Spanned { value: "http".to_owned(), place });
        if !matches!(scheme.value.as_str(), "http" | "https") {
            diagnostics.report(&scheme, format!("`{}` is not `http` or `https`", scheme.value));
        }
        let static_targets =
            self.static_configs.iter().flat_map(|group| group.build("", diagnostics)).collect();
        let file_sds = self
            .file_sd_configs
            .iter()
            .map(|config| FileSd::build(config, folder, diagnostics))
            .collect();
        let relabel = Relabel::build_all(&self.relabel_configs, diagnostics);
        let metric_relabel = Relabel::build_all(&self.metric_relabel_configs, diagnostics);
        let http = HttpConfig {
            basic_auth: self.basic_auth.clone(),
            authorization: self.authorization.clone(),
            tls_config: self.tls_config.clone(),
            follow_redirects: None,
            enable_http2: self.enable_http2,
            ..HttpConfig::default()
        };
        let limits = self.limits(diagnostics);
        let access = http.build(place, diagnostics)?;
        Some(Job {
            name: self.job_name.value.clone(),
            interval,
            timeout,
            path: self.metrics_path.clone().unwrap_or_else(|| "/metrics".to_owned()),
            scheme: scheme.value,
            honor_timestamps: self.honor_timestamps.unwrap_or(true),
            compressed: self.enable_compression.unwrap_or(true),
            static_targets,
            file_sds,
            relabel,
            metric_relabel,
            limits,
            access,
            formats: Formats::default(),
            config: self,
        })
    }

    fn limits(&self, diagnostics: &mut Diagnostics) -> Limits {
        let or = |limit: usize, default| if limit == 0 { default } else { limit };
        let body = match &self.body_size_limit {
            None => 0,
            Some(size) => parse_size(&size.value).unwrap_or_else(|| {
                let message = format!("`{}` is no size", size.value);
                diagnostics.report_with_help(Place::from(size), message, "write it like `10MB`");
                0
            }),
        };
        Limits {
            body: or(body, DEFAULT_BODY),
            samples: or(self.sample_limit, DEFAULT_SAMPLES),
            labels: or(self.label_limit, DEFAULT_LABELS),
            name_length: or(self.label_name_length_limit, usize::MAX),
            value_length: or(self.label_value_length_limit, usize::MAX),
            targets: or(self.target_limit, usize::MAX),
        }
    }
}

impl Job {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long after a start each of its targets has been scraped, or has failed.
    pub fn seen_within(&self) -> Duration {
        self.interval.duration() + self.timeout.duration()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(yaml: &str) -> (Option<Job>, String) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Option<ScrapeConfig> = base::yaml::read(yaml, &mut diagnostics);
        let global =
            GlobalScrape { interval: Period::from_secs(60), timeout: Period::from_secs(10) };
        let job = config.and_then(|c| c.build(global, Path::new("/etc"), &mut diagnostics));
        (job, diagnostics.to_string())
    }

    #[test]
    fn fills_in_what_is_not_written() {
        let (job, faults) =
            build("{job_name: a, scrape_interval: 5s, static_configs: [{targets: [h:1]}]}");
        let job = job.unwrap();
        assert_eq!(faults, "");
        assert_eq!((job.timeout.to_string().as_str(), job.path.as_str()), ("5s", "/metrics"));
        assert_eq!((job.limits.samples, job.limits.body), (DEFAULT_SAMPLES, DEFAULT_BODY));
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "job_name: a\nscrape_timeout: 2m\nscheme: ftp\nbody_size_limit: 100\nstatic_configs:\n\
             - targets: ['http://x/y']\nfile_sd_configs:\n- files: [x.txt]\n",
            "f.yml:2:17: the timeout, 2m, is longer than the interval, 1m\n\
             f.yml:3:9: `ftp` is not `http` or `https`\n\
             f.yml:4:18: `100` is no size\n  help: write it like `10MB`\n\
             f.yml:6:13: `http://x/y` is no address\n  help: write `host:port`, without a path\n\
             f.yml:8:11: `x.txt` names no file with targets\n  \
             help: end it in .json, .yml or .yaml, with `*` in the last part only",
        );
    }
}
