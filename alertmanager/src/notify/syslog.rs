//! Writes alerts to a syslog server: a message for each.
//!
//! Source: RFC 5424 (the message), RFC 5425 (TLS), RFC 6587 (TCP), RFC 5426 (UDP).
//!
//! Invariant: a message is one frame, whatever an alert has in its labels. By TCP and TLS all were
//! taken when the server has closed its side after ours without a reset; UDP has no receipt, only a
//! port that nobody listens on is noticed.

mod config;
mod message;

pub use config::SyslogConfig;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::http::client::resolve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::notifier::{DeliveryError, Notification, Notifier, Receipt};
use super::stream::{Server, Socket, write};
use super::texts::{Renderer, Text};
use crate::template::{Escape, Templates};
use message::Message;

/// The most alerts of one notification; of those beyond only the number is told.
const MOST: usize = 1000;
/// The longest message, in bytes: by UDP what every server must take (RFC 5426, section 3.2).
const LONGEST: usize = 8192;
const LONGEST_DATAGRAM: usize = 2048;
/// How long the server may take to close its side.
const CLOSING: Duration = Duration::from_secs(10);
/// How long is waited for the news that nobody listens.
const NOBODY: Duration = Duration::from_millis(200);

/// By what messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// Writes to one server.
#[derive(Clone, Debug)]
pub struct SyslogNotifier {
    server: Server,
    transport: Transport,
    facility: u8,
    hostname: String,
    app_name: String,
    structured_data_id: String,
    templates: Arc<Templates>,
    text: Text,
}

#[async_trait]
impl Notifier for SyslogNotifier {
    fn integration(&self) -> &'static str {
        "syslog"
    }

    fn preview(&self, notification: &Notification) -> String {
        self.messages(notification).join("\n")
    }

    async fn notify(&self, notification: &Notification) -> Result<Receipt, DeliveryError> {
        let messages = self.messages(notification);
        match self.transport {
            Transport::Udp => self.send_datagrams(&messages).await?,
            Transport::Tcp => self.send_frames(self.server.open(false).await?, &messages).await?,
            Transport::Tls => self.send_frames(self.server.open(true).await?, &messages).await?,
        }
        Ok(Receipt::default())
    }
}

impl SyslogNotifier {
    fn messages(&self, notification: &Notification) -> Vec<String> {
        let most = match self.transport {
            Transport::Udp => LONGEST_DATAGRAM,
            _ => LONGEST,
        };
        let mut messages: Vec<String> = notification
            .alerts
            .iter()
            .take(MOST)
            .map(|alert| {
                // The text is a template over a notification, here over one of this alert alone.
                let alone = Notification { alerts: vec![alert.clone()], ..notification.clone() };
                let renderer = Renderer::new(&self.templates, &alone, Escape::Text);
                Message { from: self, alert, notification }
                    .write(&renderer.render(&self.text), most)
            })
            .collect();
        if let Some(first) = notification.alerts.first()
            && notification.alerts.len() > MOST
        {
            let text = format!("{} further alerts are not told", notification.alerts.len() - MOST);
            messages.push(Message { from: self, alert: first, notification }.write(&text, most));
        }
        messages
    }

    async fn send_datagrams(&self, messages: &[String]) -> Result<(), DeliveryError> {
        let failed = |error: std::io::Error| {
            DeliveryError::transient(format!("cannot send to {}: {error}", self.server.host))
        };
        let addresses = resolve(&self.server.host, self.server.port)
            .await
            .map_err(|error| DeliveryError::transient(error.to_string()))?;
        let Some(address) = addresses.first() else {
            return Err(DeliveryError::transient("the server has no address"));
        };
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await.map_err(failed)?;
        socket.connect(address).await.map_err(failed)?;
        for message in messages {
            socket.send(message.as_bytes()).await.map_err(failed)?;
        }
        match timeout(NOBODY, socket.recv(&mut [0])).await {
            Ok(Err(error)) => Err(failed(error)),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    async fn send_frames(
        &self,
        mut socket: Socket,
        messages: &[String],
    ) -> Result<(), DeliveryError> {
        let frames: String =
            messages.iter().map(|message| format!("{} {message}", message.len())).collect();
        write(&mut socket, frames.as_bytes()).await?;
        let broke = |error| {
            DeliveryError::transient(format!("the connection broke: {error}")).after_sending()
        };
        socket.shutdown().await.map_err(broke)?;
        // The server reads to the end and closes; a reset says that it did not.
        let rest = async {
            let mut piece = [0; 512];
            while socket.read(&mut piece).await? > 0 {}
            socket.take_error()?.map_or(Ok(()), Err)
        };
        match timeout(CLOSING, rest).await {
            Ok(Ok(())) => Ok(()),
            // Many servers close TLS without the last word that it has.
            Ok(Err(error)) if error_is_end(&error) => Ok(()),
            Ok(Err(error)) => Err(broke(error)),
            Err(_) => {
                let reason = format!("the server did not close within {CLOSING:?}");
                Err(DeliveryError::transient(reason).after_sending())
            }
        }
    }
}

fn error_is_end(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::UnexpectedEof
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::texts::tests::notification;
    use super::config::tests::build;
    use super::*;

    async fn send(transport: &str, port: u16) -> Result<(), String> {
        let yaml = format!("{{address: '127.0.0.1:{port}', transport: {transport}}}");
        let (notifier, faults) = build(&yaml);
        assert_eq!(faults, "");
        let sent = notifier.unwrap().notify(&notification()).await;
        sent.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_stream_is_frames_and_taken_when_the_server_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut text = String::new();
            socket.read_to_string(&mut text).await.unwrap();
            text
        };
        let (sent, text) = tokio::join!(send("tcp", port), server);
        assert_eq!(sent, Ok(()));
        let mut rest = text.as_str();
        let mut frames = 0;
        while let Some((length, after)) = rest.split_once(' ') {
            let (frame, after) = after.split_at(length.parse().unwrap());
            assert!(frame.starts_with('<') && frame.contains(" veilleur - "), "{frame}");
            rest = after;
            frames += 1;
        }
        assert_eq!((frames, rest), (2, ""));
    }

    #[tokio::test]
    async fn a_server_that_resets_or_is_not_there_has_taken_nothing() {
        // F14
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (socket, _) = listener.accept().await.unwrap();
            // To close without having read is a reset.
            socket.peek(&mut [0]).await.unwrap();
            drop(socket);
        };
        let (sent, ()) = tokio::join!(send("tcp", port), server);
        assert!(sent.as_ref().is_err_and(|error| error.contains("broke")), "{sent:?}");
        // One that closes before anything came shows an end, too.
        let server = async { drop(listener.accept().await.unwrap()) };
        let (sent, ()) = tokio::join!(send("tcp", port), server);
        assert!(sent.is_err(), "{sent:?}");
        drop(listener);
        for transport in ["tcp", "udp", "tls"] {
            let sent = send(transport, port).await;
            assert!(sent.as_ref().is_err_and(|e| e.contains("refused")), "{transport}: {sent:?}");
        }
    }

    #[tokio::test]
    async fn a_datagram_is_one_message() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(send("udp", port).await, Ok(()));
        for status in ["firing", "resolved"] {
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).await.unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(text.contains(&format!(" {status} [alert@")), "{text}");
        }
    }
}
