//! Sends by XMPP, to a person or into a room.
//!
//! ```text
//! connect ─▶ TLS ─▶ SASL ─▶ bind ─▶ message ─▶ ping ─▶ pong              to a person
//!                                ─▶ join ─▶ message ─▶ the room's echo    into a room
//! ```
//!
//! The server works off what a client sends in its order, so an answer to a ping that stands behind
//! a message says that the server has taken it. A room shows each message to all who are in it, also
//! to us.
//!
//! Source: RFC 6120, RFC 6121, XEP-0045 (rooms), XEP-0199 (ping), XEP-0201 (threads), XEP-0368 (TLS
//! from the start).
//!
//! Invariant: no password is told before TLS, and nothing from an alert is an element of XML (X13).

mod config;
mod login;
mod opening;
mod session;
mod xml;

pub use config::XmppConfig;

use std::sync::Arc;

use async_trait::async_trait;
use base::http::access::SecretSource;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};

use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use super::stream::Server;
use super::texts::{Renderer, Text, shortened};
use crate::template::{Escape, Templates};
use session::Session;
use xml::escaped;

/// The longest text, in characters: escaped it still fits the 10,000 bytes that every server takes
/// (RFC 6120, section 13.12), but for a text that is escaped throughout.
const MAX_TEXT: usize = 3000;
const MAX_ESCAPED: usize = 9000;

/// Sends to one person or room.
#[derive(Clone, Debug)]
pub struct XmppNotifier {
    server: Server,
    direct_tls: bool,
    user: String,
    domain: String,
    password: SecretSource,
    to: To,
    templates: Arc<Templates>,
    text: Text,
}

/// Who is told.
#[derive(Clone, Debug)]
enum To {
    Person(String),
    Room { room: String, nick: String, password: Option<SecretSource> },
}

#[async_trait]
impl Notifier for XmppNotifier {
    fn integration(&self) -> &'static str {
        "xmpp"
    }

    fn preview(&self, notification: &Notification) -> String {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        shortened(renderer.render(&self.text).trim(), MAX_TEXT)
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let password = self.password.read().map_err(DeliveryError::transient)?;
        let mut session = Session::connect(self).await?;
        session.log_in(&self.user, &password, &nonce()?).await?;
        // A name of its own for each message: a message that is tried again while its first try
        // still hangs must not throw it out.
        session.bind(&format!("veilleur-{}", notification.id)).await?;
        match &self.to {
            To::Person(jid) => {
                let message = self.message(notification, jid, "chat");
                session.send_to_person(&message, &notification.id).await?;
            }
            To::Room { room, nick, password } => {
                let password = password.as_ref().map(SecretSource::read).transpose();
                let password = password.map_err(DeliveryError::transient)?;
                let nick = session.join(room, nick, password.as_ref()).await?;
                let message = self.message(notification, room, "groupchat");
                session.send_to_room(&message, &notification.id, room, &nick).await?;
            }
        }
        session.close().await;
        Ok(Receipt::default())
    }
}

impl XmppNotifier {
    fn message(&self, notification: &Notification, to: &str, kind: &str) -> String {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let text = renderer.unless_blank(renderer.render(&self.text));
        let mut most = MAX_TEXT;
        let mut body = escaped(&shortened(text.trim(), most));
        while body.len() > MAX_ESCAPED {
            most /= 2;
            body = escaped(&shortened(text.trim(), most));
        }
        format!(
            "<message to='{}' type='{kind}' id='{}'><body>{body}</body><thread>{}</thread></message>",
            escaped(to),
            escaped(&notification.id),
            escaped(&notification.thread),
        )
    }
}

/// A text that nobody can guess.
fn nonce() -> Result<String, DeliveryError> {
    let mut bytes = [0; 18];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| DeliveryError::transient("the system gives no random numbers"))?;
    Ok(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::texts::tests::notification;
    use super::config::tests::build;
    use super::*;

    #[test]
    fn a_message_is_text_in_a_thread() {
        // X13, F16
        let notifier = build("{jid: v@x.org, password: p, to: ops@x.org}").0.unwrap();
        let mut message = notification();
        let written = notifier.message(&message, "ops@x.org", "chat");
        assert!(written.starts_with("<message to='ops@x.org' type='chat' id='id2'><body>Firing: "));
        assert!(written.ends_with("</body><thread>id1</thread></message>"), "{written}");
        for alert in &mut message.alerts {
            let hostile = "</body></message><iq type='set'/>\u{0}&".repeat(9000);
            alert.annotations.insert("summary".into(), hostile);
        }
        let written = notifier.message(&message, "ops@x.org", "chat");
        assert_eq!(written.matches('<').count(), 6, "{written}");
        assert!(written.len() < 10_000 && !written.contains('\u{0}'), "{}", written.len());
    }

    #[test]
    fn a_nonce_comes_once() {
        let (one, two) = (nonce().unwrap(), nonce().unwrap());
        assert!(one != two && one.len() == 24 && !one.contains(','), "{one} {two}");
    }
}
