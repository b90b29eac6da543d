//! Plugins of Debian's monitoring-plugins, unchanged, as checks: what the agent shows is what they
//! print when they are run by hand (compat: Nagios plugin).
//!
//! Every plugin is run by hand before and after the agent has run it. What does not change between
//! two runs (labels, units, limits, texts but for their digits) must be the same; a value must lie
//! where those two lie, with room for what a busy machine does in between.

mod servers;
mod debian;
mod said;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::{exchange, wait_until};

use self::debian::Servers;
use self::said::{Perf, Said, shape};
use self::servers::{answering, echoing, greeting};
use crate::stage::{Agent, Stage};

const FOLDER: &str = "/usr/lib/nagios/plugins";

/// A plugin with its arguments, and the exit code that it ends with here.
struct Plugin {
    check: &'static str,
    command: Vec<String>,
    code: i32,
}

fn plugin(check: &'static str, code: i32, command: &str) -> Plugin {
    let mut words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
    words[0] = format!("{FOLDER}/{}", words[0]);
    Plugin { check, command: words, code }
}

/// The plugins; `stage` has the files that some look at, `servers` the servers of Debian.
fn plugins(stage: &Stage, servers: &mut Servers) -> Vec<Plugin> {
    std::fs::write(stage.path("old"), "0123456789").unwrap();
    std::fs::write(stage.path("log"), "a line\n").unwrap();
    let mrtg = "1795248000 10 20\n1795248000 10 20 30 40\n1795247000 10 20 30 40\n";
    std::fs::write(stage.path("mrtg"), mrtg).unwrap();
    let (old, log, mrtg) = (stage.text("old"), stage.text("log"), stage.text("mrtg"));
    let offset = stage.text("offset");
    let (smtp, ftp) = (greeting("220 here\r\n"), greeting("220 ftp\r\n"));
    let (pop, imap) = (greeting("+OK ready\r\n"), greeting("* OK ready\r\n"));
    let (nntp, time, udp) = (greeting("200 ready\r\n"), answering(&[0xee, 0, 0, 0]), echoing());
    let (web, ssh, ldap) = (servers.nginx(), servers.sshd(), servers.slapd());
    let (dns, snmp, ntp, sql) =
        (servers.named(), servers.snmpd(), servers.chronyd(), servers.mariadb());
    let key = servers.text("key");
    let ssh_options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
    vec![
        plugin("disk", 0, "check_disk -w 1% -c 0% -p /"),
        plugin("load", 0, "check_load -w 500,400,300 -c 900,800,700"),
        plugin("procs", 0, "check_procs -w 50000 -c 100000"),
        plugin("procs_memory", 1, "check_procs -m VSZ -w 1:"),
        plugin("users", 0, "check_users -w 500 -c 1000"),
        plugin("swap", 0, "check_swap -w 2% -c 1% -n ok"),
        plugin("dummy_ok", 0, "check_dummy 0 fine"),
        plugin("dummy_warning", 1, "check_dummy 1 look|at=1;2;3"),
        plugin("dummy_critical", 2, "check_dummy 2 'n|'a'=1.5ms;~:2;@3:4;0;10"),
        plugin("dummy_unknown", 3, "check_dummy 3"),
        plugin("file_age", 0, &format!("check_file_age -w 90000 -c 100000 -f {old}")),
        plugin("file_gone", 2, "check_file_age -w 1 -c 2 -f /no/such"),
        plugin("icmp", 0, "check_icmp -H 127.0.0.1 -w 5000,90% -c 9000,95%"),
        plugin("ping", 0, "check_ping -H 127.0.0.1 -w 5000,90% -c 9000,95% -p 1"),
        plugin("cluster", 1, "check_cluster -l shops -d 0,1,2 -w 1 -c 3"),
        plugin("log", 0, &format!("check_log -F {log} -O {offset} -q error")),
        plugin("mrtg", 1, &format!("check_mrtg -F {mrtg} -a AVG -v 1 -w 1 -c 50 -l bits -u b")),
        plugin("tcp", 0, &format!("check_tcp -H 127.0.0.1 -p {ssh} -w 9 -c 10")),
        plugin("refused", 2, "check_tcp -H 127.0.0.1 -p 1"),
        plugin("udp", 0, &format!("check_udp -H 127.0.0.1 -p {udp} -s ping -e ping")),
        plugin("ssh", 0, &format!("check_ssh -p {ssh} 127.0.0.1")),
        plugin("smtp", 0, &format!("check_smtp -H 127.0.0.1 -p {smtp}")),
        plugin("ftp", 0, &format!("check_ftp -H 127.0.0.1 -p {ftp}")),
        plugin("pop", 0, &format!("check_pop -H 127.0.0.1 -p {pop}")),
        plugin("imap", 0, &format!("check_imap -H 127.0.0.1 -p {imap}")),
        plugin("nntp", 0, &format!("check_nntp -H 127.0.0.1 -p {nntp}")),
        plugin("time", 2, &format!("check_time -H 127.0.0.1 -p {time} -w 1 -c 2")),
        plugin("http", 0, &format!("check_http -I 127.0.0.1 -p {web} -u / -s shop")),
        plugin("http_word", 2, &format!("check_http -I 127.0.0.1 -p {web} -u / -s absent")),
        plugin("curl", 0, &format!("check_curl -I 127.0.0.1 -p {web} -u / -s shop")),
        plugin("ldap", 0, &format!("check_ldap -H 127.0.0.1 -p {ldap} -b cn=Subschema -3")),
        plugin(
            "dig",
            0,
            &format!("check_dig -H 127.0.0.1 -p {dns} -l www.shop.test -a 192.0.2.80"),
        ),
        plugin(
            "dig_other",
            1,
            &format!("check_dig -H 127.0.0.1 -p {dns} -l www.shop.test -a 1.1.1.1"),
        ),
        plugin(
            "snmp",
            0,
            &format!(
                "check_snmp -H 127.0.0.1 -p {snmp} -C s3cret -P 2c -o 1.3.6.1.2.1.1.7.0 -c 72:72"
            ),
        ),
        plugin("ntp_time", 0, &format!("check_ntp_time -H 127.0.0.1 -p {ntp} -w 10 -c 20")),
        plugin(
            "mysql",
            0,
            &format!("check_mysql -H 127.0.0.1 -P {sql} -u watch -p s3cret -d shop"),
        ),
        plugin("mysql_login", 2, &format!("check_mysql -H 127.0.0.1 -P {sql} -u watch -p guess")),
        plugin(
            "mysql_query",
            1,
            &format!(
                "check_mysql_query -H 127.0.0.1 -P {sql} -u watch -p s3cret -d shop -q SELECT(42) -w 40 -c 50"
            ),
        ),
        plugin(
            "by_ssh",
            0,
            &format!(
                "check_by_ssh -H 127.0.0.1 -p {ssh} -l root -i {key} {ssh_options} -E -C hostname"
            ),
        ),
        plugin("rta_multi", 0, "check_rta_multi -H 127.0.0.1 -w 5000,90% -c 9000,95%"),
        plugin("host", 0, "check_host -H 127.0.0.1 -w 5000,90% -c 9000,95%"),
        plugin("mrtgtraf", 1, &format!("check_mrtgtraf -F {mrtg} -a AVG -w 5,10 -c 10,20")),
        plugin("negate", 0, &format!("negate -w OK {FOLDER}/check_dummy 1 turned")),
    ]
}

