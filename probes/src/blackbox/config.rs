//! The file of modules, in the form of blackbox_exporter 0.28.
//!
//! ```yaml
//! modules:
//!   http_2xx: {prober: http, timeout: 5s, http: {valid_status_codes: [200, 204]}}
//!   ssh_banner: {prober: tcp, tcp: {query_response: [{expect: ^SSH-2.0-}]}}
//! ```
//!
//! Invariant: what is written and not done is a fault, with its place: nobody trusts a module that
//! does less than it says.

mod auth;
mod http;
mod tcp;
mod dns;
mod icmp;
mod grpc;
mod websocket;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use base::diagnostic::{Diagnostics, Place, Spanned, nearest};
use base::http::client::Client;
use base::http::tls::TlsConfig;
use base::period::Period;
use base::yaml;
use serde::de::{Deserialize, Deserializer, Visitor};

use self::dns::DnsModuleConfig;
use self::grpc::GrpcModuleConfig;
use self::http::HttpModuleConfig;
use self::icmp::IcmpModuleConfig;
use self::tcp::{TcpModuleConfig, UnixModuleConfig};
use self::websocket::WebsocketModuleConfig;
use super::{Module, Prober};
use crate::guard::Way;

pub use self::http::accepts_encoding;

/// The modules by their names.
#[derive(Clone, Debug, Default)]
pub struct Modules(BTreeMap<String, Module>);

/// The file, as written.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ModulesConfig {
    #[serde(default)]
    modules: BTreeMap<String, Spanned<ModuleConfig>>,
}

/// A module, as written.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ModuleConfig {
    prober: Spanned<String>,
    #[serde(default)]
    timeout: Option<Spanned<Period>>,
    #[serde(default)]
    http: HttpModuleConfig,
    #[serde(default)]
    tcp: TcpModuleConfig,
    #[serde(default)]
    dns: DnsModuleConfig,
    #[serde(default)]
    icmp: IcmpModuleConfig,
    #[serde(default)]
    grpc: GrpcModuleConfig,
    #[serde(default)]
    unix: UnixModuleConfig,
    #[serde(default)]
    websocket: WebsocketModuleConfig,
}

impl Modules {
    /// The modules of the file at `path`; what is wrong with it is reported under its own name.
    pub fn read_file(path: &Path, diagnostics: &mut Diagnostics) -> Self {
        let mut own = Diagnostics::new(&path.display().to_string());
        let config = yaml::read_file(path, &mut own);
        let modules = Self::build(config, &mut own);
        diagnostics.extend(own);
        modules
    }

    /// The modules that `text` describes.
    pub fn read(text: &str, diagnostics: &mut Diagnostics) -> Self {
        let config = yaml::read(text, diagnostics);
        Self::build(config, diagnostics)
    }

    fn build(config: Option<ModulesConfig>, diagnostics: &mut Diagnostics) -> Self {
        let written = config.map(|config| config.modules).unwrap_or_default();
        let mut modules = BTreeMap::new();
        for (name, config) in written {
            if let Some(module) = config.value.build(config.place, diagnostics) {
                modules.insert(name, module);
            }
        }
        Self(modules)
    }

