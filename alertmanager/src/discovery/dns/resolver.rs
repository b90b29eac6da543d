//! Asking DNS servers for records (RFC 1035, 2782), by UDP and, where the answer is cut, by TCP.
//!
//! Invariant: no answer makes this loop, panic or keep more than the answer has; only an answer to
//! the question that was asked counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often all servers are asked.
const ATTEMPTS: usize = 2;
/// Names that point at each other, at most, within one name.
const MAX_POINTERS: usize = 64;

/// Who is asked, and what is tried with a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Resolver {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    pub(super) ndots: usize,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    Server { target: String, port: u16 },
    Mail(String),
    NameServer(String),
}

/// What a server says of a name.
enum Said {
    Records(Vec<Record>),
    NoSuchName,
    /// The answer does not fit; by TCP it does.
    Cut,
}

impl Resolver {
    /// Whom the file at `path` names.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let resolver = Self::parse(&text);
        match resolver.servers.is_empty() {
            true => Err(format!("{} names no server", path.display())),
            false => Ok(resolver),
        }
    }

    fn parse(text: &str) -> Self {
        let mut resolver = Self { ndots: 1, ..Self::default() };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let mut given = words.filter_map(|word| word.strip_prefix("ndots:"));
                    if let Some(ndots) = given.find_map(|number| number.parse().ok()) {
                        resolver.ndots = ndots;
                    }
                }
                _ => {}
            }
        }
        resolver
    }

    /// What is asked for `name`, in this order: a name with few dots is one of the search list first.
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let mut names: Vec<_> =
            self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        let at = if name.matches('.').count() >= self.ndots { 0 } else { names.len() };
        names.insert(at, name.to_owned());
        names
    }

    /// The records of `name`; none where it does not exist.
    ///
    /// # Errors
    ///
    /// Some server could not be asked, and no other knew the name.
    pub(super) async fn look_up(&self, name: &str, kind: u16) -> Result<Vec<Record>, String> {
        let mut fault = None;
        for candidate in self.candidates(name) {
            match self.ask_all(&candidate, kind).await {
                Ok(Said::Records(records)) => return Ok(records),
                Ok(_) => {}
                Err(error) => fault = Some(error),
            }
        }
        fault.map_or_else(|| Ok(Vec::new()), Err)
    }

    async fn ask_all(&self, name: &str, kind: u16) -> Result<Said, String> {
        let mut fault = "there is no server to ask".to_owned();
        for server in self.servers.iter().cycle().take(self.servers.len() * ATTEMPTS) {
            match timeout(PATIENCE, ask(*server, name, kind)).await {
                Ok(Ok(said)) => return Ok(said),
                Ok(Err(error)) => fault = format!("{server}: {error}"),
                Err(_) => fault = format!("{server} did not answer within {PATIENCE:?}"),
            }
        }
        Err(fault)
    }
}

async fn ask(server: SocketAddr, name: &str, kind: u16) -> Result<Said, String> {
    let mut id = [0; 2];
    SystemRandom::new().fill(&mut id).map_err(|_| "no random number is to be had")?;
    let question = question(id, name, kind)?;
    let failed = |error: std::io::Error| error.to_string();
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    socket.send(&question).await.map_err(failed)?;
    let mut answer = vec![0; 4096];
    let said = loop {
        let length = socket.recv(&mut answer).await.map_err(failed)?;
        // What does not answer the question may be anybody's; the right one can still come.
        if is_answer(&answer[..length], &question) {
            break read(&answer[..length], &question, kind)?;
        }
    };
    if !matches!(said, Said::Cut) {
        return Ok(said);
    }
    let mut stream = TcpStream::connect(server).await.map_err(failed)?;
    let length = u16::try_from(question.len()).map_err(|error| error.to_string())?;
    stream.write_all(&[&length.to_be_bytes()[..], &question].concat()).await.map_err(failed)?;
    let length = stream.read_u16().await.map_err(failed)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    if !is_answer(&answer, &question) {
        return Err("the answer is to another question".to_owned());
    }
    match read(&answer, &question, kind)? {
        Said::Cut => Err("the answer is cut also by TCP".to_owned()),
        said => Ok(said),
    }
}

