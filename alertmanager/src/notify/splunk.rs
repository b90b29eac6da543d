//! Hands alerts as events to Splunk's HTTP Event Collector.
//!
//! Source: Splunk's documentation of the collector, of its error codes and of its acknowledgements.
//!
//! Invariant: a message counts as taken only if the collector says so by its code, and with `ack`
//! only when what it took has been indexed (F14, F15).

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::Method;
use base::http::access::{HttpConfig, SecretSource};
use base::sample::Timestamp;
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::document;
use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared, excerpt};
use super::settings::{SecretSetting, fixed, needed_address};
use crate::alerts::Alert;

/// The most events of one request.
const BATCH: usize = 200;
/// Between two questions whether events are indexed, and how often is asked: the lane waits for no
/// more than 20 seconds.
const ASK_EVERY: Duration = Duration::from_secs(1);
const QUESTIONS: u32 = 14;
/// Who we are to the indexers where acknowledgements are asked for.
const CHANNEL: &str = "5e111e75-0000-4000-8000-76656c6c6575";

/// An entry of `splunk_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplunkConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The collector, without a path: `https://splunk:8088`.
    pub url: Option<Spanned<Secret>>,
    /// The token.
    pub token: Option<Spanned<Secret>>,
    /// The file that holds it.
    pub token_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// The index; the token's own by default.
    pub index: Option<Spanned<String>>,
    /// The source; `veilleur` by default.
    pub source: Option<Spanned<String>>,
    /// The source type; `veilleur:alert` by default.
    pub sourcetype: Option<Spanned<String>>,
    /// Whether it is waited for until events are indexed.
    pub ack: bool,
}

/// Posts to one collector.
#[derive(Clone, Debug)]
pub struct SplunkNotifier {
    url: String,
    token: SecretSource,
    service: Service,
    index: Option<String>,
    source: String,
    sourcetype: String,
    ack: bool,
}

impl SplunkConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<SplunkNotifier> {
        let url = needed_address("url", self.url.as_ref(), place, diagnostics);
        let token = SecretSetting::of(&self.token, &self.token_file);
        let token = token.needed(("token", "token_file"), place, diagnostics);
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        let mut text =
            |name, written: &Option<Spanned<String>>| fixed(name, written.as_ref(), diagnostics);
        let (index, source) = (text("index", &self.index), text("source", &self.source));
        let sourcetype = text("sourcetype", &self.sourcetype);
        Some(SplunkNotifier {
            url: url?,
            token: token?,
            service: service?,
            index,
            source: source.unwrap_or_else(|| "veilleur".to_owned()),
            sourcetype: sourcetype.unwrap_or_else(|| "veilleur:alert".to_owned()),
            ack: self.ack,
        })
    }
}

#[async_trait]
impl Notifier for SplunkNotifier {
    fn integration(&self) -> &'static str {
        "splunk"
    }

    fn preview(&self, notification: &Notification) -> String {
        let events = notification.alerts.iter().map(|alert| self.event(alert, notification));
        events.collect::<Vec<_>>().join("\n")
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let mut asked_for = Vec::new();
        for batch in notification.alerts.chunks(BATCH) {
            let body = batch.iter().map(|alert| self.event(alert, notification)).collect();
            let answer = self.post("event", body).await?;
            asked_for.extend(judge(&answer, self.ack, notification.at)?);
        }
        for _ in 0..QUESTIONS {
            if asked_for.is_empty() {
                return Ok(Receipt::default());
            }
            sleep(ASK_EVERY).await;
            let body = json!({"acks": asked_for}).to_string();
            let answer = self.post(&format!("ack?channel={CHANNEL}"), body).await?;
            answer.taken(notification.at)?;
            let said = answer.json();
            asked_for.retain(|id| said["acks"][id.to_string()] != true);
        }
        Err(DeliveryError::transient("the events were taken, but are not indexed yet"))
    }
}

impl SplunkNotifier {
    async fn post(&self, what: &str, body: String) -> Result<Answer, DeliveryError> {
        let token = self.token.read().map_err(DeliveryError::transient)?;
        let url = Secret::new(format!("{}/services/collector/{what}", self.url));
        let mut call = Call::post(&url, "application/json", body.into_bytes())
            .with("authorization", Secret::new(format!("Splunk {}", token.expose())));
        if self.ack {
            call = call.with("x-splunk-request-channel", Secret::new(CHANNEL));
        }
        call.method = Method::POST;
        self.service.send(call).await
    }

    /// An alert as an event; `event.id` tells two copies of one state from two states.
    fn event(&self, alert: &Alert, notification: &Notification) -> String {
        let mut document = document::alert(alert, notification);
        document["event"]["notification"] = json!(notification.id);
        let at = alert.ended.map_or(alert.starts_at, |(at, _)| at);
        let mut event = json!({
            "time": at.seconds(),
            "source": self.source,
            "sourcetype": self.sourcetype,
            "event": document,
        });
        if let Some(index) = &self.index {
            event["index"] = json!(index);
        }
        if let Some(host) = event["event"]["host"]["name"].as_str().map(str::to_owned) {
            event["host"] = json!(host);
        }
        event.to_string()
    }
}

