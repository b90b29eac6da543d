//! An entry of `syslog_configs`: as written, and what is wrong with it.
//!
//! Invariant: what stands in a message's head is printable ASCII without spaces, short enough for
//! RFC 5424.

use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::tls::TlsConfig;
use serde::Deserialize;

use super::super::endpoint::{host_port, tls_client};
use super::super::notifier::Shared;
use super::super::stream::Server;
use super::super::texts::Text;
use super::{SyslogNotifier, Transport};

/// The facilities by their usual names, from 0 on.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// An entry of `syslog_configs`, as written. `text` is a template, rendered for each alert alone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyslogConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// `host` or `host:port` of the server; the port is 514 by default, by TLS 6514.
    pub address: Option<Spanned<String>>,
    /// `tcp`, `tls` or `udp`; by default `tcp`.
    pub transport: Option<Spanned<String>>,
    /// Whom to trust, and who we are, for `tls`.
    pub tls_config: Option<Spanned<TlsConfig>>,
    /// The facility by its name; `daemon` by default.
    pub facility: Option<Spanned<String>>,
    /// Who we say we are; the name of this host by default.
    pub hostname: Option<Spanned<String>>,
    /// The program; `veilleur` by default.
    pub app_name: Option<Spanned<String>>,
    /// Names the structured data: `NAME@NUMBER`, with the enterprise number of the one who named
    /// it; `alert@32473` by default, where 32473 is the number for examples.
    pub structured_data_id: Option<Spanned<String>>,
    /// The text.
    pub text: Option<Spanned<String>>,
}

impl SyslogConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<SyslogNotifier> {
        let transport = match self.transport.as_ref().map(|t| (t, t.value.as_str())) {
            None | Some((_, "tcp")) => Transport::Tcp,
            Some((_, "tls")) => Transport::Tls,
            Some((_, "udp")) => Transport::Udp,
            Some((written, _)) => {
                diagnostics.report(written, "`transport` is `tcp`, `tls` or `udp`");
                Transport::Tcp
            }
        };
        if let Some(tls) = self.tls_config.as_ref().filter(|_| transport != Transport::Tls) {
            diagnostics.report(tls, "`tls_config` is for `transport: tls` only");
        }
        let usual = Some(if transport == Transport::Tls { 6514 } else { 514 });
        let server = host_port("address", self.address.as_ref(), usual, place, diagnostics);
        let client = tls_client(self.tls_config.as_ref(), place, diagnostics);
        let named = self.facility.as_ref().map_or("daemon", |facility| facility.value.as_str());
        let facility = FACILITIES.iter().position(|name| *name == named);
        if facility.is_none()
            && let Some(written) = &self.facility
        {
            let help = format!("one of {}", FACILITIES.join(", "));
            diagnostics.report_with_help(written, format!("there is no facility `{named}`"), help);
        }
        let mut word = |name: &str, written: &Option<Spanned<String>>, most: usize| {
            let written = written.as_ref()?;
            let good = |c: char| c.is_ascii_graphic() && !"=]\"".contains(c);
            let text = &written.value;
            if text.is_empty() || text.len() > most || !text.chars().all(good) {
                let message = format!("`{text}` cannot be the `{name}` of a message");
                let help = format!("at most {most} printable ASCII characters without spaces");
                diagnostics.report_with_help(written, message, help);
            }
            Some(text.clone())
        };
        let hostname = word("hostname", &self.hostname, 255).unwrap_or_else(own_name);
        let app_name = word("app_name", &self.app_name, 48);
        let id = word("structured_data_id", &self.structured_data_id, 32);
        let default = "{{ template \"veilleur.default.lines\" . }}";
        let text = Text::build("text", self.text.as_ref(), default, diagnostics);
        let (host, port) = server?;
        Some(SyslogNotifier {
            server: Server { host, port, client: client? },
            transport,
            facility: u8::try_from(facility?).ok()?,
            hostname,
            app_name: app_name.unwrap_or_else(|| "veilleur".to_owned()),
            structured_data_id: id.unwrap_or_else(|| "alert@32473".to_owned()),
            templates: Arc::clone(shared.templates),
            text: text?,
        })
    }
}

/// The name of this host, `-` where it has none that can be told.
fn own_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let good = !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic());
    if good { name.into_owned() } else { "-".to_owned() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::sink::build_entry;
    use super::*;

    pub(in super::super) fn build(yaml: &str) -> (Option<SyslogNotifier>, String) {
        build_entry(yaml, SyslogConfig::build)
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check("{address: logs.example}", "");
        check("{}", "f.yml:1:1: `address` is missing");
        check(
            "{address: logs, transport: quic, app_name: a b, tls_config: {}}",
            "f.yml:1:28: `transport` is `tcp`, `tls` or `udp`\n\
             f.yml:1:44: `a b` cannot be the `app_name` of a message\n  \
             help: at most 48 printable ASCII characters without spaces\n\
             f.yml:1:61: `tls_config` is for `transport: tls` only",
        );
        let (_, faults) = build("{address: logs, facility: local9}");
        assert!(faults.starts_with("f.yml:1:27: there is no facility `local9`\n"), "{faults}");
    }

    #[test]
    fn the_usual_ports_follow_the_transport() {
        let port = |transport: &str| {
            let yaml = format!("{{address: logs, transport: {transport}}}");
            build(&yaml).0.unwrap().server.port
        };
        assert_eq!(["udp", "tcp", "tls"].map(port), [514, 514, 6514]);
    }
}
