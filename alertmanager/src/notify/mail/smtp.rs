//! The conversation with a mail server: greeting, TLS, login, the mail.
//!
//! Source: RFC 5321, RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 2195 (CRAM-MD5).
//!
//! Invariant: a mail was taken only when the answer behind its last line was positive (F14).

use std::time::Duration;

use base::http::access::SecretSource;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::Ehlo;
use lettre::transport::smtp::response::Response;
use md5::{Digest, Md5};
use tokio::time::timeout;

use super::super::notifier::DeliveryError;
use super::super::texts::one_line;
use super::{EmailNotifier, TlsMode};

/// The longest that connecting may take.
const CONNECTING: Duration = Duration::from_secs(15);
/// The longest that is waited for a good-bye.
const PARTING: Duration = Duration::from_secs(2);

/// Who we are to the server.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) username: String,
    /// For PLAIN and LOGIN.
    pub(super) password: Option<SecretSource>,
    /// For CRAM-MD5.
    pub(super) secret: Option<SecretSource>,
    /// As whom we act by PLAIN; empty where it is the user.
    pub(super) identity: String,
}

/// Hands over a mail.
///
/// # Errors
///
/// The server did not take it: for good where it says so by a 5xx.
pub(super) async fn send(we: &EmailNotifier, message: &Message) -> Result<(), DeliveryError> {
    let implicit = match &we.tls {
        TlsMode::Implicit(parameters) => Some(parameters.clone()),
        _ => None,
    };
    let server = (we.host.as_str(), we.port);
    let mut connection =
        AsyncSmtpConnection::connect_tokio1(server, Some(CONNECTING), &we.hello, implicit, None)
            .await
            .map_err(|error| failed(&error))?;
    let done = converse(we, &mut connection, message).await;
    // What came of it is known; how they part from us changes nothing.
    let _ = timeout(PARTING, connection.abort()).await;
    done
}

async fn converse(
    we: &EmailNotifier,
    connection: &mut AsyncSmtpConnection,
    message: &Message,
) -> Result<(), DeliveryError> {
    let begin = match &we.tls {
        TlsMode::Required(parameters) => Some(parameters),
        TlsMode::IfOffered(parameters) => Some(parameters).filter(|_| connection.can_starttls()),
        TlsMode::Implicit(_) => None,
    };
    if let Some(parameters) = begin {
        let begun = connection.starttls(parameters.clone(), &we.hello).await;
        begun.map_err(|error| failed(&error))?;
    }
    if let Some(login) = &we.login {
        let hello = connection.command(Ehlo::new(we.hello.clone())).await;
        let hello = hello.map_err(|error| failed(&error))?;
        let offered = offered(&hello);
        // A server that asks nobody who they are takes mail without.
        if !offered.is_empty() {
            login.log_in(connection, &offered).await?;
        }
    }
    let sent = connection.send(message.envelope(), &message.formatted()).await;
    sent.map(drop).map_err(|error| not_taken(&error))
}

