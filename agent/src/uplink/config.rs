//! The section `uplink` of `agent.yml`.
//!
//! ```yaml
//! uplink:
//!   url: https://veilleur.example:12912/api/v1/write
//!   interval: 15s
//!   labels: {site: lyon}                  # beside job and instance
//!   authorization: {credentials_file: /etc/veilleur/uplink.token}
//!   buffer: {dir: /var/lib/veilleur-agent/uplink, max_size: 512MB}
//! ```
//!
//! Invariant: [`Settings`] exist only where nothing was wrong with the section.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{AuthorizationConfig, BasicAuthConfig, HttpAccess, HttpConfig};
use base::http::client::Origin;
use base::http::tls::TlsConfig;
use base::http::{HeaderMap, Uri};
use base::labels::is_legacy_label_name;
use base::number::parse_size;
use base::period::Period;
use base::remote_write::{Destination, Spoken, Version};
use serde::Deserialize;

/// From one collection to the next where nothing is said.
const INTERVAL: Period = Period::from_secs(15);
/// How long a request may take where nothing is said.
const TIMEOUT: Period = Period::from_secs(30);
/// How much is kept on the disk where nothing is said: days of a small host.
const MAX_SIZE: usize = 256 << 20;
/// The smallest buffer that makes sense.
const MIN_SIZE: usize = 1 << 20;
/// A proxy's answers, or a password that somebody will mend: the samples are good.
const PASSING: [u16; 5] = [401, 403, 404, 407, 408];
/// The label `job` where nothing is said.
const JOB: &str = "veilleur-agent";

/// The section, as written.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UplinkConfig {
    /// Where to push to.
    url: Spanned<String>,
    /// From one collection to the next; `15s` where nothing is said.
    #[serde(default)]
    interval: Option<Spanned<Period>>,
    /// How long a request may take; `30s` where nothing is said.
    #[serde(default)]
    timeout: Option<Spanned<Period>>,
    /// Labels of every series that has none of that name; `job` and `instance` among them.
    #[serde(default)]
    labels: BTreeMap<String, Spanned<String>>,
    /// `1.0` or `2.0`; 2.0 with a way back where nothing is said.
    #[serde(default)]
    version: Option<Spanned<String>>,
    /// User name and password.
    #[serde(default)]
    basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// A token.
    #[serde(default)]
    authorization: Option<Spanned<AuthorizationConfig>>,
    /// TLS.
    #[serde(default)]
    tls_config: Option<Spanned<TlsConfig>>,
    /// What waits to be sent.
    buffer: BufferConfig,
}

/// What waits to be sent, as written.
#[derive(Clone, Debug, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct BufferConfig {
    /// A folder that nobody else uses.
    dir: Spanned<PathBuf>,
    /// The most that it may take; `256MiB` where nothing is said.
    #[serde(default)]
    max_size: Option<Spanned<String>>,
}

/// The section, as meant.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) url: Uri,
    pub(super) origin: Origin,
    pub(super) access: HttpAccess,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) labels: Vec<(String, String)>,
    /// The version to speak, where it is not to be found out.
    pub(super) version: Option<Version>,
    pub(super) dir: PathBuf,
    pub(super) max_size: u64,
    written: UplinkConfig,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written && self.labels == other.labels
    }
}

impl Settings {
    /// Where samples go.
    pub(super) fn destination(&self) -> Destination {
        Destination {
            name: self.url.to_string(),
            url: self.url.clone(),
            origin: self.origin.clone(),
            access: self.access.clone(),
            headers: HeaderMap::new(),
            timeout: self.timeout,
            user_agent: concat!("veilleur-agent/", env!("CARGO_PKG_VERSION")),
            passing: &PASSING,
        }
    }

    /// In which version they go there.
    pub(super) fn spoken(&self) -> Spoken {
        self.version.map_or_else(|| Spoken::at_best(Version::V2), Spoken::only)
    }
}

