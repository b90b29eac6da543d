//! Logging in to a PostgreSQL server, and asking it for one number.
//!
//! ```yaml
//! postgres:
//!   address: db.example
//!   username: watch
//!   password: ${env:PG_PASSWORD}
//!   database: shop
//!   query: SELECT count(*) FROM jobs WHERE state = 'failed'
//!   thresholds: {query: {warn: 10, crit: 100}}
//! ```
//!
//! Invariant: queries run in read-only transactions, and no password is sent in clear over a
//! connection that is not encrypted.

mod message;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use md5::{Digest, Md5};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::message::{Fields, Message, receive, send};
use crate::chain::Trust;
use crate::scram::{Mechanism, Scram};
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session};
use crate::starttls::Starttls;
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::{Failed, Wire};
use crate::{Outcome, Probe, Reason};

/// How many messages the answer to a query may have.
const MAX_MESSAGES: usize = 100_000;

/// A PostgreSQL probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `host`, or `host:port` for another port than 5432.
    address: Spanned<String>,
    /// Asks the server for TLS; that it refuses is a failure.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// Who we are.
    username: Spanned<String>,
    /// Our password.
    #[serde(default)]
    password: Option<Secret>,
    /// The database; that of the user's name where nothing is said.
    #[serde(default)]
    database: Option<Spanned<String>>,
    /// What to ask for: the first column of the first row is the value `query`.
    #[serde(default)]
    query: Option<Spanned<String>>,
    /// Limits on `query`, `seconds`, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Logs in to a PostgreSQL server.
#[derive(Debug)]
pub struct PostgresProbe {
    endpoint: Endpoint,
    trust: Option<Trust>,
    username: String,
    password: Option<Secret>,
    database: String,
    query: Option<String>,
    limits: Limits,
}

impl PostgresConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<PostgresProbe> {
        let endpoint = Endpoint::build(&self.address, Some(5432), diagnostics);
        let trust = Trust::optional(self.tls.as_ref(), diagnostics);
        for text in [Some(&self.username), self.database.as_ref(), self.query.as_ref()] {
            if let Some(text) = text.filter(|text| text.value.contains('\0')) {
                diagnostics.report(text, "a text for the server cannot have a NUL in it");
            }
        }
        let limits = Limits::build(&self.thresholds, &["query", SECONDS, DAYS_LEFT], diagnostics);
        let username = self.username.value;
        let database = self.database.map_or_else(|| username.clone(), |name| name.value);
        Some(PostgresProbe {
            endpoint: endpoint?,
            trust: trust?,
            username,
            password: self.password,
            database,
            query: self.query.map(|query| query.value),
            limits,
        })
    }
}

