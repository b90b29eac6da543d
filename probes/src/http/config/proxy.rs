//! Through which proxies pages are asked for, as written: in a file, or in our environment.
//!
//! A proxy dials where we cannot look. So a target that a stranger chose is resolved and judged here
//! as it is without a proxy, unless its module leaves names to the proxy (`skip_resolve_phase_with_proxy`); then it is
//! judged by its name alone.
//!
//! Invariant: a proxy's password is in no message.

use std::collections::BTreeMap;

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::HeaderMap;
use base::http::client::{Except, Proxy};
use base::secret::Secret;

use super::super::route::Proxies;
use super::add_header;

/// The settings of a section that say through which proxies its requests go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxySettings<'c> {
    pub(crate) url: Option<&'c Spanned<Secret>>,
    /// What is dialled directly, with commas in between.
    pub(crate) except: Option<&'c Spanned<String>>,
    pub(crate) from_environment: Option<&'c Spanned<bool>>,
    /// Headers of the request to connect.
    pub(crate) headers: &'c BTreeMap<String, Vec<Spanned<Secret>>>,
    /// Whether the proxy resolves the names, and we do not.
    pub(crate) skips_resolve: bool,
}

/// A variable of our environment.
#[expect(clippy::disallowed_methods, reason = "`proxy_from_environment` asks for it by name")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl ProxySettings<'_> {
    /// The proxies, reporting what is wrong with them.
    pub(crate) fn build(self, diagnostics: &mut Diagnostics) -> Proxies {
        self.build_with(variable, diagnostics)
    }

    fn build_with(
        self,
        variable: impl Fn(&str) -> Option<String>,
        diagnostics: &mut Diagnostics,
    ) -> Proxies {
        let from_environment = self.from_environment.filter(|asked| asked.value);
        let url = self.url.filter(|url| !url.value.expose().is_empty());
        let except = self.except.filter(|except| !except.value.is_empty());
        if let (Some(at), true) = (from_environment, url.is_some() || except.is_some()) {
            let message =
                "`proxy_from_environment` says it all; take `proxy_url` and `no_proxy` away";
            diagnostics.report(at, message);
        }
        if let (Some(at), None, None) = (except, url, from_environment) {
            diagnostics.report(at, "`no_proxy` means nothing without `proxy_url`");
        }
        let any = |name: &str| {
            let found = variable(name).or_else(|| variable(&name.to_ascii_lowercase()));
            found.filter(|text| !text.is_empty())
        };
        let (plain, secured, except, place) = match (from_environment, url) {
            (Some(at), _) => {
                (any("HTTP_PROXY"), any("HTTPS_PROXY"), any("NO_PROXY"), Place::from(at))
            }
            (None, Some(url)) => {
                let text = Some(url.value.expose().to_owned());
                (text.clone(), text, except.map(|e| e.value.clone()), Place::from(url))
            }
            (None, None) => {
                if let Some(at) = self.headers.values().flatten().next() {
                    let message = "`proxy_connect_header` means nothing without a proxy";
                    diagnostics.report(at, message);
                }
                return Proxies::default();
            }
        };
        let mut faults = Vec::new();
        let mut read = |text: Option<String>| {
            let proxy = text.map(|text| Proxy::read(&text));
            proxy.and_then(|proxy| proxy.map_err(|fault| faults.push(fault)).ok())
        };
        let (plain, secured) = (read(plain), read(secured));
        faults.dedup();
        let help = "write it like `http://proxy.example:3128`";
        faults.into_iter().for_each(|fault| diagnostics.report_with_help(place, fault, help));
        let except = Except::list(except.as_deref().unwrap_or(""), place, diagnostics);
        let headers = self.connect_headers(diagnostics);
        let set = |proxy: Proxy| proxy.but_for(except.clone()).with_headers(headers.clone());
        let (plain, secured) = (plain.map(set), secured.map(set));
        Proxies { plain, secured, skips_resolve: self.skips_resolve }
    }

    fn connect_headers(&self, diagnostics: &mut Diagnostics) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in self.headers {
            for value in values {
                let mut one = HeaderMap::new();
                add_header(&mut one, name, value, diagnostics);
                one.drain().for_each(|(name, value)| {
                    if let Some(name) = name {
                        headers.append(name, value);
                    }
                });
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use base::http::client::Origin;

    use super::*;

    /// Where a page without and one with TLS are asked for, `-` for directly; then what is wrong.
    #[track_caller]
    fn check(url: Option<&str>, except: Option<&str>, variables: &[(&str, &str)], expected: &str) {
        fn spanned<T>(value: T) -> Spanned<T> {
            Spanned { value, place: Place::default() }
        }
        let (url, except) =
            (url.map(Secret::new).map(spanned), except.map(str::to_owned).map(spanned));
        let from_environment = spanned(!variables.is_empty());
        let settings = ProxySettings {
            url: url.as_ref(),
            except: except.as_ref(),
            from_environment: Some(&from_environment),
            headers: &BTreeMap::new(),
            skips_resolve: false,
        };
        let mut diagnostics = Diagnostics::new("b.yml");
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let proxies = settings.build_with(variable, &mut diagnostics);
        let at = |url: &str| Origin::of(&url.parse().unwrap()).unwrap();
        let shown = |proxy: &Option<Proxy>| match proxy {
            Some(proxy) => format!(
                "{}:{}{}{}",
                proxy.origin().host,
                proxy.origin().port,
                if proxy.authorization().is_some() { " as somebody" } else { "" },
                if proxy.serves(&at("http://a.example")) { "" } else { " with exceptions" }
            ),
            None => "-".to_owned(),
        };
        let got = format!("{}, {} {diagnostics}", shown(&proxies.plain), shown(&proxies.secured));
        assert_eq!(got.trim_end(), expected);
        assert!(!got.contains("s3cret"), "{got}");
    }

    #[test]
    fn proxies_are_named_in_the_file_or_by_the_environment() {
        check(None, None, &[], "-, -");
        check(Some("http://p:3128"), None, &[], "p:3128, p:3128");
        check(
            Some("http://u:s3cret@p:1/"),
            Some("a.example, 10.0.0.0/8"),
            &[],
            "p:1 as somebody with exceptions, p:1 as somebody with exceptions",
        );
        check(
            None,
            None,
            &[("HTTP_PROXY", "p:1"), ("https_proxy", "http://q:2"), ("NO_PROXY", "*")],
            "p:1 with exceptions, q:2 with exceptions",
        );
        check(None, None, &[("HOME", "/")], "-, -");
    }

    #[test]
    fn what_is_wrong_is_told_without_a_password() {
        let only = "only a proxy at `http://...` is spoken to";
        let help = "help: write it like `http://proxy.example:3128`";
        let told = format!("-, - b.yml:0:0: {only}\n  {help}");
        check(Some("https://u:s3cret@p:1"), None, &[], &told);
        check(
            Some("http://u:s3cret@:1"),
            None,
            &[],
            &format!("-, - b.yml:0:0: this is no address of a proxy\n  {help}"),
        );
        check(None, Some("a"), &[], "-, - b.yml:0:0: `no_proxy` means nothing without `proxy_url`");
        check(
            Some("http://p:1"),
            None,
            &[("HTTP_PROXY", "q:1")],
            "q:1, - b.yml:0:0: `proxy_from_environment` says it all; take `proxy_url` and `no_proxy` away",
        );
        check(
            Some("http://p:1"),
            Some("a b"),
            &[],
            "p:1, p:1 b.yml:0:0: `a b` of what goes without the proxy is no name and no network\n  \
             help: write it like `shop.example`, `10.0.0.1`, `10.0.0.0/8` or `*`",
        );
    }
}
