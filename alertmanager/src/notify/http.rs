//! Speaking to a service over HTTP.
//!
//! A connection is kept for the next message: opening one costs more than the message itself.
//!
//! Invariant: no redirect is followed, no cookie is kept, at most [`MAX_ANSWER`] of the answer is
//! read and within [`PATIENCE`], and the address, which may hold a secret, is never part of an error
//! (X19, X48).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock::Stopwatch;
use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{HttpAccess, HttpConfig, basic};
use base::http::client::{ClientError, Connection, Failure, Origin, Phases};
use base::http::special::untold;
use base::http::{Full, HeaderMap, Method, Request, StatusCode, Uri, header, percent_decoded};
use base::sample::Timestamp;
use base::secret::Secret;
use bytes::Bytes;
use serde_json::Value;
use tokio::time::timeout;

use super::notifier::{DeliveryError, excerpt};

/// What is read of an answer, and in which time: what is longer is no answer of a service.
const MAX_ANSWER: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that nobody has used for so long is not used again: the service may be about to
/// close it.
const MAX_IDLE: Duration = Duration::from_secs(20);

/// What stands for a secret in a configuration that Alertmanager shows, and takes again.
const NOT_SHOWN: &str = "<secret>";

/// How a service is spoken to. Clones share the connection.
#[derive(Clone, Debug)]
pub(super) struct Service {
    access: HttpAccess,
    /// One at the most; a second message at the same time has its own.
    idle: Arc<Mutex<Option<Idle>>>,
}

/// A connection between two messages.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    origin: Origin,
    since: Stopwatch,
}

