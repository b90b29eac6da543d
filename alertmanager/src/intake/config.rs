//! `sources:` who may tell us something, as it is written.
//!
//! Invariant: there is no source without a proof.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned, nearest};
use base::http::access::SecretSource;
use base::http::client::Client;
use base::http::tls::TlsConfig;
use base::period::Period;
use base::secret::Secret;
use serde::Deserialize;

use super::kinds::Kind;
use super::mapping::{Mapping, Texts, template};
use super::proof::{Proof, Signature};
use super::sns::Sns;

/// A source, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// How it is called, in its path and in the label `source`.
    pub name: Spanned<String>,
    /// Whose shape its messages have; none for a mapping of one's own.
    kind: Option<Spanned<String>>,
    /// By which it is known.
    token: Option<Spanned<Secret>>,
    token_file: Option<Spanned<PathBuf>>,
    /// Or a signature.
    signature: Option<Spanned<SignatureConfig>>,
    /// The topic of `kind: cloudwatch_sns`.
    topic_arn: Option<Spanned<String>>,
    /// Whether we accept by ourselves what the topic offers to send.
    #[serde(default)]
    confirm_subscription: Option<Spanned<bool>>,
    certificate_file: Option<PathBuf>,
    /// How long an alert fires of which nothing more is heard.
    lasts: Option<Spanned<Period>>,
    /// The most alerts of it that may fire at a time.
    max_alerts: Option<Spanned<u32>>,
    #[serde(default)]
    each: Option<Spanned<String>>,
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    annotations: BTreeMap<String, Spanned<String>>,
    status: Option<Spanned<String>>,
    resolved: Option<Vec<String>>,
    #[serde(default)]
    ignored: Vec<String>,
    key: Option<Spanned<String>>,
    starts_at: Option<Spanned<String>>,
    ends_at: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
}

/// A signature, as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SignatureConfig {
    secret: Option<Secret>,
    secret_file: Option<PathBuf>,
    header: Option<Spanned<String>>,
    prefix: Option<String>,
    timestamp_header: Option<Spanned<String>>,
}

/// Who may tell us something.
#[derive(Clone, Debug)]
pub struct Source {
    /// How it is called.
    pub name: String,
    pub(super) kind: Option<Kind>,
    pub(super) proof: Option<Proof>,
    pub(super) sns: Option<Sns>,
    pub(super) mapping: Mapping,
    pub(super) lasts: Duration,
    pub(super) most: usize,
}

/// A token shorter than this can be guessed.
const LEAST_TOKEN: usize = 16;
/// How long an alert fires of which nothing more is heard; an event of a log.
const LASTS: Duration = Duration::from_secs(86_400);
const EVENT_LASTS: Duration = Duration::from_secs(15 * 60);
/// The most alerts of a source, unless it says otherwise.
const MOST: usize = 1000;

