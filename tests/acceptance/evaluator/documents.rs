//! What the documents show works.
//!
//! Invariant: every block of YAML that says which file it is, is checked by its program.

use std::fs;
use std::path::Path;

use tests::program::{End, run};

/// Those in which somebody looks for what to write, beside those of the receivers.
const DOCUMENTS: [&str; 13] = [
    "README.md",
    "docs/moving.md",
    "docs/evaluator.md",
    "docs/rules.md",
    "docs/samples.md",
    "docs/delivery.md",
    "docs/silences.md",
    "docs/maintenance.md",
    "docs/sources.md",
    "docs/agent.md",
    "docs/probes.md",
    "docs/receivers.md",
    "probes/scripts/README.md",
];

#[test]
fn the_configurations_in_the_documents_are_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let secrets = regex::Regex::new(r"\$\{env:[A-Z_]+\}").unwrap();
    let mut checked = Vec::new();
    let receivers = fs::read_dir(root.join("docs/receivers")).unwrap();
    let receivers = receivers
        .map(|entry| format!("docs/receivers/{}", entry.unwrap().file_name().to_string_lossy()));
    for document in DOCUMENTS.map(str::to_owned).into_iter().chain(receivers) {
        let text = fs::read_to_string(root.join(&document)).unwrap();
        let before = checked.len();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let name = block.lines().next().unwrap().trim_start_matches("# ");
            let program = match name {
                "veilleur.yml" => "veilleur",
                "agent.yml" => "veilleur-agent",
                "rules.yml" => "veilleur",
                _ => continue,
            };
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join(name);
            // Programs of packages, and folders, that need not be here.
            let block = block.replace("/usr/lib/nagios/plugins/check_disk", "/bin/df");
            let block = block.replace("user: app", "user: root");
            let block = secrets.replace_all(&block, "a-secret");
            let folder = dir.path().to_str().unwrap();
            fs::write(&file, block.replace("/var/lib/veilleur-agent", folder)).unwrap();
            let words: &[&str] = match name {
                "rules.yml" => &["check", "rules", "--strict"],
                // Files with secrets are on other hosts.
                "veilleur.yml" => &["check", "--syntax-only"],
                _ => &["check"],
            };
            let words = words.iter().map(|word| std::ffi::OsStr::new(*word));
            let words = words.chain([file.as_os_str()]);
            let (end, _, said) = run(program, words);
            assert_eq!(end, End::Exit(0), "{document}:\n{said}\n{block}");
            checked.push(name.to_owned());
        }
        let shows = !document.starts_with("docs/receivers/") || checked.len() > before;
        assert!(shows, "{document} shows no example that is tried");
    }
    assert!(checked.len() >= 3, "{checked:?}");
}

/// Settings that all have.
const ELSEWHERE: [&str; 2] = ["send_resolved", "http_config"];

/// The settings that a section of a receiver knows, as the fault of an unknown one tells them.
fn known(section: &str) -> Vec<String> {
    let text =
        format!("route: {{receiver: a}}\nreceivers:\n- name: a\n  {section}: [{{'0': 1}}]\n");
    let faults = alertmanager::config::parse("f.yml", &text, Path::new("."), None).unwrap_err();
    let faults = faults.to_string();
    let known =
        faults.split("known here: ").nth(1).unwrap_or_else(|| panic!("{section}: {faults}"));
    quoted(known.lines().next().unwrap())
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn each_receiver_has_a_page_that_names_its_settings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let index = fs::read_to_string(root.join("docs/receivers.md")).unwrap();
    let (mut sections, mut broken) = (known_sections(), Vec::new());
    for entry in fs::read_dir(root.join("docs/receivers")).unwrap() {
        let path = entry.unwrap().path();
        let page = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        if !index.contains(&format!("](receivers/{page})")) {
            broken.push(format!("docs/receivers.md does not lead to {page}"));
        }
        let described = quoted(text.lines().next().unwrap());
        let known: Vec<String> = described.iter().flat_map(|section| known(section)).collect();
        sections.retain(|section| !described.contains(section));
        let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
        let named: Vec<String> =
            rows.flat_map(|row| quoted(row.split(" | ").next().unwrap())).collect();
        for setting in &known {
            let told = named.iter().any(|name| name.split('.').next() == Some(setting));
            if !told && !ELSEWHERE.contains(&setting.as_str()) {
                broken.push(format!("{page} does not tell of `{setting}`"));
            }
        }
        for name in &named {
            if !known.iter().any(|setting| name.split('.').next() == Some(setting)) {
                broken.push(format!("{page} tells of `{name}`, which there is not"));
            }
        }
    }
    broken.extend(sections.iter().map(|section| format!("`{section}` has no page")));
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// The sections that a receiver can have.
fn known_sections() -> Vec<String> {
    let text = "route: {receiver: a}\nreceivers: [{name: a, '0': 1}]\n";
    let faults = alertmanager::config::parse("f.yml", text, Path::new("."), None).unwrap_err();
    let faults = faults.to_string();
    let known = faults.split("known here: ").nth(1).unwrap_or_else(|| panic!("{faults}"));
    let names = quoted(known.lines().next().unwrap());
    names.into_iter().filter(|name| name.ends_with("_configs")).collect()
}
