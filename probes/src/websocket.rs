//! Opening a WebSocket, and what is said there (RFC 6455).
//!
//! ```yaml
//! websocket:
//!   url: wss://shop.example/live
//!   headers: {origin: https://shop.example}
//!   query_response:
//!   - send: '{"op": "ping"}'
//!   - expect: pong
//! ```
//!
//! Invariant: no more of a message is kept than an answer may have; a connection counts as upgraded
//! only if the server proves that it speaks WebSocket.

use base64::prelude::*;
use std::collections::BTreeMap;

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::http::Uri;
use base::http::client::Origin;
use base::http::header::{HeaderName, HeaderValue};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use regex::bytes::Regex;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::chain::Trust;
use crate::network::regex;
use crate::session::{DAYS_LEFT, Endpoint, SECONDS, Session};
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::{Failed, Wire};
use crate::{Outcome, Probe, Reason};

/// How many headers an answer may have, and how many messages may come in search of one.
const MAX_LINES: usize = 200;

/// A WebSocket probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebsocketConfig {
    /// An absolute `ws` or `wss` URL.
    url: Spanned<String>,
    /// Further headers of the request.
    #[serde(default)]
    headers: BTreeMap<String, Spanned<Secret>>,
    /// Whom to trust, and who we are.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// What is said, step by step.
    #[serde(default)]
    query_response: Vec<StepConfig>,
    /// Limits on `seconds`, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// One step, as written: it waits for a message that matches, then sends one.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct StepConfig {
    /// A regular expression; messages are read until one matches.
    expect: Option<Spanned<String>>,
    /// A message to send.
    send: Option<String>,
}

/// Opens a WebSocket.
#[derive(Debug)]
pub struct WebsocketProbe {
    endpoint: Endpoint,
    /// The request as far as the key.
    head: Secret,
    trust: Option<Trust>,
    steps: Vec<(Option<Regex>, Option<String>)>,
    limits: Limits,
}

impl WebsocketConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<WebsocketProbe> {
        // The rules for hosts and ports are those of HTTP.
        let as_http = self.url.value.strip_prefix("ws").map(|rest| format!("http{rest}"));
        let url: Option<Uri> = as_http.and_then(|text| text.parse().ok());
        let origin = url.as_ref().and_then(|url| Origin::of(url).ok());
        let Some((url, origin)) = url.zip(origin) else {
            let message = format!("`{}` is not the URL of a WebSocket", self.url.value);
            let help = "write it like `wss://shop.example/live`";
            diagnostics.report_with_help(&self.url, message, help);
            return None;
        };
        let mut head = request_head(&url);
        for (name, value) in &self.headers {
            let text = value.value.expose();
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                diagnostics.report(value, format!("`{name}` is not a name of a header"));
            }
            if HeaderValue::from_str(text).is_err() {
                let message =
                    format!("the value of `{name}` has characters that a header cannot have");
                diagnostics.report(value, message);
            }
            head.push_str(&format!("{name}: {text}\r\n"));
        }
        let place = self.url.place;
        let tls = self.tls.unwrap_or(Spanned { value: TlsConfig::default(), place });
        let trust = match origin.tls {
            true => Some(Trust::build(&tls, &[b"http/1.1"], diagnostics)?),
            false => None,
        };
        let steps = self.query_response.into_iter();
        let steps = steps.map(|step| {
            let expect = step.expect.and_then(|text| regex(&text.value, text.place, diagnostics));
            (expect, step.send)
        });
        let steps = steps.collect();
        let limits = Limits::build(&self.thresholds, &[SECONDS, DAYS_LEFT], diagnostics);
        let endpoint = Endpoint { host: origin.host, port: origin.port };
        Some(WebsocketProbe { endpoint, head: Secret::new(head), trust, steps, limits })
    }
}

/// The request for `url` as far as the headers of its own.
pub(crate) fn request_head(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nUser-Agent: veilleur-agent/{}\r\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// How far a run has come.
#[derive(Debug, Default)]
pub(crate) struct Talked {
    pub(crate) status: u16,
    pub(crate) upgraded: bool,
    failed_by_regex: bool,
    said: String,
}

#[async_trait]
impl Probe for WebsocketProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let phases = ["resolve", "connect", "tls", "upgrade", "response"];
        let (mut session, mut talked) = (Session::start("websocket", &phases), Talked::default());
        let look = self.look(&mut session, &mut talked);
        let result = stop.run_until_cancelled(look).await;
        let flag = |value| f64::from(u8::from(value));
        let metrics = &mut session.metrics;
        let help = "Indicates if the websocket connection was successfully upgraded";
        metrics.gauge("probe_websocket_connection_upgraded", help, flag(talked.upgraded));
        let help = "Response HTTP status code";
        metrics.gauge("probe_websocket_status_code", help, f64::from(talked.status));
        let help = "Indicates if probe failed due to regex";
        metrics.gauge("probe_websocket_failed_due_to_regex", help, flag(talked.failed_by_regex));
        session.finish(result, &self.limits)
    }
}

