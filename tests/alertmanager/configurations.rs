//! Configurations that Alertmanager and we must judge alike: one with every setting of every kind of
//! receiver, and random ones that are wrong in one place.
//!
//! `DIFFERENTIAL_SEED` asks for other faults, `DIFFERENTIAL_FILES` for more of them.
//!
//! Invariant: what is judged otherwise is in [`EXCEPTIONS`], with the reason in
//! `docs/compatibility.md`; among [`THOUSANDS`] of files each of them comes up.

use std::fs;
use std::path::Path;
use std::process::Command;

use base::diagnostic::Diagnostics;
use serde_json::{Value, json};
use tests::program::{Program, free_port};
use tests::{get, peers, wait_until};

use crate::random::Random;

/// Settings of every kind of receiver, and of the sections around them.
const EVERY: &str = include_str!("every_receiver.yml");

/// What is said of a file on which `amtool` fails itself.
const BREAKS_OFF: &str = "it breaks off";

fn every() -> Value {
    let mut diagnostics = Diagnostics::new("every_receiver.yml");
    let value = base::yaml::read(EVERY, &mut diagnostics);
    assert_eq!(diagnostics.to_string(), "");
    value.unwrap()
}

/// What is wrong with each file, by `amtool`; nothing where it takes it.
fn judged_by_amtool(amtool: &Path, folder: &Path, count: usize) -> Vec<Option<String>> {
    let path = |n: usize| folder.join(format!("{n}.yml"));
    let mut found = Vec::new();
    while found.len() < count {
        let files = (found.len()..count.min(found.len() + 200)).map(path);
        let done = Command::new(amtool).arg("check-config").args(files).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        let before = found.len();
        found.extend(said.split("Checking '").skip(1).map(|text| {
            let fault = text.split_once("FAILED: ").map(|(_, fault)| fault.trim());
            match text.contains("SUCCESS") {
                true => None,
                // There are files on which it breaks off, and looks at no other.
                false => Some(fault.unwrap_or(BREAKS_OFF).to_owned()),
            }
        }));
        assert!(found.len() > before, "{done:?}");
    }
    assert_eq!(found.len(), count);
    found
}

fn judged_by_us(path: &Path) -> Option<String> {
    alertmanager::config::read(path, None).err().map(|faults| faults.to_string())
}

#[test]
fn what_either_shows_of_every_setting_is_taken_by_the_other() {
    let (Some(amtool), Some(mut command)) = (peers::program("amtool"), peers::alertmanager())
    else {
        return;
    };
    let (dir, listen) = (tempfile::tempdir().unwrap(), format!("127.0.0.1:{}", free_port()));
    let file = |n: usize| dir.path().join(format!("{n}.yml"));
    fs::write(file(0), EVERY).unwrap();
    command
        .arg(format!("--config.file={}", file(0).display()))
        .arg(format!("--storage.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address={listen}"))
        .args(["--cluster.listen-address=", "--log.level=error"]);
    let _theirs = Program::spawn(command);
    let status = format!("http://{listen}/api/v2/status");
    let answer = || get(&status).filter(|(status, _)| *status == 200);
    wait_until("it is ready", || answer().is_some());
    // What `amtool config show` prints: everything, with what is so where nothing is said.
    let status: Value = serde_json::from_str(&answer().unwrap().1).unwrap();
    fs::write(file(1), status["config"]["original"].as_str().unwrap()).unwrap();
    let ours = alertmanager::config::read(&file(0), None).map_err(|faults| faults.to_string());
    fs::write(file(2), ours.unwrap().shown.alertmanager).unwrap();
    for n in 0..3 {
        assert_eq!(judged_by_us(&file(n)), None, "{n}");
    }
    assert_eq!(judged_by_amtool(&amtool, dir.path(), 3), [const { None }; 3]);
}

/// A place in a configuration: names and numbers on the way to it.
type Way = Vec<String>;

fn ways(value: &Value, here: &Way, found: &mut Vec<Way>) {
    let mut go = |name: String, value: &Value| {
        let way = [here.as_slice(), &[name]].concat();
        found.push(way.clone());
        ways(value, &way, found);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| go(name.clone(), value)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| go(n.to_string(), value));
        }
        _ => {}
    }
}

/// A file with one entry of one kind of receiver, and the sections around it.
fn one_of(every: &Value, random: &mut Random) -> Value {
    let kinds = every["receivers"][1].as_object().unwrap();
    let kinds: Vec<_> = kinds.iter().filter(|(name, _)| *name != "name").collect();
    let (kind, entries) = random.pick(&kinds);
    let entry = random.pick(entries.as_array().unwrap());
    let mut file = every.clone();
    file["receivers"] = json!([{"name": "all", kind: [entry]}, {"name": "named"}]);
    // Without what belongs to other kinds it is missed where an entry needs it.
    if random.chance(30) {
        let global = file["global"].as_object_mut().unwrap();
        let names: Vec<String> = global.keys().cloned().collect();
        for name in names.iter().filter(|_| random.chance(30)) {
            global.remove(name);
        }
    }
    file
}

