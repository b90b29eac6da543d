//! NATS: INFO, CONNECT, a ping, a message or the reply to a request.
//!
//! ```yaml
//! nats:
//!   address: broker.example
//!   tls: {}
//!   subject: shop.queue.depth
//!   request: ''                            # sent there; its reply is judged
//!   thresholds: {value: {warn: 100}}
//! ```
//!
//! Invariant: who we are is said after the TLS handshake, where there is one; nothing is published
//! but the request that is configured.

use base::diagnostic::{Diagnostics, Spanned};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{BrokerProbe, Common, Expected, Login, Question, random_name};
use crate::Reason;
use crate::session::Session;
use crate::text::shown_line;
use crate::thresholds::LimitsConfig;
use crate::wire::{Failed, MAX_ANSWER, Wire};

/// A NATS probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// `host`, or `host:port` for another port than the usual.
    address: Spanned<String>,
    /// Makes a TLS handshake after the server's greeting.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// Who we are.
    #[serde(default)]
    username: Option<Spanned<String>>,
    /// Our password; without a user name a token.
    #[serde(default)]
    password: Option<Secret>,
    /// The subject that the request goes to; without one, of which the next message is read, where
    /// it may have `*` and `>`.
    #[serde(default)]
    subject: Option<Spanned<String>>,
    /// What is sent to the subject, and may be empty; its reply is read.
    #[serde(default)]
    request: Option<Spanned<Secret>>,
    /// A regular expression that the message must match.
    #[serde(default)]
    expect: Option<Spanned<String>>,
    /// Limits on `seconds`, with TLS on `days_left`, with a subject on `value`, the number that the
    /// message begins with.
    #[serde(default)]
    thresholds: LimitsConfig,
}

impl NatsConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<BrokerProbe> {
        match (&self.subject, &self.request) {
            (None, Some(request)) => diagnostics.report(request, "a `request` needs a `subject`"),
            (Some(subject), request) if !is_subject(&subject.value, request.is_none()) => {
                let message = format!("`{}` is not a subject", subject.value);
                let help = "write it like `shop.orders`; `*` stands for one part and `>`, at the end, for all, but not for a request";
                diagnostics.report_with_help(subject, message, help);
            }
            _ => {}
        }
        if let Some(request) = &self.request
            && request.value.expose().len() > MAX_ANSWER
        {
            diagnostics.report(request, format!("a request has at most {MAX_ANSWER} bytes"));
        }
        let values: &[_] = if self.subject.is_some() { &["value"] } else { &[] };
        let common = Common {
            address: self.address,
            usual: 4222,
            tls: self.tls,
            username: self.username,
            password: self.password,
            thresholds: self.thresholds,
        };
        let asked = self.subject.as_ref().map(|subject| subject.place);
        let expected = Expected::build(self.expect.as_ref(), asked, "subject", diagnostics);
        let request = self.request.map(|request| request.value);
        let subject = self.subject.map(|subject| (subject.value, request));
        common.build(values, Question::Nats { subject, expected }, diagnostics)
    }
}

/// Whether it is a subject; one that is only listened to may stand for several.
fn is_subject(text: &str, may_vary: bool) -> bool {
    let mut parts = text.split('.').rev();
    let last = parts.next().unwrap_or_default();
    let is_part = |part: &str| {
        let varies = part.contains(['*', '>']);
        let unfit = |c: char| c.is_whitespace() || c.is_control();
        !part.is_empty() && !part.contains(unfit) && (!varies || may_vary && part == "*")
    };
    text.len() <= 1024 && (may_vary && last == ">" || is_part(last)) && parts.all(is_part)
}

/// Logs in and asks.
pub(super) async fn look(
    mut wire: Wire,
    session: &mut Session,
    probe: &BrokerProbe,
    (subject, expected): (Option<&(String, Option<Secret>)>, &Expected),
) -> Result<String, Failed> {
    let greet = greeting(&mut wire);
    let version = session.phase("login", probe.waiting("greeted"), greet).await?;
    if let Some(trust) = &probe.trust {
        wire = session.secure(wire, &probe.endpoint, trust).await?;
    }
    let ping = ping(&mut wire, &probe.login);
    session.phase("request", probe.waiting("answered a ping"), ping).await?;
    let Some((subject, request)) = subject else { return Ok(format!("NATS {version} answers")) };
    let what = match request {
        Some(_) => format!("brought a reply from `{subject}`"),
        None => format!("sent a message of `{subject}`"),
    };
    let message = message(&mut wire, subject, request.as_ref());
    let (name, text) = session.phase("request", probe.waiting(&what), message).await?;
    // A reply comes on a subject of ours, which says nothing.
    let name = if request.is_some() { subject.clone() } else { name };
    expected.judge(session, probe, &name, &text)
}

