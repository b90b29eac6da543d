//! Modules of blackbox_exporter's file that ask through a proxy, or with a token of OAuth 2.

use std::sync::Arc;
use std::time::Duration;

use base::diagnostic::{Diagnostics, Spanned};
use probes::blackbox::Modules;
use probes::target::Rules;
use probes::{Outcome, Reason};

use crate::common::run_for;
use crate::server::{Server, check, has, ok};

/// What a module with the settings `http` finds at `target`, where `allowed` is.
pub(crate) async fn look(http: &str, target: &str, allowed: &str) -> Outcome {
    look_for(http, target, allowed, Duration::from_secs(60)).await
}

/// As [`look`], for so long.
pub(crate) async fn look_for(http: &str, target: &str, allowed: &str, time: Duration) -> Outcome {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("modules: {{m: {{prober: http, http: {http}}}}}")).unwrap();
    let mut diagnostics = Diagnostics::new("unused");
    let modules = Modules::read_file(file.path(), &mut diagnostics);
    let allowed = allowed.trim_matches(['[', ']']).split(", ");
    let allowed = allowed.map(|one| Spanned { value: one.to_owned(), place: Default::default() });
    let rules = Rules::build(&allowed.collect::<Vec<_>>(), &mut diagnostics);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    let shot = modules.get("m").unwrap().aim(target, None, Arc::new(rules)).unwrap();
    run_for(&shot, time).await.0
}

/// A proxy that connects nowhere, and shows what it was asked.
async fn proxy() -> Server {
    Server::start(|asked| match asked.split(' ').next() {
        Some("CONNECT") => "HTTP/1.1 403 No\r\n\r\n".to_owned(),
        _ => ok(asked),
    })
    .await
}

#[tokio::test]
async fn a_module_asks_through_its_proxy() {
    let proxy = proxy().await;
    let by = format!("proxy_url: 'http://u:p%3Aq@{}'", proxy.address);
    let named = format!("{{{by}, skip_resolve_phase_with_proxy: true}}");
    let outcome = look(&named, "http://shop.invalid/a?b", "shop.invalid").await;
    check(&outcome, Reason::None, "HTTP status 200");
    has(&outcome, "probe_success 1");
    let asked = proxy.asked().pop().unwrap();
    assert!(asked.starts_with("GET http://shop.invalid/a?b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nproxy-authorization: Basic dTpwOnE=\r\n"), "{asked}");

    let headers = format!(
        "{{{by}, skip_resolve_phase_with_proxy: true, proxy_connect_header: {{X-Team: [a, b]}}}}"
    );
    let outcome = look(&headers, "https://shop.invalid/", "shop.invalid").await;
    check(&outcome, Reason::ProxyFailed, "does not connect to `shop.invalid:443`");
    let asked = proxy.asked().pop().unwrap();
    assert!(asked.contains("\r\nx-team: a\r\nx-team: b\r\n"), "{asked}");

    // What is resolved here is judged here, and only then handed on.
    let resolved = format!("{{{by}}}");
    let outcome = look(&resolved, "http://shop.invalid/", "shop.invalid").await;
    assert!(matches!(outcome.reason, Reason::NoSuchName | Reason::ResolveFailed), "{outcome:?}");
    check(&look(&resolved, "http://127.0.0.1:9/", "127.0.0.0/8").await, Reason::None, "");
    assert_eq!(proxy.asked().len(), 3);
    let direct = format!("{{{by}, no_proxy: 'x.example,127.0.0.0/8'}}");
    let outcome = look(&direct, "http://127.0.0.1:9/", "127.0.0.0/8").await;
    check(&outcome, Reason::ConnectionRefused, "connect to 127.0.0.1:9");
    assert_eq!(proxy.asked().len(), 3);
}

#[tokio::test]
async fn behind_a_proxy_nothing_leads_to_what_is_not_allowed_x03() {
    for to in ["http://127.0.0.1:9/", "http://other.invalid/", "http://169.254.169.254/"] {
        let proxy = Server::start(move |_| {
            format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        })
        .await;
        let http = format!(
            "{{proxy_url: 'http://{}', skip_resolve_phase_with_proxy: true}}",
            proxy.address
        );
        let outcome = look(&http, "http://shop.invalid/", "shop.invalid").await;
        check(&outcome, Reason::BadRedirect, "a redirect");
        assert_eq!(proxy.asked().len(), 1, "{to}");
    }
}

#[tokio::test]
async fn a_module_shows_a_token_that_it_was_given() {
    let issuer =
        Server::saying("HTTP/1.1 200 OK\r\n\r\n{\"access_token\": \"t0k\", \"expires_in\": 60}")
            .await;
    let page = Server::start(|asked| match asked.contains("authorization: Bearer t0k\r\n") {
        true => ok("in"),
        false => "HTTP/1.1 401 No\r\n\r\n".to_owned(),
    })
    .await;
    let http = format!(
        "{{oauth2: {{client_id: id, client_secret: s3cret, token_url: 'http://{}/t', scopes: [a], \
         endpoint_params: {{grant_type: client_credentials}}, tls_config: {{insecure_skip_verify: true}}}}}}",
        issuer.address
    );
    let target = format!("http://{}/", page.address);
    check(&look(&http, &target, "127.0.0.0/8").await, Reason::None, "HTTP status 200");
    let asked = issuer.asked().pop().unwrap();
    assert_eq!(asked.matches("grant_type=client_credentials").count(), 1, "{asked}");
    let outcome = look(
        &http.replace("/t'", "'").replace(&issuer.address.to_string(), "127.0.0.1:1"),
        &target,
        "127.0.0.0/8",
    )
    .await;
    check(&outcome, Reason::TokenFailed, "no token from `127.0.0.1:1`");
    has(&outcome, "probe_success 0");
    assert!(!format!("{outcome:?}").contains("s3cret"));
    assert_eq!(page.asked().len(), 1, "nobody asks without a token");
}
