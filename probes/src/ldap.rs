//! Binding to a directory, and counting what a search finds.
//!
//! ```yaml
//! ldap:
//!   address: ldap.example
//!   starttls: true
//!   username: cn=watch,dc=example
//!   password: ${env:LDAP_PASSWORD}
//!   base: ou=people,dc=example           # searches; else binding is all
//!   filter: (&(objectClass=person)(!(mail=*)))
//!   thresholds: {entries: {crit: '1:'}}
//! ```
//!
//! Invariant: nothing is changed; no more entries are asked for than [`MAX_ENTRIES`].

mod filter;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::ber::{self, ENUMERATED, INTEGER, OCTETS, SEQUENCE, integer, tlv};
use crate::chain::Trust;
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session};
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::{Failed, Wire};
use crate::{Outcome, Probe, Reason};

/// How many entries a search may find.
const MAX_ENTRIES: i32 = 10_000;

const BIND: u8 = 0x60;
const BIND_DONE: u8 = 0x61;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_DONE: u8 = 0x78;
const STARTTLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// An LDAP probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LdapConfig {
    /// `host`, or `host:port` for another port than the usual.
    address: Spanned<String>,
    /// Whom to trust: with TLS at once, unless `starttls` is set.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// TLS begins when the server agrees; that it does not is a failure.
    #[serde(default)]
    starttls: bool,
    /// The name to bind as; nobody where nothing is said.
    #[serde(default)]
    username: Option<Spanned<String>>,
    /// Its password.
    #[serde(default)]
    password: Option<Secret>,
    /// Where to search, with everything below it.
    #[serde(default)]
    base: Option<Spanned<String>>,
    /// What to search, as in RFC 4515: `(&(uid=an*)(!(mail=*))(uidNumber>=1000))`; all entries where
    /// nothing is said.
    #[serde(default)]
    filter: Option<Spanned<String>>,
    /// Limits on `entries`, `seconds`, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Binds to a directory.
#[derive(Debug)]
pub struct LdapProbe {
    endpoint: Endpoint,
    trust: Option<Trust>,
    starttls: bool,
    login: Option<(String, Secret)>,
    /// Where to search, and what, as it is sent.
    search: Option<(String, Vec<u8>)>,
    limits: Limits,
}

impl LdapConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(mut self, diagnostics: &mut Diagnostics) -> Option<LdapProbe> {
        let usual = if self.tls.is_some() && !self.starttls { 636 } else { 389 };
        let endpoint = Endpoint::build(&self.address, Some(usual), diagnostics);
        if self.starttls && self.tls.is_none() {
            self.tls = Some(Spanned { value: TlsConfig::default(), place: self.address.place });
        }
        let trust = Trust::optional(self.tls.as_ref(), diagnostics);
        // A name without a password binds as nobody, and says that it is well (RFC 4513).
        let login = match (self.username, self.password) {
            (Some(username), Some(password)) if !password.is_empty() => {
                Some((username.value, password))
            }
            (None, None) => None,
            (username, _) => {
                let place = username.map_or(self.address.place, |name| name.place);
                diagnostics.report(place, "`username` and `password` belong together");
                None
            }
        };
        let filter = match &self.filter {
            None => Some(filter::any()),
            Some(text) => match filter::parse(&text.value) {
                Ok(filter) => Some(filter),
                Err(why) => {
                    let message = format!("`{}` is not a filter: {why}", text.value);
                    let help = "write it like `(uid=ann)` or `(&(cn=an*)(!(mail=*)))`";
                    diagnostics.report_with_help(text, message, help);
                    None
                }
            },
        };
        if let (Some(filter), None) = (&self.filter, &self.base) {
            diagnostics.report(filter, "a `filter` needs a `base`");
        }
        let known = ["entries", SECONDS, DAYS_LEFT];
        let limits = Limits::build(&self.thresholds, &known, diagnostics);
        let search = self.base.map(|base| base.value).zip(filter);
        let (endpoint, trust, starttls) = (endpoint?, trust?, self.starttls);
        Some(LdapProbe { endpoint, trust, starttls, login, search, limits })
    }
}

#[async_trait]
impl Probe for LdapProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let phases = ["resolve", "connect", "starttls", "tls", "login", "search"];
        let mut session = Session::start("ldap", &phases);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl LdapProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let at_once = self.trust.as_ref().filter(|_| !self.starttls);
        let mut wire = session.open(&self.endpoint, at_once).await?;
        let waiting = |what: &str| format!("`{}` has not {what}", self.endpoint);
        if let (true, Some(trust)) = (self.starttls, &self.trust) {
            let agree = begin_tls(&mut wire);
            session.phase("starttls", waiting("agreed to begin TLS"), agree).await?;
            wire = session.secure(wire, &self.endpoint, trust).await?;
        }
        let (name, password) = match &self.login {
            Some((name, password)) => (name.as_str(), password.expose()),
            None => ("", ""),
        };
        let bind = async {
            let who = tlv(OCTETS, &[name.as_bytes()]);
            let proof = tlv(0x80, &[password.as_bytes()]);
            send(&mut wire, 2, &tlv(BIND, &[&integer(INTEGER, 3), &who, &proof])).await?;
            let (tag, answer) = receive(&mut wire).await?;
            done(tag, BIND_DONE, &answer)
        };
        session.phase("login", waiting("answered the login"), bind).await?;
        let who = if name.is_empty() { "nobody" } else { name };
        let Some((base, filter)) = &self.search else { return Ok(format!("bound as {who}")) };
        let search = search(&mut wire, base, filter);
        let entries = session.phase("search", waiting("answered the search"), search).await?;
        session.value("entries", f64::from(entries), "");
        Ok(format!("bound as {who}, {entries} entries found"))
    }
}

