//! An entry of `email_configs`: as written, and what is wrong with it.
//!
//! Invariant: recipients are addresses, never templates: no alert chooses who gets mail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use lettre::message::header::HeaderName;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Identity, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use serde::Deserialize;

use super::super::texts::Text;
use super::smtp::Login;
use super::{EmailNotifier, Threading, TlsMode};
use crate::template::Templates;
use base::http::access::SecretSource;

/// Headers that we write ourselves.
const OWN_HEADERS: [&str; 6] =
    ["message-id", "date", "mime-version", "content-type", "content-transfer-encoding", "bcc"];

/// An entry of `email_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmailConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// Recipients, separated by commas; no template.
    pub to: Option<Spanned<String>>,
    /// The sender.
    pub from: Option<Spanned<String>>,
    /// `host:port` of the server.
    pub smarthost: Option<Spanned<String>>,
    /// The name by which we greet.
    pub hello: Option<Spanned<String>>,
    /// The user name; without it nobody logs in.
    pub auth_username: Option<String>,
    /// The password.
    pub auth_password: Option<Secret>,
    /// The file that holds it.
    pub auth_password_file: Option<PathBuf>,
    /// The secret for CRAM-MD5.
    pub auth_secret: Option<Secret>,
    /// The file that holds it.
    pub auth_secret_file: Option<PathBuf>,
    /// As whom we act, where it is not the user.
    pub auth_identity: Option<String>,
    /// Whether STARTTLS is a must; by default it is.
    pub require_tls: Option<bool>,
    /// Whether TLS comes before everything else; by default on port 465.
    pub force_implicit_tls: Option<bool>,
    /// Whom to trust, and who we are.
    pub tls_config: Option<Spanned<TlsConfig>>,
    /// Further headers, each a template; `Subject` among them.
    pub headers: BTreeMap<Spanned<String>, Spanned<String>>,
    /// The HTML part, a template; empty for none.
    pub html: Option<Spanned<String>>,
    /// The text part, a template.
    pub text: Option<Spanned<String>>,
    /// Which mails are a thread; by default those of a group from its first alert to its all-clear.
    pub threading: Option<Spanned<ThreadingConfig>>,
}

/// Which mails are a thread, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThreadingConfig {
    /// Whether all mails of a group are one.
    pub enabled: bool,
    /// `daily`: those of a day, by UTC; or `none`: all.
    pub thread_by_date: Option<Spanned<String>>,
}

/// What `global:` says of mail.
#[derive(Clone, Debug, Default)]
pub struct EmailGlobals {
    /// The sender.
    pub from: Option<Spanned<String>>,
    /// `host:port` of the server.
    pub smarthost: Option<Spanned<String>>,
    /// The name by which we greet.
    pub hello: Option<Spanned<String>>,
    /// The user name.
    pub auth_username: Option<String>,
    /// The password.
    pub auth_password: Option<Secret>,
    /// The file that holds it.
    pub auth_password_file: Option<PathBuf>,
    /// The secret for CRAM-MD5.
    pub auth_secret: Option<Secret>,
    /// The file that holds it.
    pub auth_secret_file: Option<PathBuf>,
    /// As whom we act, where it is not the user.
    pub auth_identity: Option<String>,
    /// Whether STARTTLS is a must.
    pub require_tls: Option<bool>,
    /// Whether TLS comes before everything else.
    pub force_implicit_tls: Option<bool>,
    /// Whom to trust, and who we are.
    pub tls_config: Option<Spanned<TlsConfig>>,
}

