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

#[test]
fn what_is_wrong_with_the_other_kinds_is_told_with_its_place() {
    check(
        "icmp: {host: '[::1]', ip_protocol: ip5, packets: 0, payload_size: 65500, ttl: 0}",
        "test.yml:1:14: `[::1]` has a port\n  help: write a name or an address, without brackets\n\
         test.yml:1:36: `ip5` is neither `ip4` nor `ip6`\n\
         test.yml:1:50: `0` is not within 1 and 1000\n\
         test.yml:1:67: `65500` is not within 1 and 65000\n\
         test.yml:1:79: with a `ttl` of 0 no packet leaves",
    );
    check(
        "icmp: {host: a, thresholds: {rtd: {}}}",
        "test.yml:1:35: no value `rtd` is measured\n  help: did you mean `rtt`?",
    );
    check(
        "ssh: {address: ':22', host_key: 'MD5:aa'}",
        "test.yml:1:16: `:22` has no host name\n  help: write it like `host.example` or `host.example:22`\n\
         test.yml:1:33: `MD5:aa` is not a fingerprint of a host key\n  \
         help: write it as `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` does",
    );
    check(
        "ssh: {address: a, expect: '('}",
        "test.yml:1:27: `(` is not a regular expression: unclosed group",
    );
    check(
        "imap: {address: a, username: u, password: p}",
        "test.yml:1:30: the password would be sent without encryption\n  help: set `starttls: true`, or `tls: {}`",
    );
    check(
        "smtp: {address: a, starttls: true, username: u}",
        "test.yml:1:17: `username` and `password` belong together",
    );
    check(
        r#"pop3: {address: a, starttls: true, username: "u\r\nDELE 1", password: p}"#,
        "test.yml:1:46: a login cannot have line ends in it",
    );
    check(
        "ntp: {server: 'a:0', thresholds: {offset: {warn: x}}}",
        "test.yml:1:15: `a:0` has no port\n  help: write it like `host.example` or `host.example:123`\n\
         test.yml:1:50: `x` is not a range; write it like `10`, `10:`, `~:10`, `10:20` or `@10:20`",
    );
    check("redis: {address: a, username: u}", "test.yml:1:31: a user name needs a `password`");
    check(
        "redis: {address: a, tls: {ca_file: /nowhere}}",
        "test.yml:1:26: cannot read /nowhere as PEM: I/O error: No such file or directory (os error 2)",
    );
    check(
        r#"postgres: {address: a, username: "u\0", query: "\0"}"#,
        "test.yml:1:34: a text for the server cannot have a NUL in it\n\
         test.yml:1:48: a text for the server cannot have a NUL in it",
    );
    check("mysql: {address: a, query: x}", "test.yml:1:28: a query needs a `username`");
    check("nats: {address: a, request: x}", "test.yml:1:29: a `request` needs a `subject`");
    check(
        "nats: {address: a, subject: 'a.*', request: x, expect: '('}",
        "test.yml:1:29: `a.*` is not a subject\n  help: write it like `shop.orders`; `*` stands for one \
         part and `>`, at the end, for all, but not for a request\n\
         test.yml:1:56: `(` is not a regular expression: unclosed group",
    );
    check(
        "mqtt: {address: a, topic: 'a/#/b', thresholds: {values: {}}}",
        "test.yml:1:27: `a/#/b` is not a topic\n  help: write it like `shop/orders/waiting`; `+` stands \
         for one level and `#`, at the end, for all\n\
         test.yml:1:57: no value `values` is measured\n  help: did you mean `value`?",
    );
    check("mqtt: {address: a, expect: x}", "test.yml:1:28: `expect` needs a `topic`");
    check(
        "mqtt: {address: a, thresholds: {messages: {}}}",
        "test.yml:1:43: no value `messages` is measured\n  help: measured here: `seconds`, `days_left`",
    );
    check(
        "grpc: {address: a, metadata: {grpc-timeout: 1, x: \"a\\nb\"}, thresholds: {ttl: {}}}",
        "test.yml:1:17: `a` has no port\n  help: write it like `db.example:5432`\n\
         test.yml:1:45: `grpc-timeout` is not a name that metadata can have\n\
         test.yml:1:51: the value of `x` has characters that metadata cannot have\n\
         test.yml:1:78: no value `ttl` is measured\n  help: measured here: `seconds`, `days_left`",
    );
    check(
        "ldap: {address: a, base: b, filter: (&(a=b)(c))}",
        "test.yml:1:37: `(&(a=b)(c))` is not a filter: `c` has no `=`\n  \
         help: write it like `(uid=ann)` or `(&(cn=an*)(!(mail=*)))`",
    );
    check(
        "tcp: {address: 'a:1', query_response: [{expect: '('}]}",
        "test.yml:1:49: `(` is not a regular expression: unclosed group",
    );
}

