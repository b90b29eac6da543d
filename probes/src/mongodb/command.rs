//! Commands and their answers over a connection: OP_MSG, one question at a time.
//!
//! Invariant: an answer counts only if it is to the question before it.

use super::bson::{Bson, Document};
use crate::Reason;
use crate::scram::{Mechanism, Scram};
use crate::text::shown_line;
use crate::wire::{Failed, Wire};

const OP_MSG: u32 = 2013;
/// The head of a message, the flags and the kind of its section.
const HEAD: usize = 16 + 4 + 1;
/// No server sends more.
const MAX_MESSAGE: usize = 48_000_000;
/// How much of an answer we take: the status of a large server has some hundred kilobytes.
const MAX_TAKEN: usize = 4 << 20;
/// What is read at once.
const PIECE: usize = 32 << 10;

/// A command was not done: the code of the server and its words.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) code: i32,
    pub(super) said: String,
}

impl Refused {
    /// Why, as far as that does not depend on the command.
    pub(super) fn failed(self, otherwise: Reason) -> Failed {
        let reason = match self.code {
            // Unauthorized, AuthenticationFailed, and that a login is wanted first.
            13 | 18 | 8000 => Reason::AuthenticationFailed,
            // Not initialised, shutting down, neither primary nor secondary.
            91 | 94 | 11_600 | 13_435 | 13_436 => Reason::NotServing,
            _ => otherwise,
        };
        Failed::new(reason, format!("the server answers {}: {}", self.code, self.said))
    }
}

/// A connection on which commands are sent.
pub(super) struct Commands {
    wire: Wire,
    sent: u32,
}

impl Commands {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, sent: 0 }
    }

    /// Sends a command to `database`; what comes back is the answer, or that it is refused.
    pub(super) async fn send(
        &mut self,
        command: Document,
        database: &str,
    ) -> Result<Result<Document, Refused>, Failed> {
        self.sent += 1;
        let body = command.with("$db", Bson::Text(database.to_owned())).encode();
        let length = u32::try_from(HEAD + body.len()).unwrap_or(u32::MAX);
        // The length, our number, to what it is an answer, what kind it is, the flags.
        let head = [length, self.sent, 0, OP_MSG, 0].map(u32::to_le_bytes).concat();
        self.wire.send(&[&head[..], &[0], &body].concat()).await?;
        let answer = self.receive().await?;
        if answer.is("ok") {
            return Ok(Ok(answer));
        }
        let code = answer.number("code").map_or(0, |code| code as i32);
        let said = answer.text("errmsg").unwrap_or("without a reason");
        Ok(Err(Refused { code, said: shown_line(said.as_bytes(), 200) }))
    }

    async fn receive(&mut self) -> Result<Document, Failed> {
        let begin = self.wire.peek(4).await?;
        let length = u32::from_le_bytes([begin[0], begin[1], begin[2], begin[3]]) as usize;
        if !(HEAD + 5..=MAX_MESSAGE).contains(&length) {
            let said = self.wire.unread().to_vec();
            return Err(Failed::protocol("MongoDB", &said));
        }
        let head = self.wire.exact(HEAD).await?;
        let word = |at: usize| {
            head[at..at + 4].iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte))
        };
        let (answers, kind, flags) = (word(8), word(12), word(16));
        // More to come is a flag that nobody may set to whom that was not allowed.
        if answers != self.sent || kind != OP_MSG || flags & 0xfffe != 0 || head[20] != 0 {
            return Err(Failed::protocol("MongoDB", &head));
        }
        if length > MAX_TAKEN {
            let summary = format!("an answer is over {MAX_TAKEN} bytes");
            return Err(Failed::new(Reason::AnswerTooLarge, summary));
        }
        let mut body = Vec::new();
        while body.len() < length - HEAD {
            body.extend(self.wire.exact((length - HEAD - body.len()).min(PIECE)).await?);
        }
        if flags & 1 != 0 {
            // A checksum, of what TCP has checked.
            body.truncate(body.len().saturating_sub(4));
        }
        Document::decode(&body).ok_or_else(|| Failed::protocol("MongoDB", &body))
    }

    /// Logs in.
    pub(super) async fn login(
        &mut self,
        mechanism: Mechanism,
        username: &str,
        password: &str,
        database: &str,
    ) -> Result<(), Failed> {
        let scram = Scram::begin(mechanism, username)
            .ok_or_else(|| Failed::new(Reason::Internal, "the system has no random numbers"))?;
        let options = Document::of("skipEmptyExchange", Bson::Bool(true));
        let begin = Document::of("saslStart", Bson::Int(1))
            .with("mechanism", Bson::Text(mechanism.name().to_owned()))
            .with("payload", Bson::Binary(scram.first().into_bytes()))
            .with("options", Bson::Document(options));
        let (conversation, challenge, _) = self.step(begin, database).await?;
        let go_on = |payload: Vec<u8>| {
            Document::of("saslContinue", Bson::Int(1))
                .with("conversationId", conversation.clone())
                .with("payload", Bson::Binary(payload))
        };
        let (last, proof) = scram
            .answer(&challenge, password)
            .ok_or_else(|| Failed::protocol("SCRAM", challenge.as_bytes()))?;
        let (_, said, mut done) = self.step(go_on(last.into_bytes()), database).await?;
        if !proof.is(&said) {
            let summary = "the server does not know the password that it asks for";
            return Err(Failed::new(Reason::AuthenticationFailed, summary));
        }
        // Old servers want to have the last word.
        if !done {
            (_, _, done) = self.step(go_on(Vec::new()), database).await?;
        }
        if done {
            return Ok(());
        }
        Err(Failed::new(Reason::ProtocolError, "the login does not come to an end"))
    }

    /// One step of a login: its number, what the server says, whether that was all.
    async fn step(
        &mut self,
        command: Document,
        database: &str,
    ) -> Result<(Bson, String, bool), Failed> {
        let answer = self.send(command, database).await?;
        let answer = answer.map_err(|refused| refused.failed(Reason::AuthenticationFailed))?;
        let conversation = answer.get("conversationId").cloned().unwrap_or(Bson::Int(1));
        let Some(Bson::Binary(payload)) = answer.get("payload") else {
            return Err(Failed::new(Reason::ProtocolError, "a step of the login is empty"));
        };
        let said = String::from_utf8_lossy(payload).into_owned();
        Ok((conversation, said, answer.is("done")))
    }
}
