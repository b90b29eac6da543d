//! What a target may look like: read strictly, so that what was checked is what is dialled (X05).
//!
//! Invariant: a host is an address or a name of letters, digits, `-`, `_` and single dots, in lower
//! case; there is no user name, no fragment, no escape and nothing that another program could read
//! differently.

use std::net::{IpAddr, Ipv6Addr};

use base::http::Uri;

/// The longest target that is looked at.
const MAX: usize = 8 << 10;

/// Why a text is no target. It does not repeat the text, which is a stranger's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// It is longer than anything that makes sense.
    #[error("the target is too long")]
    TooLong,
    /// A blank, a backslash, a control character, or one that is not ASCII.
    #[error("the target has characters that no target has; write names in their ASCII form")]
    Characters,
    /// There is a user name or a password in it.
    #[error("the target has a user name in it; credentials belong into the module")]
    UserName,
    /// There is a fragment in it.
    #[error("the target has a fragment in it")]
    Fragment,
    /// It is no URL of the kind.
    #[error("the target is not an http or https URL")]
    Url,
    /// The host is none.
    #[error("the target has no proper host name or address")]
    Host,
    /// It is no path of a socket.
    #[error("the target is not the absolute path of a socket")]
    Socket,
    /// There is no port, or one that cannot be.
    #[error("the target has no proper port; write it like `db.example:5432`")]
    Port,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name in lower case, or an address, without brackets.
    pub host: String,
    /// 0 where there are no ports: a host that is pinged.
    pub port: u16,
}

/// Where a target leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Over the network.
    Net(HostPort),
    /// To a socket of this host, by its path.
    Socket(String),
}

/// The target of a probe that is not HTTP: `host:port`, an IPv6 address in brackets.
///
/// # Errors
///
/// [`BadTarget`].
pub fn parse_host_port(text: &str) -> Result<HostPort, BadTarget> {
    plain(text)?;
    if text.contains('@') {
        return Err(BadTarget::UserName);
    }
    let (host, port) = text.rsplit_once(':').ok_or(BadTarget::Port)?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or(BadTarget::Port)?;
    Ok(HostPort { host: parse_host(host)?, port })
}

/// The target of a probe that knows no ports: a host, an IPv6 address with or without brackets.
///
/// # Errors
///
/// [`BadTarget`].
pub(crate) fn parse_host_only(text: &str) -> Result<HostPort, BadTarget> {
    parse_host_or_port(text, 0).and_then(|at| match at.port {
        0 => Ok(at),
        _ => Err(BadTarget::Host),
    })
}

/// As [`parse_host_port`], for a target that need not name its port: `usual` then.
///
/// # Errors
///
/// [`BadTarget`].
pub(crate) fn parse_host_or_port(text: &str, usual: u16) -> Result<HostPort, BadTarget> {
    plain(text)?;
    if text.contains('@') {
        return Err(BadTarget::UserName);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(HostPort { host: address.to_string(), port: usual });
    }
    match text.ends_with(']') || !text.contains(':') {
        true => Ok(HostPort { host: parse_host(text)?, port: usual }),
        false => parse_host_port(text),
    }
}

/// The target of a probe of a socket: an absolute path without `.`, `..` and empty parts.
///
/// # Errors
///
/// [`BadTarget`].
pub(crate) fn parse_socket(text: &str) -> Result<String, BadTarget> {
    let parts = text.strip_prefix('/').ok_or(BadTarget::Socket)?.split('/');
    let good = |part: &str| !matches!(part, "" | "." | "..");
    // As long as an address of a socket can be.
    if text.len() > 107 || plain(text).is_err() || !parts.into_iter().all(good) {
        return Err(BadTarget::Socket);
    }
    Ok(text.to_owned())
}

/// The target of an HTTP probe: an absolute URL, or one without its `http://`, as with
/// blackbox_exporter.
///
/// # Errors
///
/// [`BadTarget`].
pub fn parse_url(text: &str) -> Result<(Uri, HostPort), BadTarget> {
    plain(text)?;
    if text.contains('#') {
        return Err(BadTarget::Fragment);
    }
    let has_scheme = text.starts_with("http://") || text.starts_with("https://");
    let whole = if has_scheme { text.to_owned() } else { format!("http://{text}") };
    let url: Uri = whole.parse().map_err(|_| BadTarget::Url)?;
    let at = of_url(&url)?;
    Ok((url, at))
}

