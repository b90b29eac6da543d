//! Keeps alerts and incidents as documents in Elasticsearch or OpenSearch, for Kibana.
//!
//! Each firing of an alert is a document, and so is the incident: the group, from its first alert to
//! its all-clear. A later state takes the place of the earlier one, in the index of the day on which
//! it began.
//!
//! Source: the documentation of the bulk API, which both have alike.
//!
//! Invariant: a message counts as taken only if every one of its documents was (F14).

use std::path::PathBuf;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpConfig, SecretSource};
use base::sample::Timestamp;
use base::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::document;
use super::http::{Answer, Call, Service};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared, excerpt};
use super::settings::needed_address;

/// The most documents of one request: also the answer to it, in which each has its line, shall fit
/// what is read of an answer.
const BATCH: usize = 100;
/// What we want to be answered.
const ANSWER: &str = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";

/// An entry of `elasticsearch_configs`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ElasticsearchConfig {
    /// Whether endings are sent; by default they are.
    pub send_resolved: Option<Spanned<bool>>,
    /// The cluster.
    pub url: Option<Spanned<Secret>>,
    /// The name of the index, with `%Y`, `%m`, `%d` ... of the day on which something began, by UTC;
    /// `veilleur-%Y.%m.%d` by default.
    pub index: Option<Spanned<String>>,
    /// A pipeline that documents pass.
    pub pipeline: Option<Spanned<String>>,
    /// An API key, as the cluster gave it in base 64.
    pub api_key: Option<Secret>,
    /// The file that holds it.
    pub api_key_file: Option<PathBuf>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// Whether the group is a document, too; by default it is.
    pub incidents: Option<bool>,
}

/// Writes to one cluster.
#[derive(Clone, Debug)]
pub struct ElasticsearchNotifier {
    url: Secret,
    index: String,
    api_key: Option<SecretSource>,
    service: Service,
    incidents: bool,
}

impl ElasticsearchConfig {
    /// The notifier.
    pub fn build(
        &self,
        place: Place,
        shared: Shared<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<ElasticsearchNotifier> {
        let url = needed_address("url", self.url.as_ref(), place, diagnostics);
        let index = self.index.as_ref().map_or("veilleur-%Y.%m.%d", |index| &index.value);
        if let Some(written) = &self.index
            && let Err(why) = index_name(index, Timestamp::default())
        {
            let message = format!("`{index}` cannot name an index: {why}");
            diagnostics.report(written, message);
        }
        let names = ("api_key", "api_key_file");
        let (key, file) = (self.api_key.clone(), self.api_key_file.clone());
        let api_key = SecretSource::one_of(key, file, names, place, diagnostics);
        let mut query = String::new();
        if let Some(pipeline) = &self.pipeline {
            let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            match !pipeline.value.is_empty() && pipeline.value.chars().all(named) {
                true => query = format!("&pipeline={}", pipeline.value),
                false => {
                    let message = format!("`{}` cannot name a pipeline", pipeline.value);
                    diagnostics.report(pipeline, message);
                }
            }
        }
        let service = Service::build(self.http_config.as_ref(), shared.http, place, diagnostics);
        Some(ElasticsearchNotifier {
            url: Secret::new(format!("{}/_bulk?{ANSWER}{query}", url?)),
            index: index.to_owned(),
            api_key,
            service: service?,
            incidents: self.incidents.unwrap_or(true),
        })
    }
}

/// The name of the index for what began at `at`.
fn index_name(pattern: &str, at: Timestamp) -> Result<String, String> {
    let day = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default();
    let day = day.to_zoned(jiff::tz::TimeZone::UTC);
    let name = jiff::fmt::strtime::format(pattern, &day).map_err(|error| error.to_string())?;
    let odd = |c: char| c.is_uppercase() || c.is_whitespace() || c.is_control();
    let odd = |c: char| odd(c) || "\\/*?\"<>|,#:".contains(c);
    let wrong = match name.chars().find(|c| odd(*c)) {
        Some(c) => format!("it has `{c}`"),
        None if name.is_empty() || name == "." || name == ".." => "it is no name".to_owned(),
        None if name.starts_with(['-', '_', '+']) => "it begins with `-`, `_` or `+`".to_owned(),
        None if name.len() > 255 => "it is longer than 255 bytes".to_owned(),
        None => return Ok(name),
    };
    Err(wrong)
}

#[async_trait]
impl Notifier for ElasticsearchNotifier {
    fn integration(&self) -> &'static str {
        "elasticsearch"
    }

