//! Tokens and proxies.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use probes::Reason;
use tokio::net::TcpListener;

use crate::common::{faults, probe, run, run_for};
use crate::server::{Server, check, has, look, ok};

/// Takes tokens: the first is good for an hour, the next ones for ever.
async fn issuer() -> Server {
    let count = Mutex::new(0);
    Server::start(move |request| {
        let mut count = count.lock().unwrap();
        *count += 1;
        if !request.contains("authorization: Basic aWQ6cyUyNmM=\r\n") {
            let said = r#"{"error": "invalid_client", "error_description": "who\u001b"}"#;
            return ok(said).replace("200 OK", "401 No");
        }
        ok(&format!(
            r#"{{"access_token": "t0k{count}", "token_type": "bearer", "expires_in": 3600}}"#
        ))
    })
    .await
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_shown_never() {
    let (issuer, page) = (
        issuer().await,
        Server::start(|asked| {
            if asked.contains("authorization: Bearer t0k") {
                ok("in")
            } else {
                "HTTP/1.1 401 No\r\n\r\n".to_owned()
            }
        })
        .await,
    );
    let yaml = |secret: &str| {
        format!(
            "http: {{url: 'http://{}/', oauth2: {{client_id: id, client_secret: '{secret}', \
         token_url: 'http://{}/token', scopes: [a, b], endpoint_params: {{audience: 'x y'}}}}}}",
            page.address, issuer.address
        )
    };
    let good = probe(&yaml("s&c"));
    for _ in 0..3 {
        check(&run(good.as_ref()).await, Reason::None, "HTTP status 200");
    }
    let asked = issuer.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].ends_with("grant_type=client_credentials&audience=x%20y&scope=a%20b"),
        "{asked:?}"
    );
    let shown = format!("{good:?}");
    assert!(!shown.contains("s&c") && !shown.contains("t0k"), "{shown}");
    let o = look(&yaml("guess")).await;
    check(&o, Reason::TokenFailed, "HTTP status 401, `invalid_client who `");
    assert!(!o.summary.contains("guess"), "{}", o.summary);
    has(&o, "probe_success 0");
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_kept() {
    let issuer = issuer().await;
    let page = Server::start(|asked| {
        if asked.contains("t0k1") { "HTTP/1.1 401 No\r\n\r\n".to_owned() } else { ok("in") }
    })
    .await;
    let probe = probe(&format!(
        "http: {{url: 'http://{}/', oauth2: {{client_id: id, client_secret: 's&c', token_url: 'http://{}/'}}}}",
        page.address, issuer.address
    ));
    check(&run(probe.as_ref()).await, Reason::HttpStatus, "HTTP status 401");
    check(&run(probe.as_ref()).await, Reason::None, "");
    assert_eq!(issuer.asked().len(), 2);
}

