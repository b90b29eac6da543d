//! An SNMP probe as it is written.
//!
//! Invariant: a configuration that builds says one thing to ask for and one way to be known.

use base::diagnostic::{Diagnostics, Spanned};
use base::secret::Secret;
use serde::Deserialize;

use super::cipher::{Cipher, Hash};
use super::user::{Proof, User};
use super::{Login, SnmpProbe};
use crate::ber;
use crate::network::regex;
use crate::session::{Endpoint, SECONDS};
use crate::thresholds::{Limits, LimitsConfig};

/// sysUpTime: every device has it.
const UPTIME: &str = "1.3.6.1.2.1.1.3.0";
/// RFC 3414 has passwords of at least so many characters.
const MIN_PASSWORD: usize = 8;

/// An SNMP probe, as written.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnmpConfig {
    /// `host`, or `host:port` for another port than 161.
    address: Spanned<String>,
    /// Version 2c; `public` where nothing is said.
    #[serde(default)]
    community: Option<Spanned<Secret>>,
    /// Version 3: who we are.
    #[serde(default)]
    username: Option<Spanned<String>>,
    /// How that is proven; without it nothing is.
    #[serde(default)]
    auth: Option<Spanned<AuthConfig>>,
    /// How what is said is hidden; without it nothing is.
    #[serde(default)]
    privacy: Option<Spanned<PrivacyConfig>>,
    /// Which of a device's contexts; the usual one where nothing is said.
    #[serde(default)]
    context: Option<Spanned<String>>,
    /// What to ask for, in numbers with dots.
    #[serde(default)]
    oid: Option<Spanned<String>>,
    /// Asks for all that is below that.
    #[serde(default)]
    walk: Option<Spanned<String>>,
    /// A regular expression that the value must match, or all values.
    #[serde(default)]
    expect: Option<Spanned<String>>,
    /// Limits on `value`, with `walk` on `count`, `min`, `max`, `sum`; on `seconds`.
    #[serde(default)]
    thresholds: LimitsConfig,
}

/// The password of a user.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct AuthConfig {
    /// `md5`, `sha`, `sha-256`, `sha-384` or `sha-512`.
    protocol: Hash,
    /// The password, of eight letters at least.
    password: Spanned<Secret>,
}

/// The password for the cipher.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct PrivacyConfig {
    /// `des`, `aes-128`, `aes-192` or `aes-256`.
    protocol: Cipher,
    /// The password, of eight letters at least.
    password: Spanned<Secret>,
}

impl SnmpConfig {
    /// The probe, reporting everything that is wrong with it.
    pub fn build(self, diagnostics: &mut Diagnostics) -> Option<SnmpProbe> {
        let endpoint = Endpoint::build(&self.address, Some(161), diagnostics);
        let login = self.login(diagnostics);
        let walks = self.walk.is_some();
        if let (Some(oid), true) = (&self.oid, walks) {
            diagnostics.report(oid, "one value is asked for by `oid`, or many by `walk`, not both");
        }
        let asked = self.walk.or(self.oid);
        let place = asked.as_ref().map_or(self.address.place, |oid| oid.place);
        let text = asked.map_or_else(|| UPTIME.to_owned(), |oid| oid.value);
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
        let known: &[&str] =
            if walks { &["count", "min", "max", "sum", SECONDS] } else { &["value", SECONDS] };
        let limits = Limits::build(&self.thresholds, known, diagnostics);
        Some(SnmpProbe {
            endpoint: endpoint?,
            login: login?,
            oid: (text, oid?),
            walks,
            expect,
            limits,
        })
    }

    fn login(&self, diagnostics: &mut Diagnostics) -> Option<Login> {
        let Some(username) = &self.username else {
            let of_users = [
                self.auth.as_ref().map(|auth| auth.place),
                self.privacy.as_ref().map(|privacy| privacy.place),
                self.context.as_ref().map(|context| context.place),
            ];
            for place in of_users.into_iter().flatten() {
                diagnostics.report(place, "this is of version 3, which needs a `username`");
            }
            let community = self.community.as_ref().map(|community| community.value.clone());
            return Some(Login::Community(community.unwrap_or_else(|| Secret::new("public"))));
        };
        if let Some(community) = &self.community {
            let message = "a `community` is of version 2c, a `username` of version 3: not both";
            diagnostics.report(community, message);
        }
        if !(1..=32).contains(&username.value.len()) {
            diagnostics.report(username, "a user's name has 1 to 32 bytes");
        }
        if let (Some(privacy), None) = (&self.privacy, &self.auth) {
            let message = "what is not proven is not hidden: `privacy` needs `auth`";
            diagnostics.report(privacy, message);
        }
        let auth = self.auth.as_ref().map(|auth| &auth.value);
        let privacy = self.privacy.as_ref().map(|privacy| &privacy.value);
        let passwords = [auth.map(|auth| &auth.password), privacy.map(|privacy| &privacy.password)];
        for password in passwords.into_iter().flatten() {
            if password.value.expose().len() < MIN_PASSWORD {
                diagnostics
                    .report(password, format!("a password has {MIN_PASSWORD} bytes or more"));
                return None;
            }
        }
        let proof = auth.map(|AuthConfig { protocol: hash, password }| Proof {
            hash: *hash,
            key: hash.key(password.value.expose()),
            privacy: privacy.map(|PrivacyConfig { protocol, password }| {
                (*protocol, hash.key(password.value.expose()))
            }),
        });
        let context = self.context.as_ref().map(|context| context.value.clone());
        let name = username.value.clone();
        Some(Login::User(User { name, context: context.unwrap_or_default(), proof }))
    }
}
