//! The data folder goes away, or takes nothing any more, while the real program watches: F35.
//!
//! Invariant: the folder is taken from a program that runs, and given back to the same.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::http_server::{HttpServer, Reply};
use tests::program::{End, run};
use tests::{ask, wait_until};

use crate::rig::Evaluator;

/// An evaluator that watches `target` and tells `chat`.
pub(crate) fn watching(target: &HttpServer, chat: &HttpServer) -> Evaluator {
    let evaluator = Evaluator::new();
    evaluator.write(
        "rules.yml",
        "groups:\n- name: g\n  rules:\n  - {alert: Broken, expr: broken == 1}\n",
    );
    evaluator.write(
        "veilleur.yml",
        &format!(
            "global: {{scrape_interval: 500ms, evaluation_interval: 500ms}}\nscrape_configs:\n\
             - {{job_name: t, static_configs: [{{targets: ['{}']}}]}}\n\
             rule_files: [rules.yml]\nbuiltin_rules: {{enabled: false}}\n\
             route: {{receiver: chat, group_by: [alertname], group_wait: 0s, group_interval: 500ms}}\n\
             receivers: [{{name: chat, webhook_configs: [{{url: '{}'}}]}}]\n",
            target.address(),
            chat.url("/chat")
        ),
    );
    evaluator
}

/// What the chat was told, one alert after the other.
pub(crate) fn told(chat: &HttpServer) -> Vec<String> {
    let name = |alert: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(&alert["labels"]["alertname"]), text(&alert["status"]))
    };
    let bodies = chat.asked();
    let alerts = bodies.iter().flat_map(|asked| asked.json()["alerts"].as_array().unwrap().clone());
    alerts.map(|alert| name(&alert)).collect()
}

/// The part `data` of `/health`: its status, and what it says.
fn data(evaluator: &Evaluator) -> (String, String) {
    let (_, body) = evaluator.get("/health").unwrap_or_default();
    let health: Value = serde_json::from_str(&body).unwrap_or_default();
    let part = &health["checks"]["data"][0];
    let text = |name: &str| part[name].as_str().unwrap_or_default().to_owned();
    (text("status"), text("output"))
}

#[test]
fn a_folder_that_vanishes_is_told_and_pages_go_on_f35() {
    let target = HttpServer::start(|_| Reply::text("broken 0\n"));
    let chat = HttpServer::sink();
    let mut evaluator = watching(&target, &chat);
    evaluator.start();
    wait_until("it is scraped", || evaluator.value("broken") == "0");
    assert_eq!(data(&evaluator).0, "pass");
    let (folder, elsewhere) = (evaluator.path("data"), evaluator.path("elsewhere"));
    fs::rename(&folder, &elsewhere).unwrap();
    wait_until("health says so", || data(&evaluator).0 == "fail");
    assert!(data(&evaluator).1.contains("is gone"), "{:?}", data(&evaluator));
    assert_eq!(evaluator.get("/health").unwrap().0, 503);
    // What breaks now is told, and that the folder is gone as well.
    target.reply_with(|_| Reply::text("broken 1\n"));
    wait_until("both are told", || {
        let told = told(&chat);
        ["Broken firing", "DataFolderFailing firing"]
            .iter()
            .all(|one| told.contains(&(*one).into()))
    });
    target.reply_with(|_| Reply::text("broken 0\n"));
    wait_until("its end is told", || told(&chat).contains(&"Broken resolved".to_owned()));
    // Another folder in its place is not ours.
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("lock"), "").unwrap();
    wait_until("health says so", || data(&evaluator).1.contains("is no longer the folder"));
    fs::remove_dir_all(&folder).unwrap();
    target.reply_with(|_| Reply::text("broken 1\n"));
    let again = || told(&chat).iter().filter(|one| *one == "Broken firing").count() == 2;
    wait_until("it breaks again", again);
    fs::rename(&elsewhere, &folder).unwrap();
    wait_until("all is well again", || data(&evaluator).0 == "pass");
    wait_until("that is told", || told(&chat).contains(&"DataFolderFailing resolved".to_owned()));
    assert!(evaluator.program().log().contains("takes what is written again"));
    // What was told and is not noted yet would be told again (G2).
    wait_until("it is noted", || evaluator.own("veilleur_outbox_waiting") == 0.0);
    // What happened meanwhile is in the folder.
    let known = told(&chat).len();
    evaluator.kill();
    evaluator.start();
    evaluator.let_evaluate(3);
    assert_eq!(evaluator.alerts("firing"), ["Broken"]);
    assert_eq!(told(&chat).len(), known, "{:?}", told(&chat));
    assert_ne!(evaluator.value("count_over_time(broken[5m])"), "");
}