    fn preview(&self, notification: &Notification) -> String {
        self.documents(notification).map_or_else(|e| e.to_string(), |(all, _)| all.concat())
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let (documents, began) = self.documents(notification)?;
        for batch in documents.chunks(BATCH) {
            let body = batch.concat().into_bytes();
            let mut call = Call::post(&self.url, "application/x-ndjson", body);
            if let Some(key) = &self.api_key {
                let key = key.read().map_err(DeliveryError::transient)?;
                let value = Secret::new(format!("ApiKey {}", key.expose()));
                call = call.with("authorization", value);
            }
            judge(&self.service.send(call).await?, batch.len(), notification)?;
        }
        Ok(Receipt::named(began.millis().to_string()))
    }
}

impl ElasticsearchNotifier {
    /// The documents, each as two lines: what to do, and the document. Also when the incident began,
    /// which is the reference by which later messages find its index.
    fn documents(
        &self,
        notification: &Notification,
    ) -> Result<(Vec<String>, Timestamp), DeliveryError> {
        let line = |id: &str, began: Timestamp, document: &Value| {
            let index = index_name(&self.index, began).map_err(DeliveryError::permanent)?;
            let action = json!({"index": {"_index": index, "_id": id}});
            Ok(format!("{action}\n{document}\n"))
        };
        let began = notification.reference.as_ref().and_then(|known| known.parse().ok());
        let began = began.map_or(notification.at, Timestamp::from_millis);
        let mut documents = Vec::new();
        for alert in &notification.alerts {
            let document = document::alert(alert, notification);
            documents.push(line(&document::id(alert), alert.starts_at, &document)?);
        }
        if self.incidents {
            let document = document::incident(notification, began);
            documents.push(line(&notification.thread, began, &document)?);
        }
        Ok((documents, began))
    }
}