#[tokio::test]
async fn an_issuer_that_fails_has_its_own_reason() {
    let yaml = |issuer: SocketAddr| {
        format!(
            "http: {{url: 'http://127.0.0.1:1/', oauth2: {{client_id: i, client_secret: s, token_url: 'http://{issuer}/'}}}}"
        )
    };
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    check(&look(&yaml(closed)).await, Reason::TokenFailed, "no token from `127.0.0.1:");
    for (answer, part) in [
        ("SSH-2.0-x\r\n", "no answer"),
        ("HTTP/1.1 200 OK\r\n\r\n<html>", "the answer is no JSON with an `access_token`"),
        ("HTTP/1.1 200 OK\r\n\r\n{\"access_token\": \"a\\nb\"}", "the token has characters"),
        ("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", "HTTP status 302"),
    ] {
        let issuer = Server::saying(answer).await;
        check(&look(&yaml(issuer.address)).await, Reason::TokenFailed, part);
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probe = probe(&yaml(silent.local_addr().unwrap()));
    let (o, took) = run_for(probe.as_ref(), Duration::from_millis(150)).await;
    check(&o, Reason::Timeout, "there is no token from `127.0.0.1:");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_proxy_passes_on_and_its_failures_are_its_own() {
    let proxy = Server::start(|asked| {
        if asked.starts_with("CONNECT") {
            "HTTP/1.1 407 Who are you\r\n\r\n".to_owned()
        } else {
            ok(asked)
        }
    })
    .await;
    let ask = |url: &str, more: &str| {
        format!("http: {{url: '{url}', proxy: {{url: 'http://{}'{more}}}}}", proxy.address)
    };
    let auth = ", basic_auth: {username: u, password: p}";
    check(&look(&ask("http://shop.invalid/a?b", auth)).await, Reason::None, "HTTP status 200");
    let asked = proxy.asked().pop().unwrap();
    assert!(asked.starts_with("GET http://shop.invalid/a?b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nproxy-authorization: Basic dTpw\r\n"), "{asked}");
    assert!(asked.contains("\r\nhost: shop.invalid\r\n"), "{asked}");
    let o = look(&ask("https://shop.invalid/", auth)).await;
    let part = "the proxy does not connect to `shop.invalid:443`: `HTTP/1.1 407 Who are you`";
    check(&o, Reason::ProxyFailed, part);
    let asked = proxy.asked().pop().unwrap();
    assert!(asked.starts_with("CONNECT shop.invalid:443 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Proxy-Authorization: Basic dTpw\r\n"), "{asked}");
    let o = look(&ask("http://shop.invalid/", ", no_proxy: [invalid]")).await;
    assert!(matches!(o.reason, Reason::NoSuchName | Reason::ResolveFailed), "{o:?}");
    for (answer, reason) in [
        ("SSH-2.0-x\r\n", Reason::ProtocolError),
        ("", Reason::ConnectionReset),
        // What comes before we have spoken is for TLS to judge, which takes nothing on trust.
        ("HTTP/1.1 200 OK\r\n\r\n\x16surprise", Reason::TlsFailed),
    ] {
        let bad = Server::saying(answer).await;
        let proxy = format!("proxy: {{url: 'http://{}'}}", bad.address);
        let o = look(&format!("http: {{url: 'https://x.invalid/', {proxy}}}")).await;
        check(&o, reason, "");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let o = look(&format!("http: {{url: 'http://x.invalid/', proxy: {{url: 'http://{closed}'}}}}"))
        .await;
    check(&o, Reason::ConnectionRefused, "the proxy: connect to");
}

/// What the environment says is read in a process of its own, so that it is nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_names_a_proxy() {
    let ask = "http: {url: 'http://shop.invalid/a', proxy_from_environment: true}";
    if std::env::var_os("VEILLEUR_TEST_OF_PROXIES").is_some() {
        check(&look(ask).await, Reason::None, "HTTP status 200");
        let direct = "http: {url: 'http://direct.invalid/a', proxy_from_environment: true}";
        for ask in [direct, "http: {url: 'http://shop.invalid/a'}"] {
            let o = look(ask).await;
            assert!(matches!(o.reason, Reason::NoSuchName | Reason::ResolveFailed), "{o:?}");
        }
        return;
    }
    let proxy = Server::start(ok).await;
    let address = proxy.address.to_string();
    let child = tokio::task::spawn_blocking(move || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["access::the_environment_names_a_proxy", "--exact", "--nocapture"])
            .env("VEILLEUR_TEST_OF_PROXIES", "1")
            .env("HTTP_PROXY", address)
            .env("NO_PROXY", "direct.invalid")
            .output()
            .unwrap()
    });
    let told = child.await.unwrap();
    assert!(told.status.success(), "{told:?}");
    let asked = proxy.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("GET http://shop.invalid/a HTTP/1.1\r\n"), "{asked:?}");
    assert_eq!(
        faults(
            "http: {url: 'http://x/', proxy: {url: 'http://p:1'}, proxy_from_environment: true}"
        ),
        "test.yml:1:78: `proxy_from_environment` says it all; take `proxy` away"
    );
}

#[tokio::test]
async fn behind_a_proxy_a_redirect_leads_to_no_address_of_this_host_x03() {
    for to in
        ["http://127.0.0.1:9/", "http://localhost/", "http://169.254.169.254/", "http://[::1]/"]
    {
        let proxy = Server::start(move |_| {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        })
        .await;
        let by = format!("proxy: {{url: 'http://{}'}}", proxy.address);
        let o = look(&format!("http: {{url: 'http://shop.invalid/', {by}}}")).await;
        check(&o, Reason::BadRedirect, "which is this host or link");
        assert_eq!(proxy.asked().len(), 1, "{to}");
    }
}

#[tokio::test]
async fn what_is_found_outside_leads_to_no_address_of_this_host_x03() {
    let proxy = Server::start(|_| ok("http://127.0.0.1:9/latest/meta-data")).await;
    let o = look(&format!(
        "http: {{proxy: {{url: 'http://{}'}}, steps: [\
         {{url: 'http://shop.invalid/', extract: {{next: {{regex: '.*'}}}}}}, {{url: '${{next}}'}}]}}",
        proxy.address
    ))
    .await;
    check(&o, Reason::BadRedirect, "which is this host or link");
    assert_eq!(proxy.asked().len(), 1);
}
