//! A mail server that answers as the test tells it, also badly.
//!
//! Invariant: every mail that it has said yes to is noted, and no other.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What it does at a stage.
#[derive(Clone, Debug)]
pub enum Act {
    /// These lines, each with its CRLF.
    Say(String),
    /// Nothing, for as long as the server lives.
    Hang,
    /// A closed connection.
    Close,
    /// A reply that never ends, until the other side goes.
    Endless,
}

impl Act {
    /// One line.
    pub fn say(line: &str) -> Self {
        Self::Say(format!("{line}\r\n"))
    }
}

/// What it answers where the test says nothing else.
fn good(stage: &str) -> &'static str {
    match stage {
        "banner" => "220 test",
        "data" => "354 go on",
        "quit" => "221 bye",
        _ => "250 ok",
    }
}

type Script = Box<dyn Fn(&str) -> Option<Act> + Send>;

struct Shared {
    script: Mutex<Script>,
    tried: Mutex<Vec<String>>,
    taken: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// The server; it ends with its owner.
pub struct SmtpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl SmtpServer {
    /// A server on a free port. `script` says what is done at a stage other than what is right:
    /// `banner`, `ehlo`, `mail`, `rcpt`, `data`, `dot`, `quit`.
    pub fn start(script: impl Fn(&str) -> Option<Act> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            tried: Mutex::default(),
            taken: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if theirs.stop.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                // A client that goes away is its own affair.
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, shared }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Answers differently from now on.
    pub fn act(&self, script: impl Fn(&str) -> Option<Act> + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// The mails that it has said yes to.
    pub fn taken(&self) -> Vec<String> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// The mails that it has read, whatever it said then.
    pub fn read(&self) -> Vec<String> {
        self.shared.tried.lock().unwrap().clone()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        if !self.answer("banner", &mut stream)? {
            return Ok(());
        }
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            let stage = match line.get(..4).unwrap_or("").to_uppercase().as_str() {
                "EHLO" | "HELO" => "ehlo",
                "MAIL" => "mail",
                "RCPT" => "rcpt",
                "DATA" => "data",
                "QUIT" => "quit",
                _ => "other",
            };
            line.clear();
            if !self.answer(stage, &mut stream)? || stage == "quit" {
                return Ok(());
            }
            if stage == "data" {
                let mut mail = String::new();
                while reader.read_line(&mut line)? > 0 && line != ".\r\n" {
                    mail.push_str(&line);
                    line.clear();
                }
                line.clear();
                self.tried.lock().unwrap().push(mail.clone());
                // Noted before it is answered, where the answer is yes.
                if (self.script.lock().unwrap())("dot").is_none() {
                    self.taken.lock().unwrap().push(mail);
                }
                if !self.answer("dot", &mut stream)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Does what the script says; whether the conversation goes on.
    fn answer(&self, stage: &str, stream: &mut TcpStream) -> std::io::Result<bool> {
        let act = (self.script.lock().unwrap())(stage);
        match act.unwrap_or_else(|| Act::say(good(stage))) {
            Act::Say(text) => stream.write_all(text.as_bytes()).map(|()| {
                // Whoever refuses the content of a mail does not wait for it.
                stage != "data" || text.starts_with("354")
            }),
            Act::Close => Ok(false),
            Act::Hang => {
                while !self.stop.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(false)
            }
            Act::Endless => loop {
                stream.write_all(b"250-and so on\r\n")?;
            },
        }
    }
}
