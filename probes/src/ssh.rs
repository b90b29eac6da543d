//! The banner of an SSH server and its host key, which it proves to have.
//!
//! ```yaml
//! ssh:
//!   address: db.example
//!   expect: OpenSSH_9
//!   host_key: SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDpgvKs3NLJbVjGf8g
//! ```
//!
//! ```text
//! banner ─▶ KEXINIT ─▶ curve25519 ─▶ host key, signature of the exchange ─▶ hang up
//! ```
//!
//! Invariant: the exchange ends before any login; a host key of ed25519 or ECDSA counts only if the
//! server signs with it.

mod exchange;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use regex::bytes::Regex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::network::regex;
use crate::session::{Endpoint, SECONDS, Session};
use crate::text::{Texts, shown_line};
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::{Failed, Wire};
use crate::{Outcome, Probe, Reason};

/// How many lines a server may say before its banner.
const MAX_LINES: usize = 50;

/// An SSH probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshConfig {
    /// `host`, or `host:port` for another port than 22.
    address: Spanned<String>,
    /// A regular expression that the banner must match.
    #[serde(default)]
    expect: Option<Spanned<String>>,
    /// The fingerprints of which the host key must have one, as `ssh-keygen -lf` prints them.
    #[serde(default)]
    host_key: Spanned<Texts>,
    /// Limits on `seconds`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Looks at an SSH server.
#[derive(Debug)]
pub struct SshProbe {
    endpoint: Endpoint,
    expect: Option<Regex>,
    host_keys: Vec<String>,
    limits: Limits,
}

impl SshConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<SshProbe> {
        let endpoint = Endpoint::build(&self.address, Some(22), diagnostics);
        let expect = match &self.expect {
            Some(pattern) => Some(regex(&pattern.value, pattern.place, diagnostics)?),
            None => None,
        };
        for text in &self.host_key.value.0 {
            if text.strip_prefix("SHA256:").is_none_or(|digest| digest.len() != 43) {
                let help = "write it as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` does";
                let message = format!("`{text}` is not a fingerprint of a host key");
                diagnostics.report_with_help(&self.host_key, message, help);
            }
        }
        let limits = Limits::build(&self.thresholds, &[SECONDS], diagnostics);
        Some(SshProbe { endpoint: endpoint?, expect, host_keys: self.host_key.value.0, limits })
    }
}

#[async_trait]
impl Probe for SshProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let mut session = Session::start("ssh", &["resolve", "connect", "banner", "exchange"]);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl SshProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let mut wire = session.connect(&self.endpoint).await?;
        let waiting = format!("`{}` has not shown its banner", self.endpoint);
        let banner = session.phase("banner", waiting, banner(&mut wire)).await?;
        let shown = shown_line(&banner, 200);
        if let Some(expect) = &self.expect
            && !expect.is_match(&banner)
        {
            let summary = format!("`{shown}` does not match `{expect}`");
            return Err(Failed::new(Reason::AnswerMismatch, summary));
        }
        let waiting = format!("`{}` has not shown its host key", self.endpoint);
        let exchange = exchange::host_key(&mut wire, &banner);
        let key = session.phase("exchange", waiting, exchange).await?;
        let labels = [("type", key.kind.clone()), ("fingerprint_sha256", key.fingerprint.clone())];
        session.metrics.info("probe_ssh_host_key_info", "The host key of the server", &labels);
        let (kind, fingerprint) = (key.kind, key.fingerprint);
        if !self.host_keys.is_empty() && !self.host_keys.contains(&fingerprint) {
            let summary = format!("the host key is {kind} {fingerprint}");
            return Err(Failed::new(Reason::HostKeyMismatch, summary));
        }
        Ok(format!("{shown}, host key {kind} {fingerprint}"))
    }
}

/// Shows our banner and waits for the server's, before which it may say other lines.
async fn banner(wire: &mut Wire) -> Result<Vec<u8>, Failed> {
    wire.send(exchange::BANNER).await?;
    wire.send(b"\r\n").await?;
    for n in 0..MAX_LINES {
        let line = wire.line().await?;
        if line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-") {
            return Ok(line);
        }
        // No server that speaks SSH begins with what is no text.
        if n == 0 && (line.starts_with(b"HTTP/") || std::str::from_utf8(&line).is_err()) {
            return Err(Failed::protocol("SSH", &line));
        }
    }
    let summary = format!("{MAX_LINES} lines came, and none is a banner of SSH");
    Err(Failed::new(Reason::ProtocolError, summary))
}