/// Waits for the server's greeting; returns its version.
async fn greeting(wire: &mut Wire) -> Result<String, Failed> {
    let line = wire.line().await?;
    let info = line.strip_prefix(b"INFO ").and_then(|json| serde_json::from_slice(json).ok());
    let info: Value = info.ok_or_else(|| Failed::protocol("NATS", &line))?;
    Ok(shown_line(info["version"].as_str().unwrap_or("server").as_bytes(), 50))
}

/// Says who we are, and asks whether the server is there.
async fn ping(wire: &mut Wire, login: &Login) -> Result<(), Failed> {
    // With headers the server says when nobody answers a request.
    let mut connect = json!({
        "verbose": false, "pedantic": false, "tls_required": false, "name": "veilleur",
        "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "protocol": 0,
        "headers": true, "no_responders": true,
    });
    match (&login.username, login.password()) {
        (Some(username), Some(password)) => {
            connect["user"] = json!(username);
            connect["pass"] = json!(password);
        }
        (None, Some(token)) => connect["auth_token"] = json!(token),
        _ => {}
    }
    wire.send(format!("CONNECT {connect}\r\nPING\r\n").as_bytes()).await?;
    for _ in 0..20 {
        let line = wire.line().await?;
        if line == b"PONG" {
            return Ok(());
        }
        if let Some(error) = line.strip_prefix(b"-ERR") {
            let said = shown_line(error, 200);
            let refused = said.to_ascii_lowercase().contains("auth");
            let reason = if refused { Reason::AuthenticationFailed } else { Reason::ErrorAnswer };
            return Err(Failed::new(reason, format!("the server answers {said}")));
        }
        if line != b"+OK" && line != b"PING" && !line.starts_with(b"INFO ") {
            return Err(Failed::protocol("NATS", &line));
        }
    }
    Err(Failed::new(Reason::ProtocolError, "20 lines came, and none answers the ping"))
}

/// Waits for the reply to a request, or for a message: its subject, and what is in it.
async fn message(
    wire: &mut Wire,
    subject: &str,
    request: Option<&Secret>,
) -> Result<(String, Vec<u8>), Failed> {
    let sent = match request {
        None => format!("SUB {subject} 1\r\n"),
        Some(request) => {
            let (inbox, text) = (format!("_INBOX.{}", random_name()?), request.expose());
            let length = text.len();
            format!("SUB {inbox} 1\r\nPUB {subject} {inbox} {length}\r\n{text}\r\n")
        }
    };
    wire.send(sent.as_bytes()).await?;
    loop {
        let line = wire.line().await?;
        if let Some(error) = line.strip_prefix(b"-ERR") {
            let summary = format!("the server answers {}", shown_line(error, 200));
            return Err(Failed::new(Reason::QueryFailed, summary));
        }
        if line == b"PING" {
            wire.send(b"PONG\r\n").await?;
            continue;
        }
        if line == b"+OK" || line.starts_with(b"INFO ") {
            continue;
        }
        let strange = || Failed::protocol("NATS", &line);
        let told = std::str::from_utf8(&line).map_err(|_| strange())?;
        let words: Vec<_> = told.split_ascii_whitespace().collect();
        let number = |word: &str| word.parse::<usize>().map_err(|_| strange());
        // How long the headers are, and all; before that there may be where to reply to.
        let (name, head, length) = match words[..] {
            ["MSG", name, _, length] | ["MSG", name, _, _, length] => (name, 0, number(length)?),
            ["HMSG", name, _, head, length] | ["HMSG", name, _, _, head, length] => {
                (name, number(head)?, number(length)?)
            }
            _ => return Err(strange()),
        };
        let mut text = wire.exact(length.saturating_add(2)).await?;
        if !text.ends_with(b"\r\n") {
            return Err(strange());
        }
        text.truncate(length);
        let headers: Vec<u8> = text.drain(..head.min(length)).collect();
        if headers.starts_with(b"NATS/1.0 503") {
            let summary = format!("nobody answers requests to `{subject}`");
            return Err(Failed::new(Reason::NotServing, summary));
        }
        return Ok((shown_line(name.as_bytes(), 200), text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_told_from_what_is_none() {
        let check = |text: &str, alone: bool, varying: bool| {
            assert_eq!(
                (is_subject(text, false), is_subject(text, true)),
                (alone, varying),
                "{text}"
            );
        };
        check("a", true, true);
        check("shop.orders-1.ü", true, true);
        check("shop.*", false, true);
        check("*.a.>", false, true);
        check(">.a", false, false);
        check("a.b*", false, false);
        for text in ["", ".", "a.", "a..b", "a b", "a\r\nPUB b", "a\tb", &"a".repeat(1025)] {
            check(text, false, false);
        }
    }
}