/// The host and port of an absolute URL.
///
/// # Errors
///
/// [`BadTarget`].
pub(crate) fn of_url(url: &Uri) -> Result<HostPort, BadTarget> {
    let standard = match url.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(BadTarget::Url),
    };
    let authority = url.authority().ok_or(BadTarget::Host)?.as_str();
    if authority.contains('@') {
        return Err(BadTarget::UserName);
    }
    let has_port = !authority.ends_with(']') && authority.contains(':');
    if has_port {
        return parse_host_port(authority);
    }
    Ok(HostPort { host: parse_host(authority)?, port: standard })
}

fn plain(text: &str) -> Result<(), BadTarget> {
    if text.len() > MAX {
        return Err(BadTarget::TooLong);
    }
    let strange = |byte: u8| !byte.is_ascii_graphic() || byte == b'\\';
    if text.bytes().any(strange) { Err(BadTarget::Characters) } else { Ok(()) }
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
fn parse_host(text: &str) -> Result<String, BadTarget> {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(BadTarget::Host)?;
        let address: Ipv6Addr = address.parse().map_err(|_| BadTarget::Host)?;
        return Ok(IpAddr::V6(address).to_string());
    }
    host_name(text)
}

/// A name in lower case.
pub(crate) fn host_name(text: &str) -> Result<String, BadTarget> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(letter)
    };
    let good = text.len() <= 253 && text.split('.').all(label);
    if good { Ok(text.to_ascii_lowercase()) } else { Err(BadTarget::Host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn url(text: &str, expected: &str) {
        let got = match parse_url(text) {
            Ok((url, at)) => format!("{url} {} {}", at.host, at.port),
            Err(bad) => format!("{bad:?}"),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[track_caller]
    fn address(text: &str, expected: &str) {
        let got = match parse_host_port(text) {
            Ok(at) => format!("{} {}", at.host, at.port),
            Err(bad) => format!("{bad:?}"),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn reads_what_is_meant() {
        url("http://shop.example/a?b=c", "http://shop.example/a?b=c shop.example 80");
        url("https://Shop.Example", "https://Shop.Example/ shop.example 443");
        url("shop.example", "http://shop.example/ shop.example 80");
        url("shop.example:8080/x", "http://shop.example:8080/x shop.example 8080");
        url("http://[::1]:1/", "http://[::1]:1/ ::1 1");
        url("https://[::1]/", "https://[::1]/ ::1 443");
        address("db.example:5432", "db.example 5432");
        address("[2001:DB8::1]:1", "2001:db8::1 1");
        address("127.0.0.1:65535", "127.0.0.1 65535");
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways_x05() {
        url("http://user@shop.example/", "UserName");
        url("http://user:secret@shop.example/", "UserName");
        url("http://shop.example#@evil.example/", "Fragment");
        url("http://shop.example/\r\nx: y", "Characters");
        url("http://shop.example\\@evil.example/", "Characters");
        url("http://shop\u{3002}example/", "Characters");
        url("http://shop.example./", "Host");
        url("http://.shop.example/", "Host");
        url("http://a..b/", "Host");
        url("http://shop.example:0/", "Port");
        url("http://shop.example:65536/", "Port");
        url("http://shop.example:/", "Port");
        url("http://shop.example:+80/", "Port");
        url("http:///etc/passwd", "Url");
        url("unix:/run/x.sock", "Port");
        url("file:///etc/passwd", "Port");
        url("gopher://x/", "Port");
        url("javascript:alert(1)", "Port");
        url("http://[::1/", "Url");
        url("http://[fe80::1%25eth0]/", "Host");
        url("", "Url");
        url(&"x".repeat(9000), "TooLong");
        address("db.example", "Port");
        address("db.example:", "Port");
        address("db.example:0", "Port");
        address("db.example:65536", "Port");
        address("db.example:+1", "Port");
        address("::1:80", "Host");
        address("[::1%lo]:80", "Host");
        address("a b:80", "Characters");
        address("u@h:80", "UserName");
        address("/run/x.sock:1", "Host");
        address("h/..:80", "Host");
        address("-oProxyCommand=x:80", "Host");
        address("h%2e:80", "Host");
    }
}