impl UplinkConfig {
    /// The settings, reporting everything that is wrong with them; `host` names this host.
    pub fn build(self, host: &str, diagnostics: &mut Diagnostics) -> Option<Settings> {
        let url: Option<Uri> = self.url.value.parse().ok();
        let origin = url.as_ref().and_then(|url| Origin::of(url).ok());
        if origin.is_none() {
            let message = format!("`{}` is not an http or https URL", self.url.value);
            let help = "write it like `https://veilleur.example:12912/api/v1/write`";
            diagnostics.report_with_help(&self.url, message, help);
        }
        let interval = period(self.interval.as_ref(), INTERVAL, "an interval", diagnostics);
        let timeout = period(self.timeout.as_ref(), TIMEOUT, "a timeout", diagnostics);
        let version = self.version.as_ref().and_then(|written| match written.value.as_str() {
            "1.0" => Some(Version::V1),
            "2.0" => Some(Version::V2),
            other => {
                let message = format!("`{other}` is no version of remote write");
                diagnostics.report_with_help(written, message, "write '1.0' or '2.0'");
                None
            }
        });
        let max_size = self.max_size(diagnostics);
        if !self.buffer.dir.value.is_absolute() {
            let message = format!("`{}` is not an absolute path", self.buffer.dir.value.display());
            diagnostics.report(&self.buffer.dir, message);
        }
        let labels = self.labels(host, diagnostics);
        let http = HttpConfig {
            basic_auth: self.basic_auth.clone(),
            authorization: self.authorization.clone(),
            tls_config: self.tls_config.clone(),
            ..HttpConfig::default()
        };
        let access = http.build(Place::from(&self.url), diagnostics);
        Some(Settings {
            url: url?,
            origin: origin?,
            access: access?,
            interval,
            timeout,
            labels,
            version,
            dir: self.buffer.dir.value.clone(),
            max_size: max_size as u64,
            written: self,
        })
    }

    fn max_size(&self, diagnostics: &mut Diagnostics) -> usize {
        let Some(written) = &self.buffer.max_size else { return MAX_SIZE };
        match parse_size(&written.value) {
            Some(size) if size >= MIN_SIZE => size,
            Some(_) => {
                diagnostics.report(written, "a buffer has at least 1MB");
                MAX_SIZE
            }
            None => {
                let message = format!("`{}` is no size", written.value);
                diagnostics.report_with_help(written, message, "write it like `512MB`");
                MAX_SIZE
            }
        }
    }

    fn labels(&self, host: &str, diagnostics: &mut Diagnostics) -> Vec<(String, String)> {
        let mut labels = BTreeMap::from([
            ("instance".to_owned(), host.to_owned()),
            ("job".to_owned(), JOB.to_owned()),
        ]);
        for (name, value) in &self.labels {
            if !is_legacy_label_name(name) || name.starts_with("__") {
                let help = "use letters, digits and underscores";
                diagnostics.report_with_help(value, format!("`{name}` is not a label name"), help);
            }
            labels.insert(name.clone(), value.value.clone());
        }
        labels.into_iter().collect()
    }
}

fn period(
    written: Option<&Spanned<Period>>,
    default: Period,
    what: &str,
    diagnostics: &mut Diagnostics,
) -> Duration {
    let Some(written) = written else { return default.duration() };
    if written.value < Period::from_secs(1) {
        diagnostics.report(written, format!("{what} has at least 1s"));
    }
    written.value.duration()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(yaml: &str) -> (Option<Settings>, String) {
        let mut diagnostics = Diagnostics::new("agent.yml");
        let config: Option<UplinkConfig> = base::yaml::read(yaml, &mut diagnostics);
        let settings = config.and_then(|config| config.build("host-1", &mut diagnostics));
        (settings, diagnostics.to_string())
    }

    #[test]
    fn what_is_not_said_has_a_sensible_value() {
        let (settings, faults) = build("{url: 'http://x:1/w', buffer: {dir: /b}}");
        let settings = settings.unwrap();
        assert_eq!(faults, "");
        assert_eq!((settings.interval.as_secs(), settings.max_size), (15, 256 << 20));
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings.labels, [label("instance", "host-1"), label("job", JOB)]);
        assert_eq!(settings.version, None);
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        let yaml = "url: ftp://x\ninterval: 0s\nversion: '3'\nlabels: {a-b: x}\n\
                    tls_config: {cert_file: /none}\nbuffer: {dir: here, max_size: 5}\n";
        assert_eq!(
            build(yaml).1,
            "agent.yml:1:6: `ftp://x` is not an http or https URL\n  \
             help: write it like `https://veilleur.example:12912/api/v1/write`\n\
             agent.yml:2:11: an interval has at least 1s\n\
             agent.yml:3:10: `3` is no version of remote write\n  help: write '1.0' or '2.0'\n\
             agent.yml:4:15: `a-b` is not a label name\n  help: use letters, digits and underscores\n\
             agent.yml:5:13: cannot use the client certificate: cert_file and key_file belong together\n\
             agent.yml:6:15: `here` is not an absolute path\n\
             agent.yml:6:31: `5` is no size\n  help: write it like `512MB`"
        );
    }
}
