//! Where a `Location` leads, seen from the page that it stands on (RFC 3986, section 5).
//!
//! Invariant: the result is an absolute URL without a fragment.

use base::http::Uri;

/// The URL that `location` means on the page `at`.
///
/// # Errors
///
/// It is no URL.
pub(super) fn join(at: &Uri, location: &str) -> Result<Uri, String> {
    let reference = location.split('#').next().unwrap_or("").trim();
    let scheme = at.scheme_str().unwrap_or("http");
    let authority = at.authority().map_or("", |authority| authority.as_str());
    let whole = if let Some(scheme) = scheme_of(reference) {
        if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
            return Err("is not an http or https URL".to_owned());
        }
        reference.to_owned()
    } else if let Some(rest) = reference.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else {
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (reference, None),
        };
        let merged = if path.starts_with('/') {
            path.to_owned()
        } else if path.is_empty() {
            at.path().to_owned()
        } else {
            let directory = at.path().rfind('/').map_or("/", |end| &at.path()[..=end]);
            format!("{directory}{path}")
        };
        let query = query.or(if path.is_empty() { at.query() } else { None });
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        format!("{scheme}://{authority}{}{query}", without_dots(&merged))
    };
    let whole = whole.replace(' ', "%20");
    whole.parse().map_err(|_| "is no URL".to_owned())
}

/// The scheme that the text begins with: a letter, then letters, digits, `+`, `-` and `.`.
fn scheme_of(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let is_scheme =
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(plain);
    is_scheme.then_some(scheme)
}

/// The path with its `.` and `..` resolved.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            _ => segments.push(part),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(location: &str, expected: &str) {
        let at: Uri = "http://a.example:8080/b/c/d?q=1".parse().unwrap();
        let got = join(&at, location).map_or_else(|e| format!("error: it {e}"), |u| u.to_string());
        assert_eq!(got, expected, "{location}");
    }

    #[test]
    fn resolves_references() {
        check("https://b.example/x", "https://b.example/x");
        check("//b.example/x", "http://b.example/x");
        check("/x/../y?z#f", "http://a.example:8080/y?z");
        check("e", "http://a.example:8080/b/c/e");
        check("../e/.", "http://a.example:8080/b/e/");
        check("../../../e", "http://a.example:8080/e");
        check("?z=2", "http://a.example:8080/b/c/d?z=2");
        check("", "http://a.example:8080/b/c/d?q=1");
        check("#top", "http://a.example:8080/b/c/d?q=1");
        check("e f", "http://a.example:8080/b/c/e%20f");
        check("http://[bad", "error: it is no URL");
        check("file:///etc/passwd", "error: it is not an http or https URL");
        check("javascript:alert(1)", "error: it is not an http or https URL");
    }
}
