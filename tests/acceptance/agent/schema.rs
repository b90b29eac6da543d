//! `veilleur-agent schema` and `describe`, with the validator that Python has for JSON Schema.
//!
//! Invariant: what the documents show is right by the schema; what is wrong by it is refused by us.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use tests::peers;
use tests::program::{End, run};

/// Validates each file named on the command line, and prints those that are wrong.
const VALIDATE: &str = r"
import json, sys, yaml, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for path in sys.argv[2:]:
    # Where YAML 1.1 has a date or a truth, ours has what is written.
    document = json.loads(json.dumps(yaml.safe_load(open(path)), default=str))
    fault = jsonschema.exceptions.best_match(validator.iter_errors(document))
    print(path.rsplit('/', 1)[1], 'ok' if fault is None else str(fault.message)[:300])
";

/// Our blocks of the documents, and the configurations that we ship.
fn right() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let mut texts = vec![read("agent/src/default.yml"), read("agent/deploy/debian/agent.yml")];
    for document in ["README.md", "docs/agent.md", "docs/probes.md", "probes/scripts/README.md"] {
        let text = read(document);
        let blocks = text.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
        texts.extend(blocks.filter(|block| block.starts_with("# agent.yml")).map(str::to_owned));
    }
    assert!(texts.len() > 30, "{}", texts.len());
    texts
}

/// Each is wrong in one place.
const WRONG: [&str; 12] = [
    "chekcs: []",
    "checks: {a: b}",
    "checks: [{interval: 1m, probe: {tcp: {address: 'a:1'}}}]",
    "checks: [{name: a, interval: 60, probe: {tcp: {address: 'a:1'}}}]",
    "checks: [{name: a, interval: 1 minute, probe: {tcp: {address: 'a:1'}}}]",
    "checks: [{name: a, interval: 1m, probe: {tpc: {address: 'a:1'}}}]",
    "checks: [{name: a, interval: 1m, probe: {tcp: {adress: 'a:1'}}}]",
    "checks: [{name: a, interval: 1m, probe: {tcp: {address: 'a:1'}, icmp: {host: a}}}]",
    "checks: [{name: a, interval: 1m, probe: {icmp: {host: a, ip_protocol: ip5}}}]",
    "checks: [{name: a, interval: 1m, probe: {icmp: {host: a, packets: many}}}]",
    "checks: [{name: a, interval: 1m, probe: {file: {path: /a, thresholds: {age: 5}}}}]",
    "checks: [{name: a, interval: 1m, probe: {script: {command: /bin/true}}}]",
];

/// Each is unusual and right.
const UNUSUAL: [&str; 5] = [
    "checks: [{name: 2026, push: {max_age: '${env:AGE:-1m}'}}]",
    "checks: [{name: a, interval: 1m, probe: {icmp: {host: a, packets: '${env:N:-1}'}}}]",
    "checks: [{name: a, interval: 1m, probe: {http: {url: 'http://a/', expect_status: 200}}}]",
    "checks: [{name: a, interval: 1m, probe: {http: {url: 'http://a/', body_limit: 4096}}}]",
    "scripts: {concurrency: '8'}\nhost: {enabled: 'on'}",
];

#[test]
fn what_the_documents_show_is_right_by_the_schema() {
    let Some(python) = peers::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (end, schema, _) = run("veilleur-agent", ["schema"]);
    assert_eq!(end, End::Exit(0));
    let schema_file = folder.path().join("schema.json");
    fs::write(&schema_file, schema).unwrap();
    let (mut files, mut expected) = (Vec::new(), String::new());
    let write = |name: String, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let check = |file: &Path| run("veilleur-agent", ["check".as_ref(), file.as_os_str()]);
    for (n, text) in right().iter().enumerate() {
        files.push(write(format!("right-{n}.yml"), text));
        let _ = writeln!(expected, "right-{n}.yml ok");
    }
    for (n, text) in UNUSUAL.iter().enumerate() {
        let file = write(format!("right-unusual-{n}.yml"), text);
        let (end, _, said) = check(&file);
        assert_eq!(end, End::Exit(0), "{text}: {said}");
        let _ = writeln!(expected, "right-unusual-{n}.yml ok");
        files.push(file);
    }
    for (n, text) in WRONG.iter().enumerate() {
        let file = write(format!("wrong-{n}.yml"), text);
        assert_eq!(check(&file).0, End::Exit(2), "{text}");
        files.push(file);
    }
    let output =
        Command::new(python).args(["-c", VALIDATE]).arg(schema_file).args(&files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let lines =
        |begin: &str| said.lines().filter(|line| line.starts_with(begin)).collect::<Vec<_>>();
    assert_eq!(lines("right").join("\n") + "\n", expected);
    let wrong = lines("wrong");
    assert_eq!(wrong.len(), WRONG.len(), "{said}");
    assert!(wrong.iter().all(|line| !line.ends_with(" ok")), "{wrong:#?}");
}

#[test]
fn kinds_are_described() {
    let (end, list, _) = run("veilleur-agent", ["describe"]);
    assert!(end == End::Exit(0) && list.contains("icmp         Pings a host."), "{list}");
    let (end, told, _) = run("veilleur-agent", ["describe", "icmp"]);
    assert_eq!(end, End::Exit(0));
    for part in [
        "host (text, needed)",
        "packets (number, default 1)",
        "every (period, default 200ms)",
        "ip_protocol (ip4, ip6)",
        "probe_icmp_reply_hop_limit",
        "no-reply",
        "No packet came back.",
        "probe:\n      icmp:\n",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let (end, _, said) = run("veilleur-agent", ["describe", "imcp"]);
    assert_eq!(end, End::Exit(2));
    assert!(said.contains("did you mean `icmp`?"), "{said}");
}
