//! Where a URL leads.
//!
//! Invariant: a URL with a user name in it leads nowhere; who we are is set elsewhere.

use hyper::Uri;

use super::failure::{ClientError, Failure};

/// Where a URL leads: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether it is `https`.
    pub tls: bool,
    /// The name or address, an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Origin {
    /// The origin of an absolute `http` or `https` URL without a user name in it.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL.
    pub fn of(url: &Uri) -> Result<Self, ClientError> {
        let wrong = |what: &str| ClientError::new(Failure::Address, format!("`{url}` {what}"));
        let tls = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("is not an http or https URL")),
        };
        let authority = url.authority().ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            let message = "a URL cannot hold a user name; use basic_auth";
            return Err(ClientError::new(Failure::Address, message));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || authority.as_str().ends_with(':') || authority.port_u16() == Some(0) {
            return Err(wrong("has no host or no port"));
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host: host.to_owned(), port })
    }

    /// As a request names it: the host, and the port where it is not the usual one.
    pub fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}
