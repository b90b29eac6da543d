//! Services that are asked for targets: a server on the loopback that answers as it is told, and
//! misbehaves.
//!
//! Invariant: nothing leaves the host.

mod clouds;
mod engines;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::clock::SteadyClock;
use base::diagnostic::Place;
use base::sample::Timestamp;
use base::supervisor::Supervisor;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::*;

/// What a server does with a request: the head and the body in, the bytes of the answer out, after
/// which the connection ends; nothing where it hangs.
type Answering = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// A server that lasts as long as it is held.
struct Server {
    address: SocketAddr,
    /// What it was asked, heads and bodies.
    asked: Arc<Mutex<Vec<String>>>,
    supervisor: Supervisor,
}

impl Server {
    async fn new(answering: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, supervisor) = (listener.local_addr().unwrap(), Supervisor::new());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (notes, answering, scope): (_, Answering, _) =
            (Arc::clone(&asked), Arc::new(answering), supervisor.clone());
        supervisor.spawn("server", async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                scope.spawn("answer", serve(socket, Arc::clone(&answering), Arc::clone(&notes)));
            }
        });
        Self { address, asked, supervisor }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.supervisor.stop_token().cancel();
    }
}

async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    answering: Answering,
    notes: Arc<Mutex<Vec<String>>>,
) {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned)
            });
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                notes.lock().unwrap().push(text.clone());
                match answering(&text) {
                    // Whoever asked may have gone.
                    Some(answer) => drop(socket.write_all(&answer).await),
                    None => std::future::pending().await,
                }
                return;
            }
        }
        match socket.read_buf(&mut request).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// An answer with JSON.
fn json(body: &str) -> Option<Vec<u8>> {
    answer("200 OK", "Content-Type: application/json\r\n", body)
}

fn answer(status: &str, headers: &str, body: &str) -> Option<Vec<u8>> {
    let length = body.len();
    Some(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into())
}

/// What `yaml` builds into, as `kind`.
#[track_caller]
fn source<T: serde::de::DeserializeOwned>(yaml: &str, kind: fn(T) -> SdConfig) -> Source {
    let mut diagnostics = Diagnostics::new("f.yml");
    let config: Option<T> = base::yaml::read(yaml, &mut diagnostics);
    let place = Place { line: 1, column: 1 };
    let source = config.and_then(|c| kind(c).build(place, Path::new("/"), &mut diagnostics));
    assert!(diagnostics.is_empty(), "{diagnostics}");
    source.unwrap()
}

/// The targets that are named at once, sorted.
async fn found(source: &Source) -> Result<Vec<String>, String> {
    let targets = (source.make)().next(Timestamp::default()).await?;
    let mut targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
    targets.sort();
    Ok(targets)
}

async fn until(condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come within a minute");
}

