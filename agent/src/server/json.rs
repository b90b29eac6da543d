//! The health of everything, or of one service, and its form in JSON: `application/health+json` as
//! draft-inadarei-api-health-check has it.
//!
//! Invariant: the page for people and the JSON are made of one [`Report`].

use std::collections::BTreeMap;
use std::sync::Arc;

use base::http::StatusCode;
use base::sample::Timestamp;
use probes::Reason;
use serde_json::{Map, Value, json};

use super::Shown;
use crate::results::{Latest, Slot};
use crate::service::{Health, Service};

/// The type of a health report.
pub(super) const CONTENT_TYPE: &str = "application/health+json; charset=utf-8";

/// How it is.
pub(super) struct Report {
    /// All in all.
    pub(super) health: Health,
    /// What is wrong that no check says.
    pub(super) notes: Vec<String>,
    pub(super) checks: Vec<Entry>,
    pub(super) services: Vec<ServiceEntry>,
    description: String,
}

/// How it is with a check.
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) health: Health,
    pub(super) latest: Latest,
    pub(super) max_attempts: u32,
    /// Whether a result is missing that should be in.
    pub(super) is_overdue: bool,
}

/// How it is with a service.
pub(super) struct ServiceEntry {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) health: Health,
    /// What it needs.
    pub(super) needs: Vec<(Arc<str>, Health)>,
}

impl Report {
    /// How it is with all checks and services.
    pub(super) fn of_all(shown: &Shown, now: Timestamp) -> Self {
        let slots = shown.results.slots();
        let by_name: BTreeMap<String, &Arc<Slot>> =
            slots.iter().map(|slot| (slot.check().name.to_string(), slot)).collect();
        let by_name: BTreeMap<&str, &Arc<Slot>> =
            by_name.iter().map(|(name, slot)| (name.as_str(), *slot)).collect();
        let checks: Vec<_> = slots.iter().map(|slot| Entry::of(slot, now)).collect();
        let services = shown.services.load();
        let services = services.iter().map(|service| ServiceEntry::of(service, &by_name, now));
        let mut notes = Vec::clone(&shown.missed.load());
        let mut health = Health::worst(checks.iter().map(|check| check.health));
        let reload = shown.reload();
        if let Some(faults) = &reload.faults {
            notes.push(format!(
                "the configuration {} failed, the one before is in use:\n{faults}",
                reload.source
            ));
            health = health.max(Health::Warn);
        }
        if let Some(fault) = shown.uplink.get().and_then(|uplink| uplink.fault()) {
            notes.push(fault);
            health = health.max(Health::Warn);
        }
        let description = "health of what this agent looks at".to_owned();
        Self { health, notes, checks, services: services.collect(), description }
    }

    /// How it is with one service.
    pub(super) fn of_service(shown: &Shown, service: &Service, now: Timestamp) -> Self {
        let slots = shown.results.slots();
        let needs =
            |slot: &&Arc<Slot>| service.needs.iter().any(|need| **need == *slot.check().name);
        let checks: Vec<_> = slots.iter().filter(needs).map(|slot| Entry::of(slot, now)).collect();
        let health = Health::worst(checks.iter().map(|check| check.health));
        let description = match service.description.as_str() {
            "" => format!("health of {}", service.name),
            description => description.to_owned(),
        };
        Self { health, notes: Vec::new(), checks, services: Vec::new(), description }
    }

    /// The status to answer with: a load balancer looks at nothing else.
    pub(super) fn code(&self) -> StatusCode {
        match self.health {
            Health::Fail => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        }
    }

    /// The document.
    pub(super) fn to_json(&self, now: Timestamp) -> String {
        let mut checks = Map::new();
        for entry in &self.checks {
            entry.add_to(&mut checks);
        }
        let mut document = json!({
            "status": self.health.as_str(),
            "version": "1",
            "releaseId": env!("CARGO_PKG_VERSION"),
            "description": self.description,
            "time": rfc3339(now),
            "checks": checks,
        });
        if !self.notes.is_empty() {
            document["notes"] = json!(self.notes);
        }
        if !self.services.is_empty() {
            let services = self.services.iter().map(|service| {
                let needs: Map<_, _> = service
                    .needs
                    .iter()
                    .map(|(name, health)| (name.to_string(), json!(health.as_str())))
                    .collect();
                let status = service.health.as_str();
                let value = json!({
                    "status": status, "description": service.description, "needs": needs,
                });
                (service.name.clone(), value)
            });
            document["services"] = Value::Object(services.collect());
        }
        let mut text = format!("{document:#}");
        text.push('\n');
        text
    }
}

impl Entry {
    fn of(slot: &Slot, now: Timestamp) -> Self {
        let (check, latest) = (slot.check(), slot.latest());
        let is_overdue = latest.overdue.is_some_and(|overdue| now > overdue);
        let health = Health::of(slot, now);
        Self {
            name: Arc::clone(&check.name),
            health,
            latest,
            max_attempts: check.max_attempts,
            is_overdue,
        }
    }

    /// Why it is so.
    pub(super) fn reason(&self) -> Reason {
        self.latest.result.as_ref().map_or(Reason::NeverRun, |result| result.outcome.reason)
    }

    /// What is to be said of it in one line.
    pub(super) fn summary(&self) -> &str {
        self.latest.result.as_ref().map_or("has not run yet", |result| &result.outcome.summary)
    }

    /// Adds the check, and beside it each number that it measured as `name:label`.
    fn add_to(&self, checks: &mut Map<String, Value>) {
        let mut entry = json!({
            "componentType": "component",
            "status": self.health.as_str(),
            "observedValue": self.latest.status().as_str(),
            "reason": self.reason().as_str(),
            "attempt": self.latest.state.attempt(),
            "maxAttempts": self.max_attempts,
        });
        if self.health != Health::Pass {
            entry["output"] = json!(self.output());
        }
        let Some(result) = &self.latest.result else {
            checks.insert(self.name.to_string(), json!([entry]));
            return;
        };
        let time = rfc3339(result.started);
        entry["time"] = json!(time);
        entry["durationSeconds"] = json!(result.duration.as_secs_f64());
        if let Some(hard) = self.latest.state.hard() {
            entry["hardStatus"] = json!(hard.as_str());
        }
        checks.insert(self.name.to_string(), json!([entry]));
        for measurement in &result.outcome.measurements {
            if measurement.value.is_finite() {
                let key = format!("{}:{}", self.name, measurement.label);
                let value = json!([{
                    "componentType": "component",
                    "observedValue": measurement.value,
                    "observedUnit": measurement.unit,
                    "time": time,
                }]);
                checks.entry(key).or_insert(value);
            }
        }
    }

    fn output(&self) -> String {
        let details = self.latest.result.as_ref().map_or("", |result| &result.outcome.details);
        let mut output = self.summary().to_owned();
        if self.is_overdue {
            output = format!("no result for too long; the last was: {output}");
        }
        if !details.is_empty() {
            output.push('\n');
            output.push_str(details);
        }
        output
    }
}

impl ServiceEntry {
    fn of(service: &Service, slots: &BTreeMap<&str, &Arc<Slot>>, now: Timestamp) -> Self {
        let needs: Vec<_> = service
            .dependencies(slots, now)
            .map(|(slot, health)| (Arc::clone(&slot.check().name), health))
            .collect();
        Self {
            name: service.name.clone(),
            description: service.description.clone(),
            health: Health::worst(needs.iter().map(|(_, health)| *health)),
            needs,
        }
    }
}

/// The time as RFC 3339 writes it, in UTC.
pub(super) fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.millis())
        .map_or_else(|_| String::new(), |t| t.to_string())
}
