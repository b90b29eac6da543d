//! Checks that nobody runs: jobs that report by themselves, with the `curl` lines that people have in
//! their crontabs.

use std::process::Command;

use tests::program::End;
use tests::{exchange, wait_until};

use crate::stage::{Agent, Stage};

const UUID: &str = "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278";

/// Runs curl with `arguments` on a path of the agent; returns what it printed, and whether it was
/// content.
#[track_caller]
fn curl(agent: &Agent, arguments: &[&str], path: &str) -> (bool, String) {
    let mut command = Command::new("curl");
    command.args(["-fsS", "-m", "10", "--retry", "5"]).args(arguments);
    let output = command.arg(format!("{}{path}", agent.url)).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn ok() -> (bool, String) {
    (true, "OK\n".to_owned())
}

#[track_caller]
fn wait_for(agent: &Agent, check: &str, status: f64, said: &str) {
    let series = format!("veilleur_check_status{{check=\"{check}\"}}");
    wait_until(&format!("{check} is {status}: {said}"), || {
        let (_, health) = agent.health();
        let text = health["checks"][check][0]["output"].as_str().unwrap_or("").to_owned();
        agent.value(&series) == Some(status) && text.contains(said)
    });
}

#[test]
fn the_curl_lines_of_crontabs_work_unchanged() {
    let stage = Stage::with(&format!(
        "checks:\n- {{name: backup, heartbeat: {{id: {UUID}, period: 1d, grace: 1h, get: true}}}}\n\
         - {{name: report, heartbeat: {{id: key-1/report, cron: '30 6 * * *', timezone: Europe/Paris, get: true}}}}\n\
         services: {{data: {{needs: [backup]}}}}\n"
    ));
    let agent = stage.start();
    let reason = "veilleur_check_reason{check=\"backup\",reason=\"never-run\"}";
    assert_eq!(agent.value(reason), Some(1.0), "new is neither well nor broken");
    assert_eq!(agent.value("veilleur_service_up{service=\"data\"}"), None);

    let ping = format!("/ping/{UUID}");
    assert_eq!(curl(&agent, &[], &ping), ok());
    wait_for(&agent, "backup", 0.0, "");
    agent.wait_for("veilleur_service_up{service=\"data\"}", 1.0);
    assert_eq!(curl(&agent, &["--data-raw", "disk full\nsecond"], &format!("{ping}/fail")), ok());
    wait_for(&agent, "backup", 2.0, "failed 0s ago: disk full");
    let reason = "veilleur_check_reason{check=\"backup\",reason=\"job-failed\"}";
    agent.wait_for(reason, 1.0);
    agent.wait_for("veilleur_service_up{service=\"data\"}", 0.0);
    assert_eq!(curl(&agent, &["-o", "/dev/null", "--head"], &ping), (true, String::new()));
    wait_for(&agent, "backup", 0.0, "");
    // `curl ... /ping/ID/$?`
    assert_eq!(curl(&agent, &[], &format!("{ping}/7")), ok());
    wait_for(&agent, "backup", 2.0, "with exit code 7");
    assert_eq!(curl(&agent, &[], &format!("{ping}/start?rid=1")), ok());
    assert_eq!(curl(&agent, &["-X", "POST"], &format!("{ping}/0?rid=1")), ok());
    wait_for(&agent, "backup", 0.0, "");
    let runtime = "veilleur_check_perfdata{check=\"backup\",perfdata=\"runtime\",unit=\"seconds\"}";
    wait_until("the runtime is known", || agent.value(runtime).is_some_and(|s| s < 60.0));
    // A log changes nothing; a long one is cut, and the job never learns of it.
    std::fs::write(stage.path("log"), "<b>\u{1b}[2J".repeat(300_000)).unwrap();
    let log = format!("@{}", stage.text("log"));
    assert_eq!(curl(&agent, &["--data-binary", &log], &format!("{ping}/log")), ok());
    wait_until("the log is shown", || {
        agent.get("/health?format=html").1.contains("&lt;b&gt;\\u{1b}[2J")
    });
    assert!(agent.get("/health?format=html").1.len() < 200_000);

    assert_eq!(curl(&agent, &[], "/ping/key-1/report"), ok());
    wait_for(&agent, "report", 0.0, "");
    assert_eq!(curl(&agent, &[], "/ping/key-1/report/fail"), ok());
    wait_for(&agent, "report", 2.0, "failed");
    for wrong in ["/ping/", "/ping/nobody", "/ping/key-1", "/ping/report", "/ping/nobody/fail"] {
        assert_eq!(agent.get(wrong).0, 404, "{wrong}");
    }
    for wrong in ["256", "-1", "begin", "%00"] {
        assert_eq!(agent.get(&format!("{ping}/{wrong}")).0, 400, "{wrong}");
    }
    assert!(!curl(&agent, &["-X", "DELETE"], &ping).0);
}

/// Lines as people have them in crontabs and scripts, after the manual of healthchecks.io; `URL` is
/// where they report to. The status of the check after each, and what it says.
const LINES: [(&str, f64, &str); 7] = [
    ("true && curl -fsS -m 10 --retry 5 -o /dev/null URL", 0.0, ""),
    ("false; curl -fsS -m 10 --retry 5 -o /dev/null URL/$?", 2.0, "with exit code 1"),
    ("true; curl -fsS --retry 3 URL/$? >/dev/null", 0.0, ""),
    ("m=$(echo no space 2>&1; exit 4); curl -fsS --data-raw \"$m\" URL/$?", 2.0, "no space"),
    ("echo done | curl -fsS -m 10 --retry 5 --data-binary @- URL", 0.0, ""),
    (
        "RID=$(cat /proc/sys/kernel/random/uuid); curl -fsS URL/start?rid=$RID; sh -c 'exit 3'; curl -fsS URL/$??rid=$RID",
        2.0,
        "with exit code 3",
    ),
    ("python3 -c 'import urllib.request as r; r.urlopen(\"URL\", timeout=10)'", 0.0, ""),
];

#[test]
fn lines_of_scripts_report_how_they_ended() {
    let stage = Stage::with(&format!(
        "checks: [{{name: job, heartbeat: {{id: {UUID}, period: 1d, grace: 1h, get: true}}}}]\n"
    ));
    let agent = stage.start();
    for (line, status, said) in LINES {
        let line = line.replace("URL", &format!("{}/ping/{UUID}", agent.url));
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        wait_for(&agent, "job", status, said);
    }
}

/// A chat that unfurls a link, a mail filter, a browser that fetches ahead: none of them is the job.
#[test]
fn whatever_fetches_links_reports_nothing_x38() {
    let stage = Stage::with(
        "checks:\n- {name: strict, heartbeat: {period: 1d}}\n\
         - {name: open, heartbeat: {period: 1d, get: true}}\n",
    );
    let agent = stage.start();
    let actions = ["", "/start", "/fail", "/log", "/0", "/7"];
    for (n, action) in (0..100).zip(actions.iter().cycle()) {
        let url = format!("{}/ping/strict{action}", agent.url);
        let method = if n % 2 == 0 { "GET" } else { "HEAD" };
        let (head, body) = exchange(method, &url, "purpose: prefetch\r\n", "").unwrap();
        assert!(head.starts_with("HTTP/1.0 405") || head.starts_with("HTTP/1.1 405"), "{head}");
        assert!(head.to_lowercase().contains("\r\nallow: post"), "{head}");
        assert!(method == "HEAD" || body.contains("curl -X POST"), "{body}");
    }
    assert_eq!(agent.runs("strict"), 0.0);
    assert_eq!(curl(&agent, &["-X", "POST"], "/ping/strict/fail"), ok());
    wait_for(&agent, "strict", 2.0, "failed");
    for _ in 0..100 {
        assert_eq!(agent.get("/ping/strict").0, 405);
    }
    // Judged again since, and as it was.
    assert_eq!(curl(&agent, &[], "/ping/open"), ok());
    wait_for(&agent, "open", 0.0, "");
    wait_for(&agent, "strict", 2.0, "failed");
}

#[test]
fn a_job_that_stays_away_is_late_and_then_down_until_it_reports() {
    let stage =
        Stage::with("checks: [{name: job, heartbeat: {period: 2s, grace: 1s, get: true}}]\n");
    let agent = stage.start();
    for _ in 0..2 {
        assert_eq!(curl(&agent, &[], "/ping/job"), ok());
        wait_for(&agent, "job", 0.0, "");
        wait_for(&agent, "job", 2.0, "has not reported: expected");
        agent.wait_for("veilleur_check_reason{check=\"job\",reason=\"not-reported\"}", 1.0);
    }
}

#[test]
fn what_jobs_reported_outlives_the_agent() {
    let stage = Stage::new();
    std::fs::create_dir(stage.path("state")).unwrap();
    let job = "checks: [{name: job, heartbeat: {period: 1d, get: true}}]\n";
    stage.configure(&format!("state: {}\n{job}", stage.text("state")));
    let agent = stage.start();
    assert_eq!(curl(&agent, &["--data-raw", "half done"], "/ping/job/3"), ok());
    let file = stage.path("state/reported.json");
    wait_until("it is kept", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("half done"))
    });
    agent.program.kill();
    let agent = stage.start();
    wait_for(&agent, "job", 2.0, "with exit code 3: half done");
    assert_eq!(curl(&agent, &[], "/ping/job"), ok());
    wait_for(&agent, "job", 0.0, "");
    assert_eq!(agent.program.terminate(), End::Exit(0));
    // A file that is broken is told, and the agent lives.
    std::fs::write(&file, "{\"version\":1,\"heart").unwrap();
    let agent = stage.start();
    assert!(agent.program.log().contains("cannot be read"), "{}", agent.program.log());
    assert_eq!(agent.runs("job"), 0.0);
    drop(agent);
    stage.configure(&format!("state: {}\n{job}", stage.text("nowhere")));
    let (end, _, told) = stage.check();
    assert_eq!(end, End::Exit(2));
    assert!(told.contains("nowhere` is not a folder"), "{told}");
}

