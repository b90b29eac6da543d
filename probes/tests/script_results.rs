//! What a script's exit code and output become: status, reason, texts, numbers and metrics.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use base::exposition::{Encoding, Escaping, Format, encode};
use common::{faults, probe, run, shell};
use probes::{Outcome, Reason, Status};

async fn outcome(script: &str, more: &str) -> Outcome {
    run(shell(script, more).as_ref()).await
}

#[track_caller]
fn check(outcome: &Outcome, status: Status, reason: Reason, summary: &str) {
    let got = (outcome.status, outcome.reason, outcome.summary.as_str());
    assert_eq!(got, (status, reason, summary), "{outcome:?}");
}

#[tokio::test]
async fn a_plugin_speaks_by_exit_code_line_and_performance_data() {
    let o = outcome("echo 'DISK OK | /=5MB;8;9;0;10'; echo 'more | a=1'; echo b=2", "").await;
    check(&o, Status::Ok, Reason::None, "DISK OK");
    assert_eq!(o.details, "more");
    let labels: Vec<_> = o.measurements.iter().map(|m| m.label.as_str()).collect();
    assert_eq!(labels, ["/", "a", "b"]);
    let o = outcome("echo 'DISK WARNING'; exit 1", "").await;
    check(&o, Status::Warning, Reason::Threshold, "DISK WARNING");
    let o = outcome("echo broken; exit 2", "").await;
    check(&o, Status::Critical, Reason::Threshold, "broken");
    let o = outcome("echo cannot tell; exit 3", "").await;
    check(&o, Status::Unknown, Reason::Threshold, "cannot tell");
}

#[tokio::test]
async fn another_end_is_unknown_with_its_reason() {
    let o = outcome("echo odd; exit 77", "").await;
    check(&o, Status::Unknown, Reason::ExitCode, "exit code 77: odd");
    let o = outcome("echo half; kill -SEGV $$", "").await;
    check(&o, Status::Unknown, Reason::Killed, "was killed by the signal SIGSEGV (11)");
    assert_eq!(o.details, "printed until then: half");
    let o = outcome("echo to nobody >&2; exit 2", "").await;
    check(&o, Status::Critical, Reason::Threshold, "to nobody");
    let o = outcome("exit 1", "").await;
    check(&o, Status::Warning, Reason::Threshold, "exit code 1 without a word");
    let o = outcome("echo no; echo why >&2; exit 2", "").await;
    assert_eq!(o.details, "printed as errors: why");
}

#[tokio::test]
async fn one_that_lets_go_of_its_output_and_goes_on_is_seen_through() {
    let o = outcome("echo early; exec >&-; sleep 0.3; exit 2", "").await;
    check(&o, Status::Critical, Reason::Threshold, "early");
    let o = outcome("exec >&- 2>&-; sleep 0.3; exit 1", "").await;
    check(&o, Status::Warning, Reason::Threshold, "exit code 1 without a word");
}

#[tokio::test]
async fn what_is_printed_cannot_act_x11() {
    let o =
        outcome(r"printf '\033[2J\r\000\376 \342\200\256 | a=1 \033=2\nnext\033]0;x\007\n'", "")
            .await;
    check(&o, Status::Ok, Reason::None, "\\u{1b}[2J\\r\\u{0}\u{fffd} \\u{202e}");
    assert_eq!(o.details, "next\\u{1b}]0;x\\u{7}");
    assert_eq!(o.measurements.len(), 2);
    assert!(o.measurements.iter().all(|m| m.label.chars().all(|c| !c.is_control())), "{o:?}");
}

#[tokio::test]
async fn more_output_than_is_read_is_told_and_the_status_counts() {
    let o = outcome("echo first; head -c 300000 /dev/zero | tr '\\0' x; exit 1", "").await;
    check(&o, Status::Warning, Reason::Threshold, "first");
    let told = o.details.lines().last().unwrap_or_default();
    assert!(o.details.len() <= 16 << 10 && told.starts_with('x'), "{told}");
    let o = outcome("head -c 300000 /dev/zero | tr '\\0' x", ", output: json").await;
    let told = "only the first 65536 of 300000 bytes of output were read";
    check(&o, Status::Unknown, Reason::OutputTooLong, told);
}

