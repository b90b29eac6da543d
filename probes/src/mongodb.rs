//! Logging in to a MongoDB server, and asking what it is in its replica set, how the set is, and
//! for one number.
//!
//! ```yaml
//! mongodb:
//!   address: db.example
//!   username: watch
//!   password: ${env:MONGO_PASSWORD}
//!   replica_set: shop                      # its name; then `lag`, `members`, `down` are measured
//!   command: serverStatus
//!   field: connections.current             # becomes the value `value`
//!   thresholds: {lag: {warn: 10, crit: 60}, value: {warn: 800}}
//! ```
//!
//! Invariant: only commands that read are sent, and a password never, only its proof.

mod bson;
mod command;
mod config;
mod member;

use async_trait::async_trait;
use base::secret::Secret;
use md5::{Digest, Md5};
use tokio_util::sync::CancellationToken;

use self::bson::{Bson, Document};
use self::command::{Commands, Refused};
pub use self::config::MongodbConfig;
use crate::chain::Trust;
use crate::scram::Mechanism;
use crate::session::{Endpoint, Session};
use crate::text::shown_line;
use crate::thresholds::Limits;
use crate::wire::Failed;
use crate::{Outcome, Probe, Reason};

/// The server does not know the command.
const COMMAND_NOT_FOUND: i32 = 59;

/// Logs in to a MongoDB server.
#[derive(Debug)]
pub struct MongodbProbe {
    endpoint: Endpoint,
    trust: Option<Trust>,
    login: Option<(String, Secret)>,
    /// Where users are known.
    auth_database: String,
    replica_set: Option<String>,
    role: Option<String>,
    question: Option<Question>,
    limits: Limits,
}

/// What is asked for, and which number of the answer is wanted.
#[derive(Debug)]
struct Question {
    command: Document,
    database: String,
    field: String,
}

#[async_trait]
impl Probe for MongodbProbe {
    async fn run(&self, stop: &CancellationToken) -> Outcome {
        let phases = ["resolve", "connect", "tls", "hello", "login", "command"];
        let mut session = Session::start("mongodb", &phases);
        let result = stop.run_until_cancelled(self.look(&mut session)).await;
        session.finish(result, &self.limits)
    }
}

impl MongodbProbe {
    async fn look(&self, session: &mut Session) -> Result<String, Failed> {
        let wire = session.open(&self.endpoint, self.trust.as_ref()).await?;
        let mut server = Commands::new(wire);
        let waiting = |what: &str| format!("`{}` has not answered {what}", self.endpoint);
        let hello = session.phase("hello", waiting("`hello`"), self.hello(&mut server)).await?;
        if let Some((username, password)) = &self.login {
            let mechanism = mechanism(&hello);
            let proven = match mechanism {
                Mechanism::Sha256 => password.expose().to_owned(),
                // The older login has a hash in the place of the password.
                Mechanism::Sha1 => old_password(username, password.expose()),
            };
            let login = server.login(mechanism, username, &proven, &self.auth_database);
            session.phase("login", waiting("the login"), login).await?;
        }
        let role = self.judge_role(&hello)?;
        let mut summary = format!("MongoDB, {role}");
        if self.replica_set.is_some() {
            let status = Document::of("replSetGetStatus", Bson::Int(1));
            let ask = server.send(status, "admin");
            let status = session.phase("command", waiting("`replSetGetStatus`"), ask).await?;
            let status = status.map_err(|refused| refused.failed(Reason::QueryFailed))?;
            let set = member::set(&status)?;
            session.value("members", set.members as f64, "");
            session.value("down", set.down as f64, "");
            session.value("lag", set.lag, "s");
            summary += &format!(" of {} members, the slowest {} s behind", set.members, set.lag);
        }
        let Some(Question { command, database, field }) = &self.question else {
            return Ok(summary);
        };
        let ask = server.send(command.clone(), database);
        let answer = session.phase("command", waiting("the command"), ask).await?;
        let answer = answer.map_err(|refused| refused.failed(Reason::QueryFailed))?;
        let Some(value) = answer.at(field) else {
            let summary = format!("the answer has no `{field}`");
            return Err(Failed::new(Reason::AnswerMismatch, summary));
        };
        let Some(number) = value.number() else {
            let summary = format!("`{field}` of the answer is no number");
            return Err(Failed::new(Reason::AnswerMismatch, summary));
        };
        session.value("value", number, "");
        Ok(format!("{summary}; {field} is {number}"))
    }

    /// Asks the server what it is; one before version 4.4 by the older word.
    async fn hello(&self, server: &mut Commands) -> Result<Document, Failed> {
        let ask = |name: &str| {
            let command = Document::of(name, Bson::Int(1));
            match &self.login {
                // It says then how this user may log in.
                Some((username, _)) => {
                    let user = format!("{}.{username}", self.auth_database);
                    command.with("saslSupportedMechs", Bson::Text(user))
                }
                None => command,
            }
        };
        let answer = match server.send(ask("hello"), "admin").await? {
            Err(Refused { code: COMMAND_NOT_FOUND, .. }) => {
                server.send(ask("isMaster"), "admin").await?
            }
            answer => answer,
        };
        answer.map_err(|refused| refused.failed(Reason::ErrorAnswer))
    }

    /// What the server is, if that is what it should be.
    fn judge_role(&self, hello: &Document) -> Result<&'static str, Failed> {
        if let Some(wanted) = &self.replica_set {
            let found = hello.text("setName");
            if found != Some(wanted) {
                let found = match found {
                    Some(found) => {
                        format!("of the replica set `{}`", shown_line(found.as_bytes(), 100))
                    }
                    None => "of no replica set".to_owned(),
                };
                let summary = format!("the server is {found}, wanted `{wanted}`");
                return Err(Failed::new(Reason::AnswerMismatch, summary));
            }
        }
        let Some(role) = member::role(hello) else {
            let summary = "the server is neither primary nor secondary";
            return Err(Failed::new(Reason::NotServing, summary));
        };
        match &self.role {
            Some(wanted) if wanted != role => {
                let summary = format!("the server is {role}, wanted {wanted}");
                Err(Failed::new(Reason::AnswerMismatch, summary))
            }
            _ => Ok(role),
        }
    }
}

/// How a user is to log in, by what the server knows of it; as most are where it knows nothing.
fn mechanism(hello: &Document) -> Mechanism {
    let Some(Bson::Array(known)) = hello.get("saslSupportedMechs") else {
        return Mechanism::Sha256;
    };
    let knows = |mechanism: Mechanism| known.contains(&Bson::Text(mechanism.name().to_owned()));
    match knows(Mechanism::Sha1) && !knows(Mechanism::Sha256) {
        true => Mechanism::Sha1,
        false => Mechanism::Sha256,
    }
}

fn old_password(username: &str, password: &str) -> String {
    let mut digest = Md5::new();
    digest.update(format!("{username}:mongo:{password}"));
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
