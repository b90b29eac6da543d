//! A MongoDB probe as it is written.
//!
//! Invariant: a command that writes cannot be configured.

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Spanned, nearest};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use serde::Deserialize;

use super::bson::{Bson, Document};
use super::member::ROLES;
use super::{MongodbProbe, Question};
use crate::chain::Trust;
use crate::session::{DAYS_LEFT, Endpoint, SECONDS};
use crate::thresholds::{Limits, LimitsConfig};

/// What can be asked: all of it only reads.
const OF_SERVERS: [&str; 9] = [
    "serverStatus",
    "replSetGetStatus",
    "hello",
    "ping",
    "buildInfo",
    "hostInfo",
    "connPoolStats",
    "listDatabases",
    "dbStats",
];
/// The same of a collection.
const OF_COLLECTIONS: [&str; 2] = ["count", "collStats"];

/// A MongoDB probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MongodbConfig {
    /// `host`, or `host:port` for another port than 27017.
    address: Spanned<String>,
    /// Makes a TLS handshake.
    #[serde(default)]
    tls: Option<Spanned<TlsConfig>>,
    /// Who we are.
    #[serde(default)]
    username: Option<Spanned<String>>,
    /// Our password.
    #[serde(default)]
    password: Option<Secret>,
    /// The database that knows us; `admin` where nothing is said.
    #[serde(default)]
    auth_database: Option<String>,
    /// The replica set that the server must be of; its status is asked for, too.
    #[serde(default)]
    replica_set: Option<String>,
    /// What it must be: `primary`, `secondary`, `arbiter`, `standalone`, `router`.
    #[serde(default)]
    role: Option<Spanned<String>>,
    /// A command that reads.
    #[serde(default)]
    command: Option<Spanned<String>>,
    /// The database that it is for; `admin` where nothing is said.
    #[serde(default)]
    database: Option<Spanned<String>>,
    /// The collection, where the command is for one.
    #[serde(default)]
    collection: Option<Spanned<String>>,
    /// What the documents that are counted have in their fields: texts, numbers, true or false.
    #[serde(default)]
    query: Option<Spanned<BTreeMap<String, Scalar>>>,
    /// The number of the answer that is wanted, as a path with dots; of `count` it is `n`.
    #[serde(default)]
    field: Option<Spanned<String>>,
    /// Limits on `value`, `lag`, `members`, `down`, `seconds`, and with TLS on `days_left`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// What a field can be compared with.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
enum Scalar {
    Bool(bool),
    Whole(i64),
    Number(f64),
    Text(String),
}

impl MongodbConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<MongodbProbe> {
        let endpoint = Endpoint::build(&self.address, Some(27_017), diagnostics);
        let trust = Trust::optional(self.tls.as_ref(), diagnostics);
        let question = self.question(diagnostics);
        if let (Some(username), None) = (&self.username, &self.password) {
            diagnostics.report(username, "a user name needs a `password`");
        }
        if let Some(role) = self.role.as_ref().filter(|role| !ROLES.contains(&role.value.as_str()))
        {
            let message = format!("no server has the role `{}`", role.value);
            let help = format!("one of `{}`", ROLES.join("`, `"));
            diagnostics.report_with_help(role, message, help);
        }
        let known = ["value", "lag", "members", "down", SECONDS, DAYS_LEFT];
        let limits = Limits::build(&self.thresholds, &known, diagnostics);
        Some(MongodbProbe {
            endpoint: endpoint?,
            trust: trust?,
            login: self.username.map(|name| name.value).zip(self.password),
            auth_database: self.auth_database.unwrap_or_else(|| "admin".to_owned()),
            replica_set: self.replica_set,
            role: self.role.map(|role| role.value),
            question: question?,
            limits,
        })
    }

    /// What is asked for, if anything is; nothing where what is written is none.
    fn question(&self, diagnostics: &mut Diagnostics) -> Option<Option<Question>> {
        let Some(command) = &self.command else {
            let more = [&self.database, &self.collection, &self.field].into_iter().flatten();
            for more in more {
                diagnostics.report(more, "this needs a `command`");
            }
            return Some(None);
        };
        let name = command.value.as_str();
        let is_of_collection = OF_COLLECTIONS.contains(&name);
        if !is_of_collection && !OF_SERVERS.contains(&name) {
            let all = OF_SERVERS.iter().chain(&OF_COLLECTIONS).copied();
            let help = match nearest(name, all.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("those that only read: `{}`", all.collect::<Vec<_>>().join("`, `")),
            };
            diagnostics.report_with_help(command, format!("`{name}` is not sent from here"), help);
            return None;
        }
        if is_of_collection && self.collection.is_none() {
            diagnostics.report(command, format!("`{name}` needs a `collection`"));
            return None;
        }
        if let Some(collection) = self.collection.as_ref().filter(|_| !is_of_collection) {
            diagnostics.report(collection, format!("`{name}` is not of a collection"));
        }
        if let Some(query) = self.query.as_ref().filter(|_| name != "count") {
            diagnostics.report(query, "only what is counted can be chosen: `command: count`");
        }
        let field = self.field.as_ref().map(|field| field.value.clone());
        let Some(field) = field.or_else(|| (name == "count").then(|| "n".to_owned())) else {
            let help = "as in `field: connections.current`";
            let message = format!("which number of `{name}` is wanted? `field` is missing");
            diagnostics.report_with_help(command, message, help);
            return None;
        };
        let first = match &self.collection {
            Some(collection) => Bson::Text(collection.value.clone()),
            None => Bson::Int(1),
        };
        let mut document = Document::of(name, first);
        if let Some(query) = &self.query {
            let fields = query
                .value
                .iter()
                .fold(Document::default(), |fields, (name, value)| fields.with(name, value.bson()));
            document = document.with("query", Bson::Document(fields));
        }
        let database = self.database.as_ref().map_or("admin", |database| &database.value);
        Some(Some(Question { command: document, database: database.to_owned(), field }))
    }
}

impl Scalar {
    fn bson(&self) -> Bson {
        match self {
            Self::Bool(yes) => Bson::Bool(*yes),
            Self::Whole(number) => Bson::Long(*number),
            Self::Number(number) => Bson::Double(*number),
            Self::Text(text) => Bson::Text(text.clone()),
        }
    }
}
