//! MQTT 3.1.1: CONNECT, a ping, or a message of a topic.
//!
//! ```yaml
//! mqtt:
//!   address: broker.example
//!   username: watch
//!   password: ${env:MQTT_PASSWORD}
//!   topic: $SYS/broker/clients/connected    # its retained message, or the next
//!   thresholds: {value: {warn: 100}}
//! ```
//!
//! Invariant: no session stays behind: it is a clean one, with a name that nobody else has; and
//! nothing is published.

use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;

use super::{BrokerProbe, Common, Expected, Login, Question, random_name};
use crate::Reason;
use crate::session::Session;
use crate::text::shown_line;
use crate::thresholds::LimitsConfig;
use crate::wire::{Failed, Wire};

/// The kinds of packet, with the flags that they must have.
const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
/// The number of our one request.
const NUMBER: [u8; 2] = [0, 1];

/// An MQTT probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// `host`, or `host:port` for another port than the usual.
    address: Spanned<String>,
    /// Makes a TLS handshake at once.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// Who we are.
    #[serde(default)]
    username: Option<Spanned<String>>,
    /// Our password.
    #[serde(default)]
    password: Option<Secret>,
    /// The topic, which may have `+` and `#`, of which a message is read: the retained one, or the
    /// first that comes.
    #[serde(default)]
    topic: Option<Spanned<String>>,
    /// A regular expression that the message must match.
    #[serde(default)]
    expect: Option<Spanned<String>>,
    /// Limits on `seconds`, with TLS on `days_left`, with a topic on `value`, the number that the
    /// message begins with.
    #[serde(default)]
    thresholds: LimitsConfig,
}

impl MqttConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<BrokerProbe> {
        let usual = if self.tls.is_some() { 8883 } else { 1883 };
        if let Some(topic) = self.topic.as_ref().filter(|topic| !is_topic(&topic.value)) {
            let message = format!("`{}` is not a topic", topic.value);
            let help = "write it like `shop/orders/waiting`; `+` stands for one level and `#`, at the end, for all";
            diagnostics.report_with_help(topic, message, help);
        }
        let values: &[_] = if self.topic.is_some() { &["value"] } else { &[] };
        let common = Common {
            address: self.address,
            usual,
            tls: self.tls,
            username: self.username,
            password: self.password,
            thresholds: self.thresholds,
        };
        let (expect, asked) = (self.expect.as_ref(), self.topic.as_ref().map(|topic| topic.place));
        let expected = Expected::build(expect, asked, "topic", diagnostics);
        let topic = self.topic.map(|topic| topic.value);
        common.build(values, Question::Mqtt { topic, expected }, diagnostics)
    }
}

/// Whether it can be subscribed to (MQTT 3.1.1, 4.7).
fn is_topic(text: &str) -> bool {
    let mut levels = text.split('/').rev();
    let last = levels.next().unwrap_or_default();
    let is_level = |level: &str| level == "+" || !level.contains(['+', '#', '\0']);
    let fits = (1..=usize::from(u16::MAX)).contains(&text.len());
    fits && (last == "#" || is_level(last)) && levels.all(is_level)
}

/// Logs in and asks.
pub(super) async fn look(
    wire: &mut Wire,
    session: &mut Session,
    probe: &BrokerProbe,
    (topic, expected): (Option<&str>, &Expected),
) -> Result<String, Failed> {
    let waiting = probe.waiting("answered the login");
    session.phase("login", waiting, login(wire, &probe.login)).await?;
    let said = match topic {
        None => {
            session.phase("request", probe.waiting("answered a ping"), ping(wire)).await?;
            Ok("the broker answers".to_owned())
        }
        Some(topic) => {
            let waiting = probe.waiting(&format!("sent a message of `{topic}`"));
            let (name, text) = session.phase("request", waiting, message(wire, topic)).await?;
            expected.judge(session, probe, &name, &text)
        }
    };
    // A farewell; that it does not arrive changes nothing.
    let _ = wire.send(&[0xe0, 0]).await;
    said
}

