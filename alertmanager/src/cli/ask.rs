//! Asks an evaluator that runs: by its address, and with what it wants to know of who asks.
//!
//! Invariant: one request, one answer; what is no JSON is an error.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{AuthorizationConfig, HttpAccess, HttpConfig};
use base::http::client::{Origin, Phases};
use base::http::tls::TlsConfig;
use base::http::{Full, Method, Request, Uri, header};
use bytes::Bytes;
use clap::Args;
use serde_json::Value;
use tokio::time::timeout;

/// How long an answer may take: a preview reads a week of samples.
const PATIENCE: Duration = Duration::from_secs(150);
/// The most that is read of an answer.
const MAX_ANSWER: usize = 32 << 20;

/// Where the evaluator is.
#[derive(Clone, Debug, Args)]
pub(super) struct Where {
    /// The evaluator
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:12912")]
    url: String,
    /// The file with the token that it asks for
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authority that its certificate is checked by, in place of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Where {
    fn access(&self) -> anyhow::Result<HttpAccess> {
        let spanned = |value| Spanned { value, place: Place::default() };
        let authorization = self.token_file.clone().map(|file| {
            let credentials_file = Some(file);
            spanned(AuthorizationConfig { credentials_file, ..AuthorizationConfig::default() })
        });
        let tls_config = self.ca_file.clone().map(|file| Spanned {
            value: TlsConfig { ca_file: Some(file), ..TlsConfig::default() },
            place: Place::default(),
        });
        let config = HttpConfig { authorization, tls_config, ..HttpConfig::default() };
        let mut diagnostics = Diagnostics::new("the command line");
        match config.build(Place::default(), &mut diagnostics) {
            Some(access) if diagnostics.is_empty() => Ok(access),
            _ => bail!("{diagnostics}"),
        }
    }

    /// Asks for `path`; gives the status and the answer.
    ///
    /// # Errors
    ///
    /// There is no answer, or it is no JSON.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        match timeout(PATIENCE, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => bail!("{} did not answer within {PATIENCE:?}", self.url),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let access = self.access()?;
        let uri: Uri = format!("{}{path}", self.url.trim_end_matches('/'))
            .parse()
            .with_context(|| format!("--url `{}` is no address", self.url))?;
        let origin = Origin::of(&uri).with_context(|| format!("--url `{}`", self.url))?;
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes))?;
        access.identify(request.headers_mut()).map_err(anyhow::Error::msg)?;
        let mut phases = Phases::default();
        let mut connection = access.client.connect(&origin, &mut phases).await?;
        let answer = connection.send(request, &mut phases).await?;
        let status = answer.status().as_u16();
        let (mut incoming, mut bytes) = (answer.into_body(), Vec::new());
        while let Some(piece) = connection.next(&mut incoming).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MAX_ANSWER {
                bail!("the answer of {} is too large", self.url);
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        match serde_json::from_str(&text) {
            Ok(value) => Ok((status, value)),
            Err(_) if status < 300 && text.trim().is_empty() => Ok((status, Value::Null)),
            Err(_) => bail!("{} answered with status {status}: {}", self.url, text.trim()),
        }
    }
}
