//! Debian's BIND: a zone of our own, and a resolver that checks a signed one.

use probes::Reason;
use tests::program::free_port;

use crate::stage::{Stage, look, metric, run, value};

const ZONE: &str = "$TTL 300
@ IN SOA ns hostmaster 2026112101 3600 600 86400 300
@ IN NS ns
@ IN MX 10 mail
ns IN A 192.0.2.53
www IN A 192.0.2.80
www IN A 192.0.2.81
www IN AAAA 2001:db8::80
mail IN CNAME www
_xmpp._tcp IN SRV 1 2 5222 www
note IN TXT \"one\" \"two words\"
@ IN CAA 0 issue \"ca.test\"
";

const OPTIONS: &str = "options { directory \"DIR\"; listen-on port PORT { 127.0.0.1; };
  listen-on-v6 { none; }; pid-file none; session-keyfile none; notify no; allow-query { any; }; ";
const NO_CONTROLS: &str = "controls { };";

/// A server for `shop.test` and, signed, `signed.test`.
fn serve() -> (Stage, tests::program::Program) {
    let stage = Stage::new();
    let mut zone = ZONE.to_owned();
    for n in 0..60 {
        zone +=
            &format!("many IN TXT \"text number {n} that is long enough to fill a datagram\"\n");
    }
    stage.write("shop.zone", &zone);
    stage.write("signed.zone", ZONE);
    let sign = |program: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(program);
        run(command.args(arguments).current_dir(stage.path("")))
    };
    let keygen = ["-q", "-a", "ECDSAP256SHA256", "-n", "ZONE", "signed.test"];
    sign("/usr/bin/dnssec-keygen", &keygen);
    let key = sign("/usr/bin/dnssec-keygen", &[&["-f", "KSK"], &keygen[..]].concat());
    std::fs::rename(stage.path(&format!("{}.key", key.trim())), stage.path("anchor.key")).unwrap();
    std::fs::copy(stage.path("anchor.key"), stage.path(&format!("{}.key", key.trim()))).unwrap();
    sign("/usr/bin/dnssec-signzone", &["-q", "-S", "-o", "signed.test", "signed.zone"]);
    let zones = "zone \"shop.test\" { type primary; file \"shop.zone\"; };
        zone \"signed.test\" { type primary; file \"signed.zone.signed\"; };";
    let config = format!("{OPTIONS} recursion no; dnssec-validation no; }}; {NO_CONTROLS} {zones}");
    let config = stage.write("named.conf", &config);
    let server = stage.start("/usr/sbin/named", &["-g", "-c", &config]);
    stage.wait_for("dns: {servers: ['127.0.0.1:PORT'], name: www.shop.test}");
    (stage, server)
}

