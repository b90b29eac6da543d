//! Sends mail by SMTP.
//!
//! The mails of a group, from its first alert to its all-clear, are one thread: each refers to the
//! first by `References`. A mail that is sent again after a crash has the same `Message-ID`.
//!
//! Invariant: recipients come from the configuration only, and nothing from an alert can begin a
//! header of its own (X17, X18).

mod config;
mod smtp;

pub use config::{EmailConfig, EmailGlobals, ThreadingConfig, check_server};

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base::labels::Labels;
use lettre::Message;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, MultiPart, SinglePart};
use lettre::transport::smtp::client::TlsParameters;
use lettre::transport::smtp::extension::ClientId;

use super::document;
use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use super::texts::{Renderer, Text, one_line};
use crate::template::{Escape, Templates};
use smtp::Login;

/// The longest subject.
const MAX_SUBJECT: usize = 200;
/// The longest of the other headers, which may be lists of addresses; a line has less than 998 bytes
/// all the same, because they are folded.
const MAX_HEADER: usize = 900;

/// Sends to one list of recipients.
#[derive(Clone, Debug)]
pub struct EmailNotifier {
    to: Mailboxes,
    from: Mailbox,
    host: String,
    port: u16,
    hello: ClientId,
    login: Option<Login>,
    tls: TlsMode,
    subject: Text,
    headers: Vec<(HeaderName, Text)>,
    threading: Threading,
    html: Text,
    text: Text,
    templates: Arc<Templates>,
}

/// Which mails are a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threading {
    /// Those of a group, from its first alert to its all-clear.
    Incident,
    /// All of a group.
    Group,
    /// All of a group on one day, by UTC.
    Day,
    /// None.
    Nothing,
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

    fn preview(&self, notification: &Notification) -> String {
        let plain = Renderer::new(&self.templates, notification, Escape::Text);
        let subject = one_line(&plain.render(&self.subject), MAX_SUBJECT);
        format!("{subject}\n\n{}", plain.render(&self.text))
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let message = self.message(notification).map_err(DeliveryError::permanent)?;
        // The last answer, after the mail itself, was positive (F14).
        smtp::send(self, &message).await?;
        Ok(Receipt::default())
    }
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
        if let Some(first) = self.first(notification) {
            builder = builder.in_reply_to(id(&first)).references(id(&first));
        }
        // Said here, so that no header that is only shown adds a recipient (X18).
        let recipients = self.to.iter().map(|mailbox| mailbox.email.clone()).collect();
        let envelope = Envelope::new(Some(self.from.email.clone()), recipients);
        builder = builder.envelope(envelope.map_err(|error| error.to_string())?);
        for (name, text) in &self.headers {
            let value = one_line(&plain.render(text), MAX_HEADER);
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

    /// What stands for the first mail of the thread, where this one is not it itself.
    fn first(&self, notification: &Notification) -> Option<String> {
        let group = || Labels::from_pairs([("group", &notification.group_key)]).fingerprint();
        let day = || document::time(notification.at).chars().take(10).collect::<String>();
        match self.threading {
            Threading::Nothing => None,
            Threading::Incident => {
                (notification.thread != notification.id).then(|| notification.thread.clone())
            }
            Threading::Group => Some(format!("group-{:016x}", group())),
            Threading::Day => Some(format!("group-{:016x}-{}", group(), day())),
        }
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
            "Subject: [FIRING:1] CheckFailed on web:1, since 2023-11-14 22:13 UTC\r\n",
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
    fn threads_are_as_configured() {
        let check = |extra: &str, expected: Option<&str>| {
            let mail = written(extra, &notification());
            let found = mail.lines().find_map(|line| line.strip_prefix("References: "));
            let found = found.map(|id| id.split('@').next().unwrap().trim_start_matches('<'));
            let group = Labels::from_pairs([("group", &notification().group_key)]).fingerprint();
            let expected = expected.map(|id| id.replace("GROUP", &format!("{group:016x}")));
            assert_eq!(found, expected.as_deref(), "{extra}");
        };
        check("", Some("id1"));
        check(", threading: {enabled: false}", None);
        check(", threading: {enabled: true, thread_by_date: none}", Some("group-GROUP"));
        check(
            ", threading: {enabled: true, thread_by_date: daily}",
            Some("group-GROUP-2023-11-14"),
        );
        check(", headers: {References: '<own@x>'}", Some("own"));
    }

    #[test]
    fn headers_change_what_is_shown_and_nobody_who_gets_it() {
        // X17, X18
        let label = "victim@example.com\r\nBcc: victim@example.com";
        let mut message = notification();
        for alert in &mut message.alerts {
            alert.labels = alert.labels.with("mail", label);
        }
        let headers = ", headers: {To: '{{ .CommonLabels.mail }}', Cc: 'c@example.org', \
                       Reply-To: '{{ .CommonLabels.mail }}'}";
        let notifier = build(&format!("{GOOD}{headers}}}")).0.unwrap();
        let mail = notifier.message(&message).unwrap();
        let recipients: Vec<_> = mail.envelope().to().iter().map(ToString::to_string).collect();
        assert_eq!(recipients, ["ops@example.org", "b@example.org"]);
        let text = String::from_utf8(mail.formatted()).unwrap();
        assert_eq!(text.matches("\r\nTo: ").count() + usize::from(text.starts_with("To: ")), 1);
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("\r\nBcc:"), "{head}");
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
