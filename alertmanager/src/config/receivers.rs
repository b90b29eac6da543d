//! `receivers:` who can be told, and how each is reached.
//!
//! Invariant: a lane's name depends on the receiver's name and the place among its kind only, so
//! that what it was told is found again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::labels::{Labels, LabelsBuilder};
use base::period::Period;
use serde::Deserialize;

use super::fallbacks;
use super::global::GlobalConfig;
use super::watchdog::WATCHDOG;
use crate::dispatch::{Fallbacks, Lane, Lanes};
use crate::notify::{
    Allowed, ConsoleConfig, ConsoleNotifier, DEFAULT_TIMEOUT, DiscordConfig, ElasticsearchConfig,
    EmailConfig, ExecConfig, GoogleChatConfig, GotifyConfig, IncidentioConfig, IrcConfig,
    JiraConfig, MatrixConfig, MattermostConfig, MsteamsConfig, MsteamsV2Config, Named, Notifier,
    NtfyConfig, OpsgenieConfig, PagerdutyConfig, PushoverConfig, RocketchatConfig,
    ServicenowConfig, Shared, SlackConfig, SnsConfig, SplunkConfig, SyslogConfig, TelegramConfig,
    TwilioConfig, VictoropsConfig, WatchdogNotifier, WebexConfig, WebhookConfig, WechatConfig,
    XmppConfig, ZulipConfig, aimed,
};
use crate::template::Templates;

/// A receiver, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// The name by which routes call it.
    pub name: Spanned<String>,
    /// Labels by which the API finds it; `name` is always one of them.
    #[serde(default)]
    labels: BTreeMap<Spanned<String>, String>,
    /// Who hears of it where this one cannot be told.
    #[serde(default)]
    pub(super) fallback: Option<Spanned<String>>,
    /// How long it may fail before the fallback hears; 5m by default.
    #[serde(default)]
    pub(super) fallback_after: Option<Spanned<Period>>,
    /// The longest that handing over one message may take; 20s by default.
    #[serde(default)]
    pub(super) timeout: Option<Spanned<Period>>,
    /// Whom its alerts may choose where a recipient is a template: names, addresses of mail, hosts of
    /// URLs, each with `*` for letters, digits and `_.+-`.
    #[serde(default)]
    allowed_recipients: Vec<Spanned<String>>,
    #[serde(default)]
    email_configs: Vec<Spanned<EmailConfig>>,
    #[serde(default)]
    slack_configs: Vec<Spanned<SlackConfig>>,
    #[serde(default)]
    webhook_configs: Vec<Spanned<WebhookConfig>>,
    #[serde(default)]
    pagerduty_configs: Vec<Spanned<PagerdutyConfig>>,
    #[serde(default)]
    opsgenie_configs: Vec<Spanned<OpsgenieConfig>>,
    #[serde(default)]
    victorops_configs: Vec<Spanned<VictoropsConfig>>,
    #[serde(default)]
    pushover_configs: Vec<Spanned<PushoverConfig>>,
    #[serde(default)]
    sns_configs: Vec<Spanned<SnsConfig>>,
    #[serde(default)]
    wechat_configs: Vec<Spanned<WechatConfig>>,
    #[serde(default)]
    jira_configs: Vec<Spanned<JiraConfig>>,
    #[serde(default)]
    servicenow_configs: Vec<Spanned<ServicenowConfig>>,
    #[serde(default)]
    incidentio_configs: Vec<Spanned<IncidentioConfig>>,
    #[serde(default)]
    elasticsearch_configs: Vec<Spanned<ElasticsearchConfig>>,
    #[serde(default)]
    exec_configs: Vec<Spanned<ExecConfig>>,
    #[serde(default)]
    gotify_configs: Vec<Spanned<GotifyConfig>>,
    #[serde(default)]
    irc_configs: Vec<Spanned<IrcConfig>>,
    #[serde(default)]
    ntfy_configs: Vec<Spanned<NtfyConfig>>,
    #[serde(default)]
    splunk_configs: Vec<Spanned<SplunkConfig>>,
    #[serde(default)]
    syslog_configs: Vec<Spanned<SyslogConfig>>,
    #[serde(default)]
    twilio_configs: Vec<Spanned<TwilioConfig>>,
    #[serde(default)]
    xmpp_configs: Vec<Spanned<XmppConfig>>,
    #[serde(default)]
    mattermost_configs: Vec<Spanned<MattermostConfig>>,
    #[serde(default)]
    rocketchat_configs: Vec<Spanned<RocketchatConfig>>,
    #[serde(default)]
    discord_configs: Vec<Spanned<DiscordConfig>>,
    #[serde(default)]
    telegram_configs: Vec<Spanned<TelegramConfig>>,
    #[serde(default)]
    msteams_configs: Vec<Spanned<MsteamsConfig>>,
    #[serde(default)]
    msteamsv2_configs: Vec<Spanned<MsteamsV2Config>>,
    #[serde(default)]
    matrix_configs: Vec<Spanned<MatrixConfig>>,
    #[serde(default)]
    zulip_configs: Vec<Spanned<ZulipConfig>>,
    #[serde(default)]
    googlechat_configs: Vec<Spanned<GoogleChatConfig>>,
    #[serde(default)]
    webex_configs: Vec<Spanned<WebexConfig>>,
    #[serde(default)]
    console_configs: Vec<Spanned<ConsoleConfig>>,
}

