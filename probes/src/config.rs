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
use crate::http::HttpConfig;
use crate::local::certificate::CertificateConfig;
use crate::local::file::FileConfig;
use crate::local::journal::JournalConfig;
use crate::local::log::LogConfig;
use crate::local::port::PortConfig;
use crate::local::process::ProcessConfig;
use crate::local::systemd::SystemdConfig;
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
    /// Counts processes.
    Process(ProcessConfig),
    /// Looks at who listens.
    Port(PortConfig),
    /// Looks at files.
    File(FileConfig),
    /// Reads certificates in files.
    Certificate(CertificateConfig),
    /// Counts new lines of logs.
    Log(Box<LogConfig>),
    /// Counts new messages of the journal.
    Journal(Box<JournalConfig>),
    /// Looks at units of systemd.
    Systemd(Box<SystemdConfig>),
}

impl ProbeConfig {
    /// The probe; to be used only if nothing was reported.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<Arc<dyn Probe>> {
        Some(match self {
            Self::Script(config) => Arc::new(config.build(diagnostics)),
            Self::Http(config) => Arc::new(config.build(diagnostics)?),
            Self::Tcp(config) => Arc::new(config.build(diagnostics)?),
            Self::Process(config) => Arc::new(config.build(diagnostics)?),
            Self::Port(config) => Arc::new(config.build(diagnostics)?),
            Self::File(config) => Arc::new(config.build(diagnostics)?),
            Self::Certificate(config) => Arc::new(config.build(diagnostics)?),
            Self::Log(config) => Arc::new(config.build(diagnostics)?),
            Self::Journal(config) => Arc::new(config.build(diagnostics)?),
            Self::Systemd(config) => Arc::new(config.build(diagnostics)?),
        })
    }

    /// Whether a run of it starts programs, of which only some may run at a time.
    pub fn starts_programs(&self) -> bool {
        matches!(self, Self::Script(_) | Self::Journal(_) | Self::Systemd(_))
    }
}
