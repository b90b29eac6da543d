//! How we speak HTTP to targets and receivers: whom we trust, and how we say who we are.
//!
//! The settings have the names that Prometheus and Alertmanager give them.
//!
//! Invariant: a secret is read when it is used, so that a rotated file is taken up, and goes
//! nowhere but onto the wire.

use std::path::PathBuf;

use crate::diagnostic::{Diagnostics, Place, Spanned};
use crate::http::client::{Client, Except, Proxy};
use crate::http::tls::TlsConfig;
use crate::http::{HeaderMap, header};
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The settings under `http_config:`, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// User name and password.
    pub basic_auth: Option<Spanned<BasicAuthConfig>>,
    /// A token.
    pub authorization: Option<Spanned<AuthorizationConfig>>,
    /// TLS.
    pub tls_config: Option<Spanned<TlsConfig>>,
    /// Whether redirects are followed: ours never are; only `false` and nothing are taken.
    pub follow_redirects: Option<Spanned<bool>>,
    /// The proxy through which others are reached: `http://proxy.example:3128`, with a user name and
    /// a password where it asks for them.
    pub proxy_url: Option<Spanned<Secret>>,
    /// What is reached without it: names, addresses and networks with commas between.
    pub no_proxy: Option<Spanned<String>>,
    /// HTTP/2 is not spoken; the setting is taken because it changes nothing that one sees.
    pub enable_http2: Option<bool>,
}

/// User name and password, as written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuthConfig {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Option<Secret>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
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
}

/// A client and who it says it is.
#[derive(Clone, Debug)]
pub struct HttpAccess {
    /// The client.
    pub client: Client,
    identity: Option<Identity>,
}

#[derive(Clone, Debug)]
enum Identity {
    Basic { username: String, password: SecretSource },
    Token { scheme: String, token: SecretSource },
}

/// A secret, or the file that holds it.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// It stands in the configuration.
    Given(Secret),
    /// It is read from a file each time.
    File(PathBuf),
}

impl SecretSource {
    /// One of `value` and `file`; both are a fault at `place`, neither is nothing.
    pub fn one_of(
        value: Option<Secret>,
        file: Option<PathBuf>,
        names: (&str, &str),
        place: Place,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        match (value, file) {
            (Some(_), Some(_)) => {
                let message = format!("only one of `{}` and `{}` can be given", names.0, names.1);
                diagnostics.report(place, message);
                None
            }
            (Some(secret), None) => Some(Self::Given(secret)),
            (None, Some(file)) => Some(Self::File(file)),
            (None, None) => None,
        }
    }

    /// The secret now, without the line feed at the end of its file.
    ///
    /// # Errors
    ///
    /// The file cannot be read; the text names it.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => std::fs::read_to_string(path)
                .map(|text| Secret::new(text.trim_end_matches(['\r', '\n'])))
                .map_err(|error| format!("cannot read {}: {error}", path.display())),
        }
    }
}

impl HttpConfig {
    /// The client; faults are reported at `place` or where they are.
    pub fn build(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<HttpAccess> {
        if let Some(follow) = self.follow_redirects.as_ref().filter(|follow| follow.value) {
            diagnostics.report_with_help(
                follow,
                "redirects are not followed",
                "give the address that they lead to, and leave `follow_redirects` out",
            );
        }
        if let (Some(basic), Some(_)) = (&self.basic_auth, &self.authorization) {
            diagnostics.report(basic, "only one of `basic_auth` and `authorization` can be given");
        }
        let basic = self.basic_auth.as_ref().map(|basic| {
            let BasicAuthConfig { username, password, password_file } = basic.value.clone();
            let names = ("password", "password_file");
            let source =
                SecretSource::one_of(password, password_file, names, basic.place, diagnostics);
            let password = source.unwrap_or_else(|| SecretSource::Given(Secret::new("")));
            Identity::Basic { username, password }
        });
        let token = self.authorization.as_ref().and_then(|authorization| {
            let AuthorizationConfig { kind, credentials, credentials_file } =
                authorization.value.clone();
            let names = ("credentials", "credentials_file");
            let place = authorization.place;
            let token =
                SecretSource::one_of(credentials, credentials_file, names, place, diagnostics)?;
            let scheme = kind.map_or_else(|| "Bearer".to_owned(), |kind| kind.trim().to_owned());
            if scheme.eq_ignore_ascii_case("basic") {
                diagnostics.report(place, "`basic` is set by `basic_auth`, not by `authorization`");
            }
            Some(Identity::Token { scheme, token })
        });
        let proxy = self.proxy(diagnostics);
        let tls = self.tls_config.as_ref();
        match Client::new(&tls.map(|tls| tls.value.clone()).unwrap_or_default()) {
            Ok(client) => {
                let client = client.remembering();
                let client = match proxy {
                    Some(proxy) => client.through(proxy),
                    None => client,
                };
                Some(HttpAccess { client, identity: basic.or(token) })
            }
            Err(error) => {
                diagnostics.report(tls.map_or(place, |tls| tls.place), error.to_string());
                None
            }
        }
    }
}

impl HttpConfig {
    fn proxy(&self, diagnostics: &mut Diagnostics) -> Option<Proxy> {
        let Some(url) = self.proxy_url.as_ref().filter(|url| !url.value.is_empty()) else {
            if let Some(except) = self.no_proxy.as_ref().filter(|except| !except.value.is_empty()) {
                diagnostics.report(except, "`no_proxy` is of use with `proxy_url` only");
            }
            return None;
        };
        let except = self.no_proxy.as_ref();
        let except = except.map(|written| Except::list(&written.value, written.place, diagnostics));
        match Proxy::read(url.value.expose()) {
            Ok(proxy) => Some(proxy.but_for(except.unwrap_or_default())),
            Err(fault) => {
                diagnostics.report_with_help(
                    url,
                    fault,
                    "write it like `http://proxy.example:3128`",
                );
                None
            }
        }
    }
}

/// The header's text by which somebody says who he is: of `user:password`.
pub fn basic(pair: impl AsRef<[u8]>) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

impl HttpAccess {
    /// Adds who we are to the headers of a request.
    ///
    /// # Errors
    ///
    /// A file with a secret cannot be read, or a secret cannot stand in a header.
    pub fn identify(&self, headers: &mut HeaderMap) -> Result<(), String> {
        let value = match &self.identity {
            None => return Ok(()),
            Some(Identity::Basic { username, password }) => {
                basic(format!("{username}:{}", password.read()?.expose()))
            }
            Some(Identity::Token { scheme, token }) => {
                format!("{scheme} {}", token.read()?.expose())
            }
        };
        let mut value: header::HeaderValue =
            value.parse().map_err(|_| "the credentials cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        Ok(())
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
            "f.yml:1:14: only one of `basic_auth` and `authorization` can be given",
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
