//! Asking a device for a value, or for all values of a subtree, by SNMP v2c or v3.
//!
//! ```yaml
//! snmp:
//!   address: switch.example
//!   username: watch                       # version 3; `community` is version 2c
//!   auth: {protocol: sha-256, password: '${env:SNMP_AUTH}'}
//!   privacy: {protocol: aes-128, password: '${env:SNMP_PRIVACY}'}
//!   oid: 1.3.6.1.2.1.2.2.1.8.3            # sysUpTime where nothing is said; or `walk`
//!   thresholds: {value: {crit: '1:1'}}
//! ```
//!
//! Invariant: nothing is set; an answer counts only if it is to our question.

mod message;
mod cipher;
mod user;
mod config;

use async_trait::async_trait;
use base::secret::Secret;
use regex::bytes::Regex;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

pub use self::config::SnmpConfig;
use self::message::{Answer, GET, GET_BULK, REPORT, Value, arcs, dotted, question};
use self::user::{Engine, Speaker, User};
use crate::session::{Endpoint, Session, datagrams, unanswered};
use crate::text::shown_line;
use crate::thresholds::Limits;
use crate::wire::Failed;
use crate::{Outcome, Probe, Reason};

/// How many values of a subtree are asked for at once.
const AT_ONCE: i32 = 25;
/// How many values a subtree may have.
const MAX_VALUES: usize = 20_000;

/// Asks a device.
#[derive(Debug)]
pub struct SnmpProbe {
    endpoint: Endpoint,
    login: Login,
    /// As it was written, and as it is sent.
    oid: (String, Vec<u8>),
    /// Whether all that is below it is asked for.
    walks: bool,
    expect: Option<Regex>,
    limits: Limits,
}

/// Who we are.
#[derive(Debug)]
enum Login {
    Community(Secret),
    User(User),
}

#[async_trait]
impl Probe for SnmpProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let phases: &[_] = match self.login {
            Login::Community(_) => &["resolve", "request"],
            Login::User(_) => &["resolve", "discover", "request"],
        };
        let mut session = Session::start("snmp", phases);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl SnmpProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let socket = datagrams(session, &self.endpoint).await?;
        let endpoint = &self.endpoint;
        let mut device =
            Device { socket, buffer: vec![0; 65_535], login: &self.login, heard: None };
        // A wrong community is not answered at all, as RFC 3584 has it.
        let mut waiting = format!("`{endpoint}` has not answered; is the community right?");
        if let Login::User(user) = &self.login {
            let who = format!("`{endpoint}` has not said who it is; does it know version 3?");
            let engine = session.phase("discover", who, device.discover(user)).await?;
            device.heard = Some(Speaker::new(user, engine));
            waiting = format!(
                "`{endpoint}` has not answered so that it can be believed; are the passwords and \
                 protocols right?"
            );
        }
        if self.walks {
            let values = session.phase("request", waiting, device.walk(&self.oid.1)).await?;
            return self.judge_all(&values, session);
        }
        let answer = session.phase("request", waiting, device.get(&self.oid.1)).await?;
        self.judge(answer, session)
    }

    fn judge(&self, answer: Answer, session: &mut Session) -> Result<String, Failed> {
        let oid = &self.oid.0;
        let value = answer.bindings.first().and_then(|(_, value)| value.read());
        let Some((text, number)) = value else {
            let summary = format!("the device has no `{oid}`");
            return Err(Failed::new(Reason::AnswerMismatch, summary));
        };
        let shown = shown_line(&text, 200);
        match number {
            Some(number) => session.value("value", number, ""),
            None if self.limits.has("value") => {
                let summary = format!("`{oid}` is `{shown}`, which is no number");
                return Err(Failed::new(Reason::AnswerMismatch, summary));
            }
            None => {}
        }
        match &self.expect {
            Some(expect) if !expect.is_match(&text) => {
                let summary = format!("`{oid}` is `{shown}`, does not match `{expect}`");
                Err(Failed::new(Reason::AnswerMismatch, summary))
            }
            _ => Ok(format!("{oid} is {shown}")),
        }
    }

    fn judge_all(
        &self,
        values: &[(Vec<u8>, Value)],
        session: &mut Session,
    ) -> Result<String, Failed> {
        let read: Vec<_> = values.iter().filter_map(|(_, value)| value.read()).collect();
        let numbers: Vec<f64> = read.iter().filter_map(|(_, number)| *number).collect();
        session.value("count", values.len() as f64, "");
        if !numbers.is_empty() {
            session.value("min", numbers.iter().copied().fold(f64::INFINITY, f64::min), "");
            session.value("max", numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max), "");
            session.value("sum", numbers.iter().sum(), "");
        }
        let (oid, count) = (&self.oid.0, values.len());
        let Some(expect) = &self.expect else { return Ok(format!("{count} values below {oid}")) };
        let strange: Vec<_> = values
            .iter()
            .filter_map(|(name, value)| Some((name, value.read()?.0)))
            .filter(|(_, text)| !expect.is_match(text))
            .collect();
        let Some((name, text)) = strange.first() else {
            return Ok(format!("{count} values below {oid}, all match `{expect}`"));
        };
        let summary = format!(
            "{} of {count} values below `{oid}` do not match `{expect}`, first `{}`: `{}`",
            strange.len(),
            dotted(name),
            shown_line(text, 100)
        );
        Err(Failed::new(Reason::AnswerMismatch, summary))
    }
}