impl SourceConfig {
    fn build(&self, folder: &Path, diagnostics: &mut Diagnostics) -> Option<Source> {
        let name = &self.name;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if name.value.is_empty() || !name.value.chars().all(is_name) {
            let help = "write letters, digits, `-` and `_`: it is a part of a path";
            diagnostics.report_with_help(
                name,
                format!("`{}` cannot name a source", name.value),
                help,
            );
        }
        let kind = match &self.kind {
            None => None,
            Some(kind) => match Kind::ALL.iter().find(|(known, _)| *known == kind.value) {
                Some((_, known)) => Some(*known),
                None => {
                    let known = Kind::ALL.map(|(name, _)| name);
                    let help = match nearest(&kind.value, known) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("these are known: {}", known.join(", ")),
                    };
                    diagnostics.report_with_help(
                        kind,
                        format!("there is no kind `{}`", kind.value),
                        help,
                    );
                    return None;
                }
            },
        };
        let (proof, sns) = match kind {
            Some(Kind::CloudwatchSns) => {
                (self.proof(kind, folder, diagnostics), Some(self.sns(folder, diagnostics)?))
            }
            _ => (Some(self.needed_proof(kind, folder, diagnostics)?), None),
        };
        if sns.is_none()
            && let Some(arn) = &self.topic_arn
        {
            diagnostics.report(arn, "`topic_arn` is for `kind: cloudwatch_sns` only");
        }
        self.check_mapping(kind, diagnostics);
        let mapping = self.mapping(diagnostics);
        if let Some(zero) = self.lasts.as_ref().filter(|lasts| lasts.value.is_zero()) {
            diagnostics.report(zero, "`lasts` cannot be zero");
        }
        let lasts = if kind == Some(Kind::Logstash) { EVENT_LASTS } else { LASTS };
        Some(Source {
            name: name.value.clone(),
            kind,
            proof,
            sns,
            mapping,
            lasts: self.lasts.as_ref().map_or(lasts, |lasts| lasts.value.duration()),
            most: self.max_alerts.as_ref().map_or(MOST, |most| most.value as usize),
        })
    }

    fn needed_proof(
        &self,
        kind: Option<Kind>,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Proof> {
        let before = diagnostics.faults().len();
        let proof = self.proof(kind, folder, diagnostics);
        if proof.is_none() && diagnostics.faults().len() == before {
            let message = format!("anybody could send as `{}`", self.name.value);
            let help = "add `token_file: FILE` (make one: `openssl rand -hex 32`), or `signature:`";
            diagnostics.report_with_help(&self.name, message, help);
        }
        proof
    }

    fn proof(
        &self,
        kind: Option<Kind>,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Proof> {
        let ways = [self.token.is_some(), self.token_file.is_some(), self.signature.is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            let message = "only one of `token`, `token_file` and `signature` can be given";
            diagnostics.report(&self.name, message);
            return None;
        }
        if let Some(token) = &self.token {
            check_length(&token.value, token.place, diagnostics);
            return Some(Proof::Token(SecretSource::Given(token.value.clone())));
        }
        if let Some(file) = &self.token_file {
            let source = SecretSource::File(folder.join(&file.value));
            match source.read() {
                Ok(token) => check_length(&token, file.place, diagnostics),
                Err(error) => diagnostics.report(file, error),
            }
            return Some(Proof::Token(source));
        }
        let config = self.signature.as_ref()?;
        let (place, config) = (config.place, &config.value);
        let file = config.secret_file.as_ref().map(|file| folder.join(file));
        let names = ("secret", "secret_file");
        let secret = SecretSource::one_of(config.secret.clone(), file, names, place, diagnostics);
        let Some(secret) = secret else {
            diagnostics.report(place, "`secret` or `secret_file` is missing");
            return None;
        };
        match secret.read() {
            Ok(text) => check_length(&text, place, diagnostics),
            Err(error) => diagnostics.report(place, error),
        }
        // Where services put it.
        let default = match kind {
            Some(Kind::Sentry) => Some("sentry-hook-signature"),
            Some(Kind::Grafana) => Some("x-grafana-alerting-signature"),
            _ => None,
        };
        let header = config.header.as_ref().map(|header| header.value.to_lowercase());
        let Some(header) = header.or(default.map(str::to_owned)) else {
            let help =
                "name the header: `header: X-Hub-Signature-256` with `prefix: sha256=` for GitHub";
            diagnostics.report_with_help(place, "`header` is missing", help);
            return None;
        };
        let timestamp_header =
            config.timestamp_header.as_ref().map(|name| name.value.to_lowercase());
        let prefix = config.prefix.clone().unwrap_or_default();
        Some(Proof::Signature(Signature { secret, header, prefix, timestamp_header }))
    }

    fn sns(&self, folder: &Path, diagnostics: &mut Diagnostics) -> Option<Sns> {
        let Some(arn) = &self.topic_arn else {
            let help = "write the topic: `topic_arn: arn:aws:sns:REGION:ACCOUNT:NAME`";
            diagnostics.report_with_help(&self.name, "`topic_arn` is missing", help);
            return None;
        };
        if !arn.value.starts_with("arn:aws") || arn.value.split(':').nth(2) != Some("sns") {
            diagnostics.report(arn, format!("`{}` is no topic of SNS", arn.value));
        }
        let client = Client::new(&TlsConfig::default());
        let client =
            client.map_err(|error| diagnostics.report(&self.name, error.to_string())).ok()?;
        Some(Sns {
            topic_arn: arn.value.clone(),
            confirms: self.confirm_subscription.as_ref().is_some_and(|confirm| confirm.value),
            certificate_file: self.certificate_file.as_ref().map(|file| folder.join(file)),
            client,
            kept: Arc::default(),
        })
    }

    /// What a mapping of one's own needs, and a ready one has already.
    fn check_mapping(&self, kind: Option<Kind>, diagnostics: &mut Diagnostics) {
        if kind.is_none() {
            if !self.labels.contains_key("alertname") {
                let help = "add `labels: {alertname: ...}`, or a `kind`";
                let message = format!("the alerts of `{}` have no name", self.name.value);
                diagnostics.report_with_help(&self.name, message, help);
            }
            if let Some(each) = self.each.as_ref().filter(|each| !each.value.starts_with('/')) {
                diagnostics.report_with_help(each, "this is no JSON pointer", "write `/alerts`");
            }
            return;
        }
        let own = [&self.each, &self.status, &self.key, &self.starts_at, &self.ends_at, &self.url];
        for setting in own.into_iter().flatten() {
            let help = "leave out `kind` for a mapping of your own; `labels` and `annotations` can be added";
            diagnostics.report_with_help(setting, "the kind says this already", help);
        }
    }

    fn mapping(&self, diagnostics: &mut Diagnostics) -> Mapping {
        let lower = |words: &[String]| words.iter().map(|word| word.to_lowercase()).collect();
        let mut one = |text: &Option<Spanned<String>>| template(text.as_ref()?, diagnostics);
        let (status, key, url) = (one(&self.status), one(&self.key), one(&self.url));
        let (starts_at, ends_at) = (one(&self.starts_at), one(&self.ends_at));
        Mapping {
            each: self.each.as_ref().map_or_else(String::new, |each| each.value.clone()),
            labels: Texts::build(&self.labels, diagnostics),
            annotations: Texts::build(&self.annotations, diagnostics),
            status,
            resolved: self.resolved.as_deref().map_or_else(Mapping::over, lower),
            ignored: lower(&self.ignored),
            key,
            starts_at,
            ends_at,
            url,
        }
    }
}

fn check_length(secret: &Secret, place: Place, diagnostics: &mut Diagnostics) {
    if secret.expose().len() < LEAST_TOKEN {
        let help = "make one: `openssl rand -hex 32`";
        let message = format!("a secret of less than {LEAST_TOKEN} characters can be guessed");
        diagnostics.report_with_help(place, message, help);
    }
}

/// The sources of a configuration; relative paths are relative to `folder`.
pub fn build_sources(
    configs: &[Spanned<SourceConfig>],
    folder: &Path,
    diagnostics: &mut Diagnostics,
) -> Vec<Arc<Source>> {
    let mut sources: Vec<Arc<Source>> = Vec::new();
    for config in configs {
        let name = &config.value.name;
        if sources.iter().any(|source| source.name == name.value) {
            diagnostics.report(name, format!("there are two sources `{}`", name.value));
        }
        sources.extend(config.value.build(folder, diagnostics).map(Arc::new));
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_with_its_place() {
        let check = |yaml: &str, expected: &str| {
            let mut diagnostics = Diagnostics::new("f.yml");
            let configs: Vec<Spanned<SourceConfig>> =
                base::yaml::read(yaml, &mut diagnostics).unwrap();
            build_sources(&configs, Path::new("/nonexistent"), &mut diagnostics);
            let told = diagnostics.to_string();
            let told: Vec<_> = told.lines().filter(|line| !line.starts_with("  help")).collect();
            assert_eq!(told.join("\n"), expected, "{yaml}");
        };
        let token = "token: 0123456789abcdef";
        check(&format!("[{{name: ci, kind: jenkins, {token}}}]"), "");
        check(&format!("[{{name: ci, {token}, labels: {{alertname: x}}}}]"), "");
        check("[{name: ci, kind: jenkins}]", "f.yml:1:9: anybody could send as `ci`");
        check(
            "[{name: ci, kind: jenkins, token: short}]",
            "f.yml:1:35: a secret of less than 16 characters can be guessed",
        );
        check(
            "[{name: ci, kind: jenkins, token_file: t}]",
            "f.yml:1:40: cannot read /nonexistent/t: No such file or directory (os error 2)",
        );
        check(
            &format!("[{{name: c/i, kind: jenkins, {token}}}]"),
            "f.yml:1:9: `c/i` cannot name a source",
        );
        check(
            &format!("[{{name: ci, kind: jenkinz, {token}}}]"),
            "f.yml:1:19: there is no kind `jenkinz`",
        );
        check(&format!("[{{name: ci, {token}}}]"), "f.yml:1:9: the alerts of `ci` have no name");
        check(
            &format!("[{{name: ci, {token}, labels: {{alertname: '{{{{ .a'}}}}]"),
            "f.yml:1:58: template: :1: unclosed action",
        );
        check(
            &format!("[{{name: ci, kind: jenkins, {token}, status: x}}]"),
            "f.yml:1:61: the kind says this already",
        );
        check("[{name: aws, kind: cloudwatch_sns}]", "f.yml:1:9: `topic_arn` is missing");
        check(
            "[{name: aws, kind: cloudwatch_sns, topic_arn: 'arn:aws:s3:::x'}]",
            "f.yml:1:47: `arn:aws:s3:::x` is no topic of SNS",
        );
        check(
            "[{name: s, kind: jenkins, signature: {secret: 0123456789abcdef}}]",
            "f.yml:1:38: `header` is missing",
        );
        check("[{name: s, kind: sentry, signature: {secret: 0123456789abcdef}}]", "");
        check(
            &format!("[{{name: s, kind: sentry, {token}}}, {{name: s, kind: sentry, {token}}}]"),
            "f.yml:1:59: there are two sources `s`",
        );
    }
}
