//! The seam for Nagios: a listener that answers `check_nrpe` for declared commands.
//!
//! ```yaml
//! nrpe:
//!   listen: 0.0.0.0:5666
//!   tls: {cert_file: nrpe.crt, key_file: nrpe.key}
//!   allowed: [192.0.2.10, 2001:db8::/64]
//!   commands:
//!     check_root: [/usr/lib/nagios/plugins/check_disk, -w, 10%, -c, 5%, -p, /]
//! ```
//!
//! A command is a script like that of a check: no shell, no arguments from outside (S3), its own
//! limits. It takes one of the slots for scripts.
//!
//! Invariant: what a client sends chooses among the declared commands and does nothing else.

mod allowed;
mod packet;
mod serve;

pub(crate) use serve::NrpeListener;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::web::{TlsServerConfig, Web};
use base::period::Period;
use probes::script::{ScriptConfig, ScriptProbe};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

pub(crate) use allowed::Network;

/// The longest that a command may take where nothing is said: as in nrpe.cfg.
const TIMEOUT: Period = Period::from_secs(60);

/// The section, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NrpeConfig {
    /// The address to serve on.
    listen: Spanned<String>,
    /// Our certificate, and whom we ask for one.
    #[serde(default)]
    tls: Option<Spanned<TlsServerConfig>>,
    /// Addresses and networks that may ask; this host alone where nothing is said.
    #[serde(default)]
    allowed: Option<Vec<Spanned<String>>>,
    /// The longest that a command may take; `60s` where nothing is said.
    #[serde(default)]
    timeout: Option<Spanned<Period>>,
    /// What may be asked for.
    commands: BTreeMap<String, Spanned<CommandConfig>>,
}

/// A command, as written: the program with its arguments, or all settings of a script.
#[derive(Debug)]
struct CommandConfig(ScriptConfig);

impl schemars::JsonSchema for CommandConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CommandConfig".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let list = generator.subschema_for::<Vec<String>>();
        let script = generator.subschema_for::<ScriptConfig>();
        schemars::json_schema!({"anyOf": [list, script]})
    }
}

impl<'de> Deserialize<'de> for CommandConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommandVisitor;

        impl<'de> Visitor<'de> for CommandVisitor {
            type Value = CommandConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of the program and its arguments, or the settings of a script")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                let list = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(CommandConfig(ScriptConfig::of(list)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                ScriptConfig::deserialize(MapAccessDeserializer::new(map)).map(CommandConfig)
            }
        }

        deserializer.deserialize_any(CommandVisitor)
    }
}

/// What is answered, and to whom.
#[derive(Debug)]
pub struct Nrpe {
    /// The address to serve on.
    pub(crate) listen: SocketAddr,
    /// TLS.
    web: Web,
    /// Who may ask; everybody where nobody is named.
    allowed: Option<Vec<Network>>,
    timeout: Duration,
    commands: BTreeMap<String, Arc<ScriptProbe>>,
}

impl Nrpe {
    /// How many commands may be asked for.
    pub fn commands(&self) -> usize {
        self.commands.len()
    }
}

impl NrpeConfig {
    /// What is answered, reporting everything that is wrong with the section; files are relative to
    /// `folder`. `insecure` accepts that anybody may ask.
    pub(crate) fn build(
        self,
        folder: &Path,
        insecure: bool,
        diagnostics: &mut Diagnostics,
    ) -> Option<Nrpe> {
        let web = Web::of_tls(self.tls, folder, diagnostics);
        let allowed = self.allowed.map(|allowed| {
            let networks = allowed.iter().filter_map(|network| {
                let parsed = network.value.parse::<Network>();
                parsed.map_err(|message| diagnostics.report(network, message)).ok()
            });
            networks.collect()
        });
        let timeout = self.timeout.map_or(TIMEOUT, |timeout| {
            if timeout.value.is_zero() {
                diagnostics.report(&timeout, "a timeout cannot be 0");
            }
            timeout.value
        });
        let mut commands = BTreeMap::new();
        for (name, command) in self.commands {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
                let help = "use letters, digits, `_`, `-` and `.`";
                let message = format!("`{}` cannot name a command", name.escape_debug());
                diagnostics.report_with_help(Place::from(&command), message, help);
            }
            commands.insert(name, Arc::new(command.value.0.build(diagnostics)));
        }
        let Ok(listen) = self.listen.value.parse::<SocketAddr>() else {
            let message = format!("`{}` is not an address to listen on", self.listen.value);
            diagnostics.report_with_help(&self.listen, message, "write it like `0.0.0.0:5666`");
            return None;
        };
        let nrpe = Nrpe { listen, web: web?, allowed, timeout: timeout.duration(), commands };
        if let Some((lacks, help)) = nrpe.lacks().filter(|_| !insecure) {
            let message = format!("others could reach `{listen}` {lacks}");
            diagnostics.report_with_help(&self.listen, message, help);
        }
        // Whoever cannot be named has to show a certificate, or is on this host.
        let nrpe = match (&nrpe.allowed, nrpe.web.requires_client()) {
            (None, false) if !insecure => Nrpe { allowed: Some(allowed::this_host()), ..nrpe },
            _ => nrpe,
        };
        Some(nrpe)
    }
}

impl Nrpe {
    /// What is missing for others to reach us, and what to do about it (S1).
    fn lacks(&self) -> Option<(&'static str, &'static str)> {
        if self.listen.ip().to_canonical().is_loopback() {
            return None;
        }
        if !self.web.has_tls() {
            let help = "set `tls: {cert_file: ..., key_file: ...}`, listen on `127.0.0.1`, or \
                        accept it with `--insecure-listen`";
            return Some(("without TLS", help));
        }
        if self.allowed.is_none() && !self.web.requires_client() {
            let help = "name the servers in `allowed`, or ask them for certificates by \
                        `client_ca_file` and `client_auth_type` under `tls`";
            return Some(("whoever they are", help));
        }
        None
    }
}
