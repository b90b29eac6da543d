//! The `websocket` section of a module, as written.
//!
//! Invariant: the built module's headers and expressions are valid.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::HeaderMap;
use base::http::tls::TlsConfig;
use base::secret::Secret;

use super::super::websocket::{Step, WebsocketModule};
use super::auth::{AuthorizationConfig, Credentials};
use super::{Payload, client};
use crate::http::config::{BasicAuthConfig, add_header};
use crate::network::regex;

/// The section, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebsocketModuleConfig {
    http_config: HttpConfig,
    headers: BTreeMap<String, Spanned<Secret>>,
    query_response: Vec<StepConfig>,
}

/// Who we are, and whom to trust, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpConfig {
    basic_auth: Option<Spanned<BasicAuthConfig>>,
    authorization: Option<Spanned<AuthorizationConfig>>,
    bearer_token: Option<Spanned<Secret>>,
    bearer_token_file: Option<Spanned<PathBuf>>,
    tls_config: Option<Spanned<TlsConfig>>,
}

/// One exchange, as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StepConfig {
    expect: Option<Spanned<String>>,
    send: Payload,
}

impl WebsocketModuleConfig {
    /// The module, reporting everything that is wrong with it.
    pub(super) fn build(
        self,
        place: Place,
        diagnostics: &mut Diagnostics,
    ) -> Option<WebsocketModule> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            add_header(&mut headers, name, value, diagnostics);
        }
        let who = &self.http_config;
        let credentials = Credentials {
            basic: who.basic_auth.as_ref(),
            authorization: who.authorization.as_ref(),
            token: who.bearer_token.as_ref(),
            token_file: who.bearer_token_file.as_ref(),
        };
        credentials.add_to(&mut headers, place, diagnostics);
        let steps = self.query_response.into_iter().map(|step| {
            let expect = step.expect.filter(|expect| !expect.value.is_empty());
            let expect = expect.and_then(|one| regex(&one.value, one.place, diagnostics));
            Step { expect, send: step.send.0 }
        });
        let steps = steps.collect();
        let (client, verifies) = client(who.tls_config.as_ref(), place, diagnostics)?;
        Some(WebsocketModule { headers, client, verifies, steps })
    }
}
