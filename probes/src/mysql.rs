//! Logging in to a MySQL or MariaDB server, and asking it for one number.
//!
//! ```yaml
//! mysql:
//!   address: db.example
//!   username: watch                      # without one only the greeting is looked at
//!   password: ${env:MYSQL_PASSWORD}
//!   query: SELECT count(*) FROM shop.jobs
//!   thresholds: {query: {warn: 10, crit: 100}}
//! ```
//!
//! Invariant: queries run in read-only transactions, and no password is sent in clear over a
//! connection that is not encrypted.

mod packet;

use std::borrow::BorrowMut;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::packet::{Greeting, Packets, error, first_column, proof};
use crate::chain::Trust;
use crate::postgres::number;
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session};
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::{Failed, Wire};
use crate::{Outcome, Probe, Reason};

/// How many packets the answer to a query may have.
const MAX_PACKETS: usize = 100_000;

/// What we can: long passwords, protocol 4.1, transactions, logins by plugin.
const CAPABILITIES: u32 = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;
const WITH_DATABASE: u32 = 0x8;
const WITH_TLS: u32 = 0x800;

/// A MySQL probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MysqlConfig {
    /// `host`, or `host:port` for another port than 3306.
    address: Spanned<String>,
    /// Asks the server for TLS; that it refuses is a failure.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// Who we are.
    #[serde(default)]
    username: Option<Spanned<String>>,
    /// Our password.
    #[serde(default)]
    password: Option<Secret>,
    /// The database.
    #[serde(default)]
    database: Option<Spanned<String>>,
    /// What to ask for: the first column of the first row is the value `query`.
    #[serde(default)]
    query: Option<Spanned<String>>,
    /// Limits on `query`, `seconds`, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Logs in to a MySQL server.
#[derive(Debug)]
pub struct MysqlProbe {
    endpoint: Endpoint,
    trust: Option<Trust>,
    login: Option<(String, Secret)>,
    database: Option<String>,
    query: Option<String>,
    limits: Limits,
}

impl MysqlConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<MysqlProbe> {
        let endpoint = Endpoint::build(&self.address, Some(3306), diagnostics);
        let trust = Trust::optional(self.tls.as_ref(), diagnostics);
        for text in [&self.username, &self.database, &self.query].into_iter().flatten() {
            if text.value.contains('\0') {
                diagnostics.report(text, "a text for the server cannot have a NUL in it");
            }
        }
        if let (Some(query), None) = (&self.query, &self.username) {
            diagnostics.report(query, "a query needs a `username`");
        }
        let limits = Limits::build(&self.thresholds, &["query", SECONDS, DAYS_LEFT], diagnostics);
        let password = self.password.unwrap_or_else(|| Secret::new(""));
        Some(MysqlProbe {
            endpoint: endpoint?,
            trust: trust?,
            login: self.username.map(|name| (name.value, password)),
            database: self.database.map(|name| name.value),
            query: self.query.map(|query| query.value),
            limits,
        })
    }
}

