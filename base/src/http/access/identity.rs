//! A client, who it says it is, and what it says beside that.
//!
//! Invariant: what identifies us goes onto the wire and nowhere else.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::diagnostic::{Diagnostics, Place};
use crate::http::client::Client;
use crate::http::oauth2::OAuth2;
use crate::http::{HeaderMap, header};
use crate::secret::Secret;

/// A further header.
pub(super) type Further = (header::HeaderName, SecretSource);

/// A client and who it says it is. Clones share what they know of each other's tokens.
#[derive(Clone, Debug)]
pub struct HttpAccess {
    /// The client.
    pub client: Client,
    /// Whether redirects are followed by those who read.
    pub follows: bool,
    identity: Option<Arc<Identity>>,
    further: Arc<[Further]>,
}

/// Who we are.
#[derive(Debug)]
pub(super) enum Identity {
    Basic { username: SecretSource, password: SecretSource },
    Token { scheme: String, token: SecretSource },
    OAuth2(Box<OAuth2>),
}

/// A secret, or the file that holds it.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// It stands in the configuration.
    Given(Secret),
    /// It is read from a file each time.
    File(PathBuf),
}

impl SecretSource {
    /// One of `value` and `file`, where an empty text is nothing; both are a fault at `place`, neither is
    /// nothing.
    pub fn one_of(
        value: Option<Secret>,
        file: Option<PathBuf>,
        names: (&str, &str),
        place: Place,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let value = value.filter(|value| !value.is_empty());
        match (value, file.filter(|file| !file.as_os_str().is_empty())) {
            (Some(_), Some(_)) => {
                let message = format!("only one of `{}` and `{}` can be given", names.0, names.1);
                diagnostics.report(place, message);
                None
            }
            (Some(secret), None) => Some(Self::Given(secret)),
            (None, Some(file)) => Some(Self::File(file)),
            (None, None) => None,
        }
    }

    /// The one that is given, where it was checked before that it is one at the most.
    pub(super) fn either(value: &Option<Secret>, file: &Option<PathBuf>) -> Option<Self> {
        let value = value.clone().filter(|value| !value.is_empty());
        let file = || file.clone().filter(|file| !file.as_os_str().is_empty());
        value.map(Self::Given).or_else(|| file().map(Self::File))
    }

    /// The secret now, without the line feed at the end of its file.
    ///
    /// # Errors
    ///
    /// The file cannot be read; the text names it.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => std::fs::read_to_string(path)
                .map(|text| Secret::new(text.trim_end_matches(['\r', '\n'])))
                .map_err(|error| format!("cannot read {}: {error}", path.display())),
        }
    }
}

/// The header's text by which somebody says who he is: of `user:password`.
pub fn basic(pair: impl AsRef<[u8]>) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

impl HttpAccess {
    pub(super) fn new(
        client: Client,
        identity: Option<Identity>,
        further: Vec<Further>,
        follows: bool,
    ) -> Self {
        Self { client, follows, identity: identity.map(Arc::new), further: further.into() }
    }

    /// Sees to it that there is a token where one has to be asked for: before [`Self::identify`].
    ///
    /// # Errors
    ///
    /// Nobody gives us a token; the text says who was asked.
    pub async fn prepare(&self) -> Result<(), String> {
        match self.identity.as_deref() {
            Some(Identity::OAuth2(oauth2)) => oauth2.prepare().await,
            _ => Ok(()),
        }
    }

    /// Told that what identifies us was refused: a token is asked for anew next time.
    pub fn was_refused(&self) {
        if let Some(Identity::OAuth2(oauth2)) = self.identity.as_deref() {
            oauth2.forget();
        }
    }

    /// Adds who we are, and further headers, to the headers of a request.
    ///
    /// # Errors
    ///
    /// A file with a secret cannot be read, or a secret cannot stand in a header.
    pub fn identify(&self, headers: &mut HeaderMap) -> Result<(), String> {
        for (name, value) in self.further.iter() {
            let value = value.read()?;
            let wrong = |_| format!("the value of `{name}` cannot stand in a header");
            let mut value: header::HeaderValue = value.expose().parse().map_err(wrong)?;
            value.set_sensitive(true);
            headers.append(name.clone(), value);
        }
        let value = match self.identity.as_deref() {
            None => return Ok(()),
            Some(Identity::Basic { username, password }) => {
                let (name, password) = (username.read()?, password.read()?);
                basic(format!("{}:{}", name.expose(), password.expose()))
            }
            Some(Identity::Token { scheme, token }) => {
                format!("{scheme} {}", token.read()?.expose())
            }
            Some(Identity::OAuth2(oauth2)) => {
                headers.insert(header::AUTHORIZATION, oauth2.kept()?);
                return Ok(());
            }
        };
        let mut value: header::HeaderValue =
            value.parse().map_err(|_| "the credentials cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        Ok(())
    }
}
