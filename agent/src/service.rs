//! What a service needs to work, and whether it has it.
//!
//! Invariant: what is not known counts for nothing: a service is neither up nor down by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::diagnostic::{Diagnostics, Spanned, nearest};
use base::sample::Timestamp;
use probes::Status;
use serde::Deserialize;

use crate::results::Slot;

/// One entry under `services:`, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// The checks that must be well.
    needs: Spanned<Vec<Spanned<String>>>,
    /// What it is, for people.
    #[serde(default)]
    description: String,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The names of the checks that must be well.
    pub needs: Vec<String>,
    /// What it is, for people.
    pub description: String,
}

impl ServiceConfig {
    /// The service called `name`, reporting what it needs and does not exist among `checks`.
    pub fn build(self, name: String, checks: &[String], diagnostics: &mut Diagnostics) -> Service {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            let help = "it is a part of a URL: use letters, digits, `-`, `_` and `.`";
            diagnostics.report_with_help(
                &self.needs,
                format!("`{name}` cannot name a service"),
                help,
            );
        }
        if self.needs.value.is_empty() {
            diagnostics.report(&self.needs, format!("the service `{name}` needs nothing"));
        }
        let mut needs: Vec<String> = Vec::new();
        for need in self.needs.value {
            if needs.contains(&need.value) {
                diagnostics.report(&need, format!("`{}` is needed twice", need.value));
            } else if !checks.contains(&need.value) && !diagnostics.is_partial_in("checks") {
                let message = format!("there is no check `{}`", need.value);
                match nearest(&need.value, checks.iter().map(String::as_str)) {
                    Some(name) => {
                        diagnostics.report_with_help(
                            &need,
                            message,
                            format!("did you mean `{name}`?"),
                        );
                    }
                    None => diagnostics.report(&need, message),
                }
            }
            needs.push(need.value);
        }
        Service { name, needs, description: self.description }
    }
}

/// How it is with a check, or with all that a service needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As it should be.
    Pass,
    /// It has not run yet.
    Pending,
    /// Works, but needs a look; or it failed, and is being tried again.
    Warn,
    /// Does not work, or nobody knows any more.
    Fail,
}

impl Health {
    /// How it is with a check at `now`.
    pub fn of(slot: &Slot, now: Timestamp) -> Self {
        let latest = slot.latest();
        // A run that should have ended long ago says nothing about the present.
        if latest.overdue.is_some_and(|overdue| now > overdue) {
            return Self::Fail;
        }
        match (latest.state.status(), latest.state.is_soft()) {
            (None, _) => Self::Pending,
            (Some(Status::Ok), _) => Self::Pass,
            (Some(Status::Warning), _) | (_, true) => Self::Warn,
            (Some(Status::Critical | Status::Unknown), false) => Self::Fail,
        }
    }

    /// The worst of all; well where there are none.
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max().unwrap_or(Self::Pass)
    }

    /// The word of `application/health+json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Pending | Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// 1 where it works, 0 where it does not, nothing where nobody knows.
    pub fn up(self) -> Option<f64> {
        match self {
            Self::Pass | Self::Warn => Some(1.0),
            Self::Pending => None,
            Self::Fail => Some(0.0),
        }
    }
}

impl Service {
    /// How it is with each thing that it needs.
    pub fn dependencies<'a>(
        &'a self,
        slots: &'a BTreeMap<&str, &Arc<Slot>>,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a Arc<Slot>, Health)> {
        let slots = self.needs.iter().filter_map(|need| slots.get(need.as_str()).copied());
        slots.map(move |slot| (slot, Health::of(slot, now)))
    }
}
