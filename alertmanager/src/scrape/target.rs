//! One thing to scrape: where it is, and the labels that all its samples get.
//!
//! Invariant: two targets of a job with the same labels and address are one target.

use std::hash::{DefaultHasher, Hash, Hasher};

use base::http::Uri;
use base::labels::{Labels, LabelsBuilder};
use base::period::Period;

use super::config::Job;
use crate::discovery::Discovered;
use crate::relabel::Relabel;

/// So much of an interval is one moment for the targets whose turn falls into it, in milliseconds.
const TOGETHER: u64 = 100;

/// By what a target is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKey {
    /// The job.
    pub job: String,
    /// Its labels.
    pub labels: Labels,
    /// Its address.
    pub url: String,
}

/// A target.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is known by.
    pub key: TargetKey,
    /// Its labels before relabelling.
    pub discovered: Labels,
    pub(super) uri: Uri,
    pub(super) interval: Period,
    pub(super) timeout: Period,
}

impl Target {
    /// The labels that relabelling begins with.
    pub(super) fn before(job: &Job, discovered: &Discovered) -> Labels {
        Self::builder(job, discovered).build()
    }

    /// The target that `discovered` becomes by the relabelling of `job`: `None` where it is
    /// dropped, the error where it cannot be scraped.
    pub(super) fn build(job: &Job, discovered: &Discovered) -> Result<Option<Self>, String> {
        let mut labels = Self::builder(job, discovered);
        let before = labels.build();
        if !Relabel::run(&job.relabel, &mut labels) {
            return Ok(None);
        }
        let get = |name: &str| labels.get(name).unwrap_or("").to_owned();
        let address = get("__address__");
        if address.is_empty() {
            return Ok(None);
        }
        if address.contains('/') {
            return Err(format!("`{address}` is no address"));
        }
        let period = |name: &str| get(name).parse::<Period>().map_err(|error| error.to_string());
        let (interval, timeout) = (period("__scrape_interval__")?, period("__scrape_timeout__")?);
        if interval.is_zero() || timeout.is_zero() || timeout > interval {
            return Err(format!("interval {interval} and timeout {timeout} do not fit"));
        }
        let url = format!(
            "{}://{address}{}{}",
            get("__scheme__"),
            get("__metrics_path__"),
            query(&labels, job)
        );
        let uri: Uri = url.parse().map_err(|error| format!("`{url}`: {error}"))?;
        base::http::client::Origin::of(&uri).map_err(|error| error.to_string())?;
        if labels.get("instance").is_none() {
            labels.set("instance", &address);
        }
        labels.retain(|name, _| !name.starts_with("__"));
        let key = TargetKey { job: job.name.clone(), labels: labels.build(), url };
        Ok(Some(Self { key, discovered: before, uri, interval, timeout }))
    }

    /// Whether what `discovered` becomes has no address, although it is to be scraped.
    pub(super) fn is_nowhere(job: &Job, discovered: &Discovered) -> bool {
        let mut labels = Self::builder(job, discovered);
        let is_kept = Relabel::run(&job.relabel, &mut labels);
        is_kept && labels.get("__address__").is_some_and(|address| address.contains('/'))
    }

    fn builder(job: &Job, discovered: &Discovered) -> LabelsBuilder {
        let mut labels = LabelsBuilder::default();
        labels.set("job", &job.name);
        labels.set("__metrics_path__", &job.path);
        labels.set("__scheme__", &job.scheme);
        labels.set("__scrape_interval__", &job.interval.to_string());
        labels.set("__scrape_timeout__", &job.timeout.to_string());
        for (name, values) in &job.config.params {
            if let Some(value) = values.first() {
                labels.set(&format!("__param_{name}"), value);
            }
        }
        for (name, value) in discovered {
            labels.set(name, value);
        }
        labels
    }

    /// Where in its interval the target is scraped: the same after every restart, and spread
    /// evenly over all targets (F44). In milliseconds.
    ///
    /// Those that are close to each other are scraped together: of a scrape that is alone most of the
    /// time is spent on fetching what it works with from where it has gone meanwhile.
    pub(super) fn phase(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.key.labels.fingerprint(), &self.key.url).hash(&mut hasher);
        let interval = self.interval.millis().max(1);
        let together = (interval / 50).clamp(1, TOGETHER);
        let phase = hasher.finish() % interval;
        phase - phase % together
    }
}

