//! Every route of both programs, asked by everybody in every way: X28.
//!
//! Invariant: the tables are those that the programs answer by; a route that is new is tried here.

use std::fs;

use tests::{exchange, get};

use crate::stage::{BOTH, Kind, Running};

/// Of `swordfish`.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuupWDwJQeCHYIBQy8WvkVB6ImhZ476YYy";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Who asks: the header that they bring, and whether they are let in.
const ROLES: [(&str, &str, bool); 6] = [
    ("nobody", "", false),
    ("guesses a password", "authorization: Basic YW5uZTp3cm9uZw==\r\n", false),
    ("guesses a token", "authorization: Bearer 0123456789abcdef\r\n", false),
    ("says it otherwise", "x-forwarded-for: 127.0.0.1\r\nx-original-url: /livez\r\n", false),
    ("knows the password", "authorization: Basic YW5uZTpzd29yZGZpc2g=\r\n", true),
    ("knows the token", "authorization: Bearer 0123456789abcdef0123456789abcdef\r\n", true),
];

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];

/// Paths with the methods that are answered there.
fn table(kind: Kind) -> Vec<(String, Vec<&'static str>)> {
    let fill = |path: &str| {
        let path = path.replace("{service}", "shop").replace("{id}", "job");
        path.replace("{group}", "job").replace("{name}", "job")
    };
    let mut table: Vec<(String, Vec<&str>)> = match kind {
        Kind::Agent => agent::server::ROUTES
            .iter()
            .map(|route| (fill(route.path), route.methods.to_vec()))
            .collect(),
        Kind::Evaluator => alertmanager::api::ROUTES
            .iter()
            .map(|route| (fill(route.path), route.methods.to_vec()))
            .collect(),
    };
    assert!(table.len() > 10 && !table.iter().any(|(path, _)| path.contains('{')), "{table:?}");
    // What others have and we have not, or not yet.
    let none = [
        "/-/quit",
        "/debug/pprof/",
        "/api/v1/admin/tsdb/quit",
        "/api/v2/config",
        "/consoles/index.html",
        "/nothing",
        "/..%2f",
        "/.env",
    ];
    table.extend(none.map(|path| (path.to_owned(), Vec::new())));
    table
}

fn guarded(kind: Kind) -> (Running, [&'static str; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let open = match kind {
        Kind::Agent => ["/livez", "/readyz", "/metrics"],
        Kind::Evaluator => ["/-/healthy", "/-/ready", "/metrics"],
    };
    let web = format!(
        "web:\n  basic_auth_users: {{anne: '{HASH}'}}\n  bearer_token_files: [token]\n  \
         unauthenticated_paths: [{}]\n",
        open.join(", ")
    );
    let more = match kind {
        Kind::Agent => {
            "host: {enabled: false}\nservices: {shop: {needs: [job]}}\nchecks:\n\
             - {name: job, heartbeat: {period: 1d, get: true}}\n- {name: pushed, push: {job: job}}\n"
        }
        Kind::Evaluator => "scrape_configs: []\n",
    };
    let running = Running::inside(kind, &format!("{more}{web}"), "exec \"$@\"", &[], folder);
    (running, open)
}

#[test]
fn every_route_asks_everybody_who_they_are_x28() {
    for kind in BOTH {
        let (running, open) = guarded(kind);
        let mut asked = 0;
        for (path, methods) in table(kind) {
            for (role, header, is_known) in ROLES {
                for method in METHODS {
                    let (head, body) = exchange(method, &running.url(&path), header, "").unwrap();
                    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
                    let what = format!("{kind:?}: {role}, {method} {path}: {status} {body}");
                    asked += 1;
                    if !is_known && !open.contains(&path.as_str()) {
                        assert_eq!(status, 401, "{what}");
                        // The same for whatever is there and whatever is not.
                        assert!(method == "HEAD" || body.starts_with("a user name with"), "{what}");
                        continue;
                    }
                    match (methods.is_empty(), methods.contains(&method)) {
                        (true, _) => assert_eq!(status, 404, "{what}"),
                        (false, false) => assert_eq!(status, 405, "{what}"),
                        // What is asked so can be nonsense, but it was let in.
                        (false, true) => {
                            assert!(!matches!(status, 401 | 403 | 405) && status < 501, "{what}");
                        }
                    }
                }
            }
        }
        assert!(asked > 900, "{asked}");
        // It has done nothing of what strangers asked for.
        let refused = running.value("veilleur_http_refused_total");
        assert!(refused > 400.0, "{kind:?}: {refused}");
    }
}

/// A path that is written otherwise is another path, or none: nobody gets in by it.
#[test]
fn an_open_path_opens_no_other_x29() {
    for kind in BOTH {
        let (running, [open, ..]) = guarded(kind);
        for path in [
            format!("/{open}"),
            format!("{open}/"),
            format!("{open}/../health"),
            format!("{open}%2f..%2fhealth"),
            format!("{open}%00/health"),
            format!("/.{open}"),
            open.to_uppercase(),
            "/%2e%2e/metrics".to_owned(),
        ] {
            let (status, body) = get(&running.url(&path)).unwrap();
            assert!(matches!(status, 400 | 401), "{kind:?} {path}: {status} {body}");
        }
        assert!(get(&running.url(&format!("{open}?x=/health"))).unwrap().0 == 200);
    }
}
