//! Who we are to a server or a proxy, as written.
//!
//! Invariant: only one way is used.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{SecretSource, basic};
use base::http::client::{Except, Origin, Proxy};
use base::http::header::HeaderValue;
use base::http::oauth2::{Cache, Grant};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;

use super::super::oauth2::OAuth2;
use super::super::route::Route;
use super::super::step::Identity;
use super::url;
use crate::chain::Trust;

/// A user name and a password.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BasicAuthConfig {
    /// The name.
    username: String,
    /// The password.
    #[serde(default)]
    password: Option<Secret>,
    /// The file with the password; read when the configuration is.
    #[serde(default)]
    password_file: Option<Spanned<PathBuf>>,
}

/// A proxy, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProxyConfig {
    /// Where it is: `http://proxy.example:3128`.
    url: Spanned<String>,
    /// Who we are to the proxy.
    #[serde(default)]
    basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// What is dialled directly: names with all below them, addresses, networks.
    #[serde(default)]
    no_proxy: Vec<Spanned<String>>,
}

/// A token, as written; the names are Prometheus's.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorizationConfig {
    /// The scheme; `Bearer` by default.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// The token.
    #[serde(default)]
    credentials: Option<Secret>,
    /// The file with the token; read when it is used.
    #[serde(default)]
    credentials_file: Option<PathBuf>,
}

/// Client credentials of OAuth 2, as written; the names are Prometheus's.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OAuth2Config {
    /// Our name.
    pub(crate) client_id: String,
    /// Our secret.
    #[serde(default)]
    pub(crate) client_secret: Option<Secret>,
    /// The file with the secret; read when it is used.
    #[serde(default)]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Who gives tokens.
    pub(crate) token_url: Spanned<String>,
    /// What the token is to be good for.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// Further fields of the request.
    #[serde(default)]
    pub(crate) endpoint_params: BTreeMap<String, Secret>,
    /// Where the credentials are put: into the `header`, which is what happens where nothing is said,
    /// or the `body` of the request.
    #[serde(default)]
    pub(crate) credentials_in: Option<Spanned<String>>,
    /// Whom to trust there, and who we are; as with the pages where nothing is said.
    #[serde(default)]
    pub(crate) tls: Option<Spanned<TlsConfig>>,
}

