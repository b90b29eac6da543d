//! Message brokers: connecting, logging in, and a question that they answer.
//!
//! ```yaml
//! mqtt: {address: broker.example, username: watch, password: '${env:MQTT_PASSWORD}'}
//! nats: {address: broker.example, tls: {}}
//! amqp:
//!   address: broker.example
//!   virtual_host: shop
//!   queue: orders                        # measures `messages` and `consumers`
//!   thresholds: {messages: {warn: 100}, consumers: {crit: '1:'}}
//! ```
//!
//! Invariant: nothing is published, subscribed to or declared.

mod amqp;
mod mqtt;
mod nats;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::chain::Trust;
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session};
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::Failed;
use crate::{Outcome, Probe};

/// A probe of a broker, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// `host`, or `host:port` for another port than the usual.
    address: Spanned<String>,
    /// Makes a TLS handshake: at once, with NATS after the server's greeting.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// Who we are; `guest` with AMQP where nothing is said.
    #[serde(default)]
    username: Option<Spanned<String>>,
    /// Our password; with NATS and without a user name a token.
    #[serde(default)]
    password: Option<Secret>,
    /// The virtual host, with AMQP; `/` where nothing is said.
    #[serde(default)]
    virtual_host: Option<Spanned<String>>,
    /// A queue to be measured, with AMQP.
    #[serde(default)]
    queue: Option<Spanned<String>>,
    /// Limits on `seconds`, with TLS on `days_left`, with a queue on `messages` and `consumers`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// What a broker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    Mqtt,
    Amqp,
    Nats,
}

/// Looks at a broker.
#[derive(Debug)]
pub struct BrokerProbe {
    broker: Broker,
    endpoint: Endpoint,
    trust: Option<Trust>,
    login: Login,
    virtual_host: String,
    queue: Option<String>,
    limits: Limits,
}

/// Who we are.
#[derive(Debug)]
struct Login {
    username: Option<String>,
    password: Option<Secret>,
}

impl Login {
    fn password(&self) -> Option<&str> {
        self.password.as_ref().map(Secret::expose)
    }
}

impl BrokerConfig {
    /// The probe, reporting everything that is wrong with it.
    pub(crate) fn build(
        self,
        broker: Broker,
        diagnostics: &mut Diagnostics,
    ) -> Option<BrokerProbe> {
        let usual = match (broker, self.tls.is_some()) {
            (Broker::Mqtt, false) => 1883,
            (Broker::Mqtt, true) => 8883,
            (Broker::Amqp, false) => 5672,
            (Broker::Amqp, true) => 5671,
            (Broker::Nats, _) => 4222,
        };
        let endpoint = Endpoint::build(&self.address, Some(usual), diagnostics);
        let trust = Trust::optional(self.tls.as_ref(), diagnostics);
        for (name, text) in [("virtual_host", &self.virtual_host), ("queue", &self.queue)] {
            let Some(text) = text else { continue };
            if broker != Broker::Amqp {
                diagnostics.report(text, format!("`{name}` is known to AMQP only"));
            }
            if text.value.len() > 255 {
                diagnostics.report(text, format!("`{name}` is over 255 bytes"));
            }
        }
        if let (Some(username), None) = (&self.username, &self.password) {
            diagnostics.report(username, "a user name needs a `password`");
        }
        let mut known = vec![SECONDS, DAYS_LEFT];
        if broker == Broker::Amqp {
            known.extend(["messages", "consumers"]);
        }
        let limits = Limits::build(&self.thresholds, &known, diagnostics);
        let username = self.username.map(|name| name.value);
        let login = Login { username, password: self.password };
        let virtual_host = self.virtual_host.map_or_else(|| "/".to_owned(), |name| name.value);
        let queue = self.queue.map(|name| name.value);
        let (endpoint, trust) = (endpoint?, trust?);
        Some(BrokerProbe { broker, endpoint, trust, login, virtual_host, queue, limits })
    }
}

#[async_trait]
impl Probe for BrokerProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let kind = match self.broker {
            Broker::Mqtt => "mqtt",
            Broker::Amqp => "amqp",
            Broker::Nats => "nats",
        };
        let mut session = Session::start(kind, &["resolve", "connect", "tls", "login", "request"]);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl BrokerProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let at_once = self.trust.as_ref().filter(|_| self.broker != Broker::Nats);
        let mut wire = session.open(&self.endpoint, at_once).await?;
        let waiting = |what: &str| format!("`{}` has not {what}", self.endpoint);
        match self.broker {
            Broker::Mqtt => {
                let login = mqtt::login(&mut wire, &self.login);
                session.phase("login", waiting("answered the login"), login).await?;
                let ping = mqtt::ping(&mut wire);
                session.phase("request", waiting("answered a ping"), ping).await?;
                Ok("the broker answers".to_owned())
            }
            Broker::Nats => {
                let greet = nats::greeting(&mut wire);
                let version = session.phase("login", waiting("greeted"), greet).await?;
                if let Some(trust) = &self.trust {
                    wire = session.secure(wire, &self.endpoint, trust).await?;
                }
                let ping = nats::ping(&mut wire, &self.login);
                session.phase("request", waiting("answered a ping"), ping).await?;
                Ok(format!("NATS {version} answers"))
            }
            Broker::Amqp => {
                let login = amqp::login(&mut wire, &self.login, &self.virtual_host);
                session.phase("login", waiting("answered the login"), login).await?;
                let Some(queue) = &self.queue else { return Ok("the broker answers".to_owned()) };
                let look = amqp::queue(&mut wire, queue);
                let (messages, consumers) =
                    session.phase("request", waiting("answered about the queue"), look).await?;
                session.value("messages", messages, "");
                session.value("consumers", consumers, "");
                Ok(format!("`{queue}` has {messages} messages and {consumers} consumers"))
            }
        }
    }
}
