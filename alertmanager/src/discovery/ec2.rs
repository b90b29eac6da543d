//! `ec2_sd_configs`: the instances of Amazon's EC2.
//!
//! Source: the documentation of `DescribeInstances`, and Prometheus's list of labels.
//!
//! Invariant: a list is of all pages, or none; keys go nowhere but into a signature.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpAccess, SecretSource};
use base::http::fetch::fetch;
use base::http::{Full, Method, Request, StatusCode, header, percent_encoded};
use base::labels::LabelsBuilder;
use base::period::Period;
use base::sample::Timestamp;
use base::secret::Secret;
use bytes::Bytes;

use super::Discovered;
use super::docker::Filter;
use super::http::{check_url, refresh};
use super::source::{Discovery, Made};
use super::web::{self, MAX_ANSWER, PATIENCE, host_port, label_name};
use super::xml::Element;
use crate::aws::{Credentials, Keys, Signing, given, region_of_environment};

/// The versions of the interfaces.
const VERSION: &str = "2016-11-15";
const ROLES_VERSION: &str = "2011-06-15";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// Pages of instances, a thousand each, that are read.
const MAX_PAGES: usize = 1000;

client_settings! {
    /// A region of EC2, as written.
    pub struct Ec2SdConfig {
        /// The region; by default that of the environment.
        #[serde(default)]
        pub region: Option<String>,
        /// Another address than that of the region.
        #[serde(default)]
        pub endpoint: Option<Spanned<String>>,
        /// A key.
        #[serde(default)]
        pub access_key: Option<String>,
        /// Its secret.
        #[serde(default)]
        pub secret_key: Option<Secret>,
        /// A profile of the shared credentials file, in place of a key.
        #[serde(default)]
        pub profile: Option<String>,
        /// A role that is taken on.
        #[serde(default)]
        pub role_arn: Option<String>,
        /// What the role asks for.
        #[serde(default)]
        pub external_id: Option<String>,
        /// The port of the targets; by default 80.
        #[serde(default)]
        pub port: Option<u16>,
        /// Which instances; all where nothing is said.
        #[serde(default)]
        pub filters: Vec<Filter>,
        /// How often EC2 is asked; by default every minute.
        #[serde(default)]
        pub refresh_interval: Option<Spanned<Period>>,
    }
}

impl Ec2SdConfig {
    pub(super) fn build(
        &self,
        place: Place,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Made> {
        let access = self.http(folder).build_following(place, diagnostics);
        if let Some(endpoint) = &self.endpoint {
            check_url(endpoint, diagnostics)?;
        }
        let Some(region) = self.region.clone().or_else(region_of_environment) else {
            let help = "write `region`, or set AWS_REGION";
            diagnostics.report_with_help(place, "EC2 discovery needs a region", help);
            return None;
        };
        for filter in self.filters.iter().filter(|filter| filter.values.is_empty()) {
            let message = format!("the filter `{}` has no values", filter.name);
            diagnostics.report(place, message);
        }
        let keys = match (&self.access_key, &self.secret_key, &self.profile) {
            (Some(key), Some(secret), _) => Keys::Given {
                access_key: key.clone(),
                secret_key: SecretSource::Given(secret.clone()),
            },
            (None, None, Some(profile)) => Keys::Profile(profile.clone()),
            (None, None, None) => Keys::Ambient,
            _ => {
                diagnostics.report(place, "`access_key` and `secret_key` belong together");
                return None;
            }
        };
        let every = refresh(self.refresh_interval, Period::from_secs(60), diagnostics);
        let sd = Ec2Sd { config: self.clone(), region, keys, access: access?, zones: None };
        let make = Arc::new(move || Box::new(sd.clone()) as Box<dyn Discovery>);
        Some(Made { pause: every.duration(), patience: PATIENCE * 10, make })
    }
}

#[derive(Clone)]
struct Ec2Sd {
    config: Ec2SdConfig,
    region: String,
    keys: Keys,
    access: HttpAccess,
    /// The ids of the zones by name, once they are known; not all accounts may ask.
    zones: Option<BTreeMap<String, String>>,
}

#[async_trait]
impl Discovery for Ec2Sd {
    async fn next(&mut self, now: Timestamp) -> Result<Vec<Discovered>, String> {
        let credentials = self.credentials(now).await?;
        if self.zones.is_none() {
            let asked = self.ask("DescribeAvailabilityZones", Vec::new(), &credentials, now).await;
            self.zones = asked.ok().map(|answer| {
                let zones = answer.items("availabilityZoneInfo");
                zones
                    .map(|z| (z.text("zoneName").to_owned(), z.text("zoneId").to_owned()))
                    .collect()
            });
        }
        let (mut found, mut next) = (Vec::new(), String::new());
        for _ in 0..MAX_PAGES {
            let mut fields = vec![("MaxResults".to_owned(), "1000".to_owned())];
            for (n, filter) in self.config.filters.iter().enumerate() {
                fields.push((format!("Filter.{}.Name", n + 1), filter.name.clone()));
                let values = filter.values.iter().enumerate();
                fields.extend(
                    values.map(|(v, text)| {
                        (format!("Filter.{}.Value.{}", n + 1, v + 1), text.clone())
                    }),
                );
            }
            if !next.is_empty() {
                fields.push(("NextToken".to_owned(), next));
            }
            let answer = self.ask("DescribeInstances", fields, &credentials, now).await?;
            for reservation in answer.items("reservationSet") {
                let owner = reservation.text("ownerId");
                let instances = reservation.items("instancesSet");
                found.extend(instances.filter_map(|instance| self.target(instance, owner)));
            }
            next = answer.text("nextToken").to_owned();
            if next.is_empty() {
                return Ok(found);
            }
        }
        Err(format!("there are more than {MAX_PAGES} pages of instances"))
    }
}

impl Ec2Sd {
    /// What requests are signed with: the keys, or what a role gives for them.
    async fn credentials(&self, now: Timestamp) -> Result<Credentials, String> {
        let own = self.keys.read()?;
        let Some(role) = &self.config.role_arn else { return Ok(own) };
        let mut fields = vec![
            ("Action".to_owned(), "AssumeRole".to_owned()),
            ("Version".to_owned(), ROLES_VERSION.to_owned()),
            ("RoleArn".to_owned(), role.clone()),
            ("RoleSessionName".to_owned(), "veilleur".to_owned()),
            ("DurationSeconds".to_owned(), "900".to_owned()),
        ];
        let external = self.config.external_id.iter();
        fields.extend(external.map(|id| ("ExternalId".to_owned(), id.clone())));
        let url = self.config.endpoint.as_ref().map(|endpoint| endpoint.value.clone());
        let url = url.unwrap_or_else(|| format!("https://sts.{}.{}/", self.region, self.domain()));
        let answer = self.post(&url, "sts", &fields, &own, now).await?;
        given(&answer).ok_or_else(|| "the answer to taking on the role holds no keys".to_owned())
    }