impl BasicAuthConfig {
    /// The value of the header `Authorization`.
    pub(crate) fn build(
        &self,
        at: &Spanned<Self>,
        diagnostics: &mut Diagnostics,
    ) -> Option<HeaderValue> {
        let password = match (&self.password, &self.password_file) {
            (Some(password), None) => password.clone(),
            (None, Some(file)) => match std::fs::read_to_string(&file.value) {
                Ok(text) => Secret::new(text.trim_end_matches(['\r', '\n'])),
                Err(error) => {
                    let shown = file.value.display();
                    diagnostics.report(file, format!("`{shown}` cannot be read: {error}"));
                    return None;
                }
            },
            _ => {
                diagnostics.report(at, "either `password` or `password_file` is needed");
                return None;
            }
        };
        if self.username.contains(':') {
            diagnostics.report(at, "a user name cannot have a colon in it");
            return None;
        }
        let pair = format!("{}:{}", self.username, password.expose());
        let mut value = HeaderValue::from_str(&basic(pair)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl ProxyConfig {
    pub(super) fn build(&self, diagnostics: &mut Diagnostics) -> Option<Proxy> {
        let url = url(&self.url, diagnostics)?;
        let origin = Origin::of(&url).ok()?;
        if origin.tls {
            let help = "write it like `http://proxy.example:3128`; what goes to https pages is encrypted all the way";
            let message = "a proxy is spoken to without TLS";
            diagnostics.report_with_help(&self.url, message, help);
        }
        if url.port_u16().is_none() {
            diagnostics.report(&self.url, "the port of the proxy is missing");
        }
        let except = self.no_proxy.iter();
        let except =
            except.filter_map(|text| Except::read(&text.value, text.place, diagnostics)).collect();
        let authorization = match &self.basic_auth {
            Some(auth) => Some(auth.value.build(auth, diagnostics)?),
            None => None,
        };
        Some(Proxy::at(origin).knowing_us(authorization).but_for(except))
    }
}

/// Who we are, as written: in one of three ways, or not at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdentityConfig<'c> {
    pub(crate) basic_auth: Option<&'c Spanned<BasicAuthConfig>>,
    pub(crate) authorization: Option<&'c Spanned<AuthorizationConfig>>,
    pub(crate) oauth2: Option<&'c Spanned<OAuth2Config>>,
}

impl IdentityConfig<'_> {
    /// Who we are, whichever way that is said; tokens are asked for by `route`.
    pub(crate) fn build(
        self,
        route: Option<&Route>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Identity> {
        let places = [
            self.basic_auth.map(|auth| auth.place),
            self.authorization.map(|auth| auth.place),
            self.oauth2.map(|auth| auth.place),
        ];
        if let [_, second, ..] = places.into_iter().flatten().collect::<Vec<_>>().as_slice() {
            let message = "only one of `basic_auth`, `authorization` and `oauth2` can be given";
            diagnostics.report(*second, message);
        }
        if let Some(auth) = self.basic_auth {
            return auth.value.build(auth, diagnostics).map(Identity::Fixed);
        }
        if let Some(auth) = self.authorization {
            let names = ("credentials", "credentials_file");
            let (value, file) = (&auth.value.credentials, &auth.value.credentials_file);
            let token =
                SecretSource::one_of(value.clone(), file.clone(), names, auth.place, diagnostics);
            if token.is_none() {
                let message = "either `credentials` or `credentials_file` is needed";
                diagnostics.report(auth.place, message);
            }
            let scheme = auth.value.kind.clone().unwrap_or_else(|| "Bearer".to_owned());
            return Some(Identity::Token { scheme, token: token? });
        }
        match self.oauth2 {
            Some(oauth2) => {
                let built = oauth2.value.build(oauth2.place, route, diagnostics)?;
                Some(Identity::OAuth2(Box::new(built)))
            }
            None => Some(Identity::Nobody),
        }
    }
}

impl OAuth2Config {
    /// Who gives tokens, reached by `route` as the pages are.
    pub(crate) fn build(
        &self,
        place: Place,
        route: Option<&Route>,
        diagnostics: &mut Diagnostics,
    ) -> Option<OAuth2> {
        let url = url(&self.token_url, diagnostics);
        let names = ("client_secret", "client_secret_file");
        let (secret, file) = (self.client_secret.clone(), self.client_secret_file.clone());
        let secret = SecretSource::one_of(secret, file, names, place, diagnostics);
        if secret.is_none() {
            let message = "either `client_secret` or `client_secret_file` is needed";
            diagnostics.report(place, message);
        }
        let in_body = match self.credentials_in.as_ref().map(|text| (text, text.value.as_str())) {
            None | Some((_, "header")) => false,
            Some((_, "body")) => true,
            Some((at, other)) => {
                diagnostics.report(at, format!("`{other}` is neither `header` nor `body`"));
                false
            }
        };
        let trust = match (&self.tls, route) {
            (Some(tls), _) => Trust::build(tls, &[b"http/1.1"], diagnostics)?,
            (None, route) => route?.trust.without_name(),
        };
        let route = route?;
        let mut fields: Vec<_> = self
            .endpoint_params
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !self.scopes.is_empty() {
            fields.push(("scope".to_owned(), Secret::new(self.scopes.join(" "))));
        }
        Some(OAuth2 {
            url: url?,
            route: Route { trust, ip: route.ip, proxies: route.proxies.clone() },
            grant: Grant {
                client_id: self.client_id.clone(),
                client_secret: secret?,
                in_body,
                fields,
            },
            cached: Cache::default(),
        })
    }
}
