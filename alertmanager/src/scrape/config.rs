//! One entry of `scrape_configs`, under the names of `prometheus.yml`.
//!
//! Invariant: what a [`Job`] holds is complete: globals and defaults are filled in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::diagnostic::{Diagnostics, Spanned};
use base::http::access::HttpAccess;
use base::period::Period;

use super::global::{GlobalScrape, size_of};
use super::protocol::Protocols;
use super::resolution::Resolution;
use super::target::Target;
use crate::discovery::{Discovered, FileSd, Source};
use crate::relabel::{Names, Relabel, RelabelConfig};

/// What a scrape may be where nobody says: far above what exporters send, far below what hurts.
const DEFAULT_BODY: usize = 128 << 20;
const DEFAULT_SAMPLES: usize = 500_000;
const DEFAULT_LABELS: usize = 256;
/// Answers are read by so much at a time: it stays near the processor until it is read, and is all that
/// a connection holds from one scrape to the next. No head of an answer is longer.
const PIECE: usize = 16 << 10;
/// How many dropped targets of a job are shown.
const DEFAULT_DROPPED: usize = 100;

discovering_settings! {
    /// A job, as written.
    pub struct ScrapeConfig {
        /// Names the job; becomes the label `job`.
        #[serde(default)]
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
        /// Whether series with timestamps of their own end when they are missing; they always do.
        #[serde(default)]
        pub track_timestamps_staleness: bool,
        /// Whether gzip is asked for; by default it is.
        #[serde(default)]
        pub enable_compression: Option<bool>,
        /// What is asked for and read of a target, as in `global`.
        #[serde(default)]
        pub scrape_protocols: Option<Spanned<Vec<Spanned<String>>>>,
        /// What a body is read as whose type is not said.
        #[serde(default)]
        pub fallback_scrape_protocol: Option<Spanned<String>>,
        /// Whether native histograms are asked for.
        #[serde(default)]
        pub scrape_native_histograms: Option<bool>,
        /// Whether classic histograms are taken beside native ones.
        #[serde(default)]
        pub always_scrape_classic_histograms: Option<bool>,
        /// Whether classic histograms become native ones with the same buckets.
        #[serde(default)]
        pub convert_classic_histograms_to_nhcb: Option<bool>,
        /// The most buckets of a native histogram; 0 is any.
        #[serde(default)]
        pub native_histogram_bucket_limit: u64,
        /// The least growth from one bucket of a native histogram to the next.
        #[serde(default)]
        pub native_histogram_min_bucket_factor: f64,
        /// Whether there are series about limits and sizes of each scrape.
        #[serde(default)]
        pub extra_scrape_metrics: Option<bool>,
        /// `utf8` or `legacy`.
        #[serde(default)]
        pub metric_name_validation_scheme: Option<Spanned<String>>,
        /// `allow-utf-8`, `underscores`, `dots` or `values`.
        #[serde(default)]
        pub metric_name_escaping_scheme: Option<Spanned<String>>,
        /// Where Prometheus writes failed scrapes to; ours are shown with their reason.
        #[serde(default)]
        pub scrape_failure_log_file: Option<Spanned<PathBuf>>,
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
        /// How many of the targets that relabelling drops are shown; 0 is the default.
        #[serde(default)]
        pub keep_dropped_targets: usize,
        /// The largest body once unpacked: `10MB`; 0 is the default limit.
        #[serde(default)]
        pub body_size_limit: Option<Spanned<String>>,
    }
}

