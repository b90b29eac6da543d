//! Servers that are just enough for a plugin to be content.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

/// Serves each connection by `answer` for as long as the test lives; returns the port.
fn serve(answer: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever hangs up early is a plugin that knows enough.
            let _ = stream.and_then(&answer);
        }
    });
    port
}

/// Says who it is, and agrees to whatever it is told.
pub(crate) fn greeting(greeting: &'static str) -> u16 {
    serve(move |mut stream| {
        stream.write_all(greeting.as_bytes())?;
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            let quits = line.to_ascii_uppercase().windows(4).any(|word| word == b"QUIT");
            stream.write_all(if quits { b"221 bye\r\n" } else { b"250 well\r\n" })?;
            if quits {
                break;
            }
            line.clear();
        }
        Ok(())
    })
}

/// Says the same to everybody, and hangs up.
pub(crate) fn answering(bytes: &'static [u8]) -> u16 {
    serve(move |mut stream| stream.write_all(bytes))
}

/// Sends back what it gets.
pub(crate) fn echoing() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    port
}
