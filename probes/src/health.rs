//! Reading an application's own health page: every component of it becomes a metric and a node of
//! the health tree.
//!
//! ```yaml
//! health:
//!   url: http://shop.example:8080/actuator/health
//!   format: spring              # auto, health_json, spring, aspnet, microprofile, kubernetes
//!   ignore: [diskSpace]         # components by name or path that count for nothing
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
use crate::http::BasicAuthConfig;
use crate::page::{Page, PageConfig, Visit};
use crate::script::ByteSize;
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
    /// Who we are.
    #[serde(default)]
    basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// Whom to trust, and who we are.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// How much of the page is read; `1MiB` where nothing is said.
    #[serde(default)]
    body_limit: Option<Spanned<ByteSize>>,
}

/// Reads an application's health page.
#[derive(Debug)]
pub struct HealthProbe {
    page: Page,
    format: Format,
    ignore: Vec<String>,
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
            tls: None,
            body_limit: None,
        }
    }

    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<HealthProbe> {
        let (url, headers, basic_auth) = (self.url, self.headers, self.basic_auth);
        let (tls, body_limit) = (self.tls, self.body_limit);
        let page = PageConfig { url, headers, basic_auth, tls, body_limit };
        let page = page.build(ACCEPT, BODY_LIMIT, diagnostics)?;
        Some(HealthProbe { page, format: self.format, ignore: self.ignore, ourselves: identity() })
    }
}

#[async_trait]
impl Probe for HealthProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        self.page.look(stop, |visit| self.judge(visit)).await
    }
}

impl HealthProbe {
    fn judge(&self, visit: &Visit) -> Outcome {
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
        let reason = if status == Status::Ok { Reason::None } else { reason };
        describe(said, status, reason, visit.status)
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
    // The truth is in the leaves: where none is as bad as the page, the page itself is one.
    if count > 0 && said.tree.standing().worse(status) != said.tree.standing() {
        let leaf = Component { reason, ..Component::new("itself", status, itself.clone()) };
        said.tree.components.push(leaf);
    }
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
