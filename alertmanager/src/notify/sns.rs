//! Publishes to Amazon's SNS: to a topic, a phone or a mobile endpoint.
//!
//! To a FIFO topic every message of a group goes in order, each under an id of its own, so that one
//! that is sent again after a crash is taken once.
//!
//! Source: the documentation of SNS's `Publish` and of its quotas.
//!
//! Invariant: a message is cut to SNS's limits before it is sent, and a subject is such that SNS
//! takes it.

mod config;
mod credentials;

pub use config::{Sigv4Config, SnsConfig};

use std::sync::Arc;

use async_trait::async_trait;
use base::sample::Timestamp;
use base::secret::Secret;

use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, excerpt};
use super::paging::{form, group_id};
use super::texts::{Renderer, Text, one_line, shortened, shortened_bytes};
use crate::aws::{Credentials, Signing, element};
use crate::template::{Escape, Templates};
use credentials::CredentialsSource;

/// The largest message, in bytes, and the longest text message to a phone, in characters.
const MAX_MESSAGE: usize = 256 << 10;
const MAX_SMS: usize = 1600;
/// The longest subject, in characters.
const MAX_SUBJECT: usize = 100;
/// What is left of the largest message for attributes.
const MAX_ATTRIBUTES: usize = 16 << 10;
/// The version of the API.
const VERSION: &str = "2010-03-31";

/// Publishes to one destination.
#[derive(Clone, Debug)]
pub struct SnsNotifier {
    service: Service,
    /// The address, where it is not the one of the region.
    url: Option<Secret>,
    region: Option<String>,
    credentials: CredentialsSource,
    to: Destination,
    templates: Arc<Templates>,
    subject: Text,
    message: Text,
    attributes: Vec<(Text, Text)>,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq)]
enum Destination {
    Topic(String),
    Phone(String),
    Target(String),
}

#[async_trait]
impl Notifier for SnsNotifier {
    fn integration(&self) -> &'static str {
        "sns"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let region = self.region();
        let region = region.as_deref().ok_or_else(|| {
            DeliveryError::transient("no region is known: set `sigv4.region`, or AWS_REGION")
        })?;
        let now = notification.at;
        let credentials = self.credentials.get(&self.service, region, now).await?;
        let regional = || {
            let china = if region.starts_with("cn-") { ".cn" } else { "" };
            Secret::new(format!("https://sns.{region}.amazonaws.com{china}/"))
        };
        let url = self.url.clone().unwrap_or_else(regional);
        let fields = self.fields(notification);
        let body = form(fields.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let answer = post(&self.service, &url, body, "sns", region, &credentials, now).await?;
        judge(&answer, now)?;
        Ok(Receipt::default())
    }
}

/// Posts a signed form to a service of Amazon's.
async fn post(
    service: &Service,
    url: &Secret,
    body: String,
    name: &str,
    region: &str,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<Answer, DeliveryError> {
    let signing = Signing { service: name, region, credentials, now };
    let headers = signing.headers(url, CONTENT_TYPE, body.as_bytes());
    let mut call = Call::post(url, CONTENT_TYPE, body.into_bytes());
    call.headers = headers.map_err(DeliveryError::permanent)?;
    service.send(call).await
}

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";

impl SnsNotifier {
    /// The configured region, else that of the topic or the target, else that of the environment.
    fn region(&self) -> Option<String> {
        let named = match &self.to {
            Destination::Topic(arn) | Destination::Target(arn) => arn.split(':').nth(3),
            Destination::Phone(_) => None,
        };
        let named = named.filter(|region| !region.is_empty()).map(str::to_owned);
        self.region.clone().or(named).or_else(crate::aws::region_of_environment)
    }

    /// The parameters of `Publish`.
    fn fields(&self, notification: &Notification) -> Vec<(String, String)> {
        let renderer = Renderer::new(&self.templates, notification, Escape::Text);
        let mut fields = vec![
            ("Action".to_owned(), "Publish".to_owned()),
            ("Version".to_owned(), VERSION.to_owned()),
        ];
        let mut put = |name: &str, text: String| fields.push((name.to_owned(), text));
        match &self.to {
            Destination::Topic(arn) => {
                put("TopicArn", arn.clone());
                if arn.ends_with(".fifo") {
                    put("MessageGroupId", group_id(notification));
                    put("MessageDeduplicationId", deduplication_id(&notification.id));
                }
            }
            Destination::Phone(number) => put("PhoneNumber", number.clone()),
            Destination::Target(arn) => put("TargetArn", arn.clone()),
        }
        let text = renderer.render(&self.message);
        let whole = text.trim_end();
        let cut = match &self.to {
            Destination::Phone(_) => shortened_bytes(&shortened(whole, MAX_SMS), MAX_SMS),
            _ => shortened_bytes(whole, MAX_MESSAGE - MAX_ATTRIBUTES),
        };
        let is_cut = cut != whole;
        // An empty message is refused.
        put("Message", if cut.is_empty() { notification.status().to_uppercase() } else { cut });
        let subject = subject(&renderer.render(&self.subject));
        if !subject.is_empty() {
            put("Subject", subject);
        }
        let attributes = self.attributes.iter();
        let attributes =
            attributes.map(|(name, value)| (renderer.render(name), renderer.render(value)));
        let truncated = is_cut.then(|| ("truncated".to_owned(), "true".to_owned()));
        let mut room = MAX_ATTRIBUTES;
        // An attribute without a name or a value is refused.
        let given = attributes.chain(truncated).filter(|(n, v)| !n.is_empty() && !v.is_empty());
        let mut number = 0;
        for (name, value) in given {
            let Some(left) = room.checked_sub(name.len()).filter(|left| *left > 0) else {
                continue;
            };
            let value = shortened_bytes(&value, left.min(MAX_ATTRIBUTES / 4));
            room = left - value.len();
            number += 1;
            let at = |part: &str| format!("MessageAttributes.entry.{number}.{part}");
            put(&at("Name"), name);
            put(&at("Value.DataType"), "String".to_owned());
            put(&at("Value.StringValue"), value);
        }
        fields
    }
}

/// A subject is one line of ASCII that begins with a letter, a digit or a mark.
fn subject(text: &str) -> String {
    let ascii: String = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    let line: String = one_line(&ascii, usize::MAX).chars().take(MAX_SUBJECT).collect();
    line.trim().to_owned()
}

/// At most 128 letters, digits and marks; the ids of messages are such.
fn deduplication_id(id: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || c.is_ascii_punctuation();
    id.chars().filter(fits).take(128).collect()
}

/// SNS answers with the id of the message; a refusal has a code that says whether it passes.
fn judge(answer: &Answer, now: Timestamp) -> Result<(), DeliveryError> {
    let refused = ["Throttl", "InternalError", "ServiceUnavailable", "RequestExpired", "Expired"];
    let code = element(&answer.body, "Code");
    if let Some(code) = code.filter(|code| refused.iter().any(|passing| code.contains(passing))) {
        let why = element(&answer.body, "Message").unwrap_or_default();
        return Err(DeliveryError::transient(format!("SNS answered {code}: {}", excerpt(why))));
    }
    answer.taken(now)?;
    match element(&answer.body, "MessageId") {
        Some(_) => Ok(()),
        None => Err(DeliveryError::transient(format!(
            "the answer is not what SNS says of a message it took: {}",
            excerpt(answer.body.trim())
        ))),
    }
}

#[cfg(test)]
mod tests;
