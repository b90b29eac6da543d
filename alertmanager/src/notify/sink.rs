//! A service for the tests of notifiers: answers as the test tells it, well and badly.
//!
//! [`misbehave`] is the table of everything that a service, or whoever stands between, can do wrong;
//! every notifier that speaks HTTP goes through it.
//!
//! Invariant: nothing here waits for time to pass; a request is noted before it is answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base::diagnostic::{Diagnostics, Place, Spanned};
use base::http::access::HttpConfig;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::notifier::{DeliveryError, Notification, Notifier, Receipt, Shared};
use super::texts::tests::notification;
use crate::template::Templates;

/// Stands in addresses and tokens of tests; no error and no debug output may have it.
pub(super) const SECRET: &str = "s3cret";

/// What somebody asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// With the query.
    pub(super) path: String,
    /// By name in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Asked {
    /// `POST /path`.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The body as JSON.
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// What it gets.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// A status, further headers and a body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes and then the end.
    Raw(Vec<u8>),
    /// A good head and a body that does not end.
    Endless,
    /// Nothing, and the connection stays open.
    Hang,
    /// A closed connection.
    Close,
}

impl Reply {
    /// A status and a text.
    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::Answer(status, vec![("content-type", "text/plain".into())], body.into())
    }

    /// A status and JSON.
    pub(super) fn json(status: u16, body: Value) -> Self {
        let kind = vec![("content-type", "application/json".into())];
        Self::Answer(status, kind, body.to_string().into())
    }

    /// The same with a further header.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

/// The service, on a free port of this host.
pub(super) struct Sink {
    listener: TcpListener,
}

impl Sink {
    pub(super) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// Its address without a path.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// Has `notifier` hand over a message, answers each request with the next of `replies`, and
    /// closes the connection where none is left. A reply that hangs ends it as the lane would.
    pub(super) async fn hand_over(
        &self,
        notifier: &dyn Notifier,
        notification: &Notification,
        replies: &[Reply],
    ) -> (Vec<Asked>, Result<Receipt, DeliveryError>) {
        let asked = Mutex::new(Vec::new());
        let result = tokio::select! {
            biased;
            result = notifier.notify(notification) => result,
            () = self.serve(&asked, replies) => {
                Err(DeliveryError::transient("it hangs: the limit of the lane ends it"))
            }
        };
        (asked.into_inner().unwrap(), result)
    }

    /// Has `notifier` hand over a message for each answer, a status and JSON, and looks what becomes
    /// of it: `taken`, `again` or `never`.
    pub(super) async fn judges<const N: usize>(
        &self,
        notifier: &dyn Notifier,
        cases: [(u16, Value, &str); N],
    ) {
        for (status, body, expected) in cases {
            let told = format!("{status} {body}");
            let replies = [Reply::json(status, body)];
            let (_, result) = self.hand_over(notifier, &notification(), &replies).await;
            assert_eq!(outcome(&result), expected, "{told}: {result:?}");
        }
    }

    /// Returns where a reply hangs.
    async fn serve(&self, asked: &Mutex<Vec<Asked>>, replies: &[Reply]) {
        loop {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            let Some(request) = read(&mut stream).await else { continue };
            let reply = {
                let mut asked = asked.lock().unwrap();
                asked.push(request);
                replies.get(asked.len() - 1).cloned().unwrap_or(Reply::Close)
            };
            // Who goes away in the middle of an answer is not our concern.
            let _ = match reply {
                Reply::Hang => return,
                Reply::Close => Ok(()),
                Reply::Raw(bytes) => stream.write_all(&bytes).await,
                Reply::Endless => endless(&mut stream).await,
                Reply::Answer(status, headers, body) => {
                    let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
                    for (name, value) in headers {
                        head.push_str(&format!("{name}: {value}\r\n"));
                    }
                    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
                    let bytes = [head.into_bytes(), body].concat();
                    stream.write_all(&bytes).await
                }
            };
        }
    }
}

async fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await?;
    let piece = [b'x'; 8192];
    loop {
        stream.write_all(&piece).await?;
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.ok()?;
    Some(Asked { method, path, headers, body: String::from_utf8(body).unwrap() })
}

/// What came of a message in a word: `taken`, `again`, `again after 7s` or `never`.
pub(super) fn outcome(result: &Result<Receipt, DeliveryError>) -> String {
    match result {
        Ok(_) => "taken".to_owned(),
        Err(DeliveryError::Transient { retry_after: Some(wait), .. }) => {
            format!("again after {wait:?}")
        }
        Err(DeliveryError::Transient { retry_after: None, .. }) => "again".to_owned(),
        Err(DeliveryError::Permanent { .. }) => "never".to_owned(),
    }
}

/// By what a notifier knows that a message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judges {
    /// By what the service says in its answer.
    Body,
    /// By the status alone: the service says nothing else.
    Status,
}

/// Holds a notifier against everything that can go wrong with an answer.
///
/// `build` makes it for a service at that address; secrets in what it is built of have [`SECRET`] in
/// them. `lead` are the good answers to what it asks before the message itself.
pub(super) async fn misbehave<N: Notifier>(
    judges: Judges,
    lead: &[Reply],
    build: impl Fn(&str) -> N,
) {
    misbehave_but(&[], judges, lead, build).await;
}