#[tokio::test]
async fn http_lists_become_targets_and_everything_else_an_error() {
    let check = async |answer: Option<Vec<u8>>, expected: Result<&str, &str>| {
        let server = Server::new(move |_| answer.clone()).await;
        let url = format!("http://{}/sd", server.address);
        let yaml = format!("{{url: '{url}', basic_auth: {{username: u, password: p}}}}");
        let got = found(&source(&yaml, SdConfig::Http)).await.map(|all| all.join(" "));
        let got = got.map(|text| text.replace(&url, "URL"));
        match expected {
            Ok(expected) => assert_eq!(got.as_deref(), Ok(expected)),
            Err(part) => assert!(got.as_ref().is_err_and(|e| e.contains(part)), "{part}: {got:?}"),
        }
        let asked = server.asked().join("").to_lowercase();
        assert!(asked.contains("authorization: basic dtpw\r\n"), "{asked}");
        assert!(asked.contains("x-prometheus-refresh-interval-seconds: 60\r\n"), "{asked}");
    };
    check(json("[]"), Ok("")).await;
    check(
        json(r#"[{"targets": ["a:1", "b:2"], "labels": {"k": "v"}}]"#),
        Ok(r#"{__address__="a:1", __meta_url="URL", k="v"} {__address__="b:2", __meta_url="URL", k="v"}"#),
    )
    .await;
    check(answer("500 Oops", "", "no"), Err("HTTP status 500: `no`")).await;
    check(answer("200 OK", "Content-Type: text/html\r\n", "[]"), Err("not application/json")).await;
    check(json("[null]"), Err("no list of targets")).await;
    check(json("garbage"), Err("no list of targets")).await;
    check(Some(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n[".to_vec()), Err("broke off")).await;
    let huge = format!("[\"{}\"]", "x".repeat(web::MAX_ANSWER));
    check(json(&huge), Err("longer than 67108864 bytes")).await;
}

#[tokio::test]
async fn redirects_are_followed_without_telling_another_host_who_we_are() {
    let there = Server::new(|_| json(r#"[{"targets": ["a:1"]}]"#)).await;
    let headers = format!("Location: http://{}/x\r\n", there.address);
    let here = Server::new(move |_| answer("302 Found", &headers, "")).await;
    let yaml = format!("{{url: 'http://{}/', bearer_token: t0ken}}", here.address);
    assert_eq!(found(&source(&yaml, SdConfig::Http)).await.unwrap().len(), 1);
    assert!(here.asked()[0].contains("t0ken"));
    assert!(!there.asked()[0].contains("t0ken"));
    let yaml = format!("{{url: 'http://{}/', follow_redirects: false}}", here.address);
    let told = found(&source(&yaml, SdConfig::Http)).await.unwrap_err();
    assert!(told.starts_with("HTTP status 302"), "{told}");
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_after_it_was_refused() {
    let tokens = Server::new(|request| {
        assert!(request.starts_with("POST /token "), "{request}");
        assert!(request.ends_with("grant_type=client_credentials&scope=a%20b"), "{request}");
        json(r#"{"access_token": "t1", "token_type": "bearer", "expires_in": 3600}"#)
    })
    .await;
    let service = Server::new(|request| match request.contains("authorization: Bearer t1") {
        true => json(r#"[{"targets": ["a:1"]}]"#),
        false => answer("401 Who?", "", ""),
    })
    .await;
    let yaml = format!(
        "{{url: 'http://{}/', oauth2: {{client_id: me, client_secret: s, scopes: [a, b], \
         token_url: 'http://{}/token'}}}}",
        service.address, tokens.address
    );
    let source = source(&yaml, SdConfig::Http);
    for _ in 0..2 {
        assert_eq!(found(&source).await.unwrap().len(), 1);
    }
    assert_eq!(tokens.asked().len(), 1);
}

/// F55
#[tokio::test]
async fn a_service_that_hangs_or_fails_keeps_its_last_good_list_and_is_asked_again() {
    let say: Arc<Mutex<Option<Vec<u8>>>> = Arc::new(Mutex::new(json(r#"[{"targets": ["a:1"]}]"#)));
    let said = Arc::clone(&say);
    let server = Server::new(move |_| said.lock().unwrap().clone()).await;
    let yaml = format!("{{url: 'http://{}/', refresh_interval: 50ms}}", server.address);
    let mut source = source(&yaml, SdConfig::Http);
    source.patience = Duration::from_millis(500);
    let (list, supervisor) = (Found::default(), Supervisor::new());
    assert_eq!((list.version(), list.state().good_at), (0, None));
    let (stop, clock) = (supervisor.stop_token().clone(), SteadyClock::starting_at(Timestamp::MIN));
    let wake = Arc::new(Notify::new());
    supervisor.spawn("sd", run(source, list.clone(), Arc::clone(&wake), clock, stop));
    wake.notified().await;
    assert_eq!(list.state().targets.len(), 1);
    for bad in [None, answer("500 Oops", "", "")] {
        *say.lock().unwrap() = bad;
        until(|| !list.state().error.is_empty()).await;
        assert_eq!(list.state().targets.len(), 1);
        *say.lock().unwrap() = json(r#"[{"targets": ["a:1"]}]"#);
        until(|| list.state().error.is_empty()).await;
    }
    // Nothing was another list, so nobody was told of one.
    assert_eq!(list.version(), 1);
    assert!(list.state().failures >= 2 && list.state().good_at.is_some());
    *say.lock().unwrap() = json("[]");
    until(|| list.version() == 2).await;
    assert!(list.state().targets.is_empty());
    supervisor.shutdown(Duration::from_secs(10)).await;
}

#[test]
fn settings_that_are_wrong_are_told() {
    fn check<T: serde::de::DeserializeOwned>(yaml: &str, kind: fn(T) -> SdConfig, expected: &str) {
        let mut diagnostics = Diagnostics::new("f.yml");
        let config: Option<T> = base::yaml::read(yaml, &mut diagnostics);
        let place = Place { line: 1, column: 1 };
        config.and_then(|c| kind(c).build(place, Path::new("/"), &mut diagnostics));
        assert_eq!(diagnostics.to_string(), expected, "{yaml}");
    }
    let help = "help: write it like `http://host:port/path`";
    let http = |url: &str, why: &str| {
        let told = format!("f.yml:1:7: `{url}`: {why}\n  {help}");
        check(&format!("{{url: '{url}'}}"), SdConfig::Http, &told);
    };
    http("h", "URL scheme must be 'http' or 'https'");
    http("ftp://h", "URL scheme must be 'http' or 'https'");
    http("http://", "host is missing in URL");
    check(
        "{url: 'http://h', refresh_interval: 0s}",
        SdConfig::Http,
        "f.yml:1:37: `refresh_interval` cannot be zero",
    );
    check(
        "{host: 'nowhere'}",
        SdConfig::Docker,
        &format!("f.yml:1:8: `nowhere`: URL scheme must be 'http' or 'https'\n  {help}"),
    );
    check(
        "{role: pods, api_server: 'http://h'}",
        SdConfig::Kubernetes,
        "f.yml:1:8: `pods` is no role that is known\n  help: known: `pod`, `service`, `endpoints`, \
         `endpointslice`, `node`, `ingress`",
    );
    check(
        "{role: node, api_server: 'http://h', selectors: [{role: pod}]}",
        SdConfig::Kubernetes,
        "f.yml:1:50: objects of `pod` are not asked for by the role `node`",
    );
    check(
        "{role: instance, identity_endpoint: 'http://h'}",
        SdConfig::Openstack,
        "f.yml:1:1: `region` of `openstack_sd_configs` is missing",
    );
    check(
        "{region: r, access_key: a}",
        SdConfig::Ec2,
        "f.yml:1:1: `access_key` and `secret_key` belong together",
    );
}
