//! Pinging this host, with rights and without, a host that is not there, and hosts that answer
//! whatever is wrong.

use std::process::Command;
use std::time::{Duration, Instant};

use probes::{Outcome, Reason};

use crate::stage::{Stage, metric, run, value};

#[test]
fn packets_come_back() {
    let stage = Stage::new();
    for (address, protocol) in [("127.0.0.1", 4.0), ("::1", 6.0)] {
        let ask = |more: &str| format!("icmp: {{host: '{address}'{more}}}");
        let o = stage.check(&ask(""), Reason::None, "1 of 1 packets came back from");
        assert_eq!(metric(&o, "probe_ip_protocol"), protocol);
        assert_eq!(metric(&o, "probe_icmp_reply_hop_limit"), 64.0);
        assert!(metric(&o, "probe_icmp_duration_seconds{phase=\"rtt\"}") > 0.0);
        assert!(metric(&o, "probe_icmp_duration_seconds{phase=\"setup\"}") > 0.0);
        let o = stage.check(&ask(", packets: 5, every: 5ms"), Reason::None, "5 of 5 packets");
        assert_eq!(value(&o, "loss"), 0.0);
        assert!(value(&o, "rtt_max") >= value(&o, "rtt"));
        let over = ask(", thresholds: {rtt: {crit: '1:'}}");
        stage.check(&over, Reason::Threshold, "`rtt` is");
    }
    stage.check("icmp: {host: localhost, ip_protocol: ip4}", Reason::None, "127.0.0.1");
}

#[test]
fn a_host_that_is_not_there_does_not_reply() {
    // In a network of its own this host keeps silent.
    let silent = "sysctl -qw net.ipv4.icmp_echo_ignore_all=1";
    let said = agent(silent, "127.0.0.1", "0 0");
    assert!(said.contains("none of 1 packets came back from 127.0.0.1"), "{said}");
    let said = agent("true", "192.0.2.1", "0 0");
    assert!(said.contains("Network is unreachable"), "{said}");
}

#[test]
fn no_right_is_needed_where_the_system_lets_the_group_and_a_missing_one_is_told() {
    let check = |said: String, part: &str| assert!(said.contains(part), "{said}");
    // The socket for everybody, none at all, the raw socket.
    check(agent_without_rights("0 2147483647"), "1 of 1 packets came back");
    check(agent_without_rights("1 0"), "CAP_NET_RAW");
    check(agent("true", "127.0.0.1", "1 0"), "1 of 1 packets came back");
}

/// What an agent says of a ping in a network of its own, after `prepare`, where the groups in
/// `groups` may ping.
fn agent(prepare: &str, host: &str, groups: &str) -> String {
    in_network(prepare, host, groups, "")
}

fn agent_without_rights(groups: &str) -> String {
    in_network(
        "true",
        "127.0.0.1",
        groups,
        "setpriv --reuid 65534 --clear-groups --bounding-set -all ",
    )
}

fn in_network(prepare: &str, host: &str, groups: &str, as_whom: &str) -> String {
    let stage = Stage::new();
    let config = format!(
        "checks: [{{name: ping, interval: 60s, timeout: 3s, probe: {{icmp: {{host: {host}, wait: 300ms}}}}}}]"
    );
    let config = stage.write("agent.yml", &config);
    // Where everybody may read it.
    let agent = stage.text("veilleur-agent");
    let built = tests::program::Program::start("veilleur-agent", ["--version"]);
    drop(built);
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(std::path::Path::parent).unwrap();
    std::fs::copy(folder.join("veilleur-agent"), &agent).unwrap();
    let script = format!(
        "ip link set lo up && sysctl -qw net.ipv4.ping_group_range='{groups}' && {prepare} && \
         {{ {as_whom}{agent} run-once --config {config} || true; }}"
    );
    run(Command::new("unshare").args(["--net", "sh", "-c", &script]))
}

/// How long a run may take beyond what it waits for.
const GRACE: Duration = Duration::from_millis(100);
/// Set where this test runs in a network of its own: which groups may ping without the raw socket.
const WITHIN: &str = "VEILLEUR_TEST_GROUPS";

/// What a probe finds, which is to be found in so much time: of three runs in one, as this host may be
/// busy with something else.
#[track_caller]
fn look_within(yaml: &str, limit: Duration) -> Outcome {
    let mut took = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        let outcome = crate::stage::look(yaml);
        took.push(begun.elapsed());
        if took.last() < Some(&limit) {
            return outcome;
        }
    }
    panic!("{yaml}: {took:?}, not within {limit:?}");
}