/// As [`misbehave`], for a service of which some of these answers are good ones: what is expected
/// then, by the name of the case.
pub(super) async fn misbehave_but<N: Notifier>(
    differs: &[(&str, &str)],
    judges: Judges,
    lead: &[Reply],
    build: impl Fn(&str) -> N,
) {
    let sink = Sink::start().await;
    let elsewhere = format!("{}/elsewhere", sink.url());
    let by_body = if judges == Judges::Body { "again" } else { "taken" };
    let page = "<!DOCTYPE html><html><title>Log in</title></html>";
    let deep = "[".repeat(100_000);
    let cut =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{\"ok\":";
    let zipped = Reply::Answer(200, vec![("content-encoding", "gzip".into())], vec![31, 139, 8, 0]);
    let gone = Reply::text(302, "").with("location", &elsewhere);
    let moved = Reply::text(308, "").with("location", &elsewhere);
    let cases = [
        // F12
        ("429 with a wait", Reply::text(429, "slow").with("retry-after", "7"), "again after 7s"),
        (
            "429 with a long wait",
            Reply::text(429, "").with("retry-after", "99999"),
            "again after 900s",
        ),
        ("429 with nonsense", Reply::text(429, "").with("retry-after", "-1"), "again"),
        ("429 alone", Reply::text(429, ""), "again"),
        ("503 with a wait", Reply::text(503, "").with("retry-after", "7"), "again after 7s"),
        ("500", Reply::text(500, ""), "again"),
        ("502 of a proxy", Reply::text(502, page), "again"),
        ("408", Reply::text(408, ""), "again"),
        ("400", Reply::text(400, "what?"), "never"),
        ("401", Reply::text(401, ""), "never"),
        ("403", Reply::text(403, ""), "never"),
        ("404", Reply::text(404, ""), "never"),
        ("410", Reply::text(410, ""), "never"),
        // X19
        ("a redirect", gone, "never"),
        ("a redirect for good", moved, "never"),
        ("closes", Reply::Close, "again"),
        ("hangs", Reply::Hang, "again"),
        ("no HTTP", Reply::Raw(b"SSH-2.0-x\r\n".to_vec()), "again"),
        ("half a head", Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()), "again"),
        // F14, X48
        ("a page to log in", Reply::text(200, page), by_body),
        ("garbage", Reply::Answer(200, Vec::new(), vec![0, 255, 254, 9]), by_body),
        ("nothing", Reply::text(200, ""), by_body),
        ("half a body", Reply::Raw(cut.into()), by_body),
        ("null", Reply::json(200, Value::Null), by_body),
        ("depth", Reply::text(200, &deep), "again"),
        ("gzip that nobody asked for", zipped, by_body),
        ("endless", Reply::Endless, "again"),
    ];
    let notifier = build(&sink.url());
    assert!(!format!("{notifier:?}").contains(SECRET), "{notifier:?}");
    let unknown = differs.iter().find(|(name, _)| cases.iter().all(|(what, ..)| what != name));
    assert_eq!(unknown, None, "there is no such case");
    for (what, reply, expected) in cases {
        let expected = differs.iter().find(|(name, _)| *name == what).map_or(expected, |d| d.1);
        let replies = [lead, &[reply.with("set-cookie", "a=b")]].concat();
        let (asked, result) = sink.hand_over(&notifier, &notification(), &replies).await;
        assert_eq!(outcome(&result), expected, "{what}: {result:?}");
        assert!(!format!("{result:?}").contains(SECRET), "{what}: {result:?}");
        // No redirect is followed, nothing is tried twice, no cookie is kept.
        assert_eq!(asked.len(), replies.len(), "{what}: {asked:?}");
        assert!(asked.iter().all(|asked| !asked.headers.contains_key("cookie")), "{what}");
    }
}

/// A message whose labels and texts try everything.
pub(super) fn hostile() -> Notification {
    let mut message = notification();
    let text = "<!channel> <!here> <@U1> <at>All</at> @everyone @here @all @room <@&1> <users/all> \
                @**all** <https://evil.example|log in> [log in](https://evil.example) \
                <script>alert(1)</script> &lt;!channel&gt; *_[`~~ ```code # \u{202e}txt \u{7}\0";
    for alert in &mut message.alerts {
        alert.annotations.insert("summary".into(), text.into());
        alert.annotations.insert("description".into(), format!("- {text}\r\nBcc: x@evil.example"));
        alert.annotations.insert("runbook_url".into(), "javascript:alert(1)".into());
    }
    message
}

/// A message with more alerts, and longer texts, than any service takes (F16).
pub(super) fn flood() -> Notification {
    let mut message = hostile();
    let one = message.alerts[0].clone();
    message.alerts = (0..5000)
        .map(|n| {
            let instance = n.to_string();
            let labels = [("alertname", "Flood"), ("instance", instance.as_str())];
            let labels = base::labels::Labels::from_pairs(labels);
            crate::alerts::Alert { labels, ..one.clone() }
        })
        .collect();
    message.alerts[0].annotations.insert("summary".into(), "ü*".repeat(500_000));
    message
}

/// What a configuration reads as, with the faults so far.
#[track_caller]
pub(super) fn written<C: DeserializeOwned>(yaml: &str) -> (Spanned<C>, Diagnostics) {
    let mut diagnostics = Diagnostics::new("f.yml");
    let config = base::yaml::read(yaml, &mut diagnostics).unwrap();
    (config, diagnostics)
}

/// What `build` makes of an entry, and all that is wrong with it.
pub(super) fn build_entry<C: DeserializeOwned, N>(
    yaml: &str,
    build: impl FnOnce(&C, Place, Shared<'_>, &mut Diagnostics) -> Option<N>,
) -> (Option<N>, String) {
    let (config, mut diagnostics) = written::<C>(yaml);
    let built = shared(|shared| build(&config.value, config.place, shared, &mut diagnostics));
    (built, diagnostics.to_string())
}

/// What `build` makes with the templates that come with the program.
pub(super) fn shared<T>(build: impl FnOnce(Shared<'_>) -> T) -> T {
    let (http, templates) = (HttpConfig::default(), Arc::new(Templates::defaults()));
    build(Shared { http: &http, templates: &templates })
}
