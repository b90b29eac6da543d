//! A name server that knows a few names, over UDP and TCP on one port of 127.0.0.1.
//!
//! Invariant: what it answers depends on the question alone; it ends with the test's process.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};

/// What is said to a question.
enum Said {
    /// A code, and the records of the answer as type, class and data.
    Records(u8, Vec<(u16, u16, Vec<u8>)>),
    /// As much as fits, and that there is more.
    Cut,
    /// Nothing.
    Nothing,
}

/// Starts one; returns its port.
pub fn start() -> u16 {
    // A port that is free for one may be taken for the other.
    let (datagrams, connections) = std::iter::repeat_with(|| {
        let connections = TcpListener::bind("127.0.0.1:0").ok()?;
        let datagrams = UdpSocket::bind(connections.local_addr().ok()?).ok()?;
        Some((datagrams, connections))
    })
    .take(20)
    .flatten()
    .next()
    .unwrap();
    let port = connections.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = datagrams.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length], false) {
                let _ = datagrams.send_to(&answer, peer);
            }
        }
    });
    std::thread::spawn(move || {
        for mut socket in connections.incoming().map_while(Result::ok) {
            let mut length = [0; 2];
            if socket.read_exact(&mut length).is_err() {
                continue;
            }
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            if socket.read_exact(&mut query).is_err() {
                continue;
            }
            if let Some(answer) = answer(&query, true) {
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                let _ = socket.write_all(&[&length[..], &answer].concat());
            }
        }
    });
    port
}

fn answer(query: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
    let question = query.get(12..)?;
    let end = question.iter().position(|byte| *byte == 0)? + 5;
    let question = question.get(..end)?;
    let (code, records, cut) = match said(question, by_tcp) {
        Said::Records(code, records) => (code, records, false),
        Said::Cut => (0, vec![(1, 1, vec![192, 0, 2, 1])], true),
        Said::Nothing => return None,
    };
    let count = u8::try_from(records.len()).ok()?;
    // An answer to a question that asked for recursion, which is available.
    let flags = [0x81 | if cut { 2 } else { 0 }, 0x80 | code];
    let mut out = [&query[..2], &flags, &[0, 1, 0, count, 0, 0, 0, 0], question].concat();
    for (kind, class, data) in records {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&class.to_be_bytes());
        out.extend_from_slice(&300_u32.to_be_bytes());
        out.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}

fn said(question: &[u8], by_tcp: bool) -> Said {
    let name = |name: &[u8]| question.starts_with(name);
    let address = |last| (1, 1, vec![192, 0, 2, last]);
    if name(b"\x07example\x04test\0") {
        Said::Records(0, vec![address(1)])
    } else if name(b"\x03two\x04test\0") {
        Said::Records(0, vec![address(1), address(2)])
    } else if name(b"\x05empty\x04test\0") {
        Said::Records(0, Vec::new())
    } else if name(b"\x06broken\x04test\0") {
        Said::Records(2, Vec::new())
    } else if name(b"\x04zone\x04test\0") {
        let numbers = [2026112101_u32, 3600, 600, 86400, 300].map(u32::to_be_bytes).concat();
        let names = b"\x02ns\xc0\x0c\x04root\xc0\x0c".to_vec();
        Said::Records(0, vec![(6, 1, [names, numbers].concat())])
    } else if name(b"\x07version\x04bind\0") {
        Said::Records(0, vec![(16, 3, b"\x03one".to_vec())])
    } else if name(b"\x03cut\x04test\0") {
        if by_tcp { Said::Records(0, vec![address(1); 3]) } else { Said::Cut }
    } else if name(b"\x06silent\x04test\0") {
        Said::Nothing
    } else {
        Said::Records(3, Vec::new())
    }
}
