//! Pinging this host, with rights and without, and a host that is not there.

use std::process::Command;

use probes::Reason;

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
