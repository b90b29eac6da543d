//! A question to one server and its answer, by UDP or TCP.
//!
//! Invariant: an answer that does not fit a datagram is asked for again by TCP, never judged cut.

use base::clock::Stopwatch;
use ring::rand::{SecureRandom, SystemRandom};

use super::message::{Message, Question};
use crate::Reason;
use crate::session::{Endpoint, Session, datagrams, unanswered};
use crate::wire::Failed;

/// The largest datagram there is.
const MAX_DATAGRAM: usize = 65_535;

/// By what a server is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
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
    let mut id = [0; 2];
    let random = SystemRandom::new().fill(&mut id);
    random.map_err(|_| Failed::new(Reason::Internal, "the system has no random numbers"))?;
    let id = u16::from_be_bytes(id);
    if transport == Transport::Udp {
        let message = by_udp(id, question, server, session).await?;
        if !message.truncated {
            return Ok(message);
        }
    }
    by_tcp(id, question, server, session).await
}

async fn by_udp(
    id: u16,
    question: &Question,
    server: &Endpoint,
    session: &mut Session,
) -> Result<Message, Failed> {
    let watch = Stopwatch::start();
    // From now on only that server is heard.
    let socket = datagrams(session, server).await?;
    session.note("connect", watch.elapsed());
    let waiting = format!("`{server}` has not answered");
    let work = async {
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
    };
    session.phase("request", waiting, work).await
}

async fn by_tcp(
    id: u16,
    question: &Question,
    server: &Endpoint,
    session: &mut Session,
) -> Result<Message, Failed> {
    let mut wire = session.connect(server).await?;
    let waiting = format!("`{server}` has not answered");
    let work = async {
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
    };
    session.phase("request", waiting, work).await
}