/// A small file system of its own; gone with its owner.
pub(crate) struct SmallDisk(pub(crate) PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has it open loses it later.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl SmallDisk {
    /// One of 16 MiB at `folder`.
    pub(crate) fn at(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs"]).arg(&folder);
        assert!(mount.status().unwrap().success(), "mounting takes root");
        Self(folder)
    }

    /// Mounts it anew, `ro` or `rw`; nobody may have a file of it open for writing.
    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(&self.0);
        assert!(mount.status().unwrap().success(), "{how}");
    }
}

/// Posts a silence of 2,000 times `text`; the status.
fn silence(evaluator: &Evaluator, text: &str) -> u16 {
    let body = format!(
        "{{\"matchers\":[{{\"name\":\"a\",\"value\":\"{text}\",\"isRegex\":false}}],\
         \"startsAt\":\"2020-01-01T00:00:00Z\",\"endsAt\":\"2099-01-01T00:00:00Z\",\
         \"createdBy\":\"x\",\"comment\":\"{}\"}}",
        text.repeat(2000)
    );
    let url = format!("http://127.0.0.1:{}/api/v2/silences", evaluator.port);
    ask("POST", &url, "Content-Type: application/json\r\n", &body).unwrap().0
}

#[test]
fn what_is_decided_after_a_full_disk_is_on_it_f32() {
    let target = HttpServer::start(|_| Reply::text("broken 0\n"));
    let chat = HttpServer::sink();
    let mut evaluator = watching(&target, &chat);
    let disk = SmallDisk::at(evaluator.path("data"));
    evaluator.start();
    wait_until("it is scraped", || evaluator.value("broken") == "0");
    let filler = disk.0.join("filler");
    let _ = fs::write(&filler, vec![0; 32 << 20]);
    target.reply_with(|_| Reply::text("broken 1\n"));
    wait_until("it is told while nothing can be written", || {
        told(&chat).contains(&"Broken firing".to_owned())
    });
    // Timers, silences and the history fail to be saved now, by each of the connections.
    let silence = |text: &str| silence(&evaluator, text);
    wait_until("a silence is refused", || silence("full") == 500);
    fs::remove_file(&filler).unwrap();
    wait_until("a silence is taken", || silence("room") == 200);
    target.reply_with(|_| Reply::text("broken 0\n"));
    wait_until("its end is told", || told(&chat).contains(&"Broken resolved".to_owned()));
    wait_until("all is well again", || evaluator.get("/health").unwrap().0 == 200);
    let known = told(&chat).len();
    evaluator.kill();
    evaluator.start();
    evaluator.let_evaluate(3);
    let (_, silences) = evaluator.get("/api/v2/silences").unwrap();
    assert!(silences.contains("\"room\""), "{silences}");
    assert_eq!(evaluator.alerts("firing"), [""; 0]);
    assert_eq!(told(&chat).len(), known, "{:?}", told(&chat));
}

