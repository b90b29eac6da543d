//! Scripts that hang, flee, multiply, flood, crash and print nonsense, in one agent with scripts
//! that do none of it: each is told with its reason, nothing of it is left, and the others run on
//! time. F45, F46, F47; X10, X11.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tests::program::{End, Program, path_of};
use tests::{exchange, wait_until};

use crate::stage::{Agent, Stage};

/// How late a check may be that waits for nobody, on a machine that others use too.
const ON_TIME: f64 = 1.5;
/// The checks that are on time throughout.
const GOOD: [&str; 3] = ["good_script", "good_metrics", "good_tcp"];

/// A number to sleep for that nobody else sleeps for, by which the processes of a test are found.
fn tag(n: u32) -> String {
    format!("{}.{n:03}", 200_000 + std::process::id())
}

/// Ids and states of the processes that `wanted` accepts by their parent and command line.
fn processes(wanted: impl Fn(u32, &str) -> bool) -> Vec<(u32, char)> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let found = entries.filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<_> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
        let (state, parent) = (fields[0].chars().next()?, fields[1].parse().ok()?);
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        wanted(parent, &line).then_some((pid, state))
    });
    found.collect()
}

fn alive(tag: &str) -> usize {
    processes(|_, line| line.contains(tag)).into_iter().filter(|(_, state)| *state != 'Z').count()
}

fn zombies(agent: &Agent) -> usize {
    let ours = agent.program.pid();
    processes(|parent, _| parent == ours).into_iter().filter(|(_, state)| *state == 'Z').count()
}

/// A script that goes wrong: its name, its text, its output's form, and the reason that is told.
type Wrong = (&'static str, &'static str, &'static str, &'static str);

/// `TAG` stands for the time to sleep.
const WRONG: &[Wrong] = &[
    ("hangs", "sleep TAG", "nagios", "timeout"),
    ("ignores_term", "trap '' TERM; while :; do sleep TAG; done", "nagios", "timeout"),
    ("keeps_pipe", "sleep TAG & echo fine", "nagios", "none"),
    ("flees", "setsid sh -c 'setsid sleep TAG & sleep TAG' & sleep TAG", "nagios", "timeout"),
    ("is_stopped", "kill -STOP $$; sleep TAG", "nagios", "timeout"),
    ("floods", "yes", "nagios", "output-too-long"),
    ("floods_errors", "yes >&2", "nagios", "output-too-long"),
    (
        "multiplies",
        "for n in $(seq 300); do sleep TAG & done; wait",
        "nagios",
        "too-many-processes",
    ),
    ("is_greedy", "a=$(head -c 200000000 /dev/zero | tr '\\0' x); echo \"${#a}\"", "nagios", "*"),
    ("is_killed", "echo half; kill -KILL $$", "nagios", "killed"),
    ("crashes", "kill -SEGV $$", "nagios", "killed"),
    ("exits_oddly", "echo odd; exit 77", "nagios", "exit-code"),
    (
        "is_no_text",
        "printf 'a\\377b \\033[2J\\r \\342\\200\\256|x=1'; exit 1",
        "nagios",
        "threshold",
    ),
    (
        "has_broken_metrics",
        "echo 'shop_a 1'; echo 'shop_b{ 2'",
        "{metrics: {prefix: shop_}}",
        "output-invalid",
    ),
    (
        "imitates",
        "echo 'up 1'; echo '# EOF'; echo 'veilleur_x 1'; echo 'shop_c 3'",
        "{metrics: {prefix: shop_}}",
        "none",
    ),
    ("has_broken_json", "echo '{\"status\":'", "json", "output-invalid"),
    ("is_swapped", "exit 0", "nagios", "insecure-program"),
    ("is_gone", "exit 0", "nagios", "program-missing"),
];

