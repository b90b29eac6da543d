//! Rewriting label sets: `relabel_configs` and `metric_relabel_configs`.
//!
//! Source: the configuration reference of Prometheus.
//!
//! Invariant: the steps run in the order in which they are written; the first that drops ends it.

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::labels::{LabelsBuilder, is_legacy_label_name};
use base::matcher::anchored;
use md5::{Digest, Md5};
use regex::Regex;
use serde::Deserialize;

/// One step, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelabelConfig {
    /// The labels whose values are joined.
    #[serde(default)]
    pub source_labels: Option<Vec<String>>,
    /// What stands between them; by default `;`.
    #[serde(default)]
    pub separator: Option<String>,
    /// The label that is set.
    #[serde(default)]
    pub target_label: Option<Spanned<String>>,
    /// What the joined values, or label names, must match; by default anything.
    #[serde(default)]
    pub regex: Option<Spanned<String>>,
    /// For `hashmod`.
    #[serde(default)]
    pub modulus: Option<u64>,
    /// The new value, `$1` for what the first group matched; by default `$1`.
    #[serde(default)]
    pub replacement: Option<String>,
    /// What to do; by default `replace`.
    #[serde(default)]
    pub action: Option<Spanned<String>>,
}

/// Which names labels may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// All.
    #[default]
    Any,
    /// Those of letters, digits and `_` (`metric_name_validation_scheme: legacy`).
    Classic,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

const ACTIONS: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

/// One step, ready to run.
#[derive(Clone, Debug)]
pub struct Relabel {
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    target_label: String,
    regex: Regex,
    modulus: u64,
    replacement: String,
    names: Names,
}

impl Relabel {
    /// Builds the steps of a list; what is wrong with them is reported at each, or at `place`.
    pub fn build_all(
        configs: &[Spanned<RelabelConfig>],
        diagnostics: &mut Diagnostics,
    ) -> Vec<Self> {
        Self::build_all_of(configs, "target", diagnostics)
    }

    /// As [`Self::build_all`], of steps that are about `what`: `alert`.
    pub fn build_all_of(
        configs: &[Spanned<RelabelConfig>],
        what: &str,
        diagnostics: &mut Diagnostics,
    ) -> Vec<Self> {
        Self::build_each((what, Names::Any), configs, diagnostics)
    }

    /// As [`Self::build_all`], where labels may have these `names`.
    pub fn build_all_with(
        names: Names,
        configs: &[Spanned<RelabelConfig>],
        diagnostics: &mut Diagnostics,
    ) -> Vec<Self> {
        Self::build_each(("target", names), configs, diagnostics)
    }

    fn build_each(
        (what, names): (&str, Names),
        configs: &[Spanned<RelabelConfig>],
        diagnostics: &mut Diagnostics,
    ) -> Vec<Self> {
        let mut steps = Vec::new();
        for config in configs {
            if config.value == RelabelConfig::default() {
                diagnostics.report_with_help(
                    config,
                    format!("empty or null {what} relabeling rule"),
                    "a relabel action cannot be empty; take the rule out, or say what it does",
                );
            } else {
                steps.extend(Self::build(config, names, diagnostics));
            }
        }
        steps
    }

    fn build(
        config: &Spanned<RelabelConfig>,
        names: Names,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let (config, place) = (&config.value, config.place);
        let name = config.action.as_ref().map_or("replace", |action| action.value.as_str());
        let named = ACTIONS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        let Some(&(name, action)) = named else {
            let known = ACTIONS.map(|(name, _)| name).join("`, `");
            let at = config.action.as_ref().map_or(place, Place::from);
            diagnostics.report_with_help(
                at,
                format!("unknown relabel action `{name}`"),
                format!("known: `{known}`"),
            );
            return None;
        };
        let before = diagnostics.faults().len();
        config.check(action, name, place, diagnostics);
        if names == Names::Classic && diagnostics.faults().len() == before {
            config.check_classic(action, name, place, diagnostics);
        }
        let pattern = config.regex.as_ref().map_or("(.*)", |regex| regex.value.as_str());
        let regex = match anchored(pattern) {
            Ok(regex) => regex,
            Err(error) => {
                let at = config.regex.as_ref().map_or(place, Place::from);
                diagnostics.report(at, error.to_string());
                return None;
            }
        };
        let text =
            |text: &Option<String>, default: &str| text.as_deref().unwrap_or(default).to_owned();
        (diagnostics.faults().len() == before).then(|| Self {
            action,
            source_labels: config.source_labels.clone().unwrap_or_default(),
            separator: text(&config.separator, ";"),
            target_label: config
                .target_label
                .as_ref()
                .map_or_else(String::new, |l| l.value.clone()),
            regex,
            modulus: config.modulus.unwrap_or(0),
            replacement: text(&config.replacement, "$1"),
            names,
        })
    }