#[test]
fn a_folder_that_takes_nothing_is_told_until_it_does_f35() {
    let target = HttpServer::start(|_| Reply::text("broken 0\n"));
    let chat = HttpServer::sink();
    let mut evaluator = watching(&target, &chat);
    let rules = fs::read_to_string(evaluator.path("rules.yml")).unwrap();
    let waited = "  - {alert: Waited, expr: broken == 1, for: 1s}\n";
    evaluator.write("rules.yml", &(rules + waited));
    let disk = SmallDisk::at(evaluator.path("data"));
    evaluator.start();
    wait_until("it is scraped", || evaluator.value("broken") == "0");
    // A kernel lets nobody make a file system read-only from which files are open for writing: one
    // without room stands for it.
    let filler = disk.0.join("filler");
    let _ = fs::write(&filler, vec![0; 32 << 20]);
    wait_until("health says so", || data(&evaluator).1.contains("nothing can be written"));
    assert_eq!(data(&evaluator).0, "fail");
    // What breaks now is told, after its wait as well, and that the disk is full; what is over, too. More
    // than fits into the pages that the files have already.
    let more = |n: u32| format!("more{{n=\"{n}\"}} 1\n");
    let broken = format!("broken 1\n{}", (0..500).map(more).collect::<String>());
    target.reply_with(move |_| Reply::text(&broken));
    wait_until("it is told while nothing can be written", || {
        ["Broken firing", "Waited firing", "DataFolderFailing firing"]
            .iter()
            .all(|one| told(&chat).contains(&(*one).into()))
    });
    wait_until("samples are in memory only", || {
        evaluator.own("veilleur_storage_unlogged_samples") > 500.0
    });
    assert_eq!(evaluator.value("count(more)"), "500");
    // Who pushes an alert hears that it may be forgotten; it counts all the same.
    let url = format!("http://127.0.0.1:{}/api/v2/alerts", evaluator.port);
    let text = "x".repeat(10_000);
    let body = format!(
        r#"[{{"labels": {{"alertname": "Pushed"}}, "annotations": {{"text": "{text}"}}}}]"#
    );
    let (status, answer) = ask("POST", &url, "content-type: application/json\r\n", &body).unwrap();
    assert!(status == 503 && answer.contains("a restart forgets it"), "{status} {answer}");
    wait_until("it is told", || told(&chat).contains(&"Pushed firing".to_owned()));
    // A reload forgets nothing of that.
    let url = format!("http://127.0.0.1:{}/-/reload", evaluator.port);
    assert_eq!(ask("POST", &url, "", "").unwrap().0, 200);
    evaluator.let_evaluate(2);
    assert_eq!(evaluator.alerts("firing"), ["Broken", "Waited"]);
    target.reply_with(|_| Reply::text("broken 0\n"));
    wait_until("its end is told", || told(&chat).contains(&"Broken resolved".to_owned()));
    target.reply_with(|_| Reply::text("broken 1\n"));
    let again = || told(&chat).iter().filter(|one| *one == "Waited firing").count() == 2;
    wait_until("it breaks again", again);
    assert!(fs::metadata(&filler).unwrap().len() > 1 << 20, "there is room again");
    fs::remove_file(&filler).unwrap();
    wait_until("all is well again", || data(&evaluator).0 == "pass");
    assert!(evaluator.program().is_running());
    assert!(!disk.0.join("trial").exists());
    let before = evaluator.value("count_over_time(broken[5m])").parse::<f64>().unwrap_or(0.0);
    wait_until("samples are stored again", || {
        evaluator.value("count_over_time(broken[5m])").parse::<f64>().is_ok_and(|n| n > before)
    });
    // From now on what happened meanwhile is known after a crash, too.
    wait_until("the state is written", || {
        let log = evaluator.program().log();
        log.contains("the journal is on the disk again")
            && log.contains("in the state database again")
            && evaluator.own("veilleur_storage_unlogged_samples") == 0.0
    });
    wait_until("that is told", || told(&chat).contains(&"DataFolderFailing resolved".to_owned()));
    wait_until("it is noted", || evaluator.own("veilleur_outbox_waiting") == 0.0);
    let known = told(&chat);
    evaluator.kill();
    evaluator.start();
    evaluator.let_evaluate(3);
    assert_eq!(evaluator.alerts("firing"), ["Broken", "Waited"]);
    assert_eq!(told(&chat), known);
}