fn configure(stage: &Stage) -> Vec<String> {
    let (mut checks, mut tags) = (String::new(), Vec::new());
    for (n, (name, text, output, _)) in (0..).zip(WRONG) {
        let tag = tag(n);
        let path = stage.program(name, &format!("#!/bin/bash\n{}\n", text.replace("TAG", &tag)));
        checks.push_str(&format!(
            "- {{name: {name}, interval: 4s, timeout: 1s, retries: 0, probe: {{script: \
             {{command: [{path}], output: {output}, limits: {{processes: 100, memory: 256MiB}}}}}}}}\n"
        ));
        tags.push(tag);
    }
    let metrics = stage.program("good_metrics", "#!/bin/sh\necho good_metric 7\n");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    // It is never asked to accept: the system does so for it.
    std::mem::forget(port);
    let check = |name: &str, probe: &str| {
        format!("- {{name: {name}, interval: 2s, retries: 0, probe: {{{probe}}}}}\n")
    };
    checks.push_str(&check("good_script", "script: {command: [/bin/true]}"));
    let probe = format!("script: {{command: [{metrics}], output: {{metrics: {{prefix: good_}}}}}}");
    checks.push_str(&check("good_metrics", &probe));
    checks.push_str(&check("good_tcp", &format!("tcp: {{address: '{address}'}}")));
    stage.configure(&format!("host: {{enabled: false}}\nchecks:\n{checks}"));
    tags
}

fn assert_good_ones_are_on_time(agent: &Agent) {
    let metrics = agent.metrics();
    let value = |series: String| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.map(|value| value.trim().parse::<f64>().unwrap())
    };
    for check in GOOD {
        let lateness = value(format!("veilleur_check_lateness_seconds{{check=\"{check}\"}}"));
        assert!(lateness.is_none_or(|late| late < ON_TIME), "{check} is late: {lateness:?}");
        let skipped = value(format!("veilleur_check_skipped_total{{check=\"{check}\"}}"));
        assert_eq!(skipped, Some(0.0), "{check}");
    }
}

#[test]
fn whatever_a_script_does_is_told_and_delays_no_other_one_f45_f46_f47_x10_x11() {
    let stage = Stage::new();
    let tags = configure(&stage);
    let mut agent = stage.start();
    std::fs::set_permissions(stage.path("is_swapped"), PermissionsExt::from_mode(0o775)).unwrap();
    std::fs::remove_file(stage.path("is_gone")).unwrap();
    let rounds = |check: &str| agent.runs(check);
    wait_until("every check has run twice", || {
        assert_good_ones_are_on_time(&agent);
        WRONG.iter().all(|(name, ..)| rounds(name) >= 2.0) && rounds("good_script") >= 5.0
    });

    let metrics = agent.metrics();
    for (name, _, _, reason) in WRONG {
        let told = format!("veilleur_check_reason{{check=\"{name}\",reason=\"{reason}\"}} 1");
        assert!(*reason == "*" || metrics.contains(&told), "{name}: no {told} in\n{metrics}");
        // Its time, the grace of two seconds, and a second for the kernel.
        let series = format!("veilleur_check_duration_seconds{{check=\"{name}\"}}");
        let took = agent.value(&series).unwrap();
        assert!(took < 4.0, "{name} took {took} s");
    }
    assert_ne!(agent.value("veilleur_check_status{check=\"is_greedy\"}"), Some(0.0));
    for check in GOOD {
        assert_eq!(agent.value(&format!("veilleur_check_status{{check=\"{check}\"}}")), Some(0.0));
    }
    assert!(metrics.contains("\ngood_metric{check=\"good_metrics\"} 7\n"));
    assert!(metrics.contains("\nshop_c{check=\"imitates\"} 3\n"));
    assert!(!metrics.contains("\nup") && !metrics.contains("\nveilleur_x"), "{metrics}");
    assert!(!metrics.contains("shop_a"), "half of a broken page was taken");
    texts_cannot_act(&agent);

    agent.program.signal("TERM");
    assert_eq!(agent.program.wait(), End::Exit(0), "{}", agent.program.log());
    for tag in tags {
        wait_until("nothing is left", || alive(&tag) == 0);
    }
}

/// X11: what was printed is shown as text that does nothing, wherever it is shown.
fn texts_cannot_act(agent: &Agent) {
    let asked = exchange("GET", &format!("{}/metrics", agent.url), "veilleur-outputs: 1\r\n", "");
    let outputs = asked.unwrap().1;
    let (_, page) = agent.get("/health");
    let (_, json) = agent.get("/health?format=json");
    for text in [outputs.as_str(), &page, &json, &agent.program.log()] {
        assert!(text.contains("\u{fffd}b "), "{text}");
        let acts = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(acts), "{text}");
    }
}

