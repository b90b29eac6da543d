//! `openstack_sd_configs`: the instances or hypervisors of an OpenStack cloud.
//!
//! Source: OpenStack's identity and compute interfaces, and Prometheus's list of labels.
//!
//! Invariant: a list is of all pages, or none; a token is asked for anew after it was refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpAccess, HttpConfig};
use base::http::fetch::fetch;
use base::http::tls::TlsConfig;
use base::http::{Full, HeaderMap, Method, Request, StatusCode, header};
use base::labels::LabelsBuilder;
use base::period::Period;
use base::sample::Timestamp;
use base::secret::Secret;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Discovered;
use super::http::{check_url, refresh};
use super::source::{Discovery, Made};
use super::web::{self, MAX_ANSWER, PATIENCE, host_port, label_name};

/// Pages that are read.
const MAX_PAGES: usize = 1000;

/// A cloud, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenstackSdConfig {
    /// `instance` or `hypervisor`.
    pub role: Option<Spanned<String>>,
    /// The region.
    pub region: Option<String>,
    /// Where tokens are given: `https://host:5000/v3`; by default `OS_AUTH_URL` of the environment.
    pub identity_endpoint: Option<Spanned<String>>,
    /// Who we are.
    pub username: Option<String>,
    /// The same, by id.
    pub userid: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// Where we are known.
    pub domain_name: Option<String>,
    /// The same, by id.
    pub domain_id: Option<String>,
    /// What the token is for.
    pub project_name: Option<String>,
    /// The same, by id.
    pub project_id: Option<String>,
    /// An application in place of a user.
    pub application_credential_name: Option<String>,
    /// The same, by id.
    pub application_credential_id: Option<String>,
    /// Its secret.
    pub application_credential_secret: Option<Secret>,
    /// Whether the instances of all projects are wanted.
    pub all_tenants: bool,
    /// `public`, by default, `admin` or `internal`: which of the cloud's addresses is asked.
    pub availability: Option<Spanned<String>>,
    /// The port of the targets; by default 80.
    pub port: Option<u16>,
    /// How often the cloud is asked; by default every minute.
    pub refresh_interval: Option<Spanned<Period>>,
    /// TLS.
    pub tls_config: Option<Spanned<TlsConfig>>,
}

