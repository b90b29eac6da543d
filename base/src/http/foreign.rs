//! Whether a browser was made to ask by a page that is not ours (X30).
//!
//! Invariant: who is no browser says nothing of it, and is never taken for one.

use hyper::header::{self, HeaderMap};

/// Whether a browser says that the page that made it ask is not one of ours. What changes something
/// is refused then.
pub fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    match (headers.get(header::ORIGIN), text(header::ORIGIN), text(header::HOST)) {
        (None, _, _) => false,
        (Some(_), Some(origin), Some(host)) => {
            origin.split_once("://").is_none_or(|(_, of)| of != host)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_is_told_apart_x30() {
        let check = |origin: Option<&str>, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:12912".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(is_foreign(&headers), expected, "{origin:?}");
        };
        check(None, false);
        check(Some("http://127.0.0.1:12912"), false);
        check(Some("http://evil.example"), true);
        check(Some("http://127.0.0.1:1"), true);
        check(Some(""), true);
        check(Some("null"), true);
    }
}
