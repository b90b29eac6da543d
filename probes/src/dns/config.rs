//! A DNS probe as written.
//!
//! Invariant: the built probe's names, types and expressions are valid.

use base::diagnostic::{Diagnostics, Place, Spanned};
use regex::bytes::Regex;
use serde::Deserialize;

use super::exchange::Transport;
use super::expect::{Expectations, Records};
use super::message::{Question, RCODES, type_of};
use super::{DnsProbe, VALUES};
use crate::network::regex;
use crate::session::Endpoint;
use crate::text::Texts;
use crate::thresholds::{Limits, LimitsConfig};

/// A DNS probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsConfig {
    /// The servers, `host` or `host:port`; each is asked.
    servers: Spanned<Vec<Spanned<String>>>,
    /// The name to ask for.
    name: Spanned<String>,
    /// The type to ask for: `A` where nothing is said.
    #[serde(default, rename = "type")]
    kind: Option<Spanned<String>>,
    /// `udp` or `tcp`; `udp` where nothing is said.
    #[serde(default)]
    #[schemars(extend("enum" = ["udp", "tcp"]))]
    transport: Option<Spanned<String>>,
    /// Whether the server shall ask others; `true` where nothing is said.
    #[serde(default)]
    recursion: Option<bool>,
    /// The server must vouch for its answer: the AD flag.
    #[serde(default)]
    dnssec: bool,
    /// The codes that are wanted: `NOERROR` where nothing is said.
    #[serde(default)]
    expect_rcodes: Spanned<Texts>,
    /// The data of all records of the type, in any order.
    #[serde(default)]
    expect_answers: Option<Texts>,
    /// Expressions that each match some record of the answer, written as in a zone file.
    #[serde(default)]
    expect_matches: Spanned<Texts>,
    /// What is expected of the answer section, as with blackbox_exporter.
    #[serde(default)]
    validate_answer_rrs: RecordsConfig,
    /// What is expected of the authority section, as with blackbox_exporter.
    #[serde(default)]
    validate_authority_rrs: RecordsConfig,
    /// What is expected of the additional section, as with blackbox_exporter.
    #[serde(default)]
    validate_additional_rrs: RecordsConfig,
    /// Limits on `seconds`, `answers` and `ttl`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// What is expected of the records of a section.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RecordsConfig {
    /// No record may match any of these.
    fail_if_matches_regexp: Spanned<Texts>,
    /// Not all records may match any of these.
    fail_if_all_match_regexp: Spanned<Texts>,
    /// Every record must match each of these.
    fail_if_not_matches_regexp: Spanned<Texts>,
    /// Some record must match each of these.
    fail_if_none_matches_regexp: Spanned<Texts>,
}

impl DnsConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<DnsProbe> {
        let servers = self.servers.value.iter();
        let servers: Vec<_> =
            servers.filter_map(|s| Endpoint::build(s, Some(53), diagnostics)).collect();
        if self.servers.value.is_empty() {
            diagnostics.report(&self.servers, "there is no server to ask");
        }
        let kind = match &self.kind {
            None => Some(1),
            Some(kind) => {
                let known = type_of(&kind.value);
                if known.is_none() {
                    let message = format!("`{}` is not a type of records", kind.value);
                    let help = "write it like `A`, `AAAA`, `MX` or `TYPE65`";
                    diagnostics.report_with_help(kind, message, help);
                }
                known
            }
        };
        let transport = transport(self.transport.as_ref(), diagnostics);
        let recursive = self.recursion.unwrap_or(true);
        let question = Question::new(&self.name.value, kind.unwrap_or(1), recursive, self.dnssec);
        if let Err(why) = &question {
            diagnostics.report(&self.name, format!("`{}` {why}", self.name.value));
        }
        let rcodes = rcodes(&self.expect_rcodes, diagnostics);
        let expect = Expectations {
            rcodes,
            dnssec: self.dnssec,
            answers: self.expect_answers.map(|texts| texts.0),
            kind: kind.unwrap_or(1),
            matches: regexes(&self.expect_matches, diagnostics),
            answer: self.validate_answer_rrs.build(diagnostics),
            authority: self.validate_authority_rrs.build(diagnostics),
            additional: self.validate_additional_rrs.build(diagnostics),
        };
        let limits = Limits::build(&self.thresholds, &VALUES, diagnostics);
        let (question, transport) = (question.ok()?, transport?);
        kind.map(|_| DnsProbe { servers, question, transport, expect, limits })
    }
}

/// The codes that are wanted: `NOERROR` where nothing is said.
pub(crate) fn rcodes(texts: &Spanned<Texts>, diagnostics: &mut Diagnostics) -> Vec<u16> {
    let mut rcodes = Vec::new();
    for text in &texts.value.0 {
        match RCODES.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            Some(number) => rcodes.push(u16::try_from(number).unwrap_or_default()),
            None => {
                let message = format!("`{text}` is not a DNS code");
                let help = "write it like `NOERROR` or `NXDOMAIN`";
                diagnostics.report_with_help(texts, message, help);
            }
        }
    }
    if rcodes.is_empty() {
        rcodes.push(0);
    }
    rcodes
}

impl RecordsConfig {
    pub(crate) fn build(&self, diagnostics: &mut Diagnostics) -> Records {
        Records {
            fail_if_matches: regexes(&self.fail_if_matches_regexp, diagnostics),
            fail_if_all_match: regexes(&self.fail_if_all_match_regexp, diagnostics),
            fail_if_not_matches: regexes(&self.fail_if_not_matches_regexp, diagnostics),
            fail_if_none_matches: regexes(&self.fail_if_none_matches_regexp, diagnostics),
        }
    }
}

/// By what a server is asked: `udp` where nothing is said.
pub(crate) fn transport(
    text: Option<&Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> Option<Transport> {
    match text.map(|text| (text.value.as_str(), Place::from(text))) {
        None | Some(("udp", _)) => Some(Transport::Udp),
        Some(("tcp", _)) => Some(Transport::Tcp),
        Some((other, place)) => {
            diagnostics.report(place, format!("`{other}` is neither `udp` nor `tcp`"));
            None
        }
    }
}

fn regexes(texts: &Spanned<Texts>, diagnostics: &mut Diagnostics) -> Vec<Regex> {
    let all = texts.value.0.iter();
    all.filter_map(|text| regex(text, texts.place, diagnostics)).collect()
}
