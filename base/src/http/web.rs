//! Who may reach a listener: TLS, passwords, tokens, certificates of clients.
//!
//! The settings are those of Prometheus's web configuration file, and a few of ours:
//!
//! ```yaml
//! tls_server_config: {cert_file: web.crt, key_file: web.key}
//! basic_auth_users: {prometheus: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze}
//! bearer_token_files: [token]
//! unauthenticated_paths: [/livez]
//! ```
//!
//! Invariant: what is wrong with the settings never opens the listener: there is no [`Web`] then,
//! and the one before stays in use (S1).

mod credentials;
mod guard;
mod tls;

pub use guard::{Guard, Secured};
use tls::ServerTls;
pub use tls::{TlsServerConfig, not_after};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use crate::diagnostic::{Diagnostics, Place, Spanned};
use crate::secret::Secret;
use credentials::Credentials;

/// A hash that takes longer than this costs more than it protects: about four seconds.
const MOST_COST: u32 = 16;
/// A token shorter than this can be guessed.
const LEAST_TOKEN: usize = 16;

/// The settings, as written.
#[derive(Clone, Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Our certificate, and whom we ask for one.
    tls_server_config: Option<Spanned<TlsServerConfig>>,
    /// What every answer has.
    http_server_config: HttpServerConfig,
    /// Passwords as bcrypt hashes, by user name.
    basic_auth_users: BTreeMap<String, Spanned<Secret>>,
    #[schemars(skip)]
    rate_limit: Option<Spanned<serde::de::IgnoredAny>>,
    /// Files with one token each.
    bearer_token_files: Vec<Spanned<PathBuf>>,
    /// Paths for which nobody is asked who they are.
    unauthenticated_paths: Vec<Spanned<String>>,
    /// Names by which a proxy on this host asks for us, where we listen on the loopback only.
    allowed_hosts: Vec<Spanned<String>>,
}

#[derive(Clone, Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct HttpServerConfig {
    /// HTTP/2 is not spoken; the setting is taken because it changes nothing that one sees.
    http2: Option<bool>,
    /// Headers of every answer.
    headers: BTreeMap<String, Spanned<String>>,
}

/// Where the settings stand.
#[derive(Clone, Debug)]
enum Source {
    /// In a section of the configuration, which is shown to people as `name`.
    Section { config: Box<Spanned<WebConfig>>, folder: PathBuf, name: String },
    /// In a file of their own.
    File(PathBuf),
    /// Nowhere.
    None,
}

/// Who may reach a listener.
#[derive(Clone, Debug)]
pub struct Web {
    tls: Option<ServerTls>,
    credentials: Arc<Credentials>,
    open: Vec<String>,
    hosts: Vec<String>,
    /// Paths that ask in their own way who somebody is.
    open_too: Vec<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The files that it was made of, as they were before they were read.
    files: Vec<(PathBuf, Stamp)>,
    secret_files: Vec<PathBuf>,
    source: Source,
    openable: &'static [&'static str],
}

/// What tells a file from what was there before: time, size, number.
type Stamp = Option<(i64, i64, u64, u64)>;

fn stamp(file: &Path) -> Stamp {
    let found = std::fs::metadata(file).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
}

/// Where to look for the settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// The file that `--web.config.file` names.
    pub file: Option<&'a Path>,
    /// What relative paths in the section are relative to.
    pub folder: Option<&'a Path>,
    /// The paths that may be opened to everybody.
    pub openable: &'static [&'static str],
}

