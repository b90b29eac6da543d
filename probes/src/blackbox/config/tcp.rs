//! The `tcp` and `unix` sections of a module, as written.
//!
//! Invariant: the built module's expressions and label names are valid, and TLS begins once at most.

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::tls::TlsConfig;
use base::labels::is_legacy_label_name;

use super::super::tcp::{Step, TcpModule};
use super::{Payload, client, way};
use crate::guard::Way;
use crate::network::regex;

/// The section, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TcpModuleConfig {
    preferred_ip_protocol: Option<Spanned<String>>,
    ip_protocol_fallback: Option<bool>,
    source_ip_address: Option<Spanned<String>>,
    query_response: Vec<Spanned<StepConfig>>,
    tls: bool,
    tls_config: Option<Spanned<TlsConfig>>,
}

/// The section of a socket, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UnixModuleConfig {
    query_response: Vec<Spanned<StepConfig>>,
    tls: bool,
    tls_config: Option<Spanned<TlsConfig>>,
}

/// One exchange, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StepConfig {
    expect: Option<Spanned<String>>,
    expect_bytes: Payload,
    labels: Vec<LabelConfig>,
    send: Payload,
    starttls: bool,
}

/// A label that carries what was caught, as written.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelConfig {
    name: Spanned<String>,
    value: String,
}

impl TcpModuleConfig {
    /// The module, reporting everything that is wrong with it.
    pub(super) fn build(self, place: Place, diagnostics: &mut Diagnostics) -> Option<TcpModule> {
        let way = way(
            self.preferred_ip_protocol.as_ref(),
            self.ip_protocol_fallback,
            self.source_ip_address.as_ref(),
            diagnostics,
        );
        let steps = steps(self.query_response, self.tls, diagnostics);
        let (client, verifies) = client(self.tls_config.as_ref(), place, diagnostics)?;
        Some(TcpModule { way, steps, tls: self.tls, client, verifies })
    }
}

impl UnixModuleConfig {
    /// The module, reporting everything that is wrong with it.
    pub(super) fn build(self, place: Place, diagnostics: &mut Diagnostics) -> Option<TcpModule> {
        let steps = steps(self.query_response, self.tls, diagnostics);
        let (client, verifies) = client(self.tls_config.as_ref(), place, diagnostics)?;
        Some(TcpModule { way: Way::default(), steps, tls: self.tls, client, verifies })
    }
}

fn steps(
    written: Vec<Spanned<StepConfig>>,
    mut is_encrypted: bool,
    diagnostics: &mut Diagnostics,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for step in written {
        if step.value.starttls && std::mem::replace(&mut is_encrypted, true) {
            diagnostics.report(&step, "TLS begins a second time here");
        }
        steps.push(step.value.build(diagnostics));
    }
    steps
}

impl StepConfig {
    fn build(self, diagnostics: &mut Diagnostics) -> Step {
        let expect = self.expect.filter(|expect| !expect.value.is_empty());
        let expect = expect.and_then(|one| regex(&one.value, one.place, diagnostics));
        for label in &self.labels {
            if !is_legacy_label_name(&label.name.value) || label.name.value.starts_with("__") {
                let message = format!("`{}` is not a label name", label.name.value);
                diagnostics.report(&label.name, message);
            }
        }
        Step {
            expect,
            expect_bytes: self.expect_bytes.0,
            labels: self.labels.into_iter().map(|one| (one.name.value, one.value)).collect(),
            send: self.send.0,
            starttls: self.starttls,
        }
    }
}
