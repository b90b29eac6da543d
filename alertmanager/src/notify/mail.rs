//! Sends mail by SMTP.
//!
//! The mails of a group, from its first alert to its all-clear, are one thread: each refers to the
//! first by `References`. A mail that is sent again after a crash has the same `Message-ID`.
//!
//! Invariant: recipients come from the configuration only, and nothing from an alert can begin a
//! header of its own (X17, X18).

mod config;

pub use config::{EmailConfig, EmailGlobals};

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use super::texts::{Renderer, Text, one_line};
use crate::template::{Escape, Templates};
use base::http::access::SecretSource;

/// The longest that one step of the conversation may take.
const STEP: Duration = Duration::from_secs(15);
/// The longest subject.
const MAX_SUBJECT: usize = 200;
/// Sends to one list of recipients.
#[derive(Clone, Debug)]
pub struct EmailNotifier {
    to: Mailboxes,
    from: Mailbox,
    host: String,
    port: u16,
    hello: ClientId,
    credentials: Option<(String, SecretSource)>,
    tls: TlsMode,
    subject: Text,
    headers: Vec<(HeaderName, Text)>,
    html: Text,
    text: Text,
    templates: Arc<Templates>,
}

/// When TLS begins.
#[derive(Clone)]
enum TlsMode {
    Implicit(TlsParameters),
    Required(TlsParameters),
    IfOffered(TlsParameters),
}

impl fmt::Debug for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Implicit(_) => "Implicit",
            Self::Required(_) => "Required",
            Self::IfOffered(_) => "IfOffered",
        })
    }
}

#[async_trait]
impl Notifier for EmailNotifier {
    fn integration(&self) -> &'static str {
        "email"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let message = self.message(notification).map_err(DeliveryError::permanent)?;
        let tls = match self.tls.clone() {
            TlsMode::Implicit(parameters) => Tls::Wrapper(parameters),
            TlsMode::Required(parameters) => Tls::Required(parameters),
            TlsMode::IfOffered(parameters) => Tls::Opportunistic(parameters),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .hello_name(self.hello.clone())
            .tls(tls)
            .timeout(Some(STEP));
        if let Some((username, password)) = &self.credentials {
            let password = password.read().map_err(DeliveryError::transient)?;
            builder = builder
                .credentials(Credentials::new(username.clone(), password.expose().to_owned()))
                .authentication(vec![Mechanism::Plain, Mechanism::Login]);
        }
        match builder.build().send(message).await {
            // The last answer, after the mail itself, was positive.
            Ok(_) => Ok(Receipt::default()),
            Err(error) => {
                let reason = reason(&error);
                // Of these, servers say by some that a mail is too large, or that it looks bad.
                let code = error.status().map(|code| code.to_string()).unwrap_or_default();
                match error.is_permanent() {
                    true if matches!(code.as_str(), "550" | "552" | "554") => {
                        Err(DeliveryError::bad_message(reason))
                    }
                    true => Err(DeliveryError::permanent(reason)),
                    false => Err(DeliveryError::transient(reason)),
                }
            }
        }
    }
}

/// The error with its causes.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    one_line(&text, 300)
}

impl EmailNotifier {
    fn message(&self, notification: &Notification) -> Result<Message, String> {
        let plain = Renderer::new(&self.templates, notification, Escape::Text);
        let marked = Renderer::new(&self.templates, notification, Escape::Html);
        let millis = u64::try_from(notification.at.millis()).unwrap_or(0);
        let id = |id: &str| format!("<{id}@{}>", self.from.email.domain());
        let mut builder = Message::builder()
            .from(self.from.clone())
            .mailbox(lettre::message::header::To::from(self.to.clone()))
            .subject(one_line(&plain.render(&self.subject), MAX_SUBJECT))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
            .message_id(Some(id(&notification.id)));
        if notification.thread != notification.id {
            let first = id(&notification.thread);
            builder = builder.in_reply_to(first.clone()).references(first);
        }
        for (name, text) in &self.headers {
            let value = one_line(&plain.render(text), MAX_SUBJECT);
            builder = builder.raw_header(HeaderValue::new(name.clone(), value));
        }
        let (text, html) = (plain.render(&self.text), marked.render(&self.html));
        let built = if html.trim().is_empty() {
            builder.singlepart(SinglePart::plain(text))
        } else {
            builder.multipart(MultiPart::alternative_plain_html(text, html))
        };
        built.map_err(|error| format!("the mail cannot be written: {error}"))
    }
}
#[cfg(test)]
mod tests {
    use base::diagnostic::{Diagnostics, Spanned};

    use super::super::texts::tests::notification;
    use super::*;

    pub(super) fn build(yaml: &str) -> (Option<EmailNotifier>, String) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Spanned<EmailConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let templates = Arc::new(Templates::defaults());
        let globals = EmailGlobals::default();
        let built = config.value.build(config.place, &globals, &templates, &mut diagnostics);
        (built, diagnostics.to_string())
    }

    pub(super) const GOOD: &str =
        "{to: 'Ops <ops@example.org>, b@example.org', from: v@example.net, smarthost: 'mail:587'";

    fn written(extra: &str, notification: &Notification) -> String {
        let (notifier, faults) = build(&format!("{GOOD}{extra}}}"));
        assert_eq!(faults, "");
        let message = notifier.unwrap().message(notification).unwrap();
        String::from_utf8(message.formatted()).unwrap()
    }

    #[test]
    fn a_mail_has_both_parts_and_belongs_to_its_thread() {
        let mail = written(", headers: {X-Team: '{{ .CommonLabels.alertname }}'}", &notification());
        for expected in [
            "To: Ops <ops@example.org>, b@example.org\r\n",
            "Subject: [FIRING:1] CheckFailed\r\n",
            "Message-ID: <id2@example.net>\r\n",
            "References: <id1@example.net>\r\n",
            "In-Reply-To: <id1@example.net>\r\n",
            "X-Team: CheckFailed\r\n",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "Content-Type: text/html; charset=utf-8\r\n",
            "queue &lt;b&gt;full",
        ] {
            assert!(mail.contains(expected), "{expected} is not in\n{mail}");
        }
        let first = Notification { thread: "id2".into(), ..notification() };
        assert!(!written("", &first).contains("References"));
    }

    #[test]
    fn nothing_of_an_alert_begins_a_header() {
        // X17
        let mut hostile = notification();
        let label = "a\r\nBcc: victim@example.com\r\n\r\n.\r\nQUIT =?utf-8?q?x?=";
        for alert in &mut hostile.alerts {
            alert.labels =
                alert.labels.with("alertname", label).with("instance", &"x".repeat(2000));
        }
        hostile.group_labels = base::labels::Labels::from_pairs([("alertname", label)]);
        let mail = written(", headers: {X-Team: '{{ .CommonLabels.alertname }}'}", &hostile);
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        assert!(!head.to_lowercase().contains("\r\nbcc:"), "{head}");
        assert_eq!(head.matches("\r\nSubject:").count(), 1, "{head}");
        assert!(mail.split("\r\n").all(|line| line.len() < 998), "a line is too long");
    }
}
