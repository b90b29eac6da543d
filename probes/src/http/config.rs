//! An HTTP probe as written.
//!
//! Invariant: the built probe's URLs, headers, paths and expressions are valid, and every variable is
//! extracted before it is used.

mod identity;
mod proxy;
mod step;

use identity::ProxyConfig;
pub(crate) use identity::{AuthorizationConfig, BasicAuthConfig, IdentityConfig, OAuth2Config};
pub(crate) use proxy::ProxySettings;

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::client::{HTTP2_OR_1, Origin};
use base::http::header::{HeaderName, HeaderValue};
use base::http::tls::TlsConfig;
use base::http::{HeaderMap, Method, Uri};
use base::secret::Secret;
use bytes::Bytes;
use serde::Deserialize;

use super::HttpProbe;
use super::route::{IpChoice, Proxies, Route};
use super::step::{Access, PHASES};
use crate::chain::Trust;
use crate::script::ByteSize;
use crate::session::{DAYS_LEFT, SECONDS};
use crate::text::Texts;
use crate::thresholds::{Limits, LimitsConfig};

/// The most steps of a journey.
const MAX_STEPS: usize = 100;

/// Defines a probe and a step of one, which both have the settings of a request.
macro_rules! with_request {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)*) => {
        /// An HTTP probe, as written: one request, or `steps`.
        #[derive(Debug, Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct HttpConfig {
            $($(#[$doc])* #[serde(default)] $field: Option<$type>,)*
            /// Further headers, of every request.
            #[serde(default)]
            headers: BTreeMap<String, Spanned<Secret>>,
            /// A journey: several requests, each after the other, in place of one.
            #[serde(default)]
            steps: Vec<Spanned<StepConfig>>,
            /// Who we are, by name and password.
            #[serde(default)]
            basic_auth: Option<Spanned<BasicAuthConfig>>,
            /// Who we are, by a token.
            #[serde(default)]
            authorization: Option<Spanned<AuthorizationConfig>>,
            /// Who we are, by a token that is asked for.
            #[serde(default)]
            oauth2: Option<Spanned<OAuth2Config>>,
            /// Whom to trust, and who we are.
            #[serde(default)]
            tls: Option<Spanned<TlsConfig>>,
            /// Who passes requests on.
            #[serde(default)]
            proxy: Option<Spanned<ProxyConfig>>,
            /// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of our environment say who passes
            /// requests on.
            #[serde(default)]
            proxy_from_environment: Option<Spanned<bool>>,
            /// Whether HTTP/2 is offered, over TLS only; it is where nothing is said.
            #[serde(default)]
            http2: Option<bool>,
            /// Which addresses are dialled: `4`, `6` or `any`, which is what happens where nothing
            /// is said.
            #[serde(default)]
            ip_version: Option<Spanned<String>>,
            /// Whether the other addresses are tried, too, after those of `ip_version`.
            #[serde(default)]
            ip_fallback: bool,
            /// Limits on `seconds`, `days_left` and the phases, of all requests together.
            #[serde(default)]
            thresholds: LimitsConfig,
        }

        /// A step of a journey, as written.
        #[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct StepConfig {
            $($(#[$doc])* #[serde(default)] $field: Option<$type>,)*
            /// What the step is called; its number where nothing is said.
            #[serde(default)]
            name: Option<Spanned<String>>,
            /// Further headers of the request.
            #[serde(default)]
            headers: BTreeMap<String, Spanned<Secret>>,
            /// What is taken from the answer for later steps, by the names of the variables.
            #[serde(default)]
            extract: BTreeMap<String, Spanned<ExtractConfig>>,
            /// Limits on `seconds`, `days_left` and the phases of this step.
            #[serde(default)]
            thresholds: LimitsConfig,
        }

        impl HttpConfig {
            /// The one request.
            fn take_request(&mut self) -> StepConfig {
                StepConfig { $($field: self.$field.take(),)* ..StepConfig::default() }
            }

            /// The settings of the one request that are written.
            fn request_settings(&self) -> Vec<&'static str> {
                let mut all = Vec::new();
                $(if self.$field.is_some() { all.push(stringify!($field)); })*
                all
            }
        }
    };
}