/// What the plugin says when it is run by hand.
fn by_hand(plugin: &Plugin) -> Said {
    let output = Command::new(&plugin.command[0])
        .args(&plugin.command[1..])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(plugin.code), "{}: {output:?}", plugin.check);
    Said::read(&output)
}

fn config(plugins: &[Plugin]) -> String {
    let check = |plugin: &Plugin| {
        let command = serde_json::to_string(&plugin.command).unwrap();
        // They open raw sockets, by a file capability or because we are root.
        let raw = matches!(plugin.check, "icmp" | "ping" | "rta_multi" | "host");
        let more = if raw { ", keep_privileges: true" } else { "" };
        format!(
            "  - {{name: {}, interval: 10s, retries: 0, probe: {{script: {{command: {command}{more}}}}}}}\n",
            plugin.check
        )
    };
    format!("host: {{enabled: false}}\nchecks:\n{}", plugins.iter().map(check).collect::<String>())
}

#[test]
fn plugins_run_unchanged_and_what_they_print_is_what_is_shown() {
    if !std::path::Path::new(FOLDER).join("check_disk").exists() {
        assert!(std::env::var_os("CI").is_none(), "monitoring-plugins is not installed");
        println!("not run: monitoring-plugins is not installed");
        return;
    }
    let stage = Stage::new();
    let mut servers = Servers::new();
    let plugins = plugins(&stage, &mut servers);
    let programs: BTreeSet<_> = plugins.iter().map(|plugin| &plugin.command[0]).collect();
    assert!(programs.len() >= 30, "only {} plugins: {programs:?}", programs.len());
    // `check_log` looks at its file for the first time here.
    by_hand(plugins.iter().find(|plugin| plugin.check == "log").unwrap());
    let before: Vec<_> = plugins.iter().map(by_hand).collect();
    stage.configure(&config(&plugins));
    let agent = stage.start();
    wait_until("every plugin has run", || {
        let metrics = agent.metrics();
        !metrics.contains("reason=\"never-run\"")
    });
    let page = exchange("GET", &format!("{}/metrics", agent.url), "veilleur-outputs: 1\r\n", "");
    let page = page.unwrap().1;
    let (_, health) = agent.health();
    let after = plugins.iter().map(by_hand);

    let mut wrong = Vec::new();
    let mut measured = 0;
    for ((plugin, before), after) in plugins.iter().zip(&before).zip(after) {
        let shown = Shown { plugin, page: &page, health: &health };
        shown.compare(before, &after, &mut wrong);
        measured += after.perfdata.len();
    }
    assert!(wrong.is_empty(), "\n{}\n{}", wrong.join("\n"), agent.program.log());
    assert!(measured >= 30, "only {measured} numbers were compared");
    shows_them_to_people(&agent);
}

