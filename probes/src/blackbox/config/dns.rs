//! The `dns` section of a module, as written.
//!
//! Invariant: the built module's question can be asked, and its expressions are valid.

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::tls::TlsConfig;

use super::super::dns::DnsModule;
use super::{client, way};
use crate::dns::config::{RecordsConfig, rcodes, transport};
use crate::dns::exchange::Transport;
use crate::dns::message::{Question, class_of, type_of};
use crate::text::Texts;

/// The type that is asked for where nothing is said.
const ANY: u16 = 255;
const SOA: u16 = 6;

/// The section, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DnsModuleConfig {
    preferred_ip_protocol: Option<Spanned<String>>,
    ip_protocol_fallback: Option<bool>,
    source_ip_address: Option<Spanned<String>>,
    dns_over_tls: Option<Spanned<bool>>,
    tls_config: Option<Spanned<TlsConfig>>,
    transport_protocol: Option<Spanned<String>>,
    query_class: Option<Spanned<String>>,
    query_name: Option<Spanned<String>>,
    query_type: Option<Spanned<String>>,
    recursion_desired: Option<bool>,
    valid_rcodes: Spanned<Texts>,
    validate_answer_rrs: RecordsConfig,
    validate_authority_rrs: RecordsConfig,
    validate_additional_rrs: RecordsConfig,
}

impl DnsModuleConfig {
    /// The module, reporting everything that is wrong with it.
    pub(super) fn build(self, place: Place, diagnostics: &mut Diagnostics) -> Option<DnsModule> {
        let way = way(
            self.preferred_ip_protocol.as_ref(),
            self.ip_protocol_fallback,
            self.source_ip_address.as_ref(),
            diagnostics,
        );
        let mut named =
            |text: &Option<Spanned<String>>, usual, what, of: fn(&str) -> Option<u16>| {
                let Some(text) = text.as_ref().filter(|text| !text.value.is_empty()) else {
                    return Some(usual);
                };
                let known = of(&text.value);
                if known.is_none() {
                    diagnostics
                        .report(text, format!("`{}` is not a {what} of records", text.value));
                }
                known
            };
        let kind = named(&self.query_type, ANY, "type", type_of);
        let class = named(&self.query_class, 1, "class", class_of);
        let written = self.transport_protocol.filter(|text| !text.value.is_empty());
        let transport = transport(written.as_ref(), diagnostics);
        let tls = match self.dns_over_tls.filter(|wanted| wanted.value) {
            None => None,
            Some(wanted) => {
                if transport == Some(Transport::Udp) {
                    let help = "write `transport_protocol: tcp`";
                    diagnostics.report_with_help(&wanted, "TLS needs a connection", help);
                }
                Some(client(self.tls_config.as_ref(), place, diagnostics)?.0)
            }
        };
        let name = self.query_name.filter(|name| !name.value.is_empty());
        let Some(name) = name else {
            diagnostics.report(place, "`query_name` is missing: what is asked for");
            return None;
        };
        let recursive = self.recursion_desired.unwrap_or(true);
        let question = Question::new(&name.value, kind?, recursive, false);
        if let Err(why) = &question {
            diagnostics.report(&name, format!("`{}` {why}", name.value));
        }
        Some(DnsModule {
            way,
            question: question.ok()?.of_class(class?),
            asks_soa: kind == Some(SOA),
            transport: transport?,
            tls,
            rcodes: rcodes(&self.valid_rcodes, diagnostics),
            answer: self.validate_answer_rrs.build(diagnostics),
            authority: self.validate_authority_rrs.build(diagnostics),
            additional: self.validate_additional_rrs.build(diagnostics),
        })
    }
}