with_request! {
    /// The page: an absolute `http` or `https` URL.
    url: Spanned<String>,
    /// `GET` where nothing is said.
    method: Spanned<String>,
    /// The body of the request, which may have a password in it.
    body: Spanned<Secret>,
    /// The file with the body, which is sent as it is; read when the configuration is.
    body_file: Spanned<PathBuf>,
    /// The statuses that are wanted: `200`, `300-399`, `2xx`; `2xx` where nothing is said.
    expect_status: Spanned<Texts>,
    /// The versions that are wanted: `HTTP/1.0`, `HTTP/1.1`, `HTTP/2.0`; any where nothing is said.
    expect_versions: Spanned<Texts>,
    /// Headers that must be there, with what their values must match.
    expect_headers: BTreeMap<String, Spanned<String>>,
    /// Headers that must not be there with a value that matches.
    reject_headers: BTreeMap<String, Spanned<String>>,
    /// Texts that the body must have.
    body_contains: Spanned<Texts>,
    /// Expressions that the body must match.
    body_matches: Spanned<Texts>,
    /// Expressions that the body must not match.
    body_not_matches: Spanned<Texts>,
    /// What must stand in the body, which is JSON.
    json: Vec<Spanned<JsonConfig>>,
    /// How much of a body is read; a larger one is a failure. 1 MiB where nothing is said.
    body_limit: Spanned<ByteSize>,
    /// `gzip`, `br` or `deflate` to ask for it; what comes packed is unpacked in any case.
    compression: Spanned<String>,
    /// Whether redirects are followed; else the redirect itself is judged.
    follow_redirects: bool,
    /// How many redirects are followed; 10 where nothing is said.
    max_redirects: u32,
    /// A connection without TLS is a failure.
    fail_if_not_ssl: bool,
    /// A connection with TLS is a failure.
    fail_if_ssl: bool,
}

/// What must stand in JSON, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct JsonConfig {
    /// Where: `$.orders[0].state`, `$['a b']`, `$.items[*].ok`, `$.errors.length()`.
    path: Spanned<String>,
    /// What a number is called; the path where nothing is said.
    #[serde(default)]
    name: Option<Spanned<String>>,
    /// The unit of a number.
    #[serde(default)]
    unit: String,
    /// What it must be.
    #[serde(default)]
    equals: Option<Spanned<String>>,
    /// What it must match.
    #[serde(default)]
    matches: Option<Spanned<String>>,
    /// The range outside of which a number is worth a warning.
    #[serde(default)]
    warn: Option<Spanned<String>>,
    /// The range outside of which a number is critical.
    #[serde(default)]
    crit: Option<Spanned<String>>,
}

/// Where the value of a variable comes from, as written: from JSON, a header, or else the body.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExtractConfig {
    /// Where it stands in the body, which is JSON.
    #[serde(default)]
    json: Option<Spanned<String>>,
    /// The header that has it.
    #[serde(default)]
    header: Option<Spanned<String>>,
    /// What of that it is: the first group, or all that matches.
    #[serde(default)]
    regex: Option<Spanned<String>>,
}

impl HttpConfig {
    /// The probe, which is written at `place`; reports everything that is wrong with it.
    pub fn build(mut self, place: Place, diagnostics: &mut Diagnostics) -> Option<HttpProbe> {
        let is_journey = !self.steps.is_empty();
        let written = if is_journey {
            self.report_beside_steps(diagnostics);
            std::mem::take(&mut self.steps)
        } else {
            vec![Spanned { value: self.take_request(), place }]
        };
        let known = [&[SECONDS, DAYS_LEFT][..], &PHASES].concat();
        let mut steps = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for (number, step) in (1..).zip(written) {
            let step =
                step.value.build(step.place, number, is_journey, &names, &known, diagnostics);
            let Some((mut step, place)) = step else { continue };
            for (name, value) in &self.headers {
                step.add_shared_header(name, value, diagnostics);
            }
            step.add_user_agent();
            if steps.iter().any(|other: &super::Step| other.name == step.name) {
                diagnostics.report(place, format!("there is a step `{}` already", step.name));
            }
            names.extend(step.extract.iter().map(|extract| extract.name.clone()));
            steps.push(step);
        }
        let limits = Limits::build(&self.thresholds, &known, diagnostics);
        let origins = steps.iter().filter(|step| !step.url.host_varies());
        let origins = origins.filter_map(|step| step.url.source_origin()).collect();
        let route = self.route(place, diagnostics);
        let identity = IdentityConfig {
            basic_auth: self.basic_auth.as_ref(),
            authorization: self.authorization.as_ref(),
            oauth2: self.oauth2.as_ref(),
        };
        let identity = identity.build(route.as_ref(), diagnostics);
        let access = Access { route: route?, identity: identity?, origins };
        (!steps.is_empty()).then_some(HttpProbe { access, steps, is_journey, limits })
    }