/// Asks for TLS, which begins at once then.
pub(crate) async fn begin_tls(wire: &mut Wire) -> Result<(), Failed> {
    send(wire, 1, &tlv(EXTENDED, &[&tlv(0x80, &[STARTTLS])])).await?;
    let (tag, answer) = receive(wire).await?;
    done(tag, EXTENDED_DONE, &answer).map_err(|failed| match failed.reason {
        Reason::ProtocolError => failed,
        _ => Failed::new(Reason::StarttlsMissing, failed.summary),
    })
}

/// How many entries a search finds.
async fn search(wire: &mut Wire, base: &str, filter: &[u8]) -> Result<i32, Failed> {
    let request = tlv(
        SEARCH,
        &[
            &tlv(OCTETS, &[base.as_bytes()]),
            // The whole tree below, aliases as they are, so many entries, no attributes.
            &integer(ENUMERATED, 2),
            &integer(ENUMERATED, 0),
            &integer(INTEGER, MAX_ENTRIES),
            &integer(INTEGER, 0),
            &tlv(0x01, &[&[0xff]]),
            filter,
            &tlv(SEQUENCE, &[&tlv(OCTETS, &[b"1.1"])]),
        ],
    );
    send(wire, 3, &request).await?;
    let mut entries = 0;
    for _ in 0..=MAX_ENTRIES {
        let (tag, answer) = receive(wire).await?;
        match tag {
            ENTRY => entries += 1,
            REFERENCE => {}
            tag => {
                done(tag, SEARCH_DONE, &answer).map_err(|failed| match failed.reason {
                    Reason::ErrorAnswer => Failed::new(Reason::QueryFailed, failed.summary),
                    _ => failed,
                })?;
                return Ok(entries);
            }
        }
    }
    let summary = format!("the search finds over {MAX_ENTRIES} entries");
    Err(Failed::new(Reason::AnswerTooLarge, summary))
}

async fn send(wire: &mut Wire, id: i32, operation: &[u8]) -> Result<(), Failed> {
    wire.send(&tlv(SEQUENCE, &[&integer(INTEGER, id), operation])).await
}

/// The next message: what it is, and what is in it.
async fn receive(wire: &mut Wire) -> Result<(u8, Vec<u8>), Failed> {
    let strange = |wire: &Wire| Err(Failed::protocol("LDAP", wire.unread()));
    let length = loop {
        match (wire.unread().first(), ber::whole_length(wire.unread())) {
            (Some(tag), _) if *tag != SEQUENCE => return strange(wire),
            (_, Some(Err(()))) => return strange(wire),
            (_, Some(Ok(length))) => break length,
            _ => wire.fill().await?,
        }
    };
    let message = wire.exact(length).await?;
    let parsed = || {
        let mut rest = ber::expect(&mut &message[..], SEQUENCE)?;
        ber::expect(&mut rest, INTEGER)?;
        ber::take(&mut rest).map(|(tag, content)| (tag, content.to_vec()))
    };
    parsed().ok_or_else(|| Failed::protocol("LDAP", &message))
}

/// Whether an operation was done.
fn done(tag: u8, wanted: u8, mut answer: &[u8]) -> Result<(), Failed> {
    // A notice that the server hangs up has the form of an extended answer.
    if tag != wanted && tag != EXTENDED_DONE {
        return Err(Failed::protocol("LDAP", &[tag]));
    }
    let parsed = (|| {
        let code = ber::number(ber::expect(&mut answer, ENUMERATED)?, true)?;
        ber::expect(&mut answer, OCTETS)?;
        Some((code, shown_line(ber::expect(&mut answer, OCTETS)?, 300)))
    })();
    let (code, said) = parsed.ok_or_else(|| Failed::protocol("LDAP", &[tag]))?;
    let reason = match code {
        0 if tag == wanted => return Ok(()),
        8 | 13 | 48 | 49 | 50 | 53 if wanted == BIND_DONE => Reason::AuthenticationFailed,
        51 | 52 => Reason::NotServing,
        _ => Reason::ErrorAnswer,
    };
    let name = match code {
        13 => " (confidentiality required)",
        32 => " (no such object)",
        49 => " (invalid credentials)",
        50 => " (insufficient access rights)",
        _ => "",
    };
    Err(Failed::new(reason, format!("the server answers {code}{name}: `{said}`")))
}
