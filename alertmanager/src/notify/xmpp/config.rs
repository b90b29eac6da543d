//! An entry of `xmpp_configs`: as written, and what is wrong with it.
//!
//! Invariant: who is told stands in the configuration, one person or room an entry.

use std::path::PathBuf;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::SecretSource;
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;

use super::super::endpoint::{host_port, tls_client};
use super::super::notifier::Shared;
use super::super::settings::{SecretSetting, needed};
use super::super::stream::Server;
use super::super::texts::Text;
use super::{To, XmppNotifier};

/// An entry of `xmpp_configs`, as written. `text` is a template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct XmppConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// Our account: `user@domain`.
    pub jid: Option<Spanned<String>>,
    /// Its password.
    pub password: Option<Spanned<Secret>>,
    /// The file that holds it.
    pub password_file: Option<PathBuf>,
    /// `host` or `host:port` of the server; the domain and port 5222 by default, 5223 with
    /// `direct_tls`.
    pub server: Option<Spanned<String>>,
    /// Whether TLS is spoken from the start, and not after STARTTLS.
    pub direct_tls: bool,
    /// Whom to trust, and who we are.
    pub tls_config: Option<Spanned<TlsConfig>>,
    /// The person who is told: `user@domain`.
    pub to: Option<Spanned<String>>,
    /// The room that is told: `room@conference.domain`.
    pub room: Option<Spanned<String>>,
    /// Our name in the room; `veilleur` by default.
    pub nick: Option<Spanned<String>>,
    /// The room's password.
    pub room_password: Option<Secret>,
    /// The file that holds it.
    pub room_password_file: Option<PathBuf>,
    /// The text.
    pub text: Option<Spanned<String>>,
}

impl XmppConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<XmppNotifier> {
        let jid = address("jid", self.jid.as_ref(), place, diagnostics);
        let password = SecretSetting::of(&self.password, &self.password_file);
        let password = password.needed(("password", "password_file"), place, diagnostics);
        let usual = if self.direct_tls { 5223 } else { 5222 };
        let server = match (&self.server, &jid) {
            (Some(server), _) => host_port("server", Some(server), Some(usual), place, diagnostics),
            (None, jid) => jid.as_ref().map(|(_, domain)| (domain.clone(), usual)),
        };
        let client = tls_client(self.tls_config.as_ref(), place, diagnostics);
        let (key, file) = (self.room_password.clone(), self.room_password_file.clone());
        let names = ("room_password", "room_password_file");
        let room_password = SecretSource::one_of(key, file, names, place, diagnostics);
        let full = |(user, domain): (String, String)| format!("{user}@{domain}");
        let to = match (&self.to, &self.room) {
            (Some(to), Some(_)) => {
                let help = "make an entry for each";
                let message = "only one of `to` and `room` can be given";
                diagnostics.report_with_help(to, message, help);
                None
            }
            (None, Some(room)) => {
                let nick = self.nick.as_ref().map_or("veilleur", |nick| nick.value.as_str());
                if let Some(written) = self.nick.as_ref().filter(|_| !is_nick(nick)) {
                    diagnostics.report(written, format!("`{nick}` cannot be a `nick`"));
                }
                let (nick, password) = (nick.to_owned(), room_password);
                let room = address("room", Some(room), place, diagnostics).map(full);
                room.map(|room| To::Room { room, nick, password })
            }
            (to, None) => address("to", to.as_ref(), place, diagnostics).map(full).map(To::Person),
        };
        let default = "{{ template \"veilleur.default.text\" . }}";
        let text = Text::build("text", self.text.as_ref(), default, diagnostics);
        let (user, domain) = jid?;
        let (host, port) = server?;
        Some(XmppNotifier {
            server: Server { host, port, client: client? },
            direct_tls: self.direct_tls,
            user,
            domain,
            password: password?,
            to: to?,
            templates: Arc::clone(shared.templates),
            text: text?,
        })
    }
}

/// `user@domain`, without a resource.
fn address(
    name: &str,
    written: Option<&Spanned<String>>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<(String, String)> {
    let text = needed(name, written, place, diagnostics)?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || "\"&'/:<>@".contains(c);
    let whole = |part: &str| !part.is_empty() && part.len() <= 255 && !part.contains(odd);
    match text.split_once('@').filter(|(user, domain)| whole(user) && whole(domain)) {
        Some((user, domain)) => Some((user.to_owned(), domain.to_owned())),
        None => {
            let at = written.map_or(place, |written| written.place);
            let message = format!("`{text}` is no address of XMPP");
            diagnostics.report_with_help(at, message, "write `name@domain`");
            None
        }
    }
}

fn is_nick(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 64 && !text.contains(char::is_control)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::sink::build_entry;
    use super::*;

    pub(in super::super) fn build(yaml: &str) -> (Option<XmppNotifier>, String) {
        build_entry(yaml, XmppConfig::build)
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check("{jid: v@x.org, password: p, room: ops@rooms.x.org}", "");
        check(
            "{}",
            "f.yml:1:1: `jid` is missing\n\
             f.yml:1:1: `password` is missing\n  help: set it or `password_file`\n\
             f.yml:1:1: `to` is missing",
        );
        check(
            "{jid: x.org, password: p, to: '{{ .CommonLabels.who }}'}",
            "f.yml:1:7: `x.org` is no address of XMPP\n  help: write `name@domain`\n\
             f.yml:1:31: `to` cannot come from an alert\n  \
             help: make a receiver for each `to` and route to it",
        );
        check(
            "{jid: v@x.org, password: p, to: a@b, room: c@d}",
            "f.yml:1:33: only one of `to` and `room` can be given\n  help: make an entry for each",
        );
    }

    #[test]
    fn the_server_is_that_of_the_address() {
        let server = |extra: &str| {
            let yaml = format!("{{jid: v@x.org, password: p, to: a@b{extra}}}");
            let server = build(&yaml).0.unwrap().server;
            format!("{}:{}", server.host, server.port)
        };
        assert_eq!(server(""), "x.org:5222");
        assert_eq!(server(", direct_tls: true"), "x.org:5223");
        assert_eq!(server(", server: chat.x.org"), "chat.x.org:5222");
        assert_eq!(server(", server: 'chat.x.org:1'"), "chat.x.org:1");
    }
}
