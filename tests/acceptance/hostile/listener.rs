//! Clients that hold connections and clients that say two things at once: F52, X35.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tests::wait_until;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::stage::{BOTH, Kind, Running};

/// What a client sends that then does nothing more.
const HALF_OPEN: [&str; 5] = [
    "",
    "G",
    "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: ",
    "POST /ping/nobody HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000\r\n\r\nhalf",
    // The answer is never read.
    "GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
];

async fn connect(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{from}:0").parse().unwrap())?;
    socket.connect(to).await
}

/// Holds `count` connections of `from`, and asks meanwhile how the program is, which is to hold `most`
/// descriptors.
async fn besiege(running: &Running, from: &str, count: usize, most: usize) {
    let to = SocketAddr::from(([127, 0, 0, 1], running.port));
    let mut held = Vec::new();
    for n in 0..count {
        let mut socket = connect(from, to).await.unwrap();
        // One that had to make room already does not hear it.
        let _ = socket.write_all(HALF_OPEN[n % HALF_OPEN.len()].as_bytes()).await;
        held.push(socket);
        if n % 250 == 249 {
            tokio::task::block_in_place(|| {
                assert!(running.is_alive(), "{from} {n}");
                // Nobody has closed his; those who were asked to leave need a moment.
                wait_until("most have left", || running.descriptors() <= most);
            });
        }
    }
}

fn siege(kind: Kind) {
    let running = Running::new(kind, kind.idle());
    assert!(running.is_alive());
    let before = running.descriptors();
    let most = before + 520;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        besiege(&running, "127.0.0.2", 5000, most).await;
        // Not even those of the same address are kept out.
        besiege(&running, "127.0.0.1", 1000, most).await;
        for n in 10..20 {
            besiege(&running, &format!("127.0.0.{n}"), 100, most).await;
        }
    });
    drop(runtime);
    wait_until("descriptors return", || running.descriptors() <= before + 2);
}

#[test]
fn connections_5000_half_open_keep_nobody_out_of_the_agent_f52() {
    siege(Kind::Agent);
}

#[test]
fn connections_5000_half_open_keep_nobody_out_of_the_evaluator_f52() {
    siege(Kind::Evaluator);
}

/// What is hidden behind a request, for whoever counts its bytes otherwise.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";

/// Heads in which a proxy could see another request than we do.
const AMBIGUOUS: &[(&str, &str)] = &[
    (
        "length and encoding",
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
    (
        "encoding and length",
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\nG",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\n",
    ),
    (
        "the same twice",
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n",
    ),
    ("a list of lengths", "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0, 0\r\n\r\n"),
    ("a signed length", "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: +0\r\n\r\n"),
    ("a negative length", "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: -1\r\n\r\n"),
    ("no length", "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length:\r\n\r\n"),
    (
        "xchunked",
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked last",
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: x, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "two encodings",
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n",
    ),
    (
        "encoding in 1.0",
        "POST / HTTP/1.0\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a folded line", "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: a\r\n b\r\n\r\n"),
    (
        "a folded encoding",
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding:\r\n chunked\r\n\r\n",
    ),
    ("line feeds alone", "GET / HTTP/1.1\nhost: 127.0.0.1\n\n"),
    ("one line feed alone", "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: y\nz: a\r\n\r\n"),
    ("a carriage return alone", "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: y\rz: a\r\n\r\n"),
    (
        "a space before the colon",
        "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length : 0\r\n\r\n",
    ),
    ("NUL", "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: \0\r\n\r\n"),
    (
        "a chunk of no size",
        "POST /ping/x HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
    ),
];

#[test]
fn a_request_whose_end_is_ambiguous_is_the_last_x35() {
    for kind in BOTH {
        let running = Running::new(kind, kind.idle());
        for (name, head) in AMBIGUOUS {
            let answers = running.talk(format!("{head}{HIDDEN}").as_bytes());
            let is_one = answers.matches("HTTP/1.").count() == 1;
            assert!(is_one && !answers.contains("[still open]"), "{kind:?} {name}: {answers}");
            // A broken chunk is seen only when the body is read, which for nobody it is not.
            let refused = answers.split(' ').nth(1).is_some_and(|code| code.starts_with('4'));
            assert!(refused, "{kind:?} {name}: {answers}");
            if *name != "a chunk of no size" {
                assert!(answers.contains(" 400 "), "{kind:?} {name}: {answers}");
            }
        }
        // What is clear is answered, one after the other.
        let path = kind.alive();
        let clear = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        let answers = running.talk(format!("{clear}{clear}{clear}quit\n").as_bytes());
        assert_eq!(answers.matches(" 200 OK").count(), 3, "{kind:?}: {answers}");
    }
}

#[test]
fn a_head_without_bounds_is_refused_x35() {
    for kind in BOTH {
        let running = Running::new(kind, kind.idle());
        let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
        for (name, head) in [
            ("10 MB in one", format!("x: {}\r\n", "y".repeat(10 << 20))),
            ("10,000 of them", many),
            ("a name of 1 MB", format!("{}: y\r\n", "x".repeat(1 << 20))),
        ] {
            let begun = Instant::now();
            let answer =
                running.talk(format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}\r\n").as_bytes());
            // Where we close before all is said, the answer can be lost on its way.
            let refused = answer.is_empty() || answer.contains(" 431 ") || answer.contains(" 400 ");
            assert!(refused, "{kind:?} {name}: {answer}");
            assert!(begun.elapsed() < Duration::from_secs(3), "{kind:?} {name}");
        }
        assert!(running.is_alive());
        assert!(running.value("process_resident_memory_bytes") < 100e6, "{kind:?}");
    }
}
