//! Says it in a channel of IRC: a line for each alert.
//!
//! ```text
//! connect, TLS ─▶ (SASL) ─▶ welcome ─▶ (NickServ) ─▶ join ─▶ lines, a few at a time ─▶ ping ─▶ pong
//! ```
//!
//! The server works off what a client sends in its order, so its answer to a ping that stands
//! behind the lines is the receipt for them: what it refuses, it has said before.
//!
//! Source: RFC 2812, and the IRCv3 specifications of capabilities and SASL 3.1.
//!
//! Invariant: nothing from an alert is a command of IRC, or one of a client's (CTCP); no more than
//! ten lines are sent at once, so that no server takes it for a flood.

mod config;
mod session;

pub use config::IrcConfig;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::http::access::SecretSource;
use tokio::time::sleep;

use super::links::Links;
use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use super::stream::{Lines, Server};
use super::texts::{Renderer, Text, one_line, shortened_bytes};
use crate::template::{Escape, Templates};
use session::Session;

/// The longest text of a line, in bytes: with what the server puts before it a line has 512.
const MAX_LINE: usize = 390;
/// How many lines go out at once, and what lies between two of those that follow.
const BURST: usize = 4;
const PAUSE: Duration = Duration::from_millis(1500);

/// Speaks in one channel.
#[derive(Clone, Debug)]
pub struct IrcNotifier {
    server: Server,
    tls: bool,
    nick: String,
    username: String,
    realname: String,
    password: Option<SecretSource>,
    login: Login,
    channel: String,
    channel_key: Option<SecretSource>,
    notice: bool,
    max_lines: usize,
    templates: Arc<Templates>,
    text: Text,
}

/// How we say who we are.
#[derive(Clone, Debug)]
enum Login {
    Nobody,
    Sasl { username: String, password: SecretSource },
    NickServ(SecretSource),
}

#[async_trait]
impl Notifier for IrcNotifier {
    fn integration(&self) -> &'static str {
        "irc"
    }

    fn preview(&self, notification: &Notification) -> String {
        self.lines(notification).join("\n")
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let said = self.lines(notification);
        let lines = Lines::new(self.server.open(self.tls).await?);
        let mut session = Session::new(lines, &self.channel);
        session.register(self).await?;
        session.join(self.channel_key.as_ref()).await?;
        let command = if self.notice { "NOTICE" } else { "PRIVMSG" };
        for (n, line) in said.iter().enumerate() {
            if n >= BURST {
                sleep(PAUSE).await;
            }
            session.say(command, line).await.map_err(DeliveryError::after_sending)?;
        }
        session.confirm(&notification.id).await.map_err(DeliveryError::after_sending)?;
        session.quit().await;
        Ok(Receipt::default())
    }
}

impl IrcNotifier {
    /// The lines of the message, each short enough, no more than there may be.
    fn lines(&self, notification: &Notification) -> Vec<String> {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let text = renderer.unless_blank(renderer.render(&self.text));
        let mut lines: Vec<String> = text
            .lines()
            .map(|line| shortened_bytes(&one_line(line, MAX_LINE), MAX_LINE))
            .filter(|line| !line.is_empty())
            .collect();
        if lines.len() > self.max_lines {
            let more = lines.len() - self.max_lines + 1;
            lines.truncate(self.max_lines - 1);
            let link = Links::of(notification).alerts.unwrap_or_default();
            lines.push(shortened_bytes(&format!("and {more} more: {link}"), MAX_LINE));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::texts::tests::notification;
    use super::config::tests::build;
    use super::*;

    fn lines(extra: &str, notification: &Notification) -> Vec<String> {
        let (notifier, faults) = build(&format!("{{server: h, channel: '#ops'{extra}}}"));
        assert_eq!(faults, "");
        notifier.unwrap().lines(notification)
    }

    #[test]
    fn an_alert_is_a_line() {
        let said = lines("", &notification());
        assert_eq!(said.len(), 2, "{said:?}");
        let begins = "[FIRING] CheckFailed on web:1, since 2023-11-14 22:13 UTC";
        assert!(said[0].starts_with(begins), "{said:?}");
        assert!(said[0].ends_with(": queue <b>full</b> & more http://v/#a"), "{said:?}");
        assert!(said[1].starts_with("[RESOLVED] CheckFailed on db:1, since "), "{said:?}");
    }

    #[test]
    fn alerts_give_neither_commands_nor_floods() {
        // X15, F16
        let mut message = notification();
        let hostile = format!("a\r\nQUIT :x\0\u{1}VERSION\u{1}\u{3}4{}", "ä".repeat(5000));
        for alert in &mut message.alerts {
            alert.annotations.insert("summary".into(), hostile.clone());
        }
        let text = ", text: '{{ range .Alerts }}{{ .Annotations.summary }}\n\n{{ end }}'";
        let said = lines(text, &message);
        assert_eq!(said.len(), 4, "{said:?}");
        for line in &said {
            assert!(line.len() <= MAX_LINE && !line.contains(char::is_control), "{line:?}");
        }

        let first = message.alerts[0].clone();
        message.alerts = (0..5000).map(|_| first.clone()).collect();
        let said = lines(", text: '{{ range .Alerts }}x\n\n{{ end }}', max_lines: 3", &message);
        assert_eq!(said, ["x", "x", "and 4998 more: http://v/#/alerts"]);
        assert_eq!(
            lines(", text: '{{ if false }}x{{ end }}'", &message),
            [
                "[FIRING] CheckFailed on web:1, CheckFailed on web:1, CheckFailed on web:1, CheckFailed on web:1, CheckFailed on web:1, 4995 more, since 2023-11-14 22:13 UTC"
            ]
        );
    }
}
