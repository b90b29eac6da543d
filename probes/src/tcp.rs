//! Connecting to an address, and what is said there.
//!
//! ```yaml
//! tcp:
//!   address: mail.example:25
//!   send: "EHLO veilleur\r\n"
//!   expect: ^220
//!   tls: {server_name: mail.example}
//!   query_response:                      # or step by step, as with blackbox_exporter
//!   - expect: '^220 ([^ ]+)'
//!   - send: "EHLO veilleur\r"
//!   - expect: '^250[ -]STARTTLS'
//!   - send: "STARTTLS\r"
//!   - expect: ^220
//!   - starttls: true
//! ```
//!
//! Invariant: no more of what the peer says is kept than an answer may have.

mod talk;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use regex::bytes::Regex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::talk::{Step, StepConfig, Talked};
use crate::chain::Trust;
use crate::network::regex;
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session};
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::{Failed, MAX_ANSWER, Wire};
use crate::{Outcome, Probe, Reason};

/// A TCP probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpConfig {
    /// `host:port`; an IPv6 address in brackets.
    address: Spanned<String>,
    /// Makes a TLS handshake: at once, or where a step says `starttls`.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// What is sent first.
    #[serde(default)]
    send: String,
    /// A regular expression that what the peer says must match.
    #[serde(default)]
    expect: Option<Spanned<String>>,
    /// Further steps.
    #[serde(default)]
    query_response: Vec<StepConfig>,
    /// Limits on `seconds`, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Connects to an address.
#[derive(Debug)]
pub struct TcpProbe {
    endpoint: Endpoint,
    trust: Option<Trust>,
    send: String,
    expect: Option<Regex>,
    steps: Vec<Step>,
    limits: Limits,
}

impl TcpConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<TcpProbe> {
        let endpoint = Endpoint::build(&self.address, None, diagnostics);
        let steps = self.query_response.into_iter();
        let steps: Vec<_> = steps.filter_map(|step| step.build(diagnostics)).collect();
        let place = self.address.place;
        let by_step = steps.iter().any(|step| step.starttls);
        let tls = self.tls.or(by_step.then(|| Spanned { value: TlsConfig::default(), place }));
        let trust = match tls {
            Some(tls) => Some(Trust::build(&tls, &[], diagnostics)?),
            None => None,
        };
        let expect = match &self.expect {
            Some(pattern) => Some(regex(&pattern.value, pattern.place, diagnostics)?),
            None => None,
        };
        let known: &[&str] = if trust.is_some() { &[SECONDS, DAYS_LEFT] } else { &[SECONDS] };
        let limits = Limits::build(&self.thresholds, known, diagnostics);
        Some(TcpProbe { endpoint: endpoint?, trust, send: self.send, expect, steps, limits })
    }
}

#[async_trait]
impl Probe for TcpProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let mut phases = vec!["resolve", "connect"];
        phases.extend(self.trust.as_ref().map(|_| "tls"));
        if self.expect.is_some() || !self.steps.is_empty() {
            phases.push("response");
        }
        let (mut session, mut talked) = (Session::start("tcp", &phases), Talked::default());
        let look = self.look(&mut session, &mut talked);
        let result = stop.run_until_cancelled(look).await;
        if result.is_none() && !talked.said.is_empty() {
            session.waiting(format!("`{}` has only said `{}`", self.endpoint, talked.said));
        }
        if self.expect.is_some() || !self.steps.is_empty() {
            let flag = |value| f64::from(u8::from(value));
            let help = "Indicates if probe failed due to regex";
            session.metrics.gauge("probe_failed_due_to_regex", help, flag(talked.failed_by_regex));
            let help = "Indicates if probe failed due to bytes";
            session.metrics.gauge("probe_failed_due_to_bytes", help, flag(talked.failed_by_bytes));
        }
        session.finish(result, &self.limits)
    }
}

impl TcpProbe {
    async fn look(&self, session: &mut Session, talked: &mut Talked) -> Result<String, Failed> {
        let by_step = self.steps.iter().any(|step| step.starttls);
        let trust = self.trust.as_ref().filter(|_| !by_step);
        let mut wire = session.open(&self.endpoint, trust).await?;
        if !self.send.is_empty() {
            wire.send(self.send.as_bytes()).await?;
        }
        let waiting = || format!("`{}` has not said a word", self.endpoint);
        if let Some(expect) = &self.expect {
            session.phase("response", waiting(), wait_for(expect, &mut wire, talked)).await?;
        }
        for step in &self.steps {
            session.phase("response", waiting(), step.run(&mut wire, talked)).await?;
            if let (true, Some(trust)) = (step.starttls, &self.trust) {
                wire = session.secure(wire, &self.endpoint, trust).await?;
            }
        }
        let peer = session.peer().map_or_else(|| self.endpoint.to_string(), |p| p.to_string());
        let seconds = session.seconds();
        let said =
            if talked.said.is_empty() { String::new() } else { format!(": {}", talked.said) };
        Ok(format!("connected to {peer} in {seconds:.3} s{said}"))
    }
}

/// Waits until all that the peer has said matches.
async fn wait_for(expect: &Regex, wire: &mut Wire, talked: &mut Talked) -> Result<(), Failed> {
    loop {
        talked.said = shown_line(wire.unread(), 200);
        if expect.is_match(wire.unread()) {
            return Ok(());
        }
        let Err(failed) = wire.fill().await else { continue };
        talked.failed_by_regex = !talked.said.is_empty();
        let summary = match failed.reason {
            Reason::AnswerTooLarge => {
                format!("{MAX_ANSWER} bytes came, and none match `{expect}`")
            }
            Reason::ConnectionReset if talked.failed_by_regex => {
                format!("`{}` does not match `{expect}`", talked.said)
            }
            _ => return Err(failed),
        };
        return Err(Failed::new(Reason::BodyMismatch, summary));
    }
}