/// A device while it is asked.
struct Device<'a> {
    socket: UdpSocket,
    buffer: Vec<u8>,
    login: &'a Login,
    /// We before it, once it is known who it is.
    heard: Option<Speaker<'a>>,
}

impl<'a> Device<'a> {
    /// Asks for who it is: with a question of nobody, for nothing, which is reported.
    async fn discover(&mut self, user: &'a User) -> Result<Engine, Failed> {
        let speaker = Speaker::unknown(user);
        let (id, salt) = random()?;
        let asked = question(GET, id, [0, 0], None);
        let said = speaker.say(id, salt, &asked).ok_or_else(too_long)?;
        self.send(&said).await?;
        let datagram = self.receive().await?;
        let heard = speaker.hear(id, datagram);
        let heard = heard.ok_or_else(|| Failed::protocol("SNMP version 3", datagram))?;
        if heard.answer.tag != REPORT || !(5..=32).contains(&heard.engine.id.len()) {
            let summary = "the device does not say who it is";
            return Err(Failed::new(Reason::ProtocolError, summary));
        }
        Ok(heard.engine)
    }

    /// Asks for one value.
    async fn get(&mut self, oid: &[u8]) -> Result<Answer, Failed> {
        let (id, salt) = random()?;
        self.ask(id, salt, &question(GET, id, [0, 0], Some(oid))).await
    }

    /// Asks for all values below a name, some at a time.
    async fn walk(&mut self, oid: &[u8]) -> Result<Vec<(Vec<u8>, Value)>, Failed> {
        // What is sent has two bytes, tag and length, before the name itself.
        let begin = arcs(oid.get(2..).unwrap_or_default());
        let (mut values, mut last, mut next) = (Vec::new(), begin.clone(), oid.to_vec());
        loop {
            let (id, salt) = random()?;
            let asked = question(GET_BULK, id, [0, AT_ONCE], Some(&next));
            let answer = self.ask(id, salt, &asked).await?;
            if answer.bindings.is_empty() {
                return Ok(values);
            }
            for (name, value) in answer.bindings {
                let at = arcs(&name);
                if value == Value::End || !at.starts_with(&begin) {
                    return Ok(values);
                }
                // One that goes in a circle would never end.
                if at <= last {
                    let summary = format!("the device lists `{}` out of order", dotted(&name));
                    return Err(Failed::new(Reason::ProtocolError, summary));
                }
                if values.len() == MAX_VALUES {
                    let summary = format!("there are more than {MAX_VALUES} values");
                    return Err(Failed::new(Reason::AnswerTooLarge, summary));
                }
                last = at;
                next = crate::ber::tlv(crate::ber::OID, &[&name]);
                values.push((name, value));
            }
        }
    }

