//! What `global:` says of scraping, and what is read alike there and in each job.
//!
//! Invariant: a limit of 0 is none of its own.

use base::diagnostic::{Diagnostics, Spanned};
use base::number::parse_size;
use base::period::Period;

/// What `global:` says of scraping.
#[derive(Clone, Debug, Default)]
pub struct GlobalScrape {
    /// From one scrape to the next.
    pub interval: Period,
    /// The longest a scrape may take.
    pub timeout: Period,
    /// What is asked for.
    pub scrape_protocols: Option<Spanned<Vec<Spanned<String>>>>,
    /// The largest body in bytes.
    pub body_size_limit: usize,
    /// The most samples.
    pub sample_limit: usize,
    /// The most targets of a job.
    pub target_limit: usize,
    /// The most labels of a sample.
    pub label_limit: usize,
    /// The longest label name.
    pub label_name_length_limit: usize,
    /// The longest label value.
    pub label_value_length_limit: usize,
    /// How many dropped targets of a job are shown.
    pub keep_dropped_targets: usize,
    /// `utf8` or `legacy`.
    pub metric_name_validation_scheme: Option<Spanned<String>>,
    /// `allow-utf-8`, `underscores`, `dots` or `values`.
    pub metric_name_escaping_scheme: Option<Spanned<String>>,
    /// Whether native histograms are asked for.
    pub scrape_native_histograms: bool,
    /// Whether classic histograms are taken beside native ones.
    pub always_scrape_classic_histograms: bool,
    /// Whether classic histograms become native ones.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Whether there are series about limits and sizes of each scrape.
    pub extra_scrape_metrics: bool,
}

impl GlobalScrape {
    /// Nothing but the times.
    pub fn new(interval: Period, timeout: Period) -> Self {
        Self { interval, timeout, ..Self::default() }
    }
}

/// A size in bytes; what is none is reported, and is 0.
pub fn size_of(size: &Spanned<String>, diagnostics: &mut Diagnostics) -> usize {
    parse_size(&size.value).unwrap_or_else(|| {
        let number = size.value.trim_start_matches(|c: char| c.is_ascii_digit());
        let text = &size.value;
        let message = match number {
            "" => format!("`{text}` is no size: units: unknown unit in {text}"),
            _ => format!("`{text}` is no size"),
        };
        diagnostics.report_with_help(size, message, "write it like `10MB`");
        0
    })
}
