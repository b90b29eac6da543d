//! Where a service is that does not speak HTTP: its host and port, and whom we trust there.
//!
//! Invariant: where a message goes stands in the configuration: no template, and so no alert,
//! chooses it.

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::client::Client;
use base::http::tls::TlsConfig;

use super::settings::needed;

/// `host:port`, or a host alone where there is a usual port.
pub(super) fn host_port(
    name: &str,
    written: Option<&Spanned<String>>,
    usual: Option<u16>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<(String, u16)> {
    let text = needed(name, written, place, diagnostics)?;
    let found = split(&text, usual);
    if found.is_none() {
        let at = written.map_or(place, |written| written.place);
        diagnostics.report_with_help(
            at,
            format!("`{text}` is not `host:port`"),
            "put an IPv6 address into brackets: `[::1]:6697`",
        );
    }
    found
}

/// The client of TLS; what is wrong with its files is reported.
pub(super) fn tls_client(
    tls: Option<&Spanned<TlsConfig>>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<Client> {
    let config = tls.map(|tls| tls.value.clone()).unwrap_or_default();
    match Client::new(&config) {
        Ok(client) => Some(client),
        Err(error) => {
            diagnostics.report(tls.map_or(place, |tls| tls.place), error.to_string());
            None
        }
    }
}

fn split(text: &str, usual: Option<u16>) -> Option<(String, u16)> {
    let plain = |host: &str| {
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/@[]".contains(c);
        (!host.is_empty() && !host.contains(odd)).then(|| host.to_owned())
    };
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest {
            "" => usual?,
            rest => port(rest.strip_prefix(':')?)?,
        };
        return Some((plain(host)?, port));
    }
    match text.split_once(':') {
        None => Some((plain(text)?, usual?)),
        Some((host, digits)) => Some((plain(host)?, port(digits)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        let check = |text: &str, usual, expected: Option<(&str, u16)>| {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(split(text, usual), expected, "{text}");
        };
        check("irc.example:6697", None, Some(("irc.example", 6697)));
        check("irc.example", Some(6697), Some(("irc.example", 6697)));
        check("[::1]:514", None, Some(("::1", 514)));
        check("[::1]", Some(514), Some(("::1", 514)));
        check("irc.example", None, None);
        check("irc.example:0", None, None);
        check("irc.example:70000", None, None);
        check("::1:514", None, None);
        check(":514", None, None);
        check("http://h:1", None, None);
        check("[::1", Some(1), None);
        check("u@h:1", None, None);
    }
}