#[test]
fn a_start_on_a_full_disk_reads_what_is_there_and_goes_on_f32_f35() {
    for orderly in [true, false] {
        let target = HttpServer::start(|_| Reply::text("broken 0\n"));
        let chat = HttpServer::sink();
        let mut evaluator = watching(&target, &chat);
        let disk = SmallDisk::at(evaluator.path("data"));
        evaluator.start();
        let count = |evaluator: &Evaluator| {
            evaluator.value("count_over_time(broken[1h])").parse::<f64>().unwrap_or(0.0)
        };
        wait_until("it is scraped", || count(&evaluator) >= 3.0);
        assert_eq!(silence(&evaluator, "before"), 200);
        let before = count(&evaluator);
        if orderly {
            evaluator.program().signal("TERM");
            assert_eq!(evaluator.program().wait(), End::Exit(0));
        } else {
            evaluator.kill();
        }
        let filler = disk.0.join("filler");
        let _ = fs::write(&filler, vec![0; 32 << 20]);
        evaluator.start();
        wait_until("health says so", || data(&evaluator).1.contains("nothing can be written"));
        assert!(count(&evaluator) >= before, "{}", count(&evaluator));
        let silences = evaluator.get("/api/v2/silences").unwrap().1;
        assert!(silences.contains("\"before\""), "{silences}");
        target.reply_with(|_| Reply::text("broken 1\n"));
        wait_until("it is told while nothing can be written", || {
            ["Broken firing", "DataFolderFailing firing"]
                .iter()
                .all(|one| told(&chat).contains(&(*one).into()))
        });
        assert!(fs::metadata(&filler).unwrap().len() > 1 << 20, "there is room again");
        fs::remove_file(&filler).unwrap();
        wait_until("all is well again", || data(&evaluator).0 == "pass");
        wait_until("samples are written", || {
            evaluator.own("veilleur_storage_unlogged_samples") == 0.0
        });
        wait_until("a silence is taken", || silence(&evaluator, "after") == 200);
        let resolved = || told(&chat).contains(&"DataFolderFailing resolved".to_owned());
        wait_until("that is told", resolved);
        wait_until("it is noted", || evaluator.own("veilleur_outbox_waiting") == 0.0);
        let known = told(&chat);
        evaluator.kill();
        evaluator.start();
        evaluator.let_evaluate(3);
        assert_eq!(evaluator.alerts("firing"), ["Broken"]);
        assert_eq!(told(&chat), known);
        let silences = evaluator.get("/api/v2/silences").unwrap().1;
        assert!(silences.contains("\"before\"") && silences.contains("\"after\""), "{silences}");
    }
}

#[test]
fn a_start_without_room_for_a_state_or_with_one_that_cannot_be_read_says_what_to_do_f35() {
    let refused = |evaluator: &Evaluator, expected: &[&str]| {
        let (end, _, said) = run("veilleur", evaluator.arguments());
        assert_eq!(end, End::Exit(1), "{said}");
        for expected in expected {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    };
    // Nothing was ever there: there is nothing to go on with, and whoever starts it looks.
    let evaluator = Evaluator::new();
    evaluator.write("veilleur.yml", "builtin_rules: {enabled: false}\n");
    let disk = SmallDisk::at(evaluator.path("data"));
    let filler = disk.0.join("filler");
    let _ = fs::write(&filler, vec![0; 32 << 20]);
    refused(&evaluator, &["cannot use", "state.db", "nothing can be written to", "make room"]);
    fs::remove_file(&filler).unwrap();
    let mut evaluator = evaluator;
    evaluator.start();
    evaluator.program().signal("TERM");
    evaluator.program().wait();
    disk.remount("ro");
    refused(&evaluator, &["nothing can be written to the data folder", "mount it for writing"]);
    disk.remount("rw");
    // It was written over.
    let state = disk.0.join("state.db");
    let whole = fs::read(&state).unwrap();
    fs::write(&state, "no database\n".repeat(2000)).unwrap();
    refused(&evaluator, &["cannot use", "state.db", "put back a copy of the data folder"]);
    assert!(fs::read(&state).unwrap().starts_with(b"no database"));
    fs::write(&state, whole).unwrap();
    // A read fails, as of a disk that is broken: of a folder, in place of a file.
    fs::create_dir(disk.0.join("samples/log/00000099.log")).unwrap();
    refused(&evaluator, &["cannot open the samples in", "mend the disk", "put back a copy"]);
    fs::remove_dir(disk.0.join("samples/log/00000099.log")).unwrap();
    evaluator.start();
}
