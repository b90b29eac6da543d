//! What contradicts itself in the settings of a client, whether or not it is used.
//!
//! Source: the documentation of Prometheus's `http_config`.
//!
//! Invariant: every contradiction is told, at the place of the setting that is one too many.

use std::path::PathBuf;

use super::{AuthorizationConfig, BasicAuthConfig, HttpConfig, OAuth2Config};
use crate::diagnostic::{Diagnostics, Place, Spanned};
use crate::secret::Secret;

/// The only way to ask for a token that is spoken.
const CLIENT_CREDENTIALS: &str = "client_credentials";

impl HttpConfig {
    /// Reports what contradicts itself.
    pub fn check(&self, diagnostics: &mut Diagnostics) {
        let ways = [
            self.basic_auth.as_ref().map(Place::from),
            self.authorization.as_ref().map(Place::from),
            self.oauth2.as_ref().map(Place::from),
            self.bearer_token.as_ref().map(Place::from),
            self.bearer_token_file.as_ref().map(Place::from),
        ];
        if let [_, second, ..] = ways.into_iter().flatten().collect::<Vec<_>>().as_slice() {
            let message = "only one of `basic_auth`, `authorization`, `oauth2`, `bearer_token` and \
                           `bearer_token_file` can be given";
            diagnostics.report(*second, message);
        }
        if let Some(basic) = &self.basic_auth {
            basic.value.check(basic.place, diagnostics);
        }
        if let Some(authorization) = &self.authorization {
            authorization.value.check(authorization.place, diagnostics);
        }
        if let Some(oauth2) = &self.oauth2 {
            oauth2.value.check(oauth2.place, diagnostics);
        }
        if let Some(tls) = &self.tls_config
            && let Err(fault) = tls.value.check()
        {
            diagnostics.report(tls, fault);
        }
        self.check_proxy(diagnostics);
    }

    /// Reports secrets that are in a store of secrets, of which there is none: settings that are
    /// right, and of no use here.
    pub(super) fn check_stores(&self, diagnostics: &mut Diagnostics) {
        let basic = self.basic_auth.as_ref();
        let authorization = self.authorization.as_ref();
        let oauth2 = self.oauth2.as_ref();
        for (setting, given) in [
            ("username_ref", basic.map(|b| (&b.value.username_ref, b.place))),
            ("password_ref", basic.map(|b| (&b.value.password_ref, b.place))),
            ("credentials_ref", authorization.map(|a| (&a.value.credentials_ref, a.place))),
            ("client_secret_ref", oauth2.map(|o| (&o.value.client_secret_ref, o.place))),
        ] {
            if let Some((Some(_), place)) = given {
                diagnostics.report_with_help(
                    place,
                    format!("`{setting}` names a secret of a store, and there is no such store"),
                    "write it into a file, and name that",
                );
            }
        }
    }

    fn check_proxy(&self, diagnostics: &mut Diagnostics) {
        let given = |text: &str| !text.is_empty();
        let url = self.proxy_url.as_ref().filter(|url| given(url.value.expose()));
        let except = self.no_proxy.as_ref().filter(|except| given(&except.value));
        let ambient = self.proxy_from_environment.as_ref().filter(|asked| asked.value);
        if let (Some(ambient), Some(_)) = (ambient, except) {
            let message = "with `proxy_from_environment` there can be no `no_proxy`";
            diagnostics.report(ambient, message);
        }
        if let (Some(ambient), Some(_)) = (ambient, url) {
            let message = "only one of `proxy_url` and `proxy_from_environment` can be given";
            diagnostics.report(ambient, message);
        }
        let headers = self.proxy_connect_header.as_ref();
        let headers = headers.filter(|headers| !headers.value.is_empty());
        if let (Some(headers), None, None) = (headers, url, ambient) {
            let message = "`proxy_connect_header` is of use with `proxy_url` or \
                           `proxy_from_environment` only";
            diagnostics.report(headers, message);
        }
    }
}

/// Whether a file is named; an empty name is none.
fn given_file(file: &Option<PathBuf>) -> bool {
    file.as_ref().is_some_and(|file| !file.as_os_str().is_empty())
}

/// Whether a secret is there; an empty one is none.
fn given_secret(secret: &Option<Secret>) -> bool {
    secret.as_ref().is_some_and(|secret| !secret.is_empty())
}

/// Reports at `place` that more than one of some settings is given, each with whether it is.
fn only_one(settings: &[(&str, bool)], place: Place, diagnostics: &mut Diagnostics) {
    if settings.iter().filter(|(_, given)| *given).count() > 1 {
        let names: Vec<_> = settings.iter().map(|(name, _)| format!("`{name}`")).collect();
        let (last, others) = names.split_last().map_or(("", &[][..]), |(l, o)| (l.as_str(), o));
        let message = format!("only one of {} and {last} can be given", others.join(", "));
        diagnostics.report(place, message);
    }
}

impl BasicAuthConfig {
    fn check(&self, place: Place, diagnostics: &mut Diagnostics) {
        let names = [
            ("username", !self.username.is_empty()),
            ("username_file", given_file(&self.username_file)),
            ("username_ref", self.username_ref.is_some()),
        ];
        only_one(&names, place, diagnostics);
        let names = [
            ("password", given_secret(&self.password)),
            ("password_file", given_file(&self.password_file)),
        ];
        only_one(&names, place, diagnostics);
    }
}

impl AuthorizationConfig {
    fn check(&self, place: Place, diagnostics: &mut Diagnostics) {
        let names = [
            ("credentials", given_secret(&self.credentials)),
            ("credentials_file", given_file(&self.credentials_file)),
        ];
        only_one(&names, place, diagnostics);
        let kind = self.kind.as_deref().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("basic") {
            diagnostics.report(place, "`basic` is set by `basic_auth`, not by `authorization`");
        }
    }
}

impl OAuth2Config {
    fn check(&self, place: Place, diagnostics: &mut Diagnostics) {
        if self.client_id.is_empty() {
            diagnostics.report(place, "`client_id` of `oauth2` is missing");
        }
        if self.token_url.as_ref().is_none_or(|url| url.value.is_empty()) {
            diagnostics.report(place, "`token_url` of `oauth2` is missing");
        }
        let secrets = [
            ("client_secret", given_secret(&self.client_secret)),
            ("client_secret_file", given_file(&self.client_secret_file)),
        ];
        only_one(&secrets, place, diagnostics);
        let keys = [
            ("client_certificate_key", given_secret(&self.client_certificate_key)),
            ("client_certificate_key_file", given_file(&self.client_certificate_key_file)),
            ("client_certificate_key_ref", self.client_certificate_key_ref.is_some()),
        ];
        only_one(&keys, place, diagnostics);
        let grant = self.grant_type.as_ref();
        if let Some(Spanned { value, place }) = grant.filter(|g| g.value != CLIENT_CREDENTIALS) {
            diagnostics.report_with_help(
                *place,
                format!("tokens are not asked for by `{value}`"),
                format!(
                    "`{CLIENT_CREDENTIALS}` is spoken, also with a certificate in `tls_config`"
                ),
            );
        }
    }
}
