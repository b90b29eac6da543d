//! Reading an application's own health page: every component of it becomes a metric and a node of
//! the health tree.
//!
//! ```yaml
//! health:
//!   url: http://shop.example:8080/actuator/health
//!   format: spring              # auto, health_json, spring, aspnet, microprofile, kubernetes
//!   ignore: [diskSpace]         # components by name or path that count for nothing
//!   components: {'db:latency': {warn: 100, crit: 500}}    # their numbers
//!   thresholds: {seconds: {warn: 1}}
//! ```
//!
//! ```text
//! page ─▶ format (text or JSON) ─▶ Tree ─▶ leave out what leads back, what is ignored ─▶ Outcome
//! ```
//!
//! Invariant: a page that cannot be read as a health page is never held to be well, whatever its
//! HTTP status.

mod format;
mod json;
mod ours;
mod identity;
mod limits;

pub use format::Format;
pub use identity::identity;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::family::MetricFamily;
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use self::format::{Said, read};
use crate::http::config::{AuthorizationConfig, BasicAuthConfig, OAuth2Config};
use crate::http::page::{Page, PageConfig, Visit};
use crate::script::ByteSize;
use crate::thresholds::{LimitsConfig, Thresholds, ThresholdsConfig};
use crate::{Component, Outcome, Probe, Reason, Status, Tree};

/// How much of a page is read where nothing is said.
const BODY_LIMIT: ByteSize = ByteSize(1 << 20);
/// What we would like to read.
const ACCEPT: &str = "application/health+json, application/json;q=0.9, text/plain;q=0.5, */*;q=0.1";
/// How many broken parts are told in the details.
const MOST_TOLD: usize = 50;
/// The longest path of a component as a label value, in bytes.
const MAX_PATH: usize = 256;

/// A health probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// The page: an absolute `http` or `https` URL.
    url: Spanned<String>,
    /// Which form the page has; found out where nothing is said.
    #[serde(default)]
    format: Format,
    /// Components that count for nothing, by their names or paths.
    #[serde(default)]
    ignore: Vec<String>,
    /// Further headers of the request.
    #[serde(default)]
    headers: BTreeMap<String, Spanned<Secret>>,
    /// Who we are, by name and password.
    #[serde(default)]
    basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// Who we are, by a token.
    #[serde(default)]
    authorization: Option<Spanned<AuthorizationConfig>>,
    /// Who we are, by a token that is asked for.
    #[serde(default)]
    oauth2: Option<Spanned<OAuth2Config>>,
    /// Whom to trust, and who we are.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// How much of the page is read; `1MiB` where nothing is said.
    #[serde(default)]
    body_limit: Option<Spanned<ByteSize>>,
    /// Limits on the numbers that components show, by their paths; one that shows none is unknown.
    #[serde(default)]
    components: BTreeMap<String, Spanned<ThresholdsConfig>>,
    /// Limits on `seconds`, the phases, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Reads an application's health page.
#[derive(Debug)]
pub struct HealthProbe {
    page: Page,
    format: Format,
    ignore: Vec<String>,
    /// Of the numbers of components, by path.
    limits: BTreeMap<String, Thresholds>,
    /// What our own pages call us.
    ourselves: String,
}

impl HealthConfig {
    /// The page at `url`, with nothing else said.
    pub fn of(url: Spanned<String>) -> Self {
        Self {
            url,
            format: Format::Auto,
            ignore: Vec::new(),
            headers: BTreeMap::new(),
            basic_auth: None,
            authorization: None,
            oauth2: None,
            tls: None,
            body_limit: None,
            components: BTreeMap::new(),
            thresholds: LimitsConfig::new(),
        }
    }

    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<HealthProbe> {
        let limits = self.components.iter();
        let limits = limits.map(|(path, limits)| (path.clone(), limits.value.build(diagnostics)));
        let limits = limits.collect();
        let page = PageConfig {
            url: self.url,
            headers: self.headers,
            basic_auth: self.basic_auth,
            authorization: self.authorization,
            oauth2: self.oauth2,
            tls: self.tls,
            body_limit: self.body_limit,
            thresholds: self.thresholds,
        };
        let page = page.build("health", ACCEPT, BODY_LIMIT, diagnostics)?;
        let (format, ignore, ourselves) = (self.format, self.ignore, identity());
        Some(HealthProbe { page, format, ignore, limits, ourselves })
    }
}

#[async_trait]
impl Probe for HealthProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let mut outcome = self.page.look(stop, |visit| self.judge(visit)).await;
        let (status, reason, said) = (outcome.status, outcome.reason, outcome.summary.clone());
        add_itself(&mut outcome.tree, status, reason, said);
        outcome
    }
}

impl HealthProbe {
    fn judge(&self, visit: &Visit<'_>) -> Outcome {
        let good = (200..300).contains(&visit.status);
        let mut said = match read(&visit.body, &visit.content_type, self.format) {
            Ok(said) => said,
            Err((_, why)) if !good => {
                let summary = format!("HTTP status {}, and no health page: {why}", visit.status);
                return Outcome::critical(Reason::HttpStatus, summary);
            }
            Err((reason, why)) => return Outcome::critical(reason, why),
        };
        if said.tree.agent.as_deref() == Some(&self.ourselves) {
            let summary = "the page is our own; name the service itself under `needs`";
            return Outcome::unknown(Reason::LeadsBack, summary);
        }
        said.tree.leave_out(&self.ourselves);
        let ignored = ignore(&mut said.tree.components, "", &self.ignore);
        let by_parts = said.tree.standing();
        // A page of ours has its truth in its leaves, and the page's own word is not true any more
        // where a part is ignored.
        let (status, reason) = match said.tree.agent.is_some() || ignored {
            true => (by_parts, Reason::ComponentFailed),
            false => own_word(&said, by_parts, good),
        };
        let held = limits::hold(&mut said.tree, &self.limits);
        let (status, reason) = match status.worse(held.status) {
            Status::Ok => (Status::Ok, Reason::None),
            worse if worse != status => (worse, Reason::Threshold),
            _ => (status, reason),
        };
        let mut outcome = describe(said, status, reason, visit.status);
        outcome.measurements = held.measurements;
        if let Some(path) = held.missing.first() {
            let why = format!("no component `{path}` shows a number");
            outcome.worsen(Status::Unknown, Reason::AnswerMismatch, &why);
        }
        outcome
    }
}

