//! What a module shows to be let in: one of a user with a password, and a token.
//!
//! Invariant: of several ways none is taken, and the file is at fault.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::tls::TlsConfig;
use base::http::{HeaderMap, header};
use base::secret::Secret;

use crate::chain::Trust;
use crate::http::config::{BasicAuthConfig, OAuth2Config, add_header};
use crate::http::oauth2::OAuth2;
use crate::http::route::Route;

/// A token, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuthorizationConfig {
    #[serde(rename = "type")]
    kind: Option<String>,
    credentials: Option<Spanned<Secret>>,
    credentials_file: Option<Spanned<PathBuf>>,
}

/// Client credentials of OAuth 2, as written.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenConfig {
    client_id: String,
    client_secret: Option<Secret>,
    client_secret_file: Option<PathBuf>,
    token_url: Spanned<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    endpoint_params: BTreeMap<String, Secret>,
    tls_config: Option<Spanned<TlsConfig>>,
}

impl TokenConfig {
    /// Who gives tokens, which is reached without the module's proxies, as with blackbox_exporter, and
    /// wherever it is: the configuration names it. Reports what is wrong with what stands at `place`.
    pub(super) fn build(&self, place: Place, diagnostics: &mut Diagnostics) -> Option<OAuth2> {
        let tls = Spanned { value: TlsConfig::default(), place };
        let route = Route::direct(Trust::build(&tls, &[b"http/1.1"], diagnostics)?);
        let config = OAuth2Config {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            client_secret_file: self.client_secret_file.clone(),
            token_url: self.token_url.clone(),
            scopes: self.scopes.clone(),
            endpoint_params: self.endpoint_params.clone(),
            credentials_in: None,
            tls: self.tls_config.clone(),
        };
        config.build(place, Some(&route), diagnostics)
    }
}

/// The settings of a section that say who we are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credentials<'c> {
    pub(super) basic: Option<&'c Spanned<BasicAuthConfig>>,
    pub(super) authorization: Option<&'c Spanned<AuthorizationConfig>>,
    pub(super) token: Option<&'c Spanned<Secret>>,
    pub(super) token_file: Option<&'c Spanned<PathBuf>>,
}

impl Credentials<'_> {
    /// Adds the header that they make, reporting what is wrong with the section at `place`.
    pub(super) fn add_to(
        self,
        headers: &mut HeaderMap,
        place: Place,
        diagnostics: &mut Diagnostics,
    ) {
        let has_token = self.token.is_some() || self.token_file.is_some();
        let ways = [has_token, self.basic.is_some(), self.authorization.is_some()];
        if ways.iter().filter(|is_set| **is_set).count() > 1 {
            let message =
                "only one of `basic_auth`, `authorization` and `bearer_token` can be given";
            diagnostics.report(place, message);
        }
        if let Some(basic) = self.basic {
            let built = basic.value.build(basic, diagnostics);
            headers.extend(built.map(|value| (header::AUTHORIZATION, value)));
        }
        let given = match self.authorization {
            Some(one) => {
                let kind = one.value.kind.as_deref().unwrap_or("Bearer");
                let one = &one.value;
                Some((kind, one.credentials.as_ref(), one.credentials_file.as_ref()))
            }
            None => has_token.then_some(("Bearer", self.token, self.token_file)),
        };
        let Some((kind, token, file)) = given else { return };
        if token.is_some() && file.is_some() {
            diagnostics.report(place, "only one of a token and a file with it can be given");
        }
        let token = file.and_then(|file| read(file, diagnostics)).or(token.cloned());
        if let Some(token) = token {
            let text = Secret::new(format!("{kind} {}", token.value.expose()));
            let text = Spanned { value: text, place: token.place };
            add_header(headers, "authorization", &text, diagnostics);
        }
    }
}

/// The secret in a file.
pub(super) fn read(
    file: &Spanned<PathBuf>,
    diagnostics: &mut Diagnostics,
) -> Option<Spanned<Secret>> {
    match std::fs::read_to_string(&file.value) {
        Ok(text) => Some(Spanned { value: Secret::new(text.trim()), place: file.place }),
        Err(error) => {
            let shown = file.value.display();
            diagnostics.report(file, format!("`{shown}` cannot be read: {error}"));
            None
        }
    }
}