/// The parameters, those rewritten by relabelling before those of the configuration.
fn query(labels: &LabelsBuilder, job: &Job) -> String {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, value) in labels.iter() {
        if let Some(name) = name.strip_prefix("__param_") {
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    for (name, values) in &job.config.params {
        pairs.extend(values.iter().skip(1).map(|value| (name.clone(), value.clone())));
    }
    let encode = |(name, value): &(String, String)| format!("{}={}", percent(name), percent(value));
    let joined = pairs.iter().map(encode).collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

/// Percent-encodes what may not stand in a query (RFC 3986).
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use base::diagnostic::Diagnostics;

    use super::*;
    use crate::scrape::{GlobalScrape, ScrapeConfig};

    fn job(yaml: &str) -> Job {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: ScrapeConfig = base::yaml::read(yaml, &mut diagnostics).unwrap();
        let global = GlobalScrape::new(Period::from_secs(60), Period::from_secs(10));
        let job = config.build(global, Path::new("/"), &mut diagnostics);
        assert!(diagnostics.is_empty(), "{diagnostics}");
        job.unwrap()
    }

    #[track_caller]
    fn check(yaml: &str, discovered: &[(&str, &str)], expected: &str) {
        let discovered = Labels::from_pairs(discovered.iter().copied());
        let got = match Target::build(&job(yaml), &discovered) {
            Ok(Some(target)) => format!("{} {}", target.key.labels, target.key.url),
            Ok(None) => "dropped".to_owned(),
            Err(error) => error,
        };
        assert_eq!(got, expected, "{yaml}");
    }

    #[test]
    fn makes_targets_of_what_was_discovered() {
        let db = [("__address__", "db:9100"), ("env", "prod"), ("__meta_x", "y")];
        check(
            "{job_name: n}",
            &db,
            r#"{env="prod", instance="db:9100", job="n"} http://db:9100/metrics"#,
        );
        check(
            "{job_name: n, scheme: https, metrics_path: /m, params: {a: [x y, z], b: ['&']}}",
            &db,
            r#"{env="prod", instance="db:9100", job="n"} https://db:9100/m?a=x%20y&b=%26&a=z"#,
        );
        check(
            "{job_name: n, relabel_configs: [{source_labels: [__address__], target_label: __param_target}, \
             {source_labels: [__param_target], target_label: instance}, \
             {target_label: __address__, replacement: 'bb:9115'}]}",
            &db,
            r#"{env="prod", instance="db:9100", job="n"} http://bb:9115/metrics?target=db%3A9100"#,
        );
        check(
            "{job_name: n, relabel_configs: [{source_labels: [env], regex: dev, action: keep}]}",
            &db,
            "dropped",
        );
        let page = [("__address__", "https://page.example/x")];
        check("{job_name: n}", &page, "`https://page.example/x` is no address");
        check(
            "{job_name: n, static_configs: [{targets: ['https://page.example/x']}], \
             relabel_configs: [{source_labels: [__address__], target_label: __param_target}, \
             {source_labels: [__param_target], target_label: instance}, \
             {target_label: __address__, replacement: 'bb:9115'}]}",
            &page,
            r#"{instance="https://page.example/x", job="n"} http://bb:9115/metrics?target=https%3A%2F%2Fpage.example%2Fx"#,
        );
        check(
            "{job_name: n}",
            &[("__address__", "user@h:1")],
            "a URL cannot hold a user name; use basic_auth",
        );
        check(
            "{job_name: n}",
            &[("__address__", "h:0")],
            "`http://h:0/metrics` has no host or no port",
        );
    }

    #[test]
    fn phases_spread_over_the_interval() {
        let job = job("{job_name: n, scrape_interval: 10s}");
        let mut slots = [0; 10];
        for n in 0..2000 {
            let discovered = Labels::from_pairs([("__address__", format!("host-{n}:9100"))]);
            let target = Target::build(&job, &discovered).unwrap().unwrap();
            slots[(target.phase() / 1000) as usize] += 1;
        }
        assert!(slots.iter().all(|count| (140..260).contains(count)), "{slots:?}");
    }

    #[test]
    fn close_phases_are_one() {
        for (interval, together) in [("10ms", 1), ("1s", 20), ("5s", 100), ("1h", 100)] {
            let yaml = format!("{{job_name: n, scrape_interval: {interval}, scrape_timeout: 5ms}}");
            let (job, mut phases) = (job(&yaml), BTreeSet::new());
            for n in 0..200 {
                let discovered = Labels::from_pairs([("__address__", format!("host-{n}:9100"))]);
                phases.insert(Target::build(&job, &discovered).unwrap().unwrap().phase());
            }
            assert!(phases.iter().all(|phase| phase % together == 0), "{interval}: {phases:?}");
            assert!(phases.len() > 1, "{interval}: {phases:?}");
        }
    }
}
