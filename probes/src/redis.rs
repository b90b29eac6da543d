//! Asking a Redis server whether it is there, and what it says of itself.
//!
//! ```yaml
//! redis:
//!   address: cache.example
//!   password: ${env:REDIS_PASSWORD}
//!   info: used_memory                    # becomes the value `info`
//!   thresholds: {info: {warn: 1e9}}
//! ```
//!
//! Invariant: nothing is written; the commands are AUTH, PING and INFO.

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::chain::Trust;
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session};
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::{Failed, MAX_ANSWER, Wire};
use crate::{Outcome, Probe, Reason};

/// A Redis probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `host`, or `host:port` for another port than 6379.
    address: Spanned<String>,
    /// Makes a TLS handshake.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// Who we are; needs a password.
    #[serde(default)]
    username: Option<Spanned<String>>,
    /// Our password.
    #[serde(default)]
    password: Option<Secret>,
    /// A field of INFO that is a number.
    #[serde(default)]
    info: Option<Spanned<String>>,
    /// Limits on `info`, `seconds`, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Asks a Redis server.
#[derive(Debug)]
pub struct RedisProbe {
    endpoint: Endpoint,
    trust: Option<Trust>,
    login: Option<(Option<String>, Secret)>,
    info: Option<String>,
    limits: Limits,
}

impl RedisConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<RedisProbe> {
        let endpoint = Endpoint::build(&self.address, Some(6379), diagnostics);
        let trust = Trust::optional(self.tls.as_ref(), diagnostics);
        if let (Some(username), None) = (&self.username, &self.password) {
            diagnostics.report(username, "a user name needs a `password`");
        }
        let username = self.username.map(|name| name.value);
        let login = self.password.map(|password| (username, password));
        let limits = Limits::build(&self.thresholds, &["info", SECONDS, DAYS_LEFT], diagnostics);
        let info = self.info.map(|info| info.value);
        Some(RedisProbe { endpoint: endpoint?, trust: trust?, login, info, limits })
    }
}

#[async_trait]
impl Probe for RedisProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let phases = ["resolve", "connect", "tls", "login", "request"];
        let mut session = Session::start("redis", &phases);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl RedisProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let mut wire = session.open(&self.endpoint, self.trust.as_ref()).await?;
        let waiting = |what: &str| format!("`{}` has not answered {what}", self.endpoint);
        if let Some((username, password)) = &self.login {
            let mut words = vec!["AUTH"];
            words.extend(username.as_deref());
            words.push(password.expose());
            let ask = command(&mut wire, &words);
            session.phase("login", waiting("AUTH"), ask).await?;
        }
        let pong = session.phase("request", waiting("PING"), command(&mut wire, &["PING"])).await?;
        if pong != b"PONG" {
            return Err(Failed::protocol("Redis", &pong));
        }
        let Some(field) = &self.info else { return Ok("PONG".to_owned()) };
        let ask = command(&mut wire, &["INFO"]);
        let info = session.phase("request", waiting("INFO"), ask).await?;
        let info = String::from_utf8_lossy(&info).into_owned();
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let Some(text) = value else {
            let summary = format!("INFO has no field `{field}`");
            return Err(Failed::new(Reason::AnswerMismatch, summary));
        };
        let shown = shown_line(text.as_bytes(), 100);
        let Ok(number) = text.trim().parse::<f64>() else {
            let summary = format!("`{field}` is `{shown}`, which is no number");
            return Err(Failed::new(Reason::AnswerMismatch, summary));
        };
        session.value("info", number, "");
        Ok(format!("PONG, {field} is {shown}"))
    }
}

/// Sends a command; returns its answer, a line or a text.
async fn command(wire: &mut Wire, words: &[&str]) -> Result<Vec<u8>, Failed> {
    let mut sent = format!("*{}\r\n", words.len());
    for word in words {
        sent.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    wire.send(sent.as_bytes()).await?;
    if !matches!(wire.peek(1).await?, b"+" | b"-" | b"$") {
        let said = wire.unread().to_vec();
        return Err(Failed::protocol("Redis", &said));
    }
    let line = wire.line().await?;
    let (kind, rest) = line.split_at(1);
    match kind {
        b"+" => Ok(rest.to_vec()),
        b"-" => {
            let word = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
            let reason = match word {
                b"NOAUTH" | b"WRONGPASS" | b"NOPERM" => Reason::AuthenticationFailed,
                b"LOADING" | b"MASTERDOWN" | b"BUSY" | b"CLUSTERDOWN" => Reason::NotServing,
                _ if words[0] == "AUTH" => Reason::AuthenticationFailed,
                _ => Reason::ErrorAnswer,
            };
            let said = shown_line(rest, 200);
            Err(Failed::new(reason, format!("the server answers `{said}`")))
        }
        _ => {
            let length = std::str::from_utf8(rest).ok().and_then(|text| text.parse().ok());
            let length: usize = length.ok_or_else(|| Failed::protocol("Redis", &line))?;
            let mut text = wire.exact(length.min(MAX_ANSWER).saturating_add(2)).await?;
            text.truncate(length);
            Ok(text)
        }
    }
}
