//! The `http` section of a module, as written.
//!
//! Invariant: the built module's headers and expressions are valid.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::HeaderMap;
use base::http::client::HTTP2_OR_1;
use base::http::header::{self, HeaderValue};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use bytes::Bytes;

use super::super::cel::Expression;
use super::super::http::{Expect, HeaderRule, HttpModule};
use super::auth::{AuthorizationConfig, Credentials, TokenConfig, read};
use super::{client, way};
use crate::chain::Trust;
use crate::http::coding::{CODINGS, Coding};
use crate::http::config::{
    BasicAuthConfig, ProxySettings, add_header, header_name, method, read_body,
};
use crate::http::expect::version_of;
use crate::http::fetch::Plan;
use crate::http::oauth2::OAuth2;
use crate::network::regex;
use crate::script::ByteSize;

/// How many redirects are followed.
const MAX_REDIRECTS: u32 = 10;
/// The most that is kept of a body that somebody reads, where nothing is said.
const KEPT: u64 = 16 << 20;

/// The section, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpModuleConfig {
    valid_status_codes: Vec<u16>,
    valid_http_versions: Vec<Spanned<String>>,
    preferred_ip_protocol: Option<Spanned<String>>,
    ip_protocol_fallback: Option<bool>,
    method: Option<Spanned<String>>,
    headers: BTreeMap<String, Spanned<Secret>>,
    http_headers: BTreeMap<String, Spanned<HeaderValuesConfig>>,
    body: Spanned<String>,
    body_file: Option<Spanned<PathBuf>>,
    body_size_limit: Option<Spanned<String>>,
    compression: Option<Spanned<String>>,
    follow_redirects: Option<bool>,
    fail_if_ssl: bool,
    fail_if_not_ssl: bool,
    fail_if_body_matches_regexp: Vec<Spanned<String>>,
    fail_if_body_not_matches_regexp: Vec<Spanned<String>>,
    fail_if_header_matches: Vec<HeaderRuleConfig>,
    fail_if_header_not_matches: Vec<HeaderRuleConfig>,
    basic_auth: Option<Spanned<BasicAuthConfig>>,
    authorization: Option<Spanned<AuthorizationConfig>>,
    bearer_token: Option<Spanned<Secret>>,
    bearer_token_file: Option<Spanned<PathBuf>>,
    tls_config: Option<Spanned<TlsConfig>>,
    enable_http2: Option<Spanned<bool>>,
    enable_http3: Option<Spanned<bool>>,
    /// Without a proxy it means nothing.
    skip_resolve_phase_with_proxy: bool,
    proxy_url: Option<Spanned<Secret>>,
    proxy_from_environment: Option<Spanned<bool>>,
    proxy_connect_header: BTreeMap<String, Vec<Spanned<Secret>>>,
    no_proxy: Option<Spanned<String>>,
    oauth2: Option<Spanned<TokenConfig>>,
    fail_if_body_json_matches_cel: Option<Spanned<String>>,
    fail_if_body_json_not_matches_cel: Option<Spanned<String>>,
}

/// What a header must be, as written.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderRuleConfig {
    header: Spanned<String>,
    regexp: Spanned<String>,
    #[serde(default)]
    allow_missing: bool,
}

/// The values of a header, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HeaderValuesConfig {
    values: Vec<Spanned<Secret>>,
    secrets: Vec<Spanned<Secret>>,
    /// Read when the configuration is.
    files: Vec<Spanned<PathBuf>>,
}

impl HttpModuleConfig {
    /// The module, reporting everything that is wrong with it.
    pub(super) fn build(self, place: Place, diagnostics: &mut Diagnostics) -> Option<HttpModule> {
        let quic = self.quic(diagnostics);
        let way =
            way(self.preferred_ip_protocol.as_ref(), self.ip_protocol_fallback, None, diagnostics);
        let method = method(self.method.as_ref(), diagnostics);
        let headers = self.headers(place, diagnostics);
        let coding = self.coding(&headers, diagnostics);
        let body = self.body(diagnostics);
        let built = client(self.tls_config.as_ref(), place, diagnostics);
        let limit = self.body_size_limit.as_ref().and_then(|limit| size(limit, diagnostics));
        let redirects = self.follow_redirects.unwrap_or(true).then_some(MAX_REDIRECTS);
        let proxies = ProxySettings {
            url: self.proxy_url.as_ref(),
            except: self.no_proxy.as_ref(),
            from_environment: self.proxy_from_environment.as_ref(),
            headers: &self.proxy_connect_header,
            skips_resolve: self.skip_resolve_phase_with_proxy,
        };
        let proxies = proxies.build(diagnostics);
        let oauth2 = match &self.oauth2 {
            Some(oauth2) => Some(Box::new(self.oauth2(oauth2, diagnostics)?)),
            None => None,
        };
        let offered = if self.enable_http2.as_ref().is_none_or(|enabled| enabled.value) {
            HTTP2_OR_1
        } else {
            &HTTP2_OR_1[1..]
        };
        let expect = self.expect(diagnostics);
        let keeps_body = coding.is_some() || !expect.body.is_empty() || !expect.json.is_empty();
        let body_limit = limit.filter(|limit| *limit > 0);
        let body_limit = body_limit.unwrap_or(if keeps_body { KEPT } else { u64::MAX });
        // What is limited is the page, not what it is packed in.
        let unpacked_limit = usize::try_from(body_limit).unwrap_or(usize::MAX);
        let body_limit = if coding.is_some() { body_limit.max(KEPT) } else { body_limit };
        let (client, verifies) = built?;
        let client = client.with_protocols(offered);
        let plan = Plan { method: method?, headers, body, redirects, body_limit, keeps_body };
        Some(HttpModule {
            plan,
            client,
            way,
            proxies,
            oauth2,
            quic,
            unpacked_limit,
            coding,
            verifies,
            expect,
        })
    }

