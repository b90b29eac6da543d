//! Asking the running evaluator.
//!
//! Invariant: what it answers is shown or told as a failure; nothing is asked twice.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{AuthorizationConfig, HttpAccess, HttpConfig, basic};
use base::http::client::{Failure, Origin, Phases};
use base::http::tls::TlsConfig;
use base::http::{Full, Method, Request, Uri, header};
use bytes::Bytes;
use clap::Args;
use serde_json::Value;
use tokio::time::timeout;

/// The most of an answer that is read.
const MAX_ANSWER: usize = 32 << 20;
/// How long it may take to reach the evaluator: who waits has a person before the screen.
const CONNECTING: Duration = Duration::from_secs(10);
/// How long an answer may take: a preview reads a week of samples.
const PATIENCE: Duration = Duration::from_secs(150);

/// Where the evaluator is, and who asks.
#[derive(Clone, Debug, Args)]
pub(super) struct EvaluatorArgs {
    /// The running evaluator
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:12912")]
    url: String,
    /// A file with `user:password`, where the evaluator asks who we are
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    user_file: Option<PathBuf>,
    /// A file with a token, where the evaluator asks who we are
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authority that has signed the evaluator's certificate, in place of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// The same, where it need not be asked.
#[derive(Clone, Debug, Args)]
pub(super) struct PerhapsEvaluatorArgs {
    /// The running evaluator, where it is to be asked
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A file with `user:password`, where the evaluator asks who we are
    #[arg(long, value_name = "FILE", requires = "url", conflicts_with = "token_file")]
    user_file: Option<PathBuf>,
    /// A file with a token, where the evaluator asks who we are
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// The authority that has signed the evaluator's certificate, in place of the system's
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
}

impl PerhapsEvaluatorArgs {
    /// Whom to ask, where somebody is to be asked.
    pub(super) fn given(self) -> Option<EvaluatorArgs> {
        let Self { url, user_file, token_file, ca_file } = self;
        url.map(|url| EvaluatorArgs { url, user_file, token_file, ca_file })
    }
}

impl EvaluatorArgs {
    /// The data of the answer to a request for `path`; with a body it is posted as JSON.
    ///
    /// # Errors
    ///
    /// There is no answer, or it is not a success.
    pub(super) async fn ask(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        data(self.request(method, path, body).await?)
    }

    /// The status and the answer to a request for `path`; a `body` is sent as JSON.
    ///
    /// # Errors
    ///
    /// There is no answer, or it is no JSON.
    pub(super) async fn request(
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

    /// The status of the answer to a request for `path`.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub(super) async fn status(&self, path: &str) -> anyhow::Result<u16> {
        match timeout(CONNECTING, self.answer(Method::GET, path, None)).await {
            Ok(answer) => Ok(answer?.0),
            Err(_) => bail!("{} did not answer within {CONNECTING:?}", self.url),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let (status, text) = self.answer(method, path, body).await?;
        match (serde_json::from_str(&text), status) {
            (Ok(value), _) => Ok((status, value)),
            (Err(_), 200..300) if text.trim().is_empty() => Ok((status, Value::Null)),
            (Err(_), 401) => bail!(
                "{} answers 401: {}; say who asks by `--token-file` or `--user-file`",
                self.url,
                printable(text.trim())
            ),
            (Err(_), _) => bail!("{} answers {status}: {}", self.url, printable(text.trim())),
        }
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, String)> {
        let access = self.access()?;
        let wrong = || format!("--url `{}`: write it like `http://127.0.0.1:12912`", self.url);
        let uri = format!("{}{path}", self.url.trim_end_matches('/'));
        let uri: Uri = uri.parse().with_context(wrong)?;
        let origin = Origin::of(&uri).with_context(wrong)?;
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let mut request = Request::builder().method(method).uri(uri).body(Full::new(bytes))?;
        let headers = request.headers_mut();
        if body.is_some() {
            headers
                .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        }
        access.identify(headers).map_err(anyhow::Error::msg)?;
        if let Some(file) = &self.user_file {
            let pair = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let mut value: header::HeaderValue = basic(pair.trim()).parse()?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let mut phases = Phases::default();
        let connecting = access.client.connect(&origin, &mut phases);
        let mut connection = match timeout(CONNECTING, connecting).await {
            Err(_) => bail!("{} is not reached within {CONNECTING:?}", self.url),
            Ok(Err(error)) if error.kind == Failure::Refused => {
                bail!("{error}; is `veilleur` running there? `--url` names another place")
            }
            Ok(connection) => connection?,
        };
        let answer = connection.send(request, &mut phases).await?;
        let status = answer.status().as_u16();
        let (mut incoming, mut bytes) = (answer.into_body(), Vec::new());
        while let Some(piece) = connection.next(&mut incoming).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MAX_ANSWER {
                bail!("the answer of {} is longer than {MAX_ANSWER} bytes", self.url);
            }
        }
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn access(&self) -> anyhow::Result<HttpAccess> {
        let place = Place::default();
        let authorization = self.token_file.clone().map(|file| {
            let credentials_file = Some(file);
            let value = AuthorizationConfig { credentials_file, ..AuthorizationConfig::default() };
            Spanned { value, place }
        });
        let tls_config = self.ca_file.clone().map(|file| {
            let value = TlsConfig { ca_file: Some(file), ..TlsConfig::default() };
            Spanned { value, place }
        });
        let config = HttpConfig { authorization, tls_config, ..HttpConfig::default() };
        let mut diagnostics = Diagnostics::new("the command line");
        match config.build(place, &mut diagnostics) {
            Some(access) if diagnostics.is_empty() => Ok(access),
            _ => bail!("{diagnostics}"),
        }
    }
}

/// The data of an answer that is a success.
///
/// # Errors
///
/// What the evaluator says is wrong.
pub(super) fn data((status, mut answer): (u16, Value)) -> anyhow::Result<Value> {
    if status == 200 {
        return Ok(answer.get_mut("data").map(Value::take).unwrap_or_default());
    }
    let why = answer["error"].as_str().map_or_else(|| answer.to_string(), printable);
    bail!("the evaluator answers {status}: {why}")
}

/// What was said from outside, on one line, and without what moves a cursor.
pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_are_told_from_failures() {
        let check = |status, answer: Value, expected: &str| {
            let got = data((status, answer));
            let got = got.map_or_else(|error| error.to_string(), |data| data.to_string());
            assert_eq!(got, expected);
        };
        check(200, json!({"data": {"a": 1}}), r#"{"a":1}"#);
        check(200, json!([1]), "null");
        check(400, json!({"error": "no\nway"}), "the evaluator answers 400: no way");
        check(502, json!("gone"), "the evaluator answers 502: \"gone\"");
    }
}
