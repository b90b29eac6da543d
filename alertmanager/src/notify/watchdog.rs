//! Tells somebody outside that we are well, as long as we are: when it stops, they ring.
//!
//! The message is an alert that always fires. It comes all the way that every alert comes, and is
//! sent only while it is news: its text holds the time at which its rule was evaluated.
//!
//! Invariant: nothing is sent for an evaluation that is older than a few intervals, however often
//! dispatch repeats it (A10.7, F60).

use std::time::Duration;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpConfig, SecretSource};
use base::period::Period;
use base::sample::Timestamp;
use base::secret::Secret;
use serde::Deserialize;

use super::http::{Call, Service, check_url};
use super::notifier::{DeliveryError, Notification, Notifier, Receipt};

/// The annotation that says when the rule was evaluated, in seconds since 1970.
pub const EVALUATED_AT: &str = "evaluated_at";
/// For how many intervals an evaluation counts.
const FRESH: u32 = 3;

/// The section `watchdog:`, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchdogConfig {
    /// Where to.
    pub url: Option<Spanned<Secret>>,
    /// The file that holds the address.
    pub url_file: Option<std::path::PathBuf>,
    /// How often; 1m by default.
    pub interval: Option<Spanned<Period>>,
    /// How we speak HTTP.
    pub http_config: Option<Spanned<HttpConfig>>,
    /// Receivers whose failure does not stop it.
    pub despite: Vec<Spanned<String>>,
}

/// Posts to one address.
#[derive(Clone, Debug)]
pub struct WatchdogNotifier {
    url: SecretSource,
    service: Service,
    interval: Duration,
}

impl WatchdogConfig {
    /// From one message to the next.
    pub fn interval(&self) -> Period {
        self.interval.as_ref().map_or(Period::from_secs(60), |interval| interval.value)
    }

    /// The notifier; `http` is the global configuration of HTTP.
    pub fn build(
        &self,
        place: Place,
        http: &HttpConfig,
        diagnostics: &mut Diagnostics,
    ) -> Option<WatchdogNotifier> {
        if let Some(zero) = self.interval.as_ref().filter(|interval| interval.value.is_zero()) {
            diagnostics.report(zero, "`interval` cannot be zero");
        }
        if let Some(url) = &self.url {
            check_url(url, diagnostics);
        }
        let given = self.url.as_ref().map(|url| url.value.clone());
        let missing = given.is_none() && self.url_file.is_none();
        let names = ("url", "url_file");
        let url = SecretSource::one_of(given, self.url_file.clone(), names, place, diagnostics);
        if missing {
            diagnostics.report_with_help(
                place,
                "`url` is missing",
                "write the address that is to be called while all is well",
            );
        }
        let service = Service::build(self.http_config.as_ref(), http, place, diagnostics);
        Some(WatchdogNotifier {
            url: url?,
            service: service?,
            interval: self.interval().duration(),
        })
    }
}

#[async_trait]
impl Notifier for WatchdogNotifier {
    fn integration(&self) -> &'static str {
        "watchdog"
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let evaluated_at = evaluated_at(notification)
            .ok_or_else(|| DeliveryError::transient("nobody knows when rules were evaluated"))?;
        let age = notification.at.since(evaluated_at);
        if age > self.interval * FRESH {
            let reason = format!("the last evaluation of rules was {age:?} ago");
            return Err(DeliveryError::transient(reason));
        }
        let url = self.url.read().map_err(DeliveryError::transient)?;
        let body = format!("veilleur is well; rules were evaluated {age:?} ago\n").into_bytes();
        let call = Call::post(&url, "text/plain; charset=utf-8", body);
        self.service.send(call).await?.taken(notification.at)?;
        Ok(Receipt::default())
    }
}

fn evaluated_at(notification: &Notification) -> Option<Timestamp> {
    let text = notification.alerts.first()?.annotations.get(EVALUATED_AT)?;
    text.parse::<f64>().ok().filter(|at| at.is_finite()).map(Timestamp::from_seconds)
}

#[cfg(test)]
mod tests {
    use super::super::texts::tests::notification;
    use super::*;

    #[tokio::test]
    async fn an_old_evaluation_is_told_to_nobody_f60() {
        let mut diagnostics = Diagnostics::new("f.yml");
        // Nobody listens at this port: what is sent fails with another reason.
        let yaml = "{url: 'http://127.0.0.1:1/ping', interval: 10s}";
        let config: Spanned<WatchdogConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let built = config.value.build(config.place, &HttpConfig::default(), &mut diagnostics);
        assert_eq!(diagnostics.to_string(), "");
        let notifier = built.unwrap();
        let check = async |text: Option<&str>, expected: &str| {
            let mut told = notification();
            told.at = Timestamp::from_seconds(1000.0);
            told.alerts[0].annotations.clear();
            if let Some(text) = text {
                told.alerts[0].annotations.insert(EVALUATED_AT.to_owned(), text.to_owned());
            }
            let error = notifier.notify(&told).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        };
        check(Some("995.5"), "refused").await;
        check(Some("970"), "refused").await;
        check(Some("969"), "31s ago").await;
        check(Some("NaN"), "nobody knows").await;
        check(Some("soon"), "nobody knows").await;
        check(None, "nobody knows").await;
    }

    #[test]
    fn reports_every_fault() {
        let check = |yaml: &str, expected: &str| {
            let mut diagnostics = Diagnostics::new("f.yml");
            let config: Spanned<WatchdogConfig> = base::yaml::read(yaml, &mut diagnostics).unwrap();
            config.value.build(config.place, &HttpConfig::default(), &mut diagnostics);
            assert_eq!(diagnostics.to_string(), expected, "{yaml}");
        };
        check("{url: 'http://127.0.0.1:1/x'}", "");
        check(
            "{interval: 0s}",
            "f.yml:1:1: `url` is missing\n  \
             help: write the address that is to be called while all is well\n\
             f.yml:1:12: `interval` cannot be zero",
        );
    }
}
