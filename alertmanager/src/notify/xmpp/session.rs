//! One visit to a server of XMPP, step by step.
//!
//! Invariant: every step waits for its own answer; what a server refuses with the type `wait` is
//! tried again, everything else that it refuses is not (RFC 6120, section 8.3.2).

use base::secret::Secret;
use tokio::io::AsyncWriteExt;

use super::super::notifier::{DeliveryError, excerpt};
use super::super::stream::{Socket, read, write};
use super::XmppNotifier;
use super::login::{Mechanism, Scram, plain};
use super::opening::{Plain, complete, header, not_xmpp};
use super::xml::{Element, Event, Reader, escaped};

/// The most names that are tried in a room where ours is taken.
const MOST_NICKS: u32 = 4;

/// A connection on which a stream is open.
pub(super) struct Session {
    socket: Socket,
    domain: String,
    reader: Reader,
    bytes: Vec<u8>,
    features: Element,
}

impl Session {
    /// Connects, and opens an encrypted stream.
    pub(super) async fn connect(we: &XmppNotifier) -> Result<Self, DeliveryError> {
        let socket = we.server.dial().await?;
        if we.direct_tls {
            // The certificate is for the domain, whatever host it is served by.
            let socket = we.server.encrypt(socket, &we.domain).await?;
            return Self::open(socket, &we.domain).await;
        }
        let mut socket = socket;
        {
            // In the clear only as far as this: the server agrees to TLS.
            let (mut reader, mut writer) = socket.split();
            let mut plain = Plain { reader: &mut reader, writer: &mut writer };
            plain.start_tls(&we.domain).await?;
        }
        Self::open(we.server.encrypt(socket, &we.domain).await?, &we.domain).await
    }

    /// Opens a stream on `socket`, and hears what the server can do.
    pub(super) async fn open(socket: Socket, domain: &str) -> Result<Self, DeliveryError> {
        let mut session = Self {
            socket,
            domain: domain.to_owned(),
            reader: Reader::default(),
            bytes: Vec::new(),
            features: Element::default(),
        };
        session.begin().await?;
        Ok(session)
    }

    async fn begin(&mut self) -> Result<(), DeliveryError> {
        self.reader = Reader::default();
        self.bytes.clear();
        let header = header(&self.domain);
        self.send(&header).await?;
        self.features = self.wait(|element| element.name == "features").await?;
        Ok(())
    }

    async fn send(&mut self, text: &str) -> Result<(), DeliveryError> {
        write(&mut self.socket, text.as_bytes()).await
    }

    /// The next element of the stream.
    async fn next(&mut self) -> Result<Element, DeliveryError> {
        loop {
            let more = complete(&mut self.bytes)?;
            match self.reader.next(&more).map_err(not_xmpp)? {
                Some(Event::Element(element)) if element.name == "error" => {
                    let reason = format!("the server ended the stream: {}", condition(&element));
                    return Err(DeliveryError::transient(reason));
                }
                Some(Event::Element(element)) => return Ok(element),
                Some(Event::Opened) => {}
                Some(Event::Closed) => {
                    return Err(DeliveryError::transient("the server closed the stream"));
                }
                None => read(&mut self.socket, &mut self.bytes).await?,
            }
        }
    }

    /// The next element that `is` it; others are none of our business.
    async fn wait(&mut self, is: impl Fn(&Element) -> bool) -> Result<Element, DeliveryError> {
        loop {
            let element = self.next().await?;
            if is(&element) {
                return Ok(element);
            }
        }
    }

