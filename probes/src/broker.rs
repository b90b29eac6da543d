//! Message brokers: connecting, logging in, and a question that they answer.
//!
//! ```text
//! mqtt, nats, amqp: XConfig ─▶ Common + Question ─▶ BrokerProbe ─▶ login, question ─▶ Expected
//! ```
//!
//! Invariant: nothing is published but a request that is configured, and nothing is declared; a
//! subscription ends with the connection.

mod amqp;
mod mqtt;
mod nats;

pub use amqp::AmqpConfig;
pub use mqtt::MqttConfig;
pub use nats::NatsConfig;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use regex::bytes::Regex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio_util::sync::CancellationToken;

use crate::chain::Trust;
use crate::network::regex;
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session};
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::Failed;
use crate::{Outcome, Probe, Reason};

/// What every broker's probe has, as written.
struct Common {
    address: Spanned<String>,
    /// The port where none is written.
    usual: u16,
    tls: Option<Spanned<TlsConfig>>,
    username: Option<Spanned<String>>,
    password: Option<Secret>,
    thresholds: LimitsConfig,
}

/// Looks at a broker.
#[derive(Debug)]
pub struct BrokerProbe {
    endpoint: Endpoint,
    trust: Option<Trust>,
    login: Login,
    question: Question,
    limits: Limits,
}

/// What a broker is asked.
#[derive(Debug)]
enum Question {
    Mqtt {
        topic: Option<String>,
        expected: Expected,
    },
    Amqp {
        virtual_host: String,
        queue: Option<String>,
    },
    Nats {
        /// With the request whose reply is wanted, where one is.
        subject: Option<(String, Option<Secret>)>,
        expected: Expected,
    },
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

/// What a message should be.
#[derive(Debug)]
struct Expected {
    matches: Option<Regex>,
}

impl Expected {
    /// What is written under `expect`, which needs the setting `from` that says what is asked.
    fn build(
        expect: Option<&Spanned<String>>,
        asked: Option<Place>,
        from: &str,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        if let (Some(expect), None) = (expect, asked) {
            diagnostics.report(expect, format!("`expect` needs a `{from}`"));
        }
        let matches = expect.and_then(|text| regex(&text.value, text.place, diagnostics));
        Self { matches }
    }

    /// Holds a message of `name` against it.
    fn judge(
        &self,
        session: &mut Session,
        probe: &BrokerProbe,
        name: &str,
        message: &[u8],
    ) -> Result<String, Failed> {
        let shown = shown_line(message, 200);
        let mismatch = |summary| Err(Failed::new(Reason::AnswerMismatch, summary));
        match number(message) {
            Some(number) => session.value("value", number, ""),
            None if probe.limits.has("value") => {
                return mismatch(format!("`{name}` says `{shown}`, which is no number"));
            }
            None => {}
        }
        match &self.matches {
            Some(expect) if !expect.is_match(message) => {
                mismatch(format!("`{name}` says `{shown}`, does not match `{expect}`"))
            }
            _ => Ok(format!("`{name}` says `{shown}`")),
        }
    }
}

/// The number that a message begins with; a unit may stand behind it.
fn number(message: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(message).ok()?;
    let number = text.split_whitespace().next()?.parse::<f64>().ok()?;
    number.is_finite().then_some(number)
}

/// A name that nobody else has.
fn random_name() -> Result<String, Failed> {
    let mut random = [0; 8];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| Failed::new(Reason::Internal, "the system has no random numbers"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Common {
    /// The probe, whose answer has `values`, reporting everything that is wrong with it.
    fn build(
        self,
        values: &[&'static str],
        question: Question,
        diagnostics: &mut Diagnostics,
    ) -> Option<BrokerProbe> {
        let endpoint = Endpoint::build(&self.address, Some(self.usual), diagnostics);
        let trust = Trust::optional(self.tls.as_ref(), diagnostics);
        if let (Some(username), None) = (&self.username, &self.password) {
            diagnostics.report(username, "a user name needs a `password`");
        }
        let known = [&[SECONDS, DAYS_LEFT], values].concat();
        let limits = Limits::build(&self.thresholds, &known, diagnostics);
        let username = self.username.map(|name| name.value);
        let login = Login { username, password: self.password };
        Some(BrokerProbe { endpoint: endpoint?, trust: trust?, login, question, limits })
    }
}

#[async_trait]
impl Probe for BrokerProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let kind = match self.question {
            Question::Mqtt { .. } => "mqtt",
            Question::Amqp { .. } => "amqp",
            Question::Nats { .. } => "nats",
        };
        let mut session = Session::start(kind, &["resolve", "connect", "tls", "login", "request"]);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl BrokerProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        match &self.question {
            Question::Mqtt { topic, expected } => {
                let mut wire = session.open(&self.endpoint, self.trust.as_ref()).await?;
                mqtt::look(&mut wire, session, self, (topic.as_deref(), expected)).await
            }
            Question::Amqp { virtual_host, queue } => {
                let mut wire = session.open(&self.endpoint, self.trust.as_ref()).await?;
                amqp::look(&mut wire, session, self, (virtual_host, queue.as_deref())).await
            }
            Question::Nats { subject, expected } => {
                let wire = session.connect(&self.endpoint).await?;
                nats::look(wire, session, self, (subject.as_ref(), expected)).await
            }
        }
    }

    /// What the broker has not done when the time is up.
    fn waiting(&self, what: &str) -> String {
        format!("`{}` has not {what}", self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_begins_with_its_number() {
        let check = |text: &[u8], expected| assert_eq!(number(text), expected, "{text:?}");
        check(b"21.5", Some(21.5));
        check(b" -3 \n", Some(-3.0));
        check(b"431 seconds", Some(431.0));
        for text in [&b""[..], b"ok", b"21.5C", b"NaN", b"inf", b"{\"a\": 1}", b"\xff1", b"x 1"] {
            check(text, None);
        }
    }
}
