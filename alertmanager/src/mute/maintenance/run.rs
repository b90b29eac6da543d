//! The loop that reads calendars again.
//!
//! Invariant: a calendar that cannot be read takes no window away: what was read before stays, and
//! the fault is shown.

use std::time::Duration;

use base::clock::SteadyClock;
use base::http::client::{Origin, Phases};
use base::http::{Full, Request, StatusCode, Uri, header};
use base::sample::Timestamp;
use base::secret::Secret;
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::calendar::{Calendar, MAX_BYTES};
use super::store::Known;
use super::{Address, Maintenance};
use base::http::access::HttpAccess;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long fetching may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl Maintenance {
    /// Reads calendars again and forgets windows of the past, until `stop`.
    ///
    /// # Errors
    ///
    /// The state failed.
    pub async fn run(self, clock: SteadyClock, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            for (address, known) in self.calendars() {
                if stop.is_cancelled() {
                    return Ok(());
                }
                self.look(&address, known, clock.believed()).await?;
            }
            self.forget(clock.believed()).await?;
            if stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn look(&self, address: &Address, known: Known, now: Timestamp) -> anyhow::Result<()> {
        let text = match address {
            Address::File { path, .. } => {
                let path = path.clone();
                let read =
                    move || std::fs::read_to_string(&path).map_err(|error| error.to_string());
                tokio::task::spawn_blocking(read).await?
            }
            // Until it was read once it is asked for again and again.
            Address::Url { refresh, .. }
                if known.read_at.is_some_and(|at| now.since(at) < *refresh) =>
            {
                return Ok(());
            }
            Address::Url { url, access, .. } => match timeout(PATIENCE, fetch(url, access)).await {
                Ok(fetched) => fetched,
                Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            },
        };
        let zone = address.zone().clone();
        let read = move || {
            let text = text?;
            Ok((Calendar::read(&text, &zone)?, text))
        };
        let read: Result<(Calendar, String), String> = tokio::task::spawn_blocking(read).await?;
        match (&known.fault, &read) {
            (None, Err(fault)) => {
                warn!(fault, "a calendar of maintenance cannot be read; what was read before stays")
            }
            (Some(_), Ok(_)) => info!("a calendar of maintenance can be read"),
            _ => {}
        }
        Ok(self.take(address, read, now).await?)
    }
}

/// The text at `url`, which may be a secret and is in no error.
async fn fetch(url: &Secret, access: &HttpAccess) -> Result<String, String> {
    let uri: Uri = url.expose().parse().map_err(|_| "its address is no URL".to_owned())?;
    let origin = Origin::of(&uri).map_err(|_| "its address is no http URL".to_owned())?;
    let mut request = Request::builder()
        .uri(uri)
        .header(header::ACCEPT, "text/calendar")
        .header(header::USER_AGENT, concat!("veilleur/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    access.prepare().await?;
    access.identify(request.headers_mut())?;
    let mut phases = Phases::default();
    let mut connection =
        access.client.connect(&origin, &mut phases).await.map_err(|error| error.to_string())?;
    let answer = connection.send(request, &mut phases).await.map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the answer was HTTP status {}", answer.status().as_u16()));
    }
    let mut incoming = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) =
        connection.next(&mut incoming).await.map_err(|error| error.to_string())?
    {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MAX_BYTES {
            return Err(format!("is larger than {MAX_BYTES} bytes"));
        }
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}
