//! How we speak HTTP to targets and receivers: whom we trust, and how we say who we are.
//!
//! The settings have the names that Prometheus and Alertmanager give them.
//!
//! Invariant: a secret is read when it is used, so that a rotated file is taken up, and goes
//! nowhere but onto the wire.

mod check;
mod identity;

use identity::{Further, Identity};
pub use identity::{HttpAccess, SecretSource, basic};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostics, Place, Spanned};
use crate::http::client::{Client, Except, Proxy};
use crate::http::oauth2::{Grant, OAuth2};
use crate::http::tls::TlsConfig;
use crate::http::{HeaderMap, Uri, header};
use crate::secret::Secret;
use serde::Deserialize;

/// The settings under `http_config:`, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// User name and password.
    pub basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// A token.
    pub authorization: Option<Spanned<AuthorizationConfig>>,
    /// A token that somebody gives us for our name and secret.
    pub oauth2: Option<Spanned<OAuth2Config>>,
    /// The older form of `authorization`.
    pub bearer_token: Option<Spanned<Secret>>,
    /// The older form of `authorization`, in a file.
    pub bearer_token_file: Option<Spanned<PathBuf>>,
    /// TLS.
    pub tls_config: Option<Spanned<TlsConfig>>,
    /// Whether redirects are followed by who reads. Messages never are, whatever it says.
    pub follow_redirects: Option<Spanned<bool>>,
    /// The proxy through which others are reached: `http://proxy.example:3128`, with a user name and
    /// a password where it asks for them.
    pub proxy_url: Option<Spanned<Secret>>,
    /// What is reached without it: names, addresses and networks with commas between.
    pub no_proxy: Option<Spanned<String>>,
    /// Whether the proxy is the one that the environment names (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`).
    pub proxy_from_environment: Option<Spanned<bool>>,
    /// Further headers for the proxy where it opens a connection.
    pub proxy_connect_header: Option<Spanned<BTreeMap<String, Vec<Secret>>>>,
    /// Addresses of the link and of metadata services, such as 169.254.169.254, to which messages may be
    /// sent all the same.
    pub allowed_addresses: Option<Spanned<Vec<Spanned<String>>>>,
    /// Further headers of every request.
    pub http_headers: Option<Spanned<BTreeMap<String, HeaderConfig>>>,
    /// HTTP/2 is not spoken; the setting is taken because it changes nothing that one sees.
    pub enable_http2: Option<bool>,
}

/// User name and password, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuthConfig {
    /// The name.
    pub username: String,
    /// The file with the name.
    pub username_file: Option<PathBuf>,
    /// The name in a store of secrets, which we have none of.
    pub username_ref: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// The password in a store of secrets, which we have none of.
    pub password_ref: Option<String>,
}

/// A token, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizationConfig {
    /// The scheme; `Bearer` by default.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The token.
    pub credentials: Option<Secret>,
    /// The file with the token.
    pub credentials_file: Option<PathBuf>,
    /// The token in a store of secrets, which we have none of.
    pub credentials_ref: Option<String>,
}

/// Client credentials of OAuth 2, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OAuth2Config {
    /// Our name.
    pub client_id: String,
    /// Our secret.
    pub client_secret: Option<Secret>,
    /// The file with the secret.
    pub client_secret_file: Option<PathBuf>,
    /// The secret in a store of secrets, which we have none of.
    pub client_secret_ref: Option<String>,
    /// Who gives tokens.
    pub token_url: Option<Spanned<String>>,
    /// What the token is to be good for.
    pub scopes: Vec<String>,
    /// Further fields of the request.
    pub endpoint_params: BTreeMap<String, Secret>,
    /// How the token is asked for; `client_credentials` is spoken.
    pub grant_type: Option<Spanned<String>>,
    /// Of signed requests, which are not spoken.
    pub client_certificate_key_id: Option<String>,
    /// Of signed requests.
    pub client_certificate_key: Option<Secret>,
    /// Of signed requests.
    pub client_certificate_key_file: Option<PathBuf>,
    /// Of signed requests.
    pub client_certificate_key_ref: Option<String>,
    /// Of signed requests.
    pub signature_algorithm: Option<String>,
    /// Of signed requests.
    pub iss: Option<String>,
    /// Of signed requests.
    pub audience: Option<String>,
    /// Of signed requests.
    pub claims: BTreeMap<String, String>,
    /// Whom to trust there, and who we are.
    pub tls_config: Option<Spanned<TlsConfig>>,
    /// The proxy on the way to it.
    pub proxy_url: Option<Spanned<Secret>>,
    /// What is reached without it.
    pub no_proxy: Option<Spanned<String>>,
    /// Whether the proxy is the one that the environment names.
    pub proxy_from_environment: Option<Spanned<bool>>,
    /// Further headers for the proxy.
    pub proxy_connect_header: Option<Spanned<BTreeMap<String, Vec<Secret>>>>,
}

