//! An entry of `irc_configs`: as written, and what is wrong with it.
//!
//! Invariant: server, channel and names are fixed texts, without what IRC separates words by.

use std::path::PathBuf;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::SecretSource;
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;

use super::super::endpoint::{host_port, tls_client};
use super::super::notifier::Shared;
use super::super::settings::needed;
use super::super::stream::Server;
use super::super::texts::Text;
use super::{IrcNotifier, Login};

/// An entry of `irc_configs`, as written. `text` is a template; each of its lines is a message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IrcConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// `host` or `host:port`; the port is 6697 by default, without TLS 6667.
    pub server: Option<Spanned<String>>,
    /// Whether TLS is spoken; by default it is.
    pub tls: Option<bool>,
    /// Whom to trust, and who we are.
    pub tls_config: Option<Spanned<TlsConfig>>,
    /// Our name; `veilleur` by default. Where it is taken, a digit is added.
    pub nick: Option<Spanned<String>>,
    /// Our user name; the nick by default.
    pub username: Option<Spanned<String>>,
    /// Our full name.
    pub realname: Option<Spanned<String>>,
    /// The server's password.
    pub password: Option<Secret>,
    /// The file that holds it.
    pub password_file: Option<PathBuf>,
    /// The account to log in to by SASL; the nick by default.
    pub sasl_username: Option<Spanned<String>>,
    /// Its password; with it SASL is a must.
    pub sasl_password: Option<Secret>,
    /// The file that holds it.
    pub sasl_password_file: Option<PathBuf>,
    /// The password to tell NickServ.
    pub nickserv_password: Option<Secret>,
    /// The file that holds it.
    pub nickserv_password_file: Option<PathBuf>,
    /// The channel.
    pub channel: Option<Spanned<String>>,
    /// Its key.
    pub channel_key: Option<Secret>,
    /// The file that holds it.
    pub channel_key_file: Option<PathBuf>,
    /// Whether it is a notice, to which no program answers, and not a message.
    pub notice: bool,
    /// The most lines of a message, 1 to 10.
    pub max_lines: Option<Spanned<usize>>,
    /// The text.
    pub text: Option<Spanned<String>>,
}

impl IrcConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<IrcNotifier> {
        let tls = self.tls.unwrap_or(true);
        let usual = Some(if tls { 6697 } else { 6667 });
        let server = host_port("server", self.server.as_ref(), usual, place, diagnostics);
        let client = tls_client(self.tls_config.as_ref(), place, diagnostics);
        let channel = needed("channel", self.channel.as_ref(), place, diagnostics);
        if let (Some(channel), Some(written)) = (&channel, &self.channel)
            && !is_channel(channel)
        {
            let help = "one channel as `#ops`; make an entry for each";
            let message = format!("`{channel}` is no channel");
            diagnostics.report_with_help(written, message, help);
        }
        let nick = self.nick.as_ref().map_or("veilleur", |nick| nick.value.as_str()).to_owned();
        let username = self.username.as_ref().map_or(nick.as_str(), |name| name.value.as_str());
        for (name, written) in [("nick", &self.nick), ("username", &self.username)] {
            if let Some(written) = written.as_ref().filter(|written| !is_nick(&written.value)) {
                let message = format!("`{}` cannot be a `{name}`", written.value);
                diagnostics.report(written, message);
            }
        }
        let realname = self.realname.as_ref().map_or("Veilleur", |name| name.value.as_str());
        let mut secret = |value: &Option<Secret>, file: &Option<PathBuf>, names| {
            SecretSource::one_of(value.clone(), file.clone(), names, place, diagnostics)
        };
        let names = ("password", "password_file");
        let password = secret(&self.password, &self.password_file, names);
        let names = ("channel_key", "channel_key_file");
        let channel_key = secret(&self.channel_key, &self.channel_key_file, names);
        let names = ("sasl_password", "sasl_password_file");
        let sasl = secret(&self.sasl_password, &self.sasl_password_file, names);
        let names = ("nickserv_password", "nickserv_password_file");
        let services = secret(&self.nickserv_password, &self.nickserv_password_file, names);
        let login = match (sasl, services) {
            (Some(_), Some(_)) => {
                let message = "only one of `sasl_password` and `nickserv_password` can be given";
                diagnostics.report(place, message);
                Login::Nobody
            }
            (Some(password), None) => {
                let name = self.sasl_username.as_ref().map_or(&nick, |name| &name.value);
                Login::Sasl { username: name.clone(), password }
            }
            (None, Some(password)) => Login::NickServ(password),
            (None, None) => {
                if let Some(name) = &self.sasl_username {
                    diagnostics.report(name, "`sasl_username` has no `sasl_password`");
                }
                Login::Nobody
            }
        };
        let max_lines = self.max_lines.as_ref().map_or(6, |lines| lines.value);
        if let Some(lines) = self.max_lines.as_ref().filter(|n| !(1..=10).contains(&n.value)) {
            diagnostics.report(lines, "`max_lines` is a number from 1 to 10");
        }
        let default = "{{ template \"veilleur.default.lines\" . }}";
        let text = Text::build("text", self.text.as_ref(), default, diagnostics);
        let (host, port) = server?;
        Some(IrcNotifier {
            server: Server { host, port, client: client? },
            tls,
            username: username.to_owned(),
            nick,
            realname: realname.to_owned(),
            password,
            login,
            channel: channel?,
            channel_key,
            notice: self.notice,
            max_lines: max_lines.clamp(1, 10),
            templates: Arc::clone(shared.templates),
            text: text?,
        })
    }
}