/// How it is by the page's own word, beside its parts and its HTTP status.
fn own_word(said: &Said, by_parts: Status, good: bool) -> (Status, Reason) {
    match (said.status, good) {
        (Some(Status::Critical), _) => (Status::Critical, Reason::ComponentFailed),
        (_, false) => (Status::Critical, Reason::HttpStatus),
        (Some(Status::Ok), true) if by_parts == Status::Ok => (Status::Ok, Reason::None),
        // It works by its own word, although a part of it does not; or its word is not known.
        (_, true) => (Status::Warning, Reason::ComponentFailed),
    }
}

/// The outcome with its text, its numbers and its tree.
fn describe(mut said: Said, status: Status, reason: Reason, code: u16) -> Outcome {
    let itself = match said.output.as_str() {
        "" => format!("the page says `{}`, with HTTP status {code}", said.word),
        output => output.to_owned(),
    };
    let mut outcome = Outcome::new(status, reason, itself.clone());
    let mut count = 0_usize;
    said.tree.visit(&mut |_, component| count += usize::from(component.parts.is_empty()));
    add_itself(&mut said.tree, status, reason, itself);
    match said.tree.culprit() {
        Some((path, culprit)) if status != Status::Ok => {
            if said.tree.agent.is_some() {
                outcome.reason = culprit.reason;
            }
            outcome.summary = line(&path, culprit);
            outcome.details = broken(&said.tree);
        }
        _ if status == Status::Ok && count > 0 => {
            let are = if count == 1 { "component is" } else { "components are" };
            outcome.summary = format!("{count} {are} well");
        }
        _ => {}
    }
    outcome.families = families(&said.tree);
    outcome.tree = Box::new(said.tree);
    outcome
}

/// The truth is in the leaves: where there are some, and none is as bad as the page, the page itself
/// is one, of which `said` is to be said.
fn add_itself(tree: &mut Tree, status: Status, reason: Reason, said: String) {
    if !tree.components.is_empty() && tree.standing().worse(status) != tree.standing() {
        tree.components.push(Component { reason, ..Component::new("itself", status, said) });
    }
}

/// What is wrong with a part, in a line.
fn line(path: &str, component: &Component) -> String {
    match component.output.as_str() {
        "" => format!("{path} is not well"),
        output => format!("{path}: {output}"),
    }
}

/// A line for each leaf that is not well.
fn broken(tree: &Tree) -> String {
    let mut lines = Vec::new();
    tree.visit(&mut |path, component| {
        let is_broken = matches!(component.status, Status::Critical | Status::Warning);
        if component.parts.is_empty() && is_broken && lines.len() < MOST_TOLD {
            lines.push(format!("{}: {}", component.status, line(path, component)));
        }
    });
    lines.join("\n")
}

/// Takes out the components that are named. Returns whether there were any.
fn ignore(components: &mut Vec<Component>, above: &str, names: &[String]) -> bool {
    let before = components.len();
    let path = |component: &Component| match above {
        "" => component.name.clone(),
        above => format!("{above}/{}", component.name),
    };
    components.retain(|component| {
        let path = path(component);
        !names.iter().any(|name| *name == component.name || *name == path)
    });
    let mut some = components.len() < before;
    // One whose parts are all ignored has nothing left to say.
    components.retain_mut(|component| {
        let had_parts = !component.parts.is_empty();
        let path = path(component);
        some |= ignore(&mut component.parts, &path, names);
        !had_parts || !component.parts.is_empty()
    });
    some
}

/// Every component as a metric.
fn families(tree: &Tree) -> Vec<MetricFamily> {
    let help = "How a component is by its application's own word: 0 ok, 1 warning, 2 critical, \
                3 unknown.";
    let mut statuses = MetricFamily::gauge("veilleur_health_component_status", help);
    let help = "A number that an application gives for a component.";
    let mut values = MetricFamily::gauge("veilleur_health_component_value", help);
    let mut seen: HashMap<String, u32> = HashMap::new();
    tree.visit(&mut |path, component| {
        let end = (0..=MAX_PATH.min(path.len())).rev().find(|at| path.is_char_boundary(*at));
        let mut path = path[..end.unwrap_or(0)].to_owned();
        let times = seen.entry(path.clone()).or_default();
        *times += 1;
        if *times > 1 {
            // Writing to a string does not fail.
            let _ = write!(path, "#{times}");
        }
        let status = match component.parts.is_empty() {
            true => component.status,
            false => component.standing(),
        };
        statuses.add(&[("component", &path)], f64::from(status.code()));
        if let Some((value, unit)) = &component.value {
            values.add(&[("component", &path), ("unit", unit)], *value);
        }
    });
    let mut families = vec![statuses, values];
    families.retain(|family| !family.samples.is_empty());
    families
}