    /// Says who we are, by the best way that the server offers.
    pub(super) async fn log_in(
        &mut self,
        user: &str,
        password: &Secret,
        nonce: &str,
    ) -> Result<(), DeliveryError> {
        let offered = self.features.child("mechanisms").cloned().unwrap_or_default();
        let offered = offered.children.iter().map(|mechanism| mechanism.text.as_str());
        let Some(mechanism) = Mechanism::best(offered) else {
            let reason = "the server offers neither SCRAM nor PLAIN to log in";
            return Err(DeliveryError::permanent(reason));
        };
        let mut scram = Scram::new(mechanism, user, nonce);
        let first = match mechanism {
            Mechanism::Plain => plain(user, password),
            _ => scram.first(),
        };
        let name = mechanism.name();
        self.send(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{name}'>{first}</auth>"
        ))
        .await?;
        loop {
            let answer = self
                .wait(|e| ["challenge", "success", "failure"].contains(&e.name.as_str()))
                .await?;
            match answer.name.as_str() {
                "challenge" if mechanism != Mechanism::Plain => {
                    let proof = scram.proof(&answer.text, password).map_err(refused)?;
                    self.send(&format!(
                        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{proof}</response>"
                    ))
                    .await?;
                }
                "success" => {
                    if mechanism != Mechanism::Plain {
                        scram.verify(&answer.text).map_err(refused)?;
                    }
                    return self.begin().await;
                }
                _ => {
                    let why = condition(&answer);
                    let reason = format!("the login was refused: {why}");
                    return Err(match why.as_str() {
                        "temporary-auth-failure" => DeliveryError::transient(reason),
                        _ => DeliveryError::permanent(reason),
                    });
                }
            }
        }
    }

    /// Gets a name for this connection.
    pub(super) async fn bind(&mut self, resource: &str) -> Result<(), DeliveryError> {
        let resource = escaped(resource);
        self.send(&format!(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        ))
        .await?;
        let answer = self.wait(|e| e.name == "iq" && e.attribute("id") == "bind").await?;
        refusal(&answer, "the session was refused")?;
        // Servers of the older kind want a session to be begun (RFC 3921).
        let session = self.features.child("session");
        if session.is_none_or(|session| session.child("optional").is_some()) {
            return Ok(());
        }
        self.send(
            "<iq type='set' id='session'>\
             <session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
        )
        .await?;
        let answer = self.wait(|e| e.name == "iq" && e.attribute("id") == "session").await?;
        refusal(&answer, "the session was refused")
    }

    /// Enters a room; returns the name that we have there.
    pub(super) async fn join(
        &mut self,
        room: &str,
        nick: &str,
        password: Option<&Secret>,
    ) -> Result<String, DeliveryError> {
        let password = password.map_or(String::new(), |password| {
            format!("<password>{}</password>", escaped(password.expose()))
        });
        // To join a room that is not there would make it; so we ask before.
        self.send(&format!(
            "<iq type='get' id='info' to='{}'>\
             <query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
            escaped(room)
        ))
        .await?;
        let info = self.wait(|e| e.name == "iq" && e.attribute("id") == "info").await?;
        if info.child("error").is_some_and(|error| condition(error) == "item-not-found") {
            return Err(DeliveryError::permanent(format!("there is no room `{room}`")));
        }
        for tried in 0..MOST_NICKS {
            let nick = if tried == 0 { nick.to_owned() } else { format!("{nick}{tried}") };
            let ours = format!("{room}/{nick}");
            self.send(&format!(
                "<presence to='{}'><x xmlns='http://jabber.org/protocol/muc'>\
                 <history maxstanzas='0'/>{password}</x></presence>",
                escaped(&ours)
            ))
            .await?;
            let answer = self
                .wait(|e| {
                    let about_us = has_status(e, "110") || e.attribute("from") == ours;
                    e.name == "presence" && (about_us || e.attribute("type") == "error")
                })
                .await?;
            if has_status(&answer, "201") {
                // All the same we have made it: nobody is there, and nobody may come in yet.
                self.destroy(room).await?;
                return Err(DeliveryError::permanent(format!("there is no room `{room}`")));
            }
            let why = answer.child("error").map(condition);
            if why.as_deref() == Some("conflict") {
                continue;
            }
            refusal(&answer, "the room cannot be joined")?;
            return Ok(nick);
        }
        Err(DeliveryError::transient("every nick is taken in the room"))
    }

    /// Takes back a room that we have made.
    async fn destroy(&mut self, room: &str) -> Result<(), DeliveryError> {
        self.send(&format!(
            "<iq type='set' id='destroy' to='{}'>\
             <query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query></iq>",
            escaped(room)
        ))
        .await?;
        self.wait(|e| e.name == "iq" && e.attribute("id") == "destroy").await.map(drop)
    }

    /// Sends `message`, and waits until the server has worked it off.
    pub(super) async fn send_to_person(
        &mut self,
        message: &str,
        id: &str,
    ) -> Result<(), DeliveryError> {
        let domain = escaped(&self.domain);
        self.send(&format!(
            "{message}<iq type='get' id='ping' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
        ))
        .await?;
        let answer = self
            .wait(|e| {
                let pong = e.name == "iq" && e.attribute("id") == "ping";
                pong || is_error_of(e, id)
            })
            .await
            .map_err(DeliveryError::after_sending)?;
        // That a server knows no ping is an answer, too.
        if answer.name == "iq" { Ok(()) } else { refusal(&answer, "the message was refused") }
    }

    /// Sends `message`, and waits until the room shows it.
    pub(super) async fn send_to_room(
        &mut self,
        message: &str,
        id: &str,
        room: &str,
        nick: &str,
    ) -> Result<(), DeliveryError> {
        self.send(message).await?;
        let ours = format!("{room}/{nick}");
        let answer = self
            .wait(|e| {
                let echo = e.attribute("from") == ours && e.attribute("id") == id;
                e.name == "message" && (echo || is_error_of(e, id))
            })
            .await
            .map_err(DeliveryError::after_sending)?;
        refusal(&answer, "the room refused the message")
    }

    /// Ends the stream; everything has arrived already.
    pub(super) async fn close(mut self) {
        let _ = self.send("</stream:stream>").await;
        let _ = self.socket.shutdown().await;
    }
}

