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
//!   thresholds: {seconds: {warn: 1}}
//! ```
//!
//! Invariant: what the exporter offers is not handed on, but for the values that were selected.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::exposition::{Entry, Format, ParseError, Parser};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::http::config::{AuthorizationConfig, BasicAuthConfig, OAuth2Config};
use crate::http::page::{Page, PageConfig, Visit};
use crate::script::ByteSize;
use crate::series::{Found, SeriesConfig, SeriesList};
use crate::text::shown;
use crate::thresholds::LimitsConfig;
use crate::{Outcome, Probe, Reason};

/// How much of a page is read where nothing is said: node_exporter's has some 100 KiB.
const BODY_LIMIT: ByteSize = ByteSize(16 << 20);
/// The formats that we read.
const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4,*/*;q=0.1";

/// A Prometheus probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusConfig {
    /// The page of the exporter.
    url: Spanned<String>,
    /// What is looked at.
    series: Spanned<Vec<SeriesConfig>>,
    /// Further headers of the request.
    #[serde(default)]
    headers: BTreeMap<String, Spanned<Secret>>,
    /// Who we are, by name and password.
    #[serde(default)]
    basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// Who we are, by a token.
    #[serde(default)]
    authorization: Option<Spanned<AuthorizationConfig>>,
    /// Who we are, by a token that is asked for.
    #[serde(default)]
    oauth2: Option<Spanned<OAuth2Config>>,
    /// Whom to trust, and who we are.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// How much of the page is read; `16MiB` where nothing is said.
    #[serde(default)]
    body_limit: Option<Spanned<ByteSize>>,
    /// Limits on `seconds`, the phases, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Scrapes an exporter.
#[derive(Debug)]
pub struct PrometheusProbe {
    page: Page,
    series: SeriesList,
}

impl PrometheusConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<PrometheusProbe> {
        if self.series.value.is_empty() && !diagnostics.is_partial() {
            let help = "add `- select: up`, or look at the whole page with the probe `http`";
            diagnostics.report_with_help(&self.series, "no series are looked at", help);
        }
        let series = SeriesList::build(self.series.value, diagnostics);
        let page = PageConfig {
            url: self.url,
            headers: self.headers,
            basic_auth: self.basic_auth,
            authorization: self.authorization,
            oauth2: self.oauth2,
            tls: self.tls,
            body_limit: self.body_limit,
            thresholds: self.thresholds,
        };
        let page = page.build("prometheus", ACCEPT, BODY_LIMIT, diagnostics);
        Some(PrometheusProbe { page: page?, series: series? })
    }
}

#[async_trait]
impl Probe for PrometheusProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        self.page.look(stop, |visit| self.judge(visit)).await
    }
}

impl PrometheusProbe {
    fn judge(&self, visit: &Visit<'_>) -> Outcome {
        if visit.status != 200 {
            let summary = format!("HTTP status {}, wanted 200", visit.status);
            return Outcome::critical(Reason::HttpStatus, summary);
        }
        let Some(format) = Format::from_content_type(&visit.content_type) else {
            let summary = format!("the page is `{}`, no metrics", visit.content_type);
            return Outcome::critical(Reason::OutputInvalid, summary);
        };
        match self.select(&visit.body, format) {
            Ok(found) => self.series.hold(&found),
            Err(error) => {
                let summary = format!("the page cannot be read as metrics: {error}");
                let summary = shown(summary.as_bytes(), 1 << 10).replace('\n', " ");
                Outcome::critical(Reason::OutputInvalid, summary)
            }
        }
    }

    /// Every value that is selected.
    fn select(&self, body: &[u8], format: Format) -> Result<Vec<Found>, ParseError> {
        let mut parser = Parser::new(format, body.len());
        let mut found = Vec::new();
        let mut entry = |entry: Entry<'_>| {
            let Entry::Sample(sample) = entry else { return Ok(()) };
            self.series.select(&sample.labels()?, sample.value, &mut found);
            Ok::<(), ParseError>(())
        };
        parser.feed(body, &mut entry)?;
        parser.finish(&mut entry)?;
        Ok(found)
    }
}