    /// The module of that name.
    pub fn get(&self, name: &str) -> Option<&Module> {
        self.0.get(name)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl ModuleConfig {
    fn build(self, place: Place, diagnostics: &mut Diagnostics) -> Option<Module> {
        let prober = match self.prober.value.as_str() {
            "http" => self.http.build(place, diagnostics).map(|http| Prober::Http(http.into())),
            "tcp" => self.tcp.build(place, diagnostics).map(|tcp| Prober::Tcp(tcp.into())),
            "dns" => self.dns.build(place, diagnostics).map(|dns| Prober::Dns(dns.into())),
            "icmp" => Some(Prober::Icmp(self.icmp.build(diagnostics).into())),
            "grpc" => self.grpc.build(place, diagnostics).map(|grpc| Prober::Grpc(grpc.into())),
            "unix" => self.unix.build(place, diagnostics).map(|unix| Prober::Unix(unix.into())),
            "websocket" => {
                let built = self.websocket.build(place, diagnostics);
                built.map(|websocket| Prober::Websocket(websocket.into()))
            }
            other => {
                let help = match nearest(other, PROBERS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("`{}` are", PROBERS.join("`, `")),
                };
                let message = format!("`{other}` is no prober");
                diagnostics.report_with_help(&self.prober, message, help);
                None
            }
        };
        let timeout = self.timeout.map(|timeout| timeout.value).filter(|t| !t.is_zero());
        Some(Module {
            timeout: timeout.map(Period::duration),
            place: format!("{}:{place}", diagnostics.file()),
            prober: prober?,
        })
    }
}

/// The probers by their names.
const PROBERS: [&str; 7] = ["http", "tcp", "dns", "icmp", "grpc", "unix", "websocket"];

/// Which address is dialled, by the settings that all probers share.
fn way(
    preferred: Option<&Spanned<String>>,
    falls_back: Option<bool>,
    source: Option<&Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> Way {
    let prefers_v4 = match preferred.map(|kind| kind.value.as_str()) {
        Some("ip4") => true,
        None | Some("ip6" | "") => false,
        Some(other) => {
            if let Some(preferred) = preferred {
                let message = format!("`{other}` is no IP protocol");
                diagnostics.report_with_help(preferred, message, "write `ip4` or `ip6`");
            }
            false
        }
    };
    let source = source.filter(|source| !source.value.is_empty()).and_then(|source| {
        let address: Option<IpAddr> = source.value.parse().ok();
        if address.is_none() {
            diagnostics.report(source, format!("`{}` is no IP address", source.value));
        }
        address
    });
    Way { prefers_v4, falls_back: falls_back.unwrap_or(true), source }
}

/// The client that trusts as `tls` says, and whether it verifies.
fn client(
    tls: Option<&Spanned<TlsConfig>>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<(Client, bool)> {
    let config = tls.map(|tls| tls.value.clone()).unwrap_or_default();
    match Client::new(&config) {
        Ok(client) => Some((client, !config.insecure_skip_verify)),
        Err(error) => {
            diagnostics.report(tls.map_or(place, |tls| tls.place), error.to_string());
            None
        }
    }
}

/// Bytes to say or to hear: a text, or anything as `!!binary`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Payload(Vec<u8>);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PayloadVisitor;

        impl Visitor<'_> for PayloadVisitor {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(PayloadVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let mut diagnostics = Diagnostics::new("blackbox.yml");
        Modules::read(text, &mut diagnostics);
        diagnostics.to_string()
    }

    #[track_caller]
    fn check(module: &str, expected: &str) {
        let told = faults(&format!("modules:\n  m:\n    {module}\n"));
        assert_eq!(told, expected, "{module}");
    }

    #[test]
    fn modules_without_settings_are_those_of_blackbox_exporter() {
        let mut diagnostics = Diagnostics::new("blackbox.yml");
        let text = "modules: {h: {prober: http, timeout: 5s}, t: {prober: tcp, icmp: {ttl: 5}}}";
        let modules = Modules::read(text, &mut diagnostics);
        assert!(diagnostics.is_empty(), "{diagnostics}");
        assert_eq!(modules.names().collect::<Vec<_>>(), ["h", "t"]);
        let h = modules.get("h").unwrap();
        assert_eq!((h.timeout.unwrap().as_secs(), h.place.as_str()), (5, "blackbox.yml:1:14"));
        let Prober::Http(http) = &h.prober else { panic!("{h:?}") };
        assert_eq!(http.way, Way { prefers_v4: false, falls_back: true, source: None });
        assert_eq!(
            (http.plan.redirects, http.plan.keeps_body, http.verifies),
            (Some(10), false, true)
        );
        assert_eq!(modules.get("t").unwrap().timeout, None);
    }

    #[test]
    fn what_is_written_and_not_done_is_a_fault_with_its_place() {
        check("prober: dns", "blackbox.yml:3:5: `query_name` is missing: what is asked for");
        check(
            "{prober: dns, dns: {query_name: a..b, query_type: X, query_class: Y, \
             valid_rcodes: [OK]}}",
            "blackbox.yml:3:55: `X` is not a type of records\n\
             blackbox.yml:3:71: `Y` is not a class of records",
        );
        check(
            "{prober: dns, dns: {query_name: a, dns_over_tls: true, transport_protocol: quic}}",
            "blackbox.yml:3:80: `quic` is neither `udp` nor `tcp`",
        );
        check(
            "{prober: dns, dns: {query_name: a, dns_over_tls: true}}",
            "blackbox.yml:3:54: TLS needs a connection\n  help: write `transport_protocol: tcp`",
        );
        check(
            "{prober: icmp, icmp: {ttl: 256, payload_size: 65001}}",
            "blackbox.yml:3:32: a `ttl` of `256` is not within 0 and 255\n\
             blackbox.yml:3:51: a `payload_size` of `65001` is over 65000",
        );
        check(
            "{prober: websocket, websocket: {query_response: [{expect: ':['}]}}",
            "blackbox.yml:3:63: `:[` is not a regular expression: unclosed character class",
        );
        check(
            "prober: quic",
            "blackbox.yml:3:13: `quic` is no prober\n  help: `http`, `tcp`, `dns`, `icmp`, `grpc`, \
             `unix`, `websocket` are",
        );
        check(
            "prober: htpp",
            "blackbox.yml:3:13: `htpp` is no prober\n  help: did you mean `http`?",
        );
        check("timeout: 5s", "blackbox.yml:3:5: `prober` is missing");
        check(
            "{prober: http, http: {proxy_url: 'https://u:s3cret@p:1', no_proxy: 'a b', oauth2: \
             {client_id: x, token_url: y}, basic_auth: {username: u, password: p}}}",
            "blackbox.yml:3:38: only a proxy at `http://...` is spoken to\n  \
             help: write it like `http://proxy.example:3128`\n\
             blackbox.yml:3:38: `a b` of what goes without the proxy is no name and no network\n  \
             help: write it like `shop.example`, `10.0.0.1`, `10.0.0.0/8` or `*`\n\
             blackbox.yml:3:87: only one of `basic_auth`, `authorization`, `bearer_token` and \
             `oauth2` can be given\n\
             blackbox.yml:3:87: either `client_secret` or `client_secret_file` is needed\n\
             blackbox.yml:3:113: `y` is not an http or https URL",
        );
        check(
            "{prober: http, http: {methd: POST}}",
            "blackbox.yml:3:27: unknown setting `methd`\n  help: did you mean `method`?",
        );
        check(
            "{prober: http, http: {fail_if_body_matches_regexp: [':[']}}",
            "blackbox.yml:3:57: `:[` is not a regular expression: unclosed character class",
        );
        check(
            "{prober: http, http: {bearer_token: a, basic_auth: {username: x, password: y}}}",
            "blackbox.yml:3:5: only one of `basic_auth`, `authorization` and `bearer_token` can be given",
        );
        check(
            "{prober: http, http: {valid_http_versions: [HTTP/4]}}",
            "blackbox.yml:3:49: HTTP/3.0, HTTP/2.0, HTTP/1.1 and HTTP/1.0 are spoken here, and none \
             is wanted",
        );
        check("{prober: http, http: {enable_http3: true, enable_http2: false}}", "");
        check(
            "{prober: http, http: {valid_http_versions: [HTTP/1.1, HTTP/3.0]}}",
            "blackbox.yml:3:59: HTTP/3.0 is not spoken unless it is asked for\n  \
             help: write `enable_http3: true`",
        );
        check(
            "{prober: http, http: {enable_http3: true, valid_http_versions: [HTTP/3.0, HTTP/1.1]}}",
            "blackbox.yml:3:41: HTTP/3 is spoken alone, without HTTP/2\n  \
             help: write `enable_http2: false` beside it\n\
             blackbox.yml:3:79: with `enable_http3` nothing answers by `HTTP/1.1`\n  \
             help: `HTTP/3.0` is spoken alone",
        );
        check(
            "{prober: http, http: {enable_http3: true, enable_http2: false, proxy_url: 'http://p:1'}}",
            "blackbox.yml:3:79: HTTP/3 does not go through a proxy",
        );
        check(
            "{prober: http, http: {compression: gzip, headers: {Accept-Encoding: deflate}}}",
            "blackbox.yml:3:40: `compression: gzip` contradicts `Accept-Encoding: deflate`",
        );
        check("{prober: http, http: {body_size_limit: 10MB}}", "");
        check(
            "{prober: http, http: {body_size_limit: 10XB}}",
            "blackbox.yml:3:44: `10XB` is not a size; write it like `64KiB`, `512MiB` or `4GiB`",
        );
        check(
            "{prober: http, http: {compression: zstd}}",
            "blackbox.yml:3:40: `zstd` is not a compression that is unpacked here\n  \
             help: `gzip`, `br`, `deflate` and `identity` are",
        );
        check(
            "{prober: tcp, tcp: {preferred_ip_protocol: ip5, source_ip_address: x}}",
            "blackbox.yml:3:48: `ip5` is no IP protocol\n  help: write `ip4` or `ip6`\n\
             blackbox.yml:3:72: `x` is no IP address",
        );
        check(
            "{prober: tcp, tcp: {query_response: [{expect: a, labels: [{name: a-b, value: c}]}]}}",
            "blackbox.yml:3:70: `a-b` is not a label name",
        );
        check(
            "{prober: tcp, tcp: {query_response: [{starttls: true}, {starttls: true}]}}",
            "blackbox.yml:3:60: TLS begins a second time here",
        );
    }
}