/// RFC 2812, section 1.3.
fn is_channel(text: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == ',' || c == ':';
    text.starts_with(['#', '&', '+', '!']) && (2..=50).contains(&text.len()) && !text.contains(odd)
}

/// RFC 2812, section 2.3.1; longer names than there, as servers allow them today.
fn is_nick(text: &str) -> bool {
    let special = |c: char| "[]\\`_^{|}".contains(c);
    let named = |c: char| c.is_ascii_alphanumeric() || c == '-' || special(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic() || special(c))
        && text.len() <= 30
        && text.chars().all(named)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::sink::build_entry;
    use super::*;

    pub(in super::super) fn build(yaml: &str) -> (Option<IrcNotifier>, String) {
        build_entry(yaml, IrcConfig::build)
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check("{server: irc.example, channel: '#ops'}", "");
        check(
            "{}",
            "f.yml:1:1: `server` is missing\n\
             f.yml:1:1: `channel` is missing",
        );
        check(
            "{server: 'irc:x', channel: '#a,#b', nick: 1x, max_lines: 11}",
            "f.yml:1:10: `irc:x` is not `host:port`\n  \
             help: put an IPv6 address into brackets: `[::1]:6697`\n\
             f.yml:1:28: `#a,#b` is no channel\n  \
             help: one channel as `#ops`; make an entry for each\n\
             f.yml:1:43: `1x` cannot be a `nick`\n\
             f.yml:1:58: `max_lines` is a number from 1 to 10",
        );
        check(
            "{server: h, channel: '#{{ .CommonLabels.team }}', sasl_username: u}",
            "f.yml:1:22: `channel` cannot come from an alert\n  \
             help: make a receiver for each `channel` and route to it\n\
             f.yml:1:66: `sasl_username` has no `sasl_password`",
        );
        check(
            "{server: h, channel: '#a', sasl_password: x, nickserv_password: y}",
            "f.yml:1:1: only one of `sasl_password` and `nickserv_password` can be given",
        );
    }

    #[test]
    fn the_usual_ports_follow_tls() {
        let port = |extra: &str| {
            build(&format!("{{server: h, channel: '#a'{extra}}}")).0.unwrap().server.port
        };
        assert_eq!([port(""), port(", tls: false")], [6697, 6667]);
    }
}
