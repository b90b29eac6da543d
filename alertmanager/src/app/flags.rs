//! What the program was started with, for people to look up.
//!
//! Invariant: what is shown holds no secret.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base::period::Period;

use super::Settings;

impl Settings {
    /// The settings by their names on the command line; `address` is where we listen indeed.
    pub(super) fn flags(
        &self,
        address: SocketAddr,
        external_url: &str,
    ) -> BTreeMap<String, String> {
        let period = |duration: std::time::Duration| {
            Period::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).to_string()
        };
        let path = match self.route_prefix.as_str() {
            "" => "/",
            prefix => prefix,
        };
        let features = [
            ("promql-delayed-name-removal", self.features.late_names),
            ("use-start-timestamps", self.features.start_times),
        ];
        let features: Vec<_> =
            features.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
        let settings = [
            ("enable-feature", features.join(",")),
            ("listen", address.to_string()),
            ("insecure-listen", self.insecure_listen.to_string()),
            ("data", self.data.display().to_string()),
            ("retention", period(self.retention)),
            ("max-series", self.max_series.to_string()),
            ("history-retention", period(self.history_retention)),
            ("safe-mode", self.safe_mode.as_str().to_owned()),
            ("safe-mode-for", period(self.safe_mode_for)),
            ("rules.on-missing", self.on_missing.as_str().to_owned()),
            ("web.route-prefix", path.to_owned()),
            ("external-url", external_url.to_owned()),
            ("web.enable-admin-api", self.admin_api.to_string()),
            ("web.enable-lifecycle", self.enabled.lifecycle.to_string()),
            ("web.enable-remote-write-receiver", self.enabled.remote_write.to_string()),
            ("web.enable-otlp-receiver", self.enabled.otlp.to_string()),
            ("query.timeout", period(self.limits.timeout)),
            ("query.max-concurrency", self.limits.at_a_time.to_string()),
            ("query.max-samples", self.limits.samples.to_string()),
            ("query.lookback-delta", period(self.lookback)),
            ("out-of-order", period(self.out_of_order)),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }
}
