//! Ready mappings: what services say in the shapes that they document.
//!
//! Invariant: a message of a shape that is not known is a fault; one that says neither that something
//! is wrong nor that it is over is taken and changes nothing.

mod alerts;
mod builds;
mod monitors;

use serde_json::Value;

use super::event::Event;

/// Whose shape it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Alertmanager,
    CloudwatchSns,
    Gitlab,
    Grafana,
    Jenkins,
    Logstash,
    Sentry,
    Zabbix,
}

/// What it says, and the part of the message that says it.
pub(super) type Said<'v> = (Event, &'v Value);

impl Kind {
    /// All, as the configuration calls them.
    pub(super) const ALL: [(&'static str, Self); 8] = [
        ("alertmanager", Self::Alertmanager),
        ("cloudwatch_sns", Self::CloudwatchSns),
        ("gitlab", Self::Gitlab),
        ("grafana", Self::Grafana),
        ("jenkins", Self::Jenkins),
        ("logstash", Self::Logstash),
        ("sentry", Self::Sentry),
        ("zabbix", Self::Zabbix),
    ];

    /// What `body` says. `resource` is what a header of Sentry's says that it is about.
    ///
    /// # Errors
    ///
    /// It has not the shape.
    pub(super) fn read<'v>(self, body: &'v Value, resource: &str) -> Result<Vec<Said<'v>>, String> {
        let one = |event: Result<Event, String>| Ok(vec![(event?, body)]);
        match self {
            Self::Alertmanager | Self::Grafana => alerts::all(body),
            Self::CloudwatchSns => one(monitors::cloudwatch(body)),
            Self::Gitlab => one(builds::gitlab(body)),
            Self::Jenkins => one(builds::jenkins(body)),
            Self::Logstash => match body {
                Value::Array(events) => {
                    events.iter().map(|event| Ok((monitors::logstash(event)?, event))).collect()
                }
                event => one(monitors::logstash(event)),
            },
            Self::Sentry => one(alerts::sentry(body, resource)),
            Self::Zabbix => one(monitors::zabbix(body)),
        }
    }
}

/// A message that is not of the shape that it should have.
fn unlike(service: &str, lacks: &str) -> String {
    format!("this is no message of {service}: {lacks} is missing")
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::event::Status;
    use super::*;

    /// What a message says, as `status {labels} key url`, its texts after it.
    #[track_caller]
    pub(crate) fn check(kind: Kind, resource: &str, body: &Value, expected: &[&str]) {
        let said = match kind.read(body, resource) {
            Err(error) => vec![error],
            Ok(said) => said.iter().map(|(event, _)| shown(event)).collect(),
        };
        assert_eq!(said, expected, "{body:#}");
    }

    fn shown(event: &Event) -> String {
        if event.status == Status::Neither {
            return "nothing".to_owned();
        }
        let status = if event.status == Status::Firing { "firing" } else { "resolved" };
        let texts: Vec<_> = event.alert_texts().unwrap().into_iter().collect();
        let texts: Vec<_> = texts.iter().map(|(name, text)| format!("{name}: {text}")).collect();
        let labels = event.alert_labels("s").unwrap();
        let times =
            [event.starts_at, event.ends_at].map(|at| at.map_or(0, |at| at.millis() / 1000));
        format!("{status} {labels} {} {times:?} {}", event.link(), texts.join("; "))
    }
}