/// All ways to all receivers.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    /// Receivers by name, also those that nobody is told by.
    names: Vec<String>,
    ways: Vec<Way>,
    fallbacks: Fallbacks,
    /// By the receiver's name.
    timeouts: BTreeMap<String, Duration>,
    /// Those that were configured, by the receiver's name.
    labels: BTreeMap<String, Labels>,
}

/// One way to one receiver.
#[derive(Clone, Debug)]
struct Way {
    receiver: String,
    lane: Lane,
    notifier: Arc<dyn Notifier>,
}

impl Receivers {
    /// The receiver that prints.
    pub(super) fn console() -> Self {
        let mut receivers = Self { names: vec!["console".to_owned()], ..Self::default() };
        receivers.add("console", 0, None, Some(Arc::new(ConsoleNotifier)));
        receivers
    }

    /// All that are configured. The values of labels that routes `named`, and whether the file is
    /// Alertmanager's, say where a recipient that is a template may lead.
    pub(super) fn build(
        configs: &[Spanned<ReceiverConfig>],
        global: &GlobalConfig,
        templates: &Arc<Templates>,
        (named, is_lenient): (Named, bool),
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let (global, named) = (Arc::new(global.clone()), Arc::new(named));
        let fallbacks = fallbacks::build(configs, diagnostics);
        let mut receivers = Self { fallbacks, ..Self::default() };
        for config in configs {
            let config = &config.value;
            let name = &config.name;
            let timeout = fallbacks::timeout(config.timeout.as_ref(), DEFAULT_TIMEOUT, diagnostics);
            receivers.timeouts.insert(name.value.clone(), timeout);
            if name.value.is_empty() || name.value.contains('/') {
                diagnostics.report(name, format!("`{}` cannot name a receiver", name.value));
            } else if receivers.names.contains(&name.value) {
                diagnostics.report(name, format!("there are two receivers `{}`", name.value));
            }
            receivers.names.push(name.value.clone());
            receivers.label(config, diagnostics);
            let mut ways = Entries { receivers: &mut receivers, receiver: &name.value };
            let allowed = Allowed::new(&config.allowed_recipients, Arc::clone(&named), is_lenient);
            // Adds all entries of one kind; `build` is given what `global:` has for them.
            macro_rules! add {
                ($list:ident $(, $global:ident)*) => {
                    ways.add(&config.$list, |entry, place| {
                        let (held, texts) = (Arc::clone(&global), Arc::clone(templates));
                        let built = aimed((entry, place), &allowed, templates, diagnostics, move |entry, faults| {
                            let shared = Shared { http: &held.http_config, templates: &texts };
                            entry.build(place, $(held.$global(),)* shared, faults)
                        });
                        (entry.send_resolved.as_ref(), built)
                    })
                };
            }
            ways.add(&config.email_configs, |email, place| {
                let (held, texts) = (Arc::clone(&global), Arc::clone(templates));
                let built = aimed(
                    (email, place),
                    &allowed,
                    templates,
                    diagnostics,
                    move |email, faults| email.build(place, &held.email(), &texts, faults),
                );
                (email.send_resolved.as_ref(), built)
            });
            add!(slack_configs, slack);
            add!(webhook_configs);
            add!(pagerduty_configs, pagerduty);
            add!(opsgenie_configs, opsgenie);
            add!(victorops_configs, victorops);
            add!(pushover_configs);
            add!(sns_configs);
            add!(wechat_configs, wechat_service, wechat_company);
            add!(jira_configs, jira);
            add!(servicenow_configs);
            add!(incidentio_configs);
            add!(elasticsearch_configs);
            add!(gotify_configs);
            add!(irc_configs);
            add!(ntfy_configs);
            add!(splunk_configs);
            add!(syslog_configs);
            add!(twilio_configs);
            add!(xmpp_configs);
            add!(mattermost_configs, mattermost);
            add!(rocketchat_configs, rocketchat);
            add!(discord_configs);
            add!(telegram_configs, telegram);
            add!(msteams_configs);
            add!(msteamsv2_configs);
            add!(matrix_configs);
            add!(zulip_configs);
            add!(googlechat_configs);
            add!(webex_configs, webex);
            ways.add(&config.exec_configs, |exec, place| {
                let built = exec.build(place, diagnostics);
                (exec.send_resolved.as_ref(), built.map(|exec| Arc::new(exec) as Arc<dyn Notifier>))
            });
            ways.add(&config.console_configs, |console, _| {
                (
                    console.send_resolved.as_ref(),
                    Some(Arc::new(ConsoleNotifier) as Arc<dyn Notifier>),
                )
            });
        }
        receivers
    }