/// F46 and F45 in the long run: many runs, most of them ended by force.
#[test]
fn no_zombie_and_no_process_is_left_of_many_runs_f46() {
    let stage = Stage::new();
    let tag = tag(900);
    let path = stage.program("hangs", &format!("#!/bin/bash\nsleep {tag} & sleep {tag}\n"));
    let check = |n: u32| {
        format!(
            "- {{name: c{n}, interval: 100ms, timeout: 50ms, retries: 0, \
             probe: {{script: {{command: [{path}]}}}}}}\n"
        )
    };
    let checks: String = (0..20).map(check).collect();
    stage.configure(&format!("host: {{enabled: false}}\nchecks:\n{checks}"));
    let mut agent = stage.start();
    let started = "veilleur_scripts_started_total";
    wait_until("1000 runs", || agent.value(started).unwrap() >= 1000.0);
    stage.configure("host: {enabled: false}");
    agent.program.signal("HUP");
    wait_until("no check is left", || !agent.metrics().contains("check=\"c0\""));
    wait_until("nothing is left of them", || alive(&tag) == 0 && zombies(&agent) == 0);
    agent.program.signal("TERM");
    assert_eq!(agent.program.wait(), End::Exit(0));
}

/// X10 at the load: nobody else may be able to change what we run.
#[test]
fn a_program_that_others_can_change_is_refused_at_the_load_x10() {
    let stage = Stage::new();
    let good = stage.program("good", "#!/bin/sh\nexit 0\n");
    let check = |path: &str, expected: Option<&str>| {
        stage.configure(&format!(
            "checks: [{{name: a, interval: 5s, probe: {{script: {{command: [{path}]}}}}}}]"
        ));
        let (end, _, told) = stage.check();
        match expected {
            None => assert_eq!((end, told.as_str()), (End::Exit(0), ""), "{path}"),
            Some(expected) => {
                assert_eq!(end, End::Exit(2), "{path}");
                assert!(told.contains("agent.yml:1:") && told.contains(expected), "{told}");
            }
        }
    };
    let mode = |path: &str, mode: u32| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    check(&good, None);
    mode(&good, 0o775);
    check(&good, Some("can be written by its group"));
    mode(&good, 0o757);
    check(&good, Some("can be written by everybody"));
    mode(&good, 0o644);
    check(&good, Some("is not executable"));
    mode(&good, 0o755);
    // Directly in a directory in which everybody makes files, as `/tmp` is.
    std::fs::create_dir(stage.path("tmp")).unwrap();
    mode(&stage.text("tmp"), 0o1777);
    std::fs::copy(&good, stage.path("tmp/good")).unwrap();
    check(&stage.text("tmp/good"), Some("everybody may make files"));
    std::os::unix::fs::symlink(&good, stage.path("tmp/link")).unwrap();
    check(&stage.text("tmp/link"), Some("everybody may make files"));
    check(&stage.program("lost", "#!/no/such/interpreter\n"), Some("`/no/such/interpreter`"));
    check(&stage.text("absent"), Some("does not exist"));
    check("good", Some("is not an absolute path"));
}

/// Whoever could ask for a password there would wait for it until its time is up.
#[test]
fn no_script_reaches_the_terminal_that_the_agent_was_started_from() {
    let stage = Stage::new();
    let text = "#!/bin/sh\nif (: < /dev/tty) 2> /dev/null; then exit 2; fi\necho alone\n";
    let asks = stage.program("asks", text);
    stage.configure(&format!(
        "checks: [{{name: asks, interval: 1m, probe: {{script: {{command: ['{asks}']}}}}}}]"
    ));
    let (agent, config) = (path_of("veilleur-agent"), stage.text("agent.yml"));
    let agent = agent.display();
    let line = format!("(: < /dev/tty) && exec '{agent}' run-once --config '{config}'");
    // It starts what it is told to at a terminal of its own.
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]);
    let mut told = Program::spawn(terminal);
    assert_eq!(told.wait(), End::Exit(0), "{}", told.stdout());
    assert!(told.stdout().contains("alone"), "{}", told.stdout());
}

/// Requests that are slow or many hold up neither the checks nor other requests.
#[test]
fn readers_that_are_slow_hold_nobody_up() {
    let stage = Stage::with(
        "checks: [{name: a, interval: 1s, retries: 0, probe: {script: {command: [/bin/true]}}}]",
    );
    let agent = stage.start();
    let address = agent.url.strip_prefix("http://").unwrap();
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n")
                .unwrap();
            stream
        })
        .collect();
    let begun = std::time::Instant::now();
    assert_eq!(agent.get("/livez").0, 200);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let before = agent.runs("a");
    wait_until("the check goes on", || agent.runs("a") >= before + 2.0);
    drop(slow);
}