impl OpenstackSdConfig {
    pub(super) fn build(
        &self,
        place: Place,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Made> {
        let http = HttpConfig { tls_config: self.tls_config.clone(), ..HttpConfig::default() };
        let access = http.relative_to(folder).build_following(place, diagnostics);
        let hypervisors = match self.role.as_ref().map(|role| role.value.as_str()) {
            Some("instance") => false,
            Some("hypervisor") => true,
            other => {
                let at = self.role.as_ref().map_or(place, Place::from);
                let message = match other {
                    Some(other) => format!("`{other}` is no role that is known here"),
                    None => "the role of `openstack_sd_configs` is missing".to_owned(),
                };
                diagnostics.report_with_help(at, message, "known: `instance`, `hypervisor`");
                return None;
            }
        };
        if self.region.is_none() {
            diagnostics.report(place, "`region` of `openstack_sd_configs` is missing");
        }
        let interface = match self.availability.as_ref() {
            None => "public",
            Some(known) if ["public", "admin", "internal"].contains(&known.value.as_str()) => {
                known.value.as_str()
            }
            Some(other) => {
                let message = format!("`{}` is none of `public`, `admin`, `internal`", other.value);
                diagnostics.report(other, message);
                return None;
            }
        };
        let endpoint = self.identity_endpoint.clone();
        let ambient = || {
            let url = base::yaml::variable("OS_AUTH_URL")?;
            Some(Spanned { value: url, place })
        };
        // Without one the cloud cannot be asked, which is told as any other failure: the environment
        // is another one where the file is checked.
        let endpoint = endpoint.or_else(ambient);
        if let Some(endpoint) = &endpoint {
            check_url(endpoint, diagnostics)?;
        }
        let endpoint = endpoint.map(|endpoint| endpoint.value.trim_end_matches('/').to_owned());
        let every = refresh(self.refresh_interval, Period::from_secs(60), diagnostics);
        let sd = OpenstackSd {
            config: self.clone(),
            hypervisors,
            interface: interface.to_owned(),
            endpoint,
            access: access?,
            token: None,
        };
        let make = Arc::new(move || Box::new(sd.clone()) as Box<dyn Discovery>);
        Some(Made { pause: every.duration(), patience: PATIENCE * 10, make })
    }
}

#[derive(Clone)]
struct OpenstackSd {
    config: OpenstackSdConfig,
    hypervisors: bool,
    interface: String,
    endpoint: Option<String>,
    access: HttpAccess,
    /// The token, and where the cloud computes.
    token: Option<(Secret, String)>,
}

#[async_trait]
impl Discovery for OpenstackSd {
    async fn next(&mut self, _now: Timestamp) -> Result<Vec<Discovered>, String> {
        if self.token.is_none() {
            self.token = Some(self.log_in().await?);
        }
        let asked =
            if self.hypervisors { self.hypervisors().await } else { self.instances().await };
        if asked.is_err() {
            self.token = None;
        }
        asked
    }
}

impl OpenstackSd {
    async fn log_in(&self) -> Result<(Secret, String), String> {
        let endpoint = self.endpoint.as_deref();
        let endpoint = endpoint.ok_or("no `identity_endpoint`, and OS_AUTH_URL is not set")?;
        let body = self.login().to_string();
        let request =
            Request::builder().method(Method::POST).uri(format!("{endpoint}/auth/tokens"));
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())?;
        let answer = fetch(&self.access, request, MAX_ANSWER, PATIENCE).await?;
        if answer.status != StatusCode::CREATED {
            return Err(format!("no token: {}", web::refused(&answer)));
        }
        let token = answer.headers.get("x-subject-token").and_then(|token| token.to_str().ok());
        let token = Secret::new(token.ok_or("the answer holds no token")?);
        let said: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("the answer to a login is no JSON: {error}"))?;
        let services = said["token"]["catalog"].as_array().into_iter().flatten();
        let compute = services.filter(|service| service["type"] == "compute");
        let mut endpoints = compute.flat_map(|service| service["endpoints"].as_array()).flatten();
        let region = self.config.region.as_deref().unwrap_or("");
        let found = endpoints.find(|endpoint| {
            endpoint["interface"] == self.interface.as_str()
                && (endpoint["region_id"] == region || endpoint["region"] == region)
        });
        let url = found.and_then(|endpoint| endpoint["url"].as_str());
        let url = url.ok_or_else(|| format!("nothing computes in the region `{region}`"))?;
        Ok((token, url.trim_end_matches('/').to_owned()))
    }

    /// The body of a login.
    fn login(&self) -> Value {
        let config = &self.config;
        let secret =
            |secret: &Option<Secret>| secret.as_ref().map_or("", |s| s.expose()).to_owned();
        let named = |id: &Option<String>, name: &Option<String>| match (id, name) {
            (Some(id), _) => json!({"id": id}),
            (None, name) => json!({"name": name.as_deref().unwrap_or("default")}),
        };
        let domain = named(&config.domain_id, &config.domain_name);
        let mut user = match &config.userid {
            Some(id) => json!({"id": id}),
            None => json!({"name": config.username.as_deref().unwrap_or(""), "domain": domain}),
        };
        let by_application = config.application_credential_id.is_some()
            || config.application_credential_name.is_some();
        if by_application {
            let mut application =
                named(&config.application_credential_id, &config.application_credential_name);
            if config.application_credential_id.is_none() {
                application["user"] = user;
            }
            application["secret"] = json!(secret(&config.application_credential_secret));
            let identity = json!({
                "methods": ["application_credential"],
                "application_credential": application,
            });
            return json!({"auth": {"identity": identity}});
        }
        user["password"] = json!(secret(&config.password));
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let project = match (&config.project_id, &config.project_name) {
            (Some(id), _) => Some(json!({"id": id})),
            (None, Some(name)) => Some(json!({"name": name, "domain": domain})),
            (None, None) => None,
        };
        match project {
            Some(project) => json!({"auth": {"identity": identity, "scope": {"project": project}}}),
            None => json!({"auth": {"identity": identity}}),
        }
    }

    /// All entries of the list `name`, over its pages.
    async fn list(&self, path: &str, name: &str) -> Result<Vec<Value>, String> {
        let (token, url) = self.token.as_ref().ok_or("there is no token")?;
        let (mut url, mut found) = (format!("{url}{path}"), Vec::new());
        for _ in 0..MAX_PAGES {
            let mut headers = HeaderMap::new();
            let value = token.expose().parse();
            let mut value: header::HeaderValue =
                value.map_err(|_| "the token cannot stand in a header".to_owned())?;
            value.set_sensitive(true);
            headers.insert("x-auth-token", value);
            let answer = web::get(&self.access, &url, headers, PATIENCE).await?;
            let mut page: Value = web::json(&answer).map_err(|error| format!("{path}: {error}"))?;
            match page[name].take() {
                Value::Array(entries) => found.extend(entries),
                _ => return Err(format!("{path}: the answer has no `{name}`")),
            }
            let links = page[format!("{name}_links")].as_array().cloned().unwrap_or_default();
            let next = links.iter().find(|link| link["rel"] == "next");
            match next.and_then(|link| link["href"].as_str()) {
                Some(next) => url = next.to_owned(),
                None => return Ok(found),
            }
        }
        Err(format!("{path}: there are more than {MAX_PAGES} pages"))
    }

    async fn hypervisors(&self) -> Result<Vec<Discovered>, String> {
        let all = self.list("/os-hypervisors/detail", "hypervisors").await?;
        let target = |hypervisor: &Value| {
            let address = text(&hypervisor["host_ip"]);
            let mut labels = LabelsBuilder::default();
            labels.set("__address__", &host_port(&address, self.config.port.unwrap_or(80)));
            for (label, field) in [
                ("host_ip", "host_ip"),
                ("hostname", "hypervisor_hostname"),
                ("id", "id"),
                ("state", "state"),
                ("status", "status"),
                ("type", "hypervisor_type"),
            ] {
                let name = format!("__meta_openstack_hypervisor_{label}");
                labels.set(&name, &text(&hypervisor[field]));
            }
            labels.build()
        };
        Ok(all.iter().map(target).collect())
    }

    async fn instances(&self) -> Result<Vec<Discovered>, String> {
        let all = if self.config.all_tenants { "?all_tenants=true" } else { "" };
        let servers = self.list(&format!("/servers/detail{all}"), "servers").await?;
        let mut found = Vec::new();
        for server in &servers {
            self.instance(server, &mut found);
        }
        Ok(found)
    }

    /// A target for each fixed address, with the floating one of its pool.
    fn instance(&self, server: &Value, found: &mut Vec<Discovered>) {
        let mut common = LabelsBuilder::default();
        for (label, value) in [
            ("instance_id", &server["id"]),
            ("instance_name", &server["name"]),
            ("instance_status", &server["status"]),
            ("instance_image", &server["image"]["id"]),
            ("project_id", &server["tenant_id"]),
            ("user_id", &server["user_id"]),
        ] {
            common.set(&format!("__meta_openstack_{label}"), &text(value));
        }
        let flavor = [&server["flavor"]["original_name"], &server["flavor"]["id"]];
        let flavor = flavor.iter().map(|value| text(value)).find(|text| !text.is_empty());
        common.set("__meta_openstack_instance_flavor", &flavor.unwrap_or_default());
        for (name, value) in server["metadata"].as_object().into_iter().flatten() {
            common.set(&format!("__meta_openstack_tag_{}", label_name(name)), &text(value));
        }
        for (pool, addresses) in server["addresses"].as_object().into_iter().flatten() {
            let addresses: Vec<&Value> = addresses.as_array().into_iter().flatten().collect();
            // A floating address belongs to the fixed one of the same interface.
            let mut floating: BTreeMap<String, String> = BTreeMap::new();
            for address in addresses.iter().filter(|a| a["OS-EXT-IPS:type"] == "floating") {
                floating.insert(text(&address["OS-EXT-IPS-MAC:mac_addr"]), text(&address["addr"]));
            }
            for address in addresses.iter().filter(|a| a["OS-EXT-IPS:type"] != "floating") {
                let host = text(&address["addr"]);
                let public = floating.get(&text(&address["OS-EXT-IPS-MAC:mac_addr"]));
                let mut labels = common.clone();
                labels
                    .set("__meta_openstack_address_pool", pool)
                    .set("__meta_openstack_private_ip", &host)
                    .set("__meta_openstack_public_ip", public.map_or("", String::as_str))
                    .set("__address__", &host_port(&host, self.config.port.unwrap_or(80)));
                found.push(labels.build());
            }
        }
    }
}

/// A value as a label has it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