    /// Runs `steps`; false where one of them drops the label set.
    #[must_use]
    pub fn run(steps: &[Self], labels: &mut LabelsBuilder) -> bool {
        steps.iter().all(|step| step.apply(labels))
    }

    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let joined = self
            .source_labels
            .iter()
            .map(|name| labels.get(name).unwrap_or(""))
            .collect::<Vec<_>>()
            .join(&self.separator);
        match self.action {
            Action::Keep => return self.regex.is_match(&joined),
            Action::Drop => return !self.regex.is_match(&joined),
            Action::KeepEqual => return labels.get(&self.target_label).unwrap_or("") == joined,
            Action::DropEqual => return labels.get(&self.target_label).unwrap_or("") != joined,
            Action::Replace => self.replace(&joined, labels),
            Action::Lowercase => {
                labels.set(&self.target_label, &joined.to_lowercase());
            }
            Action::Uppercase => {
                labels.set(&self.target_label, &joined.to_uppercase());
            }
            Action::HashMod => {
                let digest = Md5::digest(joined.as_bytes());
                let low = digest[8..].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
                labels.set(&self.target_label, &(low % self.modulus).to_string());
            }
            Action::LabelMap => {
                let pairs: Vec<_> =
                    labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                for (name, value) in pairs {
                    if let Some(found) = self.regex.captures(&name) {
                        labels.set(&expand(&found, &self.replacement), &value);
                    }
                }
            }
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, joined: &str, labels: &mut LabelsBuilder) {
        let Some(found) = self.regex.captures(joined) else { return };
        let target = expand(&found, &self.target_label);
        let is_name = self.names == Names::Any || is_legacy_label_name(&target);
        if !target.is_empty() && is_name {
            labels.set(&target, &expand(&found, &self.replacement));
        }
    }
}

impl RelabelConfig {
    fn check(&self, action: Action, name: &str, place: Place, diagnostics: &mut Diagnostics) {
        let target = self.target_label.as_ref().map_or("", |label| label.value.as_str());
        let needs_target = matches!(
            action,
            Action::Replace
                | Action::HashMod
                | Action::KeepEqual
                | Action::DropEqual
                | Action::Lowercase
                | Action::Uppercase
        );
        if needs_target && target.is_empty() {
            diagnostics
                .report(place, format!("the relabel action `{name}` needs a `target_label`"));
        }
        if action == Action::HashMod && self.modulus.unwrap_or(0) == 0 {
            diagnostics.report(place, "the relabel action `hashmod` needs a `modulus` over 0");
        }
        let regex = self.regex.is_some();
        let replacement = self.replacement.is_some();
        let others = regex || replacement || self.separator.is_some() || self.modulus.is_some();
        let forbidden = match action {
            Action::Lowercase | Action::Uppercase => replacement.then_some("`replacement`"),
            Action::KeepEqual | Action::DropEqual => {
                others.then_some("anything but `source_labels` and `target_label`")
            }
            Action::LabelDrop | Action::LabelKeep => {
                let given = self.source_labels.is_some() || self.separator.is_some();
                (given || replacement || self.modulus.is_some() || !target.is_empty())
                    .then_some("anything but `regex`")
            }
            _ => None,
        };
        if let Some(forbidden) = forbidden {
            let message = format!("the relabel action `{name}` does not take {forbidden}");
            diagnostics.report(place, message);
        }
        let fixed_target =
            matches!(action, Action::HashMod | Action::Lowercase | Action::Uppercase);
        if fixed_target && target.contains('$') && !is_legacy_label_name(target) {
            let message = format!("`{target}` is no label name; `{name}` does not expand it");
            diagnostics.report(place, message);
        }
    }
}

