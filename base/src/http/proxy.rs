//! The proxy through which a client reaches others.
//!
//! What is not encrypted is given to it with the whole address; for what is, it opens a connection
//! on which it sees nothing.
//!
//! Invariant: what identifies us to the proxy goes to the proxy alone, and is never printed.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::{Uri, header::HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::failure::{ClientError, Failure};
use super::origin::Origin;

/// How long the head of its answer may be, in bytes.
const MAX_HEAD: usize = 8 << 10;

/// A proxy, and what is dialled without it.
#[derive(Clone)]
pub struct Proxy {
    origin: Origin,
    authorization: Option<HeaderValue>,
    except: Vec<Except>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What is dialled without the proxy.
#[derive(Clone, Debug, PartialEq)]
enum Except {
    All,
    /// A name and every name below it, on every port or on one.
    Name(String, Option<u16>),
    /// Every address whose first bits are these.
    Net(IpAddr, u32),
}

impl Proxy {
    /// The proxy at `url`, `http://user:password@host:port` or a part of it, but not for what
    /// `except` names: names, addresses and networks with commas between.
    ///
    /// # Errors
    ///
    /// What is wrong with either, without the address, which may hold a password.
    pub fn new(url: &str, except: &str) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err("a proxy is spoken to by `http`".to_owned()),
            None => url,
        };
        let (identity, place) = match rest.rsplit_once('@') {
            Some((identity, place)) => (Some(identity), place),
            None => (None, rest),
        };
        let wrong = || "this is no address of a proxy".to_owned();
        let uri: Uri = format!("http://{place}").parse().map_err(|_| wrong())?;
        let origin = Origin::of(&uri).map_err(|_| wrong())?;
        let authorization = identity.map(|identity| {
            let mut value =
                HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(decoded(identity))))
                    .map_err(|_| wrong())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let except = except.split(',').map(str::trim).filter(|text| !text.is_empty());
        let except = except.map(Except::read).collect::<Result<_, _>>()?;
        Ok(Self { origin, authorization: authorization.transpose()?, except })
    }

    /// Whether what goes to `origin` goes through it.
    pub(super) fn serves(&self, origin: &Origin) -> bool {
        !self.except.iter().any(|except| except.has(origin))
    }

    /// Where it is.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Who we are to it.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Has it open a connection to `to`, on which it was asked over `socket`.
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] where it does not, [`Failure::Protocol`] where it is none.
    pub(super) async fn tunnel(
        &self,
        socket: &mut TcpStream,
        to: &Origin,
    ) -> Result<(), ClientError> {
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
        request.extend_from_slice(b"\r\n");
        let failed = |error| ClientError::from_io("the proxy", &error);
        socket.write_all(&request).await.map_err(failed)?;
        // Byte by byte, because what follows the head is not ours to read.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= MAX_HEAD {
                let message = "the proxy: its answer is too long";
                return Err(ClientError::new(Failure::Protocol, message));
            }
            head.push(socket.read_u8().await.map_err(failed)?);
        }
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let status = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
        match status {
            Some([b'2', ..]) => Ok(()),
            _ => {
                let line: String = String::from_utf8_lossy(line).chars().take(100).collect();
                let line = line.replace(char::is_control, " ");
                let message = format!("the proxy does not connect to `{target}`: `{line}`");
                Err(ClientError::new(Failure::Refused, message))
            }
        }
    }
}

/// The text with its percent codes as what they mean.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let code = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

impl Except {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no name, address or network");
        if text == "*" {
            return Ok(Self::All);
        }
        let whole = |net: IpAddr| if net.is_ipv4() { 32 } else { 128 };
        if let Some((net, bits)) = text.split_once('/') {
            let net: IpAddr = net.parse().map_err(|_| wrong())?;
            let bits: u32 = bits.parse().map_err(|_| wrong())?;
            return if bits <= whole(net) { Ok(Self::Net(net, bits)) } else { Err(wrong()) };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address, whole(address)));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
        let odd = |c: char| !c.is_ascii_alphanumeric() && !"-._".contains(c);
        if name.is_empty() || name.contains(odd) {
            Err(wrong())
        } else {
            Ok(Self::Name(name, port))
        }
    }

    fn has(&self, origin: &Origin) -> bool {
        match (self, origin.host.parse::<IpAddr>()) {
            (Self::All, _) => true,
            (Self::Net(net, bits), Ok(address)) => same_bits(*net, address, *bits),
            (Self::Name(name, port), _) => {
                let host = origin.host.to_ascii_lowercase();
                let below = host.strip_suffix(name.as_str());
                below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                    && port.is_none_or(|port| port == origin.port)
            }
            _ => false,
        }
    }
}

/// Whether two addresses of one kind begin with the same bits.
fn same_bits(a: IpAddr, b: IpAddr, bits: u32) -> bool {
    let differ = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    differ >= bits
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
            let got = Proxy::new(url, "");
            let got = got.as_ref().ok().map(|proxy| {
                let authorization = proxy.authorization.as_ref().map(|a| a.to_str().unwrap());
                (proxy.origin.host.as_str(), proxy.origin.port, authorization)
            });
            assert_eq!(got, expected, "{url}");
        };
        check("http://127.0.0.1:1025", Some(("127.0.0.1", 1025, None)));
        check("foo", Some(("foo", 80, None)));
        check("http://u:p%40ss@proxy:3128/", Some(("proxy", 3128, Some("Basic dTpwQHNz"))));
        check("https://proxy", None);
        check("socks5://proxy", None);
        check("http://", None);
        check("", None);
    }

    #[test]
    fn knows_what_goes_without_it() {
        let check = |except: &str, url: &str, expected: bool| {
            let proxy = Proxy::new("proxy:3128", except).unwrap();
            assert_eq!(proxy.serves(&origin(url)), expected, "{except} {url}");
        };
        check("", "https://a.example/", true);
        check("", "http://127.0.0.1:9/", true);
        check("localhost", "http://localhost:9/", false);
        check("x.org, example", "https://a.example/", false);
        check(".example", "https://notexample/", true);
        check("a.example:444", "https://a.example/", true);
        check("a.example:443", "https://a.example/", false);
        check("10.0.0.0/8", "http://10.2.3.4/", false);
        check("10.0.0.0/8", "http://11.2.3.4/", true);
        check("10.0.0.1", "http://10.0.0.1/", false);
        check("2001:db8::/32", "http://[2001:db8::7]/", false);
        check("0.0.0.0/0", "http://10.0.0.1/", false);
        check("*", "https://a.example/", false);
        assert!(Proxy::new("proxy", "10.0.0.0/33").is_err());
        assert!(Proxy::new("proxy", "a b").is_err());
    }

    /// A proxy that answers every head with `answer`, and what it was asked.
    async fn asked(answer: &'static str, url: &str) -> (Result<(), ClientError>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Proxy::new(&format!("http://u:p@{address}"), "").unwrap();
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
        // The TLS handshake begins after a positive answer, and fails with what is no TLS.
        let (result, _) = asked("HTTP/1.1 200 OK\r\n\r\nno TLS\r\n", "https://a.example/").await;
        let told = result.unwrap_err().to_string();
        assert!(told.contains("TLS handshake"), "{told}");
    }
}