    /// Asks, and waits for the answer to that.
    async fn ask(&mut self, id: i32, salt: [u8; 8], pdu: &[u8]) -> Result<Answer, Failed> {
        let answer = match self.login {
            Login::Community(community) => {
                let said = message::with_community(community.expose().as_bytes(), pdu);
                self.send(&said).await?;
                loop {
                    let datagram = self.receive().await?;
                    let answer = message::of_community(datagram);
                    let answer = answer.ok_or_else(|| Failed::protocol("SNMP", datagram))?;
                    if answer.id == i128::from(id) {
                        break answer;
                    }
                }
            }
            Login::User(user) => self.ask_as(user, id, salt, pdu).await?,
        };
        match answer.error {
            0 => Ok(answer),
            // authorizationError: the view of the user or the community ends before that.
            16 => {
                let summary = "the device does not let us see that";
                Err(Failed::new(Reason::AuthenticationFailed, summary))
            }
            error => {
                let summary = format!("the device answers with error {error}");
                Err(Failed::new(Reason::ErrorAnswer, summary))
            }
        }
    }

    async fn ask_as(
        &mut self,
        user: &'a User,
        id: i32,
        salt: [u8; 8],
        pdu: &[u8],
    ) -> Result<Answer, Failed> {
        let mut is_late = false;
        loop {
            let Some(speaker) = self.heard.take() else { return Err(too_long()) };
            let said = speaker.say(id, salt, pdu).ok_or_else(too_long)?;
            self.send(&said).await?;
            let heard = loop {
                // What is not to be believed may be anybody's.
                if let Some(heard) = speaker.hear(id, self.receive().await?) {
                    break heard;
                }
            };
            if heard.answer.tag != REPORT {
                self.heard = Some(speaker);
                return Ok(heard.answer);
            }
            let name = heard.answer.bindings.first().map(|(name, _)| dotted(name));
            let name = name.unwrap_or_default();
            // It has started anew or is late by itself: it says what time it has, once.
            let is_outside = name == format!("{USM}.2.0");
            if !is_outside || is_late || heard.engine.id != speaker.engine.id {
                return Err(reported(&name, user));
            }
            is_late = true;
            self.heard = Some(Speaker::new(user, heard.engine));
        }
    }

    async fn send(&self, datagram: &[u8]) -> Result<(), Failed> {
        self.socket.send(datagram).await.map(drop).map_err(|error| unanswered(&error))
    }

    async fn receive(&mut self) -> Result<&[u8], Failed> {
        let received = self.socket.recv(&mut self.buffer).await;
        Ok(&self.buffer[..received.map_err(|error| unanswered(&error))?])
    }
}

/// usmStats: what a device reports about users' messages.
const USM: &str = "1.3.6.1.6.3.15.1.1";

/// Why there is no answer, as the device reports it.
fn reported(name: &str, user: &User) -> Failed {
    let who = shown_line(user.name.as_bytes(), 100);
    let refused = |summary: String| Failed::new(Reason::AuthenticationFailed, summary);
    match name.strip_prefix(USM) {
        Some(".1.0") => refused(format!("the device does not let `{who}` in at this level")),
        Some(".3.0") => refused(format!("the device does not know the user `{who}`")),
        Some(".5.0") => refused(format!("the device refuses the password or protocol of `{who}`")),
        Some(".6.0") => refused(format!("the device refuses the privacy of `{who}`")),
        Some(".2.0") => {
            let summary = "the device refuses our time, which is the one that it told";
            Failed::new(Reason::ErrorAnswer, summary)
        }
        Some(".4.0") => {
            let summary = "the device does not know itself by the name that it told";
            Failed::new(Reason::ErrorAnswer, summary)
        }
        _ if name == "1.3.6.1.6.3.12.1.5.0" => {
            let summary = format!("the device has no context `{}`", user.context);
            Failed::new(Reason::AnswerMismatch, summary)
        }
        _ => Failed::new(Reason::ErrorAnswer, format!("the device reports `{name}`")),
    }
}

/// A number for a question, and what its cipher needs.
fn random() -> Result<(i32, [u8; 8]), Failed> {
    let mut bytes = [0; 12];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failed::new(Reason::Internal, "the system has no random numbers"))?;
    let (id, salt) = bytes.split_at(4);
    let id = id.iter().fold(0_i32, |sum, byte| sum << 8 | i32::from(*byte)) & i32::MAX;
    let salt = salt.try_into().unwrap_or_default();
    Ok((id, salt))
}

fn too_long() -> Failed {
    Failed::new(Reason::Internal, "the message cannot be made")
}
