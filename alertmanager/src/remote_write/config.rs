//! The section `remote_write`, as Prometheus has it.
//!
//! Source: the configuration reference of Prometheus.
//!
//! Invariant: [`Settings`] exist only for what can be done; what cannot is told by name.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::client::Origin;
use base::http::{HeaderMap, Uri, header};
use base::labels::Labels;
use base::number::parse_size;
use base::period::Period;
use base::remote_write::{Destination, Version};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::relabel::{Relabel, RelabelConfig};

/// How much of the log waits for a remote where nothing is said.
const BUFFER: usize = 4 << 30;
/// The smallest that makes sense.
const MIN_BUFFER: usize = 1 << 20;

client_settings! {
    /// Where samples go, as written.
    pub struct RemoteWriteConfig {
        /// The address.
        #[serde(default)]
        pub url: Option<Spanned<String>>,
        /// Names it.
        #[serde(default)]
        pub name: Option<Spanned<String>>,
        /// How long a request may take; `30s` where nothing is said.
        #[serde(default)]
        pub remote_timeout: Option<Period>,
        /// The message that is sent; `prometheus.WriteRequest` where nothing is said.
        #[serde(default)]
        pub protobuf_message: Option<Spanned<String>>,
        /// Further headers.
        #[serde(default)]
        pub headers: BTreeMap<Spanned<String>, String>,
        /// Rewrites labels; can drop a sample.
        #[serde(default)]
        pub write_relabel_configs: Vec<Spanned<RelabelConfig>>,
        /// Whether exemplars are sent.
        #[serde(default)]
        pub send_exemplars: bool,
        /// Whether native histograms are sent.
        #[serde(default)]
        pub send_native_histograms: bool,
        /// Whether each connection is to another address of the name.
        #[serde(default)]
        pub round_robin_dns: bool,
        /// How it is sent.
        #[serde(default)]
        pub queue_config: Option<Spanned<QueueConfig>>,
        /// What is told of metrics apart from samples, by 1.0.
        #[serde(default)]
        pub metadata_config: Option<Spanned<MetadataConfig>>,
        /// Ours: how many bytes of the log may wait; `4GB` where nothing is said.
        #[serde(default)]
        pub max_buffer_size: Option<Spanned<String>>,
        /// Signs what is sent.
        #[serde(default)]
        pub sigv4: Option<Spanned<IgnoredAny>>,
        /// Who we are to Azure.
        #[serde(default)]
        pub azuread: Option<Spanned<IgnoredAny>>,
        /// Who we are to Google.
        #[serde(default)]
        pub google_iam: Option<Spanned<IgnoredAny>>,
    }
}

/// How samples are sent, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Samples in memory for a shard; ours wait in the log.
    capacity: Option<i64>,
    max_shards: Option<i64>,
    min_shards: Option<i64>,
    max_samples_per_send: Option<i64>,
    batch_send_deadline: Option<Period>,
    min_backoff: Option<Period>,
    max_backoff: Option<Period>,
    /// Who asks for patience gets it from us anyway.
    retry_on_http_429: bool,
    sample_age_limit: Option<Period>,
}

/// What a remote is told of metrics, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetadataConfig {
    send: Option<bool>,
    send_interval: Option<Period>,
    max_samples_per_send: Option<usize>,
}

/// A remote, as meant.
#[derive(Clone, Debug)]
pub struct Settings {
    /// By what it is known: its name, or its address without what may be secret.
    pub name: String,
    pub(super) to: Arc<Destination>,
    /// The version to begin with.
    pub(super) version: Version,
    pub(super) relabel: Vec<Relabel>,
    pub(super) external_labels: Labels,
    pub(super) histograms: bool,
    pub(super) exemplars: bool,
    /// How often it is told in 1.0 what metrics mean, and of how many in a request; nothing for never.
    pub(super) tells: Option<(Duration, usize)>,
    pub(super) max_buffer: u64,
    pub(super) shards: (usize, usize),
    pub(super) samples_per_send: usize,
    pub(super) interval: Duration,
    pub(super) backoff: (Duration, Duration),
    /// Older samples are not sent.
    pub(super) age_limit: Option<Duration>,
    written: RemoteWriteConfig,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.written == other.written
            && self.external_labels == other.external_labels
    }
}