/// The ways to log in that the greeting names.
fn offered(hello: &Response) -> Vec<String> {
    let ways = hello.message().filter_map(|line| {
        let line = line.to_ascii_uppercase();
        line.strip_prefix("AUTH ").or(line.strip_prefix("AUTH=")).map(str::to_owned)
    });
    ways.flat_map(|ways| ways.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

impl Login {
    /// Logs in by the best way for which there is a secret.
    async fn log_in(
        &self,
        connection: &mut AsyncSmtpConnection,
        offered: &[String],
    ) -> Result<(), DeliveryError> {
        let has = |way: &str| offered.iter().any(|offered| offered == way);
        let read = |source: &SecretSource| source.read().map_err(DeliveryError::transient);
        let mut say = async |line: String| {
            connection.command(line + "\r\n").await.map_err(|error| failed(&error))
        };
        let user = &self.username;
        match (&self.secret, &self.password) {
            (Some(secret), _) if has("CRAM-MD5") => {
                let secret = read(secret)?;
                let challenge = say("AUTH CRAM-MD5".to_owned()).await?;
                let challenge = STANDARD.decode(challenge.first_word().unwrap_or_default());
                let challenge = challenge.map_err(|_| {
                    DeliveryError::transient("the server's challenge is not base 64")
                })?;
                let digest = keyed_md5(secret.expose().as_bytes(), &challenge);
                say(STANDARD.encode(format!("{user} {digest}"))).await?;
            }
            (_, Some(password)) if has("PLAIN") => {
                let password = read(password)?;
                let all = format!("{}\0{user}\0{}", self.identity, password.expose());
                say(format!("AUTH PLAIN {}", STANDARD.encode(all))).await?;
            }
            (_, Some(password)) if has("LOGIN") => {
                let password = read(password)?;
                say("AUTH LOGIN".to_owned()).await?;
                say(STANDARD.encode(user)).await?;
                say(STANDARD.encode(password.expose())).await?;
            }
            _ => {
                let reason = format!(
                    "the server takes a login by {} only; we can PLAIN and LOGIN with \
                     `auth_password`, CRAM-MD5 with `auth_secret`",
                    one_line(&offered.join(", "), 100)
                );
                return Err(DeliveryError::permanent(reason));
            }
        }
        Ok(())
    }
}

/// HMAC with MD5, in hexadecimal (RFC 2104).
fn keyed_md5(key: &[u8], text: &[u8]) -> String {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..16].copy_from_slice(&Md5::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Md5::new().chain_update(padded(0x36)).chain_update(text).finalize();
    let outer = Md5::new().chain_update(padded(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of the answers that are for good, servers say by some that a mail is too large, or looks bad.
fn not_taken(error: &Error) -> DeliveryError {
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    match code.as_str() {
        "550" | "552" | "554" => DeliveryError::bad_message(reason(error)),
        // The server said nothing of a mail that it may have.
        "" => failed(error).after_sending(),
        _ => failed(error),
    }
}

fn failed(error: &Error) -> DeliveryError {
    let reason = reason(error);
    match error.is_permanent() {
        true => DeliveryError::permanent(reason),
        false => DeliveryError::transient(reason),
    }
}

/// The error with its causes.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    one_line(&text, 300)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::super::super::notifier::Notifier;
    use super::super::super::texts::tests::notification;
    use super::super::tests::build;
    use super::*;

    #[test]
    fn keyed_digests_are_those_of_the_examples() {
        // RFC 2104 and RFC 2195.
        assert_eq!(keyed_md5(&[0x0b; 16], b"Hi There"), "9294727a3638bb1c13f48ef8158bfc9d");
        assert_eq!(
            keyed_md5(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"
        );
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(keyed_md5(b"tanstaaftanstaaf", challenge), "b913a602c7eda7a495b4e6e7334d3890");
    }

    /// What came of a mail, and what the server heard before the mail itself: it says the right side
    /// to what begins with the left one, to all else `250 ok`.
    async fn mail(config: &str, script: &[(&str, &str)]) -> (String, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let server = async {
            let (socket, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = socket.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer.write_all(b"220 mail ESMTP\r\n").await.unwrap();
            let mut in_mail = false;
            while let Ok(Some(line)) = lines.next_line().await {
                if in_mail && line != "." {
                    continue;
                }
                let usual = if line == "DATA" { "354 go" } else { "250 ok" };
                let said = script.iter().find(|(begin, _)| line.starts_with(begin));
                let said = said.map_or(usual, |(_, said)| said);
                in_mail = said.starts_with("354");
                heard.lock().unwrap().push(line);
                if said.is_empty()
                    || writer.write_all(format!("{said}\r\n").as_bytes()).await.is_err()
                {
                    return;
                }
            }
        };
        let yaml = format!(
            "{{to: a@x.org, from: v@x.org, smarthost: '127.0.0.1:{port}', require_tls: false{config}}}"
        );
        let (notifier, faults) = build(&yaml);
        assert_eq!(faults, "");
        let notifier = notifier.unwrap();
        let message = notification();
        let (sent, ()) = tokio::join!(notifier.notify(&message), server);
        let sent = match sent {
            Ok(_) => "taken".to_owned(),
            Err(DeliveryError::Transient { reason, .. }) => format!("again: {reason}"),
            Err(DeliveryError::Permanent { reason }) => format!("never: {reason}"),
        };
        let heard = heard.lock().unwrap().clone();
        (sent, heard)
    }

    #[tokio::test]
    async fn every_way_to_log_in_is_known() {
        let check = async |config: &str, script: &[(&str, &str)], expected: &[&str]| {
            let (sent, heard) = mail(config, script).await;
            assert_eq!(sent, "taken", "{heard:?}");
            let logins: Vec<_> = heard[2..heard.len() - 5].to_vec();
            assert_eq!(logins, expected, "{heard:?}");
        };
        let user = ", auth_username: u, auth_password: p";
        let ways = |ways| [("EHLO", ways), ("AUTH PLAIN", "235 ok")];
        check(user, &ways("250-mail\r\n250 AUTH LOGIN PLAIN"), &["AUTH PLAIN AHUAcA=="]).await;
        let as_other = ", auth_username: u, auth_password: p, auth_identity: i";
        check(as_other, &ways("250 AUTH PLAIN"), &["AUTH PLAIN aQB1AHA="]).await;
        let script = [
            ("EHLO", "250-mail\r\n250 AUTH LOGIN"),
            ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
            ("dQ==", "334 UGFzc3dvcmQ6"),
            ("cA==", "235 ok"),
        ];
        check(user, &script, &["AUTH LOGIN", "dQ==", "cA=="]).await;
        let script = [
            ("EHLO", "250-mail\r\n250 AUTH PLAIN CRAM-MD5"),
            ("AUTH CRAM-MD5", "334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"),
            ("dGlt", "235 ok"),
        ];
        let secret = ", auth_username: tim, auth_secret: tanstaaftanstaaf, auth_password: p";
        let proof = STANDARD.encode("tim b913a602c7eda7a495b4e6e7334d3890");
        check(secret, &script, &["AUTH CRAM-MD5", &proof]).await;
        // Nobody is asked who they are.
        check(user, &[("EHLO", "250 mail")], &[]).await;
    }

    #[tokio::test]
    async fn a_mail_is_taken_by_the_last_answer_alone() {
        // F14: 4xx and 5xx at every stage, and a connection that ends.
        let user = ", auth_username: u, auth_password: hunter2";
        let auth = ("EHLO", "250-mail\r\n250 AUTH PLAIN");
        let stages = ["AUTH", "MAIL", "RCPT", "DATA", "."];
        for stage in stages {
            for (said, expected) in
                [("451 later", "again: "), ("550 no", "never: "), ("", "again: ")]
            {
                let script = [auth, (stage, said), ("AUTH", "235 ok")];
                let (sent, _) = mail(user, &script).await;
                assert!(sent.starts_with(expected), "{stage} {said}: {sent}");
                assert!(!sent.contains("hunter2") && !sent.contains("AHUAaHVudGVyMg"), "{sent}");
            }
        }
        let (sent, _) = mail(user, &[("EHLO", "250 AUTH GSSAPI")]).await;
        assert!(sent.starts_with("never: the server takes a login by GSSAPI only"), "{sent}");
        let (sent, _) = mail("", &[("EHLO", "554 no")]).await;
        assert!(sent.starts_with("never: "), "{sent}");
    }
}