#[test]
fn run_once_leaves_them_alone_and_faults_are_told_with_their_place() {
    let stage = Stage::with("checks: [{name: job, heartbeat: {period: 1d}}]\n");
    let (end, printed, _) = stage.run_once(&[]);
    assert_eq!(end, End::Exit(0));
    assert!(printed.contains("is not looked at: it waits to be told"), "{printed}");
    stage.configure(
        "checks:\n- {name: a b, heartbeat: {period: 1d}}\n\
         - {name: c, interval: 5s, heartbeat: {period: 0s, cron: '* * * * *', id: x}}\n\
         - {name: d, heartbeat: {cron: 'x', timezone: UTC}}\n\
         - {name: e, heartbeat: {id: job/start}}\n- {name: f}\n",
    );
    let (_, _, told) = stage.check();
    for part in [
        ":2:10: `a b` cannot be the id of a heartbeat",
        ":3:23: this means nothing to a check that nobody runs",
        ":3:47: a period cannot be 0",
        ":3:57: either `period` or `cron` says when the job reports, not both",
        ":4:31: `x` is not a cron expression",
        ":5:29: the id `job/start` means something else at its end",
        ":5:10: neither `period` nor `cron` says when the job reports",
        ":6:10: neither `probe`, `heartbeat` nor `push` says what is checked",
    ] {
        assert!(told.contains(part), "no {part} in\n{told}");
    }
}
