//! What is wrong with a configuration is told with its place.

use crate::common::faults;

#[track_caller]
fn check(yaml: &str, expected: &str) {
    assert_eq!(faults(yaml), expected, "{yaml}");
}

#[test]
fn what_is_wrong_with_a_dns_probe_is_told_with_its_place() {
    check(
        "dns: {servers: [], name: a..b, type: X, transport: quic, expect_rcodes: NO, expect_matches: '('}",
        "test.yml:1:16: there is no server to ask\n\
         test.yml:1:26: `a..b` has an empty part\n\
         test.yml:1:38: `X` is not a type of records\n  help: write it like `A`, `AAAA`, `MX` or `TYPE65`\n\
         test.yml:1:52: `quic` is neither `udp` nor `tcp`\n\
         test.yml:1:73: `NO` is not a DNS code\n  help: write it like `NOERROR` or `NXDOMAIN`\n\
         test.yml:1:93: `(` is not a regular expression: unclosed group",
    );
    check(
        "dns: {servers: [x/y], name: a, thresholds: {ttk: {warn: 1}}}",
        "test.yml:1:17: `x/y` has no host name\n  help: write it like `host.example` or `host.example:53`\n\
         test.yml:1:50: no value `ttk` is measured\n  help: did you mean `ttl`?",
    );
}

#[test]
fn what_is_wrong_with_a_tls_probe_is_told_with_its_place() {
    check(
        "tls: {address: '::1', starttls: xmpp, min_version: 1.1}",
        "test.yml:1:16: `::1` is an IPv6 address without brackets, or has no port\n  \
         help: write it like `host.example` or `host.example:443`\n\
         test.yml:1:33: unknown kind `xmpp`\n  help: did you mean `imap`?\n\
         test.yml:1:52: `1.1` is not a version of TLS that is spoken\n  help: write `'1.2'` or `'1.3'`",
    );
    check(
        "tls: {address: '::1', min_version: 1.1, tls: {ca_file: /nowhere}}",
        "test.yml:1:16: `::1` is an IPv6 address without brackets, or has no port\n  \
         help: write it like `host.example` or `host.example:443`\n\
         test.yml:1:36: `1.1` is not a version of TLS that is spoken\n  help: write `'1.2'` or `'1.3'`\n\
         test.yml:1:46: cannot read /nowhere as PEM: I/O error: No such file or directory (os error 2)",
    );
}