    /// Adds a way; where none is said, endings are told too: whoever was told that something fires
    /// is told when it is over.
    fn add(
        &mut self,
        receiver: &str,
        place: usize,
        send_resolved: Option<&Spanned<bool>>,
        notifier: Option<Arc<dyn Notifier>>,
    ) {
        let Some(notifier) = notifier else { return };
        let id = format!("{receiver}/{}/{place}", notifier.integration());
        let send_resolved = send_resolved.is_none_or(|send| send.value);
        self.ways.push(Way {
            receiver: receiver.to_owned(),
            lane: Lane { id, send_resolved },
            notifier,
        });
    }

    /// The lanes of each receiver.
    pub(super) fn lanes(&self) -> Lanes {
        let mut lanes: Lanes = self.names.iter().map(|name| (name.clone(), Vec::new())).collect();
        for way in &self.ways {
            lanes.entry(way.receiver.clone()).or_default().push(way.lane.clone());
        }
        lanes
    }

    fn label(&mut self, config: &ReceiverConfig, diagnostics: &mut Diagnostics) {
        for name in config.labels.keys().filter(|name| name.value.is_empty()) {
            diagnostics.report(name, "a label has no name");
        }
        let labels = config.labels.iter().map(|(name, value)| (name.value.as_str(), value));
        self.labels.insert(config.name.value.clone(), Labels::from_pairs(labels));
    }

    /// The receivers, in the order of the configuration, each with its labels.
    pub fn labels(&self) -> Vec<(String, Labels)> {
        let labels = |name: &String| {
            let mut labels = LabelsBuilder::from(self.labels.get(name).unwrap_or(&Labels::empty()));
            labels.set("name", name);
            (name.clone(), labels.build())
        };
        self.names.iter().map(labels).collect()
    }

    /// Every lane with its service.
    pub fn notifiers(&self) -> impl Iterator<Item = (&str, &Arc<dyn Notifier>)> {
        self.ways.iter().map(|way| (way.lane.id.as_str(), &way.notifier))
    }

    /// Who hears of a receiver's alerts where that one cannot be told.
    pub fn fallbacks(&self) -> &Fallbacks {
        &self.fallbacks
    }

    /// The longest that handing over a message by a lane may take.
    pub fn timeout(&self, lane: &str) -> Duration {
        let way = self.ways.iter().find(|way| way.lane.id == lane);
        way.and_then(|way| self.timeouts.get(&way.receiver)).copied().unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Adds the receiver of the watchdog.
    pub(super) fn add_watchdog(&mut self, notifier: WatchdogNotifier, timeout: Duration) {
        self.names.push(WATCHDOG.to_owned());
        self.timeouts.insert(WATCHDOG.to_owned(), timeout);
        let quiet = Spanned { value: false, place: Place::default() };
        self.add(WATCHDOG, 0, Some(&quiet), Some(Arc::new(notifier)));
    }

    /// How many receivers there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// The entries of one receiver.
struct Entries<'a> {
    receivers: &'a mut Receivers,
    receiver: &'a str,
}

impl Entries<'_> {
    /// Adds all of one kind; `build` says whether endings are told, and makes the notifier.
    fn add<C>(
        &mut self,
        entries: &[Spanned<C>],
        mut build: impl FnMut(&C, Place) -> (Option<&Spanned<bool>>, Option<Arc<dyn Notifier>>),
    ) {
        for (n, entry) in entries.iter().enumerate() {
            let (send_resolved, notifier) = build(&entry.value, entry.place);
            self.receivers.add(self.receiver, n, send_resolved, notifier);
        }
    }
}

impl From<&ReceiverConfig> for Place {
    fn from(config: &ReceiverConfig) -> Self {
        config.name.place
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config;

    #[test]
    fn a_receiver_may_hold_several_kinds_and_several_of_a_kind() {
        let text = "global: {smtp_from: v@x.org, smtp_smarthost: 'mail:25'}\n\
            route: {receiver: ops}\nreceivers:\n- name: ops\n  \
            email_configs: [{to: a@x.org}, {to: b@x.org}]\n  \
            ntfy_configs: [{topic: a}, {topic: b}]\n  \
            irc_configs: [{server: h, channel: '#a'}]\n  \
            syslog_configs: [{address: h}]\n  \
            exec_configs: [{command: [/bin/true]}]\n  \
            console_configs: [{send_resolved: false}]\n\
            - name: nobody\n";
        let config = config::parse("f.yml", text, Path::new("."), None).unwrap();
        let mut lanes: Vec<_> = config.receivers.notifiers().map(|(lane, _)| lane).collect();
        lanes.sort_unstable();
        let expected = [
            "ops/console/0",
            "ops/email/0",
            "ops/email/1",
            "ops/exec/0",
            "ops/irc/0",
            "ops/ntfy/0",
            "ops/ntfy/1",
            "ops/syslog/0",
        ];
        assert_eq!(lanes, expected);
        assert_eq!(config.receivers.len(), 2);
    }
}
