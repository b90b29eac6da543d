//! The file that says where a cluster is and who we are there.
//!
//! Source: Kubernetes' documentation of kubeconfig files.
//!
//! Invariant: of a file that asks for what is not done here nothing is used.

use std::path::{Path, PathBuf};

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::{AuthorizationConfig, BasicAuthConfig, HttpConfig};
use base::http::tls::TlsConfig;
use base::secret::Secret;
use base64::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    current_context: String,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<Secret>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    token: Option<Secret>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    exec: Option<IgnoredAny>,
    auth_provider: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

/// Where the cluster of the file at `path` is, and how it is spoken to; what is wrong is reported at
/// `place`, where the file is named, or in the file.
pub(super) fn read(
    path: &Path,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<(String, HttpConfig)> {
    let mut own = Diagnostics::new(&path.display().to_string());
    let file: Option<File> = base::yaml::read_file(path, &mut own);
    let broken = !own.is_empty();
    diagnostics.extend(own);
    let file = file.filter(|_| !broken)?;
    let mut wrong = |what: String| {
        diagnostics.report(place, format!("{}: {what}", path.display()));
        None
    };
    let context = file.contexts.iter().find(|context| context.name == file.current_context);
    let Some(Context { cluster, user }) = context.map(|context| &context.context) else {
        return wrong(format!("there is no context `{}`", file.current_context));
    };
    let Some(cluster) = file.clusters.iter().find(|named| named.name == *cluster) else {
        return wrong(format!("there is no cluster `{cluster}`"));
    };
    let nobody = User::default();
    let user = file.users.iter().find(|named| named.name == *user);
    let (cluster, user) = (&cluster.cluster, user.map_or(&nobody, |named| &named.user));
    if user.exec.is_some() || user.auth_provider.is_some() {
        return wrong(
            "a program or a provider for credentials is not asked; write a `token`".into(),
        );
    }
    let uri = cluster.server.parse().ok();
    if uri.is_none_or(|uri| base::http::client::Origin::of(&uri).is_err()) {
        return wrong(format!("the server `{}` is no URL", cluster.server));
    }
    let decoded = |text: &str| {
        let bytes = BASE64_STANDARD.decode(text.trim()).ok()?;
        String::from_utf8(bytes).ok()
    };
    let data = |data: Option<&str>| data.map(|text| decoded(text).unwrap_or_default());
    let tls = TlsConfig {
        ca: data(cluster.certificate_authority_data.as_deref()),
        ca_file: cluster.certificate_authority.clone(),
        cert: data(user.client_certificate_data.as_deref()),
        cert_file: user.client_certificate.clone(),
        key: data(user.client_key_data.as_ref().map(Secret::expose)).map(Secret::new),
        key_file: user.client_key.clone(),
        server_name: cluster.tls_server_name.clone(),
        insecure_skip_verify: cluster.insecure_skip_tls_verify,
        ..TlsConfig::default()
    };
    let authorization = AuthorizationConfig {
        credentials: user.token.clone().filter(|_| user.token_file.is_none()),
        credentials_file: user.token_file.clone(),
        ..AuthorizationConfig::default()
    };
    let has_token = user.token.is_some() || user.token_file.is_some();
    let basic = user.username.as_ref().map(|name| BasicAuthConfig {
        username: name.clone(),
        password: user.password.clone(),
        ..BasicAuthConfig::default()
    });
    let http = HttpConfig {
        tls_config: Some(Spanned { value: tls, place }),
        authorization: has_token.then_some(Spanned { value: authorization, place }),
        basic_auth: basic.filter(|_| !has_token).map(|value| Spanned { value, place }),
        proxy_url: cluster.proxy_url.clone().map(|value| Spanned { value, place }),
        ..HttpConfig::default()
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    Some((cluster.server.trim_end_matches('/').to_owned(), http.relative_to(folder)))
}