#[async_trait]
impl Probe for MysqlProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let phases = ["resolve", "connect", "greeting", "tls", "login", "query"];
        let mut session = Session::start("mysql", &phases);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl MysqlProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let mut packets = Packets::new(session.connect(&self.endpoint).await?);
        let waiting = |what: &str| format!("`{}` has not {what}", self.endpoint);
        let greet = greet(&mut packets);
        let greeting = session.phase("greeting", waiting("greeted"), greet).await?;
        let version = shown_line(&greeting.version, 100);
        if let Some(trust) = &self.trust {
            ask_for_tls(&mut packets, &greeting, &self.head()).await?;
            packets.wire = session.secure(packets.wire, &self.endpoint, trust).await?;
        }
        let Some((username, password)) = &self.login else { return Ok(version) };
        let login = self.login(&mut packets, &greeting, username, password.expose());
        session.phase("login", waiting("answered the login"), login).await?;
        let Some(query) = &self.query else { return Ok(version) };
        let ask = async {
            ask(&mut packets, "SET SESSION TRANSACTION READ ONLY").await?;
            ask(&mut packets, query).await
        };
        let answer = session.phase("query", waiting("answered the query"), ask).await?;
        let number = number(answer.as_deref())?;
        session.value("query", number, "");
        Ok(format!("{version}, the query gives {number}"))
    }

    /// What a login begins with, and all that asks for TLS.
    fn head(&self) -> Vec<u8> {
        let with_tls = if self.trust.is_some() { WITH_TLS } else { 0 };
        let with_database = if self.database.is_some() { WITH_DATABASE } else { 0 };
        head(CAPABILITIES | with_tls | with_database)
    }

    async fn login(
        &self,
        packets: &mut Packets,
        greeting: &Greeting,
        username: &str,
        password: &str,
    ) -> Result<(), Failed> {
        let mut answer = self.head();
        answer.extend_from_slice(username.as_bytes());
        answer.push(0);
        // The server may have another method for this user, and then asks again.
        let proved = proof(&greeting.method, &greeting.salt, password).unwrap_or_default();
        answer.push(u8::try_from(proved.len()).unwrap_or_default());
        answer.extend_from_slice(&proved);
        if let Some(database) = &self.database {
            answer.extend_from_slice(database.as_bytes());
            answer.push(0);
        }
        answer.extend_from_slice(&greeting.method);
        answer.push(0);
        packets.send(&answer).await?;
        for _ in 0..10 {
            let packet = packets.receive().await?;
            match packet.split_first() {
                Some((0, _)) => return Ok(()),
                Some((0xff, _)) => return Err(error(&packet)),
                Some((0xfe, rest)) => {
                    let mut parts = rest.splitn(2, |byte| *byte == 0);
                    let method = parts.next().unwrap_or_default();
                    let salt = parts.next().unwrap_or_default();
                    let salt = salt.strip_suffix(b"\0").unwrap_or(salt);
                    if method == b"mysql_clear_password" {
                        packets.send(&self.in_clear(password)?).await?;
                        continue;
                    }
                    let Some(proved) = proof(method, salt, password) else {
                        let method = shown_line(method, 100);
                        let summary =
                            format!("the server wants the login `{method}`, not known here");
                        return Err(Failed::new(Reason::AuthenticationFailed, summary));
                    };
                    packets.send(&proved).await?;
                }
                // The password is right, says its cache.
                Some((1, [3])) => {}
                // It is not in its cache.
                Some((1, [4])) => packets.send(&self.in_clear(password)?).await?,
                _ => return Err(Failed::protocol("MySQL", &packet)),
            }
        }
        Err(Failed::new(Reason::ProtocolError, "the login does not come to an end"))
    }

    fn in_clear(&self, password: &str) -> Result<Vec<u8>, Failed> {
        if self.trust.is_some() {
            return Ok([password.as_bytes(), b"\0"].concat());
        }
        let summary = "the server wants the password in clear, without encryption";
        Err(Failed::new(Reason::TlsPolicy, summary))
    }
}

/// What a login begins with.
fn head(capabilities: u32) -> Vec<u8> {
    let mut head = capabilities.to_le_bytes().to_vec();
    head.extend_from_slice(&(1_u32 << 24).to_le_bytes());
    // utf8
    head.push(33);
    head.resize(32, 0);
    head
}

/// Waits for the server's greeting.
async fn greet<W: BorrowMut<Wire>>(packets: &mut Packets<W>) -> Result<Greeting, Failed> {
    let packet = Packets::checked(packets.receive().await?)?;
    Greeting::decode(&packet).ok_or_else(|| Failed::protocol("MySQL", &packet))
}

/// Asks for TLS, of a server that says that it can.
async fn ask_for_tls<W: BorrowMut<Wire>>(
    packets: &mut Packets<W>,
    greeting: &Greeting,
    head: &[u8],
) -> Result<(), Failed> {
    if greeting.capabilities & WITH_TLS == 0 {
        return Err(Failed::new(Reason::StarttlsMissing, "the server does not offer TLS"));
    }
    packets.send(head).await
}

/// Says all that has to be said until the handshake can begin.
pub(crate) async fn begin_tls(wire: &mut Wire) -> Result<(), Failed> {
    let mut packets = Packets::new(wire);
    let greeting = greet(&mut packets).await?;
    ask_for_tls(&mut packets, &greeting, &head(CAPABILITIES | WITH_TLS)).await
}

/// Asks a query; returns the first column of the first row, if there is one.
async fn ask(packets: &mut Packets, query: &str) -> Result<Option<Vec<u8>>, Failed> {
    packets.begin();
    packets.send(&[b"\x03", query.as_bytes()].concat()).await?;
    let head = packets.receive().await?;
    match head.first() {
        Some(0) => return Ok(None),
        Some(0xff) => {
            return Err(Failed::new(Reason::QueryFailed, error(&head).summary));
        }
        Some(_) => {}
        None => return Err(Failed::protocol("MySQL", &head)),
    }
    // Columns, an end, rows, an end.
    let (mut ends, mut first) = (0, None);
    for _ in 0..MAX_PACKETS {
        let packet = packets.receive().await?;
        match packet.first() {
            Some(0xfe) if packet.len() < 9 => {
                ends += 1;
                if ends == 2 {
                    return Ok(first);
                }
            }
            Some(0xff) => {
                return Err(Failed::new(Reason::QueryFailed, error(&packet).summary));
            }
            _ if ends == 1 && first.is_none() => first = first_column(&packet),
            _ => {}
        }
    }
    let summary = format!("the answer to the query has over {MAX_PACKETS} rows");
    Err(Failed::new(Reason::AnswerTooLarge, summary))
}
