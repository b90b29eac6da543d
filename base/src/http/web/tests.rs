//! What the settings of a listener say, and what is wrong with them.

use super::*;

const OPENABLE: &[&str] = &["/livez", "/metrics"];

fn read(text: &str, folder: &Path) -> (Option<Web>, String) {
    let mut diagnostics = Diagnostics::new("web.yml");
    let section: Option<Spanned<WebConfig>> = crate::yaml::read(text, &mut diagnostics);
    let places = Places { folder: Some(folder), openable: OPENABLE, ..Places::default() };
    let web = section.and_then(|section| Web::read(places, Some(section), &mut diagnostics));
    (web.filter(|_| diagnostics.is_empty()), diagnostics.to_string())
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(read(text, Path::new("/no")).1, expected, "{text}");
}

const HASH: &str = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

#[test]
fn every_fault_is_told_with_its_place_s1() {
    let help = "help: make one: `htpasswd -nBC 10 USER`, and write what stands behind the colon";
    check(
        "basic_auth_users: {anne: secret}",
        &format!("web.yml:1:26: this is not a bcrypt hash\n  {help}"),
    );
    let slow = HASH.replace("$10$", "$31$");
    check(
        &format!("basic_auth_users: {{anne: {slow}}}"),
        &format!("web.yml:1:26: a hash of cost 31 takes minutes to compare\n  {help}"),
    );
    check(
        &format!("basic_auth_users: {{'a:b': {HASH}}}"),
        "web.yml:1:27: `a:b` cannot name a user",
    );
    check(
        "bearer_token_files: [token]",
        "web.yml:1:22: cannot read `/no/token`: No such file or directory (os error 2)",
    );
    check(
        "unauthenticated_paths: [/health]",
        "web.yml:1:25: `/health` cannot be opened to everybody\n  help: these can: /livez, /metrics",
    );
    check(
        "rate_limit: {interval: 1s}",
        "web.yml:1:13: `rate_limit` is not supported\n  \
         help: take it out: connections and requests have fixed limits",
    );
    check(
        "http_server_config: {headers: {Server: x, X-Frame-Options: \"a\\nb\"}}",
        "web.yml:1:40: the header `Server` cannot be set\n  help: there are \
         content-security-policy, x-frame-options, x-content-type-options, x-xss-protection, \
         strict-transport-security\nweb.yml:1:60: this cannot stand in a header",
    );
    check(
        "basic_auth_user: {}",
        "web.yml:1:1: unknown setting `basic_auth_user`\n  help: did you mean `basic_auth_users`?",
    );
}

#[test]
fn every_fault_of_tls_is_told_with_its_place() {
    let tls = |text: &str, expected: &str| {
        let (_, told) = read(&format!("tls_server_config: {{{text}}}"), Path::new("/no"));
        assert!(told.contains(expected), "{text}\n{told}");
    };
    tls("", "web.yml:1:20: `cert_file` is missing\nweb.yml:1:20: `key_file` is missing");
    tls("cert_file: a, key_file: b", "1:32: cannot read `/no/a`");
    tls("cert: x, key: y", "web.yml:1:27: it has no certificate in PEM");
    tls("cert: x, key: y", "web.yml:1:35: it has no private key in PEM");
    tls("cert: x, cert_file: y, key: z", "only one of `cert` and `cert_file` can be given");
    tls("min_version: TLS10", "1:34: `TLS10` is not a version of TLS that we speak");
    tls("min_version: TLS13, max_version: TLS12", "`max_version` is below `min_version`");
    tls("cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", "no cipher suite `TLS_RSA_WITH_RC4_128_SHA`");
    tls("curve_preferences: [CurveP521]", "there is no curve `CurveP521`");
    tls("client_auth_type: RequireAnyClientCert", "and does not check it");
    tls("client_auth_type: Yes", "`Yes` is not a way to ask clients who they are");
    tls("client_auth_type: RequireAndVerifyClientCert", "but no authority is trusted");
    tls("client_ca_file: x", "authorities of clients are given, but clients are not asked");
}

#[test]
fn what_is_short_of_a_password_or_tls_is_not_for_others_s1() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::write(folder.path().join("short"), "0123\n").unwrap();
    let lacks = |text: &str| read(text, folder.path()).0.unwrap().lacks();
    let nothing = Some("without TLS and without a password");
    assert_eq!(lacks("{}"), nothing);
    assert_eq!(lacks("unauthenticated_paths: [/livez]"), nothing);
    let plain = Some("without TLS, so that passwords could be read on their way");
    assert_eq!(lacks(&format!("basic_auth_users: {{anne: {HASH}}}")), plain);
    assert_eq!(lacks("bearer_token_files: [token]"), plain);
    let (_, told) = read("bearer_token_files: [short]", folder.path());
    assert!(told.contains("is too short"), "{told}");

    let web = read("{}", folder.path()).0.unwrap();
    let refuses = |address: &str| web.refuses(address.parse().unwrap()).is_some();
    assert!(refuses("0.0.0.0:1") && refuses("[::]:1") && refuses("192.0.2.1:1"));
    assert!(!refuses("127.0.0.1:1") && !refuses("[::1]:1") && !refuses("[::ffff:127.0.0.1]:1"));
}

#[test]
fn a_secret_is_not_printed_s6() {
    let (web, _) = read(&format!("basic_auth_users: {{anne: {HASH}}}"), Path::new("/no"));
    let shown = format!("{:?}", web.unwrap());
    assert!(!shown.contains("X0h1") && shown.contains("<secret>"), "{shown}");
}