/// A request. Further headers are those that say who we are to this service.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Secret,
    pub(super) headers: Vec<(&'static str, Secret)>,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

impl<'a> Call<'a> {
    /// Posts `body`.
    pub(super) fn post(url: &'a Secret, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { method: Method::POST, url, headers: Vec::new(), content_type, body }
    }

    /// Sends `body` as JSON by `method`.
    pub(super) fn json(method: Method, url: &'a Secret, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { method, ..Self::post(url, "application/json", body) }
    }

    /// The same with a further header.
    pub(super) fn with(mut self, name: &'static str, value: Secret) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// What a service answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    /// Whether the status is a success.
    ///
    /// # Errors
    ///
    /// It is none; what is to be done follows from it.
    pub(super) fn taken(&self, now: Timestamp) -> Result<(), DeliveryError> {
        match self.status {
            200..300 => Ok(()),
            status => Err(DeliveryError::from_status(status, &self.headers, &self.body, now)),
        }
    }

    /// The body as JSON; `Null` where it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// What it is where it is nothing that the service says: a page that some proxy puts in between,
    /// a text that broke off (F14).
    pub(super) fn strange(&self) -> DeliveryError {
        let said = excerpt(self.body.trim());
        DeliveryError::transient(format!("the answer is not that of the service: `{said}`"))
    }
}

impl Service {
    /// As `own` says, else as `global` does.
    pub(super) fn build(
        own: Option<&Spanned<HttpConfig>>,
        global: &HttpConfig,
        place: Place,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let access = match own {
            Some(config) => config.value.build(config.place, diagnostics),
            None => global.build(place, diagnostics),
        };
        Some(Self { access: access?, idle: Arc::default() })
    }

    /// As [`Self::send`], within `limit` where there is one.
    ///
    /// # Errors
    ///
    /// There was no answer in time.
    pub(super) async fn send_within(
        &self,
        call: Call<'_>,
        limit: Option<Duration>,
    ) -> Result<Answer, DeliveryError> {
        let sent = self.send(call);
        let Some(limit) = limit else { return sent.await };
        let late =
            |_| DeliveryError::transient(format!("no answer within {limit:?}")).after_sending();
        tokio::time::timeout(limit, sent).await.map_err(late)?
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// There was no answer. An answer of whatever status is for the caller to judge.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Answer, DeliveryError> {
        let no_url = || DeliveryError::permanent("the configured address is no http URL");
        let (url, login) = login_apart(call.url.expose());
        let uri: Uri = url.parse().map_err(|_| no_url())?;
        let origin = Origin::of(&uri).map_err(|_| no_url())?;
        let mut request = Request::builder()
            .method(call.method)
            .uri(uri)
            .header(header::CONTENT_TYPE, call.content_type)
            .header(header::USER_AGENT, concat!("veilleur/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(call.body)))
            .map_err(|error| DeliveryError::permanent(error.to_string()))?;
        self.access.prepare().await.map_err(DeliveryError::transient)?;
        self.access.identify(request.headers_mut()).map_err(DeliveryError::transient)?;
        if let Some(login) =
            login.filter(|_| !request.headers().contains_key(header::AUTHORIZATION))
        {
            request.headers_mut().insert(header::AUTHORIZATION, login);
        }
        for (name, value) in call.headers {
            let mut value: header::HeaderValue = value.expose().parse().map_err(|_| {
                DeliveryError::permanent(format!("what is configured cannot stand in `{name}`"))
            })?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }

        let mut phases = Phases::default();
        let failed = |error: ClientError| match error.kind {
            Failure::Address => no_url(),
            Failure::Barred => DeliveryError::permanent(error.to_string()),
            _ => DeliveryError::transient(error.to_string()),
        };
        let unanswered = |error| failed(error).after_sending();
        let kept = self.take_idle(&origin);
        let again = kept.is_some().then(|| request.clone());
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.access.client.connect(&origin, &mut phases).await.map_err(failed)?,
        };
        let answer = match (connection.send(request, &mut phases).await, again) {
            (Err(_), Some(request)) => {
                // It was closed meanwhile; a message that arrived all the same has the same id.
                connection =
                    self.access.client.connect(&origin, &mut phases).await.map_err(failed)?;
                connection.send(request, &mut phases).await.map_err(unanswered)?
            }
            (answer, _) => answer.map_err(unanswered)?,
        };
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.access.was_refused();
        }
        let (head, mut incoming) = answer.into_parts();
        let (mut bytes, mut complete) = (Vec::new(), false);
        let reading = async {
            while bytes.len() <= MAX_ANSWER && !complete {
                match connection.next(&mut incoming).await {
                    Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                    Ok(None) => complete = true,
                    // The status is known; that the rest of the text broke off changes nothing.
                    Err(_) => break,
                }
            }
        };
        let status = head.status.as_u16();
        let endless = |what: String| {
            DeliveryError::transient(format!("the answer was HTTP status {status}, but {what}"))
                .after_sending()
        };
        if timeout(PATIENCE, reading).await.is_err() {
            return Err(endless(format!("its text did not end within {PATIENCE:?}")));
        }
        if bytes.len() > MAX_ANSWER {
            return Err(endless(format!("its text is longer than {MAX_ANSWER} bytes")));
        }
        if complete {
            let since = Stopwatch::start();
            *self.lock() = Some(Idle { connection, origin, since });
        }
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { status, headers: head.headers, body })
    }

    fn take_idle(&self, origin: &Origin) -> Option<Connection> {
        let idle = self.lock().take()?;
        let usable = idle.origin == *origin && idle.since.elapsed() < MAX_IDLE;
        usable.then_some(idle.connection)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports an address that cannot be posted to; the address itself may be a secret.
pub fn check_url(url: &Spanned<Secret>, diagnostics: &mut Diagnostics) {
    let (address, _) = login_apart(url.value.expose());
    let origin = address.parse().ok().and_then(|uri| Origin::of(&uri).ok());
    let Some(origin) = origin else {
        diagnostics.report_with_help(
            url,
            "this is no address to post to",
            "write `http://host:port/path` or `https://...`",
        );
        return;
    };
    if let Some(why) = origin.host.parse().ok().and_then(untold) {
        let message = format!(
            "`{}` is {why}: nothing is sent there unless `allowed_addresses` in `http_config` names it",
            origin.host
        );
        diagnostics.note(url, message);
    }
}

/// As [`check_url`], of an address that Alertmanager does not show.
pub fn check_hidden_url(url: &Spanned<Secret>, diagnostics: &mut Diagnostics) {
    if url.value.expose() == NOT_SHOWN {
        diagnostics.note(
            url,
            "`<secret>` stands for an address that was not shown: nothing can be sent there",
        );
    } else {
        check_url(url, diagnostics);
    }
}

/// The address without the user name and the password in it, and what these are as a header.
fn login_apart(url: &str) -> (String, Option<header::HeaderValue>) {
    // As Go has it, a space in a path is meant.
    let spaced = |path: &str| path.replace(' ', "%20");
    let whole = || (url.to_owned(), None);
    let Some((scheme, rest)) = url.split_once("://") else { return whole() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let Some((login, place)) = authority.rsplit_once('@') else {
        return (format!("{scheme}://{authority}{}", spaced(path)), None);
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let pair = [percent_decoded(user), b":".to_vec(), percent_decoded(password)].concat();
    let header = header::HeaderValue::from_str(&basic(pair)).ok().map(|mut header| {
        header.set_sensitive(true);
        header
    });
    (format!("{scheme}://{place}{}", spaced(path)), header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_we_are_may_stand_in_an_address() {
        let check = |url: &str, address: &str, header: Option<&str>| {
            let (got, login) = login_apart(url);
            let login = login.as_ref().map(|header| header.to_str().unwrap());
            assert_eq!((got.as_str(), login), (address, header), "{url}");
        };
        check("https://h/x?y=a@b", "https://h/x?y=a@b", None);
        check("https://u:p%40ss@h:1/x", "https://h:1/x", Some("Basic dTpwQHNz"));
        check("http://u@[::1]:1", "http://[::1]:1", Some("Basic dTo="));
        check("http://h/a b", "http://h/a%20b", None);
        check("http://h b/", "http://h b/", None);
        check("nothing@all", "nothing@all", None);
    }
}
