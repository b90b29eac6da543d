//! Pushes to phones by Pushover.
//!
//! What fires is an emergency by default: the phone repeats it until somebody confirms. A later
//! emergency of the group takes its place, and when the group is over the repetition is cancelled;
//! the receipt of the emergency is kept for that.
//!
//! Source: Pushover's documentation of its message and receipt API.
//!
//! Invariant: a message is cut to Pushover's limits before it is sent, and no tag of it is cut in
//! two; the keys are in the body, never in an address.

mod config;

pub use config::PushoverConfig;

use std::sync::Arc;

use async_trait::async_trait;
use base::http::access::SecretSource;
use base::sample::Timestamp;
use base::secret::Secret;
use serde_json::Value;
use tracing::warn;

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, excerpt};
use super::paging::{confirmed, form};
use super::parts::web_address;
use super::texts::{Renderer, Text, one_line, shortened};
use crate::template::{Escape, Templates};

/// The longest texts, in characters.
const MAX_TITLE: usize = 250;
const MAX_MESSAGE: usize = 1024;
const MAX_URL: usize = 512;
const MAX_URL_TITLE: usize = 100;
/// The longest name of a character in HTML that is of use.
const LONGEST_ENTITY: usize = 10;
/// The priority that is repeated until somebody confirms.
const EMERGENCY: &str = "2";
/// The ending of the address of messages.
const MESSAGES: &str = "messages.json";

/// Pushes to one user or group.
#[derive(Clone, Debug)]
pub struct PushoverNotifier {
    service: Service,
    url: Secret,
    token: SecretSource,
    user: SecretSource,
    templates: Arc<Templates>,
    title: Text,
    message: Text,
    link: Text,
    link_title: Text,
    priority: Text,
    sound: Text,
    device: String,
    /// Seconds, within what Pushover takes.
    retry: u64,
    expire: u64,
    ttl: u64,
    markup: Markup,
}

/// How a message is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Markup {
    None,
    Html,
    Monospace,
}

#[async_trait]
impl Notifier for PushoverNotifier {
    fn integration(&self) -> &'static str {
        "pushover"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let token = self.token.read().map_err(DeliveryError::transient)?;
        let user = self.user.read().map_err(DeliveryError::transient)?;
        let (now, earlier) = (notification.at, notification.reference.as_deref());
        if let (false, Some(receipt)) = (notification.is_firing(), earlier) {
            self.cancel(receipt, &token, now).await?;
        }
        let keys = [("token", token.expose()), ("user", user.expose())];
        let fields = self.fields(notification);
        let fields = fields.iter().map(|(name, text)| (*name, text.as_str()));
        let body = form(keys.into_iter().chain(fields)).into_bytes();
        let answer =
            self.service.send(Call::post(&self.url, "application/x-www-form-urlencoded", body));
        let value = judge(&answer.await?, now)?;
        let reference = value["receipt"].as_str().map(str::to_owned);
        if let (true, Some(receipt), true) = (notification.is_firing(), earlier, reference.is_some())
        {
            // The new emergency takes the place of the one before. That it was told counts; if both
            // are repeated, somebody is woken twice.
            if let Err(error) = self.cancel(receipt, &token, now).await {
                warn!(%error, "an earlier emergency goes on");
            }
        }
        Ok(Receipt { reference })
    }
}

impl PushoverNotifier {
    /// Stops the repetition of an emergency.
    async fn cancel(
        &self,
        receipt: &str,
        token: &Secret,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        let clean = receipt.chars().all(|c| c.is_ascii_alphanumeric());
        let Some(base) = self.url.expose().strip_suffix(MESSAGES).filter(|_| clean) else {
            return Ok(());
        };
        let url = Secret::new(format!("{base}receipts/{receipt}/cancel.json"));
        let body = form([("token", token.expose())]).into_bytes();
        let call = Call::post(&url, "application/x-www-form-urlencoded", body);
        match judge(&self.service.send(call).await?, now) {
            // It has expired, or somebody has confirmed it.
            Ok(_) | Err(DeliveryError::Permanent { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What is sent beside the keys.
    fn fields(&self, notification: &Notification) -> Vec<(&'static str, String)> {
        let plain = Renderer::new(&self.templates, notification, Escape::Text);
        let line = |text: &Text, most| one_line(&plain.render(text), most);
        let message = match self.markup {
            Markup::Html => {
                let html = Renderer::new(&self.templates, notification, Escape::Html);
                cut_html(html.render(&self.message).trim())
            }
            _ => shortened(plain.render(&self.message).trim(), MAX_MESSAGE),
        };
        // An empty message is refused.
        let message =
            if message.is_empty() { notification.status().to_uppercase() } else { message };
        let mut fields = vec![("title", line(&self.title, MAX_TITLE)), ("message", message)];
        match self.markup {
            Markup::Html => fields.push(("html", "1".to_owned())),
            Markup::Monospace => fields.push(("monospace", "1".to_owned())),
            Markup::None => {}
        }
        let link = web_address(&plain.render(&self.link));
        // A part of an address leads somewhere else.
        if !link.is_empty() && link.chars().count() <= MAX_URL {
            fields.push(("url", link));
            fields.push(("url_title", line(&self.link_title, MAX_URL_TITLE)));
        }
        let priority = line(&self.priority, MAX_TITLE);
        let priority = match priority.parse::<i8>() {
            Ok(priority) => priority.clamp(-2, 2).to_string(),
            Err(_) => "0".to_owned(),
        };
        if priority == EMERGENCY {
            fields.push(("retry", self.retry.to_string()));
            fields.push(("expire", self.expire.to_string()));
        }
        fields.push(("priority", priority));
        fields.push(("device", self.device.clone()));
        fields.push(("sound", line(&self.sound, MAX_TITLE)));
        if self.ttl > 0 {
            fields.push(("ttl", self.ttl.to_string()));
        }
        let seconds = notification.at.millis().div_euclid(1000);
        fields.push(("timestamp", seconds.to_string()));
        fields.retain(|(_, text)| !text.is_empty());
        fields
    }
}

/// The text cut to what Pushover takes, without what is left of a tag or an entity at its end.
fn cut_html(text: &str) -> String {
    if text.chars().count() <= MAX_MESSAGE {
        return text.to_owned();
    }
    let cut = shortened(text, MAX_MESSAGE);
    let whole = cut.trim_end_matches('…');
    let open = |begin: char, end: char, longest: usize| {
        let begun = whole.rfind(begin).filter(|at| !whole[*at..].contains(end));
        begun.filter(|at| whole.len() - at <= longest).unwrap_or(whole.len())
    };
    let end = open('<', '>', MAX_MESSAGE).min(open('&', ';', LONGEST_ENTITY));
    format!("{}…", &whole[..end])
}

/// Pushover says `"status": 1`, or what is wrong.
fn judge(answer: &Answer, now: Timestamp) -> Result<Value, DeliveryError> {
    answer.taken(now)?;
    if answer.json()["status"] == 0 {
        let reason = format!("the answer was: {}", excerpt(answer.body.trim()));
        return Err(DeliveryError::permanent(reason));
    }
    confirmed(answer, now, "Pushover", |value| value["status"] == 1)
}

#[cfg(test)]
mod tests;
