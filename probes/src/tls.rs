//! The certificate and the encryption of a server, by TLS at once or after STARTTLS.
//!
//! ```yaml
//! tls:
//!   address: mail.example:25
//!   starttls: smtp                        # imap, pop3, ftp, postgres, mysql, ldap
//!   tls: {ca_file: /etc/ssl/our-ca.pem}   # the system's authorities where nothing is said
//!   min_version: '1.3'
//!   names: [mail.example, smtp.example]   # further names that the certificate must be for
//!   staple: true                          # the server must show that it is not revoked
//!   thresholds: {days_left: {warn: '14:', crit: '3:'}}
//! ```
//!
//! Invariant: what was seen of a chain is measured, too, where it is refused.

mod staple;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::staple::{Staple, judge};
use crate::chain::{Seen, Trust};
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session, now};
use crate::starttls::Starttls;
use crate::text::Texts;
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::{Failed, Wire};
use crate::{Outcome, Probe, Reason, ldap, mysql};

/// The limits on the days left, where none are written.
const WARN: &str = "14:";
const CRIT: &str = "3:";

/// A TLS probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsProbeConfig {
    /// `host:port`, `host` for port 443.
    address: Spanned<String>,
    /// What is spoken before TLS begins; TLS begins at once where nothing is said.
    #[serde(default)]
    starttls: Option<Before>,
    /// Whom to trust, and who we are.
    #[serde(default)]
    tls: Spanned<TlsConfig>,
    /// The protocols to offer by ALPN.
    #[serde(default)]
    alpn: Texts,
    /// The oldest version that is good enough: `1.2` or `1.3`.
    #[serde(default)]
    min_version: Option<Spanned<String>>,
    /// Names that the certificate must be for, beside the one that it is asked as.
    #[serde(default)]
    names: Texts,
    /// The server must show by an OCSP staple that its certificate is good.
    #[serde(default)]
    staple: bool,
    /// Limits on `days_left` (`warn: '14:'`, `crit: '3:'` where nothing is said) and `seconds`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Looks at the certificate of a server.
#[derive(Debug)]
pub struct TlsProbe {
    endpoint: Endpoint,
    starttls: Option<Before>,
    trust: Trust,
    only_newest: bool,
    names: Vec<String>,
    staple: bool,
    limits: Limits,
}

/// What is spoken before TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Before {
    /// RFC 3207.
    Smtp,
    /// RFC 2595.
    Imap,
    /// RFC 2595.
    Pop3,
    /// RFC 4217.
    Ftp,
    /// The SSLRequest of PostgreSQL.
    Postgres,
    /// The SSLRequest of MySQL and MariaDB.
    Mysql,
    /// RFC 4511, 4.14.
    Ldap,
}

impl Before {
    fn port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Imap => 143,
            Self::Pop3 => 110,
            Self::Ftp => 21,
            Self::Postgres => 5432,
            Self::Mysql => 3306,
            Self::Ldap => 389,
        }
    }

    /// Says all that has to be said until the handshake can begin.
    async fn begin(self, wire: &mut Wire) -> Result<(), Failed> {
        let starttls = match self {
            Self::Smtp => Starttls::Smtp,
            Self::Imap => Starttls::Imap,
            Self::Pop3 => Starttls::Pop3,
            Self::Ftp => Starttls::Ftp,
            Self::Postgres => Starttls::Postgres,
            Self::Mysql => return mysql::begin_tls(wire).await,
            Self::Ldap => return ldap::begin_tls(wire).await,
        };
        starttls.begin(wire).await.map(|_| ())
    }
}

