//! The rules of the text format 0.0.4 that a scrape does not enforce.
//!
//! Invariant: it remembers families by name, never samples.

use std::collections::HashMap;

use super::{Broken, take_apart};
use crate::exposition::Entry;
use crate::family::MetricKind;

#[derive(Debug, Default)]
pub(super) struct TextRules {
    families: HashMap<String, Family>,
}

#[derive(Debug, Default)]
struct Family {
    help: bool,
    kind: Option<MetricKind>,
    sampled: bool,
}

impl TextRules {
    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Broken> {
        match entry {
            Entry::Help { name, text } => {
                // `# HELP name` without a text says nothing and may come again.
                let family = self.families.entry(name.to_string()).or_default();
                if !text.is_empty() && std::mem::replace(&mut family.help, true) {
                    return Err(format!("`{name}` has a second HELP").into());
                }
            }
            Entry::Type { name, kind } => {
                let family = self.families.entry(name.to_string()).or_default();
                if family.sampled {
                    return Err(format!("the TYPE of `{name}` comes after its samples").into());
                }
                if family.kind.replace(*kind).is_some() {
                    return Err(format!("`{name}` has a second TYPE").into());
                }
            }
            Entry::Unit { .. }
            | Entry::Comment(_)
            | Entry::Output { .. }
            | Entry::Histogram(..) => {}
            Entry::Sample(sample) => {
                let taken = take_apart(sample, true)?;
                let (kind, suffix) = self.owner(&taken.name);
                let bound = match kind {
                    MetricKind::Histogram | MetricKind::GaugeHistogram => "le",
                    MetricKind::Summary => "quantile",
                    _ => "",
                };
                if taken.label(bound).is_some_and(|text| text.parse::<f64>().is_err()) {
                    return Err(format!("`{bound}` is not a number").into());
                }
                if kind == MetricKind::Histogram
                    && matches!(suffix, "_bucket" | "_count")
                    && sample.value < 0.0
                {
                    return Err(format!("`{}` cannot be negative", taken.name).into());
                }
            }
        }
        Ok(())
    }

    /// The kind of the family that a sample of `name` belongs to, and the suffix.
    fn owner(&mut self, name: &str) -> (MetricKind, &'static str) {
        for suffix in ["_bucket", "_sum", "_count"] {
            let Some(family) = name.strip_suffix(suffix).and_then(|n| self.families.get_mut(n))
            else {
                continue;
            };
            let kind = family.kind.unwrap_or_default();
            let has = match kind {
                MetricKind::Histogram | MetricKind::GaugeHistogram => true,
                MetricKind::Summary => suffix != "_bucket",
                _ => false,
            };
            if has {
                family.sampled = true;
                return (kind, suffix);
            }
        }
        let family = self.families.entry(name.to_owned()).or_default();
        family.sampled = true;
        (family.kind.unwrap_or_default(), "")
    }
}