#[test]
fn no_password_is_shown() {
    for yaml in [
        "redis: {address: a, password: hunter2}",
        "imap: {address: a, tls: {}, username: u, password: hunter2}",
        "postgres: {address: a, username: u, password: hunter2}",
        "mysql: {address: a, username: u, password: hunter2}",
        "mqtt: {address: a, username: u, password: hunter2}",
        "grpc: {address: 'a:1', metadata: {authorization: hunter2}}",
    ] {
        let shown = format!("{:?}", crate::common::probe(yaml));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn what_is_wrong_with_a_user_of_snmp_is_told_with_its_place() {
    check(
        "snmp: {address: a, community: c, username: u, privacy: {protocol: des, password: eightlong}}",
        "test.yml:1:31: a `community` is of version 2c, a `username` of version 3: not both\n\
         test.yml:1:56: what is not proven is not hidden: `privacy` needs `auth`",
    );
    check(
        "snmp: {address: a, auth: {protocol: sha, password: eightlong}, context: c, oid: '1.3.6', walk: '1.3.6'}",
        "test.yml:1:26: this is of version 3, which needs a `username`\n\
         test.yml:1:73: this is of version 3, which needs a `username`\n\
         test.yml:1:81: one value is asked for by `oid`, or many by `walk`, not both",
    );
    check(
        "snmp: {address: a, username: u, auth: {protocol: sha, password: short}, thresholds: {count: {}}}",
        "test.yml:1:65: a password has 8 bytes or more\n\
         test.yml:1:93: no value `count` is measured\n  help: measured here: `value`, `seconds`",
    );
    check(
        "snmp: {address: a, username: u, auth: {protocol: md6, password: x}}",
        "test.yml:1:50: unknown kind `md6`\n  help: did you mean `md5`?",
    );
}

#[test]
fn what_is_wrong_with_a_mongodb_probe_is_told_with_its_place() {
    check(
        "mongodb: {address: a, username: u, role: master, command: drop, thresholds: {lags: {}}}",
        "test.yml:1:33: a user name needs a `password`\n\
         test.yml:1:42: no server has the role `master`\n  \
         help: one of `primary`, `secondary`, `arbiter`, `standalone`, `router`\n\
         test.yml:1:59: `drop` is not sent from here\n  help: those that only read: \
         `serverStatus`, `replSetGetStatus`, `hello`, `ping`, `buildInfo`, `hostInfo`, \
         `connPoolStats`, `listDatabases`, `dbStats`, `count`, `collStats`\n\
         test.yml:1:84: no value `lags` is measured\n  help: did you mean `lag`?",
    );
    check("mongodb: {address: a, field: x}", "test.yml:1:30: this needs a `command`");
    check("mongodb: {address: a, command: count}", "test.yml:1:32: `count` needs a `collection`");
    check(
        "mongodb: {address: a, command: serverStatus, collection: c, query: {a: 1}}",
        "test.yml:1:32: which number of `serverStatus` is wanted? `field` is missing\n  \
         help: as in `field: connections.current`\n\
         test.yml:1:58: `serverStatus` is not of a collection\n\
         test.yml:1:68: only what is counted can be chosen: `command: count`",
    );
}