#[tokio::test]
async fn metrics_are_taken_by_their_prefix() {
    let more = ", output: {metrics: {prefix: shop_}}";
    let script = "echo '# HELP shop_orders Orders.'; echo 'shop_orders{job=\"x\"} 3'; echo up 1";
    let o = outcome(script, more).await;
    check(&o, Status::Ok, Reason::None, "1 sample");
    assert_eq!(o.details, "left out `up`: it does not begin with `shop_`");
    let mut text = String::new();
    let encoding = Encoding { format: Format::Text, names: Escaping::Underscores };
    encode(&o.families, encoding, &mut text);
    assert!(text.ends_with("shop_orders{exported_job=\"x\"} 3\n"), "{text}");
    let o = outcome("echo shop_a 1; echo late >&2; exit 1", more).await;
    check(&o, Status::Warning, Reason::Threshold, "late");
    let o = outcome("echo shop_a 1; echo shop_b x", more).await;
    assert_eq!((o.status, o.reason), (Status::Unknown, Reason::OutputInvalid));
    assert!(o.summary.starts_with("the metrics cannot be read: line 2: "), "{}", o.summary);
}

#[tokio::test]
async fn a_json_object_is_taken_whole() {
    let json = ", output: json";
    let text = r#"{"status": "critical", "summary": "3 wait", "metrics": {"waiting": 3}}"#;
    let o = outcome(&format!("echo '{text}'"), json).await;
    check(&o, Status::Critical, Reason::Threshold, "3 wait");
    assert_eq!(o.measurements[0].value, 3.0);
    let o = outcome("echo '{\"status\": \"ok\"}'; exit 1", json).await;
    check(&o, Status::Warning, Reason::Threshold, "exit code 1 without a word");
    let o = outcome("echo '{\"summary\": \"fine\"}'", json).await;
    check(&o, Status::Ok, Reason::None, "fine");
    let o = outcome("echo '{'", json).await;
    assert_eq!((o.status, o.reason), (Status::Unknown, Reason::OutputInvalid));
    let o = outcome("echo 'Traceback'; exit 99", json).await;
    assert_eq!((o.status, o.reason), (Status::Unknown, Reason::ExitCode));
}

#[tokio::test]
async fn what_a_script_measures_has_limits() {
    let limits = ", thresholds: {waiting: {warn: 5, crit: '@10:20'}}";
    let json = format!("{limits}, output: json");
    let say = |n: u32| format!("echo '{{\"metrics\": {{\"waiting\": {n}, \"other\": 99}}}}'");
    check(&outcome(&say(3), &json).await, Status::Ok, Reason::None, "2 metrics");
    let o = outcome(&say(7), &json).await;
    let told = "`waiting` is 7, warning by `5`; 2 metrics";
    check(&o, Status::Warning, Reason::Threshold, told);
    let waiting = o.measurements.iter().find(|m| m.label == "waiting").unwrap();
    assert_eq!((waiting.warn.as_deref(), waiting.crit.as_deref()), (Some("5"), Some("@10:20")));
    let o = outcome(&say(15), &json).await;
    let told = "`waiting` is 15, critical by `@10:20`; 2 metrics";
    check(&o, Status::Critical, Reason::Threshold, told);
    // What is missing is not well, and what is worse by its own word stays so.
    let o = outcome("echo '{\"metrics\": {\"others\": 1}}'", &json).await;
    let told = "it has not printed the value `waiting`; 1 metrics";
    check(&o, Status::Unknown, Reason::OutputInvalid, told);
    check(
        &outcome("echo broken; exit 2", limits).await,
        Status::Critical,
        Reason::Threshold,
        "broken",
    );
    let o = outcome("echo 'all well | waiting=7ms;100;200'", limits).await;
    let told = "`waiting` is 7ms, warning by `5`; all well";
    check(&o, Status::Warning, Reason::Threshold, told);
    assert_eq!(o.measurements[0].warn.as_deref(), Some("5"));
}