/// The values of one header, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderConfig {
    /// Values.
    pub values: Vec<String>,
    /// Values that nobody may read.
    pub secrets: Vec<Secret>,
    /// Files with values, read when they are used.
    pub files: Vec<PathBuf>,
}

impl HttpConfig {
    /// The client of somebody who sends messages, and follows no redirect (X19), whatever the setting
    /// says: it is `true` wherever nobody has said anything, and Alertmanager shows it then. Faults are
    /// reported at `place` or where they are.
    pub fn build(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<HttpAccess> {
        let mut but_for = Vec::new();
        for written in self.allowed_addresses.iter().flat_map(|list| &list.value) {
            match written.value.parse::<std::net::IpAddr>() {
                Ok(ip) => but_for.push(ip.to_canonical()),
                Err(_) => {
                    let message = format!("`{}` is no IP address", written.value);
                    diagnostics.report(written, message);
                }
            }
        }
        let mut access = self.build_following(place, diagnostics)?;
        access.client = access.client.sparing_the_link(but_for);
        Some(access)
    }

    /// The client of somebody who reads, and follows redirects unless that is switched off.
    pub fn build_following(
        &self,
        place: Place,
        diagnostics: &mut Diagnostics,
    ) -> Option<HttpAccess> {
        self.check(diagnostics);
        self.check_stores(diagnostics);
        self.look_for_secrets(place, diagnostics);
        let (identity, place) = (self.identity(diagnostics), self.tls_place(place));
        let client = self.client(place, diagnostics)?;
        let further = self.headers(diagnostics);
        let follows = self.follow_redirects.as_ref().is_none_or(|follow| follow.value);
        Some(HttpAccess::new(client, identity, further, follows))
    }

    /// The same with relative paths made relative to `folder`.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Self {
        let join = |path: &mut Option<PathBuf>| {
            if let Some(path) = path {
                *path = folder.join(&path);
            }
        };
        if let Some(basic) = &mut self.basic_auth {
            join(&mut basic.value.username_file);
            join(&mut basic.value.password_file);
        }
        if let Some(authorization) = &mut self.authorization {
            join(&mut authorization.value.credentials_file);
        }
        if let Some(file) = &mut self.bearer_token_file {
            file.value = folder.join(&file.value);
        }
        if let Some(oauth2) = &mut self.oauth2 {
            join(&mut oauth2.value.client_secret_file);
            if let Some(tls) = &mut oauth2.value.tls_config {
                tls.value.relative_to(folder);
            }
        }
        for header in self.http_headers.iter_mut().flat_map(|headers| headers.value.values_mut()) {
            header.files.iter_mut().for_each(|file| *file = folder.join(&file));
        }
        if let Some(tls) = &mut self.tls_config {
            tls.value.relative_to(folder);
        }
        self
    }

    fn tls_place(&self, place: Place) -> Place {
        self.tls_config.as_ref().map_or(place, |tls| tls.place)
    }

    fn identity(&self, diagnostics: &mut Diagnostics) -> Option<Identity> {
        if let Some(basic) = &self.basic_auth {
            return Some(basic.value.build());
        }
        if let Some(file) = &self.bearer_token_file {
            let token = SecretSource::File(file.value.clone());
            return Some(Identity::Token { scheme: "Bearer".to_owned(), token });
        }
        if let Some(token) = &self.bearer_token {
            let token = SecretSource::Given(token.value.clone());
            return Some(Identity::Token { scheme: "Bearer".to_owned(), token });
        }
        if let Some(authorization) = &self.authorization {
            return authorization.value.build();
        }
        let oauth2 = self.oauth2.as_ref()?;
        oauth2
            .value
            .build(oauth2.place, diagnostics)
            .map(|oauth2| Identity::OAuth2(Box::new(oauth2)))
    }

