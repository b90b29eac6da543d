//! A token by OAuth 2's client credentials, asked for as a page is.
//!
//! Invariant: neither the secret nor the token is ever part of a text that somebody reads.

use base::clock::Stopwatch;
use base::http::header::{self, HeaderValue};
use base::http::oauth2::{Cache, Grant, MAX_ANSWER, Token};
use base::http::{Method, Uri};
use bytes::Bytes;

use super::fetch::{Fetch, Plan};
use super::route::Route;
use crate::Reason;
use crate::network::Failed;

/// Who gives tokens, and what for.
#[derive(Debug)]
pub(crate) struct OAuth2 {
    pub(super) url: Uri,
    pub(super) route: Route,
    pub(super) grant: Grant,
    pub(super) cached: Cache,
}

impl OAuth2 {
    /// The value of the header `Authorization`; asks for a token where there is none that is good.
    pub(crate) async fn authorization(&self) -> Result<HeaderValue, Failed> {
        if let Some(value) = self.cached.get() {
            return Ok(value);
        }
        let token = self.fetch().await.map_err(|failed| {
            let host = self.url.authority().map_or("", |authority| authority.as_str());
            let summary = format!("no token from `{host}`: {}", failed.summary);
            Failed::new(Reason::TokenFailed, summary)
        })?;
        let value = token.authorization();
        self.cached.set(Some(token));
        Ok(value)
    }

    /// Forgets the token, which was refused.
    pub(crate) fn forget(&self) {
        self.cached.set(None);
    }

    /// What it waits for.
    pub(crate) fn waiting(&self) -> String {
        let host = self.url.authority().map_or("", |authority| authority.as_str());
        format!("there is no token from `{host}`")
    }

    async fn fetch(&self) -> Result<Token, Failed> {
        let since = Stopwatch::start();
        let plan = self.plan()?;
        let mut fetch = Fetch::new(&plan, self.url.clone(), &self.route);
        fetch.run().await?;
        let token = Token::read(fetch.status(), &fetch.body, since);
        token.map_err(|why| Failed::new(Reason::TokenFailed, why))
    }

    fn plan(&self) -> Result<Plan, Failed> {
        let request = self.grant.request();
        let (mut headers, body) = request.map_err(|why| Failed::new(Reason::Internal, why))?;
        let agent = concat!("veilleur-agent/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        Ok(Plan {
            method: Method::POST,
            headers,
            body: Bytes::from(body),
            redirects: None,
            body_limit: MAX_ANSWER as u64,
            keeps_body: true,
        })
    }
}
