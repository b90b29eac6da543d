//! The cookies of one look, from hop to hop and from step to step: many a page sets one and leads to
//! itself.
//!
//! Invariant: a cookie goes back only to the very host that has set it, or, if that host says so, to
//! those below a name that it is itself below of; a `Secure` one only over TLS; and nothing is kept
//! beyond the look.

use base::http::HeaderMap;
use base::http::client::Origin;
use base::http::header::{self, HeaderValue};

/// The most cookies that are kept; further ones are not.
const MAX: usize = 50;
/// The longest name and value together.
const MAX_BYTES: usize = 4 << 10;

/// What was set so far.
#[derive(Debug, Default)]
pub(crate) struct Cookies(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    host: String,
    /// Whether it goes to hosts below `host`, too.
    goes_below: bool,
    name: String,
    value: String,
    is_secure: bool,
}

impl Cookies {
    /// Keeps what an answer of `origin` sets.
    pub(super) fn keep(&mut self, origin: &Origin, headers: &HeaderMap) {
        let set = headers.get_all(header::SET_COOKIE).iter();
        for text in set.filter_map(|value| value.to_str().ok()) {
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let attributes: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
            let has = |attribute: &str| attributes.iter().any(|one| one == attribute);
            let value_of = |name: &str| {
                let mut all = attributes.iter().filter_map(|one| one.split_once('='));
                all.find_map(|(found, value)| (found.trim() == name).then_some(value.trim()))
            };
            let domain = value_of("domain").map(|domain| domain.trim_start_matches('.'));
            let domain = domain.filter(|domain| !domain.is_empty());
            let host = match domain {
                None => origin.host.as_str(),
                Some(domain) if is_below(&origin.host, domain) => domain,
                // Nobody sets a cookie for others.
                Some(_) => continue,
            };
            self.0.retain(|cookie| cookie.host != host || cookie.name != name);
            let age = value_of("max-age").and_then(|age| age.parse::<i64>().ok());
            let is_gone = value.is_empty() || age.is_some_and(|age| age <= 0);
            if is_gone || self.0.len() == MAX || name.len() + value.len() > MAX_BYTES {
                continue;
            }
            self.0.push(Cookie {
                host: host.to_owned(),
                goes_below: domain.is_some(),
                name: name.to_owned(),
                value: value.to_owned(),
                is_secure: has("secure"),
            });
        }
    }

    /// Adds to the headers of a request to `origin` what it has set.
    pub(super) fn give(&self, origin: &Origin, headers: &mut HeaderMap) {
        let its = |cookie: &&Cookie| {
            let is_host = cookie.host.eq_ignore_ascii_case(&origin.host);
            (is_host || cookie.goes_below && is_below(&origin.host, &cookie.host))
                && (origin.tls || !cookie.is_secure)
        };
        let pairs = self.0.iter().filter(its).map(|cookie| {
            let Cookie { name, value, .. } = cookie;
            format!("{name}={value}")
        });
        let configured = headers.get(header::COOKIE).and_then(|value| value.to_str().ok());
        let all: Vec<String> = configured.map(str::to_owned).into_iter().chain(pairs).collect();
        if let (false, Ok(mut value)) = (all.is_empty(), HeaderValue::from_str(&all.join("; "))) {
            value.set_sensitive(true);
            headers.insert(header::COOKIE, value);
        }
    }
}

/// Whether `host` is `domain` or a name below it. What has no dot is a country or a whole network,
/// of which nobody is the owner; what ends in digits is an address and has nothing below it.
fn is_below(host: &str, domain: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let above = host.strip_suffix(domain);
    above == Some("")
        || (domain.contains('.')
            && !domain.ends_with(|c: char| c.is_ascii_digit())
            && above.is_some_and(|above| above.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which cookies go to the second origin after the first has set `set`.
    #[track_caller]
    fn check(from: &str, set: &[&'static str], to: &str, expected: &str) {
        let origin = |url: &str| Origin::of(&url.parse().unwrap()).unwrap();
        let mut answer = HeaderMap::new();
        for text in set {
            answer.append(header::SET_COOKIE, HeaderValue::from_static(text));
        }
        let mut cookies = Cookies::default();
        cookies.keep(&origin(from), &answer);
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("own=1"));
        cookies.give(&origin(to), &mut headers);
        assert_eq!(headers[header::COOKIE], expected, "{set:?}");
    }

    #[test]
    fn a_cookie_goes_back_to_whom_it_came_from_only() {
        let (a, b) = ("https://a.example/", "https://b.example/");
        check(a, &["s=1; Path=/", "t=2"], a, "own=1; s=1; t=2");
        check(a, &["s=1"], b, "own=1");
        check(a, &["s=1; Domain=b.example"], b, "own=1");
        check(a, &["s=1; Domain=b.example"], a, "own=1");
        check(a, &["s=1; Max-Age=-1", "t=2; Max-Age=9"], a, "own=1; t=2");
        check(a, &["s=1; Secure", "t=2"], "http://a.example/", "own=1; t=2");
        check(a, &["s=1", "s=2"], a, "own=1; s=2");
        check(a, &["s=1", "s=; Max-Age=0", "nonsense"], a, "own=1");
    }

    #[test]
    fn a_host_may_share_a_cookie_with_those_beside_it() {
        let (www, api) = ("https://www.shop.example/", "https://api.shop.example/");
        check(www, &["s=1; Domain=shop.example"], api, "own=1; s=1");
        check(www, &["s=1; domain = .Shop.Example"], "https://shop.example/", "own=1; s=1");
        check(www, &["s=1; Domain=www.shop.example"], api, "own=1");
        check(www, &["s=1; Domain=shop.example; Secure"], "http://api.shop.example/", "own=1");
        check(www, &["s=1; Domain=example"], api, "own=1");
        check(www, &["s=1; Domain=shop.example"], "https://evilshop.example/", "own=1");
        check("http://10.0.0.1/", &["s=1; Domain=0.1"], "http://11.0.0.1/", "own=1");
        check("http://10.0.0.1/", &["s=1; Domain=10.0.0.1"], "http://10.0.0.1/", "own=1; s=1");
    }
}
