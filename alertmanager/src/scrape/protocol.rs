//! What is asked of a target: formats in the order of preference, and how names are written.
//!
//! Source: the configuration reference of Prometheus, and its documentation of content negotiation.
//!
//! Invariant: what is asked for is what can be read.

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::exposition::{Escaping, Format, Histograms};

use super::config::ScrapeConfig;
use super::global::GlobalScrape;

/// A format, as `scrape_protocols` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Protobuf.
    Proto,
    /// OpenMetrics 0.0.1.
    OpenMetrics001,
    /// OpenMetrics 1.0.
    OpenMetrics100,
    /// The text format 0.0.4.
    Text004,
    /// The text format with any names.
    Text100,
}

const PROTOCOLS: [(&str, Protocol); 5] = [
    ("OpenMetricsText0.0.1", Protocol::OpenMetrics001),
    ("OpenMetricsText1.0.0", Protocol::OpenMetrics100),
    ("PrometheusProto", Protocol::Proto),
    ("PrometheusText0.0.4", Protocol::Text004),
    ("PrometheusText1.0.0", Protocol::Text100),
];

/// Where nothing is said: protobuf is asked for only by those who want native histograms.
const DEFAULT: [Protocol; 3] = [Protocol::OpenMetrics100, Protocol::Text100, Protocol::Text004];

/// What is asked of the targets of a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Protocols {
    /// In the order of preference.
    pub(super) wanted: Vec<Protocol>,
    /// What a body is whose type is not said.
    pub(super) fallback: Option<Protocol>,
    /// Which form of histograms is taken from protobuf.
    pub(super) histograms: Histograms,
    /// How names are to be written: `allow-utf-8` as they are.
    escaping: Escaping,
    /// Whether a scrape with other than classic names is refused.
    pub(super) classic_names: bool,
    /// Whether classic histograms become native ones, and whether they are stored all the same.
    pub(super) converts: bool,
    pub(super) keeps_classic: bool,
}

impl Protocols {
    pub(super) fn build(
        config: &ScrapeConfig,
        global: &GlobalScrape,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let job = &config.job_name.value;
        let written = config.scrape_protocols.as_ref().or(global.scrape_protocols.as_ref());
        let native = config.scrape_native_histograms.unwrap_or(global.scrape_native_histograms);
        let mut wanted: Vec<Protocol> = Vec::new();
        for name in written.iter().flat_map(|written| &written.value) {
            let Some(protocol) = read(name, "scrape_protocols", job, diagnostics) else { continue };
            if wanted.contains(&protocol) {
                let message =
                    format!("`{}` is twice in `scrape_protocols` of the job `{job}`", name.value);
                diagnostics.report(name, message);
            } else {
                wanted.push(protocol);
            }
        }
        if written.is_none() {
            wanted.extend(native.then_some(Protocol::Proto));
            wanted.extend(DEFAULT);
        }
        let fallback = config.fallback_scrape_protocol.as_ref();
        let fallback =
            fallback.and_then(|name| read(name, "fallback_scrape_protocol", job, diagnostics));
        let classic = config.always_scrape_classic_histograms;
        let classic = classic.unwrap_or(global.always_scrape_classic_histograms);
        let histograms = match (native, classic) {
            (false, _) => Histograms::Classic,
            (true, false) => Histograms::Native,
            (true, true) => Histograms::Both,
        };
        let (escaping, classic_names) = escaping(config, global, diagnostics);
        let converts = config.convert_classic_histograms_to_nhcb;
        let converts = converts.unwrap_or(global.convert_classic_histograms_to_nhcb);
        let keeps_classic = classic;
        Self { wanted, fallback, histograms, escaping, classic_names, converts, keeps_classic }
    }

    /// Whether a target may answer in protobuf.
    pub(super) fn asks_for_protobuf(&self) -> bool {
        self.wanted.contains(&Protocol::Proto)
    }

    /// The header `Accept`.
    pub(super) fn accept(&self) -> String {
        let kinds = self.wanted.iter().enumerate().map(|(n, protocol)| {
            let escaping = self.escaping.as_str();
            let kind = match protocol {
                Protocol::Proto => format!(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                     encoding=delimited;escaping={escaping}"
                ),
                Protocol::OpenMetrics001 => "application/openmetrics-text;version=0.0.1".to_owned(),
                Protocol::OpenMetrics100 => {
                    format!("application/openmetrics-text;version=1.0.0;escaping={escaping}")
                }
                Protocol::Text004 => "text/plain;version=0.0.4".to_owned(),
                Protocol::Text100 => format!("text/plain;version=1.0.0;escaping={escaping}"),
            };
            format!("{kind};q=0.{}", 9 - n.min(7))
        });
        let mut kinds: Vec<String> = kinds.collect();
        kinds.push("*/*;q=0.1".to_owned());
        kinds.join(",")
    }

    /// The format of a body whose type is not said, or is none of metrics.
    pub(super) fn fallback(&self) -> Option<Format> {
        match self.fallback? {
            Protocol::OpenMetrics001 | Protocol::OpenMetrics100 => Some(Format::OpenMetrics),
            Protocol::Text004 | Protocol::Text100 => Some(Format::Text),
            Protocol::Proto => None,
        }
    }
}

fn read(
    name: &Spanned<String>,
    setting: &str,
    job: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Protocol> {
    let found = PROTOCOLS.iter().find(|(known, _)| *known == name.value);
    if found.is_none() {
        let known = PROTOCOLS.map(|(name, _)| format!("`{name}`")).join(", ");
        let message = format!("`{}`, in `{setting}` of the job `{job}`, is no format", name.value);
        diagnostics.report_with_help(name, message, format!("known: {known}"));
    }
    found.map(|(_, protocol)| *protocol)
}

/// How names are to be written, and whether only classic ones are taken.
fn escaping(
    config: &ScrapeConfig,
    global: &GlobalScrape,
    diagnostics: &mut Diagnostics,
) -> (Escaping, bool) {
    let own = &config.metric_name_validation_scheme;
    let rules = own.as_ref().or(global.metric_name_validation_scheme.as_ref());
    let is_legacy = match rules.map(|rules| rules.value.as_str()) {
        None | Some("" | "utf8") => false,
        Some("legacy") => true,
        Some(other) => {
            let message = format!("unrecognized ValidationScheme: `{other}`");
            let place = rules.map_or(config.job_name.place, Place::from);
            diagnostics.report_with_help(place, message, "known: `utf8`, `legacy`");
            false
        }
    };
    let own = config.metric_name_escaping_scheme.as_ref();
    let written = own.or(global.metric_name_escaping_scheme.as_ref());
    let default = if is_legacy { Escaping::Underscores } else { Escaping::AllowUtf8 };
    let Some(written) = written.filter(|written| !written.value.is_empty()) else {
        return (default, is_legacy);
    };
    let named = Escaping::named(&written.value);
    match named {
        Some(Escaping::AllowUtf8) if is_legacy => {
            let message = "names as they are (`allow-utf-8`) need the validation scheme `utf8`";
            diagnostics.report(written, message);
        }
        Some(_) => {}
        None => {
            let help = "known: `allow-utf-8`, `underscores`, `dots`, `values`";
            let message = format!("`{}` is no way to write names", written.value);
            diagnostics.report_with_help(written, message, help);
        }
    }
    (named.unwrap_or(default), is_legacy)
}
