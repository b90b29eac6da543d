//! `veilleur storage` over a data folder, with blocks that a real promtool wrote.
//!
//! Invariant: what was taken in comes out again, sample for sample.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::peers;
use tests::program::{End, run};

/// A day in 2025, at the begin of a window of two hours.
const BEGIN: i64 = 1_757_376_000;

/// Nine hours of three series, a sample a minute, in the form in which they are exported.
fn text() -> String {
    let mut text = String::new();
    for (name, step) in [("a", 0.5), ("b", 1.25), ("c", -3.0)] {
        for minute in 0..540 {
            let value = f64::from(minute) * step + 0.125;
            let time = BEGIN + i64::from(minute) * 60;
            text.push_str(&format!(
                "disk_use{{host=\"{name}\",path=\"/a \\\"b\\\"\"}} {value:?} {time}\n"
            ));
        }
    }
    text + "# EOF\n"
}

/// Runs `veilleur storage`; its exit status, what it printed and what it complained of.
fn storage(data: &Path, arguments: &[&str]) -> (i32, String, String) {
    let (command, rest) = arguments.split_first().unwrap();
    let data = data.display().to_string();
    let mut all = vec!["storage", command, "--data", &data];
    all.extend(rest);
    let (end, out, err) = run("veilleur", all);
    match end {
        End::Exit(code) => (code, out, err),
        End::Signal(number) => panic!("signal {number}: {err}"),
    }
}

fn all_lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn text_is_taken_in_checked_and_given_out_again_f31() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("samples.om");
    fs::write(&file, text()).unwrap();
    let file = file.display().to_string();
    let (code, out, err) = storage(&data, &["import", &file]);
    assert_eq!((code, out.as_str()), (0, "imported 1620 samples\n"), "{err}");
    // Again: it is there already.
    assert_eq!(storage(&data, &["import", &file]).1, "imported 1620 samples\n");

    let (code, out, _) = storage(&data, &["check"]);
    assert!(code == 0 && out.starts_with("ok: 3 blocks") && out.contains("samples\n"), "{out}");
    let (_, out, _) = storage(&data, &["stats"]);
    assert!(out.starts_with("series 3\nsamples 1620\n"), "{out}");
    assert!(out.contains("         3 disk_use\n"), "{out}");
    let (_, out, err) = storage(&data, &["export"]);
    assert_eq!((all_lines(&out), err.as_str()), (all_lines(&text()), ""));
    let from = (BEGIN + 600).to_string();
    let to = (BEGIN + 720).to_string();
    let matching = ["export", "--match", "{host=~\"a|x\"}", "--from", &from, "--to", &to];
    let (_, out, _) = storage(&data, &matching);
    assert_eq!(out.lines().count(), 4, "{out}");

    let copy = dir.path().join("copy");
    let copied = copy.join("samples").display().to_string();
    fs::create_dir(&copy).unwrap();
    assert_eq!(storage(&data, &["snapshot", &copied]).0, 0);
    assert_eq!(storage(&copy, &["export"]).1, text());

    let (code, out, err) = storage(&data, &["delete", "--match", "disk_use{host=\"b\"}"]);
    assert_eq!(code, 0, "{out}{err}");
    let left: String =
        text().lines().filter(|line| !line.contains("\"b\",")).map(|l| format!("{l}\n")).collect();
    assert_eq!(storage(&data, &["export"]).1, left);

    let blocks = data.join("samples/blocks");
    let block = fs::read_dir(&blocks).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&block).unwrap();
    bytes[40] ^= 4;
    fs::write(&block, bytes).unwrap();
    let (code, out, _) = storage(&data, &["check"]);
    assert_eq!(code, 1);
    assert!(out.contains("has a wrong sum") && out.contains("1 fault: "), "{out}");
}

#[test]
fn what_cannot_be_imported_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("x.om");
    for (text, expected) in [
        ("up 1\n# EOF\n", "`up` has no timestamp"),
        ("up 1 5\n", "# EOF"),
        ("up{ 1 5\n# EOF\n", "line 1"),
    ] {
        fs::write(&file, text).unwrap();
        let (code, _, err) = storage(&data, &["import", &file.display().to_string()]);
        assert!(code == 1 && err.contains(expected), "{text}: {err}");
    }
    let (code, _, err) = storage(&data, &["import", &dir.path().display().to_string()]);
    assert!(code == 1 && err.contains("neither a block"), "{err}");
    let (code, _, err) = storage(&dir.path().join("none"), &["check"]);
    assert!(code == 1 && err.contains("there are no samples in"), "{err}");
    let (code, _, err) = storage(&data, &["export", "--match", "rate("]);
    assert!(code == 2 && err.contains("--match"), "{err}");
}

#[test]
fn blocks_of_a_real_promtool_are_read() {
    let Some(promtool) = peers::program("promtool") else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("samples.om");
    let blocks = dir.path().join("blocks");
    fs::write(&file, text()).unwrap();
    let made = Command::new(promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, &blocks])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let blocks = blocks.display().to_string();
    let (code, out, err) = storage(&data, &["import", &blocks]);
    assert_eq!((code, out.as_str()), (0, "imported 1620 samples\n"), "{err}");
    assert_eq!(storage(&data, &["export"]).1, text());
}
