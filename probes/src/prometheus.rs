//! Scraping an exporter and holding its values against thresholds.
//!
//! ```yaml
//! prometheus:
//!   url: http://127.0.0.1:9100/metrics
//!   series:
//!   - select: node_filesystem_avail_bytes{mountpoint="/"}
//!     name: free
//!     unit: B
//!     warn: '20e9:'
//!     crit: '5e9:'
//!     missing: critical       # ok, warning, critical or unknown, which is the default
//! ```
//!
//! Invariant: what the exporter offers is not handed on, but for the values that were selected, and
//! of those at most [`MAX_SERIES`].

mod selector;

use std::collections::BTreeMap;
use std::fmt::Write;

use async_trait::async_trait;
use base::clock::Stopwatch;
use base::diagnostic::{Diagnostics, Spanned};
use base::exposition::{Entry, Format, ParseError, Parser};
use base::http::tls::TlsConfig;
use base::labels::Labels;
use base::number::shortest;
use base::secret::Secret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::selector::Selector;
use crate::http::BasicAuthConfig;
use crate::page::{Page, PageConfig, Visit};
use crate::range::Range;
use crate::script::ByteSize;
use crate::text::shown;
use crate::{Measurement, Outcome, Probe, Reason, Status};

/// How much of a page is read where nothing is said: node_exporter's has some 100 KiB.
const BODY_LIMIT: ByteSize = ByteSize(16 << 20);
/// The formats that we read.
const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4,*/*;q=0.1";
/// The most series that one probe holds against thresholds.
const MAX_SERIES: usize = 500;
/// The longest name of a value, in bytes.
const MAX_LABEL: usize = 256;
/// How many values that are over their limits are told.
const MOST_TOLD: usize = 50;

/// A Prometheus probe, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrometheusConfig {
    /// The page of the exporter.
    url: Spanned<String>,
    /// What is looked at.
    series: Spanned<Vec<SeriesConfig>>,
    /// Further headers of the request.
    #[serde(default)]
    headers: BTreeMap<String, Spanned<Secret>>,
    /// Who we are.
    #[serde(default)]
    basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// Whom to trust, and who we are.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// How much of the page is read; 16 MiB where nothing is said.
    #[serde(default)]
    body_limit: Option<Spanned<ByteSize>>,
}

/// Series with their thresholds, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeriesConfig {
    /// Which series: a name, and matchers of labels as in PromQL.
    select: Spanned<String>,
    /// What people are shown as its name; the series itself where nothing is said.
    #[serde(default)]
    name: Option<String>,
    /// The unit of the value, as in performance data.
    #[serde(default)]
    unit: String,
    /// The range outside of which it warns.
    #[serde(default)]
    warn: Option<Spanned<String>>,
    /// The range outside of which it is critical.
    #[serde(default)]
    crit: Option<Spanned<String>>,
    /// How it is where no series is there.
    #[serde(default)]
    missing: Option<Spanned<String>>,
}

/// Scrapes an exporter.
#[derive(Debug)]
pub struct PrometheusProbe {
    page: Page,
    series: Vec<Series>,
}

/// Series with their thresholds.
#[derive(Debug)]
struct Series {
    select: Selector,
    /// The selector as written.
    text: String,
    name: Option<String>,
    unit: String,
    warn: Option<Range>,
    crit: Option<Range>,
    missing: Status,
}

impl PrometheusConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<PrometheusProbe> {
        if self.series.value.is_empty() && !diagnostics.is_partial() {
            let help = "add `- select: up`, or look at the whole page with the probe `http`";
            diagnostics.report_with_help(&self.series, "no series are looked at", help);
        }
        let series = self.series.value.into_iter();
        let series: Vec<_> = series.map(|series| series.build(diagnostics)).collect();
        let (url, headers, basic_auth) = (self.url, self.headers, self.basic_auth);
        let (tls, body_limit) = (self.tls, self.body_limit);
        let page = PageConfig { url, headers, basic_auth, tls, body_limit };
        let page = page.build(ACCEPT, BODY_LIMIT, diagnostics);
        Some(PrometheusProbe { page: page?, series: series.into_iter().collect::<Option<_>>()? })
    }
}

impl SeriesConfig {
    fn build(self, diagnostics: &mut Diagnostics) -> Option<Series> {
        let select = self.select.value.parse::<Selector>();
        if let Err(error) = &select {
            let help = "write it like `node_load1` or `up{job=\"shop\"}`";
            diagnostics.report_with_help(&self.select, error.to_string(), help);
        }
        let mut range = |text: &Option<Spanned<String>>| {
            let text = text.as_ref()?;
            let range = text.value.parse::<Range>();
            range.map_err(|error| diagnostics.report(text, error.to_string())).ok()
        };
        let (warn, crit) = (range(&self.warn), range(&self.crit));
        let missing = match &self.missing {
            None => Status::Unknown,
            Some(word) => match Status::ALL.iter().find(|status| status.as_str() == word.value) {
                Some(status) => *status,
                None => {
                    let message = format!("`{}` is not a status", word.value);
                    let help = "write `ok`, `warning`, `critical` or `unknown`";
                    diagnostics.report_with_help(word, message, help);
                    Status::Unknown
                }
            },
        };
        let (text, name, unit) = (self.select.value, self.name, self.unit);
        Some(Series { select: select.ok()?, text, name, unit, warn, crit, missing })
    }
}

#[async_trait]
impl Probe for PrometheusProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let (watch, mut visit) = (Stopwatch::start(), Visit::default());
        let outcome = match stop.run_until_cancelled(self.page.get(&mut visit)).await {
            Some(Ok(())) => self.judge(&visit),
            Some(Err((reason, summary))) => Outcome::critical(reason, summary),
            None => {
                let (phase, seconds) = (self.page.phase(&visit), watch.seconds());
                Outcome::critical(Reason::Timeout, format!("{phase} after {seconds:.1} s"))
            }
        };
        visit.measure(outcome, watch.seconds())
    }
}

/// A value that was selected.
struct Found {
    /// Which of the series of the configuration it is.
    series: usize,
    labels: Labels,
    value: f64,
}

impl PrometheusProbe {
    fn judge(&self, visit: &Visit) -> Outcome {
        if visit.status != 200 {
            let summary = format!("HTTP status {}, wanted 200", visit.status);
            return Outcome::critical(Reason::HttpStatus, summary);
        }
        let Some(format) = Format::from_content_type(&visit.content_type) else {
            let summary = format!("the page is `{}`, no metrics", visit.content_type);
            return Outcome::critical(Reason::OutputInvalid, summary);
        };
        match self.select(&visit.body, format) {
            Ok(found) if found.len() > MAX_SERIES => {
                let summary = format!("more than {MAX_SERIES} series are selected");
                Outcome::critical(Reason::OutputTooLong, summary)
            }
            Ok(found) => self.hold(&found),
            Err(error) => {
                let summary = format!("the page cannot be read as metrics: {error}");
                let summary = shown(summary.as_bytes(), 1 << 10).replace('\n', " ");
                Outcome::critical(Reason::OutputInvalid, summary)
            }
        }
    }

    /// Every value that is selected, and at most one over the limit.
    fn select(&self, body: &[u8], format: Format) -> Result<Vec<Found>, ParseError> {
        let mut parser = Parser::new(format, body.len());
        let mut found = Vec::new();
        let mut entry = |entry: Entry<'_>| {
            let Entry::Sample(sample) = entry else { return Ok(()) };
            let labels = sample.labels()?;
            for (n, series) in self.series.iter().enumerate() {
                if found.len() <= MAX_SERIES && series.select.matches(&labels) {
                    let (labels, value) = (labels.clone(), sample.value);
                    found.push(Found { series: n, labels, value });
                }
            }
            Ok::<(), ParseError>(())
        };
        parser.feed(body, &mut entry)?;
        parser.finish(&mut entry)?;
        Ok(found)
    }

    /// Holds what was found against the thresholds.
    fn hold(&self, found: &[Found]) -> Outcome {
        let mut outcome = Outcome::ok("");
        // What is wrong, the worst first, in the order of the configuration.
        let mut wrong: Vec<(Status, Reason, String)> = Vec::new();
        for (n, series) in self.series.iter().enumerate() {
            let own: Vec<_> = found.iter().filter(|found| found.series == n).collect();
            if own.is_empty() && series.missing != Status::Ok {
                let text = format!("there is no series `{}`", series.text);
                wrong.push((series.missing, Reason::SeriesMissing, text));
            }
            for found in &own {
                let status = Range::judge(found.value, series.warn.as_ref(), series.crit.as_ref());
                let label = series.label(&found.labels, own.len() > 1);
                if status != Status::Ok {
                    let text = series.told(&label, found.value, status);
                    wrong.push((status, Reason::Threshold, text));
                }
                outcome.measurements.push(series.measurement(label, found.value));
            }
        }
        let worst = wrong.iter().fold(Status::Ok, |worst, (status, ..)| worst.worse(*status));
        outcome.status = worst;
        let Some((_, reason, text)) = wrong.iter().find(|(status, ..)| *status == worst) else {
            outcome.summary = match &outcome.measurements[..] {
                [one] => format!("{} is {}{}", one.label, shortest(one.value), one.unit),
                all => format!("{} values are within their limits", all.len()),
            };
            return outcome;
        };
        outcome.reason = *reason;
        outcome.summary = text.clone();
        if wrong.len() > 1 {
            let _ = write!(outcome.summary, ", and {} more", wrong.len() - 1);
            let lines = wrong.iter().take(MOST_TOLD);
            let lines = lines.map(|(status, _, text)| format!("{status}: {text}"));
            outcome.details = lines.collect::<Vec<_>>().join("\n");
        }
        outcome
    }
}

impl Series {
    /// What the value is called: by the configured name, with the labels that tell it apart where
    /// it is one of `several`.
    fn label(&self, labels: &Labels, several: bool) -> String {
        let text = match &self.name {
            None => labels.to_string(),
            Some(name) if several => format!("{name}{}", labels.without_name()),
            Some(name) => name.clone(),
        };
        shown(text.as_bytes(), MAX_LABEL).replace(['\n', '\t'], " ")
    }

    fn told(&self, label: &str, value: f64, status: Status) -> String {
        let range = if status == Status::Critical { self.crit } else { self.warn };
        let range = range.map_or(String::new(), |range| range.to_string());
        format!("{label} is {}{}, outside of {range}", shortest(value), self.unit)
            .replace("outside of @", "inside of ")
    }

    fn measurement(&self, label: String, value: f64) -> Measurement {
        let text = |range: &Option<Range>| range.as_ref().map(Range::to_string);
        let (warn, crit, unit) = (text(&self.warn), text(&self.crit), self.unit.clone());
        Measurement { label, value, unit, warn, crit, min: None, max: None }
    }
}
