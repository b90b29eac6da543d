//! AMQP 0-9-1: the login, and how many messages and consumers a queue has.
//!
//! ```yaml
//! amqp:
//!   address: broker.example
//!   virtual_host: shop
//!   queue: orders                        # measures `messages` and `consumers`
//!   thresholds: {messages: {warn: 100}, consumers: {crit: '1:'}}
//! ```
//!
//! Invariant: a queue is only ever declared passively: one that is not there does not come to be.

use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;

use super::{BrokerProbe, Common, Login, Question};
use crate::Reason;
use crate::session::Session;
use crate::text::shown_line;
use crate::thresholds::LimitsConfig;
use crate::wire::{Failed, Wire};

/// An AMQP probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmqpConfig {
    /// `host`, or `host:port` for another port than the usual.
    address: Spanned<String>,
    /// Makes a TLS handshake at once.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// Who we are; `guest`, with that as the password, where nothing is said.
    #[serde(default)]
    username: Option<Spanned<String>>,
    /// Our password.
    #[serde(default)]
    password: Option<Secret>,
    /// The virtual host; `/` where nothing is said.
    #[serde(default)]
    virtual_host: Option<Spanned<String>>,
    /// A queue to be measured.
    #[serde(default)]
    queue: Option<Spanned<String>>,
    /// Limits on `seconds`, with TLS on `days_left`, with a queue on `messages` and `consumers`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

impl AmqpConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<BrokerProbe> {
        for (name, text) in [("virtual_host", &self.virtual_host), ("queue", &self.queue)] {
            if let Some(text) = text.as_ref().filter(|text| text.value.len() > 255) {
                diagnostics.report(text, format!("`{name}` is over 255 bytes"));
            }
        }
        let values: &[_] = if self.queue.is_some() { &["messages", "consumers"] } else { &[] };
        let common = Common {
            address: self.address,
            usual: if self.tls.is_some() { 5671 } else { 5672 },
            tls: self.tls,
            username: self.username,
            password: self.password,
            thresholds: self.thresholds,
        };
        let virtual_host = self.virtual_host.map_or_else(|| "/".to_owned(), |name| name.value);
        let queue = self.queue.map(|name| name.value);
        common.build(values, Question::Amqp { virtual_host, queue }, diagnostics)
    }
}

/// Logs in and asks.
pub(super) async fn look(
    wire: &mut Wire,
    session: &mut Session,
    probe: &BrokerProbe,
    (host, name): (&str, Option<&str>),
) -> Result<String, Failed> {
    let login = login(wire, &probe.login, host);
    session.phase("login", probe.waiting("answered the login"), login).await?;
    let Some(name) = name else { return Ok("the broker answers".to_owned()) };
    let waiting = probe.waiting("answered about the queue");
    let (messages, consumers) = session.phase("request", waiting, queue(wire, name)).await?;
    session.value("messages", messages, "");
    session.value("consumers", consumers, "");
    Ok(format!("`{name}` has {messages} messages and {consumers} consumers"))
}

/// A method by its class and its number.
type Method = (u16, u16);

const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const QUEUE_DECLARE: Method = (50, 10);
const QUEUE_DECLARE_OK: Method = (50, 11);

async fn login(wire: &mut Wire, login: &Login, host: &str) -> Result<(), Failed> {
    wire.send(b"AMQP\0\0\x09\x01").await?;
    receive(wire, START).await?;

    let username = login.username.as_deref().unwrap_or("guest");
    let password = login.password().unwrap_or("guest");
    let mut answer = Vec::new();
    // That a wrong login is told, and not just hung up upon.
    let mut able = Vec::new();
    short(&mut able, "authentication_failure_close");
    able.extend_from_slice(b"t\x01");
    let mut about = Vec::new();
    short(&mut about, "product");
    about.push(b'S');
    long(&mut about, b"veilleur");
    short(&mut about, "capabilities");
    about.push(b'F');
    long(&mut about, &able);
    long(&mut answer, &about);
    short(&mut answer, "PLAIN");
    long(&mut answer, format!("\0{username}\0{password}").as_bytes());
    short(&mut answer, "en_US");
    send(wire, 0, START_OK, &answer).await?;

    let tune = receive(wire, TUNE).await.map_err(|failed| match failed.reason {
        // Old servers hang up.
        Reason::ConnectionReset => {
            let summary = "the broker hangs up at the login";
            Failed::new(Reason::AuthenticationFailed, summary)
        }
        _ => failed,
    })?;
    // As the server wants it, without heartbeats: we are not here for long.
    let mut answer = tune.get(..6).unwrap_or(&[0; 6]).to_vec();
    answer.extend_from_slice(&[0, 0]);
    send(wire, 0, TUNE_OK, &answer).await?;
    let mut open = Vec::new();
    short(&mut open, host);
    open.extend_from_slice(&[0, 0]);
    send(wire, 0, OPEN, &open).await?;
    receive(wire, OPEN_OK).await.map(drop)
}