/// Makes one place of `file` wrong, or different; tells where and how.
fn spoil(file: &mut Value, random: &mut Random) -> String {
    let mut found = Vec::new();
    ways(file, &Way::new(), &mut found);
    let inside = |way: &&Way| way[0] == "receivers" && way.get(1).is_some_and(|n| n == "0");
    let receivers: Vec<Way> = found.iter().filter(inside).cloned().collect();
    let way = if random.chance(60) { random.pick(&receivers) } else { random.pick(&found) };
    let (last, around) = way.split_last().unwrap();
    let mut place = file;
    for step in around {
        place = match place {
            Value::Array(list) => &mut list[step.parse::<usize>().unwrap()],
            place => &mut place[step.as_str()],
        };
    }
    let what = random.pick(SPOILT);
    let (name, value): (&str, Option<Value>) = match what {
        "" => ("dropped", None),
        text => (text, Some(serde_json::from_str(text).unwrap())),
    };
    match (place, value) {
        (Value::Object(map), None) => drop(map.remove(last)),
        (Value::Object(map), Some(_)) if name == UNKNOWN => {
            map.insert("unknown_setting".to_owned(), json!("x"));
        }
        (Value::Object(map), Some(value)) => drop(map.insert(last.clone(), value)),
        (Value::Array(list), None) => drop(list.remove(last.parse().unwrap())),
        (Value::Array(list), Some(value)) => list[last.parse::<usize>().unwrap()] = value,
        _ => {}
    }
    let way: Vec<_> =
        way.iter().map(|s| if s.parse::<u8>().is_ok() { "*" } else { s.as_str() }).collect();
    format!("{} = {name}", way.join("."))
}

/// Stands for a setting that nobody knows, beside the place.
const UNKNOWN: &str = "\"an unknown setting\"";

/// What a value becomes, as JSON; `""` takes it out.
const SPOILT: &[&str] = &[
    "",
    "",
    UNKNOWN,
    "null",
    "true",
    "5",
    "-1",
    "1.5",
    "\"\"",
    "[]",
    "{}",
    "\"x\"",
    "[\"x\"]",
    "{\"x\": \"y\"}",
    "\"5\"",
    "\"-1s\"",
    "\"0s\"",
    "\"5x\"",
    "\"1h30m\"",
    "\"http://\"",
    "\"ftp://a/b\"",
    "\"http://a/b c\"",
    "\"https://u:p@h/x\"",
    "\"a=~\\\"(\\\"\"",
    "\"a-b\"",
    "\"\\u00fc\"",
    "\"(\"",
    "\"a b\"",
    "\"<secret>\"",
    "\"{{ .CommonLabels.x }}\"",
    "\"{{ .x\"",
    "\"{{ template \\\"nope\\\" . }}\"",
];

/// What is said of files that one takes and the other refuses on purpose, and whether it is us who
/// refuse. The reasons are in `docs/compatibility.md`.
const EXCEPTIONS: &[(&str, bool)] = &[
    ("is no list of addresses", true),
    ("this is no address to post to", true),
    ("is not `host:port`", true),
    ("this is no address of a proxy", true),
    ("has no password", true),
    ("unclosed action", true),
    ("expected a template, or `template`", true),
    ("expected a whole number, found `1.5`", true),
    ("`alert_source_token` is missing", true),
    ("`` is not a ", true),
    ("`-1` is not a year", true),
    ("the field has no", true),
    // A number in quotes is a number, a name that begins with `@` is a chat, and an address that is
    // empty is none.
    ("cannot unmarshal", false),
    ("unsupported scheme \"\" for URL", false),
];

/// So many files show every exception.
const THOUSANDS: usize = 20_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn random_faults_are_faults_for_both() {
    let Some(amtool) = peers::program("amtool") else { return };
    let seed = number("DIFFERENTIAL_SEED").unwrap_or(1);
    let count = number("DIFFERENTIAL_FILES").unwrap_or(600) as usize;
    let (every, mut random, dir) = (every(), Random::new(seed), tempfile::tempdir().unwrap());
    let mut changes = Vec::new();
    for n in 0..count {
        let mut file = one_of(&every, &mut random);
        changes.push(spoil(&mut file, &mut random));
        fs::write(dir.path().join(format!("{n}.yml")), file.to_string()).unwrap();
    }
    let theirs = judged_by_amtool(&amtool, dir.path(), count);
    let (mut refused, mut differ) = (0, Vec::new());
    let mut met = vec![false; EXCEPTIONS.len()];
    for (n, (theirs, change)) in theirs.iter().zip(&changes).enumerate() {
        let ours = judged_by_us(&dir.path().join(format!("{n}.yml")));
        refused += usize::from(theirs.is_some());
        let (said, by_us) = match (&ours, theirs) {
            // Where it breaks off nobody knows what it would say.
            (_, Some(theirs)) if theirs == BREAKS_OFF => continue,
            (Some(ours), None) => (ours, true),
            (None, Some(theirs)) => (theirs, false),
            _ => continue,
        };
        let known = |(text, ours): &(&str, bool)| *ours == by_us && said.contains(text);
        match EXCEPTIONS.iter().position(known) {
            Some(exception) => met[exception] = true,
            None => differ.push(format!("{change}\n  ours: {ours:?}\n  theirs: {theirs:?}")),
        }
    }
    let never: Vec<_> = EXCEPTIONS.iter().zip(&met).filter(|(_, met)| !**met).collect();
    assert!(count < THOUSANDS || never.is_empty(), "no exceptions any more: {never:?}");
    differ.sort();
    differ.dedup();
    assert!(differ.is_empty(), "{} of {count}:\n{}", differ.len(), differ.join("\n"));
    // Both kinds are there, so that the test says something.
    assert!(refused > count / 5 && refused < count * 4 / 5, "{refused} of {count}");
}