/// The remotes in `entries`, whose samples have `external_labels`, too. What they ask for that is not
/// done is added to `undone`.
pub fn build_all(
    entries: &[(&RemoteWriteConfig, Place)],
    external_labels: &Labels,
    folder: &Path,
    undone: &mut Vec<(Place, String)>,
    diagnostics: &mut Diagnostics,
) -> Vec<Arc<Settings>> {
    let (mut names, mut given) = (HashSet::new(), HashSet::new());
    let mut built = Vec::new();
    for (config, place) in entries {
        config.undone(undone);
        // As Prometheus has it: also of those that nothing can be sent to.
        if let Some(twice) = config.name.as_ref().filter(|name| !given.insert(&name.value)) {
            let message = format!("there are two of remote_write with the name `{}`", twice.value);
            diagnostics.report(twice, message);
        }
        let Some(mut settings) = config.build(*place, external_labels, folder, diagnostics) else {
            continue;
        };
        // Two may go to one address, with other samples.
        let address = settings.name.clone();
        for number in 2.. {
            if names.insert(settings.name.clone()) {
                break;
            }
            settings.name = format!("{address}#{number}");
        }
        if !config.is_foreign() {
            built.push(Arc::new(settings));
        }
    }
    built
}

impl RemoteWriteConfig {
    /// Whether it says who we are in a way that we do not speak.
    fn is_foreign(&self) -> bool {
        self.sigv4.is_some() || self.azuread.is_some() || self.google_iam.is_some()
    }

    fn undone(&self, undone: &mut Vec<(Place, String)>) {
        for (name, place) in [
            ("sigv4", self.sigv4.as_ref().map(Place::from)),
            ("azuread", self.azuread.as_ref().map(Place::from)),
            ("google_iam", self.google_iam.as_ref().map(Place::from)),
        ] {
            undone.extend(place.map(|place| {
                (place, format!("`{name}` of `remote_write` is not supported yet: nothing is sent"))
            }));
        }
        let url = self.url.as_ref().filter(|url| !url.value.is_empty());
        let is_foreign = |url: &Uri| Origin::of(url).is_err();
        let foreign = url.filter(|url| url.value.parse().as_ref().map_or(true, is_foreign));
        undone.extend(foreign.map(|url| {
            let what = format!("`{}` is not an http or https URL: nothing is sent", url.value);
            (url.into(), what)
        }));
    }

