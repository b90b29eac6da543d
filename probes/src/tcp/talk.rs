//! What is said over a TCP connection: lines that must come, lines that are sent, TLS in between,
//! as blackbox_exporter's `query_response`.
//!
//! Invariant: a step that expects something is done only when it has come.

use base::diagnostic::{Diagnostics, Spanned};
use regex::bytes::Regex;
use serde::Deserialize;

use crate::Reason;
use crate::network::regex;
use crate::text::shown_line;
use crate::wire::{Failed, Wire};

/// How many lines are read in search of one that matches.
const MAX_LINES: usize = 10_000;

/// One step, as written. In this order: it waits, it sends, it begins TLS.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StepConfig {
    /// A regular expression; lines are read until one matches.
    expect: Option<Spanned<String>>,
    /// The very next bytes.
    expect_bytes: Option<String>,
    /// A line to send, without its end; `${1}` is the first group of `expect`.
    send: Option<String>,
    /// Makes a TLS handshake.
    starttls: bool,
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    expect: Option<Regex>,
    expect_bytes: Option<String>,
    send: Option<String>,
    pub(super) starttls: bool,
}

impl StepConfig {
    pub(super) fn build(self, diagnostics: &mut Diagnostics) -> Option<Step> {
        let expect = match &self.expect {
            Some(pattern) => Some(regex(&pattern.value, pattern.place, diagnostics)?),
            None => None,
        };
        let Self { expect_bytes, send, starttls, .. } = self;
        Some(Step { expect, expect_bytes, send, starttls })
    }
}

/// What the steps of a run came to.
#[derive(Debug, Default)]
pub(super) struct Talked {
    /// The last thing that was heard, for a person.
    pub(super) said: String,
    pub(super) failed_by_regex: bool,
    pub(super) failed_by_bytes: bool,
}

impl Step {
    /// Waits and sends; TLS is the caller's part.
    pub(super) async fn run(&self, wire: &mut Wire, talked: &mut Talked) -> Result<(), Failed> {
        if let Some(wanted) = &self.expect_bytes {
            let got = wire.exact(wanted.len()).await?;
            talked.said = shown_line(&got, 200);
            if got != wanted.as_bytes() {
                talked.failed_by_bytes = true;
                let summary = format!("`{}` came, wanted `{wanted}`", talked.said);
                return Err(Failed::new(Reason::BodyMismatch, summary));
            }
        }
        let mut send = self.send.clone().map(String::into_bytes);
        if let Some(expect) = &self.expect {
            let line = self.wait_for(expect, wire, talked).await?;
            talked.said = shown_line(&line, 200);
            if let (Some(template), Some(captures)) = (&self.send, expect.captures(&line)) {
                let mut text = Vec::new();
                captures.expand(template.as_bytes(), &mut text);
                send = Some(text);
            }
        }
        match send {
            Some(mut line) => {
                line.push(b'\n');
                wire.send(&line).await
            }
            None => Ok(()),
        }
    }

    async fn wait_for(
        &self,
        expect: &Regex,
        wire: &mut Wire,
        talked: &mut Talked,
    ) -> Result<Vec<u8>, Failed> {
        for _ in 0..MAX_LINES {
            // A last line need not have an end.
            let line = match wire.line().await {
                Err(failed) if failed.reason == Reason::ConnectionReset => {
                    let rest = wire.unread().to_vec();
                    if expect.is_match(&rest) {
                        return Ok(rest);
                    }
                    talked.failed_by_regex = !talked.said.is_empty() || !rest.is_empty();
                    if !talked.failed_by_regex {
                        return Err(failed);
                    }
                    let last = if rest.is_empty() { talked.said.as_bytes() } else { &rest };
                    return Err(mismatch(last, expect));
                }
                line => line?,
            };
            if expect.is_match(&line) {
                return Ok(line);
            }
            talked.said = shown_line(&line, 200);
        }
        talked.failed_by_regex = true;
        Err(mismatch(talked.said.as_bytes(), expect))
    }
}

fn mismatch(said: &[u8], expect: &Regex) -> Failed {
    let said = shown_line(said, 200);
    Failed::new(Reason::BodyMismatch, format!("`{said}` does not match `{expect}`"))
}