impl Web {
    /// Lets everybody in.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn open() -> Result<Self, String> {
        Ok(Self {
            tls: None,
            credentials: Arc::new(Credentials::new(BTreeMap::new(), &[])?),
            open: Vec::new(),
            hosts: Vec::new(),
            open_too: Vec::new(),
            headers: Vec::new(),
            files: Vec::new(),
            secret_files: Vec::new(),
            source: Source::None,
            openable: &[],
        })
    }

    /// Lets everybody reach these paths, too: whatever answers there asks who they are.
    pub fn open_too(&mut self, paths: Vec<String>) {
        self.open_too = paths;
    }

    /// TLS alone, for a listener that speaks something else than HTTP; none where it is not set.
    pub fn of_tls(
        tls: Option<Spanned<TlsServerConfig>>,
        folder: &Path,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let section = tls.map(|tls| {
            let place = tls.place;
            let value = WebConfig { tls_server_config: Some(tls), ..WebConfig::default() };
            Spanned { value, place }
        });
        let places = Places { folder: Some(folder), ..Places::default() };
        Self::read(places, section, diagnostics)
    }

    /// What the file or the section says, reporting everything that is wrong with it.
    pub fn read(
        places: Places<'_>,
        section: Option<Spanned<WebConfig>>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        match (places.file, section) {
            (Some(_), Some(section)) => {
                let message = "`--web.config.file` and this section cannot be given both";
                diagnostics.report_with_help(section.place, message, "take one of them out");
                None
            }
            (Some(file), None) => {
                let mut own = Diagnostics::new(&file.display().to_string());
                let web = Self::read_file(file, places.openable, &mut own);
                let is_right = own.is_empty();
                diagnostics.extend(own);
                web.filter(|_| is_right)
            }
            (None, Some(section)) => {
                let folder = places.folder.unwrap_or(Path::new(".")).to_owned();
                let name = diagnostics.file().to_owned();
                let web = section.value.build(section.place, &folder, places.openable, diagnostics);
                web.map(|web| Self {
                    source: Source::Section { config: Box::new(section), folder, name },
                    ..web
                })
            }
            (None, None) => Self::open().map_err(|message| diagnostics.report_file(message)).ok(),
        }
    }

    fn read_file(
        file: &Path,
        openable: &'static [&'static str],
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let stamp = stamp(file);
        let config: Spanned<WebConfig> = crate::yaml::read_file(file, diagnostics)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let mut web = config.value.build(config.place, folder, openable, diagnostics)?;
        web.files.push((file.to_owned(), stamp));
        web.source = Source::File(file.to_owned());
        Some(web)
    }

    /// The same from the same place, with what the files say now.
    fn again(&self) -> Result<Self, Diagnostics> {
        let name = match &self.source {
            Source::Section { name, .. } => name.clone(),
            Source::File(file) => file.display().to_string(),
            Source::None => return Ok(self.clone()),
        };
        let mut diagnostics = Diagnostics::new(&name);
        let web = match &self.source {
            Source::Section { config, folder, .. } => {
                let web = config.value.build(config.place, folder, self.openable, &mut diagnostics);
                web.map(|web| Self { source: self.source.clone(), ..web })
            }
            Source::File(file) => Self::read_file(file, self.openable, &mut diagnostics),
            Source::None => None,
        };
        match web {
            Some(web) => diagnostics.into_result(Self { open_too: self.open_too.clone(), ..web }),
            None => Err(diagnostics),
        }
    }

    /// Why others than this host should not reach us so; nothing where they are asked who they are,
    /// and nobody between can read or change what is said (S1).
    pub fn lacks(&self) -> Option<&'static str> {
        let asked = !self.credentials.is_empty() || self.requires_client();
        match (self.tls.is_some(), asked) {
            (true, true) => None,
            (true, false) => Some("without a password, a token or a certificate"),
            (false, true) => Some("without TLS, so that passwords could be read on their way"),
            (false, false) => Some("without TLS and without a password"),
        }
    }

    /// Whether `address` must not be listened on like this: why, and what to do about it.
    pub fn refuses(&self, address: SocketAddr) -> Option<(String, &'static str)> {
        if address.ip().to_canonical().is_loopback() {
            return None;
        }
        let message = format!("others could reach `{address}` {}", self.lacks()?);
        let help = "set `tls_server_config` and `basic_auth_users` under `web:` or in \
                    `--web.config.file`, listen on `127.0.0.1`, or accept it with \
                    `--insecure-listen`";
        Some((message, help))
    }

    /// Whether only those get in who have a certificate of an authority that we trust.
    pub fn requires_client(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.requires_client)
    }

    /// Whether anybody who reaches us gets in.
    fn asks_nobody(&self) -> bool {
        self.credentials.is_empty() && !self.requires_client()
    }

    /// Whether TLS is spoken.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// When our certificate expires, in seconds since the Unix epoch; none without TLS.
    fn not_after(&self) -> Option<i64> {
        self.tls.as_ref()?.not_after
    }

    /// How a URL of ours begins.
    pub fn scheme(&self) -> &'static str {
        if self.has_tls() { "https" } else { "http" }
    }

    /// The files with keys and tokens that everybody on this host can read.
    pub fn exposed_files(&self) -> Vec<&Path> {
        let exposed = |file: &&PathBuf| {
            let found = std::fs::metadata(file);
            found.is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
        };
        self.secret_files.iter().filter(exposed).map(PathBuf::as_path).collect()
    }
}

