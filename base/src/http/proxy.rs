//! The proxy through which a client reaches others.
//!
//! What is not encrypted is given to it with the whole address; for what is, it opens a connection
//! on which it sees nothing.
//!
//! Invariant: what identifies us to the proxy goes to the proxy alone, and is never printed.

use std::fmt;

use hyper::header::HeaderValue;
use hyper::{HeaderMap, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::access::basic;
use super::except::Except;
use super::failure::{ClientError, Failure};
use super::origin::Origin;
use super::percent::percent_decoded;
use crate::diagnostic::{Diagnostics, Place};

/// How long the head of its answer may be, in bytes.
const MAX_HEAD: usize = 8 << 10;

/// A proxy, and what is dialled without it.
#[derive(Clone)]
pub struct Proxy {
    origin: Origin,
    authorization: Option<HeaderValue>,
    except: Vec<Except>,
    headers: HeaderMap,
    /// Whether it serves only what is encrypted, or only what is not.
    tls: Option<bool>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Proxy {
    /// The proxy at `origin`, which does not ask who we are.
    pub fn at(origin: Origin) -> Self {
        let (except, headers) = (Vec::new(), HeaderMap::new());
        Self { origin, authorization: None, except, headers, tls: None }
    }

    /// The proxy at `url`: `http://user:password@host:port`, where all but the host may be missing.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without the address, which may hold a password.
    pub fn read(url: &str) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err("only a proxy at `http://...` is spoken to".to_owned()),
            None => url,
        };
        let (identity, place) = match rest.rsplit_once('@') {
            Some((identity, place)) => (Some(identity), place),
            None => (None, rest),
        };
        let wrong = || "this is no address of a proxy".to_owned();
        let uri: Uri = format!("http://{place}").parse().map_err(|_| wrong())?;
        let proxy = Self::at(Origin::of(&uri).map_err(|_| wrong())?);
        let Some(identity) = identity else { return Ok(proxy) };
        let (user, password) = identity.split_once(':').unwrap_or((identity, ""));
        let pair = [percent_decoded(user), b":".to_vec(), percent_decoded(password)].concat();
        let value = HeaderValue::from_str(&basic(pair)).map_err(|_| wrong())?;
        Ok(proxy.knowing_us(Some(value)))
    }

    /// The proxies that the environment names for what is not encrypted and for what is, but for
    /// what `NO_PROXY` names.
    ///
    /// # Errors
    ///
    /// What is wrong with a variable, without its text, which may hold a password.
    pub fn of_environment() -> Result<Vec<Self>, String> {
        let either = |name: &str| {
            let lower = || crate::yaml::variable(&name.to_lowercase());
            crate::yaml::variable(name).or_else(lower).filter(|text| !text.is_empty())
        };
        let except = either("NO_PROXY").unwrap_or_default();
        let mut faults = Diagnostics::new("the environment variable NO_PROXY");
        let except = Except::list(&except, Place { line: 1, column: 1 }, &mut faults);
        faults.into_result(()).map_err(|faults| faults.to_string())?;
        let mut proxies = Vec::new();
        for (name, tls) in [("HTTP_PROXY", false), ("HTTPS_PROXY", true)] {
            if let Some(url) = either(name) {
                let proxy = Self::read(&url);
                let proxy =
                    proxy.map_err(|why| format!("the environment variable {name}: {why}"))?;
                proxies.push(Self { tls: Some(tls), ..proxy.but_for(except.clone()) });
            }
        }
        Ok(proxies)
    }

    /// The same, to which we say who we are: the value of `Proxy-Authorization`.
    #[must_use]
    pub fn knowing_us(mut self, authorization: Option<HeaderValue>) -> Self {
        self.authorization = authorization.map(|mut value| {
            value.set_sensitive(true);
            value
        });
        self
    }

    /// The same, but not for what `except` names.
    #[must_use]
    pub fn but_for(self, except: Vec<Except>) -> Self {
        Self { except, ..self }
    }

    /// The same with further headers where it is asked to open a connection.
    #[must_use]
    pub fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers, ..self }
    }

    /// Whether what goes to `origin` goes through it.
    pub fn serves(&self, origin: &Origin) -> bool {
        self.tls.is_none_or(|tls| tls == origin.tls)
            && !self.except.iter().any(|except| except.has(origin))
    }

    /// Where it is.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Who we are to it.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Has it open a connection to `to`, on which it was asked over `socket`.
    ///
    /// # Errors
    ///
    /// [`Failure::Proxy`] where it does not, [`Failure::Protocol`] where it is none.
    pub async fn tunnel(&self, socket: &mut TcpStream, to: &Origin) -> Result<(), ClientError> {
        let target = match to.host.contains(':') {
            true => format!("[{}]:{}", to.host, to.port),
            false => format!("{}:{}", to.host, to.port),
        };
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(value) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        for (name, value) in &self.headers {
            request.extend_from_slice(name.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let failed = |error| ClientError::from_io("the proxy", &error);
        socket.write_all(&request).await.map_err(failed)?;
        // Byte by byte, because what follows the head is not ours to read.
        let mut head = Vec::new();
        let mut status = None;
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= MAX_HEAD {
                let message = "the proxy: its answer is too long";
                return Err(ClientError::new(Failure::Protocol, message));
            }
            head.push(socket.read_u8().await.map_err(failed)?);
            if status.is_none() && head.ends_with(b"\r\n") {
                // What is no proxy may have nothing more to say, and wait.
                status = Some(status_of(&head)?);
            }
        }
        match status {
            Some(b'2') => Ok(()),
            _ => {
                let message =
                    format!("the proxy does not connect to `{target}`: `{}`", shown(&head));
                Err(ClientError::new(Failure::Proxy, message))
            }
        }
    }
}

