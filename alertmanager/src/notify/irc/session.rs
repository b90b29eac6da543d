//! One visit to a server of IRC, step by step.
//!
//! Invariant: every wait is for one of a few answers, pings of the server are answered meanwhile,
//! and an answer that refuses says whether it would refuse again.

use std::time::Duration;

use base::http::access::SecretSource;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::timeout;

use super::super::notifier::{DeliveryError, excerpt};
use super::super::stream::Lines;
use super::{IrcNotifier, Login};

/// How long NickServ is waited for: who is not known to it may still be let in.
const SERVICES: Duration = Duration::from_secs(3);
/// The most names that are tried where ours is taken.
const MOST_NICKS: u32 = 4;

/// A connection, and who we are on it.
pub(super) struct Session<'a> {
    lines: Lines,
    channel: &'a str,
    nick: String,
    /// Whether the server has taken us in.
    welcome: bool,
}

/// A line of the server in its parts.
#[derive(Debug, PartialEq)]
struct Message {
    from: String,
    command: String,
    params: Vec<String>,
}

impl Message {
    /// Tags and what is not understood are left out (RFC 2812, section 2.3).
    fn parse(line: &str) -> Self {
        let mut rest = line.trim_start();
        if rest.starts_with('@') {
            rest = rest.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
        }
        let mut from = "";
        if let Some(text) = rest.strip_prefix(':') {
            (from, rest) = text.split_once(' ').unwrap_or((text, ""));
        }
        let (words, trailing) = match rest.split_once(" :") {
            Some((words, trailing)) => (words, Some(trailing)),
            None => (rest, None),
        };
        let mut words = words.split_ascii_whitespace();
        let command = words.next().unwrap_or_default().to_ascii_uppercase();
        let params = words.chain(trailing).map(str::to_owned).collect();
        Self { from: from.to_owned(), command, params }
    }

    fn param(&self, n: usize) -> &str {
        self.params.get(n).map_or("", String::as_str)
    }

    /// What it says, for an error.
    fn said(&self) -> String {
        let text = self.params.last().map_or("", String::as_str);
        excerpt(&format!("{} {text}", self.command))
    }

