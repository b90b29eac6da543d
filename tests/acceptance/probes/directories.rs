//! Debian's OpenLDAP.

use std::process::Command;

use probes::Reason;

use crate::stage::{Stage, metric, run, value};

const SLAPD: &str = "include /etc/ldap/schema/core.schema
pidfile DIR/pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile DIR/cert.pem
TLSCertificateKeyFile DIR/key.pem
database mdb
suffix \"dc=shop,dc=test\"
rootdn \"cn=admin,dc=shop,dc=test\"
rootpw s3cret
directory DIR/data
access to * by users read by anonymous auth
";

const PEOPLE: &str = "dn: dc=shop,dc=test
objectClass: dcObject
objectClass: organization
dc: shop
o: Shop

dn: cn=ann,dc=shop,dc=test
objectClass: person
cn: ann
sn: Ann

dn: cn=bob,dc=shop,dc=test
objectClass: person
cn: bob
sn: Bob
";

#[test]
fn a_directory_lets_us_in_and_finds_entries() {
    let stage = Stage::new();
    stage.certificate();
    std::fs::create_dir_all(stage.path("data")).unwrap();
    let config = stage.write("slapd.conf", SLAPD);
    let people = stage.write("people.ldif", PEOPLE);
    run(Command::new("/usr/sbin/slapadd").args(["-f", &config, "-l", &people]));
    let url = format!("ldap://127.0.0.1:{}/", stage.port);
    let _server = stage.start("/usr/sbin/slapd", &["-f", &config, "-h", &url, "-d", "0"]);
    let ask = |more: &str| format!("ldap: {{address: '127.0.0.1:PORT'{more}}}");
    let good = |more: &str, part: &str| stage.check(&ask(more), Reason::None, part);
    let bad = |more: &str, reason, part: &str| stage.check(&ask(more), reason, part);
    let admin = ", username: 'cn=admin,dc=shop,dc=test', password: s3cret";
    let tls = ", starttls: true, tls: {ca_file: DIR/cert.pem}";
    good("", "bound as nobody");
    good(admin, "bound as cn=admin");
    let o = good(&format!("{tls}{admin}"), "bound as cn=admin");
    assert!(value(&o, "days_left") > 19.0);
    bad(", starttls: true", Reason::CertificateSelfSigned, "");
    let only_tls = "tls: {address: '127.0.0.1:PORT', starttls: ldap, tls: {ca_file: DIR/cert.pem}}";
    let o = stage.check(only_tls, Reason::None, "good for 19 days");
    assert!(metric(&o, "probe_tls_duration_seconds{phase=\"starttls\"}") > 0.0);
    let guess = admin.replace("s3cret", "guess");
    bad(&guess, Reason::AuthenticationFailed, "invalid credentials");
    let base = ", base: 'dc=shop,dc=test'";
    let o = good(&format!("{admin}{base}"), "3 entries found");
    assert_eq!(value(&o, "entries"), 3.0);
    good(&format!("{admin}{base}, filter: (cn=*)"), "2 entries found");
    let found = |filter: &str, count: usize| {
        let more = format!("{admin}{base}, filter: '{filter}'");
        good(&more, &format!("{count} entries found"));
    };
    found("(cn=ann)", 1);
    found("(&(objectClass=person)(!(cn=ann)))", 1);
    found("(|(cn=ann)(cn=bob)(dc=shop))", 3);
    found("(!(objectClass=person))", 1);
    found("(cn=a*)", 1);
    found("(cn=*n*)", 1);
    found("(sn=B*o*b)", 1);
    found("(cn=\\62ob)", 1);
    found("(cn~=ann)", 1);
    found("(cn:caseExactMatch:=ANN)", 0);
    found("(cn:caseIgnoreMatch:=ANN)", 1);
    found("(ou:dn:=people)", 0);
    found("(createTimestamp>=20200101000000Z)", 3);
    found("(createTimestamp<=20200101000000Z)", 0);
    let none = format!("{admin}{base}, filter: (cn=eve), thresholds: {{entries: {{crit: '1:'}}}}");
    bad(&none, Reason::Threshold, "`entries` is 0, critical by `1:`");
    let elsewhere = format!("{admin}, base: 'dc=none,dc=test'");
    bad(&elsewhere, Reason::QueryFailed, "no such object");
}

#[test]
fn a_directory_over_tls_at_once() {
    let stage = Stage::new();
    stage.certificate();
    std::fs::create_dir_all(stage.path("data")).unwrap();
    let config = stage.write("slapd.conf", SLAPD);
    let url = format!("ldaps://127.0.0.1:{}/", stage.port);
    let _server = stage.start("/usr/sbin/slapd", &["-f", &config, "-h", &url, "-d", "0"]);
    let ask = "ldap: {address: '127.0.0.1:PORT', tls: {ca_file: DIR/cert.pem}}";
    stage.check(ask, Reason::None, "bound as nobody");
}
