//! What a service needs to work: checks, other services, and health pages of other hosts.
//!
//! ```text
//! written: a name, or the address of a page ─▶ Need ─▶ Tree: a node each, with its health and why
//! ```
//!
//! Invariant: no service needs itself, by whatever way; where one does, the configuration is wrong.

mod cycle;
mod health;
mod tree;

pub use health::Health;
pub use tree::{Forest, Kind, Node};

use std::collections::{BTreeMap, BTreeSet};

use base::diagnostic::{Diagnostics, Place, Spanned, nearest};
use serde::Deserialize;

/// The most services that stand on one another.
const MAX_LEVELS: usize = 32;

/// One entry under `services:`, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// What must be well: checks and services by their names, health pages by their addresses.
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
    /// What must be well.
    pub needs: Vec<Need>,
    /// What it is, for people.
    pub description: String,
}

/// Something that a service needs, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A check; one of a page is named by the page's address.
    Check(String),
    /// Another service.
    Service(String),
}

/// The services as written, by name.
pub type ServiceConfigs = BTreeMap<String, Spanned<ServiceConfig>>;

/// The addresses of pages that services need and that are not names of `checks`, each once.
pub fn pages(services: &ServiceConfigs, checks: &BTreeSet<String>) -> Vec<Spanned<String>> {
    let needs = services.values().flat_map(|service| &service.value.needs.value);
    let pages = needs.filter(|need| is_page(&need.value) && !checks.contains(&need.value));
    let mut pages: Vec<_> = pages.cloned().collect();
    pages.sort_by(|a, b| (&a.value, a.place).cmp(&(&b.value, b.place)));
    pages.dedup_by(|a, b| a.value == b.value);
    pages
}

fn is_page(need: &str) -> bool {
    need.starts_with("http://") || need.starts_with("https://")
}

/// The services, each behind those that it needs, reporting everything that is wrong with them.
/// `checks` are the names of all checks.
pub fn build(
    services: ServiceConfigs,
    checks: &BTreeSet<String>,
    diagnostics: &mut Diagnostics,
) -> Vec<Service> {
    let names: BTreeSet<String> = services.keys().cloned().collect();
    let mut built = Vec::with_capacity(services.len());
    let mut places = Vec::with_capacity(services.len());
    for (name, service) in services {
        check_name(&name, &service.value.needs, diagnostics);
        places.push(service.value.needs.value.iter().map(|need| need.place).collect());
        built.push(service.value.build(name, &names, checks, diagnostics));
    }
    in_order(built, &places, diagnostics)
}

fn check_name<T>(name: &str, at: &Spanned<T>, diagnostics: &mut Diagnostics) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        let help = "it is a part of a URL: use letters, digits, `-`, `_` and `.`";
        diagnostics.report_with_help(at, format!("`{name}` cannot name a service"), help);
    }
}

impl ServiceConfig {
    fn build(
        self,
        name: String,
        services: &BTreeSet<String>,
        checks: &BTreeSet<String>,
        diagnostics: &mut Diagnostics,
    ) -> Service {
        if self.needs.value.is_empty() {
            diagnostics.report(&self.needs, format!("the service `{name}` needs nothing"));
        }
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut needs = Vec::with_capacity(self.needs.value.len());
        for need in &self.needs.value {
            let text = need.value.as_str();
            if !seen.insert(text) {
                diagnostics.report(need, format!("`{text}` is needed twice"));
            }
            match (checks.contains(text), services.contains(text)) {
                // One that is called as the service itself can only be the check.
                (true, true) if text != name => {
                    let message = format!("`{text}` is a check and a service");
                    let help = "give one of them another name";
                    diagnostics.report_with_help(need, message, help);
                }
                (false, false) => unknown(need, services, checks, diagnostics),
                _ => {}
            }
            needs.push(match checks.contains(text) {
                false if services.contains(text) => Need::Service(text.to_owned()),
                _ => Need::Check(text.to_owned()),
            });
        }
        Service { name, needs, description: self.description }
    }
}

fn unknown(
    need: &Spanned<String>,
    services: &BTreeSet<String>,
    checks: &BTreeSet<String>,
    diagnostics: &mut Diagnostics,
) {
    // What could not be read may be there.
    if diagnostics.is_partial_in("checks") || diagnostics.is_partial_in("services") {
        return;
    }
    let message = format!("there is no check or service `{}`", need.value);
    let known = checks.iter().chain(services).map(String::as_str);
    match nearest(&need.value, known) {
        Some(name) => {
            diagnostics.report_with_help(need, message, format!("did you mean `{name}`?"));
        }
        None => diagnostics.report(need, message),
    }
}

/// The services in the order in which they stand on one another; `places` are those of their needs.
fn in_order(
    services: Vec<Service>,
    places: &[Vec<Place>],
    diagnostics: &mut Diagnostics,
) -> Vec<Service> {
    let index: BTreeMap<&str, usize> =
        services.iter().enumerate().map(|(n, service)| (service.name.as_str(), n)).collect();
    let edges: Vec<Vec<(usize, Place)>> = services
        .iter()
        .zip(places)
        .map(|(service, places)| {
            let needs = service.needs.iter().zip(places);
            let needs = needs.filter_map(|(need, place)| match need {
                Need::Service(name) => Some((*index.get(name.as_str())?, *place)),
                Need::Check(_) => None,
            });
            needs.collect()
        })
        .collect();
    let found = cycle::order(&edges);
    for circle in &found.circles {
        let names: Vec<_> = circle.nodes.iter().map(|n| services[*n].name.as_str()).collect();
        let message = format!("`{}` needs itself: {}", names[0], names.join(" → "));
        let help = "take one of these needs out: a circle has no first cause";
        diagnostics.report_with_help(circle.closed_at, message, help);
    }
    if let Some((node, place)) = found.deeper_than(MAX_LEVELS, &edges) {
        let message =
            format!("`{}` stands on more than {MAX_LEVELS} services", services[node].name);
        diagnostics.report(place, message);
    }
    let mut services: Vec<Option<Service>> = services.into_iter().map(Some).collect();
    found.order.into_iter().filter_map(|n| services[n].take()).collect()
}
