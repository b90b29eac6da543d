//! What the settings of several services have in common: secrets that may stand in a file, own ones
//! before global ones, and whom a message goes to.
//!
//! Invariant: an address, a secret and whom a message goes to come from the configuration alone; no
//! alert chooses any of them.

use std::path::PathBuf;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::SecretSource;
use base::secret::Secret;

use super::http::{check_hidden_url, check_url};

/// A secret, or the file that holds it, as written in one place.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecretSetting<'a> {
    /// The secret itself.
    pub value: Option<&'a Spanned<Secret>>,
    /// The file with it.
    pub file: Option<&'a PathBuf>,
}

/// What a secret is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    /// The setting, and that of the file.
    pub(super) names: (&'static str, &'static str),
    /// The setting under `global:`, where there is one.
    pub(super) global: Option<&'static str>,
}

impl<'a> SecretSetting<'a> {
    /// These two as written.
    pub(super) fn of(value: &'a Option<Spanned<Secret>>, file: &'a Option<PathBuf>) -> Self {
        Self { value: value.as_ref(), file: file.as_ref() }.given()
    }

    /// The same without what is empty, which is nothing.
    pub fn given(self) -> Self {
        Self {
            value: self.value.filter(|value| !value.value.is_empty()),
            file: self.file.filter(|file| !file.as_os_str().is_empty()),
        }
    }

    /// Whether either is there; an empty text is nothing.
    pub fn is_set(&self) -> bool {
        let given = self.given();
        given.value.is_some() || given.file.is_some()
    }

    /// The secret that holds: this one, or else the global one. That there is none is reported.
    pub(super) fn or(
        self,
        global: SecretSetting<'_>,
        named: Named,
        place: Place,
        diagnostics: &mut Diagnostics,
    ) -> Option<SecretSource> {
        let value = |setting: SecretSetting<'_>| setting.value.map(|value| value.value.clone());
        if self.is_set() {
            let file = self.file.cloned();
            return SecretSource::one_of(value(self), file, named.names, place, diagnostics);
        }
        if !global.is_set() {
            let (name, file) = named.names;
            let help = match named.global {
                Some(global) => format!("set it or `{file}` here, or `{global}` under `global:`"),
                None => format!("set it or `{file}`"),
            };
            diagnostics.report_with_help(place, format!("`{name}` is missing"), help);
            return None;
        }
        match (value(global), global.file) {
            // That both are there is told where they stand.
            (Some(_), Some(_)) => None,
            (value, file) => {
                let names = named.names;
                SecretSource::one_of(value, file.cloned(), names, place, diagnostics)
            }
        }
    }

    /// The secret of a service that has none under `global:`. That there is none is reported.
    pub(super) fn needed(
        self,
        names: (&'static str, &'static str),
        place: Place,
        diagnostics: &mut Diagnostics,
    ) -> Option<SecretSource> {
        self.or(SecretSetting::default(), Named { names, global: None }, place, diagnostics)
    }

    /// As [`Self::or`], of an address. A global one is checked where it stands.
    pub(super) fn address_or(
        self,
        global: SecretSetting<'_>,
        named: Named,
        place: Place,
        diagnostics: &mut Diagnostics,
    ) -> Option<SecretSource> {
        if let Some(url) = self.given().value {
            check_hidden_url(url, diagnostics);
        }
        self.or(global, named, place, diagnostics)
    }
}

/// The base address of a service that is no secret: the own one, else the global one, else `default`;
/// without a slash at its end. A global one is checked where it stands.
pub(super) fn base_address(
    own: Option<&Spanned<Secret>>,
    global: Option<&Spanned<Secret>>,
    default: &str,
    diagnostics: &mut Diagnostics,
) -> String {
    if let Some(url) = own {
        check_url(url, diagnostics);
    }
    let url = own.or(global).map_or(default, |url| url.value.expose());
    url.trim_end_matches('/').to_owned()
}

/// As [`base_address`], of a service without a usual one; that there is none is reported.
pub(super) fn needed_address(
    setting: &str,
    written: Option<&Spanned<Secret>>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    if written.is_none() {
        diagnostics.report(place, format!("`{setting}` is missing"));
    }
    Some(base_address(Some(written?), None, "", diagnostics))
}

/// Whom a message goes to, or as whom: a text that no alert has a part in.
pub(super) fn fixed(
    setting: &str,
    written: Option<&Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    let written = written?;
    if written.value.contains("{{") {
        diagnostics.report_with_help(
            written,
            format!("`{setting}` cannot come from an alert"),
            format!("make a receiver for each `{setting}` and route to it"),
        );
        return None;
    }
    Some(written.value.clone()).filter(|text| !text.is_empty())
}

/// As [`fixed`]; that there is none is reported.
pub(super) fn needed(
    setting: &str,
    written: Option<&Spanned<String>>,
    place: Place,
    diagnostics: &mut Diagnostics,
) -> Option<String> {
    if written.is_none_or(|written| written.value.is_empty()) {
        let place = written.map_or(place, |written| written.place);
        diagnostics.report(place, format!("`{setting}` is missing"));
        return None;
    }
    fixed(setting, written, diagnostics)
}

/// `url` with a further pair in its query.
pub(super) fn with_query(url: &str, pair: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{pair}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: Named = Named { names: ("token", "token_file"), global: Some("service_token") };

    #[test]
    fn the_own_secret_comes_before_the_global_one() {
        let secret = |text: &str| Spanned { value: Secret::new(text), place: Place::default() };
        let file = PathBuf::from("/none");
        let (own, global) = (secret("own"), secret("global"));
        let check = |a: (bool, bool), b: (bool, bool), expected: &str| {
            let setting = |(value, with_file): (bool, bool), secret| SecretSetting {
                value: value.then_some(secret),
                file: with_file.then_some(&file),
            };
            let mut diagnostics = Diagnostics::new("f");
            let place = Place { line: 1, column: 1 };
            let got = setting(a, &own).or(setting(b, &global), NAMED, place, &mut diagnostics);
            let got = match got {
                Some(SecretSource::Given(secret)) => secret.expose().to_owned(),
                Some(SecretSource::File(path)) => path.display().to_string(),
                None => diagnostics.to_string(),
            };
            assert_eq!(got, expected, "{a:?} {b:?}");
        };
        check((true, false), (true, false), "own");
        check((false, true), (true, false), "/none");
        check((false, false), (true, false), "global");
        check((false, false), (false, true), "/none");
        check(
            (true, true),
            (false, false),
            "f:1:1: only one of `token` and `token_file` can be given",
        );
        check((false, false), (true, true), "");
        check(
            (false, false),
            (false, false),
            "f:1:1: `token` is missing\n  \
             help: set it or `token_file` here, or `service_token` under `global:`",
        );
    }

    #[test]
    fn a_pair_is_added_to_a_query() {
        assert_eq!(with_query("https://a/b", "c=d"), "https://a/b?c=d");
        assert_eq!(with_query("https://a/b?x=y", "c=d"), "https://a/b?x=y&c=d");
    }
}
