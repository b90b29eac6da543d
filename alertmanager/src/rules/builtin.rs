//! The rules that are there without any rule file.
//!
//! Invariant: they are rules like any other, in a file that is built in.

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::period::Period;
use serde::Deserialize;

use super::file::RuleFile;
use super::group::{BUILTIN_FILE, Rule, RuleGroup};

const FILE: &str = include_str!("builtin.yml");

/// What is said of them under `builtin_rules:`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuiltinConfig {
    /// Whether there are any; by default there are.
    pub enabled: Option<bool>,
    /// From one evaluation to the next; by default as for rule files.
    pub interval: Option<Spanned<Period>>,
    /// Rules that are not wanted, by the names of their alerts.
    pub disable: Vec<Spanned<String>>,
    /// How long the condition must hold, by the name of the alert.
    #[serde(rename = "for")]
    pub hold: BTreeMap<Spanned<String>, Period>,
}

/// The group of the built-in rules as configured; `None` where they are switched off.
pub fn builtin_group(
    config: &BuiltinConfig,
    interval: Period,
    diagnostics: &mut Diagnostics,
) -> Option<RuleGroup> {
    let mut own = Diagnostics::new(BUILTIN_FILE);
    let file: RuleFile = base::yaml::read(FILE, &mut own).unwrap_or_default();
    let interval = config.interval.as_ref().map_or(interval, |interval| interval.value);
    let mut group = file.build(BUILTIN_FILE, interval, &mut own).pop()?;
    let names: Vec<String> = group.rules.iter().map(|rule| rule.name().to_owned()).collect();
    let named = config.disable.iter().chain(config.hold.keys());
    for name in named.filter(|name| !names.contains(&name.value)) {
        let mut known = names.clone();
        known.dedup();
        let help = format!("there are `{}`", known.join("`, `"));
        let message = format!("there is no built-in rule `{}`", name.value);
        diagnostics.report_with_help(Place::from(name), message, help);
    }
    group.rules.retain(|rule| !config.disable.iter().any(|name| name.value == rule.name()));
    for rule in &mut group.rules {
        let Rule::Alerting(rule) = rule else { continue };
        let hold = config.hold.iter().find(|(name, _)| name.value == rule.name);
        if let Some((_, hold)) = hold {
            rule.hold = hold.duration();
        }
    }
    (config.enabled != Some(false)).then_some(group)
}

impl Rule {
    fn name(&self) -> &str {
        match self {
            Self::Alerting(rule) => &rule.name,
            Self::Recording(rule) => &rule.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(yaml: &str) -> (Option<RuleGroup>, String) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: BuiltinConfig = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let group = builtin_group(&config, Period::from_secs(15), &mut diagnostics);
        (group, diagnostics.to_string())
    }

    #[test]
    fn are_there_unless_they_are_not_wanted() {
        assert_eq!(build("{}").0.unwrap().rules.len(), 8);
        assert_eq!(build("{disable: [CheckFailed]}").0.unwrap().rules.len(), 5);
        assert!(build("{enabled: false}").0.is_none());
        let group = build("{for: {AgentDown: 5s}, interval: 1s}").0.unwrap();
        assert_eq!(group.interval.to_string(), "1s");
        let hold = group.rules.iter().find_map(|rule| match rule {
            Rule::Alerting(rule) if rule.name == "AgentDown" => Some(rule.hold.as_secs()),
            _ => None,
        });
        assert_eq!(hold, Some(5));
    }

    #[test]
    fn a_name_that_there_is_not_is_told() {
        assert_eq!(
            build("{disable: [Nope]}").1,
            "f.yml:1:12: there is no built-in rule `Nope`\n  help: there are `CheckFailed`, \
             `CheckNotRunning`, `AgentDown`, `DataMissing`, `CertificateExpires`"
        );
    }
}