#[tokio::test]
async fn metrics_of_a_script_have_limits() {
    let more = ", output: {metrics: {prefix: shop_, series: [{select: shop_a, warn: 5}, \
                {select: 'shop_b{x=\"y\"}', crit: '1:', missing: critical}]}}";
    let o = outcome("echo shop_a 3; echo 'shop_b{x=\"y\"} 1'", more).await;
    check(&o, Status::Ok, Reason::None, "2 samples");
    assert_eq!(o.measurements.len(), 2);
    let o = outcome("echo shop_a 7; echo 'shop_b{x=\"y\"} 1'", more).await;
    check(&o, Status::Warning, Reason::Threshold, "shop_a is 7, outside of 5; 2 samples");
    let o = outcome("echo shop_a 7", more).await;
    let told = "there is no series `shop_b{x=\"y\"}`, and 1 more; 1 sample";
    check(&o, Status::Critical, Reason::SeriesMissing, told);
    assert_eq!(o.families.len(), 1);
    assert_eq!(
        faults(
            "script: {command: [/bin/true], thresholds: {a: {}}, output: {metrics: {prefix: s_}}}"
        ),
        "test.yml:1:48: metrics have no values by name\n  \
         help: name the series under `output: {metrics: {series: [...]}}`"
    );
}

#[tokio::test]
async fn a_limit_on_memory_holds() {
    let script = "a=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#a}";
    let o = outcome(script, ", limits: {memory: 64MiB}").await;
    assert_ne!(o.status, Status::Ok, "{o:?}");
    // They are put on a moment after the start, which can be long where the machine is busy.
    let script = "for i in $(seq 1000); do [ \"$(ulimit -c)$(ulimit -n)\" = 099 ] && break; done; \
                  ulimit -c; ulimit -n; ulimit -v";
    let o = outcome(script, ", limits: {open_files: 99, memory: 1GiB}").await;
    assert_eq!((o.summary.as_str(), o.details.as_str()), ("0", "99\n1048576"));
}

#[test]
fn faults_of_a_script_are_told_with_their_places() {
    let check = |yaml: &str, expected: &str| assert_eq!(faults(yaml), expected, "{yaml}");
    check(
        "script: {command: []}",
        "test.yml:1:19: the command is empty\n  help: write it like `[/usr/local/bin/check, --verbose]`",
    );
    check("script: {command: [/no/such]}", "test.yml:1:20: `/no/such` does not exist");
    check(
        "script: {command: [true]}",
        "test.yml:1:20: `true` is not an absolute path\n  help: write the full path, as `command -v true` prints it",
    );
    check(
        "script: {command: [/bin/true], env: {VEILLEUR_RUN: x}}",
        "test.yml:1:52: `VEILLEUR_RUN` is ours: by it we recognise what a script started",
    );
    check(
        "script: {command: [/bin/true], env: {A-B: x}}",
        "test.yml:1:43: `A-B` is not a name of a variable",
    );
    check(
        "script: {command: [/bin/true], output: {metrics: {prefix: veilleur_}}}",
        "test.yml:1:59: names with `veilleur_` are not a script's to give",
    );
    check(
        "script: {command: [/bin/true], output: {metrics: {prefix: shop}}}",
        "test.yml:1:59: `shop` is not a prefix of names\n  help: write letters, digits and underscores, with an underscore at the end: `shop_`",
    );
    check(
        "script: {command: [/bin/true], limits: {memory: 1MiB, processes: 0}}",
        "test.yml:1:49: 1MiB is too little for any program\n  help: give it at least `16MiB`\ntest.yml:1:66: a script is at least 1 process",
    );
    check(
        "script: {command: [/bin/true], output: xml}",
        "test.yml:1:40: unknown kind `xml`\n  help: known here: `nagios`, `metrics`, `json`",
    );
    check(
        "script: {comand: [/bin/true]}",
        "test.yml:1:1: `command` is missing\ntest.yml:1:10: unknown setting `comand`\n  help: did you mean `command`?",
    );
}

#[tokio::test]
async fn secrets_do_not_print_x43() {
    let probe = probe("script: {command: [/bin/true], env: {TOKEN: hunter2}}");
    let shown = format!("{probe:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
