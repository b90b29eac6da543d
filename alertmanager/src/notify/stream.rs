//! A connection to a server that speaks no HTTP, plain or by TLS; line by line where it does so.
//!
//! Invariant: a line of the server that is longer than [`LONGEST`] ends the conversation, and no
//! line of ours has a line end within it.

use std::io;

use base::http::client::{Client, ClientError, dial, resolve};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::notifier::DeliveryError;

/// The longest line that a server may send, in bytes.
const LONGEST: usize = 16 << 10;

/// What can be read and written.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// What went wrong behind the end: a server that closes first and then refuses what arrives
    /// shows an end all the same.
    fn take_error(&self) -> io::Result<Option<io::Error>>;
}

impl Duplex for TcpStream {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        TcpStream::take_error(self)
    }
}

impl Duplex for TlsStream<TcpStream> {
    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.get_ref().0.take_error()
    }
}

/// An open connection.
pub(super) type Socket = Box<dyn Duplex>;

/// A server, and whom we trust to be it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) client: Client,
}

impl Server {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// It cannot be reached now.
    pub(super) async fn dial(&self) -> Result<TcpStream, DeliveryError> {
        let addresses = resolve(&self.host, self.port).await.map_err(failed)?;
        let socket = dial(&addresses).await.map_err(failed)?;
        // What is written is small and wants to go out at once; a socket that cannot do so works.
        let _ = socket.set_nodelay(true);
        Ok(socket)
    }

    /// Makes the TLS handshake with whom a certificate for `name` vouches for.
    ///
    /// # Errors
    ///
    /// The certificate is not good, or the server speaks no TLS.
    pub(super) async fn encrypt(
        &self,
        socket: TcpStream,
        name: &str,
    ) -> Result<Socket, DeliveryError> {
        Ok(Box::new(self.client.handshake(socket, name).await.map_err(failed)?))
    }

    /// A connection, with TLS where `tls` says so.
    ///
    /// # Errors
    ///
    /// As of the two steps.
    pub(super) async fn open(&self, tls: bool) -> Result<Socket, DeliveryError> {
        let socket = self.dial().await?;
        match tls {
            true => self.encrypt(socket, &self.host).await,
            false => Ok(Box::new(socket)),
        }
    }
}

fn failed(error: ClientError) -> DeliveryError {
    DeliveryError::transient(error.to_string())
}

/// Writes all of `bytes`, and out with them.
///
/// # Errors
///
/// The connection broke.
pub(super) async fn write(socket: &mut Socket, bytes: &[u8]) -> Result<(), DeliveryError> {
    let written = async {
        socket.write_all(bytes).await?;
        socket.flush().await
    };
    written.await.map_err(|error| DeliveryError::transient(format!("cannot write: {error}")))
}

/// Reads what has come, at least a byte.
///
/// # Errors
///
/// The connection broke, or the server closed it.
pub(super) async fn read(socket: &mut Socket, into: &mut Vec<u8>) -> Result<(), DeliveryError> {
    let mut piece = [0; 4096];
    match socket.read(&mut piece).await {
        Ok(0) => Err(DeliveryError::transient("the server closed the connection")),
        Ok(length) => {
            into.extend_from_slice(&piece[..length]);
            Ok(())
        }
        Err(error) => Err(DeliveryError::transient(format!("the connection broke: {error}"))),
    }
}

/// A connection that is read line by line.
pub(super) struct Lines {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, buffer: Vec::new() }
    }

    /// The next line, without its end; what is not UTF-8 in it is replaced.
    ///
    /// # Errors
    ///
    /// There is none any more, or it is too long.
    pub(super) async fn next(&mut self) -> Result<String, DeliveryError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
            }
            if self.buffer.len() > LONGEST {
                let reason = format!("the server sent a line of over {LONGEST} bytes");
                return Err(DeliveryError::transient(reason));
            }
            read(&mut self.socket, &mut self.buffer).await?;
        }
    }

    /// Sends a line; what would end it is a space.
    ///
    /// # Errors
    ///
    /// The connection broke.
    pub(super) async fn send(&mut self, line: &str) -> Result<(), DeliveryError> {
        let line = line.replace(['\r', '\n', '\0'], " ");
        write(&mut self.socket, format!("{line}\r\n").as_bytes()).await
    }

    /// Says that nothing more comes; that the server hears it changes nothing any more.
    pub(super) async fn close(mut self) {
        let _ = self.socket.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Duplex for tokio::io::DuplexStream {
        fn take_error(&self) -> io::Result<Option<io::Error>> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn lines_are_bounded_and_cannot_be_broken() {
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        let mut lines = Lines::new(Box::new(ours));
        theirs.write_all(b"one\r\ntw\xffo\n").await.unwrap();
        assert_eq!(lines.next().await.unwrap(), "one");
        assert_eq!(lines.next().await.unwrap(), "tw\u{fffd}o");
        lines.send("PRIVMSG #a :x\r\nQUIT").await.unwrap();
        let mut said = [0; 21];
        theirs.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"PRIVMSG #a :x  QUIT\r\n");
        theirs.write_all(&vec![b'x'; LONGEST + 4096]).await.unwrap();
        let error = lines.next().await.unwrap_err().to_string();
        assert!(error.contains("a line of over"), "{error}");
    }
}
