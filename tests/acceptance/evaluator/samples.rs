//! `veilleur storage` over a data folder, with blocks that a real promtool wrote.
//!
//! Invariant: what was taken in comes out again, sample for sample.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::program::{End, Program, free_port, run};
use tests::{ask, escaped, get, peers, wait_until};

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
fn text_is_taken_in_checked_and_given_out_again() {
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

/// Minutes of which samples are deleted, and of which series.
const DELETED: (i64, i64) = (100, 250);

/// What [`text`] is without what is deleted.
fn text_without_deleted() -> String {
    let is_kept = |line: &str| {
        let time = line.rsplit(' ').next().and_then(|time| time.parse::<i64>().ok());
        let minute = time.map_or(-1, |time| (time - BEGIN) / 60);
        !line.contains("host=\"b\"") || !(DELETED.0..=DELETED.1).contains(&minute)
    };
    text().lines().filter(|line| is_kept(line)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_a_real_prometheus_has_deleted_stays_deleted() {
    let programs = peers::program("promtool").zip(peers::program("prometheus"));
    let Some((promtool, prometheus)) = programs else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    fs::write(path("samples.om"), text()).unwrap();
    let target = HttpServer::start(|_| Reply::text("new 7\n"));
    let config = format!(
        "scrape_configs:\n- {{job_name: t, scrape_interval: 1s, static_configs: [{{targets: ['{}']}}]}}\n",
        target.address()
    );
    fs::write(path("prometheus.yml"), config).unwrap();
    let made = Command::new(promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics", &path("samples.om"), &path("tsdb")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    // Blocks are left as they are: one that is written anew has no tombstones any more.
    let server = Program::start(
        prometheus.to_str().unwrap(),
        [
            format!("--config.file={}", path("prometheus.yml")),
            format!("--storage.tsdb.path={}", path("tsdb")),
            "--storage.tsdb.retention.time=100y".to_owned(),
            "--storage.tsdb.min-block-duration=2h".to_owned(),
            "--storage.tsdb.max-block-duration=2h".to_owned(),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-admin-api".to_owned(),
        ],
    );
    wait_until("it is ready", || get(&format!("{url}/-/ready")).is_some_and(|(s, _)| s == 200));
    let (from, to) = (BEGIN + DELETED.0 * 60, BEGIN + DELETED.1 * 60);
    let matcher = escaped("{host=\"b\"}");
    let admin = format!("{url}/api/v1/admin/tsdb");
    let delete = format!("{admin}/delete_series?match[]={matcher}&start={from}&end={to}");
    assert_eq!(ask("POST", &delete, "", "").unwrap().0, 204);
    // And samples of now, which are in its log only.
    wait_until("it has scraped", || {
        let found = get(&format!("{url}/api/v1/query?query=new"));
        found.is_some_and(|(_, body)| body.contains("\"7\""))
    });
    let (status, answer) = ask("POST", &format!("{admin}/snapshot"), "", "").unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 200, "{answer}");
    let snapshot =
        format!("{}/snapshots/{}", path("tsdb"), answer["data"]["name"].as_str().unwrap());
    server.terminate();
    let tombstones = |folder: &str| {
        let blocks = fs::read_dir(folder).unwrap().map(|block| block.unwrap().path());
        let lengths = blocks.filter_map(|block| fs::metadata(block.join("tombstones")).ok());
        lengths.map(|about| about.len()).filter(|length| *length > 9).count()
    };
    assert!(tombstones(&path("tsdb")) > 0 && tombstones(&snapshot) > 0);

    // Its folder: without what is in its log, which is told.
    let (code, out, err) = storage(&dir.path().join("a"), &["import", &path("tsdb")]);
    let kept = text_without_deleted().lines().count() - 1;
    assert_eq!((code, out), (0, format!("imported {kept} samples\n")), "{err}");
    assert!(err.contains("tsdb/wal: the last samples") && err.contains("tsdb/snapshot"), "{err}");
    assert_eq!(storage(&dir.path().join("a"), &["export"]).1, text_without_deleted());
    // The snapshot has that, too.
    let data = dir.path().join("b");
    let (code, out, err) = storage(&data, &["import", &snapshot]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let disk = storage(&data, &["export", "--match", "disk_use"]).1;
    assert_eq!(disk, text_without_deleted());
    let new = storage(&data, &["export", "--match", "new"]).1;
    assert!(new.starts_with("new{") && new.contains("} 7.0 "), "{new}");
    // A folder with a log only, and a block whose tombstones are damaged.
    fs::create_dir_all(dir.path().join("young/wal")).unwrap();
    fs::copy(dir.path().join("tsdb/wal/00000000"), dir.path().join("young/wal/00000000")).unwrap();
    let (code, _, err) = storage(&data, &["import", &path("young")]);
    assert!(code == 1 && err.contains("has no block; ") && err.contains("admin-api"), "{err}");
    let mut block =
        fs::read_dir(&snapshot).unwrap().map(|block| block.unwrap().path().join("tombstones"));
    let marked = block.find(|file| fs::metadata(file).is_ok_and(|about| about.len() > 9));
    let mut bytes = fs::read(marked.as_ref().unwrap()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(marked.unwrap(), bytes).unwrap();
    let (code, _, err) = storage(&dir.path().join("c"), &["import", &snapshot]);
    assert!(code == 1 && err.contains("tombstones is no sound file"), "{err}");
}