#[async_trait]
impl Probe for PostgresProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let phases = ["resolve", "connect", "tls", "login", "query"];
        let mut session = Session::start("postgres", &phases);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl PostgresProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let mut wire = session.connect(&self.endpoint).await?;
        let waiting = |what: &str| format!("`{}` has not {what}", self.endpoint);
        if let Some(trust) = &self.trust {
            let agree = Starttls::Postgres.begin(&mut wire);
            session.phase("tls", waiting("agreed to begin TLS"), agree).await?;
            wire = session.secure(wire, &self.endpoint, trust).await?;
        }
        let login = self.login(&mut wire);
        let version = session.phase("login", waiting("answered the login"), login).await?;
        let Some(query) = &self.query else { return Ok(format!("PostgreSQL {version}")) };
        let ask = async {
            ask(&mut wire, "SET default_transaction_read_only = on").await?;
            ask(&mut wire, query).await
        };
        let answer = session.phase("query", waiting("answered the query"), ask).await?;
        let number = number(answer.as_deref())?;
        session.value("query", number, "");
        // A farewell; that it does not arrive changes nothing.
        let _ = send(&mut wire, b'X', b"").await;
        Ok(format!("PostgreSQL {version}, the query gives {number}"))
    }

    /// Logs in; returns the server's version.
    async fn login(&self, wire: &mut Wire) -> Result<String, Failed> {
        let mut startup = 196_608_u32.to_be_bytes().to_vec();
        let settings = [
            ("user", self.username.as_str()),
            ("database", &self.database),
            ("application_name", "veilleur"),
        ];
        for text in settings.into_iter().flat_map(|(name, value)| [name, value]) {
            startup.extend_from_slice(text.as_bytes());
            startup.push(0);
        }
        startup.push(0);
        let length = u32::try_from(startup.len() + 4).unwrap_or(u32::MAX);
        wire.send(&[&length.to_be_bytes(), startup.as_slice()].concat()).await?;
        let mut version = "of an unknown version".to_owned();
        for _ in 0..200 {
            let Message { kind, body } = receive(wire).await?;
            match kind {
                b'R' => self.prove(wire, &body).await?,
                b'S' => {
                    let mut fields = Fields(&body);
                    if fields.text() == b"server_version" {
                        version = shown_line(fields.text(), 100);
                    }
                }
                b'Z' => return Ok(version),
                b'K' | b'N' | b'v' => {}
                _ => return Err(Failed::protocol("PostgreSQL", &[kind])),
            }
        }
        Err(Failed::new(Reason::ProtocolError, "the login does not come to an end"))
    }

    /// Answers one question about who we are.
    async fn prove(&self, wire: &mut Wire, body: &[u8]) -> Result<(), Failed> {
        let strange = || Failed::protocol("PostgreSQL", body);
        let (method, rest) = body.split_first_chunk::<4>().ok_or_else(strange)?;
        let method = u32::from_be_bytes(*method);
        if method == 0 {
            return Ok(());
        }
        if method > 12 {
            return Err(strange());
        }
        let Some(password) = self.password.as_ref().map(Secret::expose) else {
            let summary = "the server wants a password, and none is configured";
            return Err(Failed::new(Reason::AuthenticationFailed, summary));
        };
        match method {
            3 if self.trust.is_none() => {
                let summary = "the server wants the password in clear, without encryption";
                Err(Failed::new(Reason::TlsPolicy, summary))
            }
            3 => send(wire, b'p', &[password.as_bytes(), b"\0"].concat()).await,
            5 => {
                let salt = rest.first_chunk::<4>().ok_or_else(strange)?;
                let inner = md5_hex(&[password.as_bytes(), self.username.as_bytes()]);
                let proof = format!("md5{}\0", md5_hex(&[inner.as_bytes(), salt]));
                send(wire, b'p', proof.as_bytes()).await
            }
            10 => {
                if !rest.split(|byte| *byte == 0).any(|name| name == b"SCRAM-SHA-256") {
                    return Err(unknown_method());
                }
                self.scram(wire, password).await
            }
            _ => Err(unknown_method()),
        }
    }

    async fn scram(&self, wire: &mut Wire, password: &str) -> Result<(), Failed> {
        // The server knows the user's name from the start.
        let scram = Scram::begin(Mechanism::Sha256, "")
            .ok_or_else(|| Failed::new(Reason::Internal, "the system has no random numbers"))?;
        let first = scram.first();
        let mut body = b"SCRAM-SHA-256\0".to_vec();
        body.extend_from_slice(&u32::try_from(first.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(first.as_bytes());
        send(wire, b'p', &body).await?;
        let challenge = step(wire, 11).await?;
        let (last, proof) = scram
            .answer(&challenge, password)
            .ok_or_else(|| Failed::protocol("SCRAM", challenge.as_bytes()))?;
        send(wire, b'p', last.as_bytes()).await?;
        if proof.is(&step(wire, 12).await?) {
            return Ok(());
        }
        let summary = "the server does not know the password that it asks for";
        Err(Failed::new(Reason::AuthenticationFailed, summary))
    }
}

fn unknown_method() -> Failed {
    let summary = "the server wants a kind of login that is not known here";
    Failed::new(Reason::AuthenticationFailed, summary)
}

/// The server's next word in a login by SCRAM.
async fn step(wire: &mut Wire, wanted: u32) -> Result<String, Failed> {
    let Message { kind, body } = receive(wire).await?;
    let text = body.strip_prefix(&wanted.to_be_bytes());
    match text.and_then(|text| std::str::from_utf8(text).ok()) {
        Some(text) if kind == b'R' => Ok(text.to_owned()),
        _ => Err(Failed::protocol("SCRAM", &body)),
    }
}

fn md5_hex(parts: &[&[u8]]) -> String {
    let mut digest = Md5::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks a query; returns the first column of the first row, if there is one.
async fn ask(wire: &mut Wire, query: &str) -> Result<Option<Vec<u8>>, Failed> {
    send(wire, b'Q', &[query.as_bytes(), b"\0"].concat()).await?;
    let mut first = None;
    for _ in 0..MAX_MESSAGES {
        let Message { kind, body } = match receive(wire).await {
            Err(failed) if failed.reason == Reason::ErrorAnswer => {
                return Err(Failed::new(Reason::QueryFailed, failed.summary));
            }
            message => message?,
        };
        match kind {
            b'D' if first.is_none() => first = Fields(&body).first_column(),
            b'Z' => return Ok(first),
            b'D' | b'T' | b'C' | b'I' | b'N' | b'S' => {}
            _ => return Err(Failed::protocol("PostgreSQL", &[kind])),
        }
    }
    let summary = format!("the answer to the query has over {MAX_MESSAGES} rows");
    Err(Failed::new(Reason::AnswerTooLarge, summary))
}

/// The answer to a query as a number.
pub(crate) fn number(answer: Option<&[u8]>) -> Result<f64, Failed> {
    let mismatch = |summary: String| Err(Failed::new(Reason::AnswerMismatch, summary));
    let Some(answer) = answer else {
        return mismatch("the query gives nothing, wanted a number".to_owned());
    };
    let text = shown_line(answer, 100);
    match text.as_str() {
        "t" | "true" => Ok(1.0),
        "f" | "false" => Ok(0.0),
        text => match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => mismatch(format!("the query gives `{text}`, wanted a number")),
        },
    }
}
