//! A question to one server and its answer, by UDP or TCP.
//!
//! Invariant: an answer that does not fit a datagram is asked for again by TCP, never judged cut.

use base::clock::Stopwatch;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::UdpSocket;

use super::message::{Message, Question};
use crate::Reason;
use crate::session::{Endpoint, Session, datagrams, unanswered};
use crate::wire::{Failed, Wire};

/// The largest datagram there is.
const MAX_DATAGRAM: usize = 65_535;

/// By what a server is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Asks one server.
pub(super) async fn ask(
    transport: Transport,
    question: &Question,
    server: &Endpoint,
    session: &mut Session,
) -> Result<Message, Failed> {
    let waiting = format!("`{server}` has not answered");
    if transport == Transport::Udp {
        let watch = Stopwatch::start();
        // From now on only that server is heard.
        let socket = datagrams(session, server).await?;
        session.note("connect", watch.elapsed());
        let answer = by_datagram(&socket, question);
        let message = session.phase("request", waiting.as_str(), answer).await?;
        if !message.truncated {
            return Ok(message);
        }
    }
    let mut wire = session.connect(server).await?;
    session.phase("request", waiting, by_stream(&mut wire, question)).await
}

/// Asks over a socket that hears only the server. The answer may be cut.
pub(crate) async fn by_datagram(
    socket: &UdpSocket,
    question: &Question,
) -> Result<Message, Failed> {
    let id = id()?;
    socket.send(&question.encode(id)).await.map_err(|error| unanswered(&error))?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|error| unanswered(&error))?;
        let datagram = &buffer[..length];
        // An answer to somebody else's question, or an old one.
        if datagram.get(..2).is_some_and(|other| other != id.to_be_bytes()) {
            continue;
        }
        return Message::decode(datagram, question)
            .ok_or_else(|| Failed::protocol("DNS", datagram));
    }
}

/// Asks over a connection.
pub(crate) async fn by_stream(wire: &mut Wire, question: &Question) -> Result<Message, Failed> {
    let id = id()?;
    let query = question.encode(id);
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
    wire.send(&[&length.to_be_bytes(), query.as_slice()].concat()).await?;
    let length = wire.exact(2).await?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let head = wire.peek(2.min(length)).await?;
    if head != id.to_be_bytes() {
        let said = [&(length as u16).to_be_bytes(), wire.unread()].concat();
        return Err(Failed::protocol("DNS", &said));
    }
    let answer = wire.exact(length).await?;
    Message::decode(&answer, question).ok_or_else(|| Failed::protocol("DNS", &answer))
}

/// A number by which the answer is known that nobody can guess.
fn id() -> Result<u16, Failed> {
    let mut id = [0; 2];
    let random = SystemRandom::new().fill(&mut id);
    random.map_err(|_| Failed::new(Reason::Internal, "the system has no random numbers"))?;
    Ok(u16::from_be_bytes(id))
}
