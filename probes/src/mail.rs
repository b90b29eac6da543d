//! The servers of mail: what they greet with, whether they encrypt, whether they let us in.
//!
//! ```yaml
//! smtp: {address: mail.example, starttls: true, expect: ESMTP}
//! imap: {address: 'mail.example:993', tls: {}, username: watch, password: '${env:MAIL_PASSWORD}'}
//! pop3: {address: mail.example, starttls: true}
//! ```
//!
//! Invariant: no mail is sent, read or changed.

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use base64::prelude::*;
use regex::bytes::Regex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::chain::Trust;
use crate::network::regex;
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session};
use crate::starttls::{
    ehlo, expect_reply, greet_imap, greet_pop3, greet_smtp, imap, imap_starttls, pop3,
    pop3_starttls, smtp_starttls,
};
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::{Failed, Wire};
use crate::{Outcome, Probe, Reason};

/// A probe of a mail server, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// `host`, or `host:port` for another port than the usual.
    address: Spanned<String>,
    /// Whom to trust: with TLS at once, unless `starttls` is set.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// TLS begins when the server agrees; that it does not is a failure.
    #[serde(default)]
    starttls: bool,
    /// Who we are.
    #[serde(default)]
    username: Option<Spanned<String>>,
    /// Our password; sent only where the connection is encrypted.
    #[serde(default)]
    password: Option<Secret>,
    /// A regular expression that the greeting must match.
    #[serde(default)]
    expect: Option<Spanned<String>>,
    /// Limits on `seconds`, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// What a mail server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mail {
    Smtp,
    Imap,
    Pop3,
}

/// Looks at a mail server.
#[derive(Debug)]
pub struct MailProbe {
    mail: Mail,
    endpoint: Endpoint,
    trust: Option<Trust>,
    starttls: bool,
    login: Option<(String, Secret)>,
    expect: Option<Regex>,
    limits: Limits,
}

impl MailConfig {
    /// The probe, reporting everything that is wrong with it.
    pub(crate) fn build(mut self, mail: Mail, diagnostics: &mut Diagnostics) -> Option<MailProbe> {
        let usual = match (mail, self.tls.is_some() && !self.starttls) {
            (Mail::Smtp, false) => 25,
            (Mail::Smtp, true) => 465,
            (Mail::Imap, false) => 143,
            (Mail::Imap, true) => 993,
            (Mail::Pop3, false) => 110,
            (Mail::Pop3, true) => 995,
        };
        let endpoint = Endpoint::build(&self.address, Some(usual), diagnostics);
        if self.starttls && self.tls.is_none() {
            self.tls = Some(Spanned { value: TlsConfig::default(), place: self.address.place });
        }
        let trust = Trust::optional(self.tls.as_ref(), diagnostics);
        let login = match (self.username, self.password) {
            (None, None) => None,
            (Some(username), Some(password)) => {
                if self.tls.is_none() {
                    let help = "set `starttls: true`, or `tls: {}`";
                    let message = "the password would be sent without encryption";
                    diagnostics.report_with_help(&username, message, help);
                }
                let sent = [username.value.as_str(), password.expose()];
                if sent.iter().any(|text| text.chars().any(char::is_control)) {
                    diagnostics.report(&username, "a login cannot have line ends in it");
                }
                Some((username.value, password))
            }
            _ => {
                let message = "`username` and `password` belong together";
                diagnostics.report(&self.address, message);
                None
            }
        };
        let expect = match &self.expect {
            Some(pattern) => Some(regex(&pattern.value, pattern.place, diagnostics)?),
            None => None,
        };
        let limits = Limits::build(&self.thresholds, &[SECONDS, DAYS_LEFT], diagnostics);
        let (endpoint, trust, starttls) = (endpoint?, trust?, self.starttls);
        Some(MailProbe { mail, endpoint, trust, starttls, login, expect, limits })
    }
}

#[async_trait]
impl Probe for MailProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let kind = match self.mail {
            Mail::Smtp => "smtp",
            Mail::Imap => "imap",
            Mail::Pop3 => "pop3",
        };
        let phases = ["resolve", "connect", "greeting", "starttls", "tls", "login"];
        let mut session = Session::start(kind, &phases);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl MailProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let at_once = self.trust.as_ref().filter(|_| !self.starttls);
        let mut wire = session.open(&self.endpoint, at_once).await?;
        let waiting = |what: &str| format!("`{}` has not {what}", self.endpoint);
        let greet = async {
            match self.mail {
                Mail::Smtp => greet_smtp(&mut wire).await,
                Mail::Imap => greet_imap(&mut wire).await,
                Mail::Pop3 => greet_pop3(&mut wire).await,
            }
        };
        let greeting = session.phase("greeting", waiting("greeted"), greet).await?;
        if let Some(expect) = &self.expect
            && !expect.is_match(greeting.as_bytes())
        {
            let summary = format!("`{greeting}` does not match `{expect}`");
            return Err(Failed::new(Reason::AnswerMismatch, summary));
        }
        if let (true, Some(trust)) = (self.starttls, &self.trust) {
            let agree = async {
                match self.mail {
                    Mail::Smtp => {
                        let extensions = ehlo(&mut wire).await?;
                        smtp_starttls(&mut wire, &extensions).await
                    }
                    Mail::Imap => imap_starttls(&mut wire).await,
                    Mail::Pop3 => pop3_starttls(&mut wire).await,
                }
            };
            session.phase("starttls", waiting("agreed to begin TLS"), agree).await?;
            wire = session.secure(wire, &self.endpoint, trust).await?;
        }
        if let Some((username, password)) = &self.login {
            let login = self.login(&mut wire, username, password.expose());
            session.phase("login", waiting("answered the login"), login).await?;
        }
        let quit: &[u8] = match self.mail {
            Mail::Imap => b"v2 LOGOUT\r\n",
            Mail::Smtp | Mail::Pop3 => b"QUIT\r\n",
        };
        // A farewell; that it does not arrive changes nothing.
        let _ = wire.send(quit).await;
        Ok(greeting)
    }

    async fn login(&self, wire: &mut Wire, user: &str, password: &str) -> Result<(), Failed> {
        let refused = |said: &str| {
            let summary = format!("the server refuses the login: `{said}`");
            Failed::new(Reason::AuthenticationFailed, summary)
        };
        let (done, said) = match self.mail {
            Mail::Smtp => {
                ehlo(wire).await?;
                let plain = BASE64_STANDARD.encode(format!("\0{user}\0{password}").as_bytes());
                wire.send(format!("AUTH PLAIN {plain}\r\n").as_bytes()).await?;
                expect_reply(wire, "SMTP", &[235]).await?;
                return Ok(());
            }
            Mail::Imap => {
                let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
                let (user, password) = (quoted(user), quoted(password));
                imap(wire, &format!("LOGIN \"{user}\" \"{password}\"")).await?
            }
            Mail::Pop3 => {
                wire.send(format!("USER {user}\r\n").as_bytes()).await?;
                let (known, said) = pop3(wire).await?;
                if !known {
                    return Err(refused(&said));
                }
                wire.send(format!("PASS {password}\r\n").as_bytes()).await?;
                pop3(wire).await?
            }
        };
        if done { Ok(()) } else { Err(refused(&said)) }
    }
}