async fn login(wire: &mut Wire, login: &Login) -> Result<(), Failed> {
    // A clean session; whether there is a user name and a password.
    let mut flags = 0x02;
    let mut texts = vec![format!("veilleur{}", random_name()?)];
    if let Some(username) = &login.username {
        flags |= 0x80;
        texts.push(username.clone());
        if let Some(password) = login.password() {
            flags |= 0x40;
            texts.push(password.to_owned());
        }
    }
    let mut body = b"\0\x04MQTT\x04".to_vec();
    body.push(flags);
    // Longer than any look takes, so that we need not ping while we wait for a message.
    body.extend_from_slice(&7200_u16.to_be_bytes());
    for text in texts {
        body.extend(counted(&text));
    }
    send(wire, CONNECT, &body).await?;

    if wire.peek(2).await? != [0x20, 2] {
        let said = wire.unread().to_vec();
        return Err(Failed::protocol("MQTT", &said));
    }
    let code = wire.exact(4).await?[3];
    let (reason, what) = match code {
        0 => return Ok(()),
        1 => (Reason::ErrorAnswer, "does not speak MQTT 3.1.1"),
        2 => (Reason::ErrorAnswer, "does not take our name"),
        3 => (Reason::NotServing, "is not available"),
        4 => (Reason::AuthenticationFailed, "does not take the user name or the password"),
        5 => (Reason::AuthenticationFailed, "does not let us in"),
        _ => return Err(Failed::protocol("MQTT", &[code])),
    };
    Err(Failed::new(reason, format!("the broker {what}")))
}

/// Asks whether the broker is there.
async fn ping(wire: &mut Wire) -> Result<(), Failed> {
    wire.send(&[0xc0, 0]).await?;
    let answer = wire.exact(2).await?;
    if answer != [0xd0, 0] {
        return Err(Failed::protocol("MQTT", &answer));
    }
    Ok(())
}

/// Waits for a message of a topic, the retained one or the next: its topic, and what is in it.
async fn message(wire: &mut Wire, topic: &str) -> Result<(String, Vec<u8>), Failed> {
    // A number of the packet, the topic, and that no message is sent twice for us.
    let body = [&NUMBER[..], &counted(topic), &[0]].concat();
    send(wire, SUBSCRIBE, &body).await?;
    loop {
        let (kind, body) = packet(wire).await?;
        match (kind & 0xf0, body.as_slice()) {
            // The answer may come behind the message.
            (SUBACK, [0, 1, 0..=2]) => {}
            (SUBACK, [0, 1, 0x80]) => {
                let summary = format!("the broker does not let us read `{topic}`");
                return Err(Failed::new(Reason::QueryFailed, summary));
            }
            (PUBLISH, body) => {
                let cut = || Failed::protocol("MQTT", body);
                let (length, rest) = body.split_first_chunk::<2>().ok_or_else(cut)?;
                let length = usize::from(u16::from_be_bytes(*length));
                let (name, text) = rest.split_at_checked(length).ok_or_else(cut)?;
                return Ok((shown_line(name, 200), text.to_vec()));
            }
            (_, body) => return Err(Failed::protocol("MQTT", &[&[kind], body].concat())),
        }
    }
}

/// A text behind its length. No text of a configuration is longer than can be said.
fn counted(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

async fn send(wire: &mut Wire, kind: u8, body: &[u8]) -> Result<(), Failed> {
    let mut packet = vec![kind];
    let mut length = body.len();
    loop {
        let more = if length > 0x7f { 0x80 } else { 0 };
        packet.push((length & 0x7f) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    wire.send(&packet).await
}

/// The next packet: the first byte, and what is behind its length.
async fn packet(wire: &mut Wire) -> Result<(u8, Vec<u8>), Failed> {
    let kind = wire.exact(1).await?[0];
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = wire.exact(1).await?[0];
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((kind, wire.exact(length).await?));
        }
    }
    Err(Failed::protocol("MQTT", &[kind]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_told_from_what_is_none() {
        for text in ["a", "a/b", "/", "#", "+", "a/#", "+/b/+", "$SYS/broker/uptime", "a b/ü"] {
            assert!(is_topic(text), "{text}");
        }
        for text in ["", "a#", "#/a", "a+/b", "a/#/b", "a\0", &"a".repeat(65_536)] {
            assert!(!is_topic(text), "{text}");
        }
    }
}
