//! What the documents show works.
//!
//! Invariant: every block of YAML that says which file it is, is checked by its program.

use std::fs;
use std::path::Path;

use tests::program::{End, run};

/// Those in which somebody looks for what to write.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "docs/evaluator.md",
    "docs/delivery.md",
    "docs/agent.md",
    "docs/probes.md",
    "probes/scripts/README.md",
];

#[test]
fn the_configurations_in_the_documents_are_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let secrets = regex::Regex::new(r"\$\{env:[A-Z_]+\}").unwrap();
    let mut checked = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let name = block.lines().next().unwrap().trim_start_matches("# ");
            let program = match name {
                "veilleur.yml" => "veilleur",
                "agent.yml" => "veilleur-agent",
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
            let (end, _, said) = run(program, ["check".as_ref(), file.as_os_str()]);
            assert_eq!(end, End::Exit(0), "{document}:\n{said}\n{block}");
            checked.push(name.to_owned());
        }
    }
    assert!(checked.len() >= 3, "{checked:?}");
}