impl TlsProbeConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(mut self, diagnostics: &mut Diagnostics) -> Option<TlsProbe> {
        let usual = self.starttls.map_or(443, Before::port);
        let endpoint = Endpoint::build(&self.address, Some(usual), diagnostics);
        if self.tls.place == Default::default() {
            self.tls.place = self.address.place;
        }
        let protocols: Vec<_> = self.alpn.0.iter().map(String::as_bytes).collect();
        let trust = Trust::build(&self.tls, &protocols, diagnostics);
        let only_newest = match &self.min_version {
            Some(version) if version.value == "1.3" => true,
            Some(version) if version.value != "1.2" => {
                let message = format!("`{}` is not a version of TLS that is spoken", version.value);
                diagnostics.report_with_help(version, message, "write `'1.2'` or `'1.3'`");
                false
            }
            _ => false,
        };
        let limits = Limits::build(&self.thresholds, &[DAYS_LEFT, SECONDS], diagnostics);
        let limits = limits.with_default(DAYS_LEFT, WARN, CRIT);
        let (starttls, names, staple) = (self.starttls, self.names.0, self.staple);
        let (endpoint, trust) = (endpoint?, trust?);
        Some(TlsProbe { endpoint, starttls, trust, only_newest, names, staple, limits })
    }
}

#[async_trait]
impl Probe for TlsProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let phases: &[_] = match self.starttls {
            Some(_) => &["resolve", "connect", "starttls", "tls"],
            None => &["resolve", "connect", "tls"],
        };
        let mut session = Session::start("tls", phases);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl TlsProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let mut wire = session.connect(&self.endpoint).await?;
        if let Some(starttls) = self.starttls {
            let waiting = format!("`{}` has not agreed to begin TLS", self.endpoint);
            session.phase("starttls", waiting, starttls.begin(&mut wire)).await?;
        }
        let mut seen = Seen::default();
        let result = session.inspect(wire, &self.endpoint, &self.trust, &mut seen).await;
        session.judge_chain(&seen);
        session.details = seen.details();
        let stapled = f64::from(u8::from(!seen.staple.is_empty()));
        let help = "Whether the server has shown an OCSP staple";
        session.metrics.gauge("probe_tls_ocsp_stapled", help, stapled);
        result?;
        self.judge(&seen, now())
    }

    fn judge(&self, seen: &Seen, at: f64) -> Result<String, Failed> {
        if self.only_newest && seen.version != Some("TLS 1.3") {
            let version = seen.version.unwrap_or("an older version");
            let summary = format!("the server speaks {version}, wanted TLS 1.3");
            return Err(Failed::new(Reason::TlsPolicy, summary));
        }
        let names = seen.names();
        for wanted in &self.names {
            if !names.iter().any(|name| is_for(name, wanted)) {
                let names = names.join(", ");
                let summary = format!("the certificate is for {names}, not for {wanted}");
                return Err(Failed::new(Reason::CertificateName, summary));
            }
        }
        self.judge_staple(seen, at)?;
        let days = seen.expiry().map_or(f64::NAN, crate::session::days_left).floor();
        Ok(format!("good for {days} days, {}", seen.summary()))
    }
}

impl TlsProbe {
    /// A certificate that was taken back is no good, whether somebody wants a staple or not.
    fn judge_staple(&self, seen: &Seen, at: f64) -> Result<(), Failed> {
        const LACK: &str = "the server does not show that its certificate is not revoked";
        let missing = |summary: String| Err(Failed::new(Reason::StapleMissing, summary));
        let Some(certificate) = seen.chain.first().filter(|_| !seen.staple.is_empty()) else {
            return if self.staple { missing(LACK.to_owned()) } else { Ok(()) };
        };
        match judge(&seen.staple, certificate, at) {
            Staple::Revoked => {
                let summary = "the certificate was revoked, as the server itself shows";
                Err(Failed::new(Reason::CertificateRevoked, summary))
            }
            Staple::Useless(why) if self.staple => missing(format!("{LACK}: its staple {why}")),
            Staple::Good | Staple::Useless(_) => Ok(()),
        }
    }
}

/// Whether a name in a certificate, which may begin with `*.`, covers a host.
fn is_for(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => {
            host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain))
        }
        None => name.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_part_of_a_name() {
        assert!(is_for("shop.test", "SHOP.test"));
        assert!(is_for("*.shop.test", "www.shop.test"));
        assert!(!is_for("*.shop.test", "shop.test"));
        assert!(!is_for("*.shop.test", "a.b.shop.test"));
    }
}
