//! Limits on the numbers that an application gives for its components.
//!
//! Invariant: a component whose number is over its limit is a leaf that is not well, and one that
//! shows no number is told: it is not held to be well.

use std::collections::{BTreeMap, BTreeSet};

use crate::thresholds::Thresholds;
use crate::{Component, Measurement, Reason, Status, Tree};

/// What limits say of a page.
#[derive(Debug)]
pub(super) struct Held {
    /// The worst that a number is.
    pub(super) status: Status,
    /// The numbers that have limits, by the paths of their components.
    pub(super) measurements: Vec<Measurement>,
    /// The paths that have limits and no number.
    pub(super) missing: Vec<String>,
}

/// Holds the numbers of components against `limits`, which are told by path, and marks those that
/// are over them.
pub(super) fn hold(tree: &mut Tree, limits: &BTreeMap<String, Thresholds>) -> Held {
    let mut held = Held { status: Status::Ok, measurements: Vec::new(), missing: Vec::new() };
    if limits.is_empty() {
        return held;
    }
    let mut seen = BTreeSet::new();
    hold_all(&mut tree.components, "", limits, &mut held, &mut seen);
    held.missing = limits.keys().filter(|path| !seen.contains(*path)).cloned().collect();
    held
}

fn hold_all(
    components: &mut [Component],
    above: &str,
    limits: &BTreeMap<String, Thresholds>,
    held: &mut Held,
    seen: &mut BTreeSet<String>,
) {
    for component in components {
        let path = match above {
            "" => component.name.clone(),
            above => format!("{above}/{}", component.name),
        };
        hold_all(&mut component.parts, &path, limits, held, seen);
        let Some((thresholds, (value, unit))) = limits.get(&path).zip(component.value.as_ref())
        else {
            continue;
        };
        held.measurements.push(thresholds.measurement(&path, *value, unit));
        let (status, text) = thresholds.told("value", *value, unit);
        held.status = held.status.worse(status);
        // One of which the page does not say how it is, is as its number is.
        let own = match component.status {
            Status::Unknown => Status::Ok,
            own => own,
        };
        component.status = own.worse(status);
        if let Some(text) = text.filter(|_| component.status != own) {
            // What the page itself says of it comes behind.
            let said = [text, std::mem::take(&mut component.output)];
            component.output = said.join("; ").trim_end_matches("; ").to_owned();
            component.reason = Reason::Threshold;
        } else if own == Status::Ok {
            component.reason = Reason::None;
        }
        seen.insert(path);
    }
}
