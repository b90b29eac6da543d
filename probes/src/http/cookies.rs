//! The cookies of one look, from hop to hop and from step to step: many a page sets one and leads to
//! itself.
//!
//! Invariant: a cookie goes back only to the very host that has set it, a `Secure` one only over TLS,
//! and nothing is kept beyond the look.

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
            self.0.retain(|cookie| cookie.host != origin.host || cookie.name != name);
            let is_gone = value.is_empty() || has("max-age=0");
            if is_gone || self.0.len() == MAX || name.len() + value.len() > MAX_BYTES {
                continue;
            }
            self.0.push(Cookie {
                host: origin.host.clone(),
                name: name.to_owned(),
                value: value.to_owned(),
                is_secure: has("secure"),
            });
        }
    }

    /// Adds to the headers of a request to `origin` what it has set.
    pub(super) fn give(&self, origin: &Origin, headers: &mut HeaderMap) {
        let its =
            |cookie: &&Cookie| cookie.host == origin.host && (origin.tls || !cookie.is_secure);
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
        check(a, &["s=1; Secure", "t=2"], "http://a.example/", "own=1; t=2");
        check(a, &["s=1", "s=2"], a, "own=1; s=2");
        check(a, &["s=1", "s=; Max-Age=0", "nonsense"], a, "own=1");
    }
}
