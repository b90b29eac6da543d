//! A disk that fails, or is slow, under the real program: F33, F34.
//!
//! Invariant: what fails is the kernel's answer to `fdatasync` and `fsync`, put in by strace.

use std::process::{Child, Command, Stdio};

use tests::http_server::{HttpServer, Reply};
use tests::{ask, wait_until};

use crate::disk::{told, watching};
use crate::rig::Evaluator;

/// What strace does to the calls of a program, until it is dropped.
struct Tampered(Child);

impl Tampered {
    /// `what` is as for strace: `error=EIO`, `delay_enter=2s`.
    fn with(what: &str, evaluator: &mut Evaluator) -> Self {
        let calls = "fdatasync,fsync";
        let pid = evaluator.program().pid().to_string();
        let child = Command::new("strace")
            .args(["-f", "-q", "-o", "/dev/null", "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:{what}"), "-p", &pid])
            .stdin(Stdio::null())
            .spawn()
            .expect("strace is installed by tests/peers/packages.sh");
        let traced = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            !status.contains("TracerPid:\t0\n")
        };
        wait_until("strace is at it", traced);
        Self(child)
    }
}

impl Drop for Tampered {
    fn drop(&mut self) {
        // Killed, it would leave what it holds as it is.
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// Posts a silence that stands for nothing, named `name`; the status.
fn silence(evaluator: &Evaluator, name: &str) -> u16 {
    let body = format!(
        "{{\"matchers\":[{{\"name\":\"a\",\"value\":\"{name}\",\"isRegex\":false}}],\
         \"startsAt\":\"2020-01-01T00:00:00Z\",\"endsAt\":\"2099-01-01T00:00:00Z\",\
         \"createdBy\":\"x\",\"comment\":\"y\"}}"
    );
    let url = format!("http://127.0.0.1:{}/api/v2/silences", evaluator.port);
    ask("POST", &url, "content-type: application/json\r\n", &body).unwrap().0
}

#[test]
fn what_a_disk_failed_at_is_not_believed_f33() {
    let target = HttpServer::start(|_| Reply::text("broken 0\n"));
    let chat = HttpServer::sink();
    let mut evaluator = watching(&target, &chat);
    evaluator.start();
    wait_until("it is scraped", || evaluator.value("broken") == "0");
    assert_eq!(silence(&evaluator, "before"), 200);
    let failing = Tampered::with("error=EIO", &mut evaluator);
    wait_until("a silence is refused", || silence(&evaluator, "refused") == 500);
    target.reply_with(|_| Reply::text("broken 1\n"));
    wait_until("it is told nevertheless", || told(&chat).contains(&"Broken firing".to_owned()));
    wait_until("it has failed at samples, too", || {
        evaluator.program().log().contains("task=\"sync\"")
    });
    drop(failing);
    // A segment of which the kernel has forgotten what it could not write is replaced.
    wait_until("samples are written anew", || {
        evaluator.program().log().contains("all of it is written anew")
    });
    wait_until("a silence is taken", || silence(&evaluator, "after") == 200);
    wait_until("all is well again", || evaluator.get("/health").unwrap().0 == 200);
    let samples = evaluator.value("count_over_time(broken[1h])").parse::<f64>().unwrap();
    let known = told(&chat).len();
    evaluator.kill();
    evaluator.start();
    evaluator.let_evaluate(2);
    assert!(evaluator.value("count_over_time(broken[1h])").parse::<f64>().unwrap() >= samples);
    let (_, silences) = evaluator.get("/api/v2/silences").unwrap();
    assert!(silences.contains("\"before\"") && silences.contains("\"after\""), "{silences}");
    assert_eq!(evaluator.alerts("firing"), ["Broken"]);
    assert_eq!(told(&chat).len(), known, "{:?}", told(&chat));
}

#[test]
fn a_slow_disk_delays_no_scrape_and_no_page_for_long_f34() {
    let target = HttpServer::start(|_| Reply::text("broken 0\n"));
    let chat = HttpServer::sink();
    let mut evaluator = watching(&target, &chat);
    evaluator.start();
    wait_until("it is scraped", || evaluator.value("broken") == "0");
    let slow = Tampered::with("delay_enter=2s", &mut evaluator);
    let count = || evaluator.value("count_over_time(broken[1h])").parse::<f64>().unwrap_or(0.0);
    let before = count();
    target.reply_with(|_| Reply::text("broken 1\n"));
    wait_until("it is told", || told(&chat).contains(&"Broken firing".to_owned()));
    assert_eq!(silence(&evaluator, "slow"), 200);
    target.reply_with(|_| Reply::text("broken 0\n"));
    wait_until("its end is told", || told(&chat).contains(&"Broken resolved".to_owned()));
    wait_until("there are more samples", || count() >= before + 10.0);
    drop(slow);
    // Each scrape was in its time: two a second, whatever waited for the disk.
    let data = evaluator.data("/api/v1/query?query=broken%5B1h%5D");
    let samples = data["result"][0]["values"].as_array().unwrap();
    let times: Vec<f64> = samples.iter().map(|sample| sample[0].as_f64().unwrap()).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(longest < 5.0, "{longest} s without a sample");
    assert_eq!(told(&chat), ["Broken firing", "Broken resolved"]);
}
