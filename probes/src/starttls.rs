//! What is said before TLS begins on a connection that was opened without it, by protocol; and the
//! replies of the protocols of mail and files.
//!
//! Invariant: nothing but what asks for encryption is said before it is there.

use crate::Reason;
use crate::text::shown_line;
use crate::wire::{Failed, Wire};

/// How many lines one reply may have.
const MAX_LINES: usize = 100;

/// A protocol that begins without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Starttls {
    /// RFC 3207.
    Smtp,
    /// RFC 2595.
    Imap,
    /// RFC 2595.
    Pop3,
    /// RFC 4217.
    Ftp,
    /// The SSLRequest of PostgreSQL.
    Postgres,
}

impl Starttls {
    /// Says all that has to be said until the handshake can begin. Returns the greeting.
    pub(crate) async fn begin(self, wire: &mut Wire) -> Result<String, Failed> {
        match self {
            Self::Smtp => {
                let greeting = greet_smtp(wire).await?;
                let extensions = ehlo(wire).await?;
                smtp_starttls(wire, &extensions).await?;
                Ok(greeting)
            }
            Self::Imap => {
                let greeting = greet_imap(wire).await?;
                imap_starttls(wire).await?;
                Ok(greeting)
            }
            Self::Pop3 => {
                let greeting = greet_pop3(wire).await?;
                pop3_starttls(wire).await?;
                Ok(greeting)
            }
            Self::Ftp => {
                let greeting = expect_reply(wire, "FTP", &[220]).await?;
                wire.send(b"AUTH TLS\r\n").await?;
                let (code, lines) = reply(wire, "FTP").await?;
                if code != 234 {
                    return Err(missing(&lines));
                }
                Ok(first(&greeting))
            }
            Self::Postgres => {
                wire.send(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
                match wire.exact(1).await?[0] {
                    b'S' => Ok(String::new()),
                    b'N' => Err(missing(&[])),
                    // Its error answer, of a server that is too old or too busy.
                    b'E' => {
                        let summary = "the server answers the request for TLS with an error";
                        Err(Failed::new(Reason::ErrorAnswer, summary))
                    }
                    other => {
                        let said = [&[other], wire.unread()].concat();
                        Err(Failed::protocol("PostgreSQL", &said))
                    }
                }
            }
        }
    }
}

fn missing(said: &[String]) -> Failed {
    let said = said.first().map(|line| format!(": `{line}`")).unwrap_or_default();
    Failed::new(Reason::StarttlsMissing, format!("the server does not offer TLS{said}"))
}

fn first(lines: &[String]) -> String {
    lines.first().cloned().unwrap_or_default()
}

/// A reply of SMTP or FTP: its code, and its lines without it.
pub(crate) async fn reply(wire: &mut Wire, protocol: &str) -> Result<(u16, Vec<String>), Failed> {
    let mut lines = Vec::new();
    let mut code = None;
    loop {
        let line = wire.line().await?;
        let digits = line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let Some(number) = number else {
            // FTP lets further lines of a reply begin with anything.
            if code.is_some() && protocol == "FTP" && lines.len() < MAX_LINES {
                lines.push(shown_line(&line, 200));
                continue;
            }
            return Err(Failed::protocol(protocol, &line));
        };
        let last = match line.get(3) {
            None | Some(b' ') => true,
            Some(b'-') => false,
            Some(_) => return Err(Failed::protocol(protocol, &line)),
        };
        if *code.get_or_insert(number) != number {
            return Err(Failed::protocol(protocol, &line));
        }
        lines.push(shown_line(line.get(4..).unwrap_or_default(), 200));
        if last {
            return Ok((number, lines));
        }
        if lines.len() >= MAX_LINES {
            let summary = format!("an answer has over {MAX_LINES} lines");
            return Err(Failed::new(Reason::AnswerTooLarge, summary));
        }
    }
}

/// A reply that has one of these codes.
pub(crate) async fn expect_reply(
    wire: &mut Wire,
    protocol: &str,
    codes: &[u16],
) -> Result<Vec<String>, Failed> {
    let (code, lines) = reply(wire, protocol).await?;
    if codes.contains(&code) {
        return Ok(lines);
    }
    let reason = match code {
        421 => Reason::NotServing,
        530 | 535 => Reason::AuthenticationFailed,
        _ => Reason::ErrorAnswer,
    };
    Err(Failed::new(reason, format!("the server answers {code} {}", first(&lines))))
}

/// Waits for the greeting of a mail server.
pub(crate) async fn greet_smtp(wire: &mut Wire) -> Result<String, Failed> {
    Ok(first(&expect_reply(wire, "SMTP", &[220]).await?))
}

/// Says who we are; the server says what it can.
pub(crate) async fn ehlo(wire: &mut Wire) -> Result<Vec<String>, Failed> {
    wire.send(b"EHLO veilleur.invalid\r\n").await?;
    expect_reply(wire, "SMTP", &[250]).await
}

/// Asks for TLS, of a server that says that it can.
pub(crate) async fn smtp_starttls(wire: &mut Wire, extensions: &[String]) -> Result<(), Failed> {
    if !extensions.iter().any(|line| line.eq_ignore_ascii_case("STARTTLS")) {
        return Err(missing(&[]));
    }
    wire.send(b"STARTTLS\r\n").await?;
    let (code, lines) = reply(wire, "SMTP").await?;
    if code == 220 { Ok(()) } else { Err(missing(&lines)) }
}

/// Waits for the greeting of an IMAP server.
pub(crate) async fn greet_imap(wire: &mut Wire) -> Result<String, Failed> {
    let line = wire.line().await?;
    if line.starts_with(b"* BYE") {
        let summary = format!("the server says `{}`", shown_line(&line[2..], 200));
        return Err(Failed::new(Reason::NotServing, summary));
    }
    let greeting = line.strip_prefix(b"* OK").or_else(|| line.strip_prefix(b"* PREAUTH"));
    let greeting = greeting.ok_or_else(|| Failed::protocol("IMAP", &line))?;
    Ok(shown_line(greeting, 200))
}

/// Sends a command of IMAP; returns whether it was done, and what the server says of it.
pub(crate) async fn imap(wire: &mut Wire, command: &str) -> Result<(bool, String), Failed> {
    wire.send(format!("v1 {command}\r\n").as_bytes()).await?;
    for _ in 0..MAX_LINES {
        let line = wire.line().await?;
        if let Some(said) = line.strip_prefix(b"v1 ") {
            let done = said.get(..2).is_some_and(|word| word.eq_ignore_ascii_case(b"OK"));
            return Ok((done, shown_line(said, 200)));
        }
        if !line.starts_with(b"* ") && !line.starts_with(b"+ ") {
            return Err(Failed::protocol("IMAP", &line));
        }
    }
    Err(Failed::new(Reason::AnswerTooLarge, format!("an answer has over {MAX_LINES} lines")))
}

/// Asks for TLS.
pub(crate) async fn imap_starttls(wire: &mut Wire) -> Result<(), Failed> {
    let (done, said) = imap(wire, "STARTTLS").await?;
    if done { Ok(()) } else { Err(missing(&[said])) }
}

/// A reply of POP3; returns whether it was done, and what the server says of it.
pub(crate) async fn pop3(wire: &mut Wire) -> Result<(bool, String), Failed> {
    let line = wire.line().await?;
    if let Some(said) = line.strip_prefix(b"+OK") {
        return Ok((true, shown_line(said, 200)));
    }
    let said = line.strip_prefix(b"-ERR").ok_or_else(|| Failed::protocol("POP3", &line))?;
    Ok((false, shown_line(said, 200)))
}

/// Waits for the greeting of a POP3 server.
pub(crate) async fn greet_pop3(wire: &mut Wire) -> Result<String, Failed> {
    match pop3(wire).await? {
        (true, greeting) => Ok(greeting),
        (false, said) => Err(Failed::new(Reason::NotServing, format!("the server says `{said}`"))),
    }
}

/// Asks for TLS.
pub(crate) async fn pop3_starttls(wire: &mut Wire) -> Result<(), Failed> {
    wire.send(b"STLS\r\n").await?;
    let (done, said) = pop3(wire).await?;
    if done { Ok(()) } else { Err(missing(&[said])) }
}