impl WebsocketProbe {
    async fn look(&self, session: &mut Session, talked: &mut Talked) -> Result<String, Failed> {
        let mut wire = session.open(&self.endpoint, self.trust.as_ref()).await?;
        let waiting = |what: &str| format!("`{}` has not {what}", self.endpoint);
        let upgrade = upgrade(self.head.expose(), &mut wire, talked);
        session.phase("upgrade", waiting("opened the WebSocket"), upgrade).await?;
        for (expect, message) in &self.steps {
            let step = async {
                if let Some(expect) = expect {
                    wait_for(expect, &mut wire, talked).await?;
                }
                match message {
                    Some(message) => send(&mut wire, TEXT, message.as_bytes()).await,
                    None => Ok(()),
                }
            };
            session.phase("response", waiting("said what is expected"), step).await?;
        }
        // A farewell, "normal closure"; that it does not arrive changes nothing.
        let _ = send(&mut wire, CLOSE, &1000_u16.to_be_bytes()).await;
        let said =
            if talked.said.is_empty() { String::new() } else { format!(": {}", talked.said) };
        Ok(format!("the WebSocket is open after {:.3} s{said}", session.seconds()))
    }
}

/// Asks for a WebSocket by `head`, to which the key is added.
pub(crate) async fn upgrade(
    head: &str,
    wire: &mut Wire,
    talked: &mut Talked,
) -> Result<(), Failed> {
    let mut random = [0; 16];
    let filled = SystemRandom::new().fill(&mut random);
    filled.map_err(|_| Failed::new(Reason::Internal, "the system has no random numbers"))?;
    let key = BASE64_STANDARD.encode(random);
    let request = format!("{head}Sec-WebSocket-Key: {key}\r\n\r\n");
    wire.send(request.as_bytes()).await?;

    let status = wire.line().await?;
    let code = status.strip_prefix(b"HTTP/1.1 ").or_else(|| status.strip_prefix(b"HTTP/1.0 "));
    let code = code.and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
    talked.status = code.ok_or_else(|| Failed::protocol("HTTP", &status))?;
    if talked.status != 101 {
        let summary = format!("HTTP status {}, wanted 101", talked.status);
        return Err(Failed::new(Reason::HttpStatus, summary));
    }
    let accepted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accepted = digest(&SHA1_FOR_LEGACY_USE_ONLY, accepted.as_bytes());
    let accepted = BASE64_STANDARD.encode(accepted.as_ref());
    for _ in 0..MAX_LINES {
        let line = wire.line().await?;
        if line.is_empty() {
            if talked.upgraded {
                return Ok(());
            }
            let summary = "the server does not prove that it speaks WebSocket";
            return Err(Failed::new(Reason::ProtocolError, summary));
        }
        let line = String::from_utf8_lossy(&line);
        if let Some((name, value)) = line.split_once(':') {
            talked.upgraded |=
                name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == accepted;
        }
    }
    Err(Failed::new(Reason::AnswerTooLarge, format!("an answer has over {MAX_LINES} headers")))
}

const CONTINUED: u8 = 0;
pub(crate) const TEXT: u8 = 1;
const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Sends a frame, masked as those of clients are.
pub(crate) async fn send(wire: &mut Wire, kind: u8, payload: &[u8]) -> Result<(), Failed> {
    let mut mask = [0; 4];
    let filled = SystemRandom::new().fill(&mut mask);
    filled.map_err(|_| Failed::new(Reason::Internal, "the system has no random numbers"))?;
    let mut frame = vec![0x80 | kind];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    wire.send(&frame).await
}

/// Reads messages until one matches.
async fn wait_for(expect: &Regex, wire: &mut Wire, talked: &mut Talked) -> Result<(), Failed> {
    for _ in 0..MAX_LINES {
        let message = next_message(wire).await.inspect_err(|failed| {
            talked.failed_by_regex =
                failed.reason == Reason::ConnectionReset && !talked.said.is_empty();
        })?;
        talked.said = shown_line(&message, 200);
        if expect.is_match(&message) {
            return Ok(());
        }
    }
    talked.failed_by_regex = true;
    let summary = format!("`{}` does not match `{expect}`", talked.said);
    Err(Failed::new(Reason::BodyMismatch, summary))
}

/// The next message that is no control frame; pings are answered.
pub(crate) async fn next_message(wire: &mut Wire) -> Result<Vec<u8>, Failed> {
    let mut message = Vec::new();
    for _ in 0..MAX_LINES {
        let head = wire.exact(2).await?;
        let (kind, last) = (head[0] & 0xf, head[0] & 0x80 != 0);
        // No server masks, and nobody has agreed upon an extension.
        if head[0] & 0x70 != 0 || head[1] & 0x80 != 0 {
            return Err(Failed::protocol("WebSocket", &head));
        }
        let length = match head[1] {
            126 => wire.exact(2).await?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            127 => wire.exact(8).await?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            short => usize::from(short),
        };
        let payload = wire.exact(length).await?;
        match kind {
            TEXT | BINARY => message = payload,
            CONTINUED if message.len() + payload.len() <= crate::wire::MAX_ANSWER => {
                message.extend_from_slice(&payload);
            }
            CONTINUED => break,
            PING => {
                send(wire, PONG, &payload).await?;
                continue;
            }
            PONG => continue,
            CLOSE => {
                let why = shown_line(payload.get(2..).unwrap_or_default(), 200);
                let summary = format!("the server closes the WebSocket: `{why}`");
                return Err(Failed::new(Reason::ConnectionReset, summary));
            }
            _ => return Err(Failed::protocol("WebSocket", &head)),
        }
        if last {
            return Ok(message);
        }
    }
    Err(Failed::new(Reason::AnswerTooLarge, "a message is larger than is read"))
}