    /// Whom to trust where nothing but HTTP/3 is spoken.
    fn quic(&self, diagnostics: &mut Diagnostics) -> Option<Box<Trust>> {
        let wanted = self.enable_http3.as_ref().filter(|enabled| enabled.value);
        let others = self.valid_http_versions.iter();
        let Some(enabled) = wanted else {
            others.filter(|version| version.value == "HTTP/3.0").for_each(|version| {
                let message = "HTTP/3.0 is not spoken unless it is asked for";
                diagnostics.report_with_help(version, message, "write `enable_http3: true`");
            });
            return None;
        };
        if self.enable_http2.as_ref().is_none_or(|enabled| enabled.value) {
            let message = "HTTP/3 is spoken alone, without HTTP/2";
            diagnostics.report_with_help(enabled, message, "write `enable_http2: false` beside it");
        }
        others.filter(|version| version.value != "HTTP/3.0").for_each(|version| {
            let message = format!("with `enable_http3` nothing answers by `{}`", version.value);
            diagnostics.report_with_help(version, message, "`HTTP/3.0` is spoken alone");
        });
        let from_environment = self.proxy_from_environment.as_ref().filter(|on| on.value);
        let proxy = self.proxy_url.as_ref().map(|url| url.place);
        if let Some(place) = proxy.or(from_environment.map(|on| on.place)) {
            diagnostics.report(place, "HTTP/3 does not go through a proxy");
        }
        let tls = self.tls_config.as_ref().map(|tls| tls.value.clone());
        Some(Box::new(Trust::for_quic(&tls.unwrap_or_default())))
    }

    /// Who gives tokens, where nothing else says who we are.
    fn oauth2(
        &self,
        oauth2: &Spanned<TokenConfig>,
        diagnostics: &mut Diagnostics,
    ) -> Option<OAuth2> {
        let others = [
            self.basic_auth.is_some(),
            self.authorization.is_some(),
            self.bearer_token.is_some(),
            self.bearer_token_file.is_some(),
        ];
        if others.contains(&true) {
            let message = "only one of `basic_auth`, `authorization`, `bearer_token` and `oauth2` \
                           can be given";
            diagnostics.report(oauth2, message);
        }
        oauth2.value.build(oauth2.place, diagnostics)
    }