    fn build(
        &self,
        place: Place,
        external_labels: &Labels,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Settings> {
        let written = self.url.as_ref().filter(|url| !url.value.is_empty());
        if written.is_none() {
            diagnostics.report(place, "url for remote_write is empty");
        }
        let uri = written.and_then(|url| {
            let uri: Option<Uri> = url.value.parse().ok();
            uri.and_then(|uri| Some((Origin::of(&uri).ok()?, uri)))
        });
        let relabel =
            Relabel::build_all_of(&self.write_relabel_configs, "remote write", diagnostics);
        check_headers(&self.headers, diagnostics);
        let headers = self.further_headers(diagnostics);
        let access = self.http(folder).build_following(place, diagnostics);
        let version = self.version(diagnostics);
        let queue = self.queue_config.as_ref().map(|queue| {
            queue.value.check(queue.place, diagnostics);
            queue.value.clone()
        });
        let max_buffer = self.max_buffer(diagnostics) as u64;
        let tells = self.tells(diagnostics);
        let queue = queue.unwrap_or_default();
        let (origin, url) = uri?;
        let name = match self.name.as_ref().filter(|name| !name.value.is_empty()) {
            Some(name) => name.value.clone(),
            None => address_of(&url),
        };
        let count = |asked: Option<i64>, default: usize| {
            asked.and_then(|n| usize::try_from(n).ok()).unwrap_or(default).max(1)
        };
        let period = |asked: Option<Period>, default: Period| asked.unwrap_or(default).duration();
        let max_shards = count(queue.max_shards, 50);
        let to = Destination {
            name: name.clone(),
            url,
            origin,
            access: access?,
            headers,
            timeout: period(self.remote_timeout, Period::from_secs(30)),
            user_agent: concat!("veilleur/", env!("CARGO_PKG_VERSION")),
            passing: &[],
        };
        Some(Settings {
            name,
            to: Arc::new(to),
            version,
            relabel,
            external_labels: external_labels.clone(),
            histograms: self.send_native_histograms,
            exemplars: self.send_exemplars,
            tells,
            max_buffer,
            shards: (count(queue.min_shards, 1).min(max_shards), max_shards),
            samples_per_send: count(queue.max_samples_per_send, 2000),
            interval: period(queue.batch_send_deadline, Period::from_secs(5))
                .max(Duration::from_millis(10)),
            backoff: (
                period(queue.min_backoff, Period::from_millis(30)).max(Duration::from_millis(1)),
                period(queue.max_backoff, Period::from_secs(5)).max(Duration::from_millis(1)),
            ),
            age_limit: queue.sample_age_limit.filter(|p| !p.is_zero()).map(Period::duration),
            written: self.clone(),
        })
    }

    fn further_headers(&self, diagnostics: &mut Diagnostics) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let parsed = header::HeaderName::from_bytes(name.value.as_bytes()).ok();
            match (parsed, value.parse()) {
                (Some(parsed), Ok(value)) => drop(headers.insert(parsed, value)),
                _ => {
                    let message = format!("`{}` and its value are no header", name.value);
                    diagnostics.report(name, message);
                }
            }
        }
        headers
    }

    fn version(&self, diagnostics: &mut Diagnostics) -> Version {
        let Some(written) = &self.protobuf_message else { return Version::V1 };
        match written.value.as_str() {
            "prometheus.WriteRequest" => Version::V1,
            "io.prometheus.write.v2.Request" => Version::V2,
            unknown => {
                let message = format!("`{unknown}` is no `protobuf_message`");
                let help = "known: `prometheus.WriteRequest`, `io.prometheus.write.v2.Request`";
                diagnostics.report_with_help(written, message, help);
                Version::V1
            }
        }
    }

    /// How often it is told what metrics mean, and of how many at once.
    fn tells(&self, diagnostics: &mut Diagnostics) -> Option<(Duration, usize)> {
        let written = self.metadata_config.as_ref();
        let config = written.map(|written| written.value.clone()).unwrap_or_default();
        let every = config.send_interval.unwrap_or(Period::from_secs(60));
        let most = config.max_samples_per_send.unwrap_or(2000);
        for (wrong, name) in
            [(every.is_zero(), "send_interval"), (most == 0, "max_samples_per_send")]
        {
            if let Some(written) = written.filter(|_| wrong) {
                diagnostics.report(written, format!("`{name}` of `metadata_config` cannot be 0"));
            }
        }
        config.send.unwrap_or(true).then_some((every.duration(), most.max(1)))
    }

    fn max_buffer(&self, diagnostics: &mut Diagnostics) -> usize {
        let Some(written) = &self.max_buffer_size else { return BUFFER };
        match parse_size(&written.value) {
            Some(size) if size >= MIN_BUFFER => return size,
            Some(_) => diagnostics.report(written, "`max_buffer_size` is at least 1MB"),
            None => {
                let message = format!("`{}` is no size", written.value);
                diagnostics.report_with_help(written, message, "write it like `4GB`");
            }
        }
        BUFFER
    }
}

/// An address without what may be secret in it.
fn address_of(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("http");
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{}", url.path())
}

/// Headers that requests to a remote have anyway.
const RESERVED: [&str; 10] = [
    "content-encoding",
    "content-type",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "www-authenticate",
    "accept-encoding",
];

/// Reports further headers that nobody may set.
pub fn check_headers(headers: &BTreeMap<Spanned<String>, String>, diagnostics: &mut Diagnostics) {
    for name in headers.keys() {
        let lower = name.value.to_ascii_lowercase();
        if lower == "authorization" {
            let message = "authorization header must be changed via the basic_auth, \
                           authorization, oauth2, sigv4, azuread or google_iam parameter";
            diagnostics.report(name, message);
        } else if RESERVED.contains(&lower.as_str()) {
            let message = format!("{lower} is a reserved header. It must not be changed");
            diagnostics.report(name, message);
        }
    }
}