    /// Notes which files of secrets are not there: they are read with each request.
    fn look_for_secrets(&self, place: Place, diagnostics: &mut Diagnostics) {
        let mut look = |place: Place, setting: &str, file: Option<&PathBuf>| {
            if let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) {
                diagnostics.look_for(place, setting, file);
            }
        };
        if let Some(Spanned { value: basic, place }) = &self.basic_auth {
            look(*place, "username_file", basic.username_file.as_ref());
            look(*place, "password_file", basic.password_file.as_ref());
        }
        if let Some(Spanned { value, place }) = &self.authorization {
            look(*place, "credentials_file", value.credentials_file.as_ref());
        }
        if let Some(file) = &self.bearer_token_file {
            look(file.place, "bearer_token_file", Some(&file.value));
        }
        if let Some(Spanned { value, place }) = &self.oauth2 {
            look(*place, "client_secret_file", value.client_secret_file.as_ref());
        }
        for header in self.http_headers.iter().flat_map(|headers| headers.value.values()) {
            header.files.iter().for_each(|file| look(place, "http_headers", Some(file)));
        }
    }

    fn client(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<Client> {
        let proxies = self.proxies(diagnostics);
        let tls = self.tls_config.as_ref().map(|tls| tls.value.clone()).unwrap_or_default();
        if tls.check().is_err() {
            return None;
        }
        let tls = if diagnostics.spares_files() { TlsConfig::default() } else { tls };
        match Client::new(&tls) {
            Ok(client) => Some(proxies.into_iter().fold(client.remembering(), Client::through)),
            Err(error) => {
                diagnostics.report(place, error.to_string());
                None
            }
        }
    }

    /// The proxies, of which the first that serves an address is taken.
    fn proxies(&self, diagnostics: &mut Diagnostics) -> Vec<Proxy> {
        let headers = self.connect_headers(diagnostics);
        if self.proxy_from_environment.as_ref().is_some_and(|asked| asked.value) {
            return match Proxy::of_environment() {
                Ok(proxies) => {
                    proxies.into_iter().map(|proxy| proxy.with_headers(headers.clone())).collect()
                }
                Err(fault) => {
                    let place = self.proxy_from_environment.as_ref().map(Place::from);
                    diagnostics.report(place.unwrap_or_default(), fault);
                    Vec::new()
                }
            };
        }
        let Some(url) = self.proxy_url.as_ref().filter(|url| !url.value.is_empty()) else {
            if let Some(except) = self.no_proxy.as_ref().filter(|except| !except.value.is_empty()) {
                diagnostics.report(except, "`no_proxy` is of use with `proxy_url` only");
            }
            return Vec::new();
        };
        let except = self.no_proxy.as_ref();
        let except = except.map(|written| Except::list(&written.value, written.place, diagnostics));
        match Proxy::read(url.value.expose()) {
            Ok(proxy) => vec![proxy.but_for(except.unwrap_or_default()).with_headers(headers)],
            Err(fault) => {
                diagnostics.report_with_help(
                    url,
                    fault,
                    "write it like `http://proxy.example:3128`",
                );
                Vec::new()
            }
        }
    }

    fn connect_headers(&self, diagnostics: &mut Diagnostics) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some(written) = &self.proxy_connect_header else { return headers };
        for (name, values) in &written.value {
            for value in values {
                match (name.parse::<header::HeaderName>(), value.expose().parse()) {
                    (Ok(name), Ok(value)) => drop(headers.append(name, value)),
                    _ => diagnostics.report(written, format!("`{name}` cannot be a header")),
                }
            }
        }
        headers
    }

    fn headers(&self, diagnostics: &mut Diagnostics) -> Vec<Further> {
        let mut further = Vec::new();
        let Some(written) = &self.http_headers else { return further };
        for (name, values) in &written.value {
            let Ok(name) = name.parse::<header::HeaderName>() else {
                diagnostics.report(written, format!("`{name}` cannot be a header"));
                continue;
            };
            let given = values.values.iter().map(Secret::new).chain(values.secrets.iter().cloned());
            let given = given.map(SecretSource::Given);
            let files = values.files.iter().cloned().map(SecretSource::File);
            further.extend(given.chain(files).map(|value| (name.clone(), value)));
        }
        further
    }
}

impl BasicAuthConfig {
    fn build(&self) -> Identity {
        let username = match &self.username_file {
            Some(file) => SecretSource::File(file.clone()),
            None => SecretSource::Given(Secret::new(&self.username)),
        };
        let source = SecretSource::either(&self.password, &self.password_file);
        let password = source.unwrap_or_else(|| SecretSource::Given(Secret::new("")));
        Identity::Basic { username, password }
    }
}