/// A message that asks for records of `name`.
fn question(id: [u8; 2], name: &str, kind: u16) -> Result<Vec<u8>, String> {
    let mut message = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        message.push(length.ok_or_else(|| format!("`{name}` is no name"))?);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    if message.len() > 12 + 255 {
        return Err(format!("`{name}` is no name"));
    }
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    Ok(message)
}

/// Whether `answer` has the number and the question of `question`; letters may have another case.
fn is_answer(answer: &[u8], question: &[u8]) -> bool {
    answer.len() >= question.len()
        && answer[..2] == question[..2]
        && answer[2] & 0x80 != 0
        && answer[12..question.len()].eq_ignore_ascii_case(&question[12..])
}

fn read(answer: &[u8], question: &[u8], kind: u16) -> Result<Said, String> {
    if answer[2] & 2 != 0 {
        return Ok(Said::Cut);
    }
    match answer[3] & 15 {
        0 => {}
        3 => return Ok(Said::NoSuchName),
        code => return Err(format!("the server answers with code {code}")),
    }
    let broken = || "the answer is broken".to_owned();
    let records = records(answer, question.len(), kind).ok_or_else(broken)?;
    Ok(Said::Records(records))
}

/// The records of `kind` in the answers of a message, which begin at `at`.
fn records(message: &[u8], mut at: usize, kind: u16) -> Option<Vec<Record>> {
    let short = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let mut found = Vec::new();
    for _ in 0..short(6)? {
        let (_, after) = name(message, at)?;
        let (this, length) = (short(after)?, usize::from(short(after + 8)?));
        let data = after + 10;
        at = data + length;
        let bytes = message.get(data..at)?;
        if this != kind {
            // Such as the alias that leads to the records.
            continue;
        }
        found.push(match kind {
            1 => Record::Address(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            28 => Record::Address(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
            2 => Record::NameServer(name(message, data)?.0),
            15 => Record::Mail(name(message, data + 2)?.0),
            _ => Record::Server { port: short(data + 4)?, target: name(message, data + 6)?.0 },
        });
    }
    Some(found)
}

/// The name at `at`, with a dot at its end, and where it ends.
fn name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut text, mut end, mut pointers) = (String::new(), None, 0);
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => {
                let text = if text.is_empty() { ".".to_owned() } else { text };
                return Some((text, end.unwrap_or(at + 1)));
            }
            1..64 => {
                text.push_str(&String::from_utf8_lossy(message.get(at + 1..at + 1 + length)?));
                text.push('.');
                at += 1 + length;
            }
            192.. => {
                pointers += 1;
                if pointers > MAX_POINTERS {
                    return None;
                }
                end.get_or_insert(at + 2);
                at = (length & 63) << 8 | usize::from(*message.get(at + 1)?);
            }
            _ => return None,
        }
        if text.len() > 255 * 4 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whom_the_system_asks_and_what_it_tries() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver ::1\nsearch a.example b.example\n\
                    options edns0 ndots:2\n";
        let resolver = Resolver::parse(text);
        let servers: Vec<_> = resolver.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.53:53", "[::1]:53"]);
        let check = |name: &str, expected: &[&str]| assert_eq!(resolver.candidates(name), expected);
        check("db.", &["db."]);
        check("db", &["db.a.example", "db.b.example", "db"]);
        check("a.b.c", &["a.b.c", "a.b.c.a.example", "a.b.c.b.example"]);
    }

    #[test]
    fn broken_answers_are_refused_and_never_loop() {
        let asked = question([1, 2], "a.example", 33).unwrap();
        let mut answer = asked.clone();
        (answer[2], answer[7]) = (0x80, 1);
        let check = |tail: &[u8]| {
            let whole = [&answer[..], tail].concat();
            assert!(is_answer(&whole, &asked));
            assert!(read(&whole, &asked, 33).is_err(), "{tail:?}");
        };
        check(&[]);
        // A name that points at itself.
        let here = u8::try_from(answer.len()).unwrap();
        check(&[192, here, 0, 33, 0, 1, 0, 0, 0, 1, 0, 0]);
        check(&[0, 0, 33, 0, 1, 0, 0, 0, 1, 0, 200, 1]);
        check(&[100]);
        let mut other = asked.clone();
        other[0] = 9;
        assert!(!is_answer(&other, &asked));
        assert!(!is_answer(&[], &asked));
        assert!(question([0, 0], "a..b", 1).is_err());
        assert!(question([0, 0], &"a".repeat(64), 1).is_err());
    }
}