impl QueueConfig {
    fn check(&self, place: Place, diagnostics: &mut Diagnostics) {
        let mut check = |wrong: bool, what: &str| {
            if wrong {
                diagnostics.report(place, format!("remote write queue {what}"));
            }
        };
        let min = self.min_shards.unwrap_or(1);
        let (shortest, longest) = (Period::from_millis(30), Period::from_secs(5));
        let min_backoff = self.min_backoff.unwrap_or(shortest);
        let max_backoff = self.max_backoff.unwrap_or(longest);
        check(self.capacity.is_some_and(|n| n <= 0), "capacity must be positive");
        check(self.max_shards.is_some_and(|n| n <= 0), "max_shards must be positive");
        check(min <= 0, "min_shards must be positive");
        check(
            self.max_shards.is_some_and(|max| max > 0 && min > max),
            "min_shards must not be greater than max_shards",
        );
        check(
            self.max_samples_per_send.is_some_and(|n| n <= 0),
            "max_samples_per_send must be positive",
        );
        check(max_backoff < min_backoff, "max_backoff must not be less than min_backoff");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The remotes of a list, what is not done, and what is wrong.
    pub(in super::super) fn build(yaml: &str) -> (Vec<Arc<Settings>>, Vec<String>, String) {
        let mut diagnostics = Diagnostics::new("veilleur.yml");
        let list: Vec<Spanned<RemoteWriteConfig>> =
            base::yaml::read(yaml, &mut diagnostics).unwrap_or_default();
        let entries: Vec<_> = list.iter().map(|entry| (&entry.value, entry.place)).collect();
        let mut undone = Vec::new();
        let labels = Labels::from_pairs([("site", "lyon")]);
        let folder = Path::new("/");
        let built = build_all(&entries, &labels, folder, &mut undone, &mut diagnostics);
        let undone = undone.into_iter().map(|(place, what)| format!("{place}: {what}"));
        (built, undone.collect(), diagnostics.to_string())
    }

    #[test]
    fn what_is_not_said_is_as_in_prometheus() {
        let (built, undone, faults) = build(
            "- {url: 'http://x:1/w?token=t'}\n- {url: 'http://x:1/w', name: b, \
             protobuf_message: io.prometheus.write.v2.Request, max_buffer_size: 2MB, \
             send_exemplars: true, metadata_config: {send: false}, \
             queue_config: {max_shards: 3, min_shards: 2, max_samples_per_send: 7}}\n\
             - {url: 'http://x:1/w'}\n",
        );
        assert_eq!((undone, faults), (Vec::new(), String::new()));
        let [a, b, c] = &built[..] else { panic!("{built:?}") };
        assert_eq!((a.name.as_str(), a.version), ("http://x:1/w", Version::V1));
        assert_eq!((a.shards, a.samples_per_send, a.max_buffer), ((1, 50), 2000, 4 << 30));
        assert_eq!((a.interval, a.to.timeout), (Duration::from_secs(5), Duration::from_secs(30)));
        assert_eq!((a.exemplars, a.tells), (false, Some((Duration::from_secs(60), 2000))));
        assert_eq!((b.exemplars, b.tells), (true, None));
        assert_eq!((b.name.as_str(), b.version, b.shards), ("b", Version::V2, (2, 3)));
        assert_eq!((b.samples_per_send, b.max_buffer), (7, 2 << 20));
        assert_eq!(c.name, "http://x:1/w#2");
        assert!(a != b && *a == a.clone());
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        let (_, undone, faults) = build(
            "- {url: 'ftp://x', max_buffer_size: 5, headers: {Authorization: x}}\n\
             - {name: a, url: 'http://x/', sigv4: {}, metadata_config: {send_interval: 0s}}\n\
             - {name: a, url: 'http://x/', protobuf_message: v3, queue_config: {max_shards: 0}}\n",
        );
        let expected = [
            "1:50: authorization header must be changed via",
            "1:37: `5` is no size",
            "2:59: `send_interval` of `metadata_config` cannot be 0",
            "3:49: `v3` is no `protobuf_message`",
            "3:67: remote write queue max_shards must be positive",
            "3:10: there are two of remote_write with the name `a`",
        ];
        for expected in expected {
            assert!(faults.contains(&format!("veilleur.yml:{expected}")), "{expected} in {faults}");
        }
        let expected = [
            "1:9: `ftp://x` is not an http or https URL: nothing is sent",
            "2:38: `sigv4` of `remote_write` is not supported yet: nothing is sent",
        ];
        assert_eq!(undone, expected);
    }
}