/// The number by which the events can be asked for, where that is wanted.
fn judge(answer: &Answer, ack: bool, now: Timestamp) -> Result<Option<u64>, DeliveryError> {
    let said: Value = answer.json();
    let text = said["text"].as_str().unwrap_or_else(|| answer.body.trim());
    answer.taken(now)?;
    match said["code"].as_i64() {
        Some(0) if ack => match said["ackId"].as_u64() {
            Some(id) => Ok(Some(id)),
            None => Err(DeliveryError::permanent(
                "the collector gives no acknowledgements; switch them on for the token, or `ack` off",
            )),
        },
        Some(0) => Ok(None),
        // 8: an error within; 9, 18, 20, 23, 26, 27: busy, full or going down.
        Some(8 | 9 | 18 | 20 | 23 | 26 | 27) | None => {
            let reason = format!("the answer is not that of a collector: {}", excerpt(text));
            Err(DeliveryError::transient(reason))
        }
        Some(code) => {
            let reason = format!("the answer was code {code}: {}", excerpt(text));
            // 5, 6, 12, 13, 15: there is something in the events that is not taken.
            Err(match code {
                5 | 6 | 12 | 13 | 15 => DeliveryError::bad_message(reason),
                _ => DeliveryError::permanent(reason),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use base::http::HeaderMap;

    use super::super::sink::{Judges, Reply, SECRET, Sink, build_entry, misbehave};
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<SplunkNotifier>, String) {
        build_entry(yaml, SplunkConfig::build)
    }

    #[test]
    fn an_alert_is_an_event() {
        let (notifier, faults) = build("{url: 'http://s:8088', token: t, index: ops}");
        assert_eq!(faults, "");
        let message = notification();
        let event = notifier.unwrap().event(&message.alerts[1], &message);
        let mut event: Value = serde_json::from_str(&event).unwrap();
        let document = event["event"].take();
        assert_eq!(
            event,
            json!({
                "time": 1_700_000_060.0, "source": "veilleur", "sourcetype": "veilleur:alert",
                "index": "ops", "host": "db:1", "event": null,
            })
        );
        assert_eq!(document["veilleur"]["state"], "expired: target removed");
        assert_eq!(document["event"]["notification"], "id2");
    }

    #[test]
    fn success_is_the_code_zero() {
        // F12, F14
        let check = |ack, status, body: &str, expected: &str| {
            let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
            let got = match judge(&answer, ack, Timestamp::default()) {
                Ok(id) => format!("{id:?}"),
                Err(DeliveryError::Transient { .. }) => "again".to_owned(),
                Err(DeliveryError::Permanent { .. }) => "never".to_owned(),
            };
            assert_eq!(got, expected, "{status} {body}");
        };
        check(false, 200, r#"{"text":"Success","code":0}"#, "None");
        check(true, 200, r#"{"text":"Success","code":0,"ackId":7}"#, "Some(7)");
        check(true, 200, r#"{"text":"Success","code":0}"#, "never");
        check(false, 200, r#"{"text":"Server is busy","code":9}"#, "again");
        check(false, 200, r#"{"text":"Incorrect index","code":7}"#, "never");
        check(false, 200, "<html>", "again");
        check(false, 503, r#"{"text":"Server is busy","code":9}"#, "again");
        check(false, 403, r#"{"text":"Invalid token","code":4}"#, "never");
        check(false, 400, r#"{"text":"Incorrect index","code":7}"#, "never");
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check(
            "{}",
            "f.yml:1:1: `url` is missing\n\
             f.yml:1:1: `token` is missing\n  help: set it or `token_file`",
        );
        check(
            "{url: 'http://s', token: t, index: '{{ .CommonLabels.team }}'}",
            "f.yml:1:36: `index` cannot come from an alert\n  \
             help: make a receiver for each `index` and route to it",
        );
    }

    fn with_token(url: &str) -> SplunkNotifier {
        build(&format!("{{url: '{url}', token: {SECRET}}}")).0.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn with_acknowledgements_events_must_be_indexed() {
        // F15
        let sink = Sink::start().await;
        let yaml = format!("{{url: '{}', token: {SECRET}, ack: true}}", sink.url());
        let notifier = build(&yaml).0.unwrap();
        let taken = Reply::json(200, json!({"text": "Success", "code": 0, "ackId": 3}));
        let acks = |is: bool| Reply::json(200, json!({"acks": {"3": is}}));
        let replies = [taken.clone(), acks(false), acks(true)];
        let (asked, result) = sink.hand_over(&notifier, &notification(), &replies).await;
        assert_eq!(result, Ok(Receipt::default()));
        let lines: Vec<_> = asked.iter().map(|asked| asked.line()).collect();
        let ask = format!("POST /services/collector/ack?channel={CHANNEL}");
        assert_eq!(lines, ["POST /services/collector/event", &ask, &ask]);
        assert_eq!(asked[0].headers["authorization"], format!("Splunk {SECRET}"));
        assert_eq!(asked[0].headers["x-splunk-request-channel"], CHANNEL);
        assert_eq!(asked[1].json(), json!({"acks": [3]}));
        assert_eq!(asked[0].body.matches("\"sourcetype\"").count(), 2);

        let mut replies = vec![taken];
        replies.extend(vec![acks(false); QUESTIONS as usize]);
        let (_, result) = sink.hand_over(&notifier, &notification(), &replies).await;
        assert!(matches!(result, Err(DeliveryError::Transient { .. })), "{result:?}");
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_told_apart() {
        misbehave(Judges::Body, &[], with_token).await;
    }
}