/// What a target may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) body: usize,
    pub(super) samples: usize,
    pub(super) labels: usize,
    pub(super) name_length: usize,
    pub(super) value_length: usize,
    pub(super) resolution: Resolution,
    pub(super) targets: usize,
    /// Dropped targets that are shown.
    pub(super) dropped: usize,
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
    /// What is asked for, and what a body without a type is.
    pub(super) protocols: Protocols,
    /// Whether there are series about limits and sizes.
    pub(super) extra: bool,
    pub(super) static_targets: Vec<Discovered>,
    pub(super) file_sds: Vec<FileSd>,
    pub(super) sources: Vec<Source>,
    pub(super) relabel: Vec<Relabel>,
    pub(super) metric_relabel: Vec<Relabel>,
    pub(super) limits: Limits,
    pub(super) access: HttpAccess,
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
        let interval = self.scrape_interval.map_or(global.interval, |interval| interval.value);
        let inherited = Period::min(global.timeout, interval);
        let timeout = self.scrape_timeout.map_or(inherited, |timeout| timeout.value);
        let at = self.scrape_timeout.map_or(place, |timeout| timeout.place);
        if interval.is_zero() || timeout.is_zero() {
            diagnostics.report(at, "`scrape_interval` and `scrape_timeout` cannot be zero");
        }
        if timeout > interval {
            let message =
                format!("`scrape_timeout`, {timeout}, is longer than the interval, {interval}");
            diagnostics.report(at, message);
        }
        let scheme = self.scheme.clone().unwrap_or(Spanned { value: "http".to_owned(), place });
        if !matches!(scheme.value.as_str(), "http" | "https") {
            diagnostics.report(&scheme, format!("`{}` is not `http` or `https`", scheme.value));
        }
        let sources = self.discovery(folder, diagnostics);
        let protocols = Protocols::build(&self, &global, diagnostics);
        let names = if protocols.classic_names { Names::Classic } else { Names::Any };
        let relabel = Relabel::build_all_with(names, &self.relabel_configs, diagnostics);
        let metric_relabel =
            Relabel::build_all_with(names, &self.metric_relabel_configs, diagnostics);
        let limits = self.limits(&global, diagnostics);
        let mut access = self.http(folder).build_following(place, diagnostics)?;
        access.client = access.client.in_pieces(PIECE);
        let job = Job {
            name: self.job_name.value.clone(),
            interval,
            timeout,
            path: self.metrics_path.clone().unwrap_or_else(|| "/metrics".to_owned()),
            scheme: scheme.value,
            honor_timestamps: self.honor_timestamps.unwrap_or(true),
            compressed: self.enable_compression.unwrap_or(true),
            protocols,
            extra: self.extra_scrape_metrics.unwrap_or(global.extra_scrape_metrics),
            static_targets: sources.fixed,
            file_sds: sources.files,
            sources: sources.asked,
            relabel,
            metric_relabel,
            limits,
            access,
            config: self,
        };
        for group in &job.config.static_configs {
            group.check(|target| Target::is_nowhere(&job, target), diagnostics);
        }
        Some(job)
    }

    fn limits(&self, global: &GlobalScrape, diagnostics: &mut Diagnostics) -> Limits {
        let or = |own: usize, global: usize, default: usize| {
            [own, global].into_iter().find(|limit| *limit > 0).unwrap_or(default)
        };
        let own = self.body_size_limit.as_ref().map_or(0, |size| size_of(size, diagnostics));
        Limits {
            body: or(own, global.body_size_limit, DEFAULT_BODY),
            samples: or(self.sample_limit, global.sample_limit, DEFAULT_SAMPLES),
            labels: or(self.label_limit, global.label_limit, DEFAULT_LABELS),
            name_length: or(
                self.label_name_length_limit,
                global.label_name_length_limit,
                usize::MAX,
            ),
            value_length: or(
                self.label_value_length_limit,
                global.label_value_length_limit,
                usize::MAX,
            ),
            resolution: Resolution::new(
                self.native_histogram_bucket_limit,
                self.native_histogram_min_bucket_factor,
            ),
            targets: or(self.target_limit, global.target_limit, usize::MAX),
            dropped: or(self.keep_dropped_targets, global.keep_dropped_targets, DEFAULT_DROPPED),
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
        let global = GlobalScrape::new(Period::from_secs(60), Period::from_secs(10));
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
            "f.yml:2:17: `scrape_timeout`, 2m, is longer than the interval, 1m\n\
             f.yml:3:9: `ftp` is not `http` or `https`\n\
             f.yml:4:18: `100` is no size: units: unknown unit in 100\n  help: write it like `10MB`\n\
             f.yml:6:13: `http://x/y` is no address\n  help: write `host:port`, without a path\n\
             f.yml:8:11: `x.txt` names no file with targets\n  \
             help: end it in .json, .yml or .yaml, with `*` in the last part only",
        );
    }
}