#[test]
fn a_name_server_is_asked_and_its_answer_judged() {
    let (stage, _server) = serve();
    let ask = |more: &str| format!("dns: {{servers: ['127.0.0.1:PORT'], {more}}}");
    let good = |more: &str, part: &str| stage.check(&ask(more), Reason::None, part);
    let bad = |more: &str, reason, part: &str| stage.check(&ask(more), reason, part);

    let o = good("name: www.shop.test", "NOERROR: 192.0.2.8");
    assert_eq!(metric(&o, "probe_dns_answer_rrs"), 2.0);
    assert_eq!(metric(&o, "probe_dns_query_succeeded"), 1.0);
    assert_eq!(metric(&o, "probe_success"), 1.0);
    assert!(metric(&o, "probe_dns_duration_seconds{phase=\"request\"}") > 0.0);
    assert_eq!(value(&o, "ttl"), 300.0);
    good("name: www.shop.test, transport: tcp", "NOERROR");
    good("name: www.shop.test, expect_answers: [192.0.2.81, 192.0.2.80]", "");
    bad(
        "name: www.shop.test, expect_answers: 192.0.2.80",
        Reason::AnswerMismatch,
        "wanted 192.0.2.80",
    );
    good("name: www.shop.test, type: AAAA, expect_answers: '2001:db8::80'", "");
    good("name: mail.shop.test, expect_answers: [192.0.2.80, 192.0.2.81]", "www.shop.test.");
    good("name: shop.test, type: MX, expect_answers: '10 mail.shop.test.'", "");
    good("name: note.shop.test, type: TXT, expect_answers: '\"one\" \"two words\"'", "");
    good("name: _xmpp._tcp.shop.test, type: SRV, expect_matches: 'SRV\\t1 2 5222'", "");
    good("name: shop.test, type: CAA, expect_answers: '0 issue \"ca.test\"'", "");
    good("name: shop.test, type: NS, expect_matches: '^shop.test.\\t300\\tIN\\tNS\\tns'", "");
    let o = good("name: shop.test, type: SOA", "hostmaster");
    assert_eq!(metric(&o, "probe_dns_serial"), 2_026_112_101.0);
    bad("name: no.shop.test", Reason::ErrorAnswer, "the server answers NXDOMAIN");
    good("name: no.shop.test, expect_rcodes: NXDOMAIN", "NXDOMAIN");
    bad("name: elsewhere.example", Reason::ErrorAnswer, "REFUSED");
    let over = "name: www.shop.test, thresholds: {answers: {crit: '3:'}}";
    bad(over, Reason::Threshold, "`answers` is 2, critical by `3:`");
    let o = good("name: many.shop.test, type: TXT", "and 55 more");
    assert_eq!(value(&o, "answers"), 60.0, "what does not fit a datagram comes by TCP");

    let check = |rrs: &str| format!("name: www.shop.test, validate_answer_rrs: {{{rrs}}}");
    bad(&check("fail_if_matches_regexp: 192.0.2.81"), Reason::AnswerMismatch, "192.0.2.81");
    bad(&check("fail_if_all_match_regexp: 192.0.2"), Reason::AnswerMismatch, "every record");
    bad(&check("fail_if_not_matches_regexp: 81$"), Reason::AnswerMismatch, "192.0.2.80");
    bad(&check("fail_if_none_matches_regexp: '10[.]0'"), Reason::AnswerMismatch, "no record");
    good(&check("fail_if_matches_regexp: '10[.]0', fail_if_none_matches_regexp: 81$"), "");
}

#[test]
fn every_server_is_asked_and_the_worst_counts() {
    let (stage, _server) = serve();
    let closed = free_port();
    let yaml = format!(
        "dns: {{servers: ['127.0.0.1:{}', '127.0.0.1:{closed}'], name: www.shop.test}}",
        stage.port
    );
    let o = look(&yaml);
    assert_eq!(o.reason, Reason::ConnectionRefused, "{o:#?}");
    let success = |port| format!("probe_success{{server=\"127.0.0.1:{port}\"}}");
    assert_eq!(metric(&o, &success(stage.port)), 1.0);
    assert_eq!(metric(&o, &success(closed)), 0.0);
    assert!(value(&o, &format!("seconds_127.0.0.1:{closed}")) > 0.0);
    let twice = "dns: {servers: ['127.0.0.1:PORT', '127.0.0.1:PORT'], name: www.shop.test}";
    stage.check(twice, Reason::None, "2 servers answer as they should");
}

#[test]
fn an_answer_that_is_vouched_for_is_told_from_one_that_is_not() {
    let (stage, _server) = serve();
    let resolver = Stage::new();
    let key = std::fs::read_to_string(stage.path("anchor.key")).unwrap();
    let key = key.lines().find(|line| line.contains("DNSKEY")).unwrap();
    let fields: Vec<_> = key.split("DNSKEY").nth(1).unwrap().split_whitespace().collect();
    let anchor = format!("{} {} {} \"{}\"", fields[0], fields[1], fields[2], fields[3..].concat());
    let forward = |zone: &str| {
        let port = stage.port;
        format!(
            "zone \"{zone}\" {{ type forward; forward only; forwarders {{ 127.0.0.1 port {port}; }}; }};"
        )
    };
    let config = format!(
        "{OPTIONS} recursion yes; dnssec-validation yes; validate-except {{ shop.test; }}; }};
         {NO_CONTROLS} trust-anchors {{ \"signed.test\" static-key {anchor}; }}; {} {}",
        forward("shop.test"),
        forward("signed.test")
    );
    let config = resolver.write("named.conf", &config);
    let _resolver = resolver.start("/usr/sbin/named", &["-g", "-c", &config]);
    resolver.wait_for("dns: {servers: ['127.0.0.1:PORT'], name: www.shop.test}");
    let ask =
        |zone| format!("dns: {{servers: ['127.0.0.1:PORT'], name: www.{zone}.test, dnssec: true}}");
    resolver.check(&ask("signed"), Reason::None, "192.0.2.8");
    resolver.check(&ask("shop"), Reason::DnssecMissing, "does not vouch");
    stage.check(&ask("signed"), Reason::DnssecMissing, "does not vouch");
}