    fn report_beside_steps(&self, diagnostics: &mut Diagnostics) {
        let place = self.steps.first().map(|step| step.place).unwrap_or_default();
        for name in self.request_settings() {
            let help = "write it into a step, or take the steps away";
            let message = format!("`{name}` and `steps` do not go together");
            diagnostics.report_with_help(place, message, help);
        }
        if self.steps.len() > MAX_STEPS {
            diagnostics.report(place, format!("there are more than {MAX_STEPS} steps"));
        }
    }

    fn route(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<Route> {
        let plain = Spanned { value: TlsConfig::default(), place };
        let tls = self.tls.as_ref().unwrap_or(&plain);
        let offered = if self.http2.unwrap_or(true) { HTTP2_OR_1 } else { &HTTP2_OR_1[1..] };
        let trust = Trust::build(tls, offered, diagnostics);
        let version = self.ip_version.as_ref();
        let v4 = match version.map_or("any", |version| version.value.as_str()) {
            "any" => None,
            "4" => Some(true),
            "6" => Some(false),
            other => {
                let at = version.map_or(place, |version| version.place);
                diagnostics.report(at, format!("`{other}` is none of `4`, `6` and `any`"));
                None
            }
        };
        let from_environment = self.proxy_from_environment.as_ref();
        if let (Some(at), Some(_)) = (from_environment.filter(|at| at.value), &self.proxy) {
            diagnostics.report(at, "`proxy_from_environment` says it all; take `proxy` away");
        }
        let proxies = match &self.proxy {
            Some(proxy) => Proxies::both(proxy.value.build(diagnostics)?),
            None => {
                let (headers, skips_resolve) = (&BTreeMap::new(), false);
                let (url, except) = (None, None);
                ProxySettings { url, except, from_environment, headers, skips_resolve }
                    .build(diagnostics)
            }
        };
        let ip = IpChoice { v4, falls_back: self.ip_fallback };
        Some(Route { trust: trust?, ip, proxies })
    }
}

/// An absolute `http` or `https` URL.
pub(crate) fn url(text: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Uri> {
    let url: Uri = match text.value.parse() {
        Ok(url) => url,
        Err(_) => {
            let help = "write it like `https://shop.example/health`";
            diagnostics.report_with_help(text, format!("`{}` is not a URL", text.value), help);
            return None;
        }
    };
    match Origin::of(&url) {
        Ok(_) => Some(url),
        Err(error) => {
            diagnostics.report(text, error.to_string());
            None
        }
    }
}

/// The body of a request, from a file.
pub(crate) fn read_body(file: &Spanned<PathBuf>, diagnostics: &mut Diagnostics) -> Bytes {
    match std::fs::read(&file.value) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) => {
            let shown = file.value.display();
            diagnostics.report(file, format!("`{shown}` cannot be read: {error}"));
            Bytes::new()
        }
    }
}

/// A method by its name in capitals, whatever it is; all but CONNECT, which asks for no page.
pub(crate) fn method(
    text: Option<&Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> Option<Method> {
    let Some(text) = text else { return Some(Method::GET) };
    let method = Method::from_bytes(text.value.to_ascii_uppercase().as_bytes()).ok();
    let method = method.filter(|method| method != Method::CONNECT);
    if method.is_none() {
        diagnostics.report(text, format!("`{}` is not an HTTP method", text.value));
    }
    method
}

pub(crate) fn header_name<T>(
    name: &str,
    at: &Spanned<T>,
    diagnostics: &mut Diagnostics,
) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    if parsed.is_none() {
        diagnostics.report(at, format!("`{name}` is not a name of a header"));
    }
    parsed
}

/// Sets a header of a request, which is never shown.
pub(crate) fn add_header(
    headers: &mut HeaderMap,
    name: &str,
    value: &Spanned<Secret>,
    diagnostics: &mut Diagnostics,
) {
    let Some(parsed) = header_name(name, value, diagnostics) else { return };
    match HeaderValue::from_str(value.value.expose()) {
        Ok(mut text) => {
            text.set_sensitive(true);
            headers.insert(parsed, text);
        }
        Err(_) => diagnostics.report(
            value,
            format!("the value of `{name}` has characters that a header cannot have"),
        ),
    }
}
