//! The kinds of probe by the names that they have in a configuration.
//!
//! How to add one: write its file with a `XConfig` and its `build`, add its `mod` line in `lib.rs`,
//! and here its variant and its arm.
//!
//! Invariant: what is wrong with a probe is reported when the configuration is read.

use std::sync::Arc;

use base::diagnostic::Diagnostics;
use serde::Deserialize;

use crate::Probe;
use crate::health::HealthConfig;
use crate::http::HttpConfig;
use crate::prometheus::PrometheusConfig;
use crate::script::ScriptConfig;
use crate::tcp::TcpConfig;

/// What to look at, as written: one kind with its settings.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeConfig {
    /// Runs a program.
    Script(ScriptConfig),
    /// Asks for a page.
    Http(Box<HttpConfig>),
    /// Connects to an address.
    Tcp(TcpConfig),
    /// Reads an application's health page.
    Health(Box<HealthConfig>),
    /// Scrapes an exporter.
    Prometheus(Box<PrometheusConfig>),
}

impl ProbeConfig {
    /// The probe; to be used only if nothing was reported.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<Arc<dyn Probe>> {
        Some(match self {
            Self::Script(config) => Arc::new(config.build(diagnostics)),
            Self::Http(config) => Arc::new(config.build(diagnostics)?),
            Self::Tcp(config) => Arc::new(config.build(diagnostics)?),
            Self::Health(config) => Arc::new(config.build(diagnostics)?),
            Self::Prometheus(config) => Arc::new(config.build(diagnostics)?),
        })
    }

    /// Whether a run of it starts programs, of which only some may run at a time.
    pub fn starts_programs(&self) -> bool {
        matches!(self, Self::Script(_))
    }
}