    fn domain(&self) -> &'static str {
        if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
    }

    async fn ask(
        &self,
        action: &str,
        mut fields: Vec<(String, String)>,
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<Element, String> {
        fields.insert(0, ("Action".to_owned(), action.to_owned()));
        fields.insert(1, ("Version".to_owned(), VERSION.to_owned()));
        let url = self.config.endpoint.as_ref().map(|endpoint| endpoint.value.clone());
        let url = url.unwrap_or_else(|| format!("https://ec2.{}.{}/", self.region, self.domain()));
        let answer = self.post(&url, "ec2", &fields, credentials, now).await?;
        let answer = Element::read(&answer).map_err(|error| format!("{action}: {error}"))?;
        match answer.name() {
            name if name == format!("{action}Response") => Ok(answer),
            other => Err(format!("{action}: the answer is `{other}`")),
        }
    }

    async fn post(
        &self,
        url: &str,
        service: &str,
        fields: &[(String, String)],
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<String, String> {
        let pairs =
            fields.iter().map(|(n, v)| format!("{}={}", percent_encoded(n), percent_encoded(v)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let signing = Signing { service, region: &self.region, credentials, now };
        let signed = signing.headers(&Secret::new(url), CONTENT_TYPE, body.as_bytes())?;
        let mut request = Request::builder().method(Method::POST).uri(url);
        request = request.header(header::CONTENT_TYPE, CONTENT_TYPE);
        for (name, value) in &signed {
            request = request.header(*name, value.expose());
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())?;
        let answer = fetch(&self.access, request, MAX_ANSWER, PATIENCE).await?;
        if answer.status != StatusCode::OK {
            return Err(web::refused(&answer));
        }
        String::from_utf8(answer.body.into()).map_err(|_| "the answer is no UTF-8".to_owned())
    }

    fn target(&self, instance: &Element, owner: &str) -> Option<Discovered> {
        let address = instance.text("privateIpAddress");
        let interfaces = || instance.items("networkInterfaceSet");
        let six = || interfaces().flat_map(|interface| interface.items("ipv6AddressesSet"));
        let sixes: Vec<&str> = six().map(|item| item.text("ipv6Address")).collect();
        // One that has only IPv6 has a target all the same; one without any address has none.
        let host = if address.is_empty() { sixes.first().copied()? } else { address };
        let mut labels = LabelsBuilder::default();
        let zone = instance.text("placement/availabilityZone");
        let zones = self.zones.as_ref().and_then(|zones| zones.get(zone));
        labels
            .set("__address__", &host_port(host, self.config.port.unwrap_or(80)))
            .set("__meta_ec2_availability_zone_id", zones.map_or("", String::as_str))
            .set("__meta_ec2_owner_id", owner)
            .set("__meta_ec2_region", &self.region);
        for (label, path) in [
            ("ami", "imageId"),
            ("architecture", "architecture"),
            ("availability_zone", "placement/availabilityZone"),
            ("instance_id", "instanceId"),
            ("instance_lifecycle", "instanceLifecycle"),
            ("instance_state", "instanceState/name"),
            ("instance_type", "instanceType"),
            ("platform", "platform"),
            ("primary_subnet_id", "subnetId"),
            ("private_dns_name", "privateDnsName"),
            ("private_ip", "privateIpAddress"),
            ("public_dns_name", "dnsName"),
            ("public_ip", "ipAddress"),
            ("vpc_id", "vpcId"),
        ] {
            labels.set(&format!("__meta_ec2_{label}"), instance.text(path));
        }
        let list = |texts: &[&str]| match texts {
            [] => String::new(),
            texts => format!(",{},", texts.join(",")),
        };
        let mut subnets: Vec<&str> = Vec::new();
        for subnet in interfaces().map(|interface| interface.text("subnetId")) {
            if !subnet.is_empty() && !subnets.contains(&subnet) {
                subnets.push(subnet);
            }
        }
        let primary = six().filter(|item| item.text("isPrimaryIpv6") == "true");
        let primary: Vec<&str> = primary.map(|item| item.text("ipv6Address")).collect();
        labels
            .set("__meta_ec2_subnet_id", &list(&subnets))
            .set("__meta_ec2_ipv6_addresses", &list(&sixes))
            .set("__meta_ec2_primary_ipv6_addresses", &list(&primary));
        for tag in instance.items("tagSet") {
            labels
                .set(&format!("__meta_ec2_tag_{}", label_name(tag.text("key"))), tag.text("value"));
        }
        Some(labels.build())
    }
}
