//! Asking the running server.
//!
//! Invariant: what it answers is shown or told as a failure; nothing is asked twice.

use std::time::Duration;

use anyhow::{Context, bail};
use base::http::client::{Client, Origin, Phases};
use base::http::tls::TlsConfig;
use base::http::{Full, Method, Request, Uri, header};
use bytes::Bytes;
use clap::Args;
use serde_json::Value;

/// The most of an answer that is read.
const MAX_ANSWER: usize = 32 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// Where the server is, and who asks.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// The running server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:12912")]
    url: String,
    /// A file with `user:password`, where the server asks who we are
    #[arg(long = "user-file", value_name = "FILE")]
    user_file: Option<std::path::PathBuf>,
    /// The authority that has signed the server's certificate
    #[arg(long = "ca-file", value_name = "FILE")]
    ca_file: Option<std::path::PathBuf>,
}

impl ServerArgs {
    /// The data of the answer to a request for `path`; with a body it is posted as JSON.
    pub(super) async fn ask(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(path, body)).await;
        let (status, text) = asked.context("the server does not answer")??;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if status != 200 {
            let why = answer["error"].as_str().unwrap_or(text.trim());
            bail!("the server answers {status}: {why}");
        }
        Ok(answer["data"].clone())
    }

    async fn exchange(&self, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, String)> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
        let origin = Origin::of(&uri)?;
        let tls = TlsConfig { ca_file: self.ca_file.clone(), ..TlsConfig::default() };
        let client = Client::new(&tls)?;
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder().method(method).uri(uri);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(file) = &self.user_file {
            let text = std::fs::read_to_string(file);
            let text = text.with_context(|| format!("cannot read {}", file.display()))?;
            let value = base::http::access::basic(text.trim());
            request = request.header(header::AUTHORIZATION, value);
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request.body(Full::new(body))?;
        let mut phases = Phases::default();
        let mut connection = client.connect(&origin, &mut phases).await?;
        let answer = connection.send(request, &mut phases).await?;
        let (head, mut incoming) = answer.into_parts();
        let mut bytes = Vec::new();
        while let Some(piece) = connection.next(&mut incoming).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MAX_ANSWER {
                bail!("the answer is longer than {MAX_ANSWER} bytes");
            }
        }
        Ok((head.status.as_u16(), String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// A text as a part of a URL's query.
pub(super) fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let one = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_part_of_a_query() {
        assert_eq!(escaped("{a=\"é b\"}"), "%7Ba%3D%22%C3%A9%20b%22%7D");
        assert_eq!(escaped("Down-1_2.3~"), "Down-1_2.3~");
    }
}
