//! Who we are to Amazon: keys from the configuration, the environment or a profile; and how requests
//! are signed with them.
//!
//! Source: Amazon's documentation of the shared credentials file.
//!
//! Invariant: keys are read when they are used, so that rotated ones are taken up, and nothing is
//! kept of them.

mod sign;

pub(crate) use sign::Signing;

use std::path::{Path, PathBuf};

use base::http::access::SecretSource;
use base::secret::Secret;

/// What a request is signed with.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) access_key: String,
    pub(crate) secret_key: Secret,
    pub(crate) session_token: Option<Secret>,
}

/// Where the keys come from.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    /// The configuration.
    Given { access_key: String, secret_key: SecretSource },
    /// A profile of the shared credentials file.
    Profile(String),
    /// The environment, else the default profile.
    Ambient,
}

impl Keys {
    /// The keys now.
    ///
    /// # Errors
    ///
    /// There are none.
    pub(crate) fn read(&self) -> Result<Credentials, String> {
        match self {
            Self::Given { access_key, secret_key } => Ok(Credentials {
                access_key: access_key.clone(),
                secret_key: secret_key.read()?,
                session_token: None,
            }),
            Self::Profile(name) => of_profile(name),
            Self::Ambient => {
                match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
                    (Some(access_key), Some(secret_key)) => Ok(Credentials {
                        access_key,
                        secret_key: Secret::new(secret_key),
                        session_token: variable("AWS_SESSION_TOKEN").map(Secret::new),
                    }),
                    _ => {
                        of_profile(&variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned()))
                    }
                }
            }
        }
    }
}

/// A variable that is not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the keys of AWS stand in its own variables, where Alertmanager finds them, too"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// The region that the environment names.
pub(crate) fn region_of_environment() -> Option<String> {
    variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"))
}

fn of_profile(name: &str) -> Result<Credentials, String> {
    let named = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let home = || Some(Path::new(&variable("HOME")?).join(".aws/credentials"));
    let path = named.or_else(home).ok_or("no keys are known: set `sigv4.access_key`")?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("no keys are known: cannot read {}: {error}", path.display()))?;
    profile(&text, name).ok_or_else(|| {
        format!("the profile `{name}` of {} has no access key and secret", path.display())
    })
}

/// The keys of the section `[name]` of the shared credentials file.
fn profile(text: &str, name: &str) -> Option<Credentials> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| {
        let section = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        section.is_some_and(|section| section.trim() == name)
    })?;
    let (mut access_key, mut secret_key, mut session_token) = (None, None, None);
    for line in lines.take_while(|line| !line.starts_with('[')) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match key.trim() {
            "aws_access_key_id" => access_key = value,
            "aws_secret_access_key" => secret_key = value.map(Secret::new),
            "aws_session_token" => session_token = value.map(Secret::new),
            _ => {}
        }
    }
    Some(Credentials { access_key: access_key?, secret_key: secret_key?, session_token })
}

/// The credentials in the answer to taking on a role.
pub(crate) fn given(xml: &str) -> Option<Credentials> {
    Some(Credentials {
        access_key: element(xml, "AccessKeyId")?.to_owned(),
        secret_key: Secret::new(element(xml, "SecretAccessKey")?),
        session_token: Some(Secret::new(element(xml, "SessionToken")?)),
    })
}

/// The text of the first element `name`.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_profile() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=s1\n\n\
                    [ ops ]\naws_access_key_id=B\naws_secret_access_key = s/2=\naws_session_token=t\n[x]\n";
        let check = |name: &str, expected: Option<(&str, &str, Option<&str>)>| {
            let got = profile(text, name);
            let got = got.as_ref().map(|keys| {
                let token = keys.session_token.as_ref().map(Secret::expose);
                (keys.access_key.as_str(), keys.secret_key.expose(), token)
            });
            assert_eq!(got, expected, "{name}");
        };
        check("default", Some(("A", "s1", None)));
        check("ops", Some(("B", "s/2=", Some("t"))));
        check("x", None);
        check("none", None);
    }

    #[test]
    fn reads_the_keys_of_a_role() {
        let xml = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId>\
                   <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken></Credentials>\
                   </AssumeRoleResult></AssumeRoleResponse>";
        let keys = given(xml).unwrap();
        assert_eq!((keys.access_key.as_str(), keys.secret_key.expose()), ("A", "s"));
        assert!(given("<html>").is_none());
    }
}