impl RelabelConfig {
    /// Reports what can be no classic name, whatever a pattern finds.
    fn check_classic(
        &self,
        action: Action,
        name: &str,
        place: Place,
        diagnostics: &mut Diagnostics,
    ) {
        let target = self.target_label.as_ref().map_or("", |label| label.value.as_str());
        let replacement = self.replacement.as_deref().unwrap_or("$1");
        let (what, written, is_right) = match action {
            Action::Replace => ("target_label", target, may_be_classic(target)),
            Action::LabelMap => ("replacement", replacement, may_be_classic(replacement)),
            Action::Keep | Action::Drop | Action::LabelDrop | Action::LabelKeep => return,
            _ => ("target_label", target, is_legacy_label_name(target)),
        };
        if !is_right {
            let message = format!(
                "`{written}` is no `{what}` for `{name}` where names are classic \
                 (metric_name_validation_scheme)"
            );
            let at = self.target_label.as_ref().filter(|_| what == "target_label");
            diagnostics.report(at.map_or(place, Place::from), message);
        }
    }
}

/// Whether a template can come to a classic name: `$1`, `$name` and `${name}` may stand for any part.
fn may_be_classic(template: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut rest, mut is_first) = (template, true);
    while let Some(c) = rest.chars().next() {
        rest = match rest.strip_prefix('$') {
            Some(group) => {
                let (name, behind) = match group.strip_prefix('{') {
                    Some(braced) => match braced.split_once('}') {
                        Some(parts) => parts,
                        None => return false,
                    },
                    None => group.split_at(group.find(|c| !is_word(c)).unwrap_or(group.len())),
                };
                if name.is_empty() || !name.chars().all(is_word) {
                    return false;
                }
                behind
            }
            None if is_word(c) && !(is_first && c.is_ascii_digit()) => &rest[1..],
            None => return false,
        };
        is_first = false;
    }
    !is_first
}

/// `$1`, `${1}`, `$name` and `${name}` replaced by what the group matched, `$$` by `$`.
fn expand(found: &regex::Captures<'_>, template: &str) -> String {
    let mut out = String::new();
    found.expand(template, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use base::labels::Labels;

    use super::*;

    #[track_caller]
    fn check(yaml: &str, labels: &[(&str, &str)], expected: &str) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let configs: Vec<Spanned<RelabelConfig>> =
            base::yaml::read(yaml, &mut diagnostics).unwrap_or_default();
        let steps = Relabel::build_all(&configs, &mut diagnostics);
        let mut builder = LabelsBuilder::from(&Labels::from_pairs(labels.iter().copied()));
        let got = match (diagnostics.is_empty(), Relabel::run(&steps, &mut builder)) {
            (false, _) => diagnostics.to_string(),
            (true, false) => "dropped".to_owned(),
            (true, true) => builder.build().to_string(),
        };
        assert_eq!(got, expected, "{yaml}");
    }

    #[test]
    fn rewrites_labels() {
        let labels = [("__address__", "db:9100"), ("a", "B")];
        check(
            "[{source_labels: [__address__], regex: '(.*):.*', target_label: host}]",
            &labels,
            r#"{__address__="db:9100", a="B", host="db"}"#,
        );
        check(
            "[{source_labels: [a], target_label: a, replacement: ''}]",
            &labels,
            r#"{__address__="db:9100"}"#,
        );
        check(
            "[{source_labels: [a], target_label: b, action: LowerCase}]",
            &labels,
            r#"{__address__="db:9100", a="B", b="b"}"#,
        );
        check(
            "[{action: labelmap, regex: '__(.*)__'}, {action: labeldrop, regex: __.*}]",
            &labels,
            r#"{a="B", address="db:9100"}"#,
        );
        check("[{source_labels: [a], regex: b, action: keep}]", &labels, "dropped");
        check(
            "[{source_labels: [a], target_label: h, modulus: 8, action: hashmod}, {regex: h, action: labelkeep}]",
            &labels,
            r#"{h="1"}"#,
        );
    }

    #[test]
    fn reports_every_fault() {
        check(
            "- {action: keeep}\n- {source_labels: [a]}\n- {action: hashmod, target_label: x}\n\
             - {action: labeldrop, regex: x, target_label: y}\n- {regex: '(', target_label: x}\n",
            &[],
            "f.yml:1:12: unknown relabel action `keeep`\n  help: known: `replace`, `keep`, `drop`, \
             `keepequal`, `dropequal`, `hashmod`, `labelmap`, `labeldrop`, `labelkeep`, `lowercase`, \
             `uppercase`\n\
             f.yml:2:3: the relabel action `replace` needs a `target_label`\n\
             f.yml:3:3: the relabel action `hashmod` needs a `modulus` over 0\n\
             f.yml:4:3: the relabel action `labeldrop` does not take anything but `regex`\n\
             f.yml:5:11: `(` is not a usable regular expression: unclosed group",
        );
    }
}