impl EmailConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        globals: &EmailGlobals,
        templates: &Arc<Templates>,
        diagnostics: &mut Diagnostics,
    ) -> Option<EmailNotifier> {
        let to = recipients(self.to.as_ref(), place, diagnostics);
        let from = self.from.as_ref().or(globals.from.as_ref());
        let from = address("from", "smtp_from", from, place, diagnostics);
        let server = match (&self.smarthost, &globals.smarthost) {
            // What is wrong with the global one is told where it stands.
            (None, Some(global)) => host_port(&global.value),
            (own, _) => server(own.as_ref(), place, diagnostics),
        };
        let login = self.login(place, globals, diagnostics);
        let hello = self.hello.as_ref().or(globals.hello.as_ref());
        let hello = ClientId::Domain(hello.map_or("localhost".to_owned(), |h| h.value.clone()));
        let html = Text::build(
            "html",
            self.html.as_ref(),
            "{{ template \"email.default.html\" . }}",
            diagnostics,
        );
        let text = Text::build(
            "text",
            self.text.as_ref(),
            "{{ template \"email.default.text\" . }}",
            diagnostics,
        );
        let (subject, headers) = self.headers(diagnostics);
        let threading = self.threading(diagnostics);
        let tls = server.as_ref().and_then(|(host, port)| {
            let config = self.tls_config.as_ref().or(globals.tls_config.as_ref());
            let parameters = tls_parameters(host, config, place, diagnostics)?;
            let implicit = self.force_implicit_tls.or(globals.force_implicit_tls);
            let implicit = implicit.unwrap_or(*port == 465);
            Some(match self.require_tls.or(globals.require_tls).unwrap_or(true) {
                _ if implicit => TlsMode::Implicit(parameters),
                true => TlsMode::Required(parameters),
                false => TlsMode::IfOffered(parameters),
            })
        });
        let (host, port) = server?;
        Some(EmailNotifier {
            to: to?,
            from: from?,
            host,
            port,
            hello,
            login,
            tls: tls?,
            subject: subject?,
            headers,
            threading,
            html: html?,
            text: text?,
            templates: Arc::clone(templates),
        })
    }

    fn login(
        &self,
        place: Place,
        globals: &EmailGlobals,
        diagnostics: &mut Diagnostics,
    ) -> Option<Login> {
        let mut source = |own: (&Option<Secret>, &Option<PathBuf>),
                          global: (&Option<Secret>, &Option<PathBuf>),
                          names| {
            let given = own.0.is_some() || own.1.is_some();
            let (value, file) = if given { own } else { global };
            SecretSource::one_of(value.clone(), file.clone(), names, place, diagnostics)
        };
        let password = source(
            (&self.auth_password, &self.auth_password_file),
            (&globals.auth_password, &globals.auth_password_file),
            ("auth_password", "auth_password_file"),
        );
        // An empty one is one all the same, such as that of a variable which is not set yet.
        let given = self.auth_password.as_ref().or(globals.auth_password.as_ref());
        let password = password.or_else(|| given.cloned().map(SecretSource::Given));
        let secret = source(
            (&self.auth_secret, &self.auth_secret_file),
            (&globals.auth_secret, &globals.auth_secret_file),
            ("auth_secret", "auth_secret_file"),
        );
        let username = self.auth_username.as_ref().or(globals.auth_username.as_ref());
        let username = username.filter(|name| !name.is_empty())?.clone();
        if password.is_none() && secret.is_none() {
            diagnostics.report(place, format!("the user `{username}` has no password"));
        }
        let identity = self.auth_identity.as_ref().or(globals.auth_identity.as_ref());
        Some(Login { username, password, secret, identity: identity.cloned().unwrap_or_default() })
    }

    fn threading(&self, diagnostics: &mut Diagnostics) -> Threading {
        let own = ["references", "in-reply-to"];
        let written =
            |name: &Spanned<String>| own.contains(&name.value.to_ascii_lowercase().as_str());
        let own = self.headers.keys().find(|name| written(name));
        let Some(config) = &self.threading else {
            // Whoever says himself what a mail refers to is not contradicted.
            return if own.is_some() { Threading::Nothing } else { Threading::Incident };
        };
        if !config.value.enabled {
            return Threading::Nothing;
        }
        if let Some(name) = own {
            let message = format!("`{}` is set by `threading`", name.value);
            diagnostics.report(name, message);
        }
        let by_date = config.value.thread_by_date.as_ref();
        match by_date.map(|by| by.value.as_str()) {
            Some("daily") => Threading::Day,
            Some("none") => Threading::Group,
            _ => {
                let place = by_date.map_or(config.place, |by| by.place);
                diagnostics.report(place, "`thread_by_date` is `none` or `daily`");
                Threading::Group
            }
        }
    }

    fn headers(&self, diagnostics: &mut Diagnostics) -> (Option<Text>, Vec<(HeaderName, Text)>) {
        let (mut subject, mut headers) = (None, Vec::new());
        let mut seen = BTreeSet::new();
        for (name, value) in &self.headers {
            let lower = name.value.to_ascii_lowercase();
            if !seen.insert(lower.clone()) {
                diagnostics.report(name, format!("the header `{}` is there twice", name.value));
            }
            if lower == "subject" {
                subject = Some(value);
                continue;
            }
            let known = HeaderName::new_from_ascii(name.value.clone()).ok();
            match known.filter(|_| !OWN_HEADERS.contains(&lower.as_str())) {
                Some(header) => {
                    let text = Text::build("headers", Some(value), "", diagnostics);
                    headers.extend(text.map(|text| (header, text)));
                }
                None => diagnostics.report(name, format!("`{}` cannot be set", name.value)),
            }
        }
        let default = "{{ template \"email.default.subject\" . }}";
        (Text::build("Subject", subject, default, diagnostics), headers)
    }
}