impl AuthorizationConfig {
    fn build(&self) -> Option<Identity> {
        let token = SecretSource::either(&self.credentials, &self.credentials_file)?;
        let scheme = self.kind.as_ref().map_or_else(|| "Bearer".into(), |k| k.trim().to_owned());
        Some(Identity::Token { scheme, token })
    }
}

impl OAuth2Config {
    fn build(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<OAuth2> {
        let secret = SecretSource::either(&self.client_secret, &self.client_secret_file);
        let http = HttpConfig {
            tls_config: self.tls_config.clone(),
            proxy_url: self.proxy_url.clone(),
            no_proxy: self.no_proxy.clone(),
            proxy_from_environment: self.proxy_from_environment,
            proxy_connect_header: self.proxy_connect_header.clone(),
            ..HttpConfig::default()
        };
        let access = http.build_following(place, diagnostics)?;
        let url = self.token_url.as_ref()?;
        let Some(uri) = url.value.parse::<Uri>().ok().filter(|uri| uri.authority().is_some())
        else {
            diagnostics.report(url, format!("`{}` is no http URL", url.value));
            return None;
        };
        let fields = self.endpoint_params.iter().map(|(n, value)| (n.clone(), value.clone()));
        let mut fields: Vec<_> = fields.collect();
        if !self.scopes.is_empty() {
            fields.push(("scope".to_owned(), Secret::new(self.scopes.join(" "))));
        }
        let secret = secret.unwrap_or_else(|| SecretSource::Given(Secret::new("")));
        let (client_id, in_body) = (self.client_id.clone(), false);
        let grant = Grant { client_id, client_secret: secret, in_body, fields };
        Some(OAuth2::new(uri, access, grant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(yaml: &str) -> (Option<HttpAccess>, String) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Spanned<HttpConfig> = crate::yaml::read(yaml, &mut diagnostics).unwrap();
        let access = config.value.build(config.place, &mut diagnostics);
        (access, diagnostics.to_string())
    }

    #[track_caller]
    fn header_of(yaml: &str, expected: &str) {
        let (access, faults) = built(yaml);
        assert_eq!(faults, "", "{yaml}");
        let mut headers = HeaderMap::new();
        access.unwrap().identify(&mut headers).unwrap();
        assert_eq!(headers[header::AUTHORIZATION], expected, "{yaml}");
    }

    #[test]
    fn says_who_we_are() {
        header_of(
            "basic_auth: {username: Aladdin, password: 'open sesame'}",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        );
        header_of("authorization: {credentials: abc}", "Bearer abc");
        header_of("authorization: {type: Token, credentials: abc}", "Token abc");
    }

    #[test]
    fn reads_a_secret_from_its_file_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (access, _) =
            built(&format!("authorization: {{credentials_file: {}}}", file.path().display()));
        for token in ["one", "two"] {
            std::fs::write(file.path(), format!("{token}\n")).unwrap();
            let mut headers = HeaderMap::new();
            access.as_ref().unwrap().identify(&mut headers).unwrap();
            assert_eq!(headers[header::AUTHORIZATION], format!("Bearer {token}"));
            assert!(!format!("{headers:?}").contains(token));
        }
    }

    #[test]
    fn reports_what_contradicts_itself() {
        let check = |yaml: &str, expected: &str| assert_eq!(built(yaml).1, expected, "{yaml}");
        check(
            "basic_auth: {username: a, password: b, password_file: c}",
            "f.yml:1:13: only one of `password` and `password_file` can be given",
        );
        check(
            "{basic_auth: {username: a}, authorization: {credentials: b}}",
            "f.yml:1:44: only one of `basic_auth`, `authorization`, `oauth2`, `bearer_token` and \
             `bearer_token_file` can be given",
        );
        check(
            "{proxy_url: 'socks5://u:s3cret@h'}",
            "f.yml:1:13: only a proxy at `http://...` is spoken to\n  \
             help: write it like `http://proxy.example:3128`",
        );
        check(
            "{proxy_url: 'http://p', no_proxy: 'a, b c'}",
            "f.yml:1:35: `b c` of what goes without the proxy is no name and no network\n  \
             help: write it like `shop.example`, `10.0.0.1`, `10.0.0.0/8` or `*`",
        );
        check("no_proxy: a", "f.yml:1:11: `no_proxy` is of use with `proxy_url` only");
        check(
            "tls_config: {cert_file: /none}",
            "f.yml:1:13: cannot use the client certificate: cert_file and key_file belong together",
        );
    }
}
