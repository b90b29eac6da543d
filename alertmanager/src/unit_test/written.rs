//! A test file, as written: promtool's format, and what is more for the way to the receivers.
//!
//! Source: the documentation of Prometheus on unit testing of rules.
//!
//! Invariant: whatever a person may have mistyped has its place, so that a failure names it.

use std::collections::BTreeMap;

use base::diagnostic::Spanned;
use base::period::Period;
use serde::Deserialize;

use crate::rules::OnMissing;

/// The file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileConfig {
    /// Rule files, relative to this one; the last part may have a `*`.
    pub(super) rule_files: Vec<Spanned<String>>,
    /// How often every group is evaluated; by default 1m, with `config` as the groups say.
    pub(super) evaluation_interval: Option<Spanned<Period>>,
    /// The names of groups in the order in which they are evaluated.
    pub(super) group_eval_order: Vec<Spanned<String>>,
    /// Whether numbers may differ in their last bit.
    pub(super) fuzzy_compare: bool,
    /// `veilleur.yml` or `alertmanager.yml`: what comes after the rules.
    pub(super) config: Option<Spanned<String>>,
    /// What becomes of an alert whose data are missing; by default `resolve`, as in Prometheus,
    /// and with `config` `hold`, as in Veilleur.
    pub(super) missing_data: Option<Spanned<OnMissing>>,
    pub(super) tests: Vec<Spanned<TestConfig>>,
}

/// One test.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TestConfig {
    pub(super) name: Option<String>,
    /// From one value of a series to the next; by default `evaluation_interval`.
    pub(super) interval: Option<Spanned<Period>>,
    pub(super) input_series: Vec<Spanned<SeriesConfig>>,
    pub(super) alert_rule_test: Vec<Spanned<AlertRuleTestConfig>>,
    pub(super) promql_expr_test: Vec<Spanned<ExprTestConfig>>,
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) external_url: Option<String>,
    /// Promtool's name of `start`.
    pub(super) start_timestamp: Option<Spanned<String>>,
    /// When it begins: `2026-11-20 22:00 Europe/Paris`, RFC 3339, or seconds since the epoch.
    pub(super) start: Option<Spanned<String>>,
    /// How long it goes on, where that is longer than what is asked for.
    pub(super) until: Option<Spanned<Period>>,
    pub(super) silences: Vec<Spanned<SilenceConfig>>,
    /// All messages that are delivered; where it is not written nothing is compared.
    pub(super) notifications: Option<Spanned<Vec<Spanned<MessageConfig>>>>,
    pub(super) held: Vec<Spanned<HeldConfig>>,
}

/// A series and its values.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesConfig {
    pub(super) series: Spanned<String>,
    #[serde(default)]
    pub(super) values: Spanned<String>,
}

/// Which alerts of a name fire at a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertRuleTestConfig {
    #[serde(default)]
    pub(super) eval_time: Period,
    #[serde(default)]
    pub(super) alertname: Spanned<String>,
    #[serde(default)]
    pub(super) exp_alerts: Vec<Spanned<ExpectedAlertConfig>>,
}

/// An alert as its rule makes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExpectedAlertConfig {
    pub(super) exp_labels: BTreeMap<String, String>,
    pub(super) exp_annotations: BTreeMap<String, String>,
}

/// What an expression comes to at a time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExprTestConfig {
    pub(super) expr: Spanned<String>,
    #[serde(default)]
    pub(super) eval_time: Period,
    #[serde(default)]
    pub(super) exp_samples: Vec<Spanned<SampleConfig>>,
}

/// A sample.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SampleConfig {
    pub(super) labels: Option<Spanned<String>>,
    pub(super) value: Option<Spanned<String>>,
    pub(super) histogram: Option<Spanned<String>>,
}

/// A silence that somebody makes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SilenceConfig {
    pub(super) matchers: Vec<Spanned<String>>,
    /// From when to when it holds.
    #[serde(default)]
    pub(super) from: Period,
    pub(super) until: Spanned<Period>,
    #[serde(default)]
    pub(super) created_by: String,
    #[serde(default)]
    pub(super) comment: String,
}

/// A message that is delivered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageConfig {
    pub(super) at: Period,
    /// How much later it may be.
    #[serde(default)]
    pub(super) within: Period,
    pub(super) receiver: Spanned<String>,
    /// The kinds of its ways by which it goes: `[email, slack]`.
    #[serde(default)]
    pub(super) by: Option<Vec<String>>,
    #[serde(default)]
    pub(super) status: Option<Status>,
    /// All alerts of the message.
    #[serde(default)]
    pub(super) alerts: Option<Vec<ToldConfig>>,
    /// A regular expression that is found in its text.
    #[serde(default)]
    pub(super) text: Option<Spanned<String>>,
}

/// What a message says of its alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Firing,
    Resolved,
}

/// An alert of a message.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToldConfig {
    /// Labels that it has among others.
    pub(super) labels: BTreeMap<String, String>,
    /// By default that of the message.
    #[serde(default)]
    pub(super) status: Option<Status>,
}

/// The alerts that fire at a time and are held back.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeldConfig {
    pub(super) at: Period,
    /// All of them.
    pub(super) alerts: Vec<Spanned<HeldAlertConfig>>,
}

/// An alert that is held back.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeldAlertConfig {
    /// Labels that it has among others.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) reason: HeldReason,
    /// A regular expression that is found in what holds it: a silence's comment, the labels of the
    /// cause, the name of an interval.
    #[serde(default)]
    pub(super) by: Option<Spanned<String>>,
}

/// Why an alert is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HeldReason {
    Silenced,
    Inhibited,
    Maintenance,
    Muted,
}

impl HeldReason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Silenced => "silenced",
            Self::Inhibited => "inhibited",
            Self::Maintenance => "maintenance",
            Self::Muted => "muted",
        }
    }
}
