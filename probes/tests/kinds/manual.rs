//! The pages of the manual beside what probes tell: of those that look at this host, exactly; of all,
//! that no page names a metric that there is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use probes::manual::manual;
use tokio::net::TcpListener;

use crate::common::{probe, run};
use crate::server::certificate;

/// The metrics on the page of `kind`.
fn told(kind: &str) -> Vec<String> {
    manual(kind).unwrap().metrics.into_keys().collect()
}

#[tokio::test]
async fn a_page_names_what_a_probe_of_this_host_tells() {
    // Not below a folder that others may write to: a program there is refused.
    let folder = tempfile::Builder::new().prefix("veilleur-").tempdir_in("/var/lib").unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open.clone()).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("a.log"), "a\nb\n").unwrap();
    // Journals and units are programs' answers.
    let program = |name: &str, text: &str| {
        fs::write(path(name), format!("#!/bin/sh\ncat <<'E'\n{text}\nE\n")).unwrap();
        fs::set_permissions(path(name), open.clone()).unwrap();
        path(name)
    };
    let entry = r#"{"__CURSOR": "c", "MESSAGE": "a", "_SYSTEMD_UNIT": "b.service"}"#;
    let journalctl = program("journalctl", entry);
    let unit =
        "Id=a.service\nLoadState=loaded\nActiveState=active\nSubState=running\nNRestarts=0\n";
    let systemctl = program("systemctl", unit);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, pem) = (listener.local_addr().unwrap().port(), certificate("good.pem"));
    let rows = [
        ("process", "process: {command_matches: .}".to_owned()),
        ("port", format!("port: {{listening: ['{port}']}}")),
        ("file", format!("file: {{path: '{}'}}", path("*.log"))),
        ("certificate", format!("certificate: {{path: '{pem}'}}")),
        (
            "log",
            format!(
                "log: {{path: '{}', from_beginning: true, state: '{}', patterns: [{{name: a, matches: a, warn: 9}}]}}",
                path("a.log"),
                path("log.state")
            ),
        ),
        (
            "journal",
            format!(
                "journal: {{journalctl: '{journalctl}', state: '{}', patterns: [{{name: a, matches: a, warn: 9}}]}}",
                path("journal.state")
            ),
        ),
        ("systemd", format!("systemd: {{systemctl: '{systemctl}', units: [a], failed: true}}")),
    ];
    for (kind, yaml) in rows {
        let outcome = run(probe(&yaml).as_ref()).await;
        let mut names: Vec<_> = outcome.families.iter().map(|f| f.name.clone()).collect();
        names.sort();
        assert_eq!(names, told(kind), "{kind}: {outcome:?}");
        let values = &manual(kind).unwrap().values;
        for one in &outcome.measurements {
            let is_pattern = matches!(kind, "log" | "journal");
            assert!(is_pattern || values.contains_key(&one.label), "{kind}: {}", one.label);
        }
    }
}

#[test]
fn no_page_names_a_metric_that_there_is_not() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut text = String::new();
    let mut folders = vec![sources.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    for entry in fs::read_dir(sources.join("manual")).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.file_stem().unwrap().to_str().unwrap();
        // The agent tells those of what jobs say.
        if matches!(kind, "heartbeat" | "push" | "script") {
            continue;
        }
        let of_phases = format!("probe_{kind}_duration_seconds");
        for name in told(kind) {
            assert!(name == of_phases || text.contains(&format!("\"{name}\"")), "{kind}: {name}");
        }
    }
}