/// In a network in which each address does another thing wrong, by the socket for everybody and by the
/// raw one.
#[test]
fn whatever_comes_back_has_its_reason_in_time() {
    let Ok(groups) = std::env::var(WITHIN) else {
        let network = concat!(env!("CARGO_MANIFEST_DIR"), "/acceptance/probes/network.py");
        let name = "icmp::whatever_comes_back_has_its_reason_in_time";
        for groups in ["0 2147483647", "1 0"] {
            let mut command = Command::new("unshare");
            command.args(["--net", "python3", network]).arg(std::env::current_exe().unwrap());
            run(command.args(["--exact", name, "--nocapture"]).env(WITHIN, groups));
        }
        return;
    };
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", groups).unwrap();
    let wait = Duration::from_millis(150);
    let look = |host: &str, more: &str, limit: Duration| {
        look_within(&format!("icmp: {{host: '{host}', wait: 150ms{more}}}"), limit)
    };
    let lost = "none of 1 packets came back from";
    let says = |host: &str, who: &str, what: &str| format!("{lost} {host}: {who} says: {what}");
    for (last, both, what) in [
        (10, true, "the network is unreachable"),
        (11, true, "the host is unreachable"),
        (12, false, "the protocol is unreachable"),
        (13, true, "the port is unreachable"),
        (14, true, "it is prohibited"),
        (15, true, "the packet may go no further hop"),
        (16, false, "it is prohibited"),
        (17, true, "the host is unreachable"),
    ] {
        let (v4, v6) = (format!("192.0.2.{last}"), format!("2001:db8::{last:x}"));
        let hosts = [(v4, "192.0.2.254"), (v6, "2001:db8::fe")];
        for (host, who) in hosts.into_iter().take(if both { 2 } else { 1 }) {
            // What RFC 4443 has in place of an unreachable network.
            let what = if host.ends_with("::a") { "there is no route" } else { what };
            // What cannot come is not waited for.
            let outcome = look(&host, "", wait);
            assert_eq!(outcome.reason, Reason::Unreachable, "{host}: {}", outcome.summary);
            assert_eq!(outcome.summary, says(&host, who, what));
            assert_eq!(value(&outcome, "loss"), 100.0);
        }
    }
    for (last, what) in [
        (2, "nothing"),
        (20, "another number"),
        (21, "a turn that there was not"),
        (22, "a wrong sum"),
        (23, "another last byte"),
        (24, "another payload"),
        (25, "from somebody else"),
        (26, "one byte less"),
        (27, "no payload"),
        (28, "more than was sent"),
        (29, "cut off"),
    ] {
        for host in [format!("192.0.2.{last}"), format!("2001:db8::{last:x}")] {
            let outcome = look(&host, "", wait + GRACE);
            assert_eq!(outcome.reason, Reason::NoReply, "{host}, {what}: {}", outcome.summary);
            assert_eq!(outcome.summary, format!("{lost} {host}"));
        }
    }
    // What is said beside a reply ends nothing.
    for host in ["192.0.2.1", "192.0.2.30", "192.0.2.31", "192.0.2.32", "192.0.2.34", "192.0.2.35"]
        .into_iter()
        .chain(["2001:db8::1", "2001:db8::22", "2001:db8::23"])
    {
        let outcome = look(host, "", wait + GRACE);
        assert_eq!(outcome.reason, Reason::None, "{host}: {}", outcome.summary);
        assert_eq!(metric(&outcome, "probe_icmp_reply_hop_limit"), 60.0, "{host}");
    }
    // One packet that is returned is lost; those after it are sent and come back.
    for host in ["192.0.2.33", "2001:db8::21"] {
        let outcome = look(host, ", packets: 4, every: 10ms", wait + GRACE);
        assert_eq!(outcome.reason, Reason::None, "{host}: {}", outcome.summary);
        assert!(outcome.summary.starts_with("3 of 4 packets"), "{host}: {}", outcome.summary);
        assert_eq!(value(&outcome, "loss"), 25.0);
    }
    // Oversized: for the way there, as somebody on it says; for our own end of it.
    for host in ["192.0.2.18", "2001:db8::12"] {
        let outcome = look(host, ", payload_size: 1400", wait + GRACE);
        let is_told = outcome.summary.contains("the packet is too large");
        assert!(outcome.reason == Reason::Unreachable && is_told, "{host}: {}", outcome.summary);
    }
    let outcome = look("192.0.2.1", ", payload_size: 65000", wait + GRACE);
    assert_eq!(outcome.reason, Reason::None, "{}", outcome.summary);
    // Nobody listens at these hosts, and they say so: to whoever asks by datagrams, too.
    for ask in [
        "dns: {servers: ['HOST:53'], name: a.test}",
        "ntp: {server: 'HOST:123'}",
        "snmp: {address: 'HOST:161', community: public}",
    ] {
        for host in ["192.0.2.1", "[2001:db8::1]"] {
            let outcome = look_within(&ask.replace("HOST", host), GRACE);
            assert_eq!(outcome.reason, Reason::ConnectionRefused, "{ask}: {}", outcome.summary);
        }
    }
}