impl WebConfig {
    fn build(
        &self,
        place: Place,
        folder: &Path,
        openable: &'static [&'static str],
        diagnostics: &mut Diagnostics,
    ) -> Option<Web> {
        if let Some(limit) = &self.rate_limit {
            let help = "take it out: connections and requests have fixed limits";
            diagnostics.report_with_help(limit, "`rate_limit` is not supported", help);
        }
        let tls = self.tls_server_config.as_ref();
        let mut files = tls.map(|tls| tls.value.files(folder)).unwrap_or_default();
        let mut secret_files: Vec<_> =
            tls.and_then(|tls| tls.value.secret_file(folder)).into_iter().collect();
        let tokens_at = self.bearer_token_files.iter().map(|file| folder.join(&file.value));
        secret_files.extend(tokens_at.clone());
        files.extend(tokens_at);
        // Before they are read: what changes meanwhile is read again.
        let files = files.into_iter().map(|file| (file.clone(), stamp(&file))).collect();
        let tls = match tls {
            Some(tls) => Some(tls.value.build(tls.place, folder, diagnostics)?),
            None => None,
        };
        let mut users = BTreeMap::new();
        for (user, hash) in &self.basic_auth_users {
            password(user, hash, diagnostics);
            users.insert(user.clone(), hash.value.expose().to_owned());
        }
        let mut tokens = Vec::new();
        for file in &self.bearer_token_files {
            let path = folder.join(&file.value);
            match std::fs::read_to_string(&path) {
                Err(error) => {
                    let message = format!("cannot read `{}`: {error}", path.display());
                    diagnostics.report(file, message);
                }
                Ok(text) if text.trim().len() < LEAST_TOKEN => {
                    let message = format!("the token in `{}` is too short", path.display());
                    let help = "make one: `openssl rand -hex 32`";
                    diagnostics.report_with_help(file, message, help);
                }
                Ok(text) => tokens.push(text.trim().to_owned()),
            }
        }
        for path in &self.unauthenticated_paths {
            if !openable.contains(&path.value.as_str()) {
                let message = format!("`{}` cannot be opened to everybody", path.value);
                let help = format!("these can: {}", openable.join(", "));
                diagnostics.report_with_help(path, message, help);
            }
        }
        let credentials = Credentials::new(users, &tokens);
        let credentials = credentials.map_err(|message| diagnostics.report(place, message)).ok()?;
        Some(Web {
            tls,
            credentials: Arc::new(credentials),
            open: self.unauthenticated_paths.iter().map(|path| path.value.clone()).collect(),
            hosts: self.allowed_hosts.iter().map(|host| host.value.to_ascii_lowercase()).collect(),
            open_too: Vec::new(),
            headers: self.http_server_config.build(diagnostics),
            files,
            secret_files,
            source: Source::None,
            openable,
        })
    }
}

/// Reports what is wrong with a user.
fn password(user: &str, hash: &Spanned<Secret>, diagnostics: &mut Diagnostics) {
    let help = "make one: `htpasswd -nBC 10 USER`, and write what stands behind the colon";
    if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
        diagnostics.report(hash, format!("`{}` cannot name a user", user.escape_debug()));
    }
    // Its letters are a mistake of an old implementation.
    let known =
        credentials::cost(hash.value.expose()).filter(|_| !hash.value.expose().starts_with("$2x$"));
    match known {
        None => diagnostics.report_with_help(hash, "this is not a bcrypt hash", help),
        Some(cost) if cost > MOST_COST => {
            let message = format!("a hash of cost {cost} takes minutes to compare");
            diagnostics.report_with_help(hash, message, help);
        }
        Some(_) => {}
    }
}

impl HttpServerConfig {
    fn build(&self, diagnostics: &mut Diagnostics) -> Vec<(HeaderName, HeaderValue)> {
        const KNOWN: [&str; 5] = [
            "content-security-policy",
            "x-frame-options",
            "x-content-type-options",
            "x-xss-protection",
            "strict-transport-security",
        ];
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            let known = name.to_ascii_lowercase();
            if !KNOWN.contains(&known.as_str()) {
                let help = format!("there are {}", KNOWN.join(", "));
                let message = format!("the header `{name}` cannot be set");
                diagnostics.report_with_help(value, message, help);
            } else if !value.value.is_empty() {
                match (known.parse(), value.value.parse()) {
                    (Ok(name), Ok(value)) => headers.push((name, value)),
                    _ => diagnostics.report(value, "this cannot stand in a header"),
                }
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests;