/// What the agent shows of one plugin.
struct Shown<'a> {
    plugin: &'a Plugin,
    page: &'a str,
    health: &'a Value,
}

impl Shown<'_> {
    fn value(&self, name: &str, labels: &str) -> Option<f64> {
        let series = format!("{name}{{check=\"{}\"{labels}}} ", self.plugin.check);
        let line = self.page.lines().find_map(|line| line.strip_prefix(&series))?;
        Some(line.parse().unwrap())
    }

    fn compare(&self, before: &Said, after: &Said, wrong: &mut Vec<String>) {
        let check = self.plugin.check;
        let mut expect = |what: &str, got: String, expected: String| {
            if got != expected {
                wrong.push(format!("{check}: {what}: `{got}`, by hand `{expected}`"));
            }
        };
        let code = f64::from(self.plugin.code);
        let status = ["ok", "warning", "critical", "unknown"][self.plugin.code as usize];
        for name in ["veilleur_check_status", "veilleur_check_hard_status"] {
            expect(name, format!("{:?}", self.value(name, "")), format!("{:?}", Some(code)));
        }
        let entry = &self.health["checks"][check][0];
        let told = entry["observedValue"].as_str().unwrap_or("missing");
        expect("status in /health", told.to_owned(), status.to_owned());

        let output = format!("# OUTPUT {{check=\"{check}\"}} ");
        let output = self.page.lines().find_map(|line| line.strip_prefix(&output)).unwrap_or("");
        expect("text", shape(output), shape(&after.text));

        let series = format!("veilleur_check_perfdata{{check=\"{check}\",");
        let count = self.page.lines().filter(|line| line.starts_with(&series)).count();
        expect("series", count.to_string(), after.perfdata.len().to_string());
        for (before, after) in before.perfdata.iter().zip(&after.perfdata) {
            self.compare_perf(before, after, &mut expect);
        }
    }

    fn compare_perf(
        &self,
        before: &Perf,
        after: &Perf,
        expect: &mut impl FnMut(&str, String, String),
    ) {
        let label = &after.label;
        let (unit, factor) = after.base_unit();
        let labels = match unit {
            "" => format!(",perfdata=\"{label}\""),
            unit => format!(",perfdata=\"{label}\",unit=\"{unit}\""),
        };
        match self.value("veilleur_check_perfdata", &labels) {
            None => expect(label, "missing".to_owned(), format!("{}", after.value)),
            Some(got) if lies_between(before, got / factor, after) => {}
            Some(got) => expect(
                label,
                format!("{}", got / factor),
                format!("{} and {}", before.value, after.value),
            ),
        }
        for (name, written) in [("warning", &after.warn), ("critical", &after.crit)] {
            let got = self.value(&format!("veilleur_check_perfdata_{name}"), &labels);
            // What is written as one number is a line in a diagram.
            let expected = written.parse::<f64>().ok().map(|limit| limit * factor);
            expect(&format!("{label} {name}"), format!("{got:?}"), format!("{expected:?}"));
        }
        let entry = &self.health["checks"][format!("{}:{label}", self.plugin.check)][0];
        expect(
            &format!("unit of {label} in /health"),
            entry["observedUnit"].as_str().unwrap_or("missing").to_owned(),
            after.unit.clone(),
        );
        let shown = entry["observedValue"].as_f64();
        if !shown.is_some_and(|shown| lies_between(before, shown, after)) {
            expect(
                &format!("{label} in /health"),
                format!("{shown:?}"),
                format!("{} and {}", before.value, after.value),
            );
        }
    }
}

/// Whether `got` is what the plugin could have said between `before` and `after`.
fn lies_between(before: &Perf, got: f64, after: &Perf) -> bool {
    // How long an answer takes is any machine's affair, but here it is seconds at most.
    let is_time = matches!(after.unit.as_str(), "ms" | "us" | "s");
    if is_time && !matches!(after.label.as_str(), "age" | "offset") {
        return (0.0..60_000.0).contains(&got);
    }
    let (least, most) = (before.value.min(after.value), before.value.max(after.value));
    // Nothing moved: then nothing moves.
    let slack = match after.label.as_str() {
        label if is_fixed(label) => 1e-9 * most.abs(),
        // The agent starts all the plugins at once, and other tests run beside.
        "procs" => 500.0,
        _ => 30.0 + 0.5 * most.abs(),
    };
    (least - slack..=most + slack).contains(&got)
}

/// Numbers that only the files of the test decide.
fn is_fixed(label: &str) -> bool {
    matches!(label, "at" | "a" | "pl" | "match" | "bits")
}

fn shows_them_to_people(agent: &Agent) {
    let (status, page) = agent.get("/health");
    assert_eq!(status, 503, "some are critical");
    assert!(page.contains("<span class=\"mark\">critical</span>"), "{page}");
}