fn recipients(
    to: Option<&Spanned<String>>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<Mailboxes> {
    let Some(to) = to.filter(|to| !to.value.trim().is_empty()) else {
        diagnostics.report(place, "`to` is missing");
        return None;
    };
    if to.value.contains("{{") {
        diagnostics.report_with_help(
            to,
            "recipients cannot come from an alert",
            "make a receiver for each and route to it",
        );
        return None;
    }
    match to.value.parse::<Mailboxes>() {
        Ok(to) => Some(to),
        Err(error) => {
            diagnostics.report(to, format!("`{}` is no list of addresses: {error}", to.value));
            None
        }
    }
}

fn address(
    name: &str,
    global: &str,
    written: Option<&Spanned<String>>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<Mailbox> {
    let Some(written) = written else {
        let help = format!("set it here, or `{global}` under `global:`");
        diagnostics.report_with_help(place, format!("`{name}` is missing"), help);
        return None;
    };
    match written.value.parse() {
        Ok(mailbox) => Some(mailbox),
        Err(error) => {
            diagnostics.report(written, format!("`{}` is no address: {error}", written.value));
            None
        }
    }
}

fn server(
    written: Option<&Spanned<String>>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<(String, u16)> {
    let Some(written) = written else {
        let help = "set it here, or `smtp_smarthost` under `global:`";
        diagnostics.report_with_help(place, "`smarthost` is missing", help);
        return None;
    };
    let parsed = host_port(&written.value);
    if parsed.is_none() {
        let message = format!("`{}` is not `host:port`", written.value);
        diagnostics.report(written, message);
    }
    parsed
}

fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// Reports an address of a mail server that is none.
pub fn check_server(written: Option<&Spanned<String>>, diagnostics: &mut Diagnostics) {
    if let Some(written) = written {
        server(Some(written), written.place, diagnostics);
    }
}

fn tls_parameters(
    host: &str,
    config: Option<&Spanned<TlsConfig>>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<TlsParameters> {
    let place = config.map_or(place, |config| config.place);
    let config = config.map(|config| config.value.clone()).unwrap_or_default();
    let build = || -> Result<TlsParameters, String> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let name = config.server_name.clone().unwrap_or_else(|| host.to_owned());
        let mut builder = TlsParameters::builder(name);
        if let Some(file) = &config.ca_file {
            let certificate = Certificate::from_pem(&read(file)?).map_err(|e| e.to_string())?;
            builder =
                builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        if let (Some(cert), Some(key)) = (&config.cert_file, &config.key_file) {
            let identity =
                Identity::from_pem(&read(cert)?, &read(key)?).map_err(|e| e.to_string())?;
            builder = builder.identify_with(identity);
        }
        builder
            .dangerous_accept_invalid_certs(config.insecure_skip_verify)
            .build()
            .map_err(|error| error.to_string())
    };
    match build() {
        Ok(parameters) => Some(parameters),
        Err(error) => {
            diagnostics.report(place, error);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{GOOD, build};

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{}",
            "f.yml:1:1: `to` is missing\n\
             f.yml:1:1: `from` is missing\n  help: set it here, or `smtp_from` under `global:`\n\
             f.yml:1:1: `smarthost` is missing\n  help: set it here, or `smtp_smarthost` under `global:`",
        );
        check(
            "{to: '{{ .CommonLabels.mail }}', from: v@example.net, smarthost: 'mail'}",
            "f.yml:1:6: recipients cannot come from an alert\n  \
             help: make a receiver for each and route to it\n\
             f.yml:1:66: `mail` is not `host:port`",
        );
        check(
            &format!(
                "{GOOD}, auth_username: u, headers: {{Bcc: x, bcc: y}}, html: '{{{{ if }}}}'}}"
            ),
            "f.yml:1:1: the user `u` has no password\n\
             f.yml:1:118: `Bcc` cannot be set\n\
             f.yml:1:126: the header `bcc` is there twice\n\
             f.yml:1:126: `bcc` cannot be set\n\
             f.yml:1:141: template: html:1: missing value for if",
        );
        check(
            &format!("{GOOD}, threading: {{enabled: true}}, headers: {{References: x}}}}"),
            "f.yml:1:101: `thread_by_date` is `none` or `daily`\n\
             f.yml:1:128: `References` is set by `threading`",
        );
        check(
            &format!("{GOOD}, auth_username: u, auth_secret: x, auth_secret_file: y}}"),
            "f.yml:1:1: only one of `auth_secret` and `auth_secret_file` can be given\n\
             f.yml:1:1: the user `u` has no password",
        );
        check(&format!("{GOOD}, auth_username: u, auth_secret: x}}"), "");
        check(&format!("{GOOD}, headers: {{To: x, From: y, Cc: z, References: '<a@b>'}}}}"), "");
    }
}
