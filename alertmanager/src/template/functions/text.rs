//! Texts: upper and lower case, titles, hosts and ports.
//!
//! Invariant: a character is replaced by one character or stays as it is, as in Go; `ß` has no
//! upper case.

use std::net::IpAddr;

/// Every letter in upper case.
pub(super) fn upper_case(text: &str) -> String {
    text.chars().map(upper).collect()
}

/// Every letter in lower case.
pub(super) fn lower_case(text: &str) -> String {
    text.chars().map(lower).collect()
}

fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    if mapped.len() == 1 { mapped.next().unwrap_or(c) } else { c }
}

fn lower(c: char) -> char {
    let mut mapped = c.to_lowercase();
    if mapped.len() == 1 { mapped.next().unwrap_or(c) } else { c }
}

/// The first letter of every word in upper case; the others in lower case only if `others` says so.
pub(super) fn title(text: &str, others: bool) -> String {
    let mut within = false;
    let mut joined_before = false;
    text.chars()
        .map(|c| {
            // A point or an apostrophe joins what stands around it; two in a row do not.
            let joins = matches!(c, '.' | ':' | '\'' | '\u{b7}' | '\u{2018}' | '\u{2019}');
            if joins && joined_before {
                within = false;
            }
            joined_before = joins;
            let cased = c.is_uppercase() || c.is_lowercase();
            match (cased, within) {
                (true, false) => {
                    within = true;
                    upper(c)
                }
                (true, true) if others => lower(c),
                (true, true) => c,
                (false, _) => {
                    if !joins && c != '_' && !c.is_alphanumeric() {
                        within = false;
                    }
                    c
                }
            }
        })
        .collect()
}

/// `host:port` in its parts; nothing where it is no such pair.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match text.strip_prefix('[') {
        Some(inside) => {
            let (host, after) = inside.split_once(']')?;
            let port = after.strip_prefix(':')?;
            (!host.contains('[') && !port.contains(['[', ']', ':'])).then_some((host, port))
        }
        None => {
            (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
        }
    }
}

/// The host without its port.
pub(super) fn without_port(text: &str) -> &str {
    split_host_port(text).map_or(text, |(host, _)| host)
}

/// The host without its domain, with its port; an IP address stays as it is.
pub(super) fn without_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    // Go knows no addresses with a zone.
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let short = host.split('.').next().unwrap_or(host);
    match (port, short.contains(':')) {
        ("", _) => short.to_owned(),
        (_, true) => format!("[{short}]:{port}"),
        (_, false) => format!("{short}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_case_letter_by_letter() {
        assert_eq!((upper_case("aß é"), lower_case("AİΣ")), ("Aß É".into(), "aİσ".into()));
    }

    #[test]
    fn titles_begin_words() {
        let check = |text: &str, kept: &str, lowered: &str| {
            assert_eq!((title(text, false).as_str(), title(text, true).as_str()), (kept, lowered));
        };
        check("aa bb CC", "Aa Bb CC", "Aa Bb Cc");
        check("don't foo_bar a-b", "Don't Foo_bar A-B", "Don't Foo_bar A-B");
        check("1st a..b x.y", "1St A..B X.y", "1St A..B X.y");
        check("", "", "");
    }

    #[test]
    fn hosts_lose_ports_and_domains() {
        let check = |text: &str, host: &str, short: &str| {
            assert_eq!((without_port(text), without_domain(text).as_str()), (host, short));
        };
        check("foo.example.com", "foo.example.com", "foo");
        check("foo.example.com:12345", "foo.example.com", "foo:12345");
        check("192.0.2.1:12345", "192.0.2.1", "192.0.2.1:12345");
        check("192.0.2.1", "192.0.2.1", "192.0.2.1");
        check("2001:0DB8::1", "2001:0DB8::1", "2001:0DB8::1");
        check("[2001:0DB8::1]:12345", "2001:0DB8::1", "[2001:0DB8::1]:12345");
        check("[2001:0DB8::1]::12345", "[2001:0DB8::1]::12345", "[2001:0DB8::1]::12345");
        check("host:", "host", "host");
        check("", "", "");
    }
}