/// The first digit of the status of an answer that begins with `line`.
fn status_of(line: &[u8]) -> Result<u8, ClientError> {
    let digits = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    match digits {
        Some(digits) if digits.iter().all(u8::is_ascii_digit) => Ok(digits[0]),
        _ => {
            let message = format!("the proxy does not speak HTTP: `{}`", shown(line));
            Err(ClientError::new(Failure::Protocol, message))
        }
    }
}

/// The first line of an answer, fit to be shown.
fn shown(head: &[u8]) -> String {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line: String = String::from_utf8_lossy(line).chars().take(100).collect();
    line.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&url.parse().unwrap()).unwrap()
    }

    #[test]
    fn reads_where_it_is_and_who_we_are() {
        let check = |url: &str, expected: Option<(&str, u16, Option<&str>)>| {
            let got = Proxy::read(url);
            let got = got.as_ref().ok().map(|proxy| {
                let authorization = proxy.authorization.as_ref().map(|a| a.to_str().unwrap());
                (proxy.origin.host.as_str(), proxy.origin.port, authorization)
            });
            assert_eq!(got, expected, "{url}");
        };
        check("http://127.0.0.1:1025", Some(("127.0.0.1", 1025, None)));
        check("foo", Some(("foo", 80, None)));
        check("http://u:p%40ss@proxy:3128/", Some(("proxy", 3128, Some("Basic dTpwQHNz"))));
        check("http://u@proxy", Some(("proxy", 80, Some("Basic dTo="))));
        check("https://proxy", None);
        check("socks5://proxy", None);
        check("http://", None);
        check("", None);
    }

    /// A proxy that answers every head with `answer`, and what it was asked.
    async fn asked(answer: &'static str, url: &str) -> (Result<(), ClientError>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Proxy::read(&format!("http://u:p@{address}")).unwrap();
        let client = super::super::client::Client::new(&Default::default()).unwrap().through(proxy);
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            socket.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(head).unwrap()
        };
        let ask = async {
            let mut phases = super::super::client::Phases::default();
            let mut connection = client.connect(&origin(url), &mut phases).await?;
            let request = hyper::Request::get(url).body(Default::default()).unwrap();
            connection.send(request, &mut phases).await.map(drop)
        };
        let (result, head) = tokio::join!(ask, serve);
        (result, head)
    }

    #[tokio::test]
    async fn is_given_the_whole_address_of_what_is_not_encrypted() {
        let answer = "HTTP/1.1 204 No Content\r\n\r\n";
        let (result, head) = asked(answer, "http://a.example/x?y=z").await;
        result.unwrap();
        assert!(head.starts_with("GET http://a.example/x?y=z HTTP/1.1\r\n"), "{head}");
        let head = head.to_lowercase();
        assert!(head.contains("host: a.example\r\n"), "{head}");
        assert!(head.contains("proxy-authorization: basic dtpw\r\n"), "{head}");
    }

    #[tokio::test]
    async fn opens_a_connection_for_what_is_encrypted_or_says_why_not() {
        let answer = "HTTP/1.1 407 Who are you?\r\nX: y\r\n\r\n";
        let (result, head) = asked(answer, "https://a.example/x").await;
        let expected = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\
                        Proxy-Authorization: Basic dTpw\r\n\r\n";
        assert_eq!(head, expected);
        let told = result.unwrap_err().to_string();
        assert!(told.contains("does not connect to `a.example:443`: `HTTP/1.1 407 Who"), "{told}");
        let (result, _) = asked("220 mail ESMTP\r\n\r\n", "https://a.example/").await;
        let told = result.unwrap_err().to_string();
        assert!(told.contains("the proxy does not speak HTTP: `220 mail ESMTP`"), "{told}");
        // The TLS handshake begins after a positive answer, and fails with what is no TLS.
        let (result, _) = asked("HTTP/1.1 200 OK\r\n\r\nno TLS\r\n", "https://a.example/").await;
        let told = result.unwrap_err().to_string();
        assert!(told.contains("TLS handshake"), "{told}");
    }
}