    fn refused(&self, what: &str) -> DeliveryError {
        DeliveryError::permanent(format!("{what}: {}", self.said()))
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(lines: Lines, channel: &'a str) -> Self {
        Self { lines, channel, nick: String::new(), welcome: false }
    }

    /// The next message that is no ping; the server's last word is an error.
    async fn next(&mut self) -> Result<Message, DeliveryError> {
        loop {
            let message = Message::parse(&self.lines.next().await?);
            match message.command.as_str() {
                "PING" => self.lines.send(&format!("PONG :{}", message.param(0))).await?,
                "ERROR" if !self.welcome && refuses_us(message.param(0)) => {
                    return Err(message.refused("the server refused us"));
                }
                // Too many connections, a flood, a restart: each passes.
                "ERROR" => {
                    let reason = format!("the server ended it: {}", message.said());
                    return Err(DeliveryError::transient(reason));
                }
                _ => return Ok(message),
            }
        }
    }

    /// Says who we are, until the server welcomes us.
    pub(super) async fn register(&mut self, we: &IrcNotifier) -> Result<(), DeliveryError> {
        if let Login::Sasl { .. } = &we.login {
            self.lines.send("CAP REQ :sasl").await?;
        }
        if let Some(password) = &we.password {
            self.lines.send(&format!("PASS :{}", secret(password)?)).await?;
        }
        self.nick.clone_from(&we.nick);
        self.lines.send(&format!("NICK {}", self.nick)).await?;
        self.lines.send(&format!("USER {} 0 * :{}", we.username, we.realname)).await?;
        let mut tried = 1;
        loop {
            let message = self.next().await?;
            match message.command.as_str() {
                "001" => {
                    message.param(0).clone_into(&mut self.nick);
                    self.welcome = true;
                    break;
                }
                "433" | "436" | "437" if tried < MOST_NICKS => {
                    self.nick = format!("{}{tried}", we.nick);
                    tried += 1;
                    self.lines.send(&format!("NICK {}", self.nick)).await?;
                }
                "433" | "436" | "437" => {
                    let reason = format!("every nick is taken: {}", message.said());
                    return Err(DeliveryError::transient(reason));
                }
                "432" => return Err(message.refused("the nick was refused")),
                "464" | "465" | "463" => return Err(message.refused("the server refused us")),
                "CAP" => match message.param(1) {
                    "ACK" => self.lines.send("AUTHENTICATE PLAIN").await?,
                    "NAK" => return Err(message.refused("the server has no SASL")),
                    _ => {}
                },
                "421" if message.param(1).eq_ignore_ascii_case("CAP") => {
                    return Err(message.refused("the server has no SASL"));
                }
                "AUTHENTICATE" => self.authenticate(we).await?,
                "903" => self.lines.send("CAP END").await?,
                "902" | "904" | "905" | "906" | "908" => {
                    return Err(message.refused("the login was refused"));
                }
                _ => {}
            }
        }
        match &we.login {
            Login::NickServ(password) => self.identify(password).await,
            _ => Ok(()),
        }
    }

    /// SASL's PLAIN, in pieces of 400 as IRCv3 wants it.
    async fn authenticate(&mut self, we: &IrcNotifier) -> Result<(), DeliveryError> {
        let Login::Sasl { username, password } = &we.login else { return Ok(()) };
        let plain = format!("{username}\0{username}\0{}", secret(password)?);
        let encoded = STANDARD.encode(plain);
        let mut rest = encoded.as_str();
        while rest.len() >= 400 {
            let (piece, after) = rest.split_at(400);
            self.lines.send(&format!("AUTHENTICATE {piece}")).await?;
            rest = after;
        }
        let last = if rest.is_empty() { "+" } else { rest };
        self.lines.send(&format!("AUTHENTICATE {last}")).await
    }

    /// Tells NickServ our password, and waits for a while until the server knows that it is ours.
    async fn identify(&mut self, password: &SecretSource) -> Result<(), DeliveryError> {
        self.lines.send(&format!("PRIVMSG NickServ :IDENTIFY {}", secret(password)?)).await?;
        let known = async {
            loop {
                let message = self.next().await?;
                match message.command.as_str() {
                    "900" => return Ok(()),
                    "401" if message.param(1).eq_ignore_ascii_case("nickserv") => {
                        return Err(message.refused("there is no NickServ"));
                    }
                    "MODE" if message.param(1).contains('r') => return Ok(()),
                    _ => {}
                }
            }
        };
        // Not every service says so; whether we may join is what counts.
        timeout(SERVICES, known).await.unwrap_or(Ok(()))
    }

    /// Enters the channel.
    pub(super) async fn join(&mut self, key: Option<&SecretSource>) -> Result<(), DeliveryError> {
        let key = match key {
            Some(key) => format!(" {}", secret(key)?),
            None => String::new(),
        };
        self.lines.send(&format!("JOIN {}{key}", self.channel)).await?;
        loop {
            let message = self.next().await?;
            let ours = message.param(1).eq_ignore_ascii_case(self.channel);
            match message.command.as_str() {
                "366" if ours => return Ok(()),
                // Full, or split off for the moment.
                "471" | "437" | "263" if ours => {
                    let reason = format!("the channel cannot be joined now: {}", message.said());
                    return Err(DeliveryError::transient(reason));
                }
                // 470: we would be sent to another channel, where other people read.
                "403" | "405" | "461" | "470" | "473" | "474" | "475" | "476" | "477" | "479"
                | "480" | "489" | "520"
                    if ours =>
                {
                    return Err(message.refused("the channel cannot be joined"));
                }
                _ => {}
            }
        }
    }

    /// Says a line in the channel.
    pub(super) async fn say(&mut self, command: &str, text: &str) -> Result<(), DeliveryError> {
        self.lines.send(&format!("{command} {} :{text}", self.channel)).await
    }

    /// Waits until the server has worked off everything before `token`.
    pub(super) async fn confirm(&mut self, token: &str) -> Result<(), DeliveryError> {
        self.lines.send(&format!("PING :{token}")).await?;
        loop {
            let message = self.next().await?;
            let about = message.param(1).eq_ignore_ascii_case(self.channel);
            match message.command.as_str() {
                "PONG" if message.params.last().is_some_and(|said| said == token) => return Ok(()),
                "401" | "403" | "404" | "411" | "412" | "442" if about => {
                    return Err(message.refused("the channel did not take it"));
                }
                "KICK" if message.param(1).eq_ignore_ascii_case(&self.nick) => {
                    let reason = format!("we were kicked: {}", message.said());
                    return Err(DeliveryError::transient(reason));
                }
                _ => {}
            }
        }
    }

    /// Leaves; everything has arrived already.
    pub(super) async fn quit(mut self) {
        let _ = self.lines.send("QUIT").await;
        self.lines.close().await;
    }
}

/// Whether the last word of a server that has not taken us in is about who we are: there is no
/// number for it, only what servers write.
fn refuses_us(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    ["password", "denied", "banned", "not authori", "-line"].iter().any(|word| said.contains(word))
}

/// A secret as one word of a line.
fn secret(source: &SecretSource) -> Result<String, DeliveryError> {
    let secret = source.read().map_err(DeliveryError::transient)?;
    if secret.expose().contains(char::is_control) {
        return Err(DeliveryError::permanent("a password has a control character in it"));
    }
    Ok(secret.expose().to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::super::config::tests::build;
    use super::*;

    #[test]
    fn takes_messages_apart() {
        let check = |line: &str, from: &str, command: &str, params: &[&str]| {
            let got = Message::parse(line);
            let params = params.iter().map(|param| (*param).to_owned()).collect();
            let expected = Message { from: from.to_owned(), command: command.to_owned(), params };
            assert_eq!(got, expected, "{line}");
        };
        check(":irc.x 001 veilleur :Hello you", "irc.x", "001", &["veilleur", "Hello you"]);
        check("PING :a:b", "", "PING", &["a:b"]);
        check("@time=1 :n!u@h privmsg #a ::)", "n!u@h", "PRIVMSG", &["#a", ":)"]);
        check(":x", "x", "", &[]);
        check("", "", "", &[]);
    }

    /// Plays a server: after each line that begins with the left side it says the right side.
    async fn play(
        extra: &str,
        script: &[(&str, &str)],
    ) -> (Result<(), DeliveryError>, Vec<String>) {
        let notifier = build(&format!("{{server: h, channel: '#ops'{extra}}}")).0.unwrap();
        let (ours, theirs) = tokio::io::duplex(4096);
        let server = async move {
            let mut heard = Vec::new();
            let (reader, mut writer) = tokio::io::split(theirs);
            let mut lines = BufReader::new(reader).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = script.iter().find(|(begin, _)| line.starts_with(begin));
                heard.push(line);
                if let Some((_, answer)) = answer
                    && writer.write_all(answer.replace('|', "\r\n").as_bytes()).await.is_err()
                {
                    break;
                }
            }
            heard
        };
        let client = async {
            let mut session = Session::new(Lines::new(Box::new(ours)), &notifier.channel);
            session.register(&notifier).await?;
            session.join(notifier.channel_key.as_ref()).await?;
            session.say("PRIVMSG", "it burns").await?;
            session.confirm("t1").await?;
            session.quit().await;
            Ok(())
        };
        tokio::join!(client, server)
    }

    const WELCOME: (&str, &str) = ("USER", ":s 001 veilleur :hi|PING :x|");
    const JOINED: (&str, &str) = ("JOIN", ":s 353 veilleur = #OPS :a b|:s 366 veilleur #OPS :end|");
    const PONG: (&str, &str) = ("PING", ":s PONG s :t1|");

    #[tokio::test]
    async fn a_visit_says_it_and_waits_for_the_pong() {
        let (result, heard) = play("", &[WELCOME, JOINED, PONG]).await;
        assert_eq!(result, Ok(()));
        let expected = [
            "NICK veilleur",
            "USER veilleur 0 * :Veilleur",
            "JOIN #ops",
            "PONG :x",
            "PRIVMSG #ops :it burns",
            "PING :t1",
            "QUIT",
        ];
        let (mut heard, mut expected) = (heard, expected.to_vec());
        // The ping of the server may be answered before or after the join.
        heard.sort();
        expected.sort_unstable();
        assert_eq!(heard, expected);
    }

    #[tokio::test]
    async fn logs_in_by_sasl_and_takes_another_nick() {
        let script = [
            ("CAP REQ", ":s CAP * ACK :sasl|"),
            ("AUTHENTICATE PLAIN", "AUTHENTICATE +|"),
            ("AUTHENTICATE dQB1AHB3", ":s 903 * :ok|"),
            ("NICK veilleur1", ""),
            ("NICK", ":s 433 * veilleur :taken|"),
            ("CAP END", ":s 001 veilleur1 :hi|"),
            JOINED,
            PONG,
        ];
        let extra = ", sasl_username: u, sasl_password: pw, channel_key: k, password: p";
        let (result, heard) = play(extra, &script).await;
        assert_eq!(result, Ok(()), "{heard:?}");
        for line in ["PASS :p", "AUTHENTICATE dQB1AHB3", "NICK veilleur1", "JOIN #ops k"] {
            assert!(heard.iter().any(|heard| heard == line), "{line}: {heard:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_known_to_nickserv_may_still_be_let_in() {
        let (result, heard) = play(", nickserv_password: x", &[WELCOME, JOINED, PONG]).await;
        assert_eq!(result, Ok(()));
        assert!(heard.contains(&"PRIVMSG NickServ :IDENTIFY x".to_owned()), "{heard:?}");
    }

    #[tokio::test]
    async fn refusals_say_whether_they_would_pass() {
        // F12, F14
        const NONE: (&str, &str) = ("-", "");
        let check = async |script: [(&str, &str); 3], expected: &str| {
            let got = match play(", password: p", &script).await.0 {
                Ok(()) => "taken".to_owned(),
                Err(DeliveryError::Transient { reason, .. }) => format!("again: {reason}"),
                Err(DeliveryError::Permanent { reason }) => format!("never: {reason}"),
            };
            assert_eq!(got, expected);
        };
        let refused = |line| ("USER", line);
        check(
            [refused(":s 464 * :Bad password|"), NONE, NONE],
            "never: the server refused us: 464 Bad password",
        )
        .await;
        check(
            [refused("ERROR :Access denied: Bad password?|"), NONE, NONE],
            "never: the server refused us: ERROR Access denied: Bad password?",
        )
        .await;
        check(
            [refused("ERROR :Throttled|"), NONE, NONE],
            "again: the server ended it: ERROR Throttled",
        )
        .await;
        check(
            [WELCOME, ("JOIN", ":s 473 veilleur #ops :invite only|"), NONE],
            "never: the channel cannot be joined: 473 invite only",
        )
        .await;
        check(
            [WELCOME, ("JOIN", ":s 471 veilleur #ops :full|"), NONE],
            "again: the channel cannot be joined now: 471 full",
        )
        .await;
        check(
            [WELCOME, JOINED, ("PRIVMSG", ":s 404 veilleur #ops :moderated|")],
            "never: the channel did not take it: 404 moderated",
        )
        .await;
        check(
            [WELCOME, JOINED, ("PRIVMSG", "ERROR :Excess flood|")],
            "again: the server ended it: ERROR Excess flood",
        )
        .await;
    }
}