fn refused(why: String) -> DeliveryError {
    DeliveryError::permanent(format!("the login failed: {why}"))
}

/// The name of what is wrong, which is the first element of an error.
fn condition(error: &Element) -> String {
    let first = error.children.iter().find(|child| child.name != "text");
    excerpt(first.map_or("no reason was given", |child| child.name.as_str()))
}

fn has_status(presence: &Element, code: &str) -> bool {
    let status = |e: &Element| e.name == "status" && e.attribute("code") == code;
    presence.children.iter().filter(|e| e.name == "x").any(|x| x.children.iter().any(status))
}

fn is_error_of(element: &Element, id: &str) -> bool {
    element.name == "message"
        && element.attribute("type") == "error"
        && element.attribute("id") == id
}

/// What `answer` refuses, if it does.
fn refusal(answer: &Element, what: &str) -> Result<(), DeliveryError> {
    if answer.attribute("type") != "error" {
        return Ok(());
    }
    let error = answer.child("error").cloned().unwrap_or_default();
    let reason = format!("{what}: {}", condition(&error));
    Err(match error.attribute("type") {
        "wait" => DeliveryError::transient(reason),
        _ => DeliveryError::permanent(reason),
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const FEATURES: &str = "<stream:stream><stream:features><mechanisms>\
        <mechanism>PLAIN</mechanism></mechanisms></stream:features>";

    /// Plays a server: says the right side once it has heard the left one.
    async fn play<T>(
        script: &[(&str, &str)],
        visit: impl AsyncFnOnce(Session) -> Result<T, DeliveryError>,
    ) -> (Result<T, DeliveryError>, String) {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let server = async move {
            let (mut all, mut from) = (String::new(), 0);
            for (heard, said) in script {
                while !all[from..].contains(heard) {
                    let mut piece = [0; 1024];
                    match theirs.read(&mut piece).await {
                        Ok(length @ 1..) => {
                            all.push_str(std::str::from_utf8(&piece[..length]).unwrap())
                        }
                        _ => return all,
                    }
                }
                from = all.len();
                if theirs.write_all(said.as_bytes()).await.is_err() {
                    return all;
                }
            }
            let _ = theirs.read_to_string(&mut all).await;
            all
        };
        let client = async {
            let session = Session::open(Box::new(ours), "x.org").await?;
            visit(session).await
        };
        tokio::join!(client, server)
    }

    const INFO: (&str, &str) = ("disco#info", "<iq id='info' type='result'/>");

    fn told<T: std::fmt::Debug>(result: Result<T, DeliveryError>) -> String {
        match result {
            Ok(value) => format!("{value:?}"),
            Err(DeliveryError::Transient { reason, .. }) => format!("again: {reason}"),
            Err(DeliveryError::Permanent { reason }) => format!("never: {reason}"),
        }
    }

    #[tokio::test]
    async fn logs_in_binds_and_waits_for_the_pong() {
        let script = [
            ("<stream:stream to='x.org'", FEATURES),
            ("AHYAcA==", "<success/>"),
            ("<stream:stream", "<stream:stream><stream:features><bind/></stream:features>"),
            ("<resource>r</resource>", "<iq id='bind' type='result'/>"),
            ("<ping", "<message from='a@x.org'/><iq id='ping' type='result'/>"),
        ];
        let visit = async |mut session: Session| {
            session.log_in("v", &Secret::new("p"), "n").await?;
            session.bind("r").await?;
            session.send_to_person("<message id='m1'/>", "m1").await?;
            session.close().await;
            Ok(())
        };
        let (result, heard) = play(&script, visit).await;
        assert_eq!(told(result), "()");
        assert!(heard.ends_with("</stream:stream>"), "{heard}");
    }

    #[tokio::test]
    async fn refusals_say_whether_they_would_pass() {
        // F14
        let check = async |said: &str, expected: &str| {
            let script = [("<stream:stream", FEATURES), ("<message", said)];
            let send = async |mut s: Session| s.send_to_person("<message id='m1'/>", "m1").await;
            assert_eq!(told(play(&script, send).await.0), expected, "{said}");
        };
        let error = |kind: &str| {
            format!(
                "<message type='error' id='m1'><error type='{kind}'><service-unavailable/></error></message>"
            )
        };
        check(&error("cancel"), "never: the message was refused: service-unavailable").await;
        check(&error("wait"), "again: the message was refused: service-unavailable").await;
        check("<iq id='ping' type='error'/>", "()").await;
        check(
            "<stream:error><system-shutdown/></stream:error>",
            "again: the server ended the stream: system-shutdown",
        )
        .await;
        check("</stream:stream>", "again: the server closed the stream").await;
        check("<html><body></p>", "again: the answer is not that of XMPP: `body` ends as `p`")
            .await;
        let check = async |said: &str, expected: &str| {
            let script = [("<stream:stream", FEATURES), ("<auth", said)];
            let send = async |mut s: Session| s.log_in("v", &Secret::new("hunter2"), "n").await;
            assert_eq!(told(play(&script, send).await.0), expected, "{said}");
        };
        check(
            "<failure><not-authorized/></failure>",
            "never: the login was refused: not-authorized",
        )
        .await;
        check(
            "<failure><temporary-auth-failure/></failure>",
            "again: the login was refused: temporary-auth-failure",
        )
        .await;
    }

    #[tokio::test]
    async fn a_room_is_joined_by_a_free_name_and_shows_what_it_took() {
        let ours = "<presence from='r@c/v1'><x><status code='110'/></x></presence>";
        let script = [
            ("<stream:stream", FEATURES),
            INFO,
            (
                "to='r@c/v'",
                "<presence from='r@c/v' type='error'><error type='cancel'><conflict/></error></presence>",
            ),
            ("to='r@c/v1'", ours),
            (
                "<message",
                "<message from='r@c/other' id='m1'/><message from='r@c/v1' id='m1' type='groupchat'/>",
            ),
        ];
        let visit = async |mut session: Session| {
            let nick = session.join("r@c", "v", Some(&Secret::new("<p>"))).await?;
            session.send_to_room("<message id='m1'/>", "m1", "r@c", &nick).await?;
            Ok(nick)
        };
        let (result, heard) = play(&script, visit).await;
        assert_eq!(told(result), "\"v1\"");
        assert!(heard.contains("<password>&lt;p&gt;</password>"), "{heard}");

        let check = async |said: &str, expected: &str| {
            let script = [("<stream:stream", FEATURES), INFO, ("<presence", said)];
            let visit = async |mut s: Session| s.join("r@c", "v", None).await;
            assert_eq!(told(play(&script, visit).await.0), expected, "{said}");
        };
        check(
            "<presence type='error'><error type='auth'><forbidden/></error></presence>",
            "never: the room cannot be joined: forbidden",
        )
        .await;
    }

    #[tokio::test]
    async fn a_room_that_is_not_there_is_not_made() {
        let made = "<presence from='r@c/v'><x><status code='201'/></x></presence>";
        let script = [
            ("<stream:stream", FEATURES),
            INFO,
            ("<presence", made),
            ("<destroy/>", "<iq id='destroy' type='result'/>"),
        ];
        let visit = async |mut session: Session| session.join("r@c", "v", None).await;
        let (result, _) = play(&script, visit).await;
        assert_eq!(told(result), "never: there is no room `r@c`");
        let error = "<error type='cancel'><item-not-found/></error>";
        let none = format!("<iq id='info' type='error'>{error}</iq>");
        let script = [("<stream:stream", FEATURES), ("disco#info", none.as_str())];
        let visit = async |mut session: Session| session.join("r@c", "v", None).await;
        let (result, heard) = play(&script, visit).await;
        assert_eq!(told(result), "never: there is no room `r@c`");
        assert!(!heard.contains("<presence"), "{heard}");
    }
}
