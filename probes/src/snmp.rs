//! Asking a device for one value by SNMP v2c.
//!
//! ```yaml
//! snmp:
//!   address: switch.example
//!   community: ${env:SNMP_COMMUNITY}
//!   oid: 1.3.6.1.2.1.2.2.1.8.3            # sysUpTime where nothing is said
//!   thresholds: {value: {crit: '1:1'}}
//! ```
//!
//! Invariant: nothing is set; an answer counts only if it is to our question.

use async_trait::async_trait;
use base::diagnostic::{Diagnostics, Spanned};
use base::secret::Secret;
use regex::bytes::Regex;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::ber::{self, INTEGER, NULL, OCTETS, OID, SEQUENCE, integer, tlv};
use crate::network::regex;
use crate::session::{Endpoint, SECONDS, Session, datagrams, unanswered};
use crate::text::shown_line;
use crate::thresholds::{Limits, LimitsConfig};
use crate::wire::Failed;
use crate::{Outcome, Probe, Reason};

/// sysUpTime: every device has it.
const UPTIME: &str = "1.3.6.1.2.1.1.3.0";
const GET: u8 = 0xa0;
const RESPONSE: u8 = 0xa2;
/// Version 2c.
const VERSION: i32 = 1;

/// An SNMP probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnmpConfig {
    /// `host`, or `host:port` for another port than 161.
    address: Spanned<String>,
    /// The word that lets one read; `public` where nothing is said.
    #[serde(default)]
    community: Option<Secret>,
    /// What to ask for, in numbers with dots; sysUpTime, `1.3.6.1.2.1.1.3.0` where nothing is said.
    #[serde(default)]
    oid: Option<Spanned<String>>,
    /// A regular expression that the value must match.
    #[serde(default)]
    expect: Option<Spanned<String>>,
    /// Limits on `value`, `seconds`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// Asks a device.
#[derive(Debug)]
pub struct SnmpProbe {
    endpoint: Endpoint,
    community: Secret,
    /// As it was written, and as it is sent.
    oid: (String, Vec<u8>),
    expect: Option<Regex>,
    limits: Limits,
}

impl SnmpConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<SnmpProbe> {
        let endpoint = Endpoint::build(&self.address, Some(161), diagnostics);
        let place = self.oid.as_ref().map_or(self.address.place, |oid| oid.place);
        let text = self.oid.map_or_else(|| UPTIME.to_owned(), |oid| oid.value);
        let oid = ber::oid(&text);
        if oid.is_none() {
            let help = format!("write it in numbers, like `{UPTIME}`");
            let message = format!("`{text}` is not an object identifier");
            diagnostics.report_with_help(place, message, help);
        }
        let expect = match &self.expect {
            Some(pattern) => Some(regex(&pattern.value, pattern.place, diagnostics)?),
            None => None,
        };
        let limits = Limits::build(&self.thresholds, &["value", SECONDS], diagnostics);
        let community = self.community.unwrap_or_else(|| Secret::new("public"));
        Some(SnmpProbe { endpoint: endpoint?, community, oid: (text, oid?), expect, limits })
    }
}

#[async_trait]
impl Probe for SnmpProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let mut session = Session::start("snmp", &["resolve", "request"]);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

/// What a device answers.
#[derive(Debug, PartialEq)]
struct Answer {
    id: i128,
    error: i128,
    value: Value,
}

#[derive(Debug, PartialEq)]
enum Value {
    Number(f64),
    Text(Vec<u8>),
    Missing,
}