    fn headers(&self, place: Place, diagnostics: &mut Diagnostics) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            add_header(&mut headers, name, value, diagnostics);
        }
        for (name, lists) in &self.http_headers {
            let read = lists.value.files.iter().filter_map(|file| read(file, diagnostics));
            let read: Vec<_> = read.collect();
            let values = lists.value.values.iter().chain(&lists.value.secrets).chain(&read);
            for value in values {
                let mut one = HeaderMap::new();
                add_header(&mut one, name, value, diagnostics);
                one.into_iter().for_each(|(name, value)| {
                    if let Some(name) = name {
                        headers.append(name, value);
                    }
                });
            }
        }
        if !headers.contains_key(header::USER_AGENT) {
            let agent = concat!("veilleur-agent/", env!("CARGO_PKG_VERSION"));
            headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        }
        let credentials = Credentials {
            basic: self.basic_auth.as_ref(),
            authorization: self.authorization.as_ref(),
            token: self.bearer_token.as_ref(),
            token_file: self.bearer_token_file.as_ref(),
        };
        credentials.add_to(&mut headers, place, diagnostics);
        headers
    }

    /// How the body is packed. Nobody asks the server for it but a header of the module, as with
    /// blackbox_exporter.
    fn coding(&self, headers: &HeaderMap, diagnostics: &mut Diagnostics) -> Option<Coding> {
        let compression = self.compression.as_ref().filter(|c| !c.value.is_empty())?;
        let wanted = compression.value.to_ascii_lowercase();
        let coding = match wanted.as_str() {
            "identity" => None,
            name => match Coding::parse(name) {
                Some(coding) => Some(coding),
                None => {
                    let message = format!("`{wanted}` is not a compression that is unpacked here");
                    let help = format!("`{}` and `identity` are", CODINGS.join("`, `"));
                    diagnostics.report_with_help(compression, message, help);
                    return None;
                }
            },
        };
        let asked = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        if let Some(asked) = asked.filter(|asked| !accepts_encoding(&wanted, asked)) {
            let message = format!("`compression: {wanted}` contradicts `Accept-Encoding: {asked}`");
            diagnostics.report(compression, message);
        }
        coding
    }

    fn body(&self, diagnostics: &mut Diagnostics) -> Bytes {
        let Some(file) = &self.body_file else { return Bytes::from(self.body.value.clone()) };
        if !self.body.value.is_empty() {
            diagnostics.report(&self.body, "only one of `body` and `body_file` can be given");
        }
        read_body(file, diagnostics)
    }

    fn expect(self, diagnostics: &mut Diagnostics) -> Expect {
        // As with blackbox_exporter, what is no version is one that never comes.
        let versions = self.valid_http_versions.iter();
        let versions: Vec<_> = versions.filter_map(|version| version_of(&version.value)).collect();
        if let (Some(first), true) = (self.valid_http_versions.first(), versions.is_empty()) {
            let message = "HTTP/3.0, HTTP/2.0, HTTP/1.1 and HTTP/1.0 are spoken here, and none is \
                           wanted";
            diagnostics.report(first, message);
        }
        let mut body = Vec::new();
        for (patterns, must) in [
            (&self.fail_if_body_matches_regexp, false),
            (&self.fail_if_body_not_matches_regexp, true),
        ] {
            let built = patterns.iter().map(|one| regex(&one.value, one.place, diagnostics));
            body.extend(built.flatten().map(|regex| (regex, must)));
        }
        let mut json = Vec::new();
        for (expression, must) in [
            (&self.fail_if_body_json_matches_cel, false),
            (&self.fail_if_body_json_not_matches_cel, true),
        ] {
            let Some(written) = expression else { continue };
            match Expression::parse(&written.value) {
                Ok(expression) => json.push((expression, must)),
                Err(fault) => diagnostics.report_with_help(
                    written,
                    format!("this is no expression in CEL: {fault}"),
                    "for example `body.status == 'ok'`",
                ),
            }
        }
        let mut headers = Vec::new();
        for (rules, must) in
            [(self.fail_if_header_matches, false), (self.fail_if_header_not_matches, true)]
        {
            for HeaderRuleConfig { header, regexp, allow_missing } in rules {
                let name = header_name(&header.value, &header, diagnostics);
                let regex = regex(&regexp.value, regexp.place, diagnostics);
                headers.extend(name.zip(regex).map(|(name, regex)| HeaderRule {
                    name,
                    regex,
                    allows_missing: allow_missing,
                    must,
                }));
            }
        }
        Expect {
            statuses: self.valid_status_codes,
            versions,
            headers,
            body,
            json,
            fails_with_tls: self.fail_if_ssl,
            fails_without_tls: self.fail_if_not_ssl,
        }
    }
}

/// A size in bytes. As blackbox_exporter reads it, `1MB` is what others write as `1MiB`.
fn size(written: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<u64> {
    let text = match written.value.strip_suffix('B') {
        Some(short) if short.ends_with(['K', 'M', 'G', 'T']) => format!("{short}iB"),
        _ => written.value.clone(),
    };
    match text.parse::<ByteSize>() {
        Ok(size) => Some(size.0),
        Err(why) => {
            diagnostics.report(written, why);
            None
        }
    }
}

/// Whether an `Accept-Encoding` header lets a server answer with `encoding`: what names it first,
/// or `*`, and with a weight over 0.
pub fn accepts_encoding(encoding: &str, header: &str) -> bool {
    let mut choices: Vec<(&str, f64)> = header
        .split(',')
        .map(|choice| {
            let mut parts = choice.split(';').map(str::trim);
            let name = parts.next().unwrap_or("");
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse().ok());
            (name, weight.unwrap_or(1.0))
        })
        .collect();
    choices.sort_by(|a, b| b.1.total_cmp(&a.1));
    let named = choices.iter().find(|(name, _)| *name == encoding || *name == "*");
    named.is_some_and(|(_, weight)| *weight > 0.0)
}
