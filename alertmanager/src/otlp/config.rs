//! `otlp:`, under Prometheus's names.
//!
//! Invariant: whatever is written here is done, or refused.

use base::diagnostic::{Diagnostics, Spanned};
use serde::Deserialize;

use super::names::{Labelled, Strategy};

/// The section, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    promote_all_resource_attributes: bool,
    promote_resource_attributes: Vec<Spanned<String>>,
    ignore_resource_attributes: Vec<Spanned<String>>,
    translation_strategy: Option<Spanned<String>>,
    keep_identifying_resource_attributes: bool,
    convert_histograms_to_nhcb: bool,
    promote_scope_metadata: bool,
    /// On where nothing is said, as is the next.
    label_name_underscore_sanitization: Option<bool>,
    label_name_preserve_multiple_underscores: Option<bool>,
}

/// How samples are made of what comes in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// How names are made.
    pub(super) strategy: Strategy,
    /// How those of labels are, besides.
    pub(super) labelled: Labelled,
    pub(super) promoted: Promoted,
    /// Whether `target_info` has the attributes that are in `job` and `instance` anyway.
    pub(super) keeps_identifying: bool,
    /// Whether histograms become native ones with the same bounds.
    pub(super) native_histograms: bool,
    /// Whether each series has the name and the attributes of the library that measured it.
    pub(super) promotes_scope: bool,
}

/// Which attributes of a resource each of its series has.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Promoted {
    /// These.
    Only(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
}

impl Default for Promoted {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

impl Promoted {
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Only(names) => names.iter().any(|known| known == name),
            Self::AllBut(names) => !names.iter().any(|known| known == name),
        }
    }
}

impl OtlpConfig {
    /// What is meant.
    pub(crate) fn build(&self, diagnostics: &mut Diagnostics) -> Options {
        let names = |list: &[Spanned<String>], what: &str, diagnostics: &mut Diagnostics| {
            let mut names: Vec<String> = Vec::new();
            for name in list {
                if name.value.is_empty() {
                    diagnostics.report(name, format!("`{what}` has an empty name"));
                } else if names.contains(&name.value) {
                    diagnostics.report(name, format!("`{what}` has `{}` twice", name.value));
                }
                names.push(name.value.clone());
            }
            names
        };
        let wanted =
            names(&self.promote_resource_attributes, "promote_resource_attributes", diagnostics);
        let ignored =
            names(&self.ignore_resource_attributes, "ignore_resource_attributes", diagnostics);
        let all = self.promote_all_resource_attributes;
        if let Some(first) = self.promote_resource_attributes.first().filter(|_| all) {
            let message = "`promote_all_resource_attributes` is on, so none need be named";
            diagnostics.report_with_help(first, message, "take out one of the two");
        }
        if let Some(first) = self.ignore_resource_attributes.first().filter(|_| !all) {
            let message = "`ignore_resource_attributes` needs `promote_all_resource_attributes`";
            diagnostics.report(first, message);
        }
        let written = self.translation_strategy.as_ref().filter(|text| !text.value.is_empty());
        let strategy = written.and_then(|text| {
            let strategy = Strategy::named(&text.value);
            if strategy.is_none() {
                let message = format!("`{}` is no `translation_strategy`", text.value);
                diagnostics.report_with_help(
                    text,
                    message,
                    format!("known: {}", Strategy::known()),
                );
            }
            strategy
        });
        Options {
            strategy: strategy.unwrap_or_default(),
            labelled: Labelled {
                prefixes: self.label_name_underscore_sanitization.unwrap_or(true),
                keeps_runs: self.label_name_preserve_multiple_underscores.unwrap_or(true),
            },
            promoted: if all { Promoted::AllBut(ignored) } else { Promoted::Only(wanted) },
            keeps_identifying: self.keep_identifying_resource_attributes,
            native_histograms: self.convert_histograms_to_nhcb,
            promotes_scope: self.promote_scope_metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told() {
        let check = |yaml: &str, expected: &str| {
            let mut diagnostics = Diagnostics::new("f.yml");
            let config: Option<OtlpConfig> = base::yaml::read(yaml, &mut diagnostics);
            config.unwrap().build(&mut diagnostics);
            assert_eq!(diagnostics.to_string(), expected, "{yaml}");
        };
        check("{translation_strategy: NoTranslation, promote_resource_attributes: [a]}", "");
        check("{promote_all_resource_attributes: true, ignore_resource_attributes: [a]}", "");
        check(
            "promote_resource_attributes: ['', a, a]\nignore_resource_attributes: [b]\n\
             translation_strategy: Other\n",
            "f.yml:1:31: `promote_resource_attributes` has an empty name\n\
             f.yml:1:38: `promote_resource_attributes` has `a` twice\n\
             f.yml:2:30: `ignore_resource_attributes` needs `promote_all_resource_attributes`\n\
             f.yml:3:23: `Other` is no `translation_strategy`\n  \
             help: known: `UnderscoreEscapingWithSuffixes`, `UnderscoreEscapingWithoutSuffixes`, \
             `NoUTF8EscapingWithSuffixes`, `NoTranslation`",
        );
    }
}