/// How many messages and consumers a queue has.
async fn queue(wire: &mut Wire, name: &str) -> Result<(f64, f64), Failed> {
    send(wire, 1, CHANNEL_OPEN, &[0]).await?;
    receive(wire, CHANNEL_OPEN_OK).await?;
    let mut declare = vec![0, 0];
    short(&mut declare, name);
    // Passive, and without arguments.
    declare.extend_from_slice(&[1, 0, 0, 0, 0]);
    send(wire, 1, QUEUE_DECLARE, &declare).await?;
    let answer = receive(wire, QUEUE_DECLARE_OK).await?;
    let counts = answer.first().and_then(|length| answer.get(usize::from(*length) + 1..));
    let counts: Option<&[u8; 8]> = counts.and_then(<[u8]>::first_chunk);
    let counts = counts.ok_or_else(|| Failed::protocol("AMQP", &answer))?;
    let count = |at: usize| {
        f64::from(u32::from_be_bytes([counts[at], counts[at + 1], counts[at + 2], counts[at + 3]]))
    };
    Ok((count(0), count(4)))
}

fn short(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(text.as_bytes());
}

fn long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

async fn send(wire: &mut Wire, channel: u16, method: Method, body: &[u8]) -> Result<(), Failed> {
    let mut frame = vec![1];
    frame.extend_from_slice(&channel.to_be_bytes());
    let mut payload = method.0.to_be_bytes().to_vec();
    payload.extend_from_slice(&method.1.to_be_bytes());
    payload.extend_from_slice(body);
    long(&mut frame, &payload);
    frame.push(0xce);
    wire.send(&frame).await
}

/// Waits for that method; returns its arguments.
async fn receive(wire: &mut Wire, wanted: Method) -> Result<Vec<u8>, Failed> {
    for _ in 0..20 {
        let head = wire.peek(3).await?;
        // A method, or a heartbeat; a server of another version says which it speaks.
        if !(matches!(head[0], 1 | 8) && head[1] == 0) {
            let said = wire.unread().to_vec();
            return Err(Failed::protocol("AMQP 0-9-1", &said));
        }
        let head = wire.exact(7).await?;
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        let mut payload = wire.exact(length.saturating_add(1)).await?;
        if payload.pop() != Some(0xce) {
            return Err(Failed::protocol("AMQP 0-9-1", &payload));
        }
        let Some((method, arguments)) = payload.split_first_chunk::<4>() else {
            if head[0] == 8 {
                continue;
            }
            return Err(Failed::protocol("AMQP 0-9-1", &payload));
        };
        let [a, b, c, d] = *method;
        match (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])) {
            found if found == wanted => return Ok(arguments.to_vec()),
            CLOSE | CHANNEL_CLOSE => return Err(closed(arguments)),
            _ => return Err(Failed::protocol("AMQP 0-9-1", &payload)),
        }
    }
    Err(Failed::new(Reason::ProtocolError, "20 frames came, and none is the answer"))
}

/// Why the server closes.
fn closed(arguments: &[u8]) -> Failed {
    let Some(([a, b, length], rest)) = arguments.split_first_chunk::<3>() else {
        return Failed::protocol("AMQP 0-9-1", arguments);
    };
    let code = u16::from_be_bytes([*a, *b]);
    let said = shown_line(rest.get(..usize::from(*length)).unwrap_or(rest), 255);
    let reason = match code {
        320 => Reason::NotServing,
        403 => Reason::AuthenticationFailed,
        404 => Reason::AnswerMismatch,
        _ => Reason::ErrorAnswer,
    };
    Failed::new(reason, format!("the broker answers {code}: {said}"))
}