impl SnmpProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let socket = datagrams(session, &self.endpoint).await?;
        let mut random = [0; 4];
        let filled = SystemRandom::new().fill(&mut random);
        filled.map_err(|_| Failed::new(Reason::Internal, "the system has no random numbers"))?;
        let id = i32::from_be_bytes(random) & i32::MAX;
        // A wrong community is not answered at all, as RFC 3584 has it.
        let waiting = format!("`{}` has not answered; is the community right?", self.endpoint);
        let ask = async {
            let sent = socket.send(&self.question(id)).await;
            sent.map_err(|error| unanswered(&error))?;
            let mut buffer = vec![0; 65_535];
            loop {
                let received = socket.recv(&mut buffer).await;
                let datagram = &buffer[..received.map_err(|error| unanswered(&error))?];
                let answer = decode(datagram).ok_or_else(|| Failed::protocol("SNMP", datagram))?;
                if answer.id == i128::from(id) {
                    return Ok(answer);
                }
            }
        };
        let answer = session.phase("request", waiting, ask).await?;
        self.judge(answer, session)
    }

    fn question(&self, id: i32) -> Vec<u8> {
        let zero = integer(INTEGER, 0);
        let binding = tlv(SEQUENCE, &[&self.oid.1, &[NULL, 0]]);
        let bindings = tlv(SEQUENCE, &[&binding]);
        let get = tlv(GET, &[&integer(INTEGER, id), &zero, &zero, &bindings]);
        let community = tlv(OCTETS, &[self.community.expose().as_bytes()]);
        tlv(SEQUENCE, &[&integer(INTEGER, VERSION), &community, &get])
    }

    fn judge(&self, answer: Answer, session: &mut Session) -> Result<String, Failed> {
        let oid = &self.oid.0;
        if answer.error != 0 {
            let summary = format!("the device answers with error {}", answer.error);
            return Err(Failed::new(Reason::ErrorAnswer, summary));
        }
        let text = match answer.value {
            Value::Missing => {
                let summary = format!("the device has no `{oid}`");
                return Err(Failed::new(Reason::AnswerMismatch, summary));
            }
            Value::Number(number) => {
                session.value("value", number, "");
                number.to_string().into_bytes()
            }
            Value::Text(text) => {
                // Some devices write numbers as texts.
                let number =
                    std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
                if let Some(number) = number {
                    session.value("value", number, "");
                }
                text
            }
        };
        let shown = shown_line(&text, 200);
        match &self.expect {
            Some(expect) if !expect.is_match(&text) => {
                let summary = format!("`{oid}` is `{shown}`, does not match `{expect}`");
                Err(Failed::new(Reason::AnswerMismatch, summary))
            }
            _ => Ok(format!("{oid} is {shown}")),
        }
    }
}

fn decode(datagram: &[u8]) -> Option<Answer> {
    let mut rest = ber::expect(&mut &datagram[..], SEQUENCE)?;
    let version = ber::number(ber::expect(&mut rest, INTEGER)?, true)?;
    ber::expect(&mut rest, OCTETS)?;
    let mut rest = ber::expect(&mut rest, RESPONSE)?;
    let id = ber::number(ber::expect(&mut rest, INTEGER)?, true)?;
    let error = ber::number(ber::expect(&mut rest, INTEGER)?, true)?;
    ber::expect(&mut rest, INTEGER)?;
    let mut bindings = ber::expect(&mut rest, SEQUENCE)?;
    if version != i128::from(VERSION) {
        return None;
    }
    let mut binding = ber::expect(&mut bindings, SEQUENCE)?;
    ber::expect(&mut binding, OID)?;
    let (tag, content) = ber::take(&mut binding)?;
    let value = match tag {
        INTEGER => Value::Number(ber::number(content, true)? as f64),
        // Counter32, Gauge32, TimeTicks, Counter64.
        0x41 | 0x42 | 0x43 | 0x46 => Value::Number(ber::number(content, false)? as f64),
        // An address.
        0x40 => {
            let parts: Vec<_> = content.iter().map(u8::to_string).collect();
            Value::Text(parts.join(".").into_bytes())
        }
        NULL | 0x80..=0x82 => Value::Missing,
        _ => Value::Text(content.to_vec()),
    };
    Some(Answer { id, error, value })
}