/// The bulk API answers 200 also where it has taken none: each document has a status of its own.
fn judge(answer: &Answer, sent: usize, notification: &Notification) -> Result<(), DeliveryError> {
    answer.taken(notification.at)?;
    let said: Value = answer.json();
    let Some(items) = said["items"].as_array() else { return Err(answer.strange()) };
    let refused = items.iter().filter_map(|item| {
        let status = item["index"]["status"].as_u64().unwrap_or(0);
        (!(200..300).contains(&status)).then_some((status, &item["index"]["error"]))
    });
    let (mut passes, mut malformed, mut first) = (false, false, None);
    for (status, error) in refused {
        passes |= matches!(status, 0 | 408 | 429 | 500..);
        malformed |= matches!(status, 400 | 413);
        first.get_or_insert_with(|| {
            let kind = error["type"].as_str().unwrap_or("error");
            let why = error["reason"].as_str().unwrap_or_default();
            format!("a document was refused with status {status}: {kind}: {}", excerpt(why))
        });
    }
    match first {
        Some(reason) if passes => Err(DeliveryError::transient(reason)),
        Some(reason) if malformed => Err(DeliveryError::bad_message(reason)),
        Some(reason) => Err(DeliveryError::permanent(reason)),
        None if items.len() < sent || said["errors"] == true => {
            let reason = format!("{} of {sent} documents were answered", items.len());
            Err(DeliveryError::transient(reason))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use base::http::HeaderMap;

    use super::super::sink::{Judges, Reply, SECRET, Sink, build_entry, flood, misbehave};
    use super::super::texts::tests::notification;
    use super::*;

    fn build(yaml: &str) -> (Option<ElasticsearchNotifier>, String) {
        build_entry(yaml, ElasticsearchConfig::build)
    }

    #[test]
    fn a_later_state_takes_the_place_of_the_earlier_one() {
        let (notifier, faults) = build("{url: 'http://es:9200/'}");
        assert_eq!(faults, "");
        let notifier = notifier.unwrap();
        let actions = |notification: &Notification| -> Vec<Value> {
            let (documents, _) = notifier.documents(notification).unwrap();
            documents
                .iter()
                .map(|document| {
                    assert!(document.ends_with("}\n"), "{document}");
                    let lines: Vec<_> = document.lines().collect();
                    assert_eq!(lines.len(), 2, "{document}");
                    serde_json::from_str(lines[0]).unwrap()
                })
                .collect()
        };
        let mut message = notification();
        message.alerts[0].annotations.insert("summary".into(), "two\nlines".into());
        let first = actions(&message);
        assert_eq!(first.len(), 3);
        let id = document::id(&message.alerts[0]);
        assert_eq!(first[0], json!({"index": {"_index": "veilleur-2023.11.14", "_id": id}}));
        assert_eq!(first[2]["index"]["_id"], "id1");

        // A day later, the reference says where the incident is.
        let (_, began) = notifier.documents(&message).unwrap();
        message.reference = Some(began.millis().to_string());
        message.at = message.at + std::time::Duration::from_secs(86_400);
        assert_eq!(actions(&message), first);
        message.reference = None;
        assert_eq!(actions(&message)[2]["index"]["_index"], "veilleur-2023.11.15");
        let alone = build("{url: 'http://es:9200', incidents: false}").0.unwrap();
        assert_eq!(alone.documents(&message).unwrap().0.len(), 2);
    }

    #[test]
    fn success_is_every_document_taken() {
        // F14
        let check = |status, body: &str, expected: &str| {
            let answer = Answer { status, headers: HeaderMap::new(), body: body.to_owned() };
            let got = match judge(&answer, 2, &notification()) {
                Ok(()) => "taken",
                Err(DeliveryError::Transient { .. }) => "again",
                Err(DeliveryError::Permanent { .. }) => "never",
            };
            assert_eq!(got, expected, "{status} {body}");
        };
        let items = |a: u16, b: u16| {
            let item = |status: u16| {
                let error = json!({"type": "mapper_parsing_exception", "reason": "x"});
                match status {
                    ..300 => json!({"index": {"_id": "x", "status": status}}),
                    _ => json!({"index": {"_id": "x", "status": status, "error": error}}),
                }
            };
            let errors = a >= 300 || b >= 300;
            json!({"took": 1, "errors": errors, "items": [item(a), item(b)]}).to_string()
        };
        check(200, &items(201, 200), "taken");
        check(200, &items(201, 429), "again");
        check(200, &items(400, 429), "again");
        check(200, &items(400, 201), "never");
        check(200, &items(201, 503), "again");
        check(200, r#"{"errors":false,"items":[]}"#, "again");
        check(200, r#"{"took":1,"errors":false,"items":[{"ind"#, "again");
        check(200, r#"{"took":1,"errors":true,"items":[{"ind"#, "again");
        check(200, "<html>", "again");
        check(429, "", "again");
        check(401, r#"{"error":{"type":"security_exception"},"status":401}"#, "never");
        check(413, "", "never");
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| assert_eq!(build(yaml).1, expected, "{yaml}");
        check("{}", "f.yml:1:1: `url` is missing");
        check(
            "{url: 'http://h', index: 'Alerts-%Y', pipeline: 'a/b', api_key: x, api_key_file: y}",
            "f.yml:1:1: only one of `api_key` and `api_key_file` can be given\n\
             f.yml:1:26: `Alerts-%Y` cannot name an index: it has `A`\n\
             f.yml:1:49: `a/b` cannot name a pipeline",
        );
        check(
            "{url: 'http://h', index: '_x'}",
            "f.yml:1:26: `_x` cannot name an index: it begins with `-`, `_` or `+`",
        );
        check("{url: 'http://h', index: 'a-%V'}", "");
    }

    fn with_key(url: &str) -> ElasticsearchNotifier {
        build(&format!("{{url: '{url}', api_key: {SECRET}, pipeline: p}}")).0.unwrap()
    }

    #[tokio::test]
    async fn documents_go_in_batches_of_which_each_must_be_taken() {
        let sink = Sink::start().await;
        let notifier = with_key(&sink.url());
        let taken = |count: usize| {
            let items = vec![json!({"index": {"status": 201}}); count];
            Reply::json(200, json!({"took": 1, "errors": false, "items": items}))
        };
        let message = flood();
        let mut replies = vec![taken(BATCH); 50];
        replies.push(taken(1));
        let (asked, result) = sink.hand_over(&notifier, &message, &replies).await;
        assert_eq!(result, Ok(Receipt::named(message.at.millis().to_string())));
        assert_eq!(asked.len(), 51);
        for asked in &asked {
            assert_eq!(asked.line(), format!("POST /_bulk?{ANSWER}&pipeline=p"));
            assert_eq!(asked.headers["authorization"], format!("ApiKey {SECRET}"));
            assert_eq!(asked.headers["content-type"], "application/x-ndjson");
            assert!(asked.body.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
        }
        let (asked, result) = sink.hand_over(&notifier, &message, &replies[..1]).await;
        assert!(result.is_err() && asked.len() == 2, "the second batch is not taken");
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_told_apart() {
        misbehave(Judges::Body, &[], with_key).await;
    }
}
